"""Patchwork: a hub of diffusion transformers.

`zoo.cards()`, `zoo.Hub`, `zoo.Request` and the modules below (`zoo.sampling`, `zoo.attention` ...) are imported on first use,
so that `import zoo` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "cards": "catalog.card",
    "Card": "catalog.card",
    "Hub": "engine.hub",
    "Request": "engine.request",
    "Progress": "engine.request",
    "Result": "engine.request",
    "ZooError": "errors",
}
_MODULES = {
    "attention": "inside.attention",
    "backbones": "backbones",
    "checkpoint": "catalog.checkpoint",
    "compare": "compare",
    "errors": "errors",
    "look": "inside.inspector",
    "sampling": "sampling",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"zoo.{_NAMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"zoo.{_MODULES[name]}")
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
