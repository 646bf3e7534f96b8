"""A job of the engine: what it says comes to a plain `for` and to `async for`, and ending it sets a flag, nothing more."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextvars import copy_context
from dataclasses import replace
from typing import Any

from zoo.engine.request import Progress, Request

TOLD_EVERY, NEAR = 0.5, 8
"""Seconds between two words to somebody who waits for the job to begin, and jobs ahead of it from which on they are longer: telling costs
the server more than waiting does, and far back little changes."""


class Job:
    """One piece of work: its events, of which the last is its result, until it has ended.

    Iterating waits for the events and raises what the work raised; who stops iterating leaves, which cancels the job. One reader a job.
    """

    def __init__(
        self,
        account: str = "",
        address: str = "",
        seconds: float | None = None,
        stop: threading.Event | None = None,
        request: Request | None = None,
        lane: str = "run",
        pace: float = 0.0,
        join: Callable[[Any, Any], Any] | None = None,
        kind: str = "",
        name: str = "",
    ) -> None:
        """account: whose share of the machine it takes; address: of the client, where there is one; seconds: of one core that it will take,
        where that is known; stop: the flag that `cancel` sets, for who has one already; request: what it is about; lane: run, quick (over
        in moments) or download, which have places of their own; pace: seconds between two events for an `async for`; join: of two events
        that nobody has read one, or None where both stay; kind: one of few words, as which it is counted; name: under which its visitor
        logged in.
        """
        self.account, self.address, self.seconds = account or f"job {id(self)}", address, seconds
        self.request, self.lane, self.pace, self._join = request, lane, pace, join
        self.kind, self.name = kind or lane, name
        self.stop = stop or threading.Event()
        self.submitted_at, self.begun_at = time.monotonic(), math.inf
        self.failure: BaseException | None = None
        """What went wrong within it and was said in words, so that it ended without an error."""
        self.context = copy_context()
        """Of who asked, in which its work is done: there the page knows its visitor, and so does what the work calls."""
        self.parent: Job | None = None
        """The job that asked for this one; what it computes is the parent's, too."""
        self.started = False
        """Whether it is in flight, or was: before, it waits for a place."""
        self.compute_seconds = 0.0
        """What its turns took so far."""
        self.on_cancel: Callable[[], None] = lambda: None
        self.place: Callable[[], Progress] = lambda: Progress("waiting", None)
        """What to say to somebody who waits: how many are ahead, and for how long."""
        self._events: deque[Any] = deque()
        self._ahead = 0
        self._error: BaseException | None = None
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._bell: Callable[[], None] | None = None

    # ---- from the reader's side

    def cancel(self) -> None:
        """End it, from any thread and at once: within one step the work ends with what is there, which is kept."""
        if not self.ended:  # the flag may be another job's as well
            self.stop.set()
            self.on_cancel()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended, its files written; whether it has."""
        return self._ended.wait(timeout)

    def __iter__(self) -> Iterator[Any]:
        try:
            told_at = 0.0
            while True:
                with self._changed:
                    if not self._events and not self.ended:
                        self._changed.wait(TOLD_EVERY if told_at else 0.02)
                event, told_at = self._next(told_at)
                if event is not None:
                    yield event
                elif self.ended and not self._events:
                    break
        finally:
            self.cancel()
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[Any]:
        rings = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._bell = lambda: loop.call_soon_threadsafe(rings.set)
        try:
            told_at = 0.0
            while True:
                rings.clear()
                if not self._events and not self.ended:
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(rings.wait(), TOLD_EVERY if told_at else 0.02)
                event, told_at = self._next(told_at)
                if event is not None:
                    yield event
                    due = told_at + self.pace
                    while not self.ended and (left := due - time.monotonic()) > 0:
                        rings.clear()
                        with contextlib.suppress(asyncio.TimeoutError):
                            await asyncio.wait_for(rings.wait(), left)
                elif self.ended and not self._events:
                    break
        finally:
            self._bell = None
            self.cancel()
        if self._error is not None:
            raise self._error

    def result(self) -> Any:
        """Wait for its last event, None where it was cancelled before there was one. Raises what the work raised."""
        *_, last = [None, *self]
        return None if isinstance(last, Progress) else last

    def __await__(self) -> Generator[Any, None, Any]:
        return self._result().__await__()

    async def _result(self) -> Any:
        last = [None, *[event async for event in self]][-1]
        return None if isinstance(last, Progress) else last

    def _next(self, told_at: float) -> tuple[Any, float]:
        """The next event, or what is said of the place in the queue, or None; and when something was said last."""
        now = time.monotonic()
        with self._changed:
            if self._events:
                return self._events.popleft(), now
        if not self.started and not self.ended:
            if self.stop.is_set():  # by who holds the flag only
                self.on_cancel()
            elif now - told_at >= TOLD_EVERY * max(1.0, self._ahead / NEAR):
                place = self.place()
                self._ahead = place.ahead
                return place, now
        return None, told_at

    def poll(self) -> list[Any]:
        """The events that are there now. Raises what the work raised."""
        events = []
        while (event := self._next(time.monotonic())[0]) is not None:
            events.append(event)
        if self.ended and not self._events and self._error is not None:
            raise self._error
        return events

    @property
    def waited(self) -> float:
        """Seconds from its submission until it began, or until now."""
        return min(self.begun_at, time.monotonic()) - self.submitted_at

    # ---- from the engine's side

    def belong_to(self, parent: Job) -> None:
        """Another job asks for this one: it shares its place, and is counted with it."""
        self.parent, self.kind = parent, parent.kind
        self.account, self.address, self.name = parent.account, parent.address, parent.name

    def put(self, event: Any) -> None:
        """Say something to the reader; for one who is late, events are joined where they can be, and pictures of earlier steps dropped."""
        with self._changed:
            if self._join and self._events and (both := self._join(self._events[-1], event)) is not None:
                self._events[-1] = both
                return
            if getattr(event, "preview", None) is not None:
                for k, earlier in enumerate(self._events):
                    if isinstance(earlier, Progress) and earlier.preview is not None:
                        self._events[k] = replace(earlier, preview=None)
            self._events.append(event)
            self._changed.notify_all()
        self._ring()

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more will come; error: what is raised to the reader."""
        self._error = error
        self._ended.set()
        with self._changed:
            self._changed.notify_all()
        self._ring()

    def _ring(self) -> None:
        if bell := self._bell:
            with contextlib.suppress(RuntimeError):  # the reader's event loop has ended
                bell()


def merged(jobs: Mapping[int, Job]) -> Iterator[tuple[int, Any]]:
    """The events of several jobs as they come, each with the number of its job. Stopping cancels all; raises what one of them raised."""
    rings = threading.Event()
    for job in jobs.values():
        job._bell = rings.set
    left = dict(jobs)
    try:
        while left:
            rings.wait(TOLD_EVERY)
            rings.clear()
            for number, job in list(left.items()):
                ended = job.ended
                for event in job.poll():
                    yield number, event
                if ended:
                    del left[number]
    finally:
        for job in jobs.values():
            job.cancel()
