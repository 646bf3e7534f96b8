"""What gradio serves beside a page and this page has no use for: it is taken away, so that nobody else finds a use."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

CLOSED = {
    "/proxy={url_path:path}": "fetches addresses from inside",
    "/file/{path:path}": "an older form of /file=",
    "/process_recording": "runs ffmpeg on what is sent, and leaves it on disk",
    "/component_server": "calls methods of components; those of this page have none for visitors",
    "/custom_component/{id}/{environment}/{type}/{file_name}": "files of components that are not gradio's own",
    "/dev/reload": "a stream without end",
    "/deep_link": "writes what a session shows into a file for others",
    "/stream/": "sound and film of a session, as it comes",
    "/monitoring": "figures of all calls",
    "/pwa_icon": "an icon of any size that is asked for",
    "/runs": "a history in somebody's storage",
    "/vibe-": "changes the program by what a language model writes",
    "/undo-vibe-edit": "the same, back",
}
"""How their paths begin, after the prefix of the API, and why."""
URL = re.compile(r"/file=\s*[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Of a request for a file that names no file of this machine, but an address (a drive has one letter)."""
HISTORY = re.compile(r"/file=.*\.history(/|$)", re.IGNORECASE | re.DOTALL)
"""Of one for the list of a visitor's results, which is the hub's own."""


def close(routes: list[Any]) -> None:
    """Take such routes away from those of a server, which holds them in lists of lists."""
    for route in [*routes]:
        if inner := getattr(getattr(route, "original_router", None), "routes", None):
            close(inner)
        elif is_closed(getattr(route, "path", "")):
            routes.remove(route)


def is_closed(path: str) -> bool:
    """Whether a route of this path is taken away."""
    return path.removeprefix("/gradio_api").startswith((*CLOSED,))


class OwnFiles:
    """Middleware: a file that is asked for is one that the hub made; gradio would fetch an address as well, and give it on as its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] == "http" and (URL.search(scope["path"]) or HISTORY.search(scope["path"])):
            await PlainTextResponse("This is no file that the hub made for you: ask for one that it named.", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
