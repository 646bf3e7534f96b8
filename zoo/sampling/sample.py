"""One door to all solvers: what was asked is checked, then a generator walks from noise to the clean sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

from torch import Tensor

from zoo.errors import RequestError
from zoo.sampling import flow
from zoo.sampling.diffusers_solvers import FRIENDLY, sample_with_scheduler, scheduler_levels
from zoo.sampling.dopri5 import EXPECTED, dopri5
from zoo.sampling.flow_schedule import FlowSchedule
from zoo.sampling.guidance import Level, Predict, denoise
from zoo.sampling.schedule import Schedule
from zoo.sampling.solvers import Noise, SdeStep, Step, chain, ddim, ddpm, dpm_solver, euler_maruyama, grid, log_snr_grid, sde_steps


class Solver(NamedTuple):
    """How a solver walks, over which levels, and the defaults of the options that each takes."""

    walk: Callable[..., Iterator[Step]]
    levels: Callable[..., list[Any]]
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
"""The solvers of the published diffusion models, by name; those of diffusers are called `diffusers:<SchedulerClass>`."""
FLOW_SOLVERS = {
    "euler": Solver(flow.euler, flow.even_shares, {}, {"last_step_size": None}),
    "heun": Solver(flow.heun, flow.heun_shares, {}, {}),
    "dopri5": Solver(dopri5, flow.no_shares, {"rtol": 1e-3, "atol": 1e-6}, {}),
    "euler-maruyama": Solver(flow.euler_maruyama, flow.sde_shares, {}, {"last_step_size": 0.04}, fewest=2),
}
"""The solvers of flow models, by name: what euler, heun and euler-maruyama mean is decided by the schedule."""
NAMES = (*SOLVERS, *FRIENDLY)
"""Every solver of diffusion models that has a name of its own."""


def solver_names(schedule: Schedule | FlowSchedule) -> tuple[str, ...]:
    """The solvers with a name of their own that walk on a schedule."""
    return tuple(FLOW_SOLVERS) if isinstance(schedule, FlowSchedule) else NAMES


def sample(
    predict: Predict,
    x: Tensor,
    schedule: Schedule | FlowSchedule,
    solver: str,
    steps: int | None,
    noise: Noise | None = None,
    prediction: str | None = None,
    **options: Any,
) -> Iterator[Step]:
    """Denoise x step by step: one Step per network evaluation, `steps` of them (see evaluations); the last holds the result.

    predict(x, t) -> raw output, t (b,) float32: on a diffusion schedule eps, or eps and variance channels; on a flow what `prediction`
    says, "velocity" (the derivative of x by the told time) or "sample" (the clean sample). x: standard normal (b, c, h, w) or
    (b, f, c, h, w), whose dtype is kept; noise: step index -> tensor like x, for ddpm, where eta > 0, and for euler-maruyama.
    Options on a diffusion schedule: spacing "even" or "stride" (ddpm, ddim), eta 0..1 (ddim: 0; euler-maruyama: 1), order 1..3
    (dpm-solver++, dpm-solver). On a flow: last_step_size (euler: 1/steps; euler-maruyama: 0.04), rtol, atol (dopri5: 1e-3, 1e-6; it chooses
    its own steps and ignores `steps`), t_eps (0.05, where the clean sample is predicted). One that is None is as left out.
    Nothing is computed until the first Step is asked for. Raises RequestError at once for what cannot be done.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(schedule, FlowSchedule):
        return _sample_flow(predict, x, schedule, solver, steps, noise, prediction or "velocity", options)
    if prediction not in (None, "noise"):
        raise RequestError(f"A prediction {prediction!r} is for models of a flow, and this one predicts noise: leave it out.")
    if of_diffusers := _scheduler(solver):
        if options:
            raise RequestError(f"{solver} takes no options here, not {', '.join(options)}.")
        _check_steps(schedule, solver, steps)
        return sample_with_scheduler(of_diffusers, partial(denoise, predict), x, schedule, steps)
    method = _solver(schedule, solver)
    _check_options(solver, method, options)
    _check_steps(schedule, solver, steps)
    walk_options = _with_defaults(method.walk_options, options)
    if noise is None and walk_options.get("eta", solver == "ddpm"):
        raise _needs_noise(solver)
    levels = method.levels(schedule, int(steps), **_with_defaults(method.level_options, options))
    return method.walk(partial(denoise, predict), x, levels, noise, **walk_options)


