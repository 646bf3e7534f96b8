"""Streams of events: each event at once, and an end where the session is gone, or never was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class StreamEnds:
    """Middleware that lets a stream end whose session is gone, and asks proxies not to hold back the events of any.

    Gradio says in it what is wrong, and then raises a 404, which nobody can be told any more: the answer has begun with 200, and what was
    raised would fill the log, whoever asks.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        begun = False

        async def note(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if any(name == b"content-type" and kind.startswith(b"text/event-stream") for name, kind in message["headers"]):
                    message = message | {"headers": [*message["headers"], (b"x-accel-buffering", b"no")]}  # nginx would collect them
            await send(message)

        try:
            await self.app(scope, receive, note)
        except RuntimeError as error:  # Starlette's word for something raised too late
            if not begun or not isinstance(error.__cause__, HTTPException):
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})
