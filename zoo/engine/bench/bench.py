"""The bench: one model's guided step, its loop, the same through the Hub, others' code beside it, and many visitors at once."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import zoo
from zoo.catalog.store import Store
from zoo.engine.bench import machine, weights
from zoo.engine.bench.diffusers_peers import diffusers_peer
from zoo.engine.bench.peers import Peer, Task, official_peer
from zoo.engine.bench.timing import Stopwatch, rows
from zoo.engine.bench.visitors import visits
from zoo.engine.hub import Hub
from zoo.engine.request import Progress, Request, Result
from zoo.errors import OutOfMemoryError, RequestError
from zoo.media import pictures
from zoo.networks import autoencoders
from zoo.networks.build import build_module
from zoo.sampling import Schedule, sample, seeded, solver_options

LARGE = 10_000_000
"""Parameters from which fewer steps and rounds are measured unless more are asked for."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference of a peer's output from ours, as a share of its largest magnitude, up to which it is the same computation."""
MOST_VISITORS = 256
OURS, BARE, HUB, PREVIEWS = "ours", "bare loop and decoding", "through the Hub", "through the Hub, with previews"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """What to measure. steps, rounds: None takes 50 and 5, for large models 4 and 3; visitors: 0 leaves that part out."""

    model: str = ""
    peers: bool = False
    visitors: int = 0
    threads: int = 1
    dtype: str = "auto"
    device: str = "auto"
    steps: int | None = None
    rounds: int | None = None


def run(settings: Settings, tell: Tell = lambda _: None) -> dict[str, Any]:
    """Measure, and say it as JSON values; tell is told how far it is.

    Nothing is left behind: results and random weights lie in a temporary folder. Raises RequestError for a model that makes no pictures
    or a number out of range, OutOfMemoryError for one that does not fit.
    """
    before, threads = machine.load(), torch.get_num_threads()
    for word, value, low, high in (("visitors", settings.visitors, 0, MOST_VISITORS), ("threads", settings.threads, 1, machine.cores())):
        if not low <= value <= high:
            raise RequestError(f"{value} {word} cannot be measured here: choose {low} to {high}.")
    if settings.rounds is not None and not 1 <= settings.rounds <= 1000:
        raise RequestError(f"{settings.rounds} rounds cannot be measured: choose 1 to 1000.")
    torch.set_num_threads(settings.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="patchwork-bench-") as folder:
            return Bench(settings, Path(folder), tell).report(before)
    finally:
        torch.set_num_threads(threads)


