"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

import re
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gradio import processing_utils
from starlette.middleware import Middleware

from zoo.ui.server import mcp_api, openai_api, page_files
from zoo.ui.server.bodies import Bodies, Uploads
from zoo.ui.server.branch import Branch
from zoo.ui.server.closed import OwnFiles, close
from zoo.ui.server.file_tickets import FileTickets
from zoo.ui.server.health import Health
from zoo.ui.server.hosts import Hosts
from zoo.ui.server.login import guard_of
from zoo.ui.server.login.door import LoginDoor
from zoo.ui.server.mcp_tools import Tools
from zoo.ui.server.metrics import Metrics
from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.prefix import Prefix
from zoo.ui.server.probes import Probes
from zoo.ui.server.streams import StreamEnds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from fastapi import FastAPI

    from zoo.catalog.settings import Serving
    from zoo.engine.hub import Hub
    from zoo.inside.inspector import Looker


def doors(hub: Hub, serving: Serving, looker: Looker) -> list[Middleware]:
    """What every request passes before gradio sees it, the outermost first. Raises LoginError."""
    guard = guard_of(hub, serving)
    path = re.sub(r"^https?://[^/]*", "", serving.root_path)
    tickets = FileTickets()
    beside = [Middleware(Branch, path=openai_api.PATH, branch=openai_api.OpenAiApi(hub, tickets))]
    if mcp_api.is_there():
        beside.append(Middleware(Branch, path=mcp_api.PATH, branch=mcp_api.McpApi(Tools(hub, looker, tickets))))
    return [
        *([Middleware(Prefix, path)] if path else []),
        Middleware(OwnFiles),
        Middleware(StreamEnds),
        Middleware(Branch, path=page_files.PATH, branch=page_files.PageFiles()),
        *([Middleware(LoginDoor, guard=guard)] if guard else []),
        Middleware(Bodies, uploads=Uploads.here()),
        Middleware(Probes, health=Health.of(hub), metrics=Metrics.of(hub), readable=serving.metrics),
        *beside,
        Middleware(PageCache),
    ]


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
