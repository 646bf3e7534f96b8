"""Look inside: what is shown of a model is what it computes, for every family, for pictures and for every step of a generation."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from loopback_hub import LoopbackHub
from PIL import Image
from torch import Tensor, nn

from zoo.catalog.card import Card, Pixels
from zoo.catalog.checkpoint import load_into
from zoo.engine.hub import Hub
from zoo.engine.request import Request, Result
from zoo.engine.verify import admit, verify
from zoo.errors import CheckpointError, MediaError, RequestError
from zoo.inside import attention_figures
from zoo.inside.attention import attentions
from zoo.inside.forward_record import layers_of
from zoo.inside.inspector import Looker
from zoo.inside.modulation import long_skips, modulations, record_skips
from zoo.inside.patch_tokens import filter_components, principal, record_tokens, similarity
from zoo.media import clips, photographs, video
from zoo.networks import preparation, vision
from zoo.networks.build import build_module
from zoo.sampling import Trace
from zoo.training.recipes import weights_path

WORDS = {"input_size": 32, "patch_size": 8, "in_channels": 3, "hidden_size": 32, "depth": 3, "num_heads": 4, "mlp_ratio": 2}
ARCHES = {
    "vit": WORDS | {"num_classes": 3},
    "deit": WORDS | {"num_classes": 3},
    "dinov2": WORDS | {"num_classes": 0},
    "dinov2-registers": WORDS | {"num_classes": 0, "num_registers": 4},
    "clip-vision": WORDS | {"num_classes": 0},
    "swin": WORDS | {"num_classes": 3, "patch_size": 2, "hidden_size": 16, "depth": [2, 2], "num_heads": [2, 4], "window_size": 4},
    "vivit": WORDS | {"num_classes": 3, "num_frames": 4, "tubelet_frames": 2},
}
EXTRA = {"deit": 2, "dinov2-registers": 5, "swin": 0}
STAR = Request("tiny-dit", labels=4, seeds=5, steps=6)


def card_words(family: str, **more: object) -> dict:
    """A card's `zoo:` mapping for a random model of a family."""
    arch = ARCHES[family]
    kind = "video-classification" if family == "vivit" else "image-classification"
    return {
        "title": family, "family": family, "task": kind if arch["num_classes"] else "image-feature-extraction", "arch": arch,
        "weights": [{"from": "manual", "url": "https://example.org/page", "file": "w.pt"}],
    } | more  # fmt: skip


def random_module(family: str) -> nn.Module:
    torch.manual_seed(0)
    module = vision.build(family, ARCHES[family]).eval()
    for parameter in module.parameters():
        parameter.data += torch.randn(parameter.shape) / 10
    return module


@pytest.fixture
def looker(hub_with: Callable[..., Hub], tmp_path: Path) -> Callable[[str], Looker]:
    """looker(family): a Looker on a hub that also has a random model of this family, called `seer`."""

    def build(family: str, module: nn.Module | None = None) -> Looker:
        hub = hub_with({"seer": card_words(family)})
        torch.save((module or random_module(family)).state_dict(), tmp_path / "w.pt")
        admit(hub.store, hub.card("seer"), [tmp_path / "w.pt"])
        return Looker(hub)

    return build


@pytest.fixture(scope="module")
def inside(hub: Hub) -> Looker:
    """A Looker on the bundled models."""
    return Looker(hub)


def photograph(path: Path, side: int = 48) -> Path:
    y, x = np.mgrid[:side, : side + 16]
    Image.fromarray(np.stack([x * 3, y * 4, (x * y) % 256], -1).astype(np.uint8)).save(path)
    return path


# ---- from picture to tokens


