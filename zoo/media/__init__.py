"""Pixels to files and back: PNG, MP4, GIF, WebP with their receipts, and figures. Knows no model."""
