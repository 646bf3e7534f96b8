"""How fast this code is on this machine, and others' on the same weights: `python -m zoo bench`."""

from __future__ import annotations

from zoo.engine.bench.bench import run
from zoo.engine.bench.report import text
from zoo.engine.bench.subject import Settings

__all__ = ["Settings", "run", "text"]
