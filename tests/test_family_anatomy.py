"""What Compare, Look inside and the reckoning of memory say of DiT's relatives: counted on their modules, drawn with their sizes."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from zoo.catalog.card import Card, Source
from zoo.compare import block_diagram
from zoo.compare.complexity import complexity, skeleton
from zoo.engine.footprint import pass_bytes
from zoo.inside.attention import attentions
from zoo.inside.forward_record import layers_of
from zoo.inside.inspector import DIFFUSION
from zoo.networks.build import example_pass

MANIFESTS = json.loads(gzip.decompress((Path(__file__).parent / "golden" / "flow" / "manifests.json.gz").read_bytes()))
DIFFUSED = {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}
LIKE_DIT_XL = ("sit-xl-2-256", "repa-xl-2-256", "lightningdit-xl-1-256-800ep", "mdt-xl-2-256-v1")
"""Networks of DiT-XL/2's sizes, and so of its 118.6 billion multiply-adds; MDT's are those at 28 blocks."""


def card(name: str) -> Card:
    manifest = MANIFESTS[name]
    schedule = DIFFUSED if manifest["family"] in ("mdt", "u-dit") else {"kind": "flow", "time": "data"}
    return Card(name, name, manifest["family"], "class-to-image", "mit", manifest["words"], (Source("manual", "w.pt"),), schedule)


GENERATORS = [name for name in MANIFESTS if not name.startswith("vavae")]


@pytest.mark.parametrize("name", GENERATORS)
def test_parts_are_counted_to_the_whole_and_named(name: str) -> None:
    one = card(name)
    counted, module = complexity(one), skeleton(one)
    assert sum(counted.params.values()) == sum(value.numel() for value in module.parameters())
    assert {"patch embedding", "time embedding", "class or text", "modulation", "attention", "MLP"} <= counted.params.keys()
    head = sum(value.numel() for name, value in module.named_parameters() if name.startswith(("final_layer", "output")))
    assert counted.params["output layer"] <= head
    assert ("masked training only" in counted.params) == (one.family == "mdt")
    assert "masked training only" not in counted.macs
    if name in LIKE_DIT_XL:
        assert sum(counted.macs.values()) / 1e9 == pytest.approx(118.6, rel=0.01)
    assert counted.facts["variance"] == ("learned" if one.family in ("mdt", "u-dit") else "none")


@pytest.mark.parametrize("name", GENERATORS)
def test_a_block_is_drawn_with_the_sizes_of_its_modules(name: str) -> None:
    drawn = block_diagram.drawing(card(name))
    family, words = MANIFESTS[name]["family"], MANIFESTS[name]["words"]
    assert f"{words['num_heads']} heads" in drawn
    assert ("SwiGLU" in drawn) == (family in ("lightning-dit", "ddt", "jit"))
    assert ("RoPE" in drawn) == (family in ("lightning-dit", "ddt", "jit"))
    assert ("with the skip" in drawn) == (name == "mdtv2-xl-2-256")


@pytest.mark.parametrize("name", [name for name in GENERATORS if MANIFESTS[name]["family"] in DIFFUSION])
def test_every_layer_into_which_one_can_look_has_a_name(name: str) -> None:
    assert len(layers_of(card(name))) == len(attentions(skeleton(card(name))))


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["sit-s-2-256", "lightningdit-xl-1-256-64ep", "mdtv2-xl-2-256", "ddt-xl-2-256", "jit-b-16-256", "u-dit-s-256"]
)
def test_the_memory_of_a_pass_is_about_what_it_takes(name: str) -> None:
    one = card(name)
    few = {"depth": 4, "decode_layer": 2} if one.family == "mdt" else {"depth": 3} | ({"encoder_depth": 2} if one.family == "ddt" else {})
    one = replace(one, arch=dict(one.arch) | ({"depth": [1, 1, 1, 1, 1]} if one.family == "u-dit" else few))
    module = skeleton(one).to_empty(device="cpu")
    for value in module.state_dict().values():
        value.zero_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        example_pass(one, module, torch.zeros)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    reckoned = pass_bytes(one.arch, one.family, 1, 1, 4)
    assert peak < reckoned < 3 * peak
