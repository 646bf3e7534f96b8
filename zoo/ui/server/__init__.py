"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from zoo.ui.server import openai_api
from zoo.ui.server.branch import Branch
from zoo.ui.server.file_tickets import FileTickets
from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.streams import StreamEnds

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.settings import Serving


def doors(hub: Hub, serving: Serving) -> list[Middleware]:  # noqa: ARG001
    """What every request passes before gradio sees it, the outermost first."""
    tickets = FileTickets()
    beside = [Middleware(Branch, path=openai_api.PATH, branch=openai_api.OpenAiApi(hub, tickets))]
    return [*beside, Middleware(StreamEnds), Middleware(PageCache)]
