"""The network seen from a solver: guidance around it, and its raw output read as noise, clean sample and variance."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import RequestError
from zoo.sampling.flow_schedule import FlowSchedule
from zoo.sampling.schedule import Schedule

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x, t) -> raw output: eps like x, or eps and then as many variance channels; t (b,) as the network is told it."""

Scale = float | Tensor | Callable[[Tensor], Tensor]
"""How strongly a network is guided: a number, one a row (b,), or a function of the told times (b,)."""

MARGIN = 1e-6
"""Of the ends of a guidance interval: grids hit them, and the network is told float32."""
_began: ContextVar[float | None] = ContextVar("the time told at which the step of this evaluation began", default=None)

LABEL_TABLES = ("y_embedder.embedding_table", "label_emb", "class_embedding")
"""Where the official DiT and Latte, U-ViT, and diffusers' U-Net keep one row per label; the last is the null label."""


class Level(NamedTuple):
    """One noise level x = alpha x0 + sigma eps, and what the network is told there."""

    t: float
    alpha: float
    sigma: float

    @classmethod
    def at(cls, schedule: Schedule, tau: float) -> Level:
        """The level of `schedule` at tau in (0, 1]; t is rounded to float32, as the network receives it."""
        return cls(float(np.float32(schedule.model_time(tau))), schedule.alpha(tau), schedule.sigma(tau))

    @property
    def half_log_snr(self) -> float:
        """log(alpha / sigma)."""
        return math.log(self.alpha) - math.log(self.sigma)


class Prediction(NamedTuple):
    """What the network says of a sample; `fraction` is the raw variance output in [-1, 1], where the network has one."""

    eps: Tensor
    x0: Tensor
    fraction: Tensor | None


def ask(predict: Predict, x: Tensor, t: float, began: float | None = None) -> Tensor:
    """Ask the network once about x (b, c, h, w) or (b, f, c, h, w), all rows told t, without recording gradients; the answer has x's dtype.

    began: the time told at which the step began, for guidance that is decided once a step; None where each evaluation is its own step.
    """
    token = _began.set(began)
    try:
        with torch.no_grad():
            return predict(x, torch.full((len(x),), t, dtype=torch.float32, device=x.device)).to(x.dtype)
    finally:
        _began.reset(token)


def denoise(predict: Predict, x: Tensor, level: Level) -> Prediction:
    """Ask the network of a diffusion model once about x (b, c, h, w) or (b, f, c, h, w), all rows at one level."""
    raw = ask(predict, x, level.t)
    eps, fraction = (raw, None) if raw.shape == x.shape else raw.chunk(2, dim=x.ndim - 3)
    assert eps.shape == x.shape, f"the network answered {tuple(raw.shape)} to {tuple(x.shape)}"
    return Prediction(eps, (x - level.sigma * eps) / level.alpha, fraction)


def guided(
    module: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    labels: Tensor | None,
    scale: Scale,
    channels: int | None = None,
    null_label: int | Tensor | None = None,
    interval: tuple[float, float] | None = None,
    schedule: Schedule | FlowSchedule | None = None,
    interval_open: bool = False,
    decided_at: str = "evaluation",
) -> Predict:
    """Bind labels to a network, with classifier-free guidance eps = uncond + scale (cond - uncond) in one pass of 2b rows.

    labels: (b,) long, (b, n, d) context, or None = unconditional; scale: a number, (b,), one per row, or a function of the told
    times (b,) that gives (b,); 1 costs no second pass; channels: guide the first so many only (DiT 3 of 4), None = all; null_label:
    the null index, or the null context (n, d) or (1, n, d); None = the last row of the module's label table. Channels that are not
    guided, variance among them, are the conditional ones. The answer has x's dtype. The network may predict noise, a velocity or the
    clean sample: guidance is linear in all of them. Source: Ho and Salimans, arXiv 2207.12598; DiT models.py.

    interval: (low, high) in the noise share of `schedule` (Schedule.noise_share), outside which the conditional output stands alone,
    without a second pass; both ends belong to it unless interval_open, and 0 and 1 are no ends (Kynkaanniemi et al., arXiv 2404.07724).
    decided_at: "evaluation", or "step" = by the share at which the step began, for solvers that make several evaluations a step
    of a flow (REPA's heun). Raises RequestError where the null label or the schedule is not known, or an interval is none.
    """
    within = None if interval is None else _within(interval, schedule, interval_open, decided_at)
    if labels is None or (not callable(scale) and bool(torch.as_tensor(scale == 1).all())):
        return lambda x, t: module(x, t, None if labels is None else labels.to(x.device)).to(x.dtype)
    null = torch.as_tensor(_last_label(module, labels) if null_label is None else null_label).to(labels)
    both = torch.cat([labels, null.expand_as(labels)])

    def predict(x: Tensor, t: Tensor) -> Tensor:
        axis, of_row = x.ndim - 3, (-1, *[1] * (x.ndim - 1))
        weight = scale(t) if callable(scale) else scale
        inside = None if within is None else within(t)
        if (inside is not None and not inside.any()) or (callable(scale) and bool((weight == 1).all())):
            return module(x, t, labels.to(x.device)).to(x.dtype)
        answer = module(torch.cat([x, x]), torch.cat([t, t]), both.to(x.device)).to(x.dtype)
        cond, uncond = answer.chunk(2)
        count = x.shape[axis] if channels is None else channels
        eps, rest = cond.tensor_split([count], dim=axis)
        base = uncond.narrow(axis, 0, count)
        weight = weight.to(x).view(of_row) if isinstance(weight, Tensor) else weight
        out = torch.cat([base + weight * (eps - base), rest], dim=axis)
        return out if inside is None or inside.all() else torch.where(inside.to(x.device).view(of_row), out, cond)

    return predict


def power_cosine(scale: float, power: float) -> Callable[[Tensor], Tensor]:
    """Guidance that grows from 1 at the told time 1000 to `scale` at 0, later for a larger power (MDT masked_diffusion/models.py)."""
    return lambda t: 1 + (scale - 1) * (1 - torch.cos(math.pi * (1 - t.double() / 1000) ** power)) / 2


def _within(
    interval: tuple[float, float], schedule: Schedule | FlowSchedule | None, is_open: bool, decided_at: str
) -> Callable[[Tensor], Tensor]:
    """Which rows, by the times that they are told (b,), are guided: (b,) bool."""
    low, high = interval
    if schedule is None:
        raise RequestError("A guidance interval is in the noise share of a schedule: give the model's schedule, too.")
    if not 0 <= low <= high <= 1:
        raise RequestError(f"The guidance interval {low:g} to {high:g} is none: give two rising noise shares from 0 (clean) to 1 (noise).")
    if decided_at not in ("evaluation", "step"):
        raise RequestError(f"Guidance is decided at each 'evaluation' or once a 'step', not at {decided_at!r}.")
    margin = -MARGIN if is_open else MARGIN
    low, high = low - margin if low > 0 else -math.inf, high + margin if high < 1 else math.inf

    def within(t: Tensor) -> Tensor:
        began = _began.get() if decided_at == "step" else None
        told = t.tolist() if began is None else [began] * len(t)
        return torch.tensor([low <= schedule.noise_share(one) <= high for one in told])

    return within


def _last_label(module: object, labels: Tensor) -> int:
    tables = dict(module.named_modules()) if isinstance(module, nn.Module) and not labels.is_floating_point() else {}
    for name in LABEL_TABLES:
        if name in tables:
            return tables[name].num_embeddings - 1
    raise RequestError("Guidance needs the null label, and this network has no label table to take it from: give null_label.")
