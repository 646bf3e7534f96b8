"""One door to all solvers: what was asked is checked, then a generator walks from noise to the clean sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

from torch import Tensor

from zoo.errors import RequestError
from zoo.sampling.diffusers_solvers import FRIENDLY, sample_with_scheduler, scheduler_levels
from zoo.sampling.guidance import Level, Predict, denoise
from zoo.sampling.schedule import Schedule
from zoo.sampling.solvers import Noise, SdeStep, Step, chain, ddim, ddpm, dpm_solver, euler_maruyama, grid, log_snr_grid, sde_steps


class Solver(NamedTuple):
    """How a solver walks, over which levels, and the defaults of the options that each takes."""

    walk: Callable[..., Iterator[Step]]
    levels: Callable[..., list[Level] | list[SdeStep]]
    walk_options: dict[str, Any]
    level_options: dict[str, Any]
    fewest: int = 1


SOLVERS = {
    "dpm-solver++": Solver(partial(dpm_solver, clean=True), grid, {"order": 3}, {}),
    "dpm-solver": Solver(partial(dpm_solver, clean=False), log_snr_grid, {"order": 3}, {"order": 3}),
    "ddim": Solver(ddim, chain, {"eta": 0.0}, {"spacing": "even"}, fewest=2),
    "ddpm": Solver(ddpm, chain, {}, {"spacing": "even"}, fewest=2),
    "euler-maruyama": Solver(euler_maruyama, sde_steps, {"eta": 1.0}, {}, fewest=2),
}
"""The solvers of the published models, by name; those of diffusers are called `diffusers:<SchedulerClass>`."""
NAMES = (*SOLVERS, *FRIENDLY)
"""Every solver that has a name of its own."""


def sample(
    predict: Predict, x: Tensor, schedule: Schedule, solver: str, steps: int, noise: Noise | None = None, **options: Any
) -> Iterator[Step]:
    """Denoise x step by step: one Step per network evaluation, `steps` of them (see evaluations); the last holds the result.

    predict(x, t) -> eps, or eps and variance channels, t (b,) float32; x: standard normal (b, c, h, w) or (b, f, c, h, w),
    whose dtype is kept; noise: step index -> tensor like x, for ddpm and where eta > 0. Options: spacing "even" or "stride"
    (ddpm, ddim), eta 0..1 (ddim: 0; euler-maruyama: 1), order 1..3 (dpm-solver++, dpm-solver). Nothing is computed until the
    first Step is asked for. Raises RequestError at once for what cannot be done.
    """
    if of_diffusers := _scheduler(solver):
        if options:
            raise RequestError(f"{solver} takes no options here, not {', '.join(options)}.")
        _check_steps(schedule, solver, steps)
        return sample_with_scheduler(of_diffusers, partial(denoise, predict), x, schedule, steps)
    method = _solver(solver)
    _check_options(solver, method, options)
    _check_steps(schedule, solver, steps)
    walk_options = _with_defaults(method.walk_options, options)
    if noise is None and walk_options.get("eta", solver == "ddpm"):
        raise RequestError(f"{solver} needs fresh noise: give noise, a function from the step index to a tensor like x.")
    levels = method.levels(schedule, int(steps), **_with_defaults(method.level_options, options))
    return method.walk(partial(denoise, predict), x, levels, noise, **walk_options)


def evaluations(schedule: Schedule, solver: str, steps: int) -> int:
    """Network evaluations that a solver makes when asked for so many steps: `steps`, or one less where it makes two at a time and `steps`
    is even. Raises RequestError for an unknown solver, and for steps that it cannot take."""
    _check_steps(schedule, solver, steps)
    of_diffusers = _scheduler(solver)
    return len(scheduler_levels(of_diffusers, schedule, steps)) if of_diffusers else int(steps)


def told_times(schedule: Schedule, solver: str, steps: int, **options: Any) -> list[float]:
    """What the network will be told in a run, one time an evaluation, in order: `sample` with the same arguments tells just these."""
    if of_diffusers := _scheduler(solver):
        return [level.t for level in scheduler_levels(of_diffusers, schedule, steps)]
    method = _solver(solver)
    levels = method.levels(schedule, steps, **_with_defaults(method.level_options, options))
    return [(level.start if isinstance(level, SdeStep) else level).t for level in levels[:steps]]


def _scheduler(solver: str) -> str:
    """The class of diffusers behind a solver's name, "" for one of ours."""
    return FRIENDLY.get(solver, solver if solver.startswith("diffusers:") else "").removeprefix("diffusers:")


def _solver(name: str) -> Solver:
    if name not in SOLVERS:
        raise RequestError(f"Solver {name!r} is unknown: choose one of {', '.join(NAMES)} or diffusers:<Scheduler>.")
    return SOLVERS[name]


def _check_steps(schedule: Schedule, solver: str, steps: object) -> None:
    fewest = 1 if _scheduler(solver) else _solver(solver).fewest
    if not _whole(steps) or not fewest <= steps <= schedule.steps:
        raise RequestError(f"{solver} cannot take {steps!r} steps: give a whole number from {fewest} to {schedule.steps}.")


def _check_options(name: str, solver: Solver, options: dict[str, Any]) -> None:
    defaults = {**solver.walk_options, **solver.level_options}
    for option, value in options.items():
        if option not in defaults:
            raise RequestError(f"{name} has no option {option!r}: it takes {' and '.join(defaults)}.")
        if option == "eta" and not (isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= 1):
            raise RequestError(f"eta is {value!r}: give a number from 0 (no fresh noise) to 1 (as much as ddpm).")
        if option == "order" and not (_whole(value) and 1 <= value <= 3):
            raise RequestError(f"order is {value!r}: give 1, 2 or 3.")


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _with_defaults(defaults: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.get(name, default) for name, default in defaults.items()}


def takes_eta(solver: Any) -> bool:
    """Whether a request's eta reaches a solver of this name: only ddim's; euler-maruyama keeps the 1 of the published SDE."""
    return solver == "ddim"


def solver_options(schedule: Schedule, solver: str, steps: int, eta: float, spacing: str) -> dict[str, Any]:
    """What a solver is told besides: ddim's eta, and the spacing of its steps where it keeps a chain that can be cut so."""
    options: dict[str, Any] = {"eta": eta} if takes_eta(solver) else {}
    if solver in ("ddim", "ddpm") and spacing == "stride":
        with suppress(RequestError):
            schedule.respaced(steps, "stride")
            options["spacing"] = "stride"
    return options
