"""A soak: `python -m tests.soak --minutes 10 --visitors 50` lets visitors at a server of their own, on this machine, and says what broke.

Not a test that pytest collects: it takes minutes. It prints one table on stdout (progress on stderr), and exits 1 where something is wrong:
a picture that is not what it is alone, an error that is no refusal, a refusal without a sentence, a page or /list_models that lets wait,
memory that grows by more than a tenth, threads, open files, children or previews that are left, a visitor who never got an answer or who
waited much longer than others for the same, a slow end.
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

from tests.soak_probe import Answer, lines, probing, share
from tests.soak_visitors import ALONE, STAR, Log, Visitor, Wish, alone, leaves
from zoo.media import receipts

ROOT = Path(__file__).parent.parent
GROWTH = 0.10
"""Share by which the server's memory may grow."""
SLACK = 8
"""Threads, and open files, more than before the visitors came that are nobody's fault."""
PROMPT, AT_ONCE = 1.0, 0.2
"""Seconds within which whoever does not compute is to be answered, 95 times of 100: while many wait, and while the pictures of somebody
who has left are finished."""
LEAVERS, PICTURES = 8, 64
"""Visitors who leave, one after another, while others ask, and how many pictures each had asked for."""
IDLE = 10
"""Seconds in which nobody but the probe asks, to compare with."""
FAIR, ENOUGH = 3.0, 5
"""How many times the median of those for the same the longest wait may be, where so many asked for it."""
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
def watched(server: Server, log: Log, tell: Callable[[str], None]) -> Iterator[list[Sample]]:
    """Meanwhile, a sample every half minute."""
    samples, over = [server.sample()], threading.Event()

    def look() -> None:
        while not over.wait(30):
            samples.append(server.sample())
            tell(f"{samples[-1].second:.0f} s: {samples[-1].resident / 1e6:.0f} MB, {sum(map(len, log.waits.values()))} answers")

    worker = threading.Thread(target=look, daemon=True)
    worker.start()
    try:
        yield samples
    finally:
        over.set()
        worker.join(60)


def finishing(server: Server, log: Log, tell: Callable[[str], None]) -> tuple[list[Answer], list[Answer]]:
    """How long others wait while nothing is computed, and while the pictures of somebody who has left are finished, asked without a
    pause."""
    results, windows = server.folder / "cache" / "results", []
    with probing(server.url, next(results.glob("*.png")), 0) as answers:
        time.sleep(IDLE)
        idle = list(answers)
        for k in range(LEAVERS):
            tell(f"somebody leaves: {k + 1} of {LEAVERS}")
            enough = count(results) + 2 * PICTURES  # PNG and JSON
            windows.append(leaves(server.url, 1000 * (k + 1), PICTURES, lambda enough=enough: count(results) >= enough))
            log.count("results asked for", PICTURES)
    return idle, [one for one in answers if any(one.begun < end and one.begun + one.seconds > begun for begun, end in windows)]


def soak(minutes: float, visitors: int, folder: Path, tell: Callable[[str], None]) -> bool:
    """Run all of it and print the table; whether nothing was wrong."""
    server, log, patience = Server(folder), Log(), ALONE + 60 * minutes
    farewell: float | None = None
    try:
        server.wait()
        answers = alone(server.url, folder / "alone", tell)
        idle, at_once = finishing(server, log, tell)
        time.sleep(3)
        guests = [Visitor(number, server.url, folder / "visitors", answers, log, patience) for number in range(visitors)]
        picture = next((folder / "cache" / "results").glob("*.png"))
        others = Others(server.process.pid)
        with watched(server, log, tell) as samples, probing(server.url, picture, 1) as prompt:
            start = time.monotonic()
            threads = [threading.Thread(target=guest.stay, args=(start + 60 * minutes,), daemon=True) for guest in guests]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(max(1.0, start + 60 * minutes + patience + 30 - time.monotonic()))
            took = time.monotonic() - start
        busy = others.share()
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
    log.counts["results asked for"] += 2 * sum(max(1, wish.count) for wish in answers)
    faults = log.faults + judge(server, log, samples, prompt, at_once, farewell)
    print(table(log, samples, (idle, at_once, prompt), took, visitors, busy, farewell, faults))
    return not faults


class Others:
    """How much of the machine other programs take while this one watches."""

    def __init__(self, server: int) -> None:
        self.server, self._before = server, self._read(server)

    def share(self) -> float:
        """Of all cores, since the beginning."""
        everything, idle, own = (after - before for after, before in zip(self._read(self.server), self._before, strict=True))
        return max(0.0, (everything - idle - own) / everything)

    @staticmethod
    def _read(server: int) -> tuple[int, int, int]:
        """Ticks of the machine, those of them that are idle, and those of the server, of this process and its children."""
        numbers = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        places = [Path(f"/proc/{server}"), Path("/proc/self")]
        children = [Path(f"/proc/{one}") for path in places[1].glob("task/*/children") for one in path.read_text().split()]
        own = 0
        for place in {*places, *children}:
            with suppress(OSError):
                own += sum(int(one) for one in (place / "stat").read_text().rpartition(")")[2].split()[11:15])
        return sum(numbers), numbers[3] + numbers[4], own


