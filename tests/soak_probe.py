"""Asks a server from a process of its own, with the real clients, again and again, and says how long each answer took.

`python -m tests.soak_probe URL FILE SECONDS` asks in turn for /list_models (with gradio_client, and over plain HTTP), for the page, and
for a finished picture, so many seconds between two questions, until its input ends; on stdout a JSON line for each: what was asked, when
(monotonic clock), seconds, error.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gradio_client import Client

ROOT = Path(__file__).parent.parent
PATIENCE = 120
"""Seconds after which a question is given up."""


@dataclass(frozen=True)
class Answer:
    """One question and its answer."""

    kind: str
    begun: float
    seconds: float
    error: str = ""


@dataclass
class Probe:
    """A probe at work."""

    process: subprocess.Popen
    answers: list[Answer] = field(default_factory=list)

    def read(self) -> None:
        """Take its answers until it ends."""
        for line in self.process.stdout:
            self.answers.append(Answer(**json.loads(line)))


@contextmanager
def probing(url: str, file: Path, pause: float) -> Iterator[list[Answer]]:
    """Meanwhile a probe asks; its answers so far, and all of them at the end."""
    command = [sys.executable, "-m", "tests.soak_probe", url, str(file), str(pause)]
    probe = Probe(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    reader = threading.Thread(target=probe.read, daemon=True)
    reader.start()
    try:
        yield probe.answers
    finally:
        probe.process.stdin.close()
        try:
            probe.process.wait(PATIENCE + 10)
        except subprocess.TimeoutExpired:
            probe.process.kill()
        reader.join(10)


def share(answers: Sequence[Answer], seconds: float) -> float:
    """Of so many answers the share that came in time; 0 where there are none."""
    return sum(one.seconds <= seconds for one in answers) / len(answers) if answers else 0.0


def lines(answers: Sequence[Answer], seconds: float) -> list[str]:
    """A line for each kind of question: how often, median, 95 of 100, worst, and the share within so many seconds."""
    text = []
    for kind in dict.fromkeys(one.kind for one in answers):
        own = [one for one in answers if one.kind == kind]
        took = sorted(one.seconds for one in own)
        text.append(
            f"  {kind:<26}{len(took):>7}{statistics.median(took):>8.3f} s{took[int(0.95 * (len(took) - 1))]:>8.3f} s{took[-1]:>8.3f} s"
            f"    {100 * share(own, seconds):.0f} % within {seconds:g} s"
        )
    return text


def main() -> None:
    """Ask until the input ends."""
    url, file, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    client = Client(url, verbose=False)

    def fetch(address: str | urllib.request.Request) -> bytes:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            content = answer.read()
        assert content
        return content

    def call() -> None:
        address = f"{url}gradio_api/call/list_models"
        post = urllib.request.Request(address, b'{"data": []}', {"Content-Type": "application/json"})
        assert fetch(f"{address}/{json.loads(fetch(post))['event_id']}").startswith(b"event: complete")

    questions: dict[str, Callable[[], object]] = {
        "/list_models": lambda: client.submit(api_name="/list_models").result(timeout=PATIENCE),
        "/list_models, plain HTTP": call,
        "GET /": lambda: fetch(url),
        "GET a finished picture": lambda: fetch(f"{url}gradio_api/file={file}"),
    }
    questions["/list_models"]()  # the client reads the machine's certificates at its first call
    while not over.is_set():
        for kind, ask in questions.items():
            begun, error = time.monotonic(), ""
            try:
                ask()
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
            print(json.dumps({"kind": kind, "begun": begun, "seconds": time.monotonic() - begun, "error": error}), flush=True)
        over.wait(pause)
    client.close()


if __name__ == "__main__":
    main()
