"""A soak: `python -m tests.soak --minutes 10 --visitors 50` lets visitors at a server of their own, on this machine, and says what broke.

Not a test that pytest collects: it takes minutes. It prints one table on stdout (progress on stderr), and exits 1 where something is wrong:
a picture that is not what it is alone, an error that is no refusal, a refusal without a sentence, /list_models that lets wait, memory that
grows by more than a tenth, threads, open files, children or previews that are left, a visitor who never got an answer, a slow end.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gradio_client import Client

from tests.soak_visitors import ALONE, Log, Visitor, Wish, alone

ROOT = Path(__file__).parent.parent
GROWTH = 0.10
"""Share by which the server's memory may grow."""
SLACK = 8
"""Threads, and open files, more than before the visitors came that are nobody's fault."""
PROMPT = 1.0
"""Seconds within which /list_models is to answer, 95 times of 100."""
FAREWELL = 3.0
"""Seconds within which the server is to end when it is told to."""
SETTLE = 20
"""Seconds that the server has after the last visitor has gone."""


@dataclass(frozen=True)
class Sample:
    """What the server holds at one moment."""

    second: float
    resident: int
    threads: int
    files: int
    children: int
    results: int
    previews: int


class Server:
    """`python app.py` in a process of its own, that may not leave this machine, with its folders."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log, self.left = folder, folder / "app.log", folder / "left.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url, self.began = f"http://127.0.0.1:{port}/", time.monotonic()
        environment = os.environ | {
            "PATCHWORK_CACHE": str(folder / "cache"), "GRADIO_TEMP_DIR": str(folder / "gradio"), "GRADIO_ANALYTICS_ENABLED": "False",
        }  # fmt: skip
        command = [sys.executable, str(ROOT / "tests" / "no_network.py"), str(self.left), "app.py", "--port", str(port), "--offline"]
        with self.log.open("w") as said:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)

    def wait(self) -> None:
        """Until the page answers."""
        end = time.monotonic() + 180
        while True:
            assert self.process.poll() is None, self.log.read_text()
            with suppress(OSError), urllib.request.urlopen(self.url, timeout=5):
                return
            assert time.monotonic() < end, "the page did not come up in three minutes"
            time.sleep(0.3)

    def end(self) -> float | None:
        """Tell it to end; the seconds until it has, None where it had to be killed."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None
        return time.monotonic() - start

    def sample(self) -> Sample:
        """What it holds now."""
        place = Path(f"/proc/{self.process.pid}")
        lines = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines() if ":" in line)
        children = 0
        for path in place.glob("task/*/children"):
            with suppress(OSError):
                children += len(path.read_text().split())
        return Sample(
            time.monotonic() - self.began, int(lines["VmRSS"].split()[0]) * 1024, int(lines["Threads"]),
            len(list((place / "fd").iterdir())), children, count(self.folder / "cache" / "results"), count(self.folder / "gradio"),
        )  # fmt: skip


def count(folder: Path) -> int:
    """Files in a folder, however deep."""
    return sum(len(files) for _, _, files in os.walk(folder))


@contextmanager
def watched(server: Server, log: Log, patience: float, tell: Callable[[str], None]) -> Iterator[tuple[list[Sample], list[float]]]:
    """Meanwhile, a sample every half minute, and how long /list_models takes one who asks every second."""
    samples, answers, over = [server.sample()], [], threading.Event()

    def look() -> None:
        while not over.wait(30):
            samples.append(server.sample())
            tell(f"{samples[-1].second:.0f} s: {samples[-1].resident / 1e6:.0f} MB, {sum(map(len, log.waits.values()))} answers")

    def ask() -> None:
        client = Client(server.url, verbose=False)
        while not over.wait(1):
            start = time.monotonic()
            try:
                client.submit(api_name="/list_models").result(timeout=patience)
                answers.append(time.monotonic() - start)
            except Exception as error:
                log.fault(f"/list_models failed after {time.monotonic() - start:.1f} s: {type(error).__name__}: {error}")
        client.close()

    workers = [threading.Thread(target=work, daemon=True) for work in (look, ask)]
    for worker in workers:
        worker.start()
    try:
        yield samples, answers
    finally:
        over.set()
        for worker in workers:
            worker.join(60)


def soak(minutes: float, visitors: int, folder: Path, tell: Callable[[str], None]) -> bool:
    """Run all of it and print the table; whether nothing was wrong."""
    server, log, patience = Server(folder), Log(), ALONE + 60 * minutes
    farewell: float | None = None
    try:
        server.wait()
        answers = alone(server.url, folder / "alone", tell)
        time.sleep(3)
        guests = [Visitor(number, server.url, folder / "visitors", answers, log, patience) for number in range(visitors)]
        with watched(server, log, patience, tell) as (samples, listings):
            start = time.monotonic()
            threads = [threading.Thread(target=guest.stay, args=(start + 60 * minutes,), daemon=True) for guest in guests]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(max(1.0, start + 60 * minutes + patience + 30 - time.monotonic()))
            took = time.monotonic() - start
        for guest, thread in zip(guests, threads, strict=True):
            if thread.is_alive():
                log.fault(f"Visitor {guest.number} never came to the end of: {guest.doing}.")
        tell("everybody has gone")
        time.sleep(SETTLE)
        try:
            last = Client(server.url, verbose=False)
            last.submit(api_name="/list_models").result(timeout=ALONE)  # idle threads end when the next call comes
            last.close()
        except Exception as error:
            log.fault(f"Nobody was answered any more: {type(error).__name__}: {error}")
        time.sleep(2)
        samples.append(server.sample())
    finally:
        farewell = server.end()
    faults = log.faults + judge(server, samples, listings, farewell, most_files(answers, log))
    print(table(log, samples, listings, took, visitors, farewell, faults))
    return not faults


