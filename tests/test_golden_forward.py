"""The backbones, alone and guided, give the numbers of the authors' code."""

from __future__ import annotations

import pytest
import torch
from golden_cases import CASES, model, numbers

from zoo.sampling import guided

FORWARDS = [name for name, case in CASES.items() if "model" in case and "solver" not in case and "diffusers" not in name]
GUIDED = [name for name in FORWARDS if "cfg" in CASES[name]]


@torch.no_grad()
@pytest.mark.parametrize("name", FORWARDS)
def test_forward_equals_the_official_one(name: str) -> None:
    theirs = numbers(name)
    ours = model(CASES[name])(theirs["x"], theirs["t"], theirs.get("y"))
    torch.testing.assert_close(ours, theirs["out"], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("null_label", [10, None])
@pytest.mark.parametrize("name", GUIDED)
def test_guided_forward_equals_forward_with_cfg(name: str, null_label: int | None) -> None:
    theirs, case = numbers(name), CASES[name]
    predict = guided(model(case), theirs["cfg_labels"], case["cfg"]["scale"], channels=case["cfg"]["channels"], null_label=null_label)
    ours = predict(theirs["cfg_x"], theirs["cfg_t"].float())
    torch.testing.assert_close(ours, theirs["cfg_out"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_unguided_channels_are_the_conditional_ones() -> None:
    theirs, case = numbers("dit_more"), CASES["dit_more"]
    x, t, y = theirs["full_x"][:2], theirs["full_t"][:2].float(), theirs["full_y"]
    assert (y[2:] == 10).all()
    ours = guided(model(case), y[:2], case["cfg"]["scale"], channels=3)(x, t)
    torch.testing.assert_close(ours, theirs["full_out"][:2], atol=1e-5, rtol=0)
    assert (ours[:, 3:] - theirs["full_out"][2:, 3:]).abs().max() > 1e-2
