"""What the server keeps of each visitor's session: only what belongs to him, for a bounded number of them, and not for ever.

Gradio copies the description of the whole page into every session, about 1 MB and a third of a second of work, so that a link can bring
it back ("deep links"), which this page does not offer; and it keeps 10,000 sessions, a call of the API being one. Both are settled here by
subclasses of its public classes, put in the place of its own once the page is launched.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
from typing import TYPE_CHECKING, Any

from gradio import mcp, route_utils
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache

if TYPE_CHECKING:
    import gradio as gr

MOST = 500
"""Sessions that are kept at once."""
UNUSED = 24 * 3600
"""Seconds after which a session that nothing was asked in is forgotten; one whose page was closed after an hour."""
CLOSED = 3600


class Sessions(StateHolder):
    """The sessions of all visitors; the least recently used leave first, those that hold nothing of a visitor before all others."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = LeanSession(self.blocks)
        self.time_last_used[session_id] = dt.datetime.now()
        self.update(session_id)
        return self.session_data[session_id]

    def update(self, session_id: str) -> None:
        """Mark a session as used now, and let others go where there are too many."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            while len(self.session_data) > self.capacity:
                others = [name for name in self.session_data if name != session_id]
                empty = (name for name in others if not self.session_data[name].state_data)
                self._forget(next(empty, others[0]))

    def delete_all_expired_state(self) -> None:
        """Forget what is older than it may be; the server asks for this every second."""
        super().delete_all_expired_state()
        now = dt.datetime.now()
        with self.lock:
            for name, session in list(self.session_data.items()):
                seconds = (now - self.time_last_used.get(name, now)).total_seconds()
                if seconds > (CLOSED if session.is_closed else UNUSED):
                    self._forget(name)

    def _forget(self, name: str) -> None:
        self.session_data.pop(name, None)
        self.time_last_used.pop(name, None)
        queue = self.blocks._queue  # which keeps what nobody fetched, and an empty box of everybody who did
        if not any(event in queue.event_ids_to_events for event in queue.pending_event_ids_session.get(name, ())):
            queue.pending_event_ids_session.pop(name, None)
            queue.pending_messages_per_session.pop(name, None)


class LeanSession(SessionState):
    """A session without the copy of the page's description."""

    def __init__(self, blocks: gr.Blocks) -> None:
        self.blocks_config = copy.copy(blocks.default_config)
        self.config_values = Unwritten()
        self.state_data = {}
        self._state_ttl = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = CLOSED


class Unwritten(dict):
    """Takes the descriptions of components and keeps none."""

    def __setitem__(self, key: int, value: Any) -> None:
        """Forget it."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: int) -> dict[str, Any]:
        return {}


class Mailboxes(LRUCache):
    """What waits to be told to each session; what is told to one that is gone is lost.

    Gradio keeps 2,000, and raises KeyError for the others in the one task that hands out all events: the hub then answers nobody again.
    """

    def __missing__(self, session: str) -> asyncio.Queue:
        return asyncio.Queue()


def bound(page: gr.Blocks, most: int = MOST) -> None:
    """Keep at most so many sessions of a page that was just launched; those without a name, which end with their call, are lean as well."""
    for module in (route_utils, mcp):
        module.SessionState = LeanSession
    sessions = Sessions()
    page.state_session_capacity = most
    sessions.set_blocks(page)
    page.app.state_holder = sessions
