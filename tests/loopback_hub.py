"""A hub on the loopback that speaks Hugging Face's and ModelScope's protocols, and fails in the ways that real lines do."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

SIZE = 3_000_000
REPO, FILE = "authors/model", "weights/model.pt"
"""A file of random bytes that tests of downloads bring, and where it lies."""


@dataclass
class Faults:
    """What goes wrong; each counts down where it is a number of times."""

    cut_after: int = 0
    """Bytes of one answer after which the line drops."""
    cuts: int = 10**9
    """How often it drops."""
    flip: int = -1
    """Index of a byte that arrives changed."""
    status: int = 0
    """Answered to everything."""
    longer: int = 0
    """Bytes that an answer has more than announced."""
    stall_after: int = -1
    """Place in the file from which on nothing comes any more, for as long as the test lasts."""
    silent: bool = False
    """No answer at all."""
    drip: float = 0.0
    """Seconds between pieces of 64 KiB."""
    redirect: bool = False
    away: str = ""
    """Address of another host, to which whoever asks for a file is sent."""
    list_away: str = ""
    """Address of another host, to which whoever asks ModelScope for its list of files is sent."""
    no_ranges: bool = False
    html: bool = False
    hostile: bool = False
    """ModelScope's list of files holds ../../x."""


@dataclass
class LoopbackHub:
    """files: {(repo, path): bytes}, in both protocols and as /plain/<path>; log: (method, path, Range) of every request."""

    url: str
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    log: list[tuple[str, str, str]] = field(default_factory=list)
    told: list[tuple[str, str, str]] = field(default_factory=list)
    """(path, Authorization, Cookie) of every request."""
    sent: int = 0
    """Bytes of bodies that went out."""
    commit: str = "c" * 40
    over: threading.Event = field(default_factory=threading.Event)

    def bodies(self) -> list[str]:
        """The Range of every request for a file's bytes."""
        return [wanted for method, path, wanted in self.log if method == "GET" and "/repo/files" not in path]


class Handler(BaseHTTPRequestHandler):
    """Answers for `hub`, which a subclass names."""

    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_CONNECT(self) -> None:
        """Asked for a tunnel, as a proxy is: there is none."""
        self.hub.log.append(("CONNECT", self.path, ""))
        if self.hub.faults.silent:
            self.hub.over.wait(60)
        else:
            self.plain(self.hub.faults.status or 502, b"")

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        parts, faults = urlsplit(self.path), self.hub.faults
        path, query = unquote(parts.path).strip("/"), {key: value[0] for key, value in parse_qs(parts.query).items()}
        self.hub.log.append((self.command, self.path, self.headers.get("Range", "")))
        self.hub.told.append((parts.path, self.headers.get("Authorization", ""), self.headers.get("Cookie", "")))
        if faults.silent:
            self.hub.over.wait(60)
            return
        if faults.status:
            self.plain(faults.status, b'{"Code": 1, "Message": "no", "Success": false}')
        elif address := "" if path.startswith("cdn/") else faults.list_away if path.endswith("/repo/files") else faults.away:
            self.send_response(302)
            self.hub_headers(*next(iter(self.hub.files)))
            self.send_header("Location", address)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith("api/v1/models/") and path.endswith("/repo/files"):
            self.listing(path.split("/", 3)[3].removesuffix("/repo/files"))
        elif path.startswith("api/v1/models/") and path.endswith("/repo"):
            self.file(path.split("/", 3)[3].removesuffix("/repo"), query["FilePath"], body)
        elif "/resolve/" in path:
            repo, _, rest = path.partition("/resolve/")
            if faults.redirect and not path.startswith("cdn/"):
                self.send_response(302)
                self.hub_headers(repo, rest.partition("/")[2])
                self.send_header("Location", f"{self.hub.url}/cdn/{path}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.file(repo.removeprefix("cdn/"), rest.partition("/")[2], body)
        elif path.startswith("plain/"):
            self.file("plain", path.removeprefix("plain/"), body)
        else:
            self.plain(404, b"{}")

    def plain(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        if status == 429 or status >= 500:
            self.send_header("Retry-After", "0")  # else ModelScope's client waits for seconds between its attempts
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if self.command == "GET" else b"")

    def listing(self, repo: str) -> None:
        found = [
            {
                "Path": path,
                "Name": path.rpartition("/")[2],
                "Type": "blob",
                "Size": len(data),
                "Sha256": hashlib.sha256(data).hexdigest(),
            }
            for (owner, path), data in self.hub.files.items()
            if owner == repo
        ]
        if self.hub.faults.hostile:
            found.append({"Path": "../../x", "Name": "x", "Type": "blob", "Size": 1, "Sha256": "0" * 64})
        if not found:
            self.plain(404, json.dumps({"Code": 10010205001, "Message": "no such model", "Success": False}).encode())
        else:
            self.plain(200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": found, "TotalCount": len(found)}}).encode())

    def hub_headers(self, repo: str, path: str) -> None:
        data = self.hub.files.get((repo, path), b"")
        digest = hashlib.sha256(data).hexdigest()
        if repo != "plain":
            self.send_header("X-Repo-Commit", self.hub.commit)
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("X-Linked-Etag", f'"{digest}"')
        self.send_header("ETag", f'"{digest if repo != "plain" else digest[:16]}"')

    def file(self, repo: str, path: str, body: bool) -> None:
        faults, data = self.hub.faults, self.hub.files.get((repo, path))
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if faults.html:
            self.plain(200, b"<html>log in</html>", "text/html")
            return
        start, total = 0, len(data)
        wanted = self.headers.get("Range", "")
        if wanted and not faults.no_ranges:
            start = int(wanted.removeprefix("bytes=").partition("-")[0])
        if start >= total > 0:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if faults.flip >= 0:
            data = data[: faults.flip] + bytes([data[faults.flip] ^ 1]) + data[faults.flip + 1 :]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.hub_headers(repo, path)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(total - start + faults.longer))
        self.end_headers()
        if body:
            self.pour(data[start:] + b"x" * faults.longer, start)

    def pour(self, data: bytes, start: int) -> None:
        faults, gone = self.hub.faults, 0
        while gone < len(data):
            piece = data[gone : gone + 65536]
            if faults.cut_after and faults.cuts > 0:
                piece = piece[: max(faults.cut_after - gone, 0)]
            if 0 <= faults.stall_after <= start + gone:
                self.hub.over.wait(60)
                return
            try:
                self.wfile.write(piece)
                self.wfile.flush()
            except OSError:
                return
            gone += len(piece)
            self.hub.sent += len(piece)
            if faults.cut_after and faults.cuts > 0 and gone >= faults.cut_after:
                faults.cuts -= 1
                self.close_connection = True
                self.connection.close()
                return
            time.sleep(faults.drip)


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    """A hub that answers on the loopback until the block ends."""
    hub = LoopbackHub("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.over.set()
        server.shutdown()
        server.server_close()


if __name__ == "__main__":  # pieces of the protocols by hand: python tests/loopback_hub.py
    with loopback_hub() as running:
        running.files["a/b", "model.bin"] = bytes(range(256)) * 4096
        print(running.url)
        threading.Event().wait()