def most_files(answers: dict[Wish, str], log: Log) -> int:
    """Files that Gradio may have copied to hand them out: of every wish its pictures or its overlay, once, for a copy is named by what it
    holds; the uploads; the prediction at which a job was cancelled, if it was handed out."""
    return 2 * sum(max(1, wish.count) for wish in answers) + 2 * log.counts["cancelled"]


def judge(server: Server, samples: list[Sample], listings: list[float], farewell: float | None, files: int) -> list[str]:
    """What is wrong beside what the visitors met, a sentence each."""
    first, last, wrong = samples[0], samples[-1], []
    if last.resident > (1 + GROWTH) * first.resident:
        wrong.append(f"Memory grew from {first.resident / 1e6:.0f} to {last.resident / 1e6:.0f} MB.")
    wrong += [
        f"{word.capitalize()} are left: {getattr(first, word)} before the visitors came, {getattr(last, word)} after they had gone."
        for word in ("threads", "files")
        if getattr(last, word) > getattr(first, word) + SLACK
    ]
    if last.children > first.children:
        wrong.append(f"{last.children} child processes are left.")
    if last.previews > files:
        wrong.append(
            f"{last.previews} files lie in Gradio's folder, {last.previews - files} more than what was handed out: previews, it seems."
        )
    if parts := [path.name for path in (server.folder / "cache" / "results").rglob("*") if path.suffix == ".part"]:
        wrong.append(f"{len(parts)} unfinished files are left in the results, such as {parts[0]}.")
    if not listings or sorted(listings)[int(0.95 * len(listings))] > PROMPT:
        words = f"{sorted(listings)[int(0.95 * len(listings))]:.1f} s for 5 of 100" if listings else "no answer"
        wrong.append(f"/list_models lets wait: {words}.")
    if farewell is None or farewell > FAREWELL:
        wrong.append(f"The server took {'30 s and a kill' if farewell is None else f'{farewell:.1f} s'} to end.")
    if server.left.exists():
        wrong.append(f"The server tried to leave this machine: {server.left.read_text().splitlines()[0]}.")
    if "Traceback" in (text := server.log.read_text()):
        lines = text[text.index("Traceback") :].splitlines()
        last_line = next((line for line in lines[1:] if line and not line.startswith(" ")), "")
        wrong.append(f"{text.count('Traceback (most recent call last)')} tracebacks in the server's log, the first of {last_line[:200]}")
    return wrong


def table(
    log: Log, samples: list[Sample], listings: list[float], took: float, visitors: int, farewell: float | None, faults: list[str]
) -> str:
    """Everything in lines."""
    images = sum(wish.count for wish, _ in log.waits["picture"])
    lines = [f"{visitors} visitors for {took:.0f} s; {images} pictures, {60 * images / took:.0f} a minute", ""]
    lines.append(f"  {'wait for':<26}{'times':>7}{'median':>10}{'worst':>10}{'worst of its equals':>21}")
    for kind, waits in sorted((kind, waits) for kind, waits in log.waits.items() if waits):
        seconds = [wait for _, wait in waits]
        lines.append(f"  {kind:<26}{len(waits):>7}{statistics.median(seconds):>8.2f} s{max(seconds):>8.2f} s{unfair(waits):>19.1f} x")
    if listings:
        lines.append(
            f"  {'/list_models, every second':<26}{len(listings):>7}{statistics.median(listings):>8.2f} s{max(listings):>8.2f} s"
            f"    ({100 * sum(wait <= PROMPT for wait in listings) / len(listings):.0f} % within {PROMPT:g} s)"
        )
    lines += ["", "  " + ", ".join(f"{number} {what}" for what, number in sorted(log.counts.items())), ""]
    lines.append(f"  {'second':>8}{'memory':>12}{'threads':>9}{'files open':>12}{'children':>10}{'results':>9}{'in Gradio':>11}")
    lines += [
        f"  {one.second:>8.0f}{one.resident / 1e6:>9.0f} MB{one.threads:>9}{one.files:>12}{one.children:>10}{one.results:>9}"
        f"{one.previews:>11}"
        for one in samples
    ]
    lines.append(f"  memory at the end over the start: {samples[-1].resident / samples[0].resident:.2f}")
    lines += ["  the server had to be killed" if farewell is None else f"  the server ended after {farewell:.1f} s", ""]
    distinct = list(dict.fromkeys(faults))
    lines += [f"{len(faults)} wrong:", *(f"  {fault}" for fault in distinct[:20])] if faults else ["Nothing is wrong."]
    return "\n".join(lines + [f"  ... and {len(distinct) - 20} more"] * (len(distinct) > 20))


def unfair(waits: list[tuple[Wish, float]]) -> float:
    """The longest wait over the median of those for the very same wish; 3 is what a visitor may be asked to bear."""
    same: dict[Wish, list[float]] = {}
    for wish, seconds in waits:
        same.setdefault(wish, []).append(seconds)
    return max(max(seconds) / max(statistics.median(seconds), 1e-3) for seconds in same.values())


def main() -> int:
    """Read the arguments and soak; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--visitors", type=int, default=50)
    chosen = parser.parse_args()
    if not 0 < chosen.minutes <= 60 or not 1 <= chosen.visitors <= 200:
        parser.error("choose at most 60 minutes, and 1 to 200 visitors")

    def tell(words: str) -> None:
        print(f"soak: {words}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="patchwork-soak-") as folder:
        return 0 if soak(chosen.minutes, chosen.visitors, Path(folder), tell) else 1


if __name__ == "__main__":
    sys.exit(main())
