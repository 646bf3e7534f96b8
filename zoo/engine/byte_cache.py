"""What was made for visitors and may be asked for again, within a budget of bytes: the least recently used leaves first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any


class ByteCache:
    """Keeps values by what they are of; a value says its `bytes`, or weighs nothing."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self._kept: OrderedDict[tuple, Any] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: tuple) -> Any:
        """The value of a key, None where it is not, or no longer, here."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: tuple, value: Any) -> Any:
        """Put a value here, and give it back; the newest stays whatever it weighs."""
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > 1 and sum(getattr(one, "bytes", 0) for one in self._kept.values()) > self.budget:
                self._kept.popitem(last=False)
        return value
