"""What happens in the engine, told as it happens to whoever counts it or writes it down."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.catalog.sources import Transfer
    from zoo.engine.job import Job


class Watcher:
    """Is told by the thread in which something happens, while nothing is locked: it must be done in moments and never wait."""

    def begun(self, job: Job) -> None:
        """A job has found a place, and works."""

    def ended(self, job: Job, error: BaseException | None) -> None:
        """A job has ended, or left the queue; error: what its work raised."""

    def refused(self, job: Job, error: Exception) -> None:
        """A job was not taken."""

    def computed(self, seconds: float, rows: int) -> None:
        """A turn is over, or several that shared a pass. seconds: of cores; rows: of that pass, 0 where it could not be shared."""

    def stepped(self, pictures: int) -> None:
        """So many pictures have come one step further."""

    def arrived(self, size: int) -> None:
        """So many bytes of weights were downloaded."""

    def downloaded(self, models: Sequence[str], size: int, seconds: float, error: BaseException | None) -> None:
        """A download is over, however it ended; size: the bytes that came."""


class Watchers(list[Watcher]):
    """All who watch one engine."""

    def tell(self, what: str, *values: object) -> None:
        """Call this method of each; what one of them raises is logged, and disturbs nobody."""
        for one in self:
            try:
                getattr(one, what)(*values)
            except Exception as error:
                logging.getLogger(__name__).error("a watcher failed: %s", type(error).__name__, exc_info=error)


def outcome(job: Job, error: BaseException | None) -> str:
    """How a job ended, in a word: done | cancelled | failed."""
    if error or job.failure:
        return "failed"
    return "cancelled" if job.stop.is_set() or not job.started else "done"


def told(transfers: Iterator[Transfer], models: Sequence[str], watchers: Watchers) -> Iterator[Transfer]:
    """What a download says of itself, its watchers told as well."""
    done: dict[str, int] = {}
    size, begun, failure = 0, time.monotonic(), None
    try:
        with closing(transfers):
            for item in transfers:
                size += (came := max(0, item.done - done.get(item.model, item.done)))
                done[item.model] = item.done
                watchers.tell("arrived", came)
                yield item
    except BaseException as error:
        failure = error
        raise
    finally:
        watchers.tell("downloaded", models, size, time.monotonic() - begun, failure)
