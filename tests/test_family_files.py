"""The files of DiT's relatives as their trainings leave them: the weights meant are taken, and a wrong family is told by its name."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from zoo import backbones
from zoo.catalog.architectures import recognise
from zoo.catalog.checkpoint import every_candidate, load_into
from zoo.errors import CheckpointError

SIZES = {"input_size": 8, "hidden_size": 32, "num_heads": 2, "depth": 4, "num_classes": 5}
WORDS = {
    "dit": SIZES | {"patch_size": 2},
    "sit": SIZES | {"patch_size": 2},
    "repa": SIZES | {"patch_size": 2},
    "lightning-dit": SIZES | {"patch_size": 2},
    "mdt": SIZES | {"patch_size": 2, "decode_layer": 2},
    "ddt": SIZES | {"encoder_depth": 3},
    "jit": SIZES | {"patch_size": 2, "bottleneck_dim": 6, "in_context_len": 3, "in_context_start": 1},
    "u-dit": {"hidden_size": 16, "depth": [1, 1, 1, 1, 1], "num_heads": 2, "num_classes": 5},
}
NAMES = {
    "dit": "a DiT", "sit": "a SiT", "repa": "a SiT that REPA trained", "lightning-dit": "a LightningDiT", "mdt": "an MDT of version 2",
    "ddt": "a DDT", "jit": "a JiT", "u-dit": "a U-DiT",
}  # fmt: skip
PROJECTORS = {
    "projectors.0.0.weight": torch.zeros(8, 32),
    "projectors.0.0.bias": torch.zeros(8),
    "projectors.0.2.weight": torch.zeros(8, 8),
}


def empty(family: str) -> nn.Module:
    with torch.device("meta"):
        return backbones.build(family, WORDS[family])


@cache
def weights(family: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = backbones.build(family, WORDS[family]).state_dict()
    return {key: value + 0.02 * torch.randn(value.shape) if value.is_floating_point() else value for key, value in state.items()}


def changed(state: dict[str, Tensor], by: float) -> dict[str, Tensor]:
    return {key: value + by if value.is_floating_point() else value for key, value in state.items()}


def behind(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def training(family: str) -> tuple[dict, dict[str, Tensor], str]:
    """A file as a training of the authors leaves it, the weights meant, and what they are called."""
    raw, mean = weights(family), changed(weights(family), 1)
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}}
    args = argparse.Namespace(model="SiT-S/2", path_type="linear", prediction="v")
    return {
        "dit": ({"model": raw, "ema": mean, "opt": optimizer, "args": argparse.Namespace(model="DiT-S/2")}, mean, "ema"),
        "sit": ({"model": raw, "ema": mean, "opt": optimizer, "args": args}, mean, "ema"),
        "repa": ({"model": raw | PROJECTORS, "ema": mean | PROJECTORS, "opt": optimizer, "args": args, "steps": 9}, mean, "ema"),
        "lightning-dit": ({"model": raw, "ema": mean, "opt": optimizer, "config": {"model": {"model_type": "XL/1"}}}, mean, "ema"),
        "mdt": (raw, raw, ""),
        "ddt": (
            {"epoch": 1, "state_dict": behind("denoiser.", raw) | behind("ema_denoiser.", mean), "optimizer_states": [optimizer]},
            mean, "state_dict.ema_denoiser",
        ),
        "jit": (
            {
                "model_ema2": behind("net.", changed(raw, 2)), "model": behind("net.", raw), "model_ema1": behind("net.", mean),
                "optimizer": optimizer, "epoch": 3, "args": argparse.Namespace(model="JiT-B/16"),
            },
            mean, "model_ema1",
        ),
        "u-dit": ({"model": raw, "ema": mean, "opt": optimizer}, mean, "ema"),
    }[family]  # fmt: skip


@pytest.mark.parametrize("family", WORDS)
def test_the_weights_with_which_the_authors_sample_are_taken_of_a_trainings_file(family: str, tmp_path: Path) -> None:
    content, meant, name = training(family)
    torch.save(content, tmp_path / "t.pt")
    module = empty(family)
    assert load_into(module, tmp_path / "t.pt").name == name
    loaded = module.state_dict()
    assert loaded.keys() == meant.keys()
    assert all(torch.equal(loaded[key], meant[key]) for key in meant)
    candidate = every_candidate([tmp_path / "t.pt"])[0]
    assert recognise(candidate.state, candidate.trained_as).family == family


@pytest.mark.parametrize("family", WORDS)
def test_bare_weights_and_those_behind_a_name_are_read(family: str, tmp_path: Path) -> None:
    state = weights(family)
    for content in (state, {"state_dict": state}, {"ema": behind("module.", state)}, behind("net.", state), behind("model.", state)):
        torch.save(content, tmp_path / "t.pt")
        module = empty(family)
        load_into(module, tmp_path / "t.pt")
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())


ALIKE = ({"dit", "sit"}, {"sit", "repa"}, {"dit", "repa"})
"""Families whose keys are the same, but for the projectors."""


@pytest.mark.parametrize("family", WORDS)
def test_the_file_of_another_family_is_told_by_its_name_and_changes_nothing(family: str, says) -> None:
    module = backbones.build(family, WORDS[family])
    before = {key: value.clone() for key, value in module.state_dict().items()}
    for other in WORDS:
        if other == family or {other, family} in ALIKE:
            continue
        with says(CheckpointError, f"does not fit this {type(module).__name__}: this is {NAMES[other]}" if other not in ("sit", "repa")
                  else f"does not fit this {type(module).__name__}: this is {NAMES['dit']}"):  # fmt: skip
            load_into(module, weights(other))
    if family not in ("repa", "jit", "ddt", "u-dit", "lightning-dit", "mdt"):
        with says(CheckpointError, f"does not fit this {type(module).__name__}: this is {NAMES['repa']}"):
            load_into(module, weights("repa") | PROJECTORS)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_a_sit_and_a_dit_are_told_apart_by_the_settings_beside_their_weights(says, tmp_path: Path) -> None:
    state = changed(weights("dit"), 0)
    for settings, other in (({"path_type": "Linear", "prediction": "velocity"}, "dit"), ({"model": "DiT-XL/2"}, "sit")):
        for kind in (argparse.Namespace, dict):
            torch.save({"ema": state, "args": kind(**settings)}, tmp_path / "t.pt")
            called = "SiT" if other == "dit" else "DiT"
            with says(CheckpointError, f"it was trained as a {called}", f"load it as a {called}"):
                load_into(empty(other), tmp_path / "t.pt")
            load_into(empty("sit" if other == "dit" else "dit"), tmp_path / "t.pt")
            candidate = every_candidate([tmp_path / "t.pt"])[0]
            found = recognise(candidate.state, candidate.trained_as)
            assert (found.family, "family" in found.unknown) == (called.lower(), False)


def test_where_nothing_tells_a_sit_from_a_dit_that_is_said() -> None:
    found = recognise(weights("sit"))
    assert (found.family, found.unknown) == ("dit", ("num_heads", "family"))
    assert recognise(weights("sit") | PROJECTORS).family == "repa"


def test_other_sizes_are_told(says) -> None:
    cases = (
        ("sit", {"input_size": 16}, "this is the 128 px checkpoint"),
        ("lightning-dit", {"depth": 2}, "of 2 blocks instead of 4"),
        ("mdt", {"depth": 6}, "of 6 blocks instead of 4"),
        ("jit", {"hidden_size": 48}, "of width 48 instead of 32"),
        ("jit", {"patch_size": 4}, "of patch 4 instead of 2"),
        ("ddt", {"num_classes": 9}, "10 rows of labels instead of 6"),
    )
    for family, words, cause in cases:
        other = backbones.build(family, WORDS[family] | words).state_dict()
        with says(CheckpointError, cause):
            load_into(empty(family), other)


@pytest.mark.parametrize(
    ("family", "words", "cause"),
    [
        ("mdt", {"decode_layer": 4}, "version 2 with 4 of 4 blocks"), ("mdt", {"version": 3}, "version is 1 or 2"),
        ("ddt", {"encoder_depth": 4}, "leaves none"), ("u-dit", {"depth": [2, 2]}, "five stacks"), ("sit", {"swiglu": True}, "swiglu"),
    ],
)  # fmt: skip
def test_words_that_make_no_network_are_refused(family: str, words: dict, cause: str, says) -> None:
    from zoo.errors import CardError

    with says(CardError, f"The architecture of this {family} cannot be built", cause):
        backbones.build(family, WORDS[family] | words)
