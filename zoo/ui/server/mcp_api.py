"""The Model Context Protocol at /gradio_api/mcp: the tools of this hub for language models, over streamable HTTP.

Not Gradio's own server of it: there a call waits in one of forty threads, comes from this machine whoever asked, and goes on when he left.
"""

from __future__ import annotations

import asyncio
import json
import logging
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gradio.route_utils import get_root_url
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from zoo.engine.job import Job
from zoo.engine.request import Progress
from zoo.errors import RequestError
from zoo.ui.parts import markup, runs
from zoo.ui.server import openai_api
from zoo.ui.server.mcp_tools import TOOLS, Tools

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.types import Receive, Scope, Send

PATH = "/gradio_api/mcp"
"""Where Gradio has it, and its clients look for it."""
MAX_BODY = 16 << 20
"""Bytes of a message, which may bring a picture."""
SESSIONS, IDLE = 500, 600.0
"""Sessions at once, and seconds after which one that nothing was asked in ends."""
AS = "Open this address with a client of the Model Context Protocol (streamable HTTP)."


def is_there() -> bool:
    """Whether the package that speaks the protocol is installed."""
    return find_spec("mcp") is not None


class McpApi:
    """An app that answers at PATH."""

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self._manager: asyncio.Future[StreamableHTTPSessionManager] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        request = Request(scope, receive)
        if request.url.path.endswith("/schema"):  # what Hugging Face reads of a Space
            await JSONResponse([{"name": name, **_described(name)} for name in TOOLS])(scope, receive, send)
        elif request.method == "GET" and "text/event-stream" not in request.headers.get("accept", ""):
            await PlainTextResponse(AS)(scope, receive, send)
        else:
            if self._manager is None:
                self._manager = asyncio.get_running_loop().create_future()
                self._speaking = asyncio.create_task(self._speak(self._manager))
            manager = await asyncio.shield(self._manager)
            await manager.handle_request(scope, receive, send)

    async def _speak(self, ready: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        """Keep the sessions, from the first request until the server ends."""
        manager = self._made()
        async with manager.run():
            ready.set_result(manager)
            await asyncio.Event().wait()

    def _made(self) -> StreamableHTTPSessionManager:
        from mcp import types
        from mcp.server.lowlevel import Server
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        server: Server = Server("Patchwork", instructions="Diffusion transformers: generate with them, compare them, look inside them.")

        @server.list_tools()
        async def list_tools() -> list[types.Tool]:
            return [types.Tool(name=name, **_described(name)) for name in TOOLS]

        @server.call_tool(validate_input=False)  # the endpoints say what is wrong in a sentence
        async def call_tool(name: str, words: dict[str, Any]) -> types.CallToolResult:
            try:
                facts, seen = await self._call(server, name, words)
            except Exception as error:
                return types.CallToolResult(content=[types.TextContent(type="text", text=runs.sentence(error))], isError=True)
            content = [types.TextContent(type="text", text=json.dumps(facts))]
            content += [types.ImageContent(type="image", data=data, mimeType="image/png") for data in seen]
            return types.CallToolResult(content=content, structuredContent=facts)

        logging.getLogger("mcp").setLevel(logging.CRITICAL)  # a client that leaves is a traceback to it; what fails here we log ourselves
        return StreamableHTTPSessionManager(server, session_idle_timeout=IDLE, max_sessions=SESSIONS, max_request_body_size=MAX_BODY)

    async def _call(self, server: Server, name: str, words: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Let a tool run as a job, telling how far it is; who cancels the call, or leaves, ends it."""
        context, answer = server.request_context, None
        request: Request = context.request
        root = get_root_url(request, request.url.path, request.scope.get("root_path"))
        address, lane = request.client.host if request.client else "", "quick" if name == "list_models" else "run"
        account = openai_api.account(request, request.headers.get("mcp-session-id"), lane)
        with runs.asked_by(request):
            job = Job(account, address, lane=lane, pace=runs.EVERY, kind="mcp", name=request.scope.get("visitor", ""))
        work = self.tools.call(name, words, lambda ticket: f"{root}{openai_api.PATH}/files/{ticket}")
        self.tools.hub.engine.submit(job, lambda _: work)
        leaving = asyncio.create_task(openai_api.cancel_when_left(request, job))
        token = context.meta.progressToken if context.meta else None
        try:
            async for item in job:
                if not isinstance(item, Progress):
                    answer = item
                elif token is not None:
                    await context.session.send_progress_notification(
                        token, item.step, item.total or None, _words(item), related_request_id=str(context.request_id)
                    )
        finally:
            job.cancel()
            leaving.cancel()
        if answer is None:
            raise RequestError("The call was stopped: nothing is answered.")
        return answer


def _described(name: str) -> dict[str, Any]:
    """Description and input of a tool."""
    schema = TOOLS[name].model_json_schema()
    return {"description": " ".join(schema.pop("description").split()), "inputSchema": schema}


def _words(item: Progress) -> str:
    """How far a call is."""
    return {"waiting": markup.waiting(item), "sampling": f"step {item.step} of {item.total}"}.get(item.stage, item.stage)
