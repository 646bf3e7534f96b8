"""Another program on the same port as the page: what is asked below one path goes to it, past gradio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.ui.server.prefix import own_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class Branch:
    """Middleware that gives what is asked at a path, and below it, to another app; all else goes on."""

    def __init__(self, app: ASGIApp, path: str, branch: ASGIApp) -> None:
        """path: without a slash at its end, as it is below a root path."""
        self.app, self.path, self.branch = app, path, branch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        asked = own_path(scope) if scope["type"] == "http" else ""
        here = asked == self.path or asked.startswith(f"{self.path}/")
        await (self.branch if here else self.app)(scope, receive, send)
