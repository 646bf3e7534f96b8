"""What a visitor's run needs on every tab: its place in the engine, the Stop that ends it, and an ending that gives the buttons back.

A handler is a plain generator; it runs as a job of the engine, in a thread of that job, once there is a place for it. So a visitor who
waits costs no thread, and nothing that computes, draws or writes runs in the event loop of the server.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import gradio as gr
from gradio.context import LocalContext

from zoo.engine.job import Job
from zoo.engine.request import Progress
from zoo.engine.turn import current_job
from zoo.errors import ZooError
from zoo.ui.parts import markup
from zoo.ui.server.metrics import count_error

if TYPE_CHECKING:
    from starlette.requests import Request

    from zoo.engine.hub import Hub

PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}
"""Of every event that belongs to the page alone."""
LATEST = PRIVATE | {"trigger_mode": "always_last"}
"""Of what may be asked again while it is answered. All controls that it follows belong to one event (gr.on): of two events the answer to
the earlier may come last, and stay."""
HIDDEN = "hidden"
"""For `visible` of what comes and goes while something runs: it stays built. What is built anew each time that it is shown can lose what
it is told meanwhile, and others with it: a slow browser kept Cancel, and "not downloaded", after a quick download that way."""
NEEDLESS = "needless"
"""Class of what is not seen though `visible` says so, for children of a container that events show: gradio sets what it is told of a
container, `visible` too, in all that it holds, and may do so after what it was told of these."""
EVERY = 0.15
"""Seconds between two updates of a page, which would not hear Stop if they came faster."""
UNREAD = 8
"""Updates that may lie ready for somebody who does not fetch them, as a page in a tab that sleeps."""
STOPPED = "Stopped while waiting: nothing was started."


class Tab(Protocol):
    """A tab on which something runs."""

    hub: Hub
    flags: StopFlags

    def idle(self) -> dict:
        """What its buttons show when nothing runs."""

    def busy(self) -> dict:
        """What they show while something does."""

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence where the eye is; kind: plain | error | good."""


class RunButtons:
    """The two buttons of a tab on which something runs, of which one is seen at a time."""

    go: gr.Button
    halt: gr.Button

    def idle(self) -> dict:
        """What the buttons show when nothing runs."""
        return {self.go: gr.update(visible=True), self.halt: gr.update(visible=HIDDEN)}

    def busy(self) -> dict:
        """What they show while something runs."""
        return {self.go: gr.update(visible=HIDDEN), self.halt: gr.update(visible=True)}


def joined(updates: dict, more: dict) -> dict:
    """Two sets of updates, both of one component taken together."""
    return updates | {part: updates[part] | update if part in updates else update for part, update in more.items()}


class StopFlags:
    """What runs for each visitor of a tab, by session, so that it can be stopped."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    @contextmanager
    def running_job(self, job: Job) -> Iterator[None]:
        """Stop means this job meanwhile; however that ends, the job is over."""
        session, _ = client()
        self._jobs[session] = job
        try:
            yield
        finally:
            job.cancel()
            if self._jobs.get(session) is job:
                del self._jobs[session]

    def running(self, session: gr.Request) -> bool:
        """Whether anything runs for this visitor."""
        return session.session_hash in self._jobs

    def stop(self, session: gr.Request) -> None:
        """End what runs for this visitor, if anything does."""
        if job := self._jobs.get(session.session_hash):
            job.cancel()


def stop_flag() -> threading.Event:
    """The flag that ends the run for which this thread works."""
    job = current_job()
    return job.stop if job else threading.Event()


@contextmanager
def asked_by(request: Request) -> Iterator[None]:
    """Jobs made within are for whom a request is from that is no event of gradio: PyPI `spaces` reads there whose quota it takes."""
    before = LocalContext.request.set(gr.Request(request))
    try:
        yield
    finally:
        LocalContext.request.reset(before)


def client() -> tuple[str, str]:
    """Session and address of whom this event is from; behind a proxy that uvicorn trusts (FORWARDED_ALLOW_IPS) the address it forwards."""
    request = LocalContext.request.get(None)
    if request is None:
        return "", ""
    return request.session_hash or "", request.client.host if request.client else ""


def user() -> str:
    """What the limits of whom this event is from go by where he is logged in, on all his browsers; empty where no login is asked for."""
    request = LocalContext.request.get(None)
    return getattr(getattr(request, "request", None), "scope", {}).get("visitor", "")


async def read(job: Job) -> AsyncIterator[Any]:
    """What a job says to whom this event is from, no faster than it is fetched: else gradio would keep every update until it is. Ends
    early where he has left."""
    blocks, event = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    session, _ = client()
    async for item in job:
        yield item
        while not job.ended and blocks is not None and _unread(blocks, session) > UNREAD:
            if not getattr(blocks._queue.event_ids_to_events.get(event), "alive", False):
                return
            await asyncio.sleep(EVERY)


def _unread(blocks: gr.Blocks, session: str) -> int:
    """Updates that gradio holds for a session."""
    box = blocks._queue.pending_messages_per_session.get(session)
    return 0 if box is None else box.qsize()


def stoppable(seconds: Callable[..., float | None] | None = None) -> Callable:
    """Of a handler that generates: it waits for its place among the others, Stop ends it at any time, and whatever ends it, the tab's
    buttons come back, and an error is said in one sentence. seconds: of one core that it will take, from the tab and the values."""

    def decorate(handler: Callable[..., Iterator[dict]]) -> Callable[..., AsyncIterator[dict]]:
        @wraps(handler)
        async def run(self: Tab, *values: Any) -> AsyncIterator[dict]:
            try:
                job = new_job("run", seconds and seconds(self, *values), kind=_kind(self))
                with self.flags.running_job(job):
                    async for item in read(self.hub.engine.submit(job, lambda _: handler(self, *values))):
                        yield self.busy() | self.say(markup.waiting(item)) if isinstance(item, Progress) else item
                    if not job.started:
                        yield self.idle() | self.say(STOPPED)
            except Exception as error:
                yield self.idle() | self.say(sentence(error), "error")

        return run

    return decorate


def always_ends(handler: Callable[..., Iterator[dict]]) -> Callable[..., AsyncIterator[dict]]:
    """Of a handler that computes for moments, in its turn: whatever ends it, the tab's buttons come back, and an error is said."""

    @wraps(handler)
    async def run(self: Tab, *values: Any) -> AsyncIterator[dict]:
        job = new_job("quick", kind=_kind(self))
        try:
            async for item in read(self.hub.engine.submit(job, lambda _: handler(self, *values))):
                yield self.say(markup.waiting(item)) if isinstance(item, Progress) else item
        except Exception as error:
            yield self.idle() | self.say(sentence(error), "error")
        finally:
            job.cancel()

    return run


