"""What the visitors of a soak do: real gradio_client clients that generate, compare, look, cancel, leave and ask nonsense."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from zoo.media import pictures

ALONE = 120
"""Seconds within which a wish is granted where nobody else asks."""
STAR = Path(__file__).parent.parent / "zoo" / "catalog" / "data" / "example-star.png"
UNSAID = "upstream Gradio app"
"""What gradio_client says where the server failed without a sentence."""


@dataclass(frozen=True, eq=False)
class Wish:
    """One call with its arguments, and how many pictures or videos it brings."""

    kind: str
    endpoint: str
    arguments: tuple
    count: int = 1

    def answer(self, result: Any) -> str:
        """What is the same whenever this wish is granted: the digest of the pixels, checked against the files that came."""
        if self.kind == "picture":
            gallery, receipts = result
            for item, receipt in zip(gallery, receipts, strict=True):
                image, inside = pictures.read_png(item["image"])
                assert pictures.digest(image) == inside["pixels"] == receipt["pixels"], "a file is not what its receipt says"
                assert (receipt["request"]["model"], receipt["request"]["steps"]) == (self.arguments[0], self.arguments[4])
            return " ".join(receipt["pixels"] for receipt in receipts)
        if self.kind == "clip":
            assert Path(result[0]).stat().st_size > 0
            return result[1]["pixels"]
        if self.kind == "comparison":
            return " ".join(receipt["pixels"] for column in result for receipt in column["receipt"])
        if self.kind == "look":
            return hashlib.sha256(Path(result[0]).read_bytes()).hexdigest()
        return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def wishes() -> list[Wish]:
    """Everything that visitors ask for, all different: each is granted once alone before the visitors come."""

    def picture(model: str, label: str, count: int, seed: int, steps: int, solver: str, guidance: float) -> Wish:
        return Wish("picture", "/generate_image", (model, label, count, seed, steps, solver, guidance), count)

    return [
        picture("tiny-dit", "4", 1, 1, 8, "dpm-solver++", 2.0), picture("tiny-dit", "5", 2, 2, 6, "ddim", 3.0),
        picture("tiny-dit", "6", 1, 3, 10, "ddpm", 2.0), picture("tiny-dit", "0", 1, 4, 5, "unipc", 1.0),
        picture("tiny-dit", "3", 4, 5, 8, "ddim", 2.0), picture("tiny-dit", "4", 8, 6, 25, "dpm-solver++", 2.0),
        picture("tiny-uvit", "4", 1, 7, 8, "dpm-solver++", 2.0), picture("tiny-uvit", "6", 2, 8, 6, "ddim", 1.0),
        picture("tiny-uvit", "5", 1, 9, 9, "euler", 2.0), picture("tiny-uvit", "1", 1, 10, 7, "euler-maruyama", 2.0),
        picture("tiny-unet", "4", 1, 11, 6, "dpm-solver++", 2.0), picture("tiny-unet", "2", 2, 12, 5, "ddpm", 3.0),
        picture("tiny-dit", "4", 1, 13, 8, "dpm-solver++", 2.0), picture("tiny-dit", "4", 1, 1, 8, "dpm-solver++", 4.0),
        Wish("clip", "/generate_video", ("tiny-latte", "0", "", 16, 8, 1, 4, "dpm-solver++", 2.0, "")),
        Wish("clip", "/generate_video", ("tiny-latte", "3", "", 8, 8, 2, 5, "ddim", 2.0, "")),
        Wish("comparison", "/compare", ([
            {"model": "tiny-dit", "label": "4", "count": 2, "seed": 20, "steps": 6}, {"model": "tiny-uvit", "steps": 5},
        ],), 4),
        Wish("comparison", "/compare", ([
            {"model": "tiny-unet", "label": "5", "count": 1, "seed": 21, "steps": 6}, {"model": "tiny-dit", "steps": 6, "solver": "ddim"},
        ],), 2),
        Wish("look", "/look_inside", (handle_file(str(STAR)), "tiny-vit", 1, None, "class"), 0),
        Wish("look", "/look_inside", (handle_file(str(STAR)), "tiny-vit", 2, 0, "10"), 0),
        Wish("list", "/list_models", (), 0),
    ]  # fmt: skip


NONSENSE = [
    ("/generate_image", ("tiny-dot", "4", 1, 3, 3, "ddim", 2.0)), ("/generate_image", ("tiny-dit", "no such thing", 1, 3, 3, "ddim", 2.0)),
    ("/generate_image", ("tiny-dit", "4", 10**4, 3, 3, "ddim", 2.0)), ("/generate_image", ("tiny-dit", "4", 1, -2, 3, "ddim", 2.0)),
    ("/generate_image", ("tiny-dit", "4", 1, 3, 10**6, "ddim", 2.0)), ("/generate_image", ("tiny-dit", "4", 1, 3, 3, "magic", 2.0)),
    ("/generate_image", ("tiny-dit", ["star"], None, 3, "many", ["ddim"], "nan")),
    ("/generate_video", ("tiny-dit", "0", "", 16, 8, 1, 4, "ddim", 2.0, "")),
    ("/compare", ([{"model": "tiny-dit", "label": "4", "seed": -4}],)), ("/compare", ("nothing",)), ("/compare", ([],)),
    ("/look_inside", (None, "tiny-vit", 0, None, None)), ("/look_inside", (handle_file(str(STAR)), "tiny-vit", 99, None, None)),
]  # fmt: skip
"""Calls that must be refused in a sentence."""


@dataclass
class Log:
    """What all visitors met, written by their threads."""

    waits: dict[str, list[tuple[Wish, float]]] = field(default_factory=lambda: defaultdict(list))
    counts: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """What must not happen, a sentence each."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, words: str) -> None:
        """Note something that must not happen."""
        with self.lock:
            self.faults.append(words[:300])

    def count(self, what: str, times: int = 1) -> None:
        """Note that something happened."""
        with self.lock:
            self.counts[what] += times

    def wait(self, wish: Wish, seconds: float) -> None:
        """Note how long a wish took."""
        with self.lock:
            self.waits[wish.kind].append((wish, seconds))


