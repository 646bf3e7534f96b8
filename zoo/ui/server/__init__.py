"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from zoo.ui.server import mcp_api, openai_api
from zoo.ui.server.branch import Branch
from zoo.ui.server.file_tickets import FileTickets
from zoo.ui.server.mcp_tools import Tools
from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.streams import StreamEnds

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.inside.inspector import Looker
    from zoo.settings import Serving


def doors(hub: Hub, serving: Serving, looker: Looker) -> list[Middleware]:  # noqa: ARG001
    """What every request passes before gradio sees it, the outermost first."""
    tickets = FileTickets()
    beside = [Middleware(Branch, path=openai_api.PATH, branch=openai_api.OpenAiApi(hub, tickets))]
    if mcp_api.is_there():
        beside.append(Middleware(Branch, path=mcp_api.PATH, branch=mcp_api.McpApi(Tools(hub, looker, tickets))))
    return [Middleware(StreamEnds), *beside, Middleware(PageCache)]