def strangers(server: Server) -> list[str]:
    """Files in Gradio's folder that nobody was given as a result and nobody brought: previews, it seems."""
    folder = server.folder / "gradio"
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != STAR.name and "-looks-" not in path.name]
    return [path.name for path in files if not receipts.carries_receipt(path)]


def judge(
    server: Server, log: Log, samples: list[Sample], prompt: list[Answer], at_once: list[Answer], farewell: float | None
) -> list[str]:
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
    if names := strangers(server):
        wrong.append(f"{len(names)} files in Gradio's folder are no results, such as {names[0]}.")
    if last.previews > (most := log.counts["results asked for"]):
        wrong.append(f"{last.previews} files lie in Gradio's folder, and only {most} results were asked for.")
    if parts := [path.name for path in (server.folder / "cache" / "results").rglob("*") if path.suffix == ".part"]:
        wrong.append(f"{len(parts)} unfinished files are left in the results, such as {parts[0]}.")
    wrong += late(log, prompt, at_once)
    if farewell is None or farewell > FAREWELL:
        wrong.append(f"The server took {'30 s and a kill' if farewell is None else f'{farewell:.1f} s'} to end.")
    if server.left.exists():
        wrong.append(f"The server tried to leave this machine: {server.left.read_text().splitlines()[0]}.")
    if "Traceback" in (text := server.log.read_text()):
        lines = text[text.index("Traceback") :].splitlines()
        last_line = next((line for line in lines[1:] if line and not line.startswith(" ")), "")
        wrong.append(f"{text.count('Traceback (most recent call last)')} tracebacks in the server's log, the first of {last_line[:200]}")
    return wrong


def late(log: Log, prompt: list[Answer], at_once: list[Answer]) -> list[str]:
    """Who had to wait too long, a sentence each."""
    wrong = []
    for answers, seconds, when in ((prompt, PROMPT, "many wait"), (at_once, AT_ONCE, "somebody's pictures are finished")):
        wrong += [f"{one.kind} failed after {one.seconds:.1f} s while {when}: {one.error}." for one in answers if one.error]
        for kind in dict.fromkeys(one.kind for one in answers) or ["Everything"]:
            if (part := share([one for one in answers if one.kind == kind], seconds)) < 0.95:
                wrong.append(f"{kind} lets wait while {when}: {100 * part:.0f} of 100 are answered in {seconds:g} s.")
    for kind, waits in log.waits.items():
        if kind in ("picture", "clip", "comparison", "look") and (times := unfair(waits, ENOUGH)) > FAIR:
            wrong.append(f"Somebody waited {times:.1f} times as long as the median for the same {kind}.")
    return wrong


def table(
    log: Log,
    samples: list[Sample],
    answers: tuple[list[Answer], ...],
    took: float,
    visitors: int,
    busy: float,
    farewell: float | None,
    faults: list[str],
) -> str:
    """Everything in lines."""
    images = sum(wish.count for wish, _ in log.waits["picture"])
    text = [f"{visitors} visitors for {took:.0f} s; {images} pictures, {60 * images / took:.0f} a minute"]
    text += [f"other programs took {100 * busy:.0f} % of the machine meanwhile", ""]
    text.append(f"  {'wait for':<26}{'times':>7}{'median':>10}{'worst':>10}{'worst of its equals':>21}")
    for kind, waits in sorted((kind, waits) for kind, waits in log.waits.items() if waits):
        seconds = [wait for _, wait in waits]
        text.append(f"  {kind:<26}{len(waits):>7}{statistics.median(seconds):>8.2f} s{max(seconds):>8.2f} s{unfair(waits):>19.1f} x")
    titles = (("while nothing is computed", AT_ONCE), ("while a leaver's are finished", AT_ONCE), ("while they wait", PROMPT))
    for (title, seconds), own in zip(titles, answers, strict=True):
        text += ["", f"  {title:<33}{'median':>10}{'95 %':>10}{'worst':>10}", *lines(own, seconds)]
    text += ["", "  " + ", ".join(f"{number} {what}" for what, number in sorted(log.counts.items())), ""]
    text.append(f"  {'second':>8}{'memory':>12}{'threads':>9}{'files open':>12}{'children':>10}{'results':>9}{'in Gradio':>11}")
    text += [
        f"  {one.second:>8.0f}{one.resident / 1e6:>9.0f} MB{one.threads:>9}{one.files:>12}{one.children:>10}{one.results:>9}"
        f"{one.previews:>11}"
        for one in samples
    ]
    text.append(f"  memory at the end over the start: {samples[-1].resident / samples[0].resident:.2f}")
    text += ["  the server had to be killed" if farewell is None else f"  the server ended after {farewell:.1f} s", ""]
    distinct = list(dict.fromkeys(faults))
    text += [f"{len(faults)} wrong:", *(f"  {fault}" for fault in distinct[:20])] if faults else ["Nothing is wrong."]
    return "\n".join(text + [f"  ... and {len(distinct) - 20} more"] * (len(distinct) > 20))


def unfair(waits: list[tuple[Wish, float]], enough: int = 1) -> float:
    """The longest wait over the median of those for the very same wish, of wishes of which there were so many; 0 where there are none."""
    same: dict[Wish, list[float]] = {}
    for wish, seconds in waits:
        same.setdefault(wish, []).append(seconds)
    return max((max(took) / max(statistics.median(took), 1e-3) for took in same.values() if len(took) >= enough), default=0.0)


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
