"""How often a password may be tried: few times at once, and then one every while, so that guessing takes years."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

MOST = 20_000
"""Addresses and names that are remembered, the least recent leaving first."""


@dataclass(frozen=True)
class Allowance:
    """So many wrong tries at once, then one more every so many seconds."""

    tries: int
    seconds: float


OF_ADDRESS, OF_NAME, OF_DEVICE = Allowance(10, 30.0), Allowance(50, 5.0), Allowance(10, 30.0)
"""A name has more than an address, so that no single stranger can use up what a user needs; and a browser on which that user has logged in
before has an allowance of its own, so that all strangers together cannot."""


class Tries:
    """Wrong tries by address, name or device, each with its allowance. Not for several threads."""

    def __init__(self) -> None:
        self._free_at: OrderedDict[Hashable, float] = OrderedDict()
        """When the whole allowance of a key is there again."""

    def take(self, keys: Sequence[tuple[Hashable, Allowance]]) -> float:
        """Take one try of every key and return 0; or, where one has none left, take nothing and return the seconds until it has."""
        now = time.monotonic()
        free = [max(now, self._free_at.get(key, now)) for key, _ in keys]
        waits = [at + one.seconds - one.tries * one.seconds - now for at, (_, one) in zip(free, keys, strict=True)]
        if (wait := max(waits)) > 0:
            return wait
        for at, (key, one) in zip(free, keys, strict=True):
            self._free_at[key] = at + one.seconds
            self._free_at.move_to_end(key)
        while len(self._free_at) > MOST:
            self._free_at.popitem(last=False)
        return 0.0

    def give_back(self, keys: Sequence[tuple[Hashable, Allowance]]) -> None:
        """Give the tries back that `take` took: the password was right."""
        for key, one in keys:
            if key in self._free_at:
                self._free_at[key] -= one.seconds
