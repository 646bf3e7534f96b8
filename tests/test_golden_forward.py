"""The backbones, alone and guided, give the numbers of the authors' code."""

from __future__ import annotations

import pytest
import torch
from golden_cases import CASES, model, numbers

from zoo.backbones.layers import frame_table
from zoo.sampling import guided

FORWARDS = [name for name, case in CASES.items() if "model" in case and "solver" not in case and "diffusers" not in name]
GUIDED = [name for name in FORWARDS if "cfg" in CASES[name]]


@torch.no_grad()
@pytest.mark.parametrize("name", FORWARDS)
def test_forward_equals_the_official_one(name: str) -> None:
    theirs = numbers(name)
    ours = model(CASES[name])(theirs["x"], theirs["t"], theirs.get("y"))
    torch.testing.assert_close(ours, theirs["out"], atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("null_label", [10, None])
@pytest.mark.parametrize("name", GUIDED)
def test_guided_forward_equals_forward_with_cfg(name: str, null_label: int | None) -> None:
    theirs, case = numbers(name), CASES[name]
    predict = guided(model(case), theirs["cfg_labels"], case["cfg"]["scale"], channels=case["cfg"]["channels"], null_label=null_label)
    ours = predict(theirs["cfg_x"], theirs["cfg_t"].float())
    torch.testing.assert_close(ours, theirs["cfg_out"], atol=2e-5, rtol=0)


@torch.no_grad()
def test_unguided_channels_are_the_conditional_ones() -> None:
    theirs, case = numbers("dit_more"), CASES["dit_more"]
    x, t, y = theirs["full_x"][:2], theirs["full_t"][:2].float(), theirs["full_y"]
    assert (y[2:] == 10).all()
    ours = guided(model(case), y[:2], case["cfg"]["scale"], channels=3)(x, t)
    torch.testing.assert_close(ours, theirs["full_out"][:2], atol=2e-5, rtol=0)
    assert (ours[:, 3:] - theirs["full_out"][2:, 3:]).abs().max() > 1e-2


@torch.no_grad()
def test_the_conditioning_of_a_video_is_computed_once_and_every_frame_gets_it() -> None:
    theirs, module = numbers("latte_more"), model(CASES["latte_more"])
    seen = []
    for block in module.blocks:
        block.adaLN_modulation.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    ours = module(theirs["x"], theirs["t"], theirs["y"])
    assert seen == [len(theirs["x"])] * len(module.blocks)
    torch.testing.assert_close(ours, theirs["out"], atol=2e-5, rtol=0)


@torch.no_grad()
def test_another_number_of_frames_interpolates_the_frame_table() -> None:
    module = model(CASES["latte_more"])
    assert module(torch.randn(1, 5, 4, 8, 8), torch.tensor([500]), torch.tensor([0])).shape == (1, 5, 8, 8, 8)
    assert frame_table(module.temp_embed, 8) is module.temp_embed
    longer = frame_table(module.temp_embed, 15)
    torch.testing.assert_close(longer[:, ::2], module.temp_embed)
    torch.testing.assert_close(longer[:, 1], (module.temp_embed[:, 0] + module.temp_embed[:, 1]) / 2)
