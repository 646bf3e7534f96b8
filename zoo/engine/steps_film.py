"""All steps of a run that is over as one film: the noisy sample beside the clean prediction, from noise to the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.media import pictures
from zoo.networks import autoencoders
from zoo.sampling import Schedule, solver_options, told_times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub
    from zoo.engine.request import Request
    from zoo.engine.run_steps import RunSteps

MOST_STEPS = 50
"""Of a film; of a longer run as many are chosen, evenly, the last one always."""
MOST_PICTURES = 4
"""Of a run, the first ones."""
MOST_DECODED = 200
"""Pictures that are decoded for a film: each sample costs two a step, so of several samples fewer steps are shown."""


@dataclass(frozen=True)
class StepsFilm:
    """The pictures of a film (n, h, w, 3) uint8 each, by sample."""

    steps: tuple[int, ...]
    """The step, from 1, that each picture of the film is of."""
    frames: tuple[int, ...]
    """Of a video the frame, from 1, that each is; of pictures always 1."""
    noise: tuple[float, ...]
    """The share of noise, sigma of x = alpha x0 + sigma eps, that is left in each noisy sample."""
    total: int
    """Steps of the whole run."""
    noisy: list[np.ndarray]
    clean: list[np.ndarray]


def noise_left(card: Card, request: Request) -> list[float]:
    """The share of noise in the sample after each step of a resolved request; none after the last."""
    schedule = Schedule.from_card(card.schedule)
    options = solver_options(schedule, request.solver, request.steps, request.eta, card.sampling.spacing)
    times = told_times(schedule, request.solver, request.steps, **options)
    return [*(schedule.sigma((t - schedule.time_shift) / schedule.time_scale) for t in times[1:]), 0.0]


def chosen(numbers: Sequence[int], most: int = MOST_STEPS) -> list[int]:
    """At most so many of some numbers in order, evenly, the first and the last among them."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[round(k * (len(numbers) - 1) / (most - 1))] for k in range(most)]


def steps_film(hub: Hub, kept: RunSteps) -> StepsFilm:
    """Decode the kept steps of a run, as turns of the job that asks.

    A video moves on by a frame with each step, and plays once at its end. Where decoding is costly, a linear map of the latents shows all
    steps but the last.
    """
    request, card = kept.request, hub.card(kept.request.model)
    pictures_a_step = 2 if card.video else 2 * min(len(request.seeds), MOST_PICTURES)
    steps = chosen(kept.numbers, min(MOST_STEPS, MOST_DECODED // pictures_a_step))
    last, length = steps[-1], request.frames if card.video else 1
    places = [(step, k % length) for k, step in enumerate(steps)]
    places += [(last, (len(steps) + k) % length) for k in range(length if card.video else 0)]
    decoder = _Decoder(hub, card, request)
    x, x0 = ([kept.at(step, noisy)[1][:MOST_PICTURES] for step in steps] for noisy in (True, False))
    clips = [decoder.decoded(part) for part in (x[-1], x0[-1])]
    shown = []
    for samples, clip in zip((x, x0), clips, strict=True):
        early = [part[:, k % length] if card.video else part for k, part in enumerate(samples[:-1])]
        ends = [clip[:, frame] if card.video else clip for step, frame in places if step == last]
        shown.append(np.stack([*decoder.previews(early), *ends], 1))
    noise = dict(enumerate(noise_left(card, request), 1))
    return StepsFilm(
        tuple(step for step, _ in places), tuple(frame + 1 for _, frame in places), tuple(noise[step] for step, _ in places),
        request.steps, *([*part] for part in shown),
    )  # fmt: skip


class _Decoder:
    """From the samples of a model to pictures, as turns of the engine."""

    def __init__(self, hub: Hub, card: Card, request: Request) -> None:
        self.hub, self.name = hub, request.vae
        vae = hub.card(request.vae) if request.vae else None
        self.module, self.scale = (hub.load(vae).module, card.latent.scale) if vae else (None, 1.0)
        self.costly = vae is not None and hub.whole(vae)
        self.factor = 2 ** (len(vae.arch["block_out_channels"]) - 1) if vae else 1

    def decoded(self, x: Tensor) -> np.ndarray:
        """All samples, one a turn; a linear map learns from them where it may be needed."""
        images = np.concatenate(self.hub.engine.all([lambda part=part: self._decode(part) for part in x.split(1)], self.costly))
        if self.costly:
            self.hub.linear_previews.learn(self.name, x, images)
        return images

    def previews(self, samples: Sequence[Tensor]) -> list[np.ndarray]:
        """The samples of each step, a step a turn."""
        if self.costly:
            return [self.hub.linear_previews.pictures(self.name, part, self.factor) for part in samples]
        return self.hub.engine.all([lambda part=part: self._decode(part) for part in samples])

    def _decode(self, x: Tensor) -> np.ndarray:
        x = x.to(self.hub.device)
        return pictures.to_uint8(x if self.module is None else autoencoders.decode(self.module, x, self.scale))
