"""Whole loops, respaced chains and schedules give the numbers of the authors' code."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from golden_cases import CASES, away, model, numbers, schedule
from torch import Tensor

from zoo.errors import RequestError
from zoo.sampling import Schedule, guided, sample
from zoo.sampling.solvers import CLEAN, chain, grid, posterior

CHAINS = [name for name, case in CASES.items() if case.get("solver") in ("ddpm", "ddim")]
FAST = [name for name, case in CASES.items() if case.get("solver", "").startswith("dpm-solver")]
EULER = [name for name, case in CASES.items() if case.get("solver", "").startswith("euler-maruyama")]
RESPACED = {key[6:]: kept.tolist() for key, kept in numbers("respacing").items() if key.startswith("steps.") and "," not in key}
LINEAR = Schedule.linear(1e-4, 0.02, 1000)


def split(respacing: str) -> tuple[int, str]:
    return int(respacing.removeprefix("ddim")), "stride" if respacing.startswith("ddim") else "even"


@pytest.mark.parametrize("name", CHAINS)
def test_ddpm_and_ddim_follow_the_official_loop_step_by_step(name: str) -> None:
    case, theirs = CASES[name], numbers(name)
    steps, spacing = split(case["respacing"])
    options = {"eta": case["eta"]} if case["solver"] == "ddim" else {}
    predict = guided(model(case), theirs.get("labels"), case["guidance"], channels=case["guidance_channels"])
    draw = theirs["noise"].__getitem__ if "noise" in theirs else None
    ours = list(sample(predict, theirs["x"], schedule(case), case["solver"], steps, draw, spacing=spacing, **options))

    assert [step.t for step in ours] == case["timesteps"]
    assert [(step.index, step.total) for step in ours] == [(k, steps) for k in range(steps)]
    for step, x, x0 in zip(ours, theirs["samples"], theirs["x0s"], strict=True):
        assert away(step.x, x) < 1e-4
        assert away(step.x0, x0) < 1e-4


@pytest.mark.parametrize("name", FAST)
def test_dpm_solver_evaluates_where_u_vit_does(name: str) -> None:
    case, theirs, seen = CASES[name], numbers(name), []
    labels = theirs.get("labels", theirs.get("context"))
    predict = guided(model(case), labels, case.get("guidance", 1.0), null_label=theirs.get("empty_context"))
    scale = schedule(case).time_scale

    def watched(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t))
        return predict(x, t)

    ours = list(sample(watched, theirs["x"], schedule(case), case["solver"], case["steps"]))

    assert len(ours) == len(seen) == case["steps"]
    np.testing.assert_allclose([t[0].item() / scale for _, t in seen], case["eval_times"], atol=2e-5)
    assert [step.t for step in ours] == [t[0].item() for _, t in seen]
    for (x, _), state in zip(seen, theirs["evals"], strict=True):
        assert away(x, state) < 1e-4
    for step, state in zip(ours, theirs["evals"][1:]):
        assert away(step.x, state) < 1e-4
    assert away(ours[-1].x, theirs["out"]) < 1e-4


@pytest.mark.parametrize("name", EULER)
def test_euler_maruyama_follows_u_vits_loop_step_by_step(name: str) -> None:
    case, theirs = CASES[name], numbers(name)
    eta = 1.0 if case["solver"].endswith("sde") else 0.0
    predict = guided(model(case), None, 1.0)
    ours = list(sample(predict, theirs["x"], schedule(case), "euler-maruyama", case["steps"], theirs["noise"].__getitem__, eta=eta))

    np.testing.assert_allclose([step.t / 999 for step in ours], case["times"][:-1], atol=1e-6)
    for step, state in zip(ours, theirs["states"][1:], strict=True):
        assert away(step.x, state) < 1e-4
    assert away(ours[-1].x, theirs["out"]) < 1e-4


@pytest.mark.parametrize("respacing", RESPACED)
def test_a_shorter_chain_keeps_the_official_indices(respacing: str) -> None:
    assert LINEAR.respaced(*split(respacing)) == RESPACED[respacing]


@pytest.mark.parametrize("respacing", [*CASES["respacing"]["refused"], "1", "0"])
def test_counts_that_the_official_code_refuses_or_fails_on_are_refused(respacing: str) -> None:
    with pytest.raises(RequestError):
        LINEAR.respaced(*split(respacing))


@pytest.mark.parametrize("respacing", ["10", "21", "ddim10"])
def test_constants_of_a_respaced_chain_are_the_official_ones(respacing: str) -> None:
    tables = numbers("respacing")
    levels = chain(LINEAR, *split(respacing))[::-1]
    assert levels[0] is CLEAN
    ours = np.array([posterior(now, to) for to, now in itertools.pairwise(levels)]).T
    for row, name in zip(ours, ("betas", "posterior_variance", "posterior_mean_coef1", "posterior_mean_coef2"), strict=True):
        np.testing.assert_allclose(row, tables[f"{name}.{respacing}"].numpy(), rtol=1e-9, atol=1e-15)


def test_linear_schedule_equals_the_official_table() -> None:
    np.testing.assert_allclose(LINEAR.alphas_cumprod, numbers("schedule_linear")["alphas_cumprod"].numpy(), rtol=1e-12)
    assert [LINEAR.model_time((i + 1) / 1000) for i in (0, 999)] == [0, 999]


def test_scaled_linear_schedule_equals_the_official_half_log_snr_between_its_times() -> None:
    theirs, ours = numbers("schedule_scaled_linear"), Schedule.scaled_linear(0.00085, 0.012, 1000)
    np.testing.assert_allclose([ours.half_log_snr(tau) for tau in theirs["t"].tolist()], theirs["lam"].numpy(), atol=2e-5)
    np.testing.assert_allclose(np.cumprod(1 - theirs["betas"].numpy()), ours.alphas_cumprod, rtol=1e-12)


def test_grid_runs_from_all_noise_to_the_first_trained_time() -> None:
    levels = grid(Schedule.vp_sde(0.1, 20), 9)
    assert len(levels) == 10
    np.testing.assert_allclose([level.t for level in levels], 999 * torch.linspace(1, 1e-3, 10), rtol=1e-5)
