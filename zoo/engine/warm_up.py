"""What a model takes here is measured in the background before anybody asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from zoo.engine.job import Job
from zoo.engine.request import Request
from zoo.engine.step_timing import product_speed
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub


class WarmUps:
    """Loads a small model and measures a few of its steps, so that the first visitor does not wait and is told the cost.

    The first steps of a large one would keep others waiting: of it only how fast this machine multiplies is measured, which takes a moment.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._jobs: dict[str | torch.dtype, Job] = {}

    def begin(self, card: Card) -> bool:
        """Measure a model, or the numbers that it computes with, once; whether that is still going on. What is wrong with a model is said
        to whoever runs it."""
        what = self._hub.models.dtype(card) if self._hub.large(card) else card.id
        if what not in self._jobs:
            try:
                job = self._product(what) if isinstance(what, torch.dtype) else self._steps(card)
            except ZooError:  # such as a queue that is full: it is tried again
                return False
            if job is None:
                return False
            self._jobs[what] = job
        return not self._jobs[what].ended

    def _steps(self, card: Card) -> Job:
        request = Request(card.id, (0,) if card.arch.get("num_classes") else (), steps=10, prompt="a" if card.text else "")
        return self._hub.submit(request, visitor=None, account=f"warm-up of {card.id}", kind="warm-up")

    def _product(self, dtype: torch.dtype) -> Job | None:
        hub = self._hub

        def measure(_: Job) -> Iterator[None]:
            hub.timing.add_speed(dtype, hub.compute(product_speed, dtype, hub.device, whole=True))
            yield

        if hub.timing.speed(dtype) is not None:
            return None
        return hub.engine.submit(Job(f"speed of {dtype}", lane="quick", kind="warm-up"), measure)
