"""Noise schedules: how much signal is left at each diffusion time, and what time the network is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.errors import RequestError
from zoo.sampling.flow_schedule import FlowSchedule
from zoo.sampling.noise_levels import NoiseLevels


@dataclass(frozen=True, eq=False)
class Schedule(NoiseLevels):
    """A variance-preserving noise process x = alpha x0 + sigma eps over the continuous time tau in (0, 1].

    The N discrete times of a trained chain are tau = (i + 1) / N for the index i = 0..N-1. Everything is float64.
    Sources: DiT diffusion/gaussian_diffusion.py; U-ViT dpm_solver_pp.py (NoiseScheduleVP) and sde.py.
    """

    kind: str
    alphas_cumprod: np.ndarray
    """alpha^2 at each of the N discrete times, falling."""
    time_scale: float
    time_shift: float
    """The network is told time_scale * tau + time_shift."""
    betas_vp: tuple[float, float] | None = None
    """(beta_min, beta_max) of the VP-SDE, which is known in closed form between the discrete times."""

    @classmethod
    def linear(cls, start: float, end: float, steps: int) -> Schedule:
        """Betas evenly from start to end; the network is told the index 0..steps-1 (DiT, Latte: 1e-4, 0.02, 1000)."""
        return cls("linear", np.cumprod(1 - np.linspace(start, end, steps)), float(steps), -1.0)

    @classmethod
    def scaled_linear(cls, start: float, end: float, steps: int) -> Schedule:
        """Square roots of the betas evenly spaced; the network is told steps * tau, 1..steps (U-ViT H, COCO: 0.00085, 0.012, 1000)."""
        return cls("scaled-linear", np.cumprod(1 - np.linspace(start**0.5, end**0.5, steps) ** 2), float(steps), 0.0)

    @classmethod
    def vp_sde(cls, beta_min: float, beta_max: float) -> Schedule:
        """The VP-SDE with beta rising evenly in tau; the network is told 999 tau (U-ViT L and pixel models: 0.1, 20)."""
        tau = np.arange(1, 1001) / 1000
        return cls("vp-sde", np.exp(2 * _vp_log_alpha(tau, beta_min, beta_max)), 999.0, 0.0, (beta_min, beta_max))

    @staticmethod
    def flow(time: str = "data", shift: float = 1.0, noise_scale: float = 1.0) -> FlowSchedule:
        """The straight path of a flow model, x = (1 - s) x0 + s noise_scale eps with s from 1 to 0, which is told 1 - s (time "data": SiT,
        LightningDiT, DDT, JiT) or s ("noise": REPA); shift: above 1 spends more steps near the noise. Raises RequestError."""
        return FlowSchedule(time, shift, noise_scale)

    @classmethod
    def from_card(cls, words: Mapping[str, Any]) -> Schedule | FlowSchedule:
        """The schedule of a card: {kind: linear | scaled-linear | vp-sde | flow, and the arguments of that constructor}."""
        values = dict(words)
        return getattr(cls, values.pop("kind").replace("-", "_"))(**values)

    @property
    def steps(self) -> int:
        """The number N of discrete times."""
        return len(self.alphas_cumprod)

    def model_time(self, tau: float) -> float:
        """What the network is told at tau."""
        return self.time_scale * tau + self.time_shift

    def told_tau(self, t: float) -> float:
        """The time tau at which the network is told t."""
        return (t - self.time_shift) / self.time_scale

    def log_alpha(self, tau: float) -> float:
        """log alpha at tau: closed form for the VP-SDE, else linear between the discrete times (and beyond the first)."""
        if self.betas_vp:
            return float(_vp_log_alpha(tau, *self.betas_vp))
        table = 0.5 * np.log(self.alphas_cumprod)
        place = tau * self.steps - 1
        low = min(max(int(place), 0), self.steps - 2)
        return float(table[low] + (place - low) * (table[low + 1] - table[low]))

    def alpha(self, tau: float) -> float:
        """Share of the clean sample at tau."""
        return math.exp(self.log_alpha(tau))

    def sigma(self, tau: float) -> float:
        """Standard deviation of the noise at tau."""
        return math.sqrt(-math.expm1(2 * self.log_alpha(tau)))

    def half_log_snr(self, tau: float) -> float:
        """lambda = log(alpha / sigma) at tau, the time in which DPM-Solver thinks."""
        return self.log_alpha(tau) - math.log(self.sigma(tau))

    def tau(self, half_log_snr: float) -> float:
        """The time at which lambda has this value: the inverse of half_log_snr, at least 1/N where the schedule is a table."""
        log_alpha = -0.5 * math.log1p(math.exp(-2 * half_log_snr))
        if self.betas_vp:
            low, high = self.betas_vp
            return -4 * log_alpha / (low + math.sqrt(low**2 - 4 * (high - low) * log_alpha))
        table = 0.5 * np.log(self.alphas_cumprod)
        return float(np.interp(-log_alpha, -table, np.arange(1, self.steps + 1))) / self.steps

    def beta(self, tau: float) -> float:
        """Rate at which noise comes in at tau: -2 d log alpha / d tau, in units of the whole time."""
        if self.betas_vp:
            low, high = self.betas_vp
            return low + tau * (high - low)
        first = min(max(math.ceil(tau * self.steps) - 2, 0), self.steps - 2) / self.steps
        return 2 * self.steps * (self.log_alpha(first + 1 / self.steps) - self.log_alpha(first + 2 / self.steps))

    def respaced(self, count: int, spacing: str = "even") -> list[int]:
        """The `count` discrete indices that a shorter chain keeps, ascending.

        "even" is the official "N": it adds up the float64 stride and rounds each sum half to even. "stride" is the official
        "ddimN": the smallest whole stride that gives exactly `count` (DiT diffusion/respace.py).
        """
        if not 2 <= count <= self.steps:
            raise RequestError(f"{count} steps cannot be taken on a chain of {self.steps}: choose 2 to {self.steps}.")
        if spacing == "even":
            stride, place, indices = (self.steps - 1) / (count - 1), 0.0, []
            for _ in range(count):
                indices.append(round(place))
                place += stride
            return indices
        if spacing == "stride":
            for stride in range(1, self.steps):
                if len(range(0, self.steps, stride)) == count:
                    return list(range(0, self.steps, stride))
            raise RequestError(
                f"No whole stride cuts {self.steps} times into {count}: use spacing 'even', or e.g. 10, 20, 25, 50, 100 or 250 steps."
            )
        raise RequestError(f"Spacing {spacing!r} is unknown: choose 'even' or 'stride'.")


def _vp_log_alpha(tau: float | np.ndarray, beta_min: float, beta_max: float) -> float | np.ndarray:
    return -0.25 * tau**2 * (beta_max - beta_min) - 0.5 * tau * beta_min