def refused(error: BaseException) -> bool:
    """Whether the server said no in a sentence."""
    return isinstance(error, AppError) and str(error).strip().endswith(".") and UNSAID not in str(error)


class Visitor:
    """Comes, does one thing after another until the end, and goes; the same number does the same things."""

    def __init__(self, number: int, url: str, folder: Path, answers: dict[Wish, str], log: Log, patience: float) -> None:
        self.number, self.url, self.folder, self.answers, self.log = number, url, folder / f"visitor-{number}", answers, log
        self.patience = patience
        self.random = random.Random(number)
        self.client: Client | None = None
        self.doing = "nothing"

    def stay(self, end: float) -> None:
        """Do things until the time is over."""
        deeds = [(self.ask, 60), (self.cancel, 12), (self.leave, 8), (self.hang_up, 8), (self.nonsense, 12)]
        while time.monotonic() < end:
            [deed] = self.random.choices([deed for deed, _ in deeds], [weight for _, weight in deeds])
            self.doing = deed.__name__
            try:
                self.client = self.client or self.arrive()
                deed()
            except Exception as error:
                self.log.fault(f"Visitor {self.number} met {type(error).__name__} when about to {self.doing}: {error}")
                self.go()
            time.sleep(self.random.uniform(0, 0.5))
        self.doing = "nothing"
        self.go()

    def arrive(self) -> Client:
        """Open a client, which is a session of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.count("sessions")
        return Client(self.url, verbose=False, download_files=str(self.folder))

    def go(self) -> None:
        """Close the client, and forget what was downloaded."""
        if self.client:
            self.client.close()
        self.client = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def wish(self) -> Wish:
        """One of the wishes; the long one is rare."""
        weights = [1 if wish.count > 4 or wish.kind == "comparison" else 4 for wish in self.answers]
        [wish] = self.random.choices(list(self.answers), weights)
        self.log.count("results asked for", max(1, wish.count))
        return wish

    # ---- deeds

    def ask(self) -> None:
        """Wait for what is asked for, and hold it against the same alone."""
        wish = self.wish()
        start = time.monotonic()
        try:
            result = self.client.submit(*wish.arguments, api_name=wish.endpoint).result(timeout=self.patience)
        except Exception as error:
            if not refused(error):
                raise
            self.log.count("refusals of good wishes")
            return
        self.log.wait(wish, time.monotonic() - start)
        if wish.answer(result) != self.answers[wish]:
            self.log.fault(f"Cross-talk: {wish.kind} {wish.arguments} is not what it was alone.")

    def cancel(self) -> None:
        """Ask, and think better of it; the job must end."""
        wish = self.wish()
        if wish.kind in ("list", "look"):
            return
        job = self.client.submit(*wish.arguments, api_name=wish.endpoint)
        time.sleep(self.random.uniform(0, 1.5))
        job.cancel()
        start = time.monotonic()
        try:
            job.result(timeout=self.patience)
        except CancelledError:
            pass
        except Exception as error:  # gradio_client's own: no answer after the server said that the job has ended, or both at once
            ended = {"KeyError": "'data'", "ValueError": "Did not expect 2 tasks"}.get(type(error).__name__, "\0")
            if not refused(error) and ended not in str(error):
                raise
        self.log.count("cancelled")
        with self.log.lock:
            self.log.waits["end of a cancelled job"].append((wish, time.monotonic() - start))

    def leave(self) -> None:
        """Ask, and close the client before the answer; then come again."""
        wish = self.wish()
        self.client.submit(*wish.arguments, api_name=wish.endpoint)
        time.sleep(self.random.uniform(0, 1))
        self.go()
        self.log.count("left in the middle")

    def hang_up(self) -> None:
        """Ask over plain HTTP, read a little, and cut the line."""
        wish = self.random.choice([wish for wish in self.answers if wish.kind in ("picture", "clip", "comparison")])
        self.log.count("results asked for", max(1, wish.count))
        place, path = urlsplit(self.url), f"/gradio_api/call{wish.endpoint}"
        line = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        line.request("POST", path, json.dumps({"data": list(wish.arguments)}), {"Content-Type": "application/json"})
        event = json.load(line.getresponse())["event_id"]
        line.close()
        line = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
        line.request("GET", f"{path}/{event}")
        time.sleep(self.random.uniform(0, 1))
        line.close()
        self.log.count("hung up")

    def nonsense(self) -> None:
        """Ask for what cannot be; it must be refused in a sentence."""
        endpoint, arguments = self.random.choice(NONSENSE)
        try:
            result = self.client.submit(*arguments, api_name=endpoint).result(timeout=self.patience)
        except Exception as error:
            if not refused(error):
                self.log.fault(f"{endpoint} {arguments} failed without a sentence: {type(error).__name__}: {error}")
            self.log.count("refusals of nonsense")
            return
        self.log.fault(f"{endpoint} {arguments} was answered: {str(result)[:80]}")


def alone(url: str, folder: Path, tell: Callable[[str], None]) -> dict[Wish, str]:
    """The answer to every wish, asked twice by a single visitor: it must be the same both times."""
    client, answers = Client(url, verbose=False, download_files=str(folder)), {}
    for number, wish in enumerate(wishes()):
        tell(f"alone: {number + 1} of {len(wishes())}")
        first, second = (wish.answer(client.submit(*wish.arguments, api_name=wish.endpoint).result(timeout=ALONE)) for _ in range(2))
        assert first == second, f"{wish} is not the same when asked again"
        answers[wish] = first
    client.close()
    shutil.rmtree(folder, ignore_errors=True)
    return answers


def leaves(url: str, seed: int, count: int, finished: Callable[[], bool]) -> tuple[float, float]:
    """Ask for many pictures and leave in the middle: when that was, and when what was there was on disk (monotonic clock)."""
    client = Client(url, verbose=False)
    job = client.submit("tiny-dit", "4", count, seed, 1000, "ddim", 2.0, api_name="/generate_image")
    end = time.monotonic() + ALONE
    while not any(progress["step"] for _, progress in job.outputs()):
        assert time.monotonic() < end, "a run did not begin"
        time.sleep(0.05)
    left = time.monotonic()
    job.cancel()
    client.close()
    while not finished():
        assert time.monotonic() < end, "what was there when a visitor left is not on disk"
        time.sleep(0.02)
    return left, time.monotonic()
