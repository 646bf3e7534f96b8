"""From noise to a clean sample: schedules, guidance and solvers around a callable. Knows no network, hub or card."""

from __future__ import annotations

from zoo.sampling.denoiser import guided
from zoo.sampling.loop import SOLVERS, sample
from zoo.sampling.schedule import Schedule
from zoo.sampling.solvers import Step

__all__ = ["SOLVERS", "Schedule", "Step", "guided", "sample"]
