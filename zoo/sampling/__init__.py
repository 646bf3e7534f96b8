"""From noise to a clean sample: schedules, guidance and solvers around a callable. Knows no network, hub or card."""

from __future__ import annotations

from zoo.sampling.guidance import Level, denoise, guided
from zoo.sampling.sample import NAMES, SOLVERS, evaluations, sample, solver_options, takes_eta, told_times
from zoo.sampling.schedule import Schedule
from zoo.sampling.solvers import Step, seeded
from zoo.sampling.trace import Trace

__all__ = [
    "NAMES", "SOLVERS", "Level", "Schedule", "Step", "Trace", "denoise", "evaluations", "guided", "sample", "seeded", "solver_options",
    "takes_eta", "told_times",
]  # fmt: skip
