"""What was made for visitors and may be asked for again, within a budget of bytes: the least recently used leaves first."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor


class ByteCache:
    """Keeps values by what they are of; each weighs what it holds in memory."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._kept: OrderedDict[tuple, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: tuple) -> Any:
        """The value of a key, None where it is not, or no longer, here."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: tuple, value: Any) -> Any:
        """Put a value here, and give it back; the newest stays whatever it weighs."""
        size = weight(value)
        with self._lock:
            self._kept[key] = value, size
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and self._sum() > self.budget:
                self._kept.popitem(last=False)
        return value

    @property
    def bytes(self) -> int:
        """What all values hold together."""
        with self._lock:
            return self._sum()

    def _sum(self) -> int:
        return sum(size for _, size in self._kept.values())


def weight(value: Any, seen: set[int] | None = None) -> int:
    """Bytes that a value keeps in memory: of a tensor or an array its whole storage, of which it may show only a part; of mappings,
    sequences and dataclasses what is in them, each thing once."""
    seen = set() if seen is None else seen
    place, size = id(value), sys.getsizeof(value)
    if isinstance(value, Tensor):
        place, size = value.untyped_storage().data_ptr(), value.untyped_storage().nbytes()
    elif isinstance(value, np.ndarray):
        while isinstance(value.base, np.ndarray):
            value = value.base
        place, size = value.__array_interface__["data"][0], value.nbytes
    elif isinstance(value, Image.Image):
        size = value.width * value.height * len(value.getbands())
    if place in seen:
        return 0
    seen.add(place)
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = vars(value).values()
    return size + sum(weight(part, seen) for part in parts)