def _sample_flow(
    predict: Predict,
    x: Tensor,
    schedule: FlowSchedule,
    solver: str,
    steps: int | None,
    noise: Noise | None,
    prediction: str,
    options: dict[str, Any],
) -> Iterator[Step]:
    method = _solver(schedule, solver)
    if prediction not in flow.PREDICTIONS:
        raise RequestError(f"A model of a flow does not predict {prediction!r}: choose {' or '.join(map(repr, flow.PREDICTIONS))}.")
    of_network = {"t_eps": options.pop("t_eps")} if prediction == "sample" and "t_eps" in options else {}
    _check_options(solver, method, options)
    _check_numbers(of_network)
    _check_steps(schedule, solver, steps)
    if noise is None and solver == "euler-maruyama":
        raise _needs_noise(solver)
    levels = method.levels(schedule, steps, **_with_defaults(method.level_options, options))
    network = flow.FlowNetwork(predict, schedule, prediction, **of_network)
    return method.walk(network, schedule.noise_scale * x, levels, noise, **_with_defaults(method.walk_options, options))


def evaluations(schedule: Schedule | FlowSchedule, solver: str, steps: int | None) -> int:
    """Network evaluations that a solver makes when asked for so many steps: `steps`, or one less where it makes two at a time and `steps`
    is even; of dopri5, which chooses its own, about what is usual. Raises RequestError for a solver that is unknown or does not walk on
    this schedule, and for steps that it cannot take."""
    _check_steps(schedule, solver, steps)
    if isinstance(schedule, FlowSchedule):
        return EXPECTED if solver == "dopri5" else int(steps)
    of_diffusers = _scheduler(solver)
    return len(scheduler_levels(of_diffusers, schedule, steps)) if of_diffusers else int(steps)


def told_times(schedule: Schedule | FlowSchedule, solver: str, steps: int, **options: Any) -> list[float]:
    """What the network will be told in a run, one time an evaluation, in order: `sample` with the same arguments tells just these. Of
    dopri5 nobody knows them before: none."""
    if isinstance(schedule, FlowSchedule):
        method = _solver(schedule, solver)
        shares = method.levels(schedule, steps, **_with_defaults(method.level_options, options))
        return [flow.told(schedule, share) for share in shares[:steps]]
    if of_diffusers := _scheduler(solver):
        return [level.t for level in scheduler_levels(of_diffusers, schedule, steps)]
    method = _solver(schedule, solver)
    levels = method.levels(schedule, steps, **_with_defaults(method.level_options, options))
    return [(level.start if isinstance(level, SdeStep) else level).t for level in levels[:steps]]


def step_starts(schedule: Schedule | FlowSchedule, solver: str, times: Sequence[float]) -> list[float | None]:
    """Of the evaluations of a run at these told times, the time at which the step of each began; None where each is a step of its own, and
    for dopri5, whose times do not tell it."""
    if isinstance(schedule, FlowSchedule) and solver == "heun":
        return [times[k - k % 2] for k in range(len(times))]
    return [None] * len(times)


def read_clean(
    predict: Predict,
    x: Tensor,
    schedule: Schedule | FlowSchedule,
    t: float,
    prediction: str | None = None,
    began: float | None = None,
) -> Tensor:
    """The clean sample that the network says of x when it is told t, whatever it predicts: one pass, x and answer (b, ...) alike.

    began: the time told where the step began, for guidance that is decided once a step (see step_starts).
    """
    tau = schedule.told_tau(t)
    if isinstance(schedule, FlowSchedule):
        return flow.FlowNetwork(predict, schedule, prediction or "velocity")(x, tau, None if began is None else schedule.told_tau(began)).x0
    return denoise(predict, x, Level.at(schedule, tau)._replace(t=t)).x0


