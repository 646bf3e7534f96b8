"""From noise to a clean sample: schedules, guidance and solvers around a callable. Knows no network, hub or card."""

from __future__ import annotations

from zoo.sampling.flow_schedule import FlowSchedule
from zoo.sampling.guidance import Level, ask, denoise, guided, power_cosine
from zoo.sampling.sample import (
    FLOW_SOLVERS,
    NAMES,
    SOLVERS,
    evaluations,
    read_clean,
    sample,
    solver_names,
    solver_options,
    step_starts,
    takes_eta,
    told_times,
)
from zoo.sampling.schedule import Schedule
from zoo.sampling.solvers import Step, seeded
from zoo.sampling.trace import Trace

__all__ = [
    "FLOW_SOLVERS", "NAMES", "SOLVERS", "FlowSchedule", "Level", "Schedule", "Step", "Trace", "ask", "denoise", "evaluations", "guided",
    "power_cosine", "read_clean", "sample", "seeded", "solver_names", "solver_options", "step_starts", "takes_eta", "told_times",
]  # fmt: skip
