"""The blocks that the DiT paper compares and the variants of the Latte paper: counted as there, told apart, drawn and looked into."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo import backbones
from zoo.backbones.dit import DiT
from zoo.backbones.latte import Latte
from zoo.catalog.architectures import recognise
from zoo.catalog.card import Card, Source
from zoo.compare import block_diagram
from zoo.compare.complexity import complexity, skeleton
from zoo.compare.paper_counts import DIT, XL_2, beside_the_paper
from zoo.engine.modulation_tables import with_tables
from zoo.errors import CardError
from zoo.inside.attention import attentions, record_attention
from zoo.inside.forward_record import Recording, extra_of, layers_of
from zoo.inside.modulation import MODULATIONS, modulations
from zoo.inside.patch_tokens import record_tokens

TINY = {"input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 32, "depth": 4, "num_heads": 4, "num_classes": 3}
DITS = {name: ("dit", TINY | {"conditioning": name}) for name in ("adaln-zero", "adaln", "in-context", "cross-attention")}
LATTES = {f"latte {number}": ("latte", TINY | {"num_frames": 3, "variant": number}) for number in (1, 2, 3, 4)}
ALL = DITS | LATTES
DIFFUSED = {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}


def card(family: str, arch: Mapping) -> Card:
    task = "class-to-video" if family == "latte" else "class-to-image"
    return Card(f"{family} {arch}", "a model", family, task, "mit", arch, (Source("manual", "w.pt"),), DIFFUSED)


def random(name: str) -> tuple[nn.Module, tuple[Tensor, Tensor, Tensor]]:
    """A variant with random weights everywhere, and what it is given."""
    torch.manual_seed(0)
    family, arch = ALL[name]
    module = backbones.build(family, arch).eval()
    for parameter in module.parameters():
        parameter.data += torch.randn(parameter.shape) / 10
    frames = (3,) if family == "latte" else ()
    return module, (torch.randn(2, *frames, 4, 8, 8), torch.tensor([10.0, 900.0]), torch.tensor([0, 3]))


# ---- by the papers


@pytest.mark.parametrize("conditioning", DIT)
def test_a_dit_xl_is_as_large_and_as_costly_as_its_paper_says(conditioning: str) -> None:
    counted = complexity(card("dit", XL_2 | {"num_classes": 1000, "conditioning": conditioning}))
    millions, billions = map(float, DIT[conditioning])
    learned = sum(count for part, count in counted.params.items() if part != "position embedding")
    assert round(learned / 1e6) == millions
    assert sum(counted.macs.values()) / 1e9 == pytest.approx(billions, rel=0.001)


def test_lattes_are_as_large_as_in_their_paper_and_attend_as_widely_as_they_must() -> None:
    sizes = {}
    for number, depth in ((1, 28), (2, 28), (3, 23), (4, 23)):
        module = skeleton(card("latte", XL_2 | {"variant": number, "depth": depth, "num_frames": 16, "num_classes": 0}))
        sizes[number] = sum(value.numel() for name, value in module.named_parameters() if name not in ("pos_embed", "temp_embed")) / 1e6
    assert sizes[1] == sizes[2] == pytest.approx(673.68, abs=0.005)
    assert sizes[3] == sizes[4] == pytest.approx(sizes[1], rel=0.005)  # five blocks fewer, since each attends twice


def test_only_adaln_zero_starts_as_the_identity() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 32)
    for name, (family, arch) in DITS.items():
        module = backbones.build(family, arch)
        t, y = torch.tensor([10.0, 900.0]), torch.tensor([0, 3])
        told = module.by_part(module.modulation(t, y))[0] if isinstance(module, DiT) else module.conditions(t, y)
        moved = module.blocks[0](x) if name == "in-context" else module.blocks[0](x, told)
        assert torch.equal(moved, x) == (name == "adaln-zero")
    gates = backbones.build(*DITS["adaln-zero"]).blocks[0].adaLN_modulation[-1]
    assert not gates.weight.any()
    assert not gates.bias.any()
    assert backbones.build(*DITS["adaln"]).blocks[0].adaLN_modulation[-1].weight.any()


@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_the_time_and_the_class_change_the_answer_and_rows_do_not_mix(name: str) -> None:
    module, (x, t, y) = random(name)
    answer = module(x, t, y)
    assert answer.shape == (*x.shape[:-3], 8, *x.shape[-2:])
    for told in ((x, t + 50, y), (x, t, 2 - y.clamp(max=2))):
        assert (module(*told) - answer).flatten(1).abs().amax(1).min() > 1e-4
    torch.testing.assert_close(module(x[1:], t[1:], y[1:]), answer[1:], atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", LATTES)
def test_frames_of_a_latte_see_each_other_and_every_place(name: str) -> None:
    module, (x, t, y) = random(name)
    before = module(x, t, y)
    x[0, 0, :, :2, :2] += 1  # one patch of one frame
    apart = (module(x, t, y) - before).abs()
    assert apart[0].amax((1, 2, 3)).min() > 1e-5  # every frame heard of it
    assert apart[0, :, :, 4:, 4:].amax((1, 2, 3)).min() > 1e-6  # at places far away, too
    assert not apart[1].any()


@torch.no_grad()
def test_one_block_of_variants_3_and_4_attends_where_it_should() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 16, 32, dtype=torch.float64)  # the frames of one video
    for number, far in ((3, True), (4, False)):
        block = backbones.build(*LATTES[f"latte {number}"]).blocks[0].double()
        vectors = torch.ones(1, 6 * 32, dtype=torch.float64)
        moved = x.clone()
        moved[0, 0] += 1 + torch.rand(32)
        apart = (block(moved, vectors, 3) - block(x, vectors, 3)).abs().amax(-1)
        assert apart[0].min() > 1e-6  # its own frame
        assert apart[:, 0].min() > 1e-6  # its own place in every frame
        assert (apart[1:, 1:].min() > 1e-6) == far  # variant 3 carries it on within the same block, variant 4 does not


# ---- in the hub


@pytest.mark.parametrize("name", ALL)
def test_a_variant_is_read_off_its_keys(name: str) -> None:
    family, arch = ALL[name]
    found = recognise(backbones.build(family, arch).state_dict())
    word = "variant" if family == "latte" else "conditioning"
    assert found.family == family
    assert found.task == card(family, arch).task
    published = name in ("latte 1", "latte 2", "adaln-zero")  # late fusion has the keys of the published Latte
    assert found.words.get(word) == (None if published else arch[word])
    assert found.unknown == (("num_heads", "family") if name == "adaln-zero" else ("num_heads",))
    rebuilt = backbones.build(family, dict(found.words) | {"num_heads": 4}).state_dict()
    assert {key: value.shape for key, value in rebuilt.items()} == {
        key: value.shape for key, value in backbones.build(family, arch).state_dict().items()
    }


def test_what_is_no_variant_is_refused_with_those_that_are(says) -> None:
    with says(CardError, "conditioning is 'film'", "adaln-zero, adaln, in-context, cross-attention"):
        backbones.build("dit", TINY | {"conditioning": "film"})
    with says(CardError, "variant is 5", "1, 2, 3, 4"):
        backbones.build("latte", TINY | {"variant": 5})
    with says(CardError, "num_heads is 1", "half of the heads"):
        backbones.build("latte", TINY | {"variant": 4, "num_heads": 1})
    with says(CardError, "depth is 3", "pairs"):
        backbones.build("latte", TINY | {"variant": 2, "depth": 3})
    assert type(backbones.build("dit", TINY)) is DiT
    assert type(backbones.build("latte", TINY)) is Latte


@pytest.mark.parametrize("name", ALL)
def test_every_part_is_counted_and_every_block_is_drawn(name: str) -> None:
    one = card(*ALL[name])
    counted, module = complexity(one), skeleton(one)
    assert sum(counted.params.values()) == sum(value.numel() for value in module.parameters())
    assert ("modulation" in counted.params) == (name not in ("in-context", "cross-attention"))
    assert counted.params["output layer"] <= sum(value.numel() for value in module.final_layer.parameters())
    drawn = block_diagram.drawing(one)
    words = {
        "adaln-zero": "x gate", "adaln": "linear 32 → 128", "in-context": "tokens beside the", "cross-attention": "cross-attention, 4",
        "latte 1": "alternately", "latte 2": "the first half within", "latte 3": "through time, 4 heads", "latte 4": "2 in time",
    }  # fmt: skip
    assert words[name] in drawn
    assert ("x gate" in drawn) == (name == "adaln-zero" or name in LATTES)
    assert (" in the paper " in beside_the_paper(one)) == (name not in ("latte 3", "latte 4"))


def test_the_four_ways_of_conditioning_are_told_apart_in_words() -> None:
    facts = {name: complexity(card(*words)).facts for name, words in DITS.items()}
    assert len({one["time and class"] for one in facts.values()}) == 4
    assert facts["in-context"]["tokens"] == "4 x 4 = 16, and 2"
    assert len({block_diagram.block(card(*words)) for words in ALL.values()}) == len(ALL)


@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_recording_attention_leaves_no_trace_and_has_a_name_for_every_layer(name: str) -> None:
    module, given = random(name)
    before = module(*given)
    with record_attention(module) as maps:
        during = module(*given)
    assert torch.equal(during, before)
    layers = layers_of(card(*ALL[name]))
    assert len(layers) == len(attentions(module)) == len(maps)
    extra = len(extra_of(card(*ALL[name])))
    frames = layers[0].grid[0]
    shapes = {"full": (2, 16 + extra, 16 + extra), "cross": (2, 16, 2), "space": (2 * frames, 16, 16), "time": (32, frames, frames)}
    for layer, one in zip(layers, maps.values(), strict=True):
        rows, queries, keys = shapes[layer.kind]
        assert tuple(one.shape) == (rows, layer.heads, queries, keys)
        assert 2 * layer.bytes(extra) == one.nbytes
        assert (one.sum(-1) - 1).abs().max() < 1e-5
    assert {layer.kind for layer in layers} == ({"space", "time"} if name in LATTES else {"full", *["cross"] * (name == "cross-attention")})


@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_where_a_patch_looks_sums_to_one_in_every_layer(name: str) -> None:
    module, given = random(name)
    one = card(*ALL[name])
    with record_tokens(module) as tokens, record_attention(module) as maps:
        module(*(part[:1] for part in given))
    recording = Recording(one, np.zeros((1, 8, 8, 3), np.uint8), tokens, layers_of(one), maps, extra_of(one))
    for index, layer in enumerate(recording.layers):
        patches, rest = recording.looks(index, (0.5, 0.3, 0.8))
        torch.testing.assert_close(patches.flatten(1).sum(1) + rest.sum(1), torch.ones(layer.heads))
        assert bool(rest.sum() > 0) == (layer.kind == "cross" or name == "in-context")
    assert len(recording.distances()) == sum(layer.kind != "cross" for layer in recording.layers)
    assert tokens.extra == (2 if name == "in-context" else 0)
    assert len(tokens.features) == len(tokens.patches) + tokens.extra


@torch.no_grad()
@pytest.mark.parametrize("name", LATTES)
def test_features_of_a_latte_stand_frame_by_frame(name: str) -> None:
    module, (x, t, y) = random(name)
    with record_tokens(module) as tokens:
        answer = module(x[:1], t[:1], y[:1])
    *_, vectors = module.by_part(module.modulation(t[:1], y[:1]))
    last = module.final_layer(tokens.features.view(3, 16, 32), vectors)
    torch.testing.assert_close(last[:, 0].view(3, 2, 2, 8).permute(0, 3, 1, 2), answer[0, :, :, :2, :2], atol=1e-4, rtol=0)


@torch.no_grad()
def test_modulations_are_those_that_a_block_has() -> None:
    times = torch.tensor([10.0, 900.0])
    without_gates = modulations(random("adaln")[0], times, 1)
    assert [name for name, mean in zip(MODULATIONS, without_gates.mean((0, 1)), strict=True) if not mean] == ["gate attention", "gate mlp"]
    assert modulations(random("adaln-zero")[0], times, 1).all()
    assert modulations(random("in-context")[0], times, 1) is None


@torch.no_grad()
@pytest.mark.parametrize("name", ALL)
def test_a_variant_has_tables_of_its_modulations_only_where_it_is_modulated(name: str) -> None:
    module, (x, t, y) = random(name)
    if hasattr(module, "modulation"):
        torch.testing.assert_close(module(x, t, y, modulation=module.modulation(t, y)), module(x, t, y), atol=0, rtol=0)
    else:
        assert with_tables(card(*ALL[name]), None, module) is module
