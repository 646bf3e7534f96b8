"""ZeroGPU as far as a machine without a GPU can be it: the service that lends GPUs, on loopback, and PyPI `spaces` as it is.

As a script, `python zero_gpu_place.py FILE ...` runs a file there: `spaces` emulates CUDA in this process, where a call that really
needs it raises, and in the forked ones tensors come to the memory of the CPU, not of a GPU. Nothing else of it is changed.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Lender:
    """The service: what was asked of it, and how it answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        """(what, its words) of every call."""
        self.refusal: dict | None = None
        """Left seconds and wait, with which it refuses."""
        self.holds = threading.Event()
        """Whether it lets those who ask wait."""
        self.url = ""

    def of(self, what: str) -> list[dict[str, str]]:
        """The words of the calls of one kind."""
        return [words for name, words in self.asked if name == what]


def _handler(lender: Lender) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            address = urllib.parse.urlparse(self.path)
            what, words = address.path.strip("/"), dict(urllib.parse.parse_qsl(address.query))
            lender.asked.append((what, words))
            if what != "schedule":
                self.answer(200, b"")
            elif lender.refusal:
                self.answer(429, json.dumps(lender.refusal).encode())
            elif lender.holds.is_set():
                self.hold()
            else:
                self.answer(200, json.dumps(self.gpu()).encode())

        def gpu(self) -> dict:
            number = len(lender.of("schedule"))
            return {"idle": False, "nvidiaIndex": number, "nvidiaUUID": f"GPU-{number}", "allowToken": f"token {number}"}

        def hold(self) -> None:
            """Let somebody wait, a ping at a time, as the service does."""
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                while lender.holds.is_set():
                    self.wfile.write(b"event: ping\n\n")
                    self.wfile.flush()
                    time.sleep(0.2)
                self.wfile.write(f"event: succeeded\ndata: {json.dumps(self.gpu())}\n\n".encode())
            except OSError:
                lender.asked.append(("left", {}))

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def lending() -> Iterator[Lender]:
    """The service, on a port of loopback."""
    lender = Lender()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(lender))
    lender.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield lender
    finally:
        lender.holds.clear()
        server.shutdown()
        server.server_close()


def to_memory(callback: object = None) -> None:
    """In a fork: what was put onto the GPU to be is where its data is."""
    from spaces.zero.torch import patching

    for fake, original in list(patching.cuda_aliases.items()):
        fake.data = original


def never() -> bool:
    """Whether CUDA was up before a fork."""
    return False


def main() -> None:
    """Run a file with `spaces` in force."""
    import torch

    torch.version.cuda = torch.version.cuda or "13.0"  # it reads what a build with CUDA has
    torch._C._cuda_init = getattr(torch._C, "_cuda_init", None)
    torch.cuda._is_in_bad_fork = never
    import spaces.zero.torch as stand_in

    stand_in.init = lambda uuid: None  # would bring CUDA up
    stand_in.pack = stand_in.size  # would write the weights to disk by O_DIRECT, to be read into a GPU
    stand_in.move = to_memory
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
