"""The page as it is sent to everybody: described once and then given on as bytes, however many come at a time.

Gradio copies the description of the whole page, 0.6 MB, for each visitor who comes, in a thread of his own; fifty such threads keep
everybody else, the event loop first, from Python's lock for half a minute.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.ui import language
from zoo.ui.server import page_files

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/", "/config", "/config/")
"""What describes the page: to a browser, and to a program."""
NAMES = (b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")
"""Headers that say under which address the page was asked for, which stands in it."""
FIRST = (Path(language.__file__).with_name("first.js")).read_text(encoding="utf-8")
"""A script that must run before gradio, which adds those of ours to its page only once it has started."""
BASE = b'<base href="./" />'
"""To which the page's links are relative: wrong where a proxy offers it under a path, and it was asked for without the slash behind it."""
AWAY = re.compile(rb'<script\s+src="https?://[^>]*></script>|<link\s+rel="preconnect"[^>]*>')
"""What gradio 6.2 has on its page that asks other machines: for a script that sizes frames, and for fonts, of which ours needs none."""
MOST = 16
"""Descriptions that are kept, of as many addresses and queries, the least recently used leaving first."""


class PageCache:
    """Innermost middleware of the server: answers for the page's description, one of which is made at a time.

    Whether there is a page is answered without one: gradio asks that once it has started the server, and gives up after 3 s.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._answers: OrderedDict[tuple[Any, ...], list[Message]] = OrderedDict()
        self._making = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] == "http" and scope["method"] == "HEAD" and scope["path"] == "/":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html; charset=utf-8")]})
            await send({"type": "http.response.body"})
            return
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in PATHS:
            await self.app(scope, receive, send)
            return
        names = tuple(pair for pair in scope["headers"] if pair[0] in NAMES)
        key = (scope["path"], scope["query_string"], scope["scheme"], scope.get("root_path", ""), names)
        if (answer := self._answers.get(key)) is None:
            async with self._making:
                answer = self._answers.get(key) or await self._ask(key, scope, receive)
        if key in self._answers:
            self._answers.move_to_end(key)
        for message in answer:
            await send(message)

    async def _ask(self, key: tuple[Any, ...], scope: Scope, receive: Receive) -> list[Message]:
        answer: list[Message] = []

        async def note(message: Message) -> None:
            answer.append(message)

        await self.app(scope, receive, note)
        if answer and answer[0].get("status") == 200:
            if scope["path"] == "/":
                root = scope.get("root_path", "")
                first = FIRST.replace("TABLE", page_files.address(f"{language.CHINESE}.json"))
                base = f'<base href="{root}/" />'.encode() if root else BASE
                answer = _ours(answer, base + f"<script>{first}</script>".encode())
            self._answers[key] = answer
            while len(self._answers) > MOST:
                self._answers.popitem(last=False)
        return answer


def _ours(answer: list[Message], base: bytes) -> list[Message]:
    """A page whose links are relative to the path under which it is offered, and that asks no other machine. base: and what follows it."""
    body = AWAY.sub(b"", b"".join(message.get("body", b"") for message in answer[1:]).replace(BASE, base, 1))
    headers = [(name, value) for name, value in answer[0]["headers"] if name != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    return [answer[0] | {"headers": headers}, {"type": "http.response.body", "body": body}]
