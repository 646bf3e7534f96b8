"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

from starlette.middleware import Middleware

from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.streams import StreamEnds


def doors() -> list[Middleware]:
    """What every request passes before gradio sees it, the outermost first."""
    return [Middleware(StreamEnds), Middleware(PageCache)]
