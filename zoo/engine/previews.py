"""Clean predictions on the way: as many as the eye can use, and as cost the run little."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.engine.generation import Generation
    from zoo.sampling import Step

EVERY = 0.15
"""Seconds between two previews of a run, at least."""
SHARE = 0.08
"""Of a run's computing that its previews may add; those that are decoded on a core that is free cost nothing."""


class Previews:
    """The previews of one run: those of the latest step are decoded beside the next ones, and told with one of them."""

    def __init__(self, run: Generation) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._ready: tuple[np.ndarray | None, int] = (None, 0)
        self._pending = self._closed = False
        self._begun_at = 0.0
        self._seconds = 0.0
        """Taken from the run itself so far."""

    def latest(self, number: int, steps: Sequence[Step]) -> tuple[np.ndarray | None, int]:
        """All samples have taken step `number`: the pictures of an earlier one that are new, and its number, and what is decoded next."""
        now, run = time.monotonic(), self.run
        with self._lock:
            ready, self._ready = self._ready, (None, 0)
            if self._pending or now - self._begun_at < EVERY:
                return ready
            self._pending, self._begun_at = True, now
        samples = [part for step in steps for part in step.x0.split(1)]
        if run.autoencoder is None:  # pixels are there already
            self._pending = False
            return np.concatenate([run.decode(x) for x in samples]), number
        if run.dear and (images := run.linear_pictures(samples)) is not None:
            self._pending = False
            return images, number
        self._decode(number, samples)
        return ready

    def _decode(self, number: int, samples: Sequence[Tensor]) -> None:
        """Decode samples one by one, as turns of the run where it can afford that, else when a core is free; of a dear autoencoder the
        first one only, from which a linear map learns the colours of the others."""
        run, engine, name = self.run, self.run.hub.engine, self.run.request.vae
        samples = samples[:1] if run.dear else samples
        images: list[np.ndarray | None] = [None] * len(samples)
        estimate = run.hub.decode_seconds.get(name, 0.0) * len(samples)
        whole_run = run.step_seconds * run.request.steps / number
        affordable = self._seconds + estimate <= SHARE * (run.step_seconds if self._seconds else whole_run)

        def decode(k: int) -> None:
            begun = time.perf_counter()
            image = None if self._closed else run.decode(samples[k], draft=True)
            seconds = time.perf_counter() - begun
            with self._lock:
                images[k] = image
                self._seconds += seconds if affordable else 0.0
                if any(one is None for one in images):
                    return
                run.hub.decode_seconds[name] = seconds
                if run.dear:
                    run.hub.linear_previews.learn(name, samples[0], images[0])
                    self._begun_at = 0.0  # the next step shows them all
                else:
                    self._ready = np.concatenate(images), number
                self._pending = False

        if not affordable and (run.dear or len(samples) >= engine.cores):  # its own samples need every core
            self._pending = False
            return
        for k in range(len(samples)):
            if affordable:
                engine.also(run.job, lambda k=k: decode(k), whole=run.dear)
            else:
                engine.spare(lambda k=k: decode(k))

    def close(self) -> None:
        """The run is over: nothing more is decoded."""
        self._closed = True
