"""The plain restatement of the authors' computation, which the bench times, and our backbones give the same numbers, and theirs."""

from __future__ import annotations

import official
import pytest
import torch
from golden_cases import CASES, FOLDER, away, numbers
from safetensors.torch import load_file

from zoo.catalog.card import cards
from zoo.engine.bench import weights
from zoo.networks.build import build_module
from zoo.sampling import Schedule, guided, sample

FORWARDS = [
    name
    for name, case in CASES.items()
    if case.get("family") in official.FAMILIES and "solver" not in case and "diffusers" not in name and not case["arch"].get("context_dim")
]
CHAINS = [name for name, case in CASES.items() if case.get("solver") == "ddim" and case["guidance"] != 1]
TINY = ("tiny-dit", "tiny-uvit", "tiny-latte")


@torch.no_grad()
@pytest.mark.parametrize("name", FORWARDS)
def test_the_restatement_gives_the_numbers_of_the_authors(name: str) -> None:
    case, theirs = CASES[name], numbers(name)
    network = official.build(case["family"], case["arch"], load_file(FOLDER / f"{case['model']}.safetensors"))
    torch.testing.assert_close(network(theirs["x"], theirs["t"], theirs.get("y")), theirs["out"], atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", CHAINS)
def test_its_loop_gives_the_samples_of_the_authors(name: str) -> None:
    case, theirs = CASES[name], numbers(name)
    network = official.build(case["family"], case["arch"], load_file(FOLDER / f"{case['model']}.safetensors"))
    null = case["arch"]["num_classes"]
    predict = official.guided(network, theirs["labels"], null, case["guidance"], case["guidance_channels"])
    words = case["schedule"]
    betas = torch.linspace(words["start"], words["end"], words["steps"], dtype=torch.float64)
    noise = torch.cat([theirs["noise"], theirs["noise"]], dim=1) if "noise" in theirs else None
    both = torch.cat([theirs["x"], theirs["x"]])
    ours = official.ddim(predict, both, betas, case["timesteps"][::-1], case["eta"], noise)
    assert away(ours[: len(theirs["x"])], theirs["samples"][-1]) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("identity", TINY)
def test_our_backbones_compute_the_same_alone_and_guided(identity: str) -> None:
    card = cards()[identity]
    state = weights.random_state(card, torch.float32)
    network, module = official.build(card.family, card.arch, state), build_module(card).eval()
    module.load_state_dict(state)
    x = torch.randn(2, *([4] if card.video else []), 4, 16, 16, generator=torch.Generator().manual_seed(0))
    if card.video:  # the official code knows only the number of frames that it was trained on
        x = x.repeat(1, 4, 1, 1, 1)
    t, y = torch.tensor([17, 903]), torch.tensor([1, 5])
    torch.testing.assert_close(module(x, t, y), network(x, t, y), atol=2e-5, rtol=0)
    channels, null = card.guidance.channels, card.arch["num_classes"]
    calls = 2 if card.family == "u-vit" else 1
    doubled = (x, t) if calls == 2 else (torch.cat([x, x]), torch.cat([t, t]))
    theirs = official.guided(network, y, null, 3.0, channels, calls)(*doubled)[:2]
    torch.testing.assert_close(guided(module, y, 3.0, channels, null)(x, t), theirs, atol=1e-4, rtol=0)


def test_our_loop_is_that_of_the_restatement() -> None:
    card = cards()["tiny-dit"]
    state = weights.random_state(card, torch.float32)
    network, module = official.build(card.family, card.arch, state), build_module(card).eval()
    module.load_state_dict(state)
    schedule, y = Schedule.from_card(card.schedule), torch.tensor([3])
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    *_, last = sample(guided(module, y, 2.0, 3), x, schedule, "ddim", 7)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    theirs = official.ddim(official.guided(network, y, card.arch["num_classes"], 2.0, 3), torch.cat([x, x]), betas, schedule.respaced(7))
    assert away(last.x, theirs[:1]) < 1e-4
