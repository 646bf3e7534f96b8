"""What machines ask of the server beside the page: /health, of everybody, and /metrics, of whoever may read it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response

from zoo.engine.limits import is_local
from zoo.ui.server.hosts import HEALTH, host_name, is_loopback, through_proxy
from zoo.ui.server.prefix import own_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from zoo.ui.server.health import Health
    from zoo.ui.server.metrics import Metrics


class Probes:
    """Middleware that answers both; outside of it stands the door of a login, which lets /health through to it, and nothing else."""

    def __init__(self, app: ASGIApp, health: Health, metrics: Metrics, readable: bool | None) -> None:
        """readable: whether whoever may open the page may read the metrics; None: this machine's own programs only."""
        self.app, self.health, self.metrics, self.readable = app, health, metrics, readable

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        path = own_path(scope) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else ""
        if path == HEALTH:
            await (await self._health())(scope, receive, send)
        elif path == "/metrics":
            await (await self._metrics(scope))(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _health(self) -> Response:
        state = await self.health.state()
        words = {"state": state.word} | ({"reason": state.reason} if state.reason else {})
        return JSONResponse(words, 200 if state.word == "ready" else 503, {"cache-control": "no-store"})

    async def _metrics(self, scope: Scope) -> Response:
        if not (_from_here(scope) if self.readable is None else self.readable):
            return PlainTextResponse("Not Found", 404)
        return Response(await asyncio.to_thread(self.metrics.text), headers={"cache-control": "no-store"}, media_type=CONTENT_TYPE_LATEST)


def _from_here(scope: Scope) -> bool:
    """Whether a program of this machine asks, and for nobody else."""
    host, client = host_name(Headers(scope=scope).get("host", "")), scope.get("client")
    return client is not None and is_local(client[0]) and is_loopback(host) and not through_proxy(scope)
