"""What a visitor's run needs on every tab: the flag that stops it, and an ending that always gives the buttons back."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol

import gradio as gr

from zoo.errors import ZooError

PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}
"""Of every event that belongs to the page alone."""


class Tab(Protocol):
    """A tab on which something runs."""

    def idle(self) -> dict:
        """What its buttons show when nothing runs."""

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence where the eye is; kind: plain | error | good."""


class StopFlags:
    """A switch for each visitor, by session, that stops what runs for him."""

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}

    @contextmanager
    def new_flag(self, session: gr.Request) -> Iterator[threading.Event]:
        """A fresh switch for the time that something runs."""
        event = self._events[session.session_hash] = threading.Event()
        try:
            yield event
        finally:
            if self._events.get(session.session_hash) is event:
                del self._events[session.session_hash]

    def running(self, session: gr.Request) -> bool:
        """Whether anything runs for this visitor."""
        return session.session_hash in self._events

    def stop(self, session: gr.Request) -> None:
        """Set the switch of this visitor, if anything runs for him."""
        if event := self._events.get(session.session_hash):
            event.set()


def always_ends(handler: Callable[..., Iterator[dict]]) -> Callable[..., Iterator[dict]]:
    """A handler that runs something: whatever ends it, the tab's buttons come back, and an error is said in one sentence."""

    @wraps(handler)
    def run(self: Tab, *values: Any) -> Iterator[dict]:
        try:
            yield from handler(self, *values)
        except Exception as error:
            yield self.idle() | self.say(sentence(error), "error")

    return run


def answers(handler: Callable[..., dict]) -> Callable[..., dict]:
    """A handler that answers at once: its errors are said in one sentence, and an empty answer changes nothing."""

    @wraps(handler)
    def answer(self: Tab, *values: Any) -> dict:
        try:
            return handler(self, *values) or gr.skip()
        except Exception as error:
            return self.say(sentence(error), "error")

    return answer


def sentence(error: Exception) -> str:
    """What an error says to a visitor: its own words where he can mend it, else that it is a fault of this program, which is logged."""
    if isinstance(error, ZooError):
        return str(error)
    logging.getLogger(__name__).error("a handler failed", exc_info=error)
    return f"This failed through a fault of the program ({type(error).__name__}), not of yours: try again, or choose other settings."
