"""Patchwork: a hub of diffusion transformers.

`zoo.cards()`, `zoo.Hub`, `zoo.Request` and the submodules (`zoo.sampling`, `zoo.backbones` ...) are imported on first use,
so that `import zoo` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "cards": "card",
    "Card": "card",
    "Hub": "hub",
    "Request": "request",
    "Progress": "request",
    "Result": "request",
    "ZooError": "errors",
}
_MODULES = {
    "attention",
    "backbones",
    "card",
    "checkpoint",
    "download",
    "errors",
    "explain",
    "hub",
    "inside",
    "latents",
    "look",
    "media",
    "perception",
    "request",
    "sampling",
    "tokens",
    "training",
    "video",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"zoo.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"zoo.{name}")
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")
