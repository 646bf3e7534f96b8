"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gradio import processing_utils
from starlette.middleware import Middleware

from zoo.ui.server.closed import OwnFiles, close
from zoo.ui.server.hosts import Hosts
from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.streams import StreamEnds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from fastapi import FastAPI

    from zoo.engine.hub import Hub
    from zoo.settings import Serving


def doors(hub: Hub, serving: Serving) -> list[Middleware]:  # noqa: ARG001
    """What every request passes before gradio sees it, the outermost first."""
    return [Middleware(OwnFiles), Middleware(StreamEnds), Middleware(PageCache)]


def opening(serving: Serving) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What happens to the server before its first request: the first door of all, before gradio's own, which tells every page elsewhere
    that it may ask; what this page has no use for is taken away; and the names of uploads can be told by nobody else, while gradio's own
    secret for them stands in a file beside its code, the same for all who took one image of a container."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.middleware_stack = Hosts(app.middleware_stack, serving)
        close(app.router.routes)
        processing_utils.hash_seed = secrets.token_bytes(16)
        yield

    return lifespan
