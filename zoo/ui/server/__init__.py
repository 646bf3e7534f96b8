"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from zoo.ui.server.login import guard_of
from zoo.ui.server.login.door import LoginDoor
from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.streams import StreamEnds

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.settings import Serving


def doors(hub: Hub, serving: Serving) -> list[Middleware]:
    """What every request passes before gradio sees it, the outermost first. Raises LoginError."""
    guard = guard_of(hub, serving)
    login = [Middleware(LoginDoor, guard=guard)] if guard else []
    return [Middleware(StreamEnds), *login, Middleware(PageCache)]
