"""Loops of flow models, and guidance that comes and goes in a run, give the numbers of the authors' code (SiT, REPA, LightningDiT, ...)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from golden_cases import away
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo import backbones
from zoo.catalog.checkpoint import load_into
from zoo.sampling import Schedule, Step, evaluations, guided, power_cosine, sample, told_times

FOLDER = Path(__file__).parent / "golden" / "flow"
CASES: dict[str, dict] = json.loads((FOLDER / "manifest.json").read_text())["cases"]
STEPPED = [name for name, case in CASES.items() if "times" in case]
ADAPTIVE = [name for name, case in CASES.items() if case.get("solver") == "dopri5"]
CHAINS = [name for name, case in CASES.items() if case.get("solver") == "ddpm"]
FAMILIES = {"lightning": "lightning-dit", "jit": "jit", "ddt": "ddt", "mdt": "mdt", "udit": "u-dit"}


def numbers(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def model(name: str) -> nn.Module:
    """SiT, and REPA without norms of q and k, are the tree of a DiT."""
    case, family, words = CASES[name], FAMILIES.get(name.partition("_")[0], "dit"), dict(CASES[name]["config"])
    if family == "dit" and words.pop("qk_norm", False):
        family, words = "repa", case["config"]
    module = backbones.build(family, words)
    weights = {key: value.float() for key, value in numbers(case["model"]).items() if not key.startswith("projectors.")}
    load_into(module, weights)
    return module.eval()


def schedule(case: dict) -> Schedule:
    scale = {"noise_scale": case["noise_scale"]} if "noise_scale" in case else {}
    return Schedule.from_card(case["schedule"] | scale)


def predictor(name: str, theirs: dict[str, Tensor]):
    case = CASES[name]
    scale = power_cosine(case["guidance"], case["guidance_power"]) if case.get("guidance_power") else case["guidance"]
    decided_at = "step" if case.get("guidance_decided_at") == "step start" else "evaluation"
    how = (tuple(case["guidance_interval"]), schedule(case), case.get("guidance_interval_open", False), decided_at)
    module = model(name)
    if case.get("encoder_every", 1) > 1:
        from zoo.backbones.ddt import KeptEncoder

        module = KeptEncoder(module, case["encoder_every"])
    return guided(module, theirs["labels"], scale, case["guidance_channels"], case["null_label"], *how)


@pytest.mark.parametrize("name", STEPPED)
def test_a_flow_is_walked_as_its_authors_walk_it(name: str) -> None:
    case, theirs = CASES[name], numbers(name)
    options = {"last_step_size": case.get("last_step_size"), "t_eps": case.get("t_eps")}
    draw = theirs["noise"].__getitem__ if "noise" in theirs else None
    predict = predictor(name, theirs)
    ours = list(sample(predict, theirs["x"], schedule(case), case["solver"], case["steps"], draw, case["prediction"], **options))

    steps = case["steps"]
    assert [(step.index, step.total) for step in ours] == [(k, steps) for k in range(steps)]
    assert [step.t for step in ours] == pytest.approx(case["times"], abs=1e-7)
    assert told_times(schedule(case), case["solver"], steps, **{k: v for k, v in options.items() if v is not None}) == [s.t for s in ours]
    for step, x, x0 in zip(ours, theirs["samples"], theirs["x0s"], strict=True):
        assert away(step.x, x) < 1e-4
        assert away(step.x0, x0) < 1e-4


@pytest.mark.parametrize("name", [name for name in STEPPED if "guided_evaluations" in CASES[name]])
def test_guidance_is_on_at_the_evaluations_at_which_the_authors_have_it_on(name: str) -> None:
    case, rows, labels = CASES[name], [], torch.tensor([1])

    def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        rows.append(len(x))
        return torch.zeros_like(x)

    decided_at = "step" if case.get("guidance_decided_at") == "step start" else "evaluation"
    how = (tuple(case["guidance_interval"]), schedule(case), case.get("guidance_interval_open", False), decided_at)
    predict = guided(network, labels, case["guidance"], None, 0, *how)
    x, size = torch.ones(1, 4, 2, 2), case.get("last_step_size")
    list(sample(predict, x, schedule(case), case["solver"], case["steps"], lambda k: x, case["prediction"], last_step_size=size))
    assert [count == 2 for count in rows] == case["guided_evaluations"]


def adaptive(name: str, both_halves: bool) -> list[Step]:
    """The loop of dopri5; both_halves: with the null half in the state, whose unguided channels count in SiT's error."""
    case, theirs = CASES[name], numbers(name)
    x, labels, predict = theirs["x"], theirs["labels"], predictor(name, theirs)
    if both_halves:
        alone, count = model(name), case["guidance_channels"]
        null = torch.full_like(labels, case["null_label"])

        def predict(x: Tensor, t: Tensor, guide=predict) -> Tensor:
            half, t = x[: len(labels)], t[: len(labels)]
            out = guide(half, t)
            return torch.cat([out, torch.cat([out[:, :count], alone(half, t, null)[:, count:]], dim=1)])

        x = torch.cat([x, x])
    return list(sample(predict, x, schedule(case), "dopri5", case["steps"], rtol=case["rtol"], atol=case["atol"]))


@pytest.mark.parametrize("name", ADAPTIVE)
def test_dopri5_takes_the_steps_of_the_official_controller(name: str) -> None:
    case, theirs = CASES[name], numbers(name)
    ours = adaptive(name, both_halves=case["guidance"] != 1)

    assert len(ours) == case["evaluations"]
    assert ours[-1].t == pytest.approx(case["last_time_told"], abs=0.01)  # a step's size follows errors that are partly rounding
    assert [step.index for step in ours] == list(range(len(ours)))
    assert all(step.total > step.index + 1 for step in ours[:-1])
    assert ours[-1].total == len(ours)
    assert away(ours[-1].x[: len(theirs["out"])], theirs["out"]) < case["tolerance"]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_dopri5_with_the_error_of_the_guided_samples_alone_is_as_near_as_the_case_allows(name: str) -> None:
    assert away(adaptive(name, both_halves=False)[-1].x, numbers(name)["out"]) < CASES[name]["tolerance_own_control"]
    assert evaluations(schedule(CASES[name]), "dopri5", None) > 0


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_with_guidance_by_the_time_told_is_the_official_one(name: str) -> None:
    case, theirs = CASES[name], numbers(name)
    draw = theirs["noise"].__getitem__
    ours = list(sample(predictor(name, theirs), theirs["x"], schedule(case), "ddpm", case["steps"], draw, case["prediction"]))
    assert [step.t for step in ours] == case["timesteps"]
    for step, x, x0 in zip(ours, theirs["samples"], theirs["x0s"], strict=True):
        assert away(step.x, x) < 1e-4
        assert away(step.x0, x0) < 1e-4


@pytest.mark.parametrize("name", [name for name in CHAINS if CASES[name]["guidance_power"]])
def test_power_cosine_gives_the_official_weights(name: str) -> None:
    case = CASES[name]
    weights = power_cosine(case["guidance"], case["guidance_power"])(torch.tensor(case["timesteps"]))
    assert weights.tolist() == pytest.approx(case["guidance_weights"], abs=1e-6)
