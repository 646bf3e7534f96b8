"""A reverse proxy as operators have them: it offers a server under a path of its own, and what is not under that path does not exist."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import httpx
import uvicorn
from conftest import free_port
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

OWN = ("connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer")


@contextmanager
def proxied(target: str, prefix: str, strip: bool, headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address under which a server is offered, without a slash at its end; strip: whether the server is asked without the prefix."""
    client = httpx.AsyncClient(base_url=target, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))

    @asynccontextmanager
    async def closing(_: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    async def forward(request: Request) -> Response:
        path = request.url.path
        if path != prefix and not path.startswith(f"{prefix}/"):
            return PlainTextResponse("nothing is here", 404)
        path = (path.removeprefix(prefix) or "/") if strip else path
        given = {name: value for name, value in request.headers.items() if name not in OWN} | dict(headers or {})
        url = httpx.URL(path=path, query=request.url.query.encode())
        asked = client.build_request(request.method, url, headers=given, content=request.stream())
        answer = await client.send(asked, stream=True)
        told = [(name, value) for name, value in answer.headers.multi_items() if name not in OWN]
        response = StreamingResponse(answer.aiter_raw(), answer.status_code, background=BackgroundTask(answer.aclose))
        response.raw_headers = [(name.encode(), value.encode()) for name, value in told]
        return response

    methods = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]
    app = Starlette(routes=[Route("/{path:path}", forward, methods=methods)], lifespan=closing)
    server = uvicorn.Server(uvicorn.Config(app, port=(port := free_port()), log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}{prefix}"
    finally:
        server.should_exit = True
        thread.join(30)
