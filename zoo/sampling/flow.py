"""Solvers of flows: generators that walk a straight path from noise to data and yield one Step per network evaluation.

All think in the noise share s and in the velocity dx/ds = noise - x0, whichever time the network is told and whatever it predicts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from torch import Tensor

from zoo.sampling.flow_schedule import FlowSchedule
from zoo.sampling.guidance import Predict, ask
from zoo.sampling.solvers import Noise, Step

PREDICTIONS = ("velocity", "sample")
"""What a flow model may predict: the derivative of x by the time it is told, or the clean sample."""


class Said(NamedTuple):
    """What the network says of a sample: told t, the velocity dx/ds and the clean sample x0, each like x."""

    t: float
    velocity: Tensor
    x0: Tensor

    @property
    def noise(self) -> Tensor:
        """The noise in the sample, noise_scale eps."""
        return self.x0 + self.velocity


@dataclass(frozen=True)
class FlowNetwork:
    """A network as the solvers of flows ask it."""

    predict: Predict
    schedule: FlowSchedule
    prediction: str = "velocity"
    t_eps: float = 0.05
    """Of a network that predicts the clean sample: the share below which (x - x0) is no longer divided by it (JiT: 0.05)."""

    def __call__(self, x: Tensor, s: float, began: float | None = None) -> Said:
        """Ask once about x at the noise share s; began: the share at which the step began, where it makes several evaluations.

        Where the network answers with twice the channels of x, the second half is the variance that SiT never trained: it is left out.
        """
        t = told(self.schedule, s)
        raw = ask(self.predict, x, t, None if began is None else told(self.schedule, began))
        raw = raw.narrow(x.ndim - 3, 0, x.shape[x.ndim - 3])
        if self.prediction == "sample":
            return Said(t, (x - raw) / max(s, self.t_eps), raw)
        velocity = self.schedule.sign * raw
        return Said(t, velocity, x - s * velocity)


def told(schedule: FlowSchedule, s: float) -> float:
    """The time that the network is told at the noise share s, rounded to float32 as it receives it."""
    return float(np.float32(schedule.model_time(s)))


def even_shares(schedule: FlowSchedule, steps: int, last_step_size: float | None) -> list[float]:
    """Of `steps` Euler steps: evenly from 1 to the last step, whose size is 1/steps unless it is given, then 0; shifted."""
    return schedule.shifted([*np.linspace(1.0, last_step_size or 1 / steps, steps).tolist(), 0.0])


def heun_shares(schedule: FlowSchedule, steps: int) -> list[float]:
    """Of `steps` evaluations, two for each of ceil(steps / 2) even intervals from 1 to 0, and 0; shifted."""
    ends = schedule.shifted(np.linspace(1.0, 0.0, (steps + 1) // 2 + 1).tolist())
    return [*[end for both in pairwise(ends) for end in both][:steps], 0.0]


def sde_shares(schedule: FlowSchedule, steps: int, last_step_size: float) -> list[float]:
    """Of `steps` steps of the SDE: evenly from 1 to the last step of this size, then 0; never shifted (SiT, REPA: 0.04)."""
    return [*np.linspace(1.0, last_step_size, steps).tolist(), 0.0]


def no_shares(schedule: FlowSchedule, steps: int) -> list[float]:
    """Of a solver that chooses its steps as it goes: none."""
    return []


def euler(network: FlowNetwork, x: Tensor, shares: list[float], noise: Noise | None) -> Iterator[Step]:
    """Euler steps of the flow's ODE."""
    total = len(shares) - 1
    for k, (now, to) in enumerate(pairwise(shares)):
        said = network(x, now)
        x = x + (to - now) * said.velocity
        yield Step(k, total, said.t, x, said.x0)


def heun(network: FlowNetwork, x: Tensor, shares: list[float], noise: Noise | None) -> Iterator[Step]:
    """Heun's method: an Euler guess, corrected by the velocity at its end; the last of an odd number of evaluations stays the guess."""
    total = len(shares) - 1
    for k in range(0, total, 2):
        now, to = shares[k : k + 2]
        first = network(x, now, began=now)
        guess = x + (to - now) * first.velocity
        yield Step(k, total, first.t, guess, first.x0)
        if k + 1 < total:
            second = network(guess, to, began=now)
            x = x + (to - now) * 0.5 * (first.velocity + second.velocity)
            yield Step(k + 1, total, second.t, x, second.x0)


def euler_maruyama(network: FlowNetwork, x: Tensor, shares: list[float], noise: Noise) -> Iterator[Step]:
    """Euler steps of the SDE with the flow's own marginals whose diffusion is s, "sigma" in SiT (Ma et al., arXiv 2401.08740, eq. 10);
    the last step adds no noise."""
    total, scale = len(shares) - 1, network.schedule.noise_scale
    for k, (now, to) in enumerate(pairwise(shares)):
        said = network(x, now)
        x = x + (to - now) * (said.velocity + said.noise)
        if k + 1 < total:
            x = x + scale * (2 * now * (now - to)) ** 0.5 * noise(k).to(x)
        yield Step(k, total, said.t, x, said.x0)
