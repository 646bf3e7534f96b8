"""Pieces that every tab needs."""
