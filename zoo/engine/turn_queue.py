"""Whose turn it is at a device: one at a time, in the order of asking."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class TurnQueue:
    """A queue whose waiters learn how many are ahead of them."""

    def __init__(self) -> None:
        self._tickets: list[object] = []
        self._moved = threading.Condition()

    @contextmanager
    def place(self) -> Iterator[Callable[[], int]]:
        """Stand in line; the function tells how many are ahead, at once or after a quarter of a second, 0 when it is our turn."""
        ticket, asked = object(), False

        def ahead() -> int:
            nonlocal asked
            with self._moved:
                if asked and self._tickets.index(ticket):
                    self._moved.wait(0.25)
                asked = True
                return self._tickets.index(ticket)

        with self._moved:
            self._tickets.append(ticket)
        try:
            yield ahead
        finally:
            with self._moved:
                self._tickets.remove(ticket)
                self._moved.notify_all()
