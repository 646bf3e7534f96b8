"""Whose turn it is at a device: one at a time, in the order of asking."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Place:
    """A place in the queue; calling it tells how many are ahead."""

    def __init__(self, queue: TurnQueue, cost: float | None) -> None:
        self._queue, self.cost = queue, cost
        self.started_at: float | None = None
        self._called = False

    def __call__(self) -> int:
        """How many are ahead, at once or after a quarter of a second; 0 when it is our turn."""
        with self._queue.condition:
            if self._called and self._queue.places.index(self):
                self._queue.condition.wait(0.25)
            self._called = True
            ahead = self._queue.places.index(self)
        if not ahead and self.started_at is None:
            self.started_at = time.monotonic()
        return ahead

    @property
    def seconds(self) -> float | None:
        """What those ahead will still take, None where one of them was never measured."""
        with self._queue.condition:
            ahead = self._queue.places[: self._queue.places.index(self)]
        now = time.monotonic()
        costs = [None if one.cost is None else max(0.0, one.cost - (now - one.started_at if one.started_at else 0.0)) for one in ahead]
        return None if None in costs else sum(costs)


class TurnQueue:
    """A queue whose waiters learn how many are ahead of them, and for how long."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.condition = threading.Condition()

    @contextmanager
    def place(self, cost: float | None = None) -> Iterator[Place]:
        """Stand in line with work of so many seconds, where that is known."""
        place = Place(self, cost)
        with self.condition:
            self.places.append(place)
        try:
            yield place
        finally:
            with self.condition:
                self.places.remove(place)
                self.condition.notify_all()
