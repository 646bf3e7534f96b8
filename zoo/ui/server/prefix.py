"""The path under which a proxy offers the page, where the proxy leaves it on what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


def own_path(scope: Scope) -> str:
    """The path of a request below the one under which a proxy offers the page, as the routes know it."""
    whole, above = scope["path"], scope.get("root_path", "").rstrip("/")
    return whole[len(above) :] or "/" if above and f"{whole}/".startswith(f"{above}/") else whole


class Prefix:
    """Outermost middleware: takes the prefix off, so that nothing behind it need know whether the proxy did."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        """prefix: as /patchwork."""
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        path = scope.get("path", "")
        if path == self.prefix or path.startswith(f"{self.prefix}/"):
            raw = scope.get("raw_path") or b""
            scope = scope | {"path": path.removeprefix(self.prefix) or "/", "raw_path": raw.removeprefix(self.prefix.encode()) or b"/"}
        await self.app(scope, receive, send)