class Bench:
    """One run of the bench, in a folder of its own."""

    def __init__(self, settings: Settings, folder: Path, tell: Tell) -> None:
        self.settings, self.folder, self.tell = settings, folder, tell
        own = Hub(device=settings.device, dtype=settings.dtype, offline=True)
        self.card = card = own.card(settings.model or next(card.id for card in own.offers if card.generates))
        small = card.cost.params < LARGE
        steps = settings.steps if settings.steps is not None else 50 if small else 4
        self.round_count = settings.rounds or (5 if small else 3)
        guidance = (card.guidance.default if card.guidance.default != 1 else 4.0) if card.guidable else 1.0
        label = (0,) if card.arch.get("num_classes") else ()
        words = {"steps": steps, "solver": "ddim", "guidance": guidance, "prompt": "a red bus" if card.text else ""}
        self.request = Request(card.id, label, (0,), **words).resolved(card)
        self.dtype, self.device = own.models.dtype(card), own.device
        self._check_memory()
        self.notes: list[str] = []
        self.own_weights, self.whole = self._provide(own)
        self.hub = self._hub()
        self.watch = Stopwatch(self.device)

    def report(self, before: float | None) -> dict[str, Any]:
        """Measure everything asked for."""
        card, settings = self.card, self.settings
        loading = self._load()
        step, loop = self._network()
        whole = self._whole() if self.whole else None
        crowd = None
        if settings.visitors and self.whole:
            steps = settings.steps or (10 if card.cost.params < LARGE else 2)
            crowd = visits(self.hub, dataclasses.replace(self.request, steps=steps, solver=None), settings.visitors, self.tell)
        measured = [*step["rows"], *(loop["rows"] if loop else ()), *(whole["rows"] if whole else ())]
        return {
            "patchwork": zoo.__version__, "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": machine.describe(self.device, settings.threads) | {"load_before": before, "load_after": machine.load()},
            "model": {"id": card.id, "title": card.title, "parameters": card.cost.params, "own_weights": self.own_weights},
            "dtype": str(self.dtype).removeprefix("torch."), "request": self.request.to_dict(), "rounds": self.round_count,
            "clock": "cpu" if self.device.type == "cpu" and settings.threads == 1 else "wall",
            "loading": loading, "step": step, "loop": loop, "whole": whole, "visitors": crowd, "notes": self.notes,
            "doubt": machine.doubt(before, measured, settings.threads, self.device.type == "cpu"),
        }  # fmt: skip

    # ---- what it runs on

    def _check_memory(self) -> None:
        size, free = self.card.cost.params * self.dtype.itemsize, machine.free_bytes()
        need = 3 * size + (1 << 30)
        if free is not None and need > free:
            raise OutOfMemoryError(
                f"{self.card.id} needs about {need / 1e9:.1f} GB here, and {free / 1e9:.1f} are free: "
                "choose a smaller model, or --dtype bfloat16."
            )

    def _provide(self, own: Hub) -> tuple[bool, bool]:
        """Whether the model's own weights are here, random ones standing in, and whether whole pictures are to be made: not of a text."""
        bench = Store(self.folder / "cache" / "models")
        parts = [self.card, *([own.card(self.request.vae)] if self.request.vae else [])]
        self.tell(f"weights of {self.card.id}")
        real = [weights.provide(part, own.store, bench, self.dtype) for part in parts]
        for part, is_own in zip(parts, real, strict=True):
            if not is_own:
                self.notes.append(f"{part.id} is not on this machine: random weights of its architecture took its place.")
        if self.card.text:
            self.notes.append(f"{self.card.id} is measured on a random context, without its text encoder, so nothing went through the Hub.")
        return real[0], not self.card.text

    def _hub(self) -> Hub:
        return Hub(device=self.settings.device, dtype=self.settings.dtype, cache_dir=self.folder / "cache", offline=True)

    def _load(self) -> dict[str, Any]:
        """Seconds of loading, the first time on this machine and again, and the memory of that and a first picture."""
        self.tell("loading")
        for part in self.hub.parts(self.card)[: 2 if self.whole else 1]:
            with torch.device("meta"):
                build_module(part)  # what only a program's start costs, such as imports, is no part of loading
        peak = self.hub.models.peak()
        first = self._timed(lambda: self._parts(self.hub))
        if self.whole:
            self._picture(preview=True, steps=3)
        memory = peak()
        again = self._timed(lambda: self._parts(self._hub()))
        return {"first_seconds": first, "again_seconds": again, "peak_bytes": memory}

    def _parts(self, hub: Hub) -> None:
        for part in (self.card, *([hub.card(self.request.vae)] if self.request.vae else [])):
            hub.load(part)

    def _timed(self, work: Callable[[], Any]) -> float:
        return self.watch.lap(work).wall

    # ---- the network alone

    def _network(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """A guided step, and a loop of them, of ours and of the peers that compute the same."""
        card, request, hub = self.card, self.request, self.hub
        context = None
        if card.text:
            shape = (2, card.arch.get("num_context_tokens", 120), card.arch["context_dim"])
            context = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(self.device)
        x = seeded(request.seeds, request.shape(card), self.device)(-1)
        schedule = Schedule.from_card(card.schedule)
        t = float(round(schedule.model_time(0.5)))
        times = torch.full((1,), t, device=self.device)
        module = hub.load(card).module
        predict = hub.predict(card, request, module, context)

        def loop(channels: int | None = card.guidance.channels, spacing: str = "even") -> Tensor:
            same = dataclasses.replace(card, guidance=dataclasses.replace(card.guidance, channels=channels))
            guided = predict if channels == card.guidance.channels else hub.predict(same, request, module, context)
            *_, last = sample(guided, x, schedule, "ddim", request.steps, spacing=spacing)
            return last.x

        def step() -> Tensor:
            with torch.no_grad():
                return predict(x, times)

        step_differences, loop_differences = {OURS: 0.0}, {OURS: 0.0}
        steps, loops = {OURS: step}, {OURS: loop}
        self.tell("a first step and loop")
        ours = step()
        others = self._peers(x, t, context) if self.settings.peers else []
        if not others:
            loop()
        for peer in others:
            self.tell(f"checking {peer.name}")
            with torch.no_grad():
                step_differences[peer.name] = difference(peer.step(), ours)
            if self._agrees(peer, "step", step_differences[peer.name]):
                steps[peer.name] = self._without_gradients(peer.step)
                if peer.loop is None:
                    continue
                loop_differences[peer.name] = difference(peer.loop(), loop(peer.channels, peer.spacing))
                if self._agrees(peer, "loop", loop_differences[peer.name]):
                    loops[peer.name] = peer.loop
        return self._contest(steps, step_differences), self._contest(loops, loop_differences)

    def _peers(self, x: Tensor, t: float, context: Tensor | None) -> list[Peer]:
        task = self._task(x, t, context, self.dtype)
        others = [official_peer(task), diffusers_peer(task)]
        for other in others:
            self.notes += [other] if isinstance(other, str) else other.patches
        return [other for other in others if isinstance(other, Peer)]

    def _task(self, x: Tensor, t: float, context: Tensor | None, dtype: torch.dtype) -> Task:
        state = weights.plain(self.card, self.hub.store.find(self.card), dtype, self.device).state_dict()
        labels = torch.tensor(self.request.labels, device=self.device) if self.request.labels else None
        return Task(self.card, state, dtype, x, t, labels, context, self.request.guidance, self.request.steps)

    def _agrees(self, peer: Peer, what: str, gap: float) -> bool:
        tolerance = TOLERANCE[self.dtype]
        if self.dtype != torch.float32 and what == "loop" and not gap <= tolerance:
            self.notes.append(
                f"In {str(self.dtype)[6:]} the samples of {peer.name} end up {gap:.1e} from ours: rounding adds up along the loop."
            )
            return True
        if not gap <= tolerance:
            self.notes.append(f"A {what} of {peer.name} was not timed: it differs from ours by {gap:.1e} of its largest value.")
        return gap <= tolerance

    @staticmethod
    def _without_gradients(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return torch.no_grad()(work)

    def _contest(self, contestants: dict[str, Callable[[], Any]], differences: dict[str, float] | None = None) -> dict[str, Any]:
        reference = next(iter(contestants))
        laps = self.watch.rounds(contestants, self.round_count, self.tell)
        return {"rows": [row | {"difference": (differences or {}).get(row["name"])} for row in rows(laps, reference)]}

    # ---- a whole picture

    def _whole(self) -> dict[str, Any]:
        """A picture from its noise to the file: the bare loop and its decoding, the same through the Hub, and with previews."""
        card, hub, request = self.card, self.hub, self.request
        x = seeded(request.seeds, request.shape(card), self.device)(-1)
        schedule, predict = Schedule.from_card(card.schedule), hub.predict(card, request, hub.load(card).module, None)
        autoencoder = hub.load(hub.card(request.vae)).module if card.latent else None
        options = solver_options(schedule, request.solver, request.steps, request.eta, card.sampling.spacing)
        firsts: list[float] = []

        def bare() -> None:
            *_, last = sample(predict, x, schedule, request.solver, request.steps, **options)
            pictures.to_uint8(autoencoders.decode(autoencoder, last.x, card.latent.scale) if autoencoder else last.x)

        def watched() -> None:
            if (first := self._picture(preview=True)) is not None:
                firsts.append(first)

        contestants = {BARE: bare, HUB: lambda: self._picture(preview=False), PREVIEWS: watched}
        contestants |= self._by_default(x)
        contest = self._contest(contestants)
        by_name = {row["name"]: row for row in contest["rows"]}
        ratios = {clock: by_name[PREVIEWS][f"ratio_{clock}"] / by_name[HUB][f"ratio_{clock}"] for clock in ("cpu", "wall")}
        return contest | {"previews_over_none": ratios, "first_preview_seconds": statistics.median(firsts) if firsts else None}

    def _by_default(self, x: Tensor) -> dict[str, Callable[[], Any]]:
        """The authors' picture in float32, where the Hub would choose bfloat16 by itself, as it does for large models."""
        if not self.settings.peers or self.settings.dtype != "auto" or self.dtype == torch.float32:
            return {}
        task = self._task(x, 0.0, None, torch.float32)
        peer = official_peer(task)
        if isinstance(peer, str) or peer.loop is None or not self.card.latent:
            return {}
        vae = self.hub.card(self.request.vae)
        plain = weights.plain(vae, self.hub.store.find(vae), torch.float32, self.device)
        self.notes.append("The authors' whole picture is in float32, as their programs make it; ours is in what the Hub chooses.")
        return {"official, restated, in float32": lambda: autoencoders.decode(plain, peer.loop(), self.card.latent.scale)}

    def _picture(self, preview: bool, steps: int | None = None) -> float | None:
        """Ask the Hub for the picture; the seconds to its first preview."""
        start, first = time.perf_counter(), None
        request = self.request if steps is None else dataclasses.replace(self.request, steps=steps)
        for item in self.hub.generate(request, preview=preview):
            if first is None and isinstance(item, Progress) and item.preview is not None:
                first = time.perf_counter() - start
            if isinstance(item, Result):
                return first
        return first


def difference(theirs: Tensor, ours: Tensor) -> float:
    """Largest difference as a share of the largest magnitude; infinite where the shapes differ or something is no number."""
    if theirs.shape != ours.shape or not torch.isfinite(theirs).all():
        return float("inf")
    return ((theirs - ours).abs().max() / ours.abs().max()).item()
