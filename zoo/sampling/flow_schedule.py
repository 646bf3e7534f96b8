"""Straight paths from noise to data, as flow models walk them: SiT, REPA, LightningDiT, DDT, JiT."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from zoo.errors import RequestError
from zoo.sampling.noise_levels import NoiseLevels


@dataclass(frozen=True)
class FlowSchedule(NoiseLevels):
    """The straight path x = (1 - s) x0 + s noise_scale eps; its continuous time tau is s itself, the noise share, from 1 down to 0.

    Sources: SiT transport/path.py; REPA samplers.py; LightningDiT transport/integrators.py; JiT denoiser.py.
    """

    time: str = "data"
    """data: the network is told 1 - s, which is 1 at the data; noise: it is told s."""
    shift: float = 1.0
    """Above 1, a grid of shares has more steps near the noise."""
    noise_scale: float = 1.0
    """Deviation of the noise at s = 1."""
    kind: ClassVar[str] = "flow"
    steps: ClassVar[int] = 1000
    """Network evaluations that a run may make at most; a flow has no discrete times of its own."""

    def __post_init__(self) -> None:
        if self.time not in ("data", "noise"):
            raise RequestError(f"The time of a flow is {self.time!r}: choose 'data' (1 at the data) or 'noise' (1 at the noise).")
        if not (self.shift > 0 and self.noise_scale > 0):
            raise RequestError(f"Shift {self.shift!r} and noise scale {self.noise_scale!r} of a flow: give two numbers above 0.")

    @property
    def sign(self) -> float:
        """What turns a velocity by the told time into one by the noise share."""
        return 1.0 if self.time == "noise" else -1.0

    def model_time(self, tau: float) -> float:
        """What the network is told at the noise share tau."""
        return tau if self.time == "noise" else 1 - tau

    def told_tau(self, t: float) -> float:
        """The noise share at which the network is told t."""
        return t if self.time == "noise" else 1 - t

    def alpha(self, tau: float) -> float:
        """Share of the clean sample at the noise share tau."""
        return 1 - tau

    def sigma(self, tau: float) -> float:
        """Standard deviation of the noise at the noise share tau."""
        return tau * self.noise_scale

    def noise_share(self, t: float) -> float:
        """The noise share s where the network is told t."""
        return self.told_tau(t)

    def shifted(self, shares: Iterable[float]) -> list[float]:
        """A grid of shares u as this schedule spaces it: s = shift u / (1 + (shift - 1) u)."""
        return [self.shift * u / (1 + (self.shift - 1) * u) for u in shares]
