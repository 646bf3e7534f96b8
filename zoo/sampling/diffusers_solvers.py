"""Any scheduler of diffusers as a solver: the same network, the same Steps, their update rule."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.errors import RequestError
from zoo.sampling.guidance import Level, Prediction
from zoo.sampling.schedule import Schedule
from zoo.sampling.solvers import Step

FRIENDLY = {
    "euler": "diffusers:EulerDiscreteScheduler",
    "heun": "diffusers:HeunDiscreteScheduler",
    "unipc": "diffusers:UniPCMultistepScheduler",
}
"""Short names for schedulers of diffusers."""


def sample_with_scheduler(
    name: str, denoise: Callable[[Tensor, Level], Prediction], x: Tensor, schedule: Schedule, steps: int
) -> Iterator[Step]:
    """Walk with diffusers' scheduler of this name: one Step per network evaluation, `steps` of them, or one less where it makes two at a
    time and `steps` is even.

    Noise, where the scheduler draws any, comes from one CPU generator a row, seeded from the row's own start x.
    Raises RequestError for a name that is no scheduler of noise-predicting models, and for steps that it refuses.
    """
    return _walk(_scheduler(name, schedule, steps, x.device), denoise, x, schedule)


def scheduler_levels(name: str, schedule: Schedule, steps: int) -> list[Level]:
    """The levels at which diffusers' scheduler of this name asks the network, in order."""
    return [_level(schedule, t) for t in _scheduler(name, schedule, steps, "cpu").timesteps]


def _scheduler(name: str, schedule: Schedule, steps: int, device: torch.device | str) -> Any:
    """The scheduler, set to at most so many network evaluations: some make two for one of diffusers' own steps, or begin with more."""
    scheduler, own_steps = build(name, schedule), steps
    while own_steps > 0:
        try:
            scheduler.set_timesteps(own_steps, device=device)
        except (ValueError, TypeError, IndexError, AssertionError, ZeroDivisionError) as error:
            if own_steps < steps:  # so few that it cannot even begin
                break
            why = " ".join(str(error)[:120].split()).rstrip(".")
            raise RequestError(f"{name} cannot take {steps!r} steps ({why}): give more, or choose another solver.") from None
        if not torch.isfinite(torch.as_tensor(scheduler.timesteps).float()).all():
            raise RequestError(f"{name} cannot take {steps!r} steps: one of its times is no number. Give more.")
        if (excess := len(scheduler.timesteps) - steps) <= 0:
            return scheduler
        own_steps -= max(1, excess // 2)  # two evaluations a step at most, so this never goes too far down
    raise RequestError(f"{name} cannot take {steps!r} steps, for it makes more to begin with: give more, or choose another solver.")


def _level(schedule: Schedule, t: Tensor) -> Level:
    return Level.at(schedule, (t.item() + 1) / schedule.steps)


def build(name: str, schedule: Schedule) -> Any:
    """An instance of diffusers' scheduler of this name for the discrete chain of a schedule, predicting noise, clipping nothing."""
    import diffusers

    kind = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    parameters = inspect.signature(kind.__init__).parameters if isinstance(kind, type) else {}
    if not {"trained_betas", "beta_schedule"} <= parameters.keys() or "Inverse" in name:
        raise RequestError(
            f"{name!r} is no scheduler of diffusers for models that predict noise: try e.g. diffusers:DPMSolverMultistepScheduler."
        )
    arguments = [
        word
        for word, parameter in list(inspect.signature(kind.step).parameters.items())[1:]
        if parameter.default is inspect.Parameter.empty
    ]
    if len([word for word in arguments if word not in ("args", "kwargs")]) > 3:
        raise RequestError(
            f"{name} needs more than a sample and a time ({', '.join(arguments)}): try diffusers:DPMSolverMultistepScheduler."
        )
    before = np.concatenate([[1.0], schedule.alphas_cumprod[:-1]])
    options = {"num_train_timesteps": schedule.steps, "trained_betas": 1 - schedule.alphas_cumprod / before, "clip_sample": False}
    options |= {"snr_shift_scale": 1.0, "rescale_betas_zero_snr": False}  # CogVideoX changes the chain by default
    try:
        return kind(**{word: value for word, value in options.items() if word in parameters})
    except (ImportError, ValueError, TypeError, NotImplementedError) as error:
        raise RequestError(f"{name} cannot be used here: {' '.join(str(error).split()).rstrip('.')}.") from None


def _walk(scheduler: Any, denoise: Callable[[Tensor, Level], Prediction], x: Tensor, schedule: Schedule) -> Iterator[Step]:
    draws = {}
    if "generator" in inspect.signature(scheduler.step).parameters:
        seeds = [hashlib.sha256(row.float().cpu().numpy().tobytes()).digest()[:8] for row in x]
        draws = {"generator": [torch.Generator().manual_seed(int.from_bytes(seed, "little")) for seed in seeds]}
    x, total = x * scheduler.init_noise_sigma, len(scheduler.timesteps)
    for k, t in enumerate(scheduler.timesteps):
        model_input = scheduler.scale_model_input(x, t)
        level = _level(schedule, t)
        prediction = denoise(model_input, level)
        try:
            x = scheduler.step(prediction.eps, t, x, **draws).prev_sample.to(x.dtype)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            kind = type(scheduler).__name__
            raise RequestError(f"{kind} failed at step {k + 1} of {total} ({str(error)[:200]}): try another solver.") from None
        yield Step(k, total, level.t, x, prediction.x0)
