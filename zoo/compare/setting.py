"""One column of a comparison: a setting, its samples, and what they cost and reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.catalog.card import Card
from zoo.compare.complexity import complexity
from zoo.engine.request import Request, Result
from zoo.engine.results import pixels
from zoo.engine.walk import passes
from zoo.sampling import Schedule, Trace
from zoo.sampling.guidance import Predict


class Times(Trace):
    """The times at which the network was asked, and nothing of what it was asked about."""

    def watch(self, predict: Predict) -> Predict:
        """The same network, its times noted."""

        def watched(x: Any, t: Any) -> Any:
            self.times.append(float(t[0]))
            return predict(x, t)

        return watched


class Samples(Sequence[np.ndarray]):
    """Pictures (h, w, 3), or videos (f, h, w, 3), uint8 of several results, one of which is in memory at a time."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._places = [(one, k) for one in results for k in range(len(one.receipts))]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> np.ndarray:
        result, k = self._places[index]
        return pixels(result.files[k], result.request.fps) if result.files else result.images[k]


@dataclass
class Setting:
    """One setting of a comparison, and what came of it."""

    card: Card
    rounds: list[Request]
    """Resolved requests, no larger than all columns' together may be at once, which differ in seeds and labels only."""
    each_class: bool = False
    """Whether its samples take all classes in turn."""
    results: list[Result] = field(default_factory=list)
    """Of as many rounds as were run, without the pixels, which are in the files."""
    quality: dict[str, Any] = field(default_factory=dict)
    """What the bundled judge says of all samples so far."""
    first_preview: float | None = None
    """Seconds of its own until the first picture of it could be seen."""
    seconds: float = 0.0
    """Its own time; that of the others beside it is not counted."""
    memory: int | None = None
    """Bytes: its weights, and the most that its steps took besides; None where this machine does not tell."""
    trace: Trace = field(default_factory=Times)

    @property
    def request(self) -> Request:
        """Its setting, with the seeds and labels of the first round."""
        return self.rounds[0]

    @property
    def seeds(self) -> list[int]:
        """Seeds of all samples, made or to be made."""
        return [seed for one in self.rounds for seed in one.seeds]

    @property
    def labels(self) -> list[int]:
        """Labels of all samples; empty where the model has no classes."""
        return [label for one in self.rounds for label in one.labels]

    def add(self, result: Result) -> None:
        """Take in the result of the next round; where its samples are in files, its pixels are read from there when they are needed."""
        self.results.append(replace(result, images=np.empty(0, np.uint8)) if result.files else result)

    @property
    def samples(self) -> Samples:
        """The samples so far, each read again when it is asked for."""
        return Samples(self.results)

    @property
    def images(self) -> np.ndarray | None:
        """The samples so far at once, (b, h, w, 3) or (b, f, h, w, 3) uint8; None before the first."""
        return np.stack([*self.samples]) if self.results else None

    @property
    def files(self) -> list[Path]:
        """The samples' files."""
        return [path for one in self.results for path in one.files]

    @property
    def receipts(self) -> list[dict[str, Any]]:
        """The samples' receipts."""
        return [receipt for one in self.results for receipt in one.receipts]

    @property
    def remaining(self) -> list[Request]:
        """The rounds that were not run yet."""
        return self.rounds[len(self.results) :]

    @property
    def stopped_at(self) -> int | None:
        """The step after which it was stopped, None where it was not."""
        return next((one.stopped_at for one in self.results if one.stopped_at is not None), None)

    @property
    def finished(self) -> bool:
        """Whether all rounds were run to their end."""
        return not self.remaining and self.stopped_at is None

    @property
    def evaluations(self) -> int:
        """How often the network was asked for one sample."""
        return round(len(self.trace.times) / len(self.results)) if self.results else len(self.trace.times)

    @property
    def noise(self) -> float:
        """The share of noise, sigma / (alpha + sigma) of x = alpha x0 + sigma eps, in what the network was asked about last."""
        return self._shares(self.trace.times[-1:])[0] if self.trace.times else 1.0

    @property
    def levels(self) -> list[float]:
        """The share of noise in what the network was asked about, at each evaluation of the first round."""
        return self._shares(self.trace.times[: self.evaluations])

    def _shares(self, times: Sequence[float]) -> list[float]:
        schedule = Schedule.from_card(self.card.schedule)
        return [1 / (1 + math.exp(schedule.told_half_log_snr(t))) for t in times]

    def copy(self) -> Setting:
        """The same with lists of its own, so that more samples of it leave this one as it is."""
        trace = replace(self.trace, inputs=[*self.trace.inputs], times=[*self.trace.times])
        return replace(self, rounds=[*self.rounds], results=[*self.results], trace=trace)

    def figures(self) -> dict[str, Any]:
        """What the table says of it, as JSON values; passes and multiply_adds are of one sample, guidance included."""
        network = complexity(self.card, self.request.frames)
        of_one = sum(passes(self.card, self.request, self.trace.times[: self.evaluations]))
        return {
            "samples": len(self.samples), "seconds": round(self.seconds, 3),
            "first_preview": self.first_preview and round(self.first_preview, 3), "evaluations": self.evaluations, "passes": of_one,
            "parameters": sum(network.params.values()), "multiply_adds": round(of_one * sum(network.macs.values())),
            "memory": self.memory, "stopped_at": self.stopped_at, "reported": dict(self.card.reported),
        } | self.quality  # fmt: skip
