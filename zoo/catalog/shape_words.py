"""Words of an architecture that single shapes tell: sides, ratios, classes, patches."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]


def count(shapes: Shapes, name: str) -> int:
    """How many numbered parts stand behind a name."""
    return len({match[1] for key in shapes if (match := re.match(rf"(?:{name})\.(\d+)\.", key))})


def side(tokens: int) -> int:
    """Tokens to a side of a square grid. Raises ValueError where they are none."""
    if math.isqrt(tokens) ** 2 != tokens:
        raise ValueError(f"{tokens} tokens are no square")
    return math.isqrt(tokens)


def ratio(hidden: int, width: int) -> float | int:
    """How many times as wide as a network its MLP is."""
    return width // hidden if width % hidden == 0 else width / hidden


def swiglu_ratio(hidden: int, width: int) -> float | int:
    """The ratio of which two thirds, rounded down, are the width of a SwiGLU."""
    exact = 1.5 * width / hidden
    near = [*(round(exact * parts) / parts for parts in (1, 2, 4, 8)), exact]
    found = next(value for value in near if int(2 / 3 * int(hidden * value)) == width or int(hidden * value * 2 / 3) == width)
    return int(found) if found == int(found) else found


def classes(rows: int) -> dict[str, Any]:
    """Classes by the rows of their table, of which one is the null label's; 1,000 are those of ImageNet, without any."""
    return {"num_classes": rows, "null_label": False} if rows == 1000 else {"num_classes": rows - 1}


def patches(shape: tuple[int, ...]) -> dict[str, int]:
    """What the convolution that makes tokens of patches tells."""
    return {"patch_size": shape[2], "in_channels": shape[1], "hidden_size": shape[0]}
