"""The lists of class names, one a line, by index; and the other data that ships: examples to look at, features of held-out pictures."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from zoo.errors import CardError

DATA = Path(__file__).parent / "data"


@cache
def label_names(name: str) -> tuple[str, ...]:
    """The class names of a label list in zoo/catalog/data, by index. Raises CardError where there is none."""
    path = DATA / f"{name}.txt"
    if not re.fullmatch(r"[a-z0-9-]+", name) or not path.is_file():
        raise CardError(f"there is no label list {name!r} in zoo/catalog/data.")
    return tuple(path.read_text(encoding="utf-8").splitlines())
