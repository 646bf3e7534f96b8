"""Timing of contestants that take turns in one process, and what several rounds of it say."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

Work = Callable[[], Any]
ATLEAST = 0.15
"""Seconds of one measurement: what is shorter is done several times in it."""


class Lap(NamedTuple):
    """Seconds of one piece of work: of the processor, summed over all threads of this process, and of the clock."""

    cpu: float
    wall: float


class Stopwatch:
    """Measures on one device, where the clock stops only once the device has done its work."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def lap(self, work: Work, times: int = 1) -> Lap:
        """Do a piece of work so many times; the mean."""
        self._wait()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(times):
            work()
        self._wait()
        return Lap((time.process_time() - cpu) / times, (time.perf_counter() - wall) / times)

    def rounds(self, contestants: Mapping[str, Work], rounds: int, tell: Callable[[str], None]) -> dict[str, list[Lap]]:
        """Every contestant once a round, another one first each time; each was run before, so it is warm. tell: how far it is."""
        laps: dict[str, list[Lap]] = {name: [] for name in contestants}
        times: dict[str, int] = {}
        names = list(contestants)
        for index in range(rounds):
            for name in names[index % len(names) :] + names[: index % len(names)]:
                tell(f"round {index + 1} of {rounds}: {name}")
                gc.collect()
                lap = self.lap(contestants[name], times.get(name, 1))
                if name not in times:
                    times[name] = max(1, math.ceil(ATLEAST / max(lap.wall, 1e-6)))
                    if times[name] > 1:
                        lap = self.lap(contestants[name], times[name])
                laps[name].append(lap)
        return laps

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def rows(laps: Mapping[str, list[Lap]], reference: str) -> list[dict[str, Any]]:
    """Medians of every contestant, how much its rounds varied, and how often the reference's time it took: the median of the ratios of
    the rounds, of processor time and of the clock."""
    table = []
    for name, own in laps.items():
        ratios = [
            statistics.median(getattr(lap, clock) / getattr(base, clock) for lap, base in zip(own, laps[reference], strict=True))
            for clock in Lap._fields
        ]
        cpu, wall = (statistics.median(getattr(lap, clock) for lap in own) for clock in Lap._fields)
        row = {"name": name, "cpu_seconds": cpu, "wall_seconds": wall, "ratio_cpu": ratios[0], "ratio_wall": ratios[1]}
        table.append(row | {"variation": spread(own)})
    return table


def spread(laps: list[Lap]) -> float:
    """Between the fastest and the slowest round, as a share of the median, in processor time."""
    seconds = [lap.cpu for lap in laps]
    return (max(seconds) - min(seconds)) / statistics.median(seconds)
