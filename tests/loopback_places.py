"""What loopback hubs of Spaces and studios share: accounts, what is there, faults, and a server."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

REPO = r"([\w.-]+/[\w.-]+)"
"""A route's owner and name."""


@dataclass
class Fault:
    """What goes wrong with requests of a method whose path fits: a status, `drop` before it is done, `lose` the answer after it, be
    `silent`, or what somebody else does at that moment."""

    method: str
    path: str
    how: int | str | Callable[[], object]
    times: int = 1


@dataclass
class Place:
    """One Space or studio."""

    files: dict[str, bytes] = field(default_factory=dict)
    private: bool = False
    hardware: str = "cpu-basic"
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    volumes: list[dict] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    """Their messages, the oldest first."""
    stages: list[str] = field(default_factory=list)
    """What is still to be told, one a look; the last stays."""
    description: str = ""
    restarts: int = 0

    @property
    def sha(self) -> str:
        """Of the newest commit."""
        return hashlib.sha1(json.dumps([self.commits, sorted(self.files)]).encode()).hexdigest()


@dataclass
class LoopbackPlaces:
    """tokens: {token: (user, role)}; paid: users who may have any hardware; log: (method, path) of every request."""

    url: str
    folder: Path
    """Where the git repositories of studios lie."""
    tokens: dict[str, tuple[str, str]] = field(default_factory=lambda: {"hf_write": ("me", "write"), "hf_read": ("me", "read")})
    paid: set[str] = field(default_factory=lambda: {"me"})
    places: dict[str, Place] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    received: int = 0
    """Bytes of bodies that came in."""
    ending: list[str] = field(default_factory=lambda: ["BUILDING", "APP_STARTING", "RUNNING"])
    """The stages that follow a change."""
    logs: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def asked(self, method: str, path: str) -> int:
        """How often this was asked."""
        return sum(1 for done, place in self.log if done == method and re.search(path, place))


class Handler(BaseHTTPRequestHandler):
    """Answers for `hub`, which a subclass names, by the first of its routes that fits."""

    hub: LoopbackPlaces
    routes: ClassVar[dict[str, Callable[..., None]]] = {}
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.serve()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the server's names

    def serve(self) -> None:
        path, length = unquote(urlsplit(self.path).path), int(self.headers.get("Content-Length") or 0)
        self.body = self.chunks() if self.headers.get("Transfer-Encoding") == "chunked" else self.rfile.read(length)
        self.hub.received += len(self.body)
        self.hub.log.append((self.command, path))
        fault = next((f for f in self.hub.faults if f.times and f.method == self.command and re.search(f.path, path)), None)
        if fault:
            fault.times -= 1
            if fault.how == "silent":
                self.hub.over.wait(60)
            if fault.how in ("drop", "silent"):
                self.close_connection = True
                return
            if isinstance(fault.how, int):
                self.answer({"error": "not now"}, fault.how)
                return
        if fault and callable(fault.how):
            fault.how()
        self.lost = fault is not None and fault.how == "lose"
        self.user, self.role = self.hub.tokens.get(self.token(), ("", ""))
        for pattern, handler in self.routes.items():
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                handler(self, *match.groups())
                return
        self.answer({"error": f"no such path {path}"}, 404)

    def chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def token(self) -> str:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        return base64.b64decode(value).decode().partition(":")[2] if kind == "Basic" else value

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"{}")

    def answer(self, content: Any, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        if getattr(self, "lost", False):
            self.close_connection = True
            return
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        if status == 429 or status >= 500:
            headers["Retry-After"] = "0"
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def writable(self, repo: str) -> Place | None:
        """The place, where this user may change it; else the refusal is sent."""
        if not self.user:
            self.answer({"error": "Invalid credentials in Authorization header"}, 401)
        elif repo not in self.hub.places:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        elif repo.partition("/")[0] != self.user or self.role != "write":
            self.answer({"error": "You don't have the rights to do this"}, 403)
        else:
            return self.hub.places[repo]
        return None


@contextmanager
def loopback_places(folder: Path, *kinds: type[Handler]) -> Iterator[LoopbackPlaces]:
    """A server of these kinds of hubs, which answers on the loopback until the block ends."""
    hub = LoopbackPlaces("", folder)
    routes = {pattern: answer for kind in kinds for pattern, answer in kind.routes.items()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", kinds, {"hub": hub, "routes": routes}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hub
    finally:
        hub.over.set()
        server.shutdown()
        server.server_close()
