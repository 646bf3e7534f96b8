"""What visitors send: no more in one request than memory and disk can take, and no more on disk than all uploads together may."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gradio.utils import get_upload_folder
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from zoo.ui.server.prefix import own_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST, MOST_UPLOAD = 64 << 20, 256 << 20
"""Bytes of one request, which gradio reads into memory whole; and of one that uploads files, 50 MB each."""
SHARE, MOST_ON_DISK = 0.1, 5e9
"""Of the disk, and bytes, that all uploads may take: the smaller of the two. Gradio deletes them when they are a day old."""
YOUNG, EVERY = 3600.0, 60.0
"""Seconds that an upload stays at least, as somebody works with it; and for which a count of them all is believed."""
LEAST = 8192
"""Bytes that a file takes beside what is in it, with the folder that it has for itself."""


class Uploads:
    """The folder in which gradio keeps what visitors upload."""

    def __init__(self, folder: Path, most: float) -> None:
        """most: bytes that it may hold."""
        self.folder, self.most = folder, most
        self._counting = asyncio.Lock()
        self._held, self._arriving, self._counted_at = 0, 0, -EVERY

    @classmethod
    def here(cls) -> Uploads:
        """The folder of this process, which may be that of others of the same user."""
        folder = Path(get_upload_folder())
        there = next(one for one in (folder, *folder.parents) if one.is_dir())
        return cls(folder, min(MOST_ON_DISK, SHARE * shutil.disk_usage(there).total))

    async def fits(self, size: int) -> bool:
        """Whether so many bytes more may come, old uploads being deleted where they are in the way."""
        async with self._counting:
            if time.monotonic() - self._counted_at > EVERY or self._held + self._arriving + size > self.most:
                self._held = await asyncio.to_thread(self._count, self.most - self._arriving - size)
                self._counted_at = time.monotonic()
        return self._held + self._arriving + size <= self.most

    @contextmanager
    def arriving(self, size: int) -> Iterator[None]:
        """Count so many bytes that are about to come."""
        self._arriving += size + LEAST
        try:
            yield
        finally:
            self._arriving -= size + LEAST
            self._held += size + LEAST  # until they are counted

    def _count(self, most: float) -> int:
        """Bytes of all uploads; those older than an hour leave, the oldest first, until the others are no more than `most`. A link to a
        result takes no bytes of its own. Gradio, which deletes files, leaves their folders: those that are empty leave as well."""
        now, found, links = time.time(), [], 0
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):  # gone meanwhile, or a folder that is not empty
                state = path.stat()
                if not path.is_dir() and state.st_nlink == 1:
                    found.append((state.st_ctime, state.st_size + LEAST, path))
                elif not path.is_dir():
                    links += 1
                elif now - state.st_mtime > YOUNG:
                    path.rmdir()
        total = sum(size for _, size, _ in found) + links * LEAST
        for made, size, path in sorted(found):
            if total <= most or now - made < YOUNG:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
        return total


class Bodies:
    """Middleware that reads no more of a request than it may have."""

    def __init__(self, app: ASGIApp, uploads: Uploads) -> None:
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        upload = own_path(scope).endswith("/upload")
        most = MOST_UPLOAD if upload else MOST
        length = Headers(scope=scope).get("content-length", "")
        size = int(length) if length.isdecimal() else most
        if size > most:
            await _refusal(f"This request has {size:,} bytes, and {most:,} are taken at most.")(scope, receive, send)
        elif upload and not await self.uploads.fits(size):
            await _refusal("All uploads together take as much room as they may here: try again in an hour.", 507)(scope, receive, send)
        else:
            with self.uploads.arriving(size) if upload else contextlib.nullcontext():
                await self._read(most, scope, receive, send)

    async def _read(self, most: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a request on until it is longer than it may be, as one without a length can: then its sender is told so."""
        size, answered = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            return message if size <= most else {"type": "http.disconnect"}

        async def note(message: Message) -> None:
            nonlocal answered
            if size <= most or answered:
                answered = True
                await send(message)

        try:
            await self.app(scope, counted, note)
        except Exception:  # what gradio raises for a sender who has left
            if size <= most:
                raise
        if size > most and not answered:
            await _refusal(f"This request has more than {most:,} bytes, which are taken at most.")(scope, receive, send)


def _refusal(words: str, status: int = 413) -> PlainTextResponse:
    return PlainTextResponse(words, status, {"connection": "close"})
