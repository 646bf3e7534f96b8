"""Solvers: small generators that walk down a list of noise levels and yield one Step per network evaluation.

Their state lives in the generator, never in the network, so one that is closed midway leaves nothing behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.sampling.guidance import Level, Prediction
from zoo.sampling.schedule import Schedule

Denoise = Callable[[Tensor, Level], Prediction]
Noise = Callable[[int], Tensor]
"""step index -> standard normal noise like x."""

CLEAN = Level(t=math.nan, alpha=1.0, sigma=0.0)
"""Where a discrete chain ends; the network is never asked there."""


def seeded(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu") -> Noise:
    """Noise from one CPU generator a picture, in the order of the calls: the same alone, in a batch and on any device."""
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    return lambda _: torch.stack([torch.randn(*shape, generator=g) for g in generators]).to(device)


@dataclass(frozen=True, eq=False)
class Step:
    """One network evaluation: `index` of 0..total-1, the time `t` the network was told, the sample `x` after it, and
    the clean sample `x0` it predicted. Inside a multi-stage update x is the intermediate state."""

    index: int
    total: int
    t: float
    x: Tensor
    x0: Tensor


def chain(schedule: Schedule, steps: int, spacing: str = "even") -> list[Level]:
    """The `steps` discrete levels that a shorter chain keeps, noisiest first, and CLEAN. See Schedule.respaced."""
    indices = schedule.respaced(steps, spacing)
    return [*(Level.at(schedule, (i + 1) / schedule.steps) for i in reversed(indices)), CLEAN]


def grid(schedule: Schedule, steps: int) -> list[Level]:
    """`steps` + 1 levels, uniform in tau from 1 to 1/N (U-ViT eval_ldm_discrete.py)."""
    last = 1 / schedule.steps
    return [Level.at(schedule, 1 + (last - 1) * k / steps) for k in range(steps + 1)]


def log_snr_grid(schedule: Schedule, steps: int, order: int = 3) -> list[Level]:
    """`steps` + 1 levels for updates that each span one interval of a grid uniform in half log-SNR, their inner points evenly
    between, from tau 1 to 1e-4 (1/N where the schedule is a table) (U-ViT dpm_solver_pytorch.py, "fast", "logSNR")."""
    spans = orders(steps, order)
    last = 1e-4 if schedule.betas_vp else 1 / schedule.steps
    bounds = np.linspace(rounded_half_log_snr(schedule, 1.0), rounded_half_log_snr(schedule, last), len(spans) + 1)
    inner = [start + (end - start) * k / span for span, (start, end) in zip(spans, pairwise(bounds), strict=True) for k in range(span)]
    return [Level.at(schedule, tau) for tau in (1.0, *map(schedule.tau, [*inner[1:], bounds[-1]]))]


def rounded_half_log_snr(schedule: Schedule, tau: float) -> float:
    """Half log-SNR as float32 computes it, 0.1 % off near 0 where 1 - alpha^2 cancels: it places the official grid."""
    log_alpha = np.float32(schedule.log_alpha(tau))
    return float(log_alpha - np.float32(0.5) * np.log(np.float32(1) - np.exp(np.float32(2) * log_alpha)))


class SdeStep(NamedTuple):
    """A step of Euler-Maruyama: the level it starts at, the rate beta there, and the time that it takes."""

    start: Level
    beta: float
    span: float


def sde_steps(schedule: Schedule, steps: int) -> list[SdeStep]:
    """From tau 1 evenly down to 1/N, and from there to 0 (U-ViT sde.py: 1/N = 1e-3)."""
    times = [*np.linspace(1.0, 1 / schedule.steps, steps).tolist(), 0.0]
    return [SdeStep(Level.at(schedule, now), schedule.beta(now), now - to) for now, to in pairwise(times)]


def ddpm(denoise: Denoise, x: Tensor, levels: list[Level], noise: Noise) -> Iterator[Step]:
    """Ancestral sampling with the learned variance, or the larger fixed one without (DiT p_sample, clip_denoised False)."""
    total = len(levels) - 1
    for k, (now, to) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        beta, variance, of_x0, of_x = posterior(now, to)
        x = of_x0 * prediction.x0 + of_x * x
        if to is not CLEAN:
            x = x + deviation(beta, variance, prediction.fraction) * noise(k).to(x)
        yield Step(k, total, now.t, x, prediction.x0)


def posterior(now: Level, to: Level) -> tuple[float, float, float, float]:
    """beta of the step, and of q(x_to | x_now, x0) the variance and the weights of x0 and x (Ho et al., arXiv 2006.11239, eq. 7)."""
    beta = 1 - (now.alpha / to.alpha) ** 2
    rest = (to.sigma / now.sigma) ** 2
    return beta, beta * rest, beta * to.alpha / now.sigma**2, rest * now.alpha / to.alpha


def deviation(beta: float, variance: float, fraction: Tensor | None) -> float | Tensor:
    """Deviation of the noise of a step: sqrt(beta), or between that and the posterior's, in logs, at (fraction + 1) / 2
    (Nichol and Dhariwal, arXiv 2102.09672, eq. 15)."""
    if fraction is None:
        return math.sqrt(beta)
    share = (fraction + 1) / 2
    return torch.exp(0.5 * (share * math.log(beta) + (1 - share) * math.log(variance)))


def ddim(denoise: Denoise, x: Tensor, levels: list[Level], noise: Noise | None, eta: float) -> Iterator[Step]:
    """DDIM: eta 0 deterministic, eta 1 as noisy as ddpm; a learned variance is ignored (Song et al., arXiv 2010.02502, eq. 12 and 16)."""
    total = len(levels) - 1
    for k, (now, to) in enumerate(pairwise(levels)):
        prediction = denoise(x, now)
        fresh = eta * to.sigma / now.sigma * math.sqrt(1 - (now.alpha / to.alpha) ** 2)
        x = to.alpha * prediction.x0 + math.sqrt(to.sigma**2 - fresh**2) * prediction.eps
        if fresh:
            x = x + fresh * noise(k).to(x)
        yield Step(k, total, now.t, x, prediction.x0)


def euler_maruyama(denoise: Denoise, x: Tensor, levels: list[SdeStep], noise: Noise | None, eta: float) -> Iterator[Step]:
    """Euler steps of the reverse SDE with eta times its noise: 1 is the SDE itself, 0 the probability-flow ODE with the same
    marginals (Song et al., arXiv 2011.13456, eq. 6 and 13; U-ViT sde.py). The last step adds no noise."""
    total = len(levels)
    for k, (now, beta, span) in enumerate(levels):
        prediction = denoise(x, now)
        x = x + 0.5 * beta * span * (x - (1 + eta**2) / now.sigma * prediction.eps)
        if eta and k + 1 < total:
            x = x + eta * math.sqrt(beta * span) * noise(k).to(x)
        yield Step(k, total, now.t, x, prediction.x0)


def dpm_solver(denoise: Denoise, x: Tensor, levels: list[Level], noise: Noise | None, order: int, clean: bool) -> Iterator[Step]:
    """DPM-Solver, single-step: on the clean prediction that is DPM-Solver++ (Lu et al., arXiv 2211.01095; U-ViT dpm_solver_pp.py,
    "fast"), else on the noise prediction (Lu et al., arXiv 2206.00927; U-ViT dpm_solver_pytorch.py, "fast").

    An update of order o spans o intervals of the levels and evaluates at its first o points.
    """
    total, k = len(levels) - 1, 0
    for span in orders(total, order):
        start, x_start, first, slope = levels[k], x, None, None
        for _ in range(span):
            prediction = denoise(x, levels[k])
            value = prediction.x0 if clean else prediction.eps
            if first is None:
                first = value
            else:
                slope = (value - first) / (levels[k].half_log_snr - start.half_log_snr)
            x = exponential_step(x_start, start, levels[k + 1], first, slope, midpoint=span == 2, clean=clean)
            yield Step(k, total, levels[k].t, x, prediction.x0)
            k += 1


def orders(evaluations: int, order: int) -> list[int]:
    """Orders of the updates that spend exactly so many evaluations; thirds end with 2, 1 rather than 3 (U-ViT's "fast")."""
    if order == 3 and evaluations % 3 == 0:
        return [3] * (evaluations // 3 - 1) + [2, 1]
    return [order] * (evaluations // order) + [evaluations % order] * (evaluations % order > 0)


def exponential_step(x: Tensor, now: Level, to: Level, value: Tensor, slope: Tensor | None, midpoint: bool, clean: bool) -> Tensor:
    """Integrate from `now` to `to` exactly, given the clean (or else the noise) prediction and its slope in half log-SNR.

    `midpoint` weighs the slope as the second-order update does, else as the third-order one.
    """
    h = to.half_log_snr - now.half_log_snr
    sign, base, decay = (-1, to.alpha, to.sigma / now.sigma) if clean else (1, to.sigma, to.alpha / now.alpha)
    growth = math.expm1(sign * h)
    x = decay * x - base * growth * value
    if slope is None:
        return x
    return x + base * (-0.5 * h * growth if midpoint else h - sign * growth) * slope
