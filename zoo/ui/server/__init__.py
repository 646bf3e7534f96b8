"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.streams import StreamEnds

if TYPE_CHECKING:
    from zoo.catalog.settings import Serving
    from zoo.engine.hub import Hub


def doors(hub: Hub, serving: Serving) -> list[Middleware]:  # noqa: ARG001
    """What every request passes before gradio sees it, the outermost first."""
    return [Middleware(StreamEnds), Middleware(PageCache)]
