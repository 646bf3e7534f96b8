"""The network seen from a solver: guidance around it, and its raw output read as noise, clean sample and variance."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from zoo.errors import RequestError
from zoo.sampling.schedule import Schedule

Predict = Callable[[Tensor, Tensor], Tensor]
"""(x, t) -> raw output: eps like x, or eps and then as many variance channels; t (b,) as the network is told it."""

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


def denoise(predict: Predict, x: Tensor, level: Level) -> Prediction:
    """Ask the network once about x (b, c, h, w) or (b, f, c, h, w), all rows at one level, without recording gradients."""
    with torch.no_grad():
        raw = predict(x, torch.full((len(x),), level.t, dtype=torch.float32, device=x.device)).to(x.dtype)
    eps, fraction = (raw, None) if raw.shape == x.shape else raw.chunk(2, dim=x.ndim - 3)
    assert eps.shape == x.shape, f"the network answered {tuple(raw.shape)} to {tuple(x.shape)}"
    return Prediction(eps, (x - level.sigma * eps) / level.alpha, fraction)


def guided(
    module: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    labels: Tensor | None,
    scale: float | Tensor,
    channels: int | None = None,
    null_label: int | Tensor | None = None,
) -> Predict:
    """Bind labels to a network, with classifier-free guidance eps = uncond + scale (cond - uncond) in one pass of 2b rows.

    labels: (b,) long, (b, n, d) context, or None = unconditional; scale: a number or (b,), one per row, and 1 costs no
    second pass; channels: guide the first so many only (DiT 3 of 4), None = all; null_label: the null index, or the null
    context (n, d) or (1, n, d); None = the last row of the module's label table. Channels that are not guided, variance
    among them, are the conditional ones. The answer has x's dtype. Source: Ho and Salimans, arXiv 2207.12598; DiT models.py.
    Raises RequestError where the null label is not known.
    """
    if labels is None or bool(torch.as_tensor(scale == 1).all()):
        return lambda x, t: module(x, t, None if labels is None else labels.to(x.device)).to(x.dtype)
    null = torch.as_tensor(_last_label(module, labels) if null_label is None else null_label).to(labels)
    both = torch.cat([labels, null.expand_as(labels)])

    def predict(x: Tensor, t: Tensor) -> Tensor:
        axis = x.ndim - 3
        cond, uncond = module(torch.cat([x, x]), torch.cat([t, t]), both.to(x.device)).to(x.dtype).chunk(2)
        count = x.shape[axis] if channels is None else channels
        eps, rest = cond.tensor_split([count], dim=axis)
        base = uncond.narrow(axis, 0, count)
        weight = scale.to(x).view(-1, *[1] * (x.ndim - 1)) if isinstance(scale, Tensor) else scale
        return torch.cat([base + weight * (eps - base), rest], dim=axis)

    return predict


def _last_label(module: object, labels: Tensor) -> int:
    tables = dict(module.named_modules()) if isinstance(module, nn.Module) and not labels.is_floating_point() else {}
    for name in LABEL_TABLES:
        if name in tables:
            return tables[name].num_embeddings - 1
    raise RequestError("Guidance needs the null label, and this network has no label table to take it from: give null_label.")
