"""What a bench measures: one model with its weights in a Hub of its own, the request everybody computes, and how contests are held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.catalog.store import Store
from zoo.engine.bench import machine, weights
from zoo.engine.bench.peers import Task
from zoo.engine.bench.timing import Stopwatch, rows
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.errors import OutOfMemoryError

LARGE = 10_000_000
"""Parameters from which fewer steps and rounds are measured unless more are asked for."""
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


class Subject:
    """One model, ready to be measured, in a folder of its own."""

    def __init__(self, settings: Settings, folder: Path, tell: Tell) -> None:
        """Raises RequestError for a model that makes no pictures, OutOfMemoryError for one that does not fit."""
        self.settings, self.folder, self.tell = settings, folder, tell
        own = Hub(device=settings.device, dtype=settings.dtype, offline=True)
        self.card = card = own.card(settings.model or next(card.id for card in own.offers if card.generates))
        steps = settings.steps if settings.steps is not None else 50 if self.small else 4
        self.round_count = settings.rounds or (5 if self.small else 3)
        guidance = (card.guidance.default if card.guidance.default != 1 else 4.0) if card.guidable else 1.0
        label = (0,) if card.arch.get("num_classes") else ()
        words = {"steps": steps, "solver": "ddim", "guidance": guidance, "prompt": "a red bus" if card.text else ""}
        self.request = Request(card.id, label, (0,), **words).resolved(card)
        self.dtype, self.device = own.models.dtype(card), own.device
        self._check_memory()
        self.notes: list[str] = []
        self.own_weights, self.whole = self._provide(own)
        self.hub = self.new_hub()
        self.watch = Stopwatch(self.device)

    @property
    def small(self) -> bool:
        """Whether many steps and rounds take little time."""
        return self.card.cost.params < LARGE

    def new_hub(self) -> Hub:
        """A hub on these weights, with nothing loaded yet."""
        return Hub(device=self.settings.device, dtype=self.settings.dtype, cache_dir=self.folder / "cache", offline=True)

    def task(self, x: Tensor, t: float, context: Tensor | None, dtype: torch.dtype) -> Task:
        """What peers are given: the weights as they are stored, and the same inputs."""
        state = weights.plain(self.card, self.hub.store.find(self.card), dtype, self.device).state_dict()
        labels = torch.tensor(self.request.labels, device=self.device) if self.request.labels else None
        return Task(self.card, state, dtype, x, t, labels, context, self.request.guidance, self.request.steps)

    def contest(self, contestants: dict[str, Callable[[], Any]], differences: dict[str, float] | None = None) -> dict[str, Any]:
        """Let contestants take turns; rows of their times, the first being what the others are held against."""
        reference = next(iter(contestants))
        laps = self.watch.rounds(contestants, self.round_count, self.tell)
        return {"rows": [row | {"difference": (differences or {}).get(row["name"])} for row in rows(laps, reference)]}

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