def _scheduler(solver: str) -> str:
    """The class of diffusers behind a solver's name, "" for one of ours."""
    return FRIENDLY.get(solver, solver if solver.startswith("diffusers:") else "").removeprefix("diffusers:")


def _solver(schedule: Schedule | FlowSchedule, name: str) -> Solver:
    """One of our own solvers for a schedule. Raises RequestError."""
    is_flow = isinstance(schedule, FlowSchedule)
    own = FLOW_SOLVERS if is_flow else SOLVERS
    if name in own:
        return own[name]
    choices = f"choose one of {', '.join(solver_names(schedule))}{'' if is_flow else ' or diffusers:<Scheduler>'}."
    if is_flow and (name in NAMES or name.startswith("diffusers:")):
        raise RequestError(f"{name} is for models that predict noise, and this one follows a flow: {choices}")
    if name in FLOW_SOLVERS:
        raise RequestError(f"{name} is for models that follow a flow, and this one predicts noise: {choices}")
    raise RequestError(f"Solver {name!r} is unknown: {choices}")


def _check_steps(schedule: Schedule | FlowSchedule, solver: str, steps: object) -> None:
    is_flow = isinstance(schedule, FlowSchedule)
    fewest = 1 if not is_flow and _scheduler(solver) else _solver(schedule, solver).fewest
    if is_flow and solver == "dopri5":
        return
    if not _whole(steps) or not fewest <= steps <= schedule.steps:
        raise RequestError(f"{solver} cannot take {steps!r} steps: give a whole number from {fewest} to {schedule.steps}.")


def _check_options(name: str, solver: Solver, options: dict[str, Any]) -> None:
    defaults = {**solver.walk_options, **solver.level_options}
    for option, value in options.items():
        if option not in defaults:
            raise RequestError(f"{name} has no option {option!r}: it takes {' and '.join(defaults) or 'none'}.")
        if option == "eta" and not (_number(value) and 0 <= value <= 1):
            raise RequestError(f"eta is {value!r}: give a number from 0 (no fresh noise) to 1 (as much as ddpm).")
        if option == "order" and not (_whole(value) and 1 <= value <= 3):
            raise RequestError(f"order is {value!r}: give 1, 2 or 3.")
    _check_numbers({name: value for name, value in options.items() if name in ("last_step_size", "rtol", "atol")})


def _check_numbers(options: dict[str, Any]) -> None:
    for option, value in options.items():
        if not (_number(value) and 0 < value < 1):
            raise RequestError(f"{option} is {value!r}: give a number between 0 and 1.")


def _needs_noise(solver: str) -> RequestError:
    return RequestError(f"{solver} needs fresh noise: give noise, a function from the step index to a tensor like x.")


def _number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _with_defaults(defaults: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.get(name, default) for name, default in defaults.items()}


def takes_eta(solver: Any) -> bool:
    """Whether a request's eta reaches a solver of this name: only ddim's; euler-maruyama keeps the 1 of the published SDE."""
    return solver == "ddim"


def solver_options(
    schedule: Schedule | FlowSchedule, solver: str, steps: int, eta: float, spacing: str, last_step_size: float | None = None
) -> dict[str, Any]:
    """What a solver is told besides: ddim's eta, the spacing of its steps where it keeps a chain that can be cut so, and on a flow the size
    of the last step, where it takes one."""
    if isinstance(schedule, FlowSchedule):
        takes_size = "last_step_size" in FLOW_SOLVERS[solver].level_options and last_step_size is not None
        return {"last_step_size": last_step_size} if takes_size else {}
    options: dict[str, Any] = {"eta": eta} if takes_eta(solver) else {}
    if solver in ("ddim", "ddpm") and spacing == "stride":
        with suppress(RequestError):
            schedule.respaced(steps, "stride")
            options["spacing"] = "stride"
    return options
