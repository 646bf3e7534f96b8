"""One request on its way: what it needs is loaded, its samples walk from noise to the clean ones, and are decoded and written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.engine.modulation_tables import with_tables
from zoo.engine.previews import Previews
from zoo.engine.request import Progress, Request, Result
from zoo.engine.results import receipts_of
from zoo.engine.run_steps import RunSteps
from zoo.engine.shared_pass import Network, Rows, seconds_of_others
from zoo.engine.walk import parts_of, progress_of, result_so_far, walk
from zoo.media import pictures
from zoo.networks import autoencoders
from zoo.sampling import Step, Trace

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub
    from zoo.engine.job import Job


KNOWN = 3
"""Steps after which it is known what a run will take."""


class Generation:
    """The work of one job that generates; `events` is what it says, and its steps are said by the threads that compute."""

    def __init__(
        self,
        hub: Hub,
        job: Job,
        card: Card,
        request: Request,
        visitor: str | None,
        preview: bool,
        trace: Trace | None,
        measured: bool,
        keep_steps: bool,
    ) -> None:
        """measured: whether to tell the memory of a step; two steps then have the machine for themselves. The others are those of
        Hub.submit."""
        self.hub, self.job, self.card, self.request, self.visitor, self.trace = hub, job, card, request, visitor, trace
        self.preview, self.measured = preview, measured
        self.memory: int | None = None
        self.run_steps = RunSteps(request) if keep_steps and visitor is not None else None
        self.steps: list[Step] = []
        """Of all walks, the latest."""
        self.laps: list[float] = []
        """Seconds of computing of each round."""
        self._seconds: list[float] = []
        """Of computing, by walk."""

    @property
    def step_seconds(self) -> float:
        """Of computing, of all steps so far."""
        return sum(self._seconds)

    def events(self) -> Iterator[Progress | Result]:
        """Say that it loads, then, at the end, what came of it; nothing where it was stopped before the first step."""
        card, request, hub = self.card, self.request, self.hub
        yield Progress("loading", request)
        decoder = hub.autoencoder(card, request) if card.latent else None
        context, encoder = hub.context(card, request, decoder) if card.text else (None, None)
        model = hub.load(card)
        autoencoder = hub.load(decoder) if decoder else None
        if self.job.stop.is_set():
            return
        self.weights = {card.id: model.files, request.vae: autoencoder and autoencoder.files, card.text: encoder}
        self.taken = {one.id: part.taken for one, part in ((card, model), (decoder, autoencoder)) if part and part.taken}
        self.kernels = ", ".join(part.kernels for part in (model, autoencoder) if part)
        self.autoencoder = autoencoder and autoencoder.module
        self.dear = decoder is not None and hub.whole(decoder)
        self.started = time.monotonic()
        parts = parts_of(request, hub.device)
        self._seconds = [0.0] * len(parts)
        self.network = Network(model.module)
        module = with_tables(card, request, model.module, self.network)
        walks = [self._walk(k, part, module, context) for k, part in enumerate(parts)]
        self.previews = Previews(self) if self.preview else None
        alone = self.measured or request.solver == "dopri5"  # whose steps would follow the rounding of others' rows
        most = 0 if alone else hub.rows_together(card)
        rows = Rows(card.id, len(parts[0].seeds) * (1 if request.guidance == 1 else 2), most) if most else None
        hub.engine.rounds(walks, self._after, lambda number: (hub.whole(card) and not rows) or self._measures(number), rows)
        if self.previews:
            self.previews.close()
        hub.timing.add(request, self.laps[1:])
        number, total = progress_of(self.steps)
        images = self._decode([result_so_far(step) for step in self.steps])
        yield self._result(images, None if number == total else number)

    def _walk(self, k: int, request: Request, module: torch.nn.Module, context: Tensor | None) -> Iterator[Step]:
        """From noise to the clean sample, a step at a time."""
        steps = walk(self.card, request, module, context, self.hub.device, self.trace if k == 0 else None)
        while True:
            peak = self.hub.models.peak() if k == 0 and self._measures(len(self.laps)) else None
            begun = time.perf_counter() - seconds_of_others()
            step = next(steps, None)
            if step is None:
                return
            self._seconds[k] += time.perf_counter() - seconds_of_others() - begun
            if peak and (used := peak()) is not None:
                self.memory = max(self.memory or 0, self.hub.models.sizes().get(self.card.id, 0) + used)
            yield step

    def _measures(self, number: int) -> bool:
        """Whether the memory of this step is measured: the first also brings in code, the others are alike."""
        return self.measured and number in (1, self.request.steps - 1)

    def _after(self, steps: list[Step]) -> bool:
        """All samples have taken a step: say so; whether they go on."""
        self.steps = list(steps)
        self.laps.append(self.step_seconds - sum(self.laps))
        number, total = progress_of(steps)
        self.hub.engine.watchers.tell("stepped", len(self.request.seeds))
        if number == KNOWN and self.job.seconds is None and self.hub.engine.limits.seconds is not None:
            self._check_cost()
        if self.run_steps is not None:
            self.run_steps.add(number, steps, number == total)
        if number == total or self.job.stop.is_set():
            return False
        images, of_step = self.previews.latest(number, self.steps) if self.previews else (None, 0)
        speed = number / max(time.monotonic() - self.started, 1e-9)
        left = (total - number) / speed
        self.job.put(Progress("sampling", self.request, number, total, left, speed, preview=images, preview_step=of_step))
        return True

    def _check_cost(self) -> None:
        """What was never measured could not be refused at once: it is now. Raises RequestError."""
        self.hub.timing.add(self.request, self.laps[1:])
        self.job.seconds = self.hub.core_seconds(self.request)
        self.hub.engine.limits.check_cost(self.job)

    def decode(self, x: Tensor, draft: bool = False) -> np.ndarray:
        """Samples of one walk as pictures, uint8; to be called as a turn."""
        scale = self.card.latent.scale if self.card.latent else 1.0
        return pictures.to_uint8(x if self.autoencoder is None else autoencoders.decode(self.autoencoder, x, scale, draft))

    def _decode(self, samples: list[Tensor]) -> np.ndarray:
        one_by_one = [part for x in samples for part in x.split(1)]
        images = np.concatenate(self.hub.engine.all([lambda x=x: self.decode(x, self.hub.engine.closed) for x in one_by_one], self.dear))
        if self.dear:
            self.hub.linear_previews.learn(self.request.vae, torch.cat(one_by_one), images)
        return images

    def linear_pictures(self, samples: Sequence[Tensor]) -> np.ndarray | None:
        """Latents as a linear map shows them; None before anything of their autoencoder was decoded here."""
        factor = 2 ** (len(self.hub.card(self.request.vae).arch["block_out_channels"]) - 1)
        return self.hub.linear_previews.pictures(self.request.vae, torch.cat(list(samples)), factor)

    def _result(self, images: np.ndarray, stopped_at: int | None) -> Result:
        hub, seconds = self.hub, time.monotonic() - self.started
        conditions: dict[str, Any] = {
            "weights": {name: files.digest for name, files in self.weights.items() if files}, "threads": hub.threads(self.card),
            "dtype": str(hub.models.dtype(self.card)).removeprefix("torch."), "device": str(hub.device),
            "kernels": self.kernels, "stopped_at": stopped_at, "shared_passes": self.network.joined,
        }  # fmt: skip
        conditions |= {"weights_taken_from": self.taken} if self.taken else {}
        how = {"compute_seconds": self.step_seconds, "memory": self.memory}
        return result_of(hub, self.card, self.request, images, conditions, seconds, self.visitor, self.run_steps, **how)


def result_of(
    hub: Hub,
    card: Card,
    request: Request,
    images: np.ndarray,
    conditions: dict[str, Any],
    seconds: float,
    visitor: str | None,
    run_steps: RunSteps | None,
    **how: Any,
) -> Result:
    """Write what a run came to, with its receipts; conditions: what of the machine decides its pixels; how: of the Result itself."""
    receipts = receipts_of(card, request, images, conditions, seconds)
    files = () if visitor is None else hub.results.keep(images, receipts, visitor)
    run = "" if run_steps is None else hub.keep_steps(run_steps)
    return Result(request, images, files, tuple(receipts), seconds, conditions["stopped_at"], run=run, **how)
