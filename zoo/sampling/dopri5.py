"""Dormand and Prince's method of order 5 for flows: it chooses its own steps, so nobody knows before how often it asks the network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from zoo.errors import RequestError
from zoo.sampling.flow import FlowNetwork
from zoo.sampling.solvers import Noise, Step

EXPECTED = 62
"""Network evaluations of a usual run: two that find the first step, and ten steps."""
MOST = 5000
"""Network evaluations after which it gives up."""
STAGES = (
    (1 / 5, (1 / 5,)),
    (3 / 10, (3 / 40, 9 / 40)),
    (4 / 5, (44 / 45, -56 / 15, 32 / 9)),
    (8 / 9, (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729)),
    (1, (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656)),
    (1, (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84)),
)
"""Where in a step each further evaluation is, and the weights of the slopes before it (Dormand and Prince 1980, table 2)."""
ERROR = (71 / 86400, 0, -142 / 50085, 71 / 2880, -5751 / 169600, 44 / 1575, -1 / 60)
"""Weights of the slopes in the error: two thirds of Dormand and Prince's own, as Shampine and torchdiffeq have it."""
MIDDLE = (
    6025192743 / 60171106304, 0, 51252292925 / 130801643196, -2691868925 / 90256659456, 187940372067 / 3189068634112,
    -1776094331 / 39487288512, 11237099 / 470086768,
)  # fmt: skip
"""Weights of the slopes at the middle of a step, of order 4 (Shampine 1986)."""


def dopri5(network: FlowNetwork, x: Tensor, shares: list[float], noise: Noise | None, rtol: float, atol: float) -> Iterator[Step]:
    """Walk the flow's ODE with an error of a step below atol + rtol |x|, as a root mean square over all of x: the whole batch.

    The step sizes are those of torchdiffeq, which SiT uses: the first by Hairer's rule, each further one by the error of the step before.
    The last step goes beyond the data, and the last Step is the value there, interpolated. `total` is an estimate until then. The state
    is kept in float64 where the device has it, for the first error is otherwise only rounding. Raises RequestError where it gets nowhere.
    """
    exact = torch.float32 if x.device.type == "mps" else torch.float64
    state, place, made = x.to(exact), 0.0, 0  # place: 1 - s, so it rises

    def slope(at: Tensor, where: float, began: float) -> tuple[float, Tensor, Tensor]:
        said = network(at.to(x.dtype), 1 - where, began=1 - began)
        return said.t, -said.velocity.to(exact), said.x0

    def step(told: float, at: Tensor, x0: Tensor, left: int) -> Step:
        nonlocal made
        made += 1
        return Step(made - 1, made + left, told, at.to(x.dtype), x0)

    told, first, x0 = slope(state, 0.0, 0.0)
    tolerance = atol + rtol * state.abs()
    trial = _trial_size(_rms(state / tolerance), _rms(first / tolerance))
    yield step(told, state + trial * first, x0, EXPECTED - 1)
    told, second, x0 = slope(state + trial * first, trial, 0.0)
    size = _first_size(trial, _rms(first / tolerance), _rms((second - first) / tolerance) / trial)
    yield step(told, state, x0, EXPECTED - 2)

    while True:
        if not math.isfinite(size) or place + size == place or made > MOST:
            raise RequestError(f"dopri5 asked the network {made} times and got nowhere: give a larger rtol, or choose euler or heun.")
        usual = max(6, EXPECTED - made)  # the first steps are short, and the later ones grow
        left = min(usual, 6 * max(1, math.ceil((1 - place) / size)))
        slopes = [first]
        for number, (part, weights) in enumerate(STAGES, 1):
            at = state + size * _sum(weights, slopes)
            told, value, x0 = slope(at, place + part * size, place)
            slopes.append(value)
            if number < len(STAGES):
                yield step(told, at, x0, left - number)
        error = _rms(size * _sum(ERROR, slopes) / (atol + rtol * torch.maximum(state.abs(), at.abs())))
        accepted = error <= 1
        if accepted and place + size >= 1:
            yield step(told, _between(state, at, slopes, size, (1 - place) / size), x0, 0)
            return
        if accepted:
            state, first, place = at, slopes[-1], place + size
        size *= _factor(error)
        yield step(told, state, x0, max(1, left - len(STAGES)))


def _trial_size(size_of_state: float, size_of_slope: float) -> float:
    """A first guess at a step, which moves the state by a hundredth of itself."""
    return 1e-6 if size_of_state < 1e-5 or size_of_slope < 1e-5 else 0.01 * size_of_state / size_of_slope


def _first_size(trial: float, slope: float, bend: float) -> float:
    """The first step, by how fast the slope changes (Hairer, Norsett and Wanner, Solving ODEs I, II.4)."""
    steepest = max(slope, bend)
    return min(100 * trial, max(1e-6, trial * 1e-3) if steepest <= 1e-15 else (0.01 / steepest) ** 0.2)


def _factor(error: float) -> float:
    """How much longer or shorter the next step is, by the error of this one as a multiple of what is allowed."""
    if math.isnan(error):
        return error
    if error == 0:
        return 10.0
    return min(10.0, max(0.9 * error**-0.2, 1.0 if error < 1 else 0.2))


def _between(start: Tensor, end: Tensor, slopes: Sequence[Tensor], size: float, part: float) -> Tensor:
    """The state at a part of a step: the quartic through both ends, with their slopes, and the middle."""
    middle = start + size * _sum(MIDDLE, slopes)
    cubic_middle = (start + end) / 2 + size * (slopes[0] - slopes[-1]) / 8
    rest = 1 - part
    cubic = (
        rest**2 * (1 + 2 * part) * start + part**2 * (3 - 2 * part) * end
        + size * part * rest * (rest * slopes[0] - part * slopes[-1])
    )  # fmt: skip
    return cubic + 16 * part**2 * rest**2 * (middle - cubic_middle)


def _sum(weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    return sum(weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight)


def _rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()