def new_job(lane: str, seconds: float | None = None, join: Callable[[Any, Any], Any] | None = None, kind: str = "") -> Job:
    """A job for whom this event is from, whose updates come as fast as a page can use them; join, kind: as of Job, join for others than
    updates."""
    session, address = client()
    account = user() or session
    words = {"lane": lane, "pace": EVERY, "join": join or _joined, "kind": kind, "name": user()}
    return Job(f"{account} {lane}" if account else "", address, seconds, **words)


def _kind(tab: Any) -> str:
    """As what the jobs of a tab are counted: ImageTab -> image."""
    return type(tab).__name__.removesuffix("Tab").removeprefix("Reachable").lower()


def _joined(earlier: Any, later: Any) -> dict | None:
    """Two updates of a page as one."""
    if not isinstance(earlier, dict) or not isinstance(later, dict):
        return None
    both = earlier | later
    for part in earlier.keys() & later.keys():
        if all(isinstance(one[part], dict) and one[part].get("__type__") == "update" for one in (earlier, later)):
            both[part] = earlier[part] | later[part]
    return both


def answers(handler: Callable[..., dict]) -> Callable[..., dict]:
    """A handler that answers at once: its errors are said in one sentence, and an empty answer changes nothing."""

    @wraps(handler)
    def answer(self: Tab, *values: Any) -> dict:
        try:
            return handler(self, *values) or gr.skip()
        except Exception as error:
            return self.say(sentence(error), "error")

    return answer


def computes(handler: Callable[..., dict]) -> Callable[..., Any]:
    """A handler that answers once something was computed, in its turn, with no thread meanwhile: as `answers` for the rest."""

    @wraps(handler)
    async def answer(self: Tab, *values: Any) -> dict:
        job = new_job("quick", kind=_kind(self))
        try:
            return await self.hub.engine.submit(job, lambda _: iter([handler(self, *values)])) or gr.skip()
        except Exception as error:
            return self.say(sentence(error), "error")

    return answer


def sentence(error: Exception) -> str:
    """What an error says to a visitor: its own words where he can mend it, else that it is a fault of this program, which is logged."""
    if job := current_job():
        job.failure = error
    count_error(error)
    if isinstance(error, ZooError):
        return str(error)
    places = " < ".join(f"{Path(place.filename).name}:{place.lineno}" for place in reversed(traceback.extract_tb(error.__traceback__)))
    words = "".join(letter if letter.isprintable() else " " for letter in f"{type(error).__name__}: {error}"[:300])
    logging.getLogger(__name__).error("a handler failed: %s, at %s", words, places[:600], extra={"fault": error})
    return f"This failed through a fault of the program ({type(error).__name__}), not of yours: try again, or choose other settings."