@torch.no_grad()
@pytest.mark.parametrize("family", ARCHES)
def test_tokens_are_those_of_the_model_and_watching_leaves_no_trace(family: str) -> None:
    module, arch = random_module(family), ARCHES[family]
    pixels = torch.randn(1, *[4] * (family == "vivit"), 3, 32, 32)
    before = module(pixels)[0]
    with record_tokens(module) as tokens:
        during = module(pixels)[0]
    assert torch.equal(before, during)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    side, times = 32 // arch["patch_size"], 2 if family == "vivit" else 1
    assert tokens.grid == (times, side, side)
    n, flat = math.prod(tokens.grid), 3 * times * arch["patch_size"] ** 2
    assert tokens.patches.shape == (n, flat)
    bias = next(part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Conv3d))).bias
    by_hand = tokens.patches @ tokens.filters.flatten(1).T + (0 if bias is None else bias)
    torch.testing.assert_close(by_hand, tokens.projected, atol=1e-5, rtol=0)
    extra = EXTRA.get(family, 1)
    assert len(tokens.sequence) == extra + n
    if family == "swin":
        assert len(tokens.positions) == 0
    elif family != "clip-vision":  # which normalises once more
        torch.testing.assert_close(tokens.sequence[extra:], tokens.projected + tokens.positions, atol=1e-5, rtol=0)
    assert len(tokens.features) == (n // 4 if family == "swin" else extra + n)


@torch.no_grad()
def test_positions_that_a_model_interpolates_are_those_that_it_adds() -> None:
    module = random_module("dinov2")
    with record_tokens(module) as tokens:
        module(torch.randn(1, 3, 24, 24))
    assert tokens.grid == (1, 3, 3)
    torch.testing.assert_close(tokens.sequence[1:], tokens.projected + tokens.positions, atol=1e-5, rtol=0)


def test_principal_directions_are_stable_in_sign() -> None:
    rows = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 3.0, 2.0, 0.5, 0.4, 0.1])
    found, order = principal(rows, 3), torch.randperm(40, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(principal(rows[order], 3), found[order], atol=1e-5, rtol=0)
    peaks = found.gather(0, found.abs().argmax(0, keepdim=True))
    assert (peaks > 0).all()
    torch.testing.assert_close(found.var(0, correction=0).sum(), torch.linalg.svdvals(rows - rows.mean(0))[:3].square().sum() / 40)
    assert principal(torch.ones(5, 2), 3).shape == (5, 3)
    kept = filter_components(rows.view(40, 3, 1, 1, 2))
    torch.testing.assert_close(kept.flatten(1) @ kept.flatten(1).T, torch.eye(6), atol=1e-5, rtol=0)


def test_a_position_is_most_like_itself() -> None:
    alike = similarity(torch.randn(9, 16, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(alike.argmax(-1), torch.arange(9))
    torch.testing.assert_close(alike.diagonal(), torch.ones(9))


# ---- where a place looks


@pytest.mark.parametrize("family", ARCHES)
def test_where_a_place_looks_sums_to_one_in_every_layer_and_head(looker, family: str, tmp_path: Path) -> None:
    recording = looker(family).picture("seer", photograph(tmp_path / "a.png"))
    assert len(recording.extra) == EXTRA.get(family, 1) == recording.tokens.extra
    assert len(recording.layers) == len(recording.maps) == (4 if family == "swin" else 3)
    for index, layer in enumerate(recording.layers):
        for query in ((0.1, 0.1, 0.9), (0.9, 0.6, 0.3), *recording.extra):
            heads, rest = recording.looks(index, query)
            assert heads.shape == (layer.heads, *layer.grid)
            torch.testing.assert_close(heads.sum((1, 2, 3)) + rest.sum(1), torch.ones(layer.heads), atol=1e-5, rtol=0)
    assert recording.pictures.shape == (4 if family == "vivit" else 1, 32, 32, 3)
    assert all(math.isfinite(value) for one in recording.distances().values() for value in one)
    shares = [share for _, share, _ in recording.predictions]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == ARCHES[family]["num_classes"]


def test_a_swins_windows_are_where_the_model_has_them(looker, tmp_path: Path) -> None:
    one = looker("swin")
    recording = one.picture("seer", photograph(tmp_path / "a.png"))
    module = one.hub.load(one.hub.card("seer")).module
    blocks = [part for part in module.modules() if type(part).__name__ == "SwinLayer"]
    assert [layer.grid for layer in recording.layers] == [(1, 16, 16)] * 2 + [(1, 8, 8)] * 2
    for block, layer in zip(blocks, recording.layers, strict=True):
        columns = layer.grid[2]
        assert layer.places.shape[1] == block.window_size**2
        assert int(layer.places[0, 0]) == block.shift_size * (columns + 1)
    heads, _ = recording.looks(1, (0.0, 0.0, 0.0))  # shifted by two: the corner's own window is two by two
    assert (heads[0, 0] > 1e-6).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    heads, _ = recording.looks(1, (0.0, 0.5, 0.5))
    rows, columns = (heads[0, 0] > 1e-6).nonzero().T
    assert (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) == (6, 9, 6, 9)


def planted() -> nn.Module:
    """A ViT in which every token looks at the one that follows it: positions are told apart, queries point one further."""
    module = vision.build("vit", ARCHES["vit"])
    ahead = torch.eye(17).roll(-1, 0)  # row i asks for position i + 1
    for name, parameter in module.named_parameters():
        parameter.data.zero_()
        if name.endswith("position_embeddings"):
            parameter.data[0, :, :17] = 10 * torch.eye(17)
        if "layernorm" in name and name.endswith("weight"):
            parameter.data.fill_(1.0)
        if name.endswith("q_proj.weight"):
            parameter.data[:17, :17] = 4 * ahead.T
        if name.endswith("k_proj.weight"):
            parameter.data[:17, :17] = 4 * torch.eye(17)
    return module.eval()


def test_a_click_shows_what_was_planted(looker, tmp_path: Path) -> None:
    recording = looker("vit", planted()).picture("seer", photograph(tmp_path / "a.png"))
    for patch in (0, 5, 14):
        query = recording.query(patch)
        heads, _ = recording.looks(0, query)
        assert int(heads[:, 0].sum(0).argmax()) == patch + 1
        drawn = np.asarray(attention_figures.overlay(recording, 0, query, "mean of all heads", ())).astype(int)
        tiles = drawn.reshape(4, 128, 4, 128, 3)[:, 20:108, :, 20:108].mean((1, 3))
        assert int(tiles[..., 1].argmax()) == patch + 1  # viridis' bright end is yellow
    with_two = attention_figures.chosen(recording, 0, recording.query(3), "mean of chosen heads", [0, 2])[0]
    heads, _ = recording.looks(0, recording.query(3))
    torch.testing.assert_close(with_two, (heads[0] + heads[2]) / 2)
    heads, _ = recording.looks(0, "class")
    assert int(heads[:, 0].sum(0).argmax()) == 0


def test_rollout_and_what_each_model_lacks(looker, inside: Looker, says, tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png")
    recording = inside.picture("tiny-vit", path)
    assert recording.rollout("class").sum() <= 1
    assert recording.rollout("class", 1).shape == (1, 8, 8)
    swin = looker("swin")
    shifted = swin.picture("seer", path)
    with says(RequestError, "Rollout multiplies layers"):
        shifted.rollout((0.0, 0.5, 0.5))
    with says(RequestError, "no class token", "choose a patch"):
        shifted.looks(0, "class")
    with says(RequestError, "which seer does not have", "choose a ViT"):
        swin.relevance("seer", path, 0)
    with says(RequestError, "no layer 4", "0 to 3"):
        inside.picture("tiny-vit", path, 4)
    with says(RequestError, "no patch 64", "0 to 63, or class"):
        recording.query(64)
    with says(RequestError, "no head 9", "0 to 3"):
        attention_figures.chosen(recording, 0, "class", "one head", [9])
    with says(RequestError, "tiny-vae", "choose one such as"):
        inside.picture("tiny-vae", path)
    with says(RequestError, "tiny-dit makes pictures"):
        inside.picture("tiny-dit", path)
    with says(RequestError, "tiny-vit looks at pictures"):
        inside.run(Request("tiny-vit"))


def test_relevance_is_that_of_the_class_and_changes_with_it(inside: Looker, hub: Hub, tmp_path: Path) -> None:
    path = Path("zoo/catalog/data/example-star.png")
    recording = inside.picture("tiny-vit", path)
    assert recording.predictions[0][0] == "star"
    found = inside.relevance("tiny-vit", path, recording.label(None))
    assert found.shape == (1, 8, 8)
    assert found.min() >= 0
    assert found.max() > 0
    other = inside.relevance("tiny-vit", path, recording.label(recording.predictions[1][0]))
    assert not torch.allclose(found, other)
    module, card = hub.load(hub.card("tiny-vit")).module, hub.card("tiny-vit")
    pixels = preparation.prepare(photographs.open_picture(path), card.pixels, 64)[1][None]
    best = recording.label(None)
    grey = pixels.clone()
    row, column = divmod(int(found.argmax()), 8)
    grey[:, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 0
    with torch.no_grad():  # what spoke for the class most is missed
        assert module(grey).logits[0, best] < module(pixels).logits[0, best]


# ---- generations


class Keeping(Trace):
    """A trace that also keeps the answers."""

    def watch(self, predict):
        inner = super().watch(predict)
        self.answers = []

        def kept(x: Tensor, t: Tensor) -> Tensor:
            self.answers.append(inner(x, t))
            return self.answers[-1]

        return kept


@pytest.mark.parametrize("model", ["tiny-dit", "tiny-uvit"])
def test_a_step_made_again_is_that_step_to_the_bit(inside: Looker, hub: Hub, model: str) -> None:
    request = Request(model, labels=4, seeds=5, steps=6).resolved(hub.card(model))
    trace = Keeping()
    *_, result = hub.generate(request, visitor=None, trace=trace)
    run = inside.run(request)
    assert np.array_equal(run.result, result.images)
    assert len(run.trace.inputs) == 6
    assert run.trace.times == trace.times
    card = hub.card(model)
    predict = hub.predict(card, request, hub.load(card).module, None)
    for k in range(6):
        assert torch.equal(run.trace.inputs[k], trace.inputs[k])
        with torch.no_grad(), record_tokens(hub.load(card).module), record_skips(hub.load(card).module):
            assert torch.equal(hub.compute(predict, trace.inputs[k], torch.tensor([trace.times[k]])), trace.answers[k])
        recording = inside.step(run, k)
        assert all((one.sum(-1) - 1).abs().max() < 1e-5 for one in recording.maps.values())
        assert all(len(one) == 1 for one in recording.maps.values())
    assert np.abs(recording.pictures.astype(int) - run.result).mean() < 3  # the last clean prediction is nearly the result


def test_with_and_without_the_class_are_two_passes(inside: Looker) -> None:
    run = inside.run(STAR)
    with_class, free = inside.step(run, 1), inside.step(run, 1, free=True)
    assert not torch.allclose(with_class.maps[3], free.maps[3])
    assert not torch.allclose(with_class.tokens.features, free.tokens.features)
    assert torch.equal(with_class.tokens.sequence, free.tokens.sequence)  # in a DiT the class is no token
    uvit = inside.run(Request("tiny-uvit", labels=4, seeds=5, steps=3))
    first, other = inside.step(uvit, 0).tokens.sequence, inside.step(uvit, 0, free=True).tokens.sequence
    assert [not torch.equal(first[k], other[k]) for k in range(3)] == [True, False, False]  # class, time, the first patch
    held = with_class.maps[3].untyped_storage().nbytes()
    assert held == with_class.maps[3].nbytes  # the other pass is not held on to
    plain = inside.run(Request("tiny-dit", labels=4, seeds=5, steps=6, guidance=1.0))
    assert torch.equal(inside.step(plain, 0).maps[0], inside.step(plain, 0, free=True).maps[0])


def test_the_classes_of_a_dit_come_in_through_its_gates(inside: Looker, hub: Hub) -> None:
    run = inside.run(STAR)
    values = inside.modulations(run)
    module = hub.load(hub.card("tiny-dit")).module
    assert values.shape == (6, 6, 6)
    seen: list[Tensor] = []
    hook = module.blocks[2].adaLN_modulation.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        module(run.trace.inputs[3], torch.tensor([run.trace.times[3]]), torch.tensor([4]))
    hook.remove()
    torch.testing.assert_close(values[3, 2], seen[0][0].unflatten(0, (6, -1)).abs().mean(-1))
    assert not torch.allclose(values, inside.modulations(run, free=True))
    assert inside.modulations(inside.run(Request("tiny-uvit", labels=4, seeds=5, steps=3))) is None
    assert modulations(nn.Linear(2, 2), torch.zeros(1), None) is None


@torch.no_grad()
def test_a_long_skip_scaled_by_one_changes_nothing_and_cut_changes_much(hub: Hub) -> None:
    module = build_module(hub.card("tiny-uvit")).eval()  # the hub may have packed its own
    load_into(module, weights_path("tiny-uvit"))
    given = torch.randn(1, 4, 16, 16), torch.tensor([500.0]), torch.tensor([4])
    before = module(*given)
    with record_skips(module) as shares:
        assert torch.equal(module(*given), before)
    assert sorted(shares) == list(range(len(long_skips(module)))) == [0, 1, 2]
    assert all(0 < share < 1 for share in shares.values())
    with record_skips(module, {1: 1.0}):
        assert torch.equal(module(*given), before)
    with record_skips(module, {1: 0.0}):
        cut = module(*given)
    assert (cut - before).abs().max() > 1e-2
    linear = long_skips(module)[1]
    right = linear.weight[:, linear.weight.shape[1] // 2 :].clone()
    linear.weight.data[:, linear.weight.shape[1] // 2 :] = 0  # the same, done to the weights
    torch.testing.assert_close(module(*given), cut, atol=1e-5, rtol=0)
    linear.weight.data[:, linear.weight.shape[1] // 2 :] = right
    assert torch.equal(module(*given), before)
    with record_skips(hub.load(hub.card("tiny-dit")).module) as none:
        assert none == {}


def test_a_place_of_a_video_attends_through_time_and_in_its_frame_separately(inside: Looker, says) -> None:
    run = inside.run(Request("tiny-latte", labels=6, seeds=3, steps=3, frames=5))
    recording = inside.step(run, 1)
    assert recording.pictures.shape == (5, 64, 64, 3)
    assert [layer.kind for layer in recording.layers] == ["space", "time"] * 3
    for index, kind in ((2, "space"), (3, "time")):
        heads, rest = recording.looks(index, (0.5, 0.3, 0.7))
        assert rest.shape == (3, 0)
        torch.testing.assert_close(heads.sum((1, 2, 3)), torch.ones(3), atol=1e-5, rtol=0)
        lit = (heads.sum(0) > 0).nonzero()
        assert lit[:, 0].unique().tolist() == ([2] if kind == "space" else [0, 1, 2, 3, 4])
        assert kind == "space" or lit[:, 1:].unique(dim=0).tolist() == [[2, 5]]
    matrix = recording.frames(3, (0.3, 0.7))
    assert torch.equal(matrix[:, 2], recording.looks(3, (0.5, 0.3, 0.7))[0][:, :, 2, 5])
    with says(RequestError, "does not attend through time"):
        recording.frames(2, (0.3, 0.7))


def test_two_models_are_seen_at_equal_noise(inside: Looker) -> None:
    dit, uvit = (inside.run(Request(name, labels=4, seeds=5, steps=12)) for name in ("tiny-dit", "tiny-uvit"))
    assert torch.equal(dit.trace.inputs[0], uvit.trace.inputs[0])  # the same noise
    levels, others = inside.levels(dit), inside.levels(uvit)
    assert levels == sorted(levels)
    found = [inside.nearest_level(uvit, level) for level in levels]
    assert all(abs(others[k] - level) == min(abs(other - level) for other in others) for k, level in zip(found, levels, strict=True))


def test_recordings_are_kept_by_what_they_are_of_and_made_again_when_they_are_gone(hub: Hub, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("zoo.inside.inspector.BUDGET", 400_000)
    monkeypatch.setattr("zoo.inside.inspector.RUNS", 10_000)
    looker = Looker(hub)
    one, two = photograph(tmp_path / "one.png"), photograph(tmp_path / "two.png", 40)
    first = looker.picture("tiny-vit", one)
    (tmp_path / "copy.png").write_bytes(one.read_bytes())
    assert looker.picture("tiny-vit", tmp_path / "copy.png") is first
    other = looker.picture("tiny-vit", two)
    assert not torch.equal(other.maps[0], first.maps[0])
    again = looker.picture("tiny-vit", one)
    assert again is not first
    assert torch.equal(again.maps[0], first.maps[0])
    run = looker.run(STAR)
    looker.picture("tiny-vit", two)
    assert torch.equal(looker.run(STAR).trace.inputs[5], run.trace.inputs[5])


def test_only_the_open_layer_is_kept_where_all_are_too_much(hub: Hub, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("zoo.inside.attention.BUDGET", 100_000)
    recording = Looker(hub).picture("tiny-vit", photograph(tmp_path / "a.png"), 2)
    assert list(recording.maps) == [2]
    assert attention_figures.contact(recording, "class").height < 120
    assert not recording.whole


def test_a_stopped_run_keeps_nothing_and_a_receipt_brings_its_run_back(inside: Looker, hub: Hub, says, tmp_path: Path) -> None:
    *_, result = hub.generate(Request("tiny-dit", labels=(4, 5), seeds=(1, 2), steps=5), preview=False)
    assert isinstance(result, Result)
    request = inside.request_of(result.files[1])
    assert (request.labels, request.seeds) == ((5,), (2,))
    recording = inside.file("tiny-dit", result.files[1], step=2)
    assert recording.pictures.shape == (1, 64, 64, 3)
    assert np.array_equal(inside.run(request).result[0], result.images[1])
    with says(RequestError, "made by tiny-dit"):
        inside.file("tiny-uvit", result.files[1])
    with says(RequestError, "no step 9", "1 to 5"):
        inside.file("tiny-dit", result.files[1], step=9)
    with says(MediaError, "no receipt"):
        inside.file("tiny-dit", photograph(tmp_path / "a.png"))


def test_runs_outlive_the_maps_of_others(hub: Hub, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("zoo.inside.inspector.BUDGET", 1)
    looker = Looker(hub)
    run = looker.run(STAR)
    looker.picture("tiny-vit", photograph(tmp_path / "a.png"))
    assert looker.run(STAR) is run


# ---- figures and arrays


@pytest.mark.parametrize("model", ["tiny-vit", "tiny-dit", "tiny-uvit"])
def test_every_figure_and_array_is_written(inside: Looker, model: str, tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png")
    recording = (
        inside.picture(model, path) if model == "tiny-vit" else inside.step(inside.run(Request(model, labels=4, seeds=5, steps=6)), 3)
    )
    files = attention_figures.everything(recording, 1, recording.query(9), "mean of all heads", ())
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        if name.endswith(".png"):
            with Image.open(tmp_path / name) as picture:
                assert min(picture.size) > 30
    assert {"distance.svg", "entropy.svg", "looks.png", "layers-by-heads.png", "filters.png", "position.png"} <= files.keys()
    kept = np.load(tmp_path / "arrays.npz")
    assert np.array_equal(kept["attention_01"], recording.maps[1].numpy())
    assert kept["patches"].shape == tuple(recording.tokens.patches.shape)
    facts = attention_figures.facts(recording)
    assert facts["grid"] == [1, 8, 8]
    assert facts["tokens"] == 64 + len(recording.extra) == len(recording.tokens.sequence)


def test_the_way_through_a_run_is_drawn(inside: Looker) -> None:
    run = inside.run(Request("tiny-uvit", labels=4, seeds=5, steps=6))
    drawn = attention_figures.through({k: inside.step(run, k) for k in (0, 3, 5)}, 2, (0.0, 0.5, 0.5), "max of all heads", ())
    assert [figure.name for figure in drawn] == ["forming", "entropy-in-time", "skips", "onto-class", "onto-time"]
    assert all(figure.svg.lstrip().startswith("<?xml") for figure in drawn[1:])


def test_another_patch_size_costs_what_counting_says(hub: Hub) -> None:
    card = hub.card("tiny-vit")
    tokens, pairs, total = attention_figures.cost(card, 8)
    assert (tokens, round(total, 4)) == (64, round((4 * 64 * 96**2 * 12 + 4 * 2 * 64**2 * 96) / 1e9, 4))
    assert attention_figures.cost(card, 4)[1] == 16 * pairs
    assert attention_figures.cost(hub.card("dit-xl-2-256"), 2)[2] == pytest.approx(
        118.6, rel=0.02
    )  # published; without embeddings and adaLN


# ---- what people bring


def uploads(folder: Path) -> dict[str, Path]:
    """Pictures as people have them."""
    base = Image.new("RGB", (60, 40), (200, 30, 60))
    files = {name: folder / name for name in ("one.png", "cmyk.jpg", "deep.png", "moves.gif", "clear.png", "turned.jpg", "text.png")}
    Image.new("RGB", (1, 1), "red").save(files["one.png"])
    base.convert("CMYK").save(files["cmyk.jpg"])
    Image.fromarray((np.arange(60 * 40).reshape(40, 60) * 20).astype(np.uint16)).save(files["deep.png"])
    base.save(files["moves.gif"], save_all=True, append_images=[Image.new("RGB", (60, 40), "blue")])
    Image.new("RGBA", (60, 40), (0, 0, 0, 0)).save(files["clear.png"])
    exif = Image.Exif()
    exif[0x0112] = 6
    base.save(files["turned.jpg"], exif=exif)
    files["text.png"].write_text("no picture")
    return files


def test_every_kind_of_picture_is_looked_at_or_refused_in_one_sentence(inside: Looker, says, tmp_path: Path) -> None:
    for name, path in uploads(tmp_path).items():
        if name == "text.png":
            with says(MediaError, "cannot be read as a picture"):
                inside.picture("tiny-vit", path)
            continue
        assert inside.picture("tiny-vit", path).pictures.shape == (1, 64, 64, 3)


def test_a_bomb_and_a_file_that_is_not_there_are_refused_by_every_kind_of_model(looker, says, tmp_path: Path) -> None:
    clips = looker("vivit")
    Image.new("1", (40_000, 40_000)).save(tmp_path / "bomb.png")
    for model in ("tiny-vit", "seer"):
        with says(MediaError, "million"):
            clips.picture(model, tmp_path / "bomb.png")
        with says(MediaError, "none.png cannot be read"):
            clips.picture(model, tmp_path / "none.png")


def test_a_clip_is_read_from_whatever_holds_one(says, tmp_path: Path) -> None:
    frames = np.stack([np.full((48, 64, 3), 8 * k, np.uint8) for k in range(20)])
    for suffix, content in video.files(frames, 8, {"request": {}}):
        (tmp_path / f"a{suffix}").write_bytes(content)
    for kind in ("mp4", "gif", "webp"):
        found = np.stack([np.asarray(one) for one in clips.open_clip(tmp_path / f"a.{kind}", 5)])
        assert found.shape == (5, 48, 64, 3)
        assert np.abs(found.mean((1, 2, 3)) - [0, 40, 80, 112, 152]).max() < 6
    still = clips.open_clip(photograph(tmp_path / "a.png"), 3)
    assert len(still) == 3
    assert np.array_equal(still[0], still[2])
    (tmp_path / "bad.mp4").write_bytes(b"nothing of the kind")
    with says(MediaError, "cannot be read as a clip"):
        clips.open_clip(tmp_path / "bad.mp4", 3)


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (64, 64), (1, 1), (3000, 10), (1, 4096)])
def test_a_picture_is_prepared_as_its_card_says(shape: tuple[int, int]) -> None:
    picture = Image.new("RGB", shape, (255, 0, 51))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    shown, numbers = preparation.prepare(picture, Pixels(resize=36, resample="bicubic", mean=mean, std=std), 32)
    assert shown.shape == (32, 32, 3)
    assert (shown == (255, 0, 51)).all()
    torch.testing.assert_close(numbers[:, 5, 5], torch.tensor([(v - m) / s for v, m, s in zip((1, 0, 0.2), mean, std, strict=True)]))


def test_preparing_is_what_transformers_does(tmp_path: Path) -> None:
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    with Image.open(photograph(tmp_path / "a.png", 100)) as picture:
        _, numbers = preparation.prepare(picture, Pixels(resample="bilinear"), 32)
        theirs = ViTImageProcessorPil(size={"height": 32, "width": 32})(picture, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(numbers, theirs, atol=1e-5, rtol=0)


# ---- published files


def older(family: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict under the names with which the family's files were published, before transformers 5."""
    both = [("layers.", "encoder.layer."), (".attention.o_proj.", ".attention.output.dense.")]
    both += [
        (f".attention.{short}_proj.", f".attention.attention.{long}.") for short, long in zip("qkv", ("query", "key", "value"), strict=True)
    ]
    mlp = [(".mlp.fc1.", ".intermediate.dense."), (".mlp.fc2.", ".output.dense.")]
    rules = {
        "dinov2": both[1:], "dinov2-registers": both[1:], "clip-vision": [("", "vision_model.")],
        "swin": [both[1], *mlp, (".relative_position_bias.", ".self.")]
        + [(short, long.replace("attention.attention", "attention.self")) for short, long in both[2:]],
    }.get(family, both + mlp)  # fmt: skip
    renamed = {}
    for key, value in state.items():
        name = key
        for new, old in rules:
            name = name.replace(new, old, 1)
        renamed[name] = value
    if family == "clip-vision":
        renamed |= {"text_model.x": torch.zeros(2), "logit_scale": torch.zeros(()), "text_projection.weight": torch.zeros(2, 2)}
        renamed |= {"visual_projection.weight": torch.zeros(2, 2), "vision_model.embeddings.position_ids": torch.zeros(1, 17)}
    return renamed


@torch.no_grad()
@pytest.mark.parametrize("family", ARCHES)
def test_published_names_of_every_family_load_strictly(family: str, says) -> None:
    from zoo.catalog.checkpoint import load_into

    module = random_module(family)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    assert older(family, state).keys() != state.keys()
    with torch.device("meta"):
        fresh = build_module(card(family))
    load_into(fresh, older(family, state), vision.rename_state)
    for key, value in fresh.state_dict().items():
        assert torch.equal(value, state[key]), key
    broken = older(family, state)
    lost = next(key for key in broken if "value" in key or "v_proj" in key)
    with says(CheckpointError, "does not fit", "is missing"):
        load_into(random_module(family), {key: value for key, value in broken.items() if key != lost}, vision.rename_state)


@torch.no_grad()
@pytest.mark.parametrize("family", ["vit", "swin", "dinov2-registers", "vivit"])
def test_a_vision_model_arrives_from_a_hub_and_is_looked_into(hub_with, hub_server: LoopbackHub, family: str, tmp_path: Path) -> None:
    sources = [{"from": "huggingface", "repo": "a/seer", "file": name} for name in ("model.safetensors", "pytorch_model.bin")]
    hub = hub_with({"seer": card_words(family, weights=sources)})
    module = random_module(family)
    torch.save(older(family, module.state_dict()), tmp_path / "w.bin")
    hub_server.files["a/seer", "pytorch_model.bin"] = (tmp_path / "w.bin").read_bytes()  # the first of the two is not there
    for _ in hub.fetch("seer"):
        pass
    assert [word in "".join(verify(hub.store, hub.card("seer"))) for word in ("digest", "manifest", "fingerprint")] == [True] * 3
    looker, path = Looker(hub), photograph(tmp_path / "a.png")
    recording = looker.picture("seer", path)
    pixels = looker._pixels(hub.card("seer"), path)[-1][None]
    module.set_attn_implementation("eager")
    theirs = module(pixels, output_attentions=True).attentions
    kept = [recording.maps[1], recording.maps[3]] if family == "swin" else list(recording.maps.values())  # theirs: the last of a stage
    for one, wanted in zip(kept, theirs, strict=True):
        assert torch.equal(one, wanted)


def card(family: str) -> Card:
    """A card of this family, not of the hub."""
    return Card(id=family, title=family, family=family, task="image-classification", licence="mit", arch=ARCHES[family], weights=())


def test_layers_are_as_many_as_the_model_has_attentions() -> None:
    for family in ARCHES:
        module = random_module(family)
        assert len(layers_of(card(family))) == len(attentions(module))


def test_a_picture_of_a_network_without_attention_of_ours_is_refused_before_it_is_made_again(
    hub: Hub, inside: Looker, says: Callable
) -> None:
    *_, result = hub.generate(Request("tiny-unet", 4, 0, 2))
    with says(RequestError, "tiny-unet", "no attention that can be recorded"):
        inside.request_of(result.files[0])
