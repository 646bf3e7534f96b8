"""How long a step takes here: measured as requests run, kept between starts, told before the next one; and reckoned where none ran yet."""

from __future__ import annotations

import json
import math
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from zoo.catalog.files import atomic_write
from zoo.engine.request import Request

if TYPE_CHECKING:
    from zoo.catalog.card import Card


SHARE = 0.6
"""Of the speed of a product that a network reaches: 0.3 (Latte) to 1.0 (DiT in float32), measured on an AMD EPYC."""


class Price(NamedTuple):
    """Seconds that a request will take, and how that is known."""

    seconds: float
    basis: str
    """measured (its model ran here) | reckoned (from its multiply-adds) | quota (of a visitor's GPU that is lent)."""


class StepTiming:
    """Seconds a picture and step of one machine, by model and passes of the network a step: 2 with guidance, 1 without."""

    def __init__(self, path: Path, machine: str) -> None:
        self.path, self.machine = path, machine
        self.seconds_per_step: dict[str, float] = {}
        try:
            values = json.loads(path.read_text(encoding="utf-8"))[machine]
            seconds = {str(key): float(value) for key, value in values.items()}
            self.seconds_per_step = {key: value for key, value in seconds.items() if 0 < value < math.inf}  # not NaN, which JSON lets in
        except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
            pass  # nothing measured yet, or not by this version: it is measured again

    def add(self, request: Request, laps: list[float]) -> None:
        """Note how long each step of one run took; half of what is known comes from the latest run."""
        if laps:
            key, value = f"{request.model} {self._passes(request)}", statistics.median(laps) / (len(request.seeds) * request.frames)
            self.seconds_per_step[key] = value if key not in self.seconds_per_step else (self.seconds_per_step[key] + value) / 2
            self._save()

    def seconds(self, request: Request) -> float | None:
        """What all steps of this request will take, None where its model was never measured."""
        passes = self._passes(request)
        other = self.seconds_per_step.get(f"{request.model} {3 - passes}")
        value = self.seconds_per_step.get(f"{request.model} {passes}") or (other and other * passes / (3 - passes))
        return None if value is None else value * len(request.seeds) * request.frames * request.steps

    def speed(self, dtype: torch.dtype) -> float | None:
        """Billions of multiply-adds a second of large products of a dtype on all cores, None before `add_speed`."""
        return self.seconds_per_step.get(_product(dtype))

    def add_speed(self, dtype: torch.dtype, speed: float) -> None:
        """Note how fast products of a dtype are here."""
        self.seconds_per_step[_product(dtype)] = speed
        self._save()

    def _save(self) -> None:
        """Keep what was measured for the next start; a disk that refuses costs only that."""
        with suppress(OSError), atomic_write(self.path) as part:
            part.write_text(json.dumps({self.machine: self.seconds_per_step}), encoding="utf-8")

    @staticmethod
    def _passes(request: Request) -> int:
        return 1 if request.guidance == 1 else 2


def multiply_adds(card: Card, request: Request, autoencoder: Card | None = None) -> float:
    """Billions of multiply-adds of all steps of a resolved request, or of decoding its pictures, as the cards count them."""
    count, frames = len(request.seeds), request.frames if card.video else 1
    size = card.arch["input_size"]
    if autoencoder is not None:
        side = size * 2 ** (len(autoencoder.arch["block_out_channels"]) - 1)
        return autoencoder.cost.gmacs * count * frames * (side / autoencoder.arch.get("sample_size", side)) ** 2
    passes = 1 if request.guidance == 1 else 2
    of_one = card.cost.gmacs / card.arch.get("num_frames", 1) or card.cost.params / 1e9 * (size / card.arch.get("patch_size", 2)) ** 2
    return of_one * passes * count * frames * request.steps


def _product(dtype: torch.dtype) -> str:
    return f"product {str(dtype).removeprefix('torch.')}"


def product_speed(dtype: torch.dtype, device: torch.device) -> float:
    """Billions of multiply-adds a second of a layer of DiT-XL/2 on as many threads as are set: the best of eight laps."""
    rows, width, outer = 512, 1152, 4608
    x, weight = (torch.ones(shape, width, dtype=dtype, device=device) for shape in (rows, outer))
    laps = []
    for _ in range(8):
        begun = time.perf_counter()
        torch.nn.functional.linear(x, weight)[0, 0].item()
        laps.append(time.perf_counter() - begun)
    return rows * width * outer / 1e9 / min(laps)
