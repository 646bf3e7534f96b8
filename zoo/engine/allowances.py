"""What one visitor may ask within a minute and make within a day, counted in memory, of a bounded number of visitors."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from zoo.engine.limits import network
from zoo.errors import BusyError

if TYPE_CHECKING:
    from zoo.engine.job import Job
    from zoo.engine.limits import Limits

MINUTE, DAY = 60.0, 86400.0
PARTS = 24
"""Of a minute, or a day: what was taken in one of them leaves the count together."""
VISITORS = 10_000
"""Whose counts are kept at most: those of whoever came longest ago are forgotten first."""


class Taken:
    """What each visitor has taken within the latest so many seconds."""

    def __init__(self, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.window, self.clock = window, clock
        self._taken: OrderedDict[str, deque[list[float]]] = OrderedDict()
        """By visitor, in the order in which they took something last: [when, amount] of each part, the earliest first."""
        self._lock = threading.Lock()

    def take(self, who: str, amount: int, most: int) -> float:
        """Take an amount where it is no more than `most` together with what was taken; 0.0, else the seconds until it can be."""
        with self._lock:
            now, parts = self.clock(), self._of(who)
            surplus = sum(count for _, count in parts) + amount - most
            if surplus > 0:
                return self._wait(parts, surplus, now)
            if not parts or self._part(parts[-1][0]) != self._part(now):
                parts.append([now, 0])
            parts[-1] = [now, parts[-1][1] + amount]
            self._taken[who] = parts
            self._taken.move_to_end(who)
            while len(self._taken) > VISITORS:
                self._taken.popitem(last=False)
            return 0.0

    def left(self, who: str, most: int) -> int:
        """What may still be taken of `most`."""
        with self._lock:
            return max(0, most - int(sum(count for _, count in self._of(who))))

    def give_back(self, who: str, amount: int) -> None:
        """As if so much of what was taken last had not been."""
        with self._lock:
            parts = self._taken.get(who, deque())
            while parts and amount > 0:
                back = min(amount, parts[-1][1])
                parts[-1][1] -= back
                amount -= back
                if not parts[-1][1]:
                    parts.pop()
            if not parts:
                self._taken.pop(who, None)

    def __len__(self) -> int:
        return len(self._taken)

    def _part(self, when: float) -> int:
        return int(when * PARTS / self.window)

    def _wait(self, parts: deque[list[float]], surplus: float, now: float) -> float:
        for when, amount in parts:
            surplus -= amount
            if surplus <= 0:
                return when + self.window - now + 0.001
        return math.inf

    def _of(self, who: str) -> deque[list[float]]:
        """What one visitor has taken; what no longer counts is let go of, all of it of those who have taken nothing since. The lock is
        held."""
        now = self.clock()
        while self._taken:
            other, parts = next(iter(self._taken.items()))
            if parts and parts[-1][0] + self.window > now:
                break
            del self._taken[other]
        parts = self._taken.get(who, deque())
        while parts and parts[0][0] + self.window <= now:
            parts.popleft()
        return parts


class Allowances:
    """Requests and pictures of each visitor, who is his login, or else his address; this machine's own is not counted unless asked."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests, self.pictures = Taken(MINUTE), Taken(DAY)

    def ask(self, job: Job) -> None:
        """Count a request, and its pictures; one that is over in moments, such as a look at a step, is none. Raises BusyError where it
        is one too many."""
        most, who = self.limits.requests_minute, self._who(job)
        if most is not None and who and job.lane != "quick" and (wait := self.requests.take(who, 1, most)):
            raise BusyError(f"{most} requests a minute are what one visitor may make here: try again in {_about(wait)}.", wait)
        self.draw(job)

    def draw(self, job: Job) -> None:
        """Count the pictures that a job will make. Raises BusyError where they are too many."""
        most, who = self.limits.pictures_day, self._who(job)
        if most is None or not who or not (count := pictures(job)):
            return
        if wait := self.pictures.take(who, count, most):
            left = self.pictures.left(who, most)
            ways = [f"ask for {left} at most"] if left else []
            ways += [f"try again in {_about(wait)}"] if wait < math.inf else []
            raise BusyError(
                f"{count} {'picture is' if count == 1 else 'pictures are'} too many: of {most} in 24 hours, which one visitor may make "
                f"here, each frame of a clip being one, {f'{left} are' if left > 1 else f'{left} is' if left else 'none is'} left: "
                f"{', or '.join(ways)}.",
                wait if wait < math.inf else None,
            )

    def settle(self, job: Job, error: BaseException | None) -> None:
        """A job has ended: what it did not make is given back, unless the visitor stopped it on its way."""
        count, who = pictures(job), self._who(job)
        if self.limits.pictures_day is not None and who and count and (error or not job.compute_seconds):
            self.pictures.give_back(who, count)

    def _who(self, job: Job) -> str:
        """Who is counted; empty for nobody."""
        if job.name:
            return f"login {job.name}"
        return "" if self.limits.counts_not(job) else network(job.address)


def pictures(job: Job) -> int:
    """Pictures that a job makes, each frame of a clip being one."""
    return len(job.request.seeds) * (job.request.frames or 1) if job.request else 0


def _about(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5400 else f"{math.ceil(seconds / 3600)} h"
