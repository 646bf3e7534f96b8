"""Settings side by side on the same class and noise: aligned, run together, measured and reported."""

from __future__ import annotations

from zoo.compare.compare import aligned, together

__all__ = ["aligned", "together"]
