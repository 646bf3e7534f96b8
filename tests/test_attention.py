"""Attention maps: exact, complete, without a trace on the output, and the figures of the papers computed from them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from zoo import backbones
from zoo.backbones.layers import Attend
from zoo.errors import RequestError
from zoo.inside.attention import attentions, entropy, look_from, mean_distance, record_attention, relevance, rollout, window_places

WORDS = {"input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 32, "depth": 4, "num_heads": 4, "num_classes": 3}
FAMILIES = {
    "dit": ("dit", WORDS | {"learn_sigma": True}, [(2, 4, 16, 16)] * 4),
    "u-vit": ("u-vit", WORDS, [(2, 4, 18, 18)] * 5),  # the time and the class are tokens, and a middle block stands between
    "latte": ("latte", WORDS | {"num_frames": 3, "learn_sigma": True}, [(6, 4, 16, 16), (32, 4, 3, 3)] * 2),
}


def made(name: str) -> tuple[nn.Module, tuple[Tensor, Tensor, Tensor]]:
    """A model with random weights everywhere, and what it is given."""
    torch.manual_seed(0)
    family, arch, _ = FAMILIES[name]
    module = backbones.build(family, arch).eval()
    for parameter in module.parameters():
        parameter.data += torch.randn(parameter.shape) / 10
    frames = (3,) if family == "latte" else ()
    return module, (torch.randn(2, *frames, 4, 8, 8), torch.tensor([10.0, 900.0]), torch.tensor([0, 3]))


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_recording_leaves_no_trace_and_every_row_sums_to_one(name: str) -> None:
    module, given = made(name)
    before = module(*given)
    with record_attention(module) as maps:
        during = module(*given)
    assert torch.equal(during, before)
    assert torch.equal(module(*given), before)
    assert [tuple(one.shape) for one in maps.values()] == FAMILIES[name][2]
    assert list(maps) == list(range(len(maps)))
    for one in maps.values():
        assert one.min() >= 0
        assert (one.sum(-1) - 1).abs().max() < 1e-5
    assert not any(part._forward_hooks for part in module.modules())


@torch.no_grad()
@pytest.mark.parametrize("name", FAMILIES)
def test_a_map_is_what_the_fused_attention_weighs_its_values_with(name: str) -> None:
    module, given = made(name)
    values, outputs = [], []
    hooks = [
        part.register_forward_hook(lambda _, inputs, out: (values.append(inputs[2]), outputs.append(out))[0] and None)
        for part in module.modules()
        if isinstance(part, Attend)
    ]
    with record_attention(module) as maps:
        module(*given)
    for hook in hooks:
        hook.remove()
    assert len(values) == len(maps)  # and in this order, so layers are numbered as they run
    for one, value, output in zip(maps.values(), values, outputs, strict=True):
        torch.testing.assert_close(one @ value, output, atol=1e-5, rtol=0)


@torch.no_grad()
def test_layers_and_heads_can_be_chosen_and_others_are_refused(says) -> None:
    module, given = made("dit")
    with record_attention(module) as whole:
        module(*given)
    with record_attention(module, layers=[2, 0], heads=[3, 1]) as some:
        module(*given)
    assert sorted(some) == [0, 2]
    assert torch.equal(some[2], whole[2][:, [3, 1]])
    with says(RequestError, "no layer 4", "0 to 3"), record_attention(module, layers=[4]):
        pass
    with says(RequestError, "no head -1", "0 to 3"), record_attention(module, heads=[-1]):
        module(*given)
    with says(RequestError, "0 MB", "fewer layers or heads"), record_attention(module, budget=2 * 4 * 16 * 16 * 4 * 3):
        module(*given)
    with record_attention(module, budget=2 * 4 * 16 * 16 * 4 * 4):
        module(*given)
        module(*given)  # a second pass takes the place of the first
    assert not any(part._forward_hooks for part in module.modules())
    with says(RequestError, "attention of a Linear cannot be recorded"), record_attention(nn.Linear(2, 2)):
        pass


def test_a_planted_attention_is_found_where_it_was_planted() -> None:
    module = nn.Sequential(Attend())
    target = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    keys = torch.eye(6)[None, None]
    with record_attention(module) as maps:
        module[0](40 * keys[:, :, target], keys, torch.randn(1, 1, 6, 6))
    assert torch.equal(maps[0][0, 0].argmax(-1), target)
    assert attentions(module) == [module[0]]


def vision(family: str) -> tuple[nn.Module, Tensor]:
    """A tiny vision model of transformers, randomly initialised, and what it looks at."""
    import transformers as t

    torch.manual_seed(0)
    same = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32, "patch_size": 8}
    made = {
        "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**same)),
        "deit": lambda: t.DeiTForImageClassification(t.DeiTConfig(**same)),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**same)),
        "dinov2 with registers": lambda: t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**same)),
        "clip": lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**same)),
        "vivit": lambda: t.VivitForVideoClassification(t.VivitConfig(**same | {"tubelet_size": [2, 8, 8], "num_frames": 4})),
        "swin": lambda: t.SwinForImageClassification(
            t.SwinConfig(image_size=32, patch_size=4, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4)
        ),
    }
    model = made[family]().eval()
    return model, torch.randn(2, *[4] * (family == "vivit"), 3, 32, 32)


@torch.no_grad()
@pytest.mark.parametrize("family", ["vit", "deit", "dinov2", "dinov2 with registers", "clip", "vivit", "swin"])
def test_the_maps_of_a_vision_model_are_its_own(family: str) -> None:
    model, pixels = vision(family)
    with record_attention(model) as maps:
        model(pixels)
    assert model.config._attn_implementation == "sdpa"
    assert all((one.sum(-1) - 1).abs().max() < 1e-5 for one in maps.values())
    model.set_attn_implementation("eager")
    theirs = model(pixels, output_attentions=True).attentions
    if family == "swin":  # theirs are the last of each stage
        maps = {0: maps[1], 1: maps[3]}
    assert len(maps) == len(theirs)
    for one, wanted in zip(maps.values(), theirs, strict=True):
        assert torch.equal(one, wanted)


def test_what_spoke_for_a_class_is_traced_through_the_graph() -> None:
    model, pixels = vision("vit")
    with record_attention(model) as maps:
        logits = model(pixels).logits
    found = relevance([one.detach() for one in maps.values()], torch.autograd.grad(logits[:, 1].sum(), list(maps.values())))
    assert found.shape == (2, 17, 17)
    assert (found[:, 0, 1:] > 0).any()


@torch.no_grad()
@pytest.mark.parametrize(("side", "shift"), [(8, 0), (8, 2), (6, 2)])
def test_shifted_windows_are_rolled_back_to_where_they_belong(side: int, shift: int) -> None:
    from transformers.models.swin.modeling_swin import SwinLayer, window_partition

    model, _ = vision("swin")
    layer: SwinLayer = model.swin.encoder.layers[0].blocks[shift // 2]
    image = torch.arange(1.0, side * side + 1).view(1, side, side, 1)  # each patch says its number
    padded, _ = layer.maybe_pad(image, side, side)
    theirs = window_partition(layer.cyclic_shift(padded), 4).view(-1, 16).long() - 1
    places = window_places(side, side, 4, shift)
    assert torch.equal(places, theirs)
    planted = torch.zeros(len(places), 1, 16, 16)
    window, slot = (places == 9).nonzero()[0]
    planted[window, 0, :, slot] = 1.0  # all of that window look at patch 9
    for patch in places[window][places[window] >= 0].tolist():
        seen = look_from(planted, places, patch)
        assert seen.shape == (1, side * side)
        assert (seen.argmax().item(), seen.sum().item()) == (9, 1.0)


def test_rollout_is_that_of_the_paper() -> None:
    one = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]], [[0.9, 0.1], [0.4, 0.6]]]])  # two heads: their mean is [[.7, .3], [.2, .8]]
    two = torch.tensor([[[[0.2, 0.8], [0.6, 0.4]]]])
    # with the skip connection [[.85, .15], [.1, .9]] and [[.6, .4], [.3, .7]]; the second times the first, by hand:
    wanted = torch.tensor([[[0.55, 0.45], [0.325, 0.675]]])
    torch.testing.assert_close(rollout([one, two]), wanted)
    deep = torch.rand(3, 2, 5, 7, 7).softmax(-1)
    assert (rollout(list(deep)).sum(-1) - 1).abs().max() < 1e-5


def test_relevance_is_that_of_the_paper() -> None:
    one = torch.tensor([[[[0.5, 0.5], [0.25, 0.75]]]])
    gradient = torch.tensor([[[[2.0, -1.0], [4.0, 0.0]]]])
    # what speaks for the class: [[1, 0], [1, 0]]; added to what was there before: R + A R = I + A
    torch.testing.assert_close(relevance([one], [gradient]), torch.tensor([[[2.0, 0.0], [1.0, 1.0]]]))
    # again with the same map: R + A R = [[2, 0], [1, 1]] + [[2, 0], [2, 0]]
    torch.testing.assert_close(relevance([one, one], [gradient, gradient]), torch.tensor([[[4.0, 0.0], [3.0, 1.0]]]))


def test_distance_and_entropy_are_in_patches_and_bits() -> None:
    even = torch.full((1, 1, 4, 4), 0.25)
    there = torch.eye(4)[[1, 0, 3, 2]][None, None]  # each looks at its neighbour in a grid of 2x2
    assert entropy(torch.cat([even, there, torch.eye(4)[None, None]], 1)).tolist() == [2.0, 0.0, 0.0]
    found = mean_distance(torch.cat([even, there, torch.eye(4)[None, None]], 1), (2, 2))
    torch.testing.assert_close(found, torch.tensor([(1 + 1 + math.sqrt(2)) / 4, 1.0, 0.0]))
    with_class = torch.zeros(1, 1, 5, 5)
    with_class[..., 1:, 1:] = 0.5 * there
    with_class[..., 0] = 0.5
    torch.testing.assert_close(mean_distance(with_class, (2, 2), extra=1), torch.tensor([1.0]))
