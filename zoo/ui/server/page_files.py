"""Small files of the page that the browser asks for by name: pictures that ship with it, and the table of its Chinese."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, QueryParams
from starlette.responses import PlainTextResponse, Response

from zoo.ui import language
from zoo.ui.parts import class_list
from zoo.ui.server.prefix import own_path

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

PATH = "/files"
FOLDER = Path(__file__).parent.parent / "files"
TYPES = {
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".mp4": "video/mp4",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
FOR_EVER, ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"
"""How long a browser keeps a file: one whose digest stands in its address does not change."""


@dataclass(frozen=True)
class PageFile:
    """One file as it is sent."""

    kind: str
    digest: str
    content: bytes
    packed: bytes | None
    """The same as gzip, where that is worth it: pictures are packed already."""

    @classmethod
    def of(cls, name: str, content: bytes) -> PageFile:
        """A file of this name; its ending says what it is."""
        suffix = Path(name).suffix
        packed = gzip.compress(content, mtime=0) if suffix in (".json", ".svg") else None
        return cls(TYPES[suffix], hashlib.sha256(content).hexdigest()[:16], content, packed)


@cache
def files() -> dict[str, PageFile]:
    """All files by name: those of the folder, the table of each language, and the names of each list's classes. They are read once."""
    found = {path.name: path.read_bytes() for path in sorted(FOLDER.glob("*")) if path.suffix in TYPES}
    twins = class_list.in_chinese() | language.table()
    found[f"{language.CHINESE}.json"] = json.dumps(twins, ensure_ascii=False, separators=(",", ":")).encode()
    found |= class_list.tables()
    return {name: PageFile.of(name, content) for name, content in found.items()}


def address(name: str) -> str:
    """Where the page finds a file, relative to itself, with the digest that lets a browser keep it. Raises KeyError."""
    return f"{PATH.lstrip('/')}/{name}?v={files()[name].digest}"


def of_classes() -> dict[str, dict[str, str]]:
    """The addresses of what the browser has of each list of classes, by the mark of its components: words, and pictures where there are."""
    known = {name.removesuffix(".json"): {"words": address(name)} for name in class_list.tables()}
    return {mark: part | ({"pictures": address(f"{mark}.webp")} if f"{mark}.webp" in files() else {}) for mark, part in known.items()}


class PageFiles:
    """Answers GET and HEAD of a file by its name; nothing here is secret, so it stands before a login."""

    def __init__(self) -> None:
        files()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        await answer(scope)(scope, receive, send)


def answer(scope: Scope) -> Response:
    """What a request for a file gets."""
    if scope["method"] not in ("GET", "HEAD"):
        return PlainTextResponse("Files of the page are only read: ask with GET.", 405, {"allow": "GET, HEAD"})
    file = files().get(own_path(scope).removeprefix(f"{PATH}/"))
    if file is None:
        return PlainTextResponse("The page has no file of this name.", 404, {"cache-control": "no-store"})
    asked = Headers(scope=scope)
    packed = file.packed is not None and _takes_gzip(asked.get("accept-encoding", ""))
    tag = f'"{file.digest}{"-gzip" if packed else ""}"'
    kept = FOR_EVER if QueryParams(scope["query_string"]).get("v") == file.digest else ASK_AGAIN
    headers = {"etag": tag, "cache-control": kept, "x-content-type-options": "nosniff"}
    if file.packed is not None:
        headers["vary"] = "Accept-Encoding"
    if tag in [each.strip().removeprefix("W/") for each in asked.get("if-none-match", "").split(",")]:
        return Response(status_code=304, headers=headers)
    content = file.packed if packed else file.content
    if packed:
        headers["content-encoding"] = "gzip"
    headers["content-length"] = str(len(content))
    return Response(b"" if scope["method"] == "HEAD" else content, headers=headers, media_type=file.kind)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding allows gzip: it is named, and not with a quality of nought."""
    for word in accepted.lower().split(","):
        name, _, quality = word.partition(";")
        if name.strip() == "gzip":
            return quality.strip() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
