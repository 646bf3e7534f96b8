"""The fast products and tables give what the plain path gives, for every model, and step aside where they cannot."""

from __future__ import annotations

import copy
import json
import pickle
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from zoo.catalog.card import Card, cards
from zoo.engine import modulation_tables
from zoo.engine.hub import Hub
from zoo.engine.kernel_choice import KernelChoice
from zoo.engine.modulation_tables import ModulationTables
from zoo.engine.request import Request, Result
from zoo.inside.attention import record_attention
from zoo.inside.modulation import long_skips, record_skips
from zoo.inside.patch_tokens import record_tokens
from zoo.networks import packed_linear
from zoo.networks.build import build_module, example_pass
from zoo.networks.packed_linear import PackedLinear
from zoo.sampling import NAMES, Schedule, sample, told_times

SMALL = {"hidden_size": 48, "depth": 2, "num_heads": 4}
CARDS = {
    card.id: card
    for card in (
        replace(cards()[name], arch=cards()[name].arch | words)
        for name, words in {
            "dit-xl-2-256": SMALL | {"input_size": 8},
            "u-vit-h-2-imagenet256": SMALL | {"input_size": 8},
            "u-vit-s-2-mscoco": SMALL | {"input_size": 8, "context_dim": 20, "num_context_tokens": 5},
            "latte-xl-2-ucf101": SMALL | {"input_size": 8, "num_frames": 3},
            "latte-1": SMALL | {"input_size": 8, "num_frames": 3, "context_dim": 20, "num_context_tokens": 5},
            "tiny-unet": {},
            "t5-v1-1-xxl": SMALL | {"vocab_size": 36},
            "clip-vit-large-patch14": SMALL | {"vocab_size": 36},
            "vit-b-16": SMALL | {"input_size": 32, "patch_size": 8},
            "deit-b-16-distilled": SMALL | {"input_size": 32, "patch_size": 8},
            "dinov2-b-14": SMALL | {"input_size": 28},
            "dinov2-b-14-registers": SMALL | {"input_size": 28},
            "clip-b-16-vision": SMALL | {"input_size": 32, "patch_size": 8},
            "swin-t": {"hidden_size": 16, "input_size": 32, "depth": [2, 2], "num_heads": [2, 4], "window_size": 4},
            "vivit-b-16x2": SMALL | {"input_size": 32, "num_frames": 4},
            "sd-vae-ft-mse": {"block_out_channels": [32, 64]},
            "latte-1-temporal-decoder": {"block_out_channels": [32, 64]},
        }.items()
    )
}
BUNDLED = [card.id for card in cards().values() if card.weights[0].origin == "bundled"]


@pytest.fixture(autouse=True)
def asked_anew() -> None:
    """Whether packed products work is found out in each test."""
    packed_linear.works.cache_clear()


def module_of(card: Card, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The module of a card with weights of seed 0, none of them zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build_module(card)
        for value in module.parameters():
            nn.init.normal_(value, std=0.5 / max(1, value[0].numel()) ** 0.5)
    return nn.Module.to(module, dtype).eval().requires_grad_(False)


@torch.no_grad()
def answer(card: Card, module: nn.Module) -> Tensor:
    """What a module makes of noise of seed 0."""
    generator, dtype = torch.Generator().manual_seed(0), next(module.parameters()).dtype
    return example_pass(card, module, lambda *shape: torch.randn(shape, generator=generator).to(dtype)).float()


def packed(card: Card, module: nn.Module) -> nn.Module:
    """A copy of a module in which every linear layer that runs is packed."""
    module, dtype = copy.deepcopy(module), next(module.parameters()).dtype
    run = partial(example_pass, card, noise=lambda *shape: torch.empty(shape, dtype=dtype, device="meta"))
    packed_linear.pack(module, packed_linear.shapes_of(module, run))
    return module


def gap(one: Tensor, other: Tensor) -> float:
    """Largest difference, as a share of the largest number."""
    return ((one - other).abs().max() / other.abs().max()).item()


def linears(module: nn.Module, kind: type = nn.Linear) -> list[str]:
    return [name for name, part in module.named_modules() if type(part) is kind]


# ---- packed products


@pytest.mark.parametrize("name", CARDS)
def test_packed_layers_of_every_family_compute_what_plain_ones_do(name: str) -> None:
    card = CARDS[name]
    plain = module_of(card)
    fast = packed(card, plain)
    assert [name for name in linears(fast) if not name.startswith("encoder.")] == []  # decoding passes no encoder
    assert linears(fast, PackedLinear)
    assert gap(answer(card, fast), answer(card, plain)) <= 1e-5


@pytest.mark.parametrize("name", CARDS)
def test_in_bfloat16_they_are_no_further_from_float32_than_plain_ones(name: str) -> None:
    card = CARDS[name]
    plain = module_of(card, torch.bfloat16)
    exact = answer(card, copy.deepcopy(plain).float())
    errors = [(answer(card, module) - exact).norm() for module in (packed(card, plain), plain)]
    assert errors[0] <= 1.1 * errors[1]


@pytest.mark.parametrize("name", [name for name in BUNDLED if name != "tiny-vae"])
def test_the_bundled_models_compute_the_same_packed(hub: Hub, name: str) -> None:
    card = hub.card(name)
    plain = Hub(device="cpu", cache_dir=hub.cache_dir / "unused")
    plain.models._kernels = None
    module = plain.load(card).module
    assert linears(module, PackedLinear) == []
    assert gap(answer(card, packed(card, module)), answer(card, module)) <= 1e-5
    assert gap(answer(card, hub.load(card).module), answer(card, module)) <= 1e-5


def test_the_gelu_after_a_layer_is_part_of_its_product() -> None:
    for name, activation in {"dit-xl-2-256": "tanh", "u-vit-h-2-imagenet256": "none", "vit-b-16": "none"}.items():
        module = packed(CARDS[name], module_of(CARDS[name]))
        fused = {part.gelu for part in module.modules() if isinstance(part, PackedLinear)}
        assert fused == {None, activation}
        assert not any(isinstance(part, nn.GELU) or type(part).__name__ == "GELUActivation" for part in module.modules())


def test_no_second_copy_of_the_weights_stays() -> None:
    card = CARDS["dit-xl-2-256"]
    module = module_of(card)
    size = sum(p.numel() * p.element_size() for p in module.parameters())
    weights = [weakref.ref(part.weight) for part in module.modules() if isinstance(part, nn.Linear)]
    run = partial(example_pass, card, noise=lambda *shape: torch.empty(shape, device="meta"))
    packed_linear.pack(module, packed_linear.shapes_of(module, run))
    assert [one() for one in weights] == [None] * len(weights)
    assert sum(p.numel() * p.element_size() for p in module.parameters()) == size


def test_a_packed_module_is_copied_saved_loaded_and_moved_like_any_other(tmp_path: Path) -> None:
    card = CARDS["dit-xl-2-256"]
    plain = module_of(card)
    module = packed(card, plain)
    state, plain_state = module.state_dict(), plain.state_dict()
    assert state.keys() == plain_state.keys()
    assert all(torch.equal(state[key], plain_state[key]) for key in state)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), copy.deepcopy(module).double().float()):
        assert all(torch.equal(value, plain_state[key]) for key, value in other.state_dict().items())
        assert gap(answer(card, other), answer(card, plain)) == 0
    emptied = copy.deepcopy(plain)
    nn.init.zeros_(emptied.blocks[0].attn.qkv.weight)
    other = packed(card, emptied)
    other.load_state_dict(plain_state)
    assert gap(answer(card, other), answer(card, plain)) <= 1e-5
    assert gap(answer(card, copy.deepcopy(module).bfloat16()), answer(card, copy.deepcopy(plain).bfloat16())) == 0


def test_gradients_pass_through_as_through_plain_layers() -> None:
    linear = nn.Linear(40, 56)
    for gelu in (None, "tanh", "none"):
        fast, plain = PackedLinear(linear, 10, gelu), packed_linear.with_gelu(linear, gelu)
        gradients = []
        for layer in (fast, plain):
            x = torch.arange(400.0).view(10, 40).div(400).requires_grad_()
            layer(x).square().sum().backward()
            gradients.append(x.grad)
        assert torch.equal(*gradients)
    fast.requires_grad_(True)
    fast(torch.ones(2, 40)).sum().backward()
    assert fast.weight.grad is not None


def test_class_relevance_is_traced_through_a_packed_classifier_as_through_a_plain_one() -> None:
    card = CARDS["vit-b-16"]
    plain = module_of(card)
    gradients = []
    for module in (packed(card, plain), plain):
        pixels = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32).requires_grad_()
        with record_attention(module) as maps:
            logits = module(pixels).logits
        gradients.append(torch.autograd.grad(logits[0, 3], list(maps.values())))
    assert len(gradients[0]) == 2
    assert all(torch.equal(one, other) and one.any() for one, other in zip(*gradients, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("name", ["dit-xl-2-256", "latte-xl-2-ucf101", "u-vit-h-2-imagenet256"])
def test_a_packed_model_is_looked_into_without_changing_what_it_makes(name: str) -> None:
    card = CARDS[name]
    plain = module_of(card)
    module = packed(card, plain)
    expected, shares = answer(card, module), []
    with record_attention(module) as maps, record_tokens(module) as tokens:
        assert torch.equal(answer(card, module), expected)
    assert len(maps) == len([part for part in module.modules() if type(part).__name__ == "Attend"])
    assert tokens.features.any()
    for one in (module, plain):
        with record_skips(one) as skips:
            answer(card, one)
        shares.append(skips)
    assert shares[0] == pytest.approx(shares[1], rel=1e-4)
    assert len(shares[0]) == len(long_skips(plain))


def test_under_autocast_the_layer_computes_as_autocast_wants() -> None:
    layer = PackedLinear(nn.Linear(40, 56), 10)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(3, 40)).dtype == torch.bfloat16


# ---- which product a machine uses


def choose(folder: Path, card: Card) -> tuple[nn.Module, str]:
    """A module whose layers were chosen with what a folder knows, and the word for it."""
    module = module_of(card)
    return module, KernelChoice(folder / "kernels.json").pack(card, module, threads=1)


def test_a_stored_choice_stands_in_later_processes_whatever_a_new_measurement_would_say(tmp_path: Path) -> None:
    card = CARDS["u-vit-h-2-imagenet256"]
    _, first = choose(tmp_path, card)
    path = tmp_path / "kernels.json"
    stored = json.loads(path.read_text())
    other_machine = {"another machine": {"x": "plain"}}
    turned = {key: {"plain": "packed", "packed": "plain"}[value] for machine in stored.values() for key, value in machine.items()}
    path.write_text(json.dumps(dict.fromkeys(stored, turned) | other_machine))
    module, second = choose(tmp_path, card)
    assert second != first
    assert {part.weight.is_mkldnn for part in module.modules() if isinstance(part, PackedLinear)} <= {True}
    expected = [value for key, value in turned.items() if "gelu" in key]
    assert [type(block.mlp.fc1) is PackedLinear for block in module.in_blocks] == [value == "packed" for value in expected]
    assert json.loads(path.read_text()) == dict.fromkeys(stored, turned) | other_machine
    assert choose(tmp_path, card)[1] == second


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 3}'])
def test_a_damaged_file_of_choices_is_measured_again(tmp_path: Path, content: str) -> None:
    path = tmp_path / "kernels.json"
    path.write_text(content)
    choose(tmp_path, CARDS["dit-xl-2-256"])
    assert len(next(iter(json.loads(path.read_text()).values()))) > 5


def all_packed(folder: Path, card: Card) -> None:
    """Write a file that says packed of every layer of a card."""
    choose(folder, card)
    path = folder / "kernels.json"
    path.write_text(json.dumps({machine: dict.fromkeys(keys, "packed") for machine, keys in json.loads(path.read_text()).items()}))


def off_by_a_little(*arguments: object) -> Tensor:
    x, weight, bias = arguments[:3]
    return nn.functional.linear(x, weight.to_dense(), bias) * 1.01


@pytest.mark.parametrize("damage", ["missing", "wrong", "other arguments"])
def test_where_the_private_product_is_missing_or_wrong_the_plain_path_runs_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    card = CARDS["dit-xl-2-256"]
    all_packed(tmp_path, card)
    module, word = choose(tmp_path, card)
    assert (word.split()[0], linears(module, nn.Linear)) == ("packed", [])
    packed_linear.works.cache_clear()
    if damage == "missing":
        monkeypatch.setattr(packed_linear, "PRODUCT", "_not_in_this_version")
    else:
        wrong: Callable = off_by_a_little if damage == "wrong" else lambda x: x
        monkeypatch.setattr(torch.ops.mkldnn, packed_linear.PRODUCT, wrong)
    module, word = choose(tmp_path, card)
    assert (word, linears(module, PackedLinear)) == ("plain", [])


def test_a_receipt_names_the_products_and_a_new_start_makes_the_same_pixels(tmp_path: Path) -> None:
    receipts = []
    for _ in range(2):
        *_, result = Hub(device="cpu", cache_dir=tmp_path).generate(Request("tiny-dit", labels=0, seeds=3, steps=3), preview=False)
        assert isinstance(result, Result)
        receipts.append(result.receipts[0])
    kernels = Hub(device="cpu", cache_dir=tmp_path).load(cards()["tiny-dit"]).kernels
    assert receipts[0]["kernels"] == receipts[1]["kernels"] == f"{kernels}, plain"  # tiny-vae has no linear layers
    assert receipts[0]["pixels"] == receipts[1]["pixels"]


# ---- adaLN tables


SCHEDULES = {"linear": Schedule.linear(1e-4, 0.02, 1000), "vp-sde": Schedule.vp_sde(0.1, 20)}
ASKED = [
    (solver, steps) for solver in (*NAMES, "diffusers:DPMSolverMultistepScheduler", "diffusers:DDPMScheduler") for steps in (3, 20, 50)
]


@pytest.mark.parametrize(("solver", "steps"), ASKED)
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_the_times_of_a_run_are_known_before_it(schedule: Schedule, solver: str, steps: int) -> None:
    seen: list[float] = []

    def predict(x: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t[0]))
        return 0.1 * x

    for _ in sample(predict, torch.ones(1, 1, 1, 1), schedule, solver, steps, noise=lambda _: torch.zeros(1, 1, 1, 1)):
        pass
    assert told_times(schedule, solver, steps) == seen


@pytest.mark.parametrize("spacing", ["even", "stride"])
def test_the_spacing_of_a_chain_is_known_as_well(spacing: str) -> None:
    schedule = SCHEDULES["linear"]
    steps = sample(lambda x, t: x, torch.ones(1, 1, 1, 1), schedule, "ddim", 20, spacing=spacing)
    assert told_times(schedule, "ddim", 20, spacing=spacing) == [step.t for step in steps]


TIMES = [999.0, 500.5, 20.25, 0.0]


@torch.no_grad()
@pytest.mark.parametrize("name", ["dit-xl-2-256", "latte-xl-2-ucf101"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_pass_with_the_vectors_of_a_table_is_the_plain_one(name: str, dtype: torch.dtype) -> None:
    card = CARDS[name]
    module = module_of(card, dtype)
    tables, calls = ModulationTables(module, TIMES), []
    module.final_layer.adaLN_modulation.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    x = torch.randn(3, *(3,) * card.video, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([4, card.arch["num_classes"], 4])
    exact = copy.deepcopy(module).float()
    for times in ([500.5] * 3, [999.0, 20.25, 0.0]):
        t = torch.tensor(times)
        calls.clear()
        fast, plain = tables(x, t, y).float(), module(x, t, y).float()
        assert 3 not in calls[:-1]
        if dtype == torch.float32:
            assert gap(fast, plain) <= 1e-5
        else:
            assert (fast - exact(x, t, y)).norm() <= 1.1 * (plain - exact(x, t, y)).norm()


@torch.no_grad()
def test_a_time_that_is_none_of_the_run_takes_the_plain_path() -> None:
    module = module_of(CARDS["dit-xl-2-256"])
    tables = ModulationTables(module, TIMES)
    x, t, y = torch.ones(2, 4, 8, 8), torch.tensor([500.5, 500.0]), torch.tensor([1, 1])
    assert torch.equal(tables(x, t, y), module(x, t, y))


@torch.no_grad()
def test_vectors_depend_neither_on_other_labels_nor_on_the_order_in_which_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of(CARDS["dit-xl-2-256"])
    row = module.modulation(torch.zeros(1), torch.tensor([0])).nbytes
    monkeypatch.setattr(modulation_tables, "BUDGET", 7 * row)  # 23 times: 7, 7, 7 and 2
    times = [float(t) for t in range(0, 920, 40)]
    alone, company = ModulationTables(module, times), ModulationTables(module, times)
    for time in reversed(times):
        t = torch.tensor([time])
        every = company.rows(t.expand(4), torch.tensor([9, 3, 3, 1000]))
        assert torch.equal(every[1], every[2])
        assert torch.equal(every[1:2], alone.rows(t, torch.tensor([3])))
    held = [table.nbytes for _, table in company._tables.values()]
    assert (len(held), max(held)) == (3, 7 * row)


SOLVERS_TRIED = [
    ("ddim", 3),
    ("ddpm", 5),
    ("ddim", 50),
    ("dpm-solver++", 10),
    ("euler", 7),
    ("unipc", 12),
    ("heun", 4),
    ("euler-maruyama", 6),
]


@pytest.mark.parametrize(("solver", "steps"), SOLVERS_TRIED)
def test_a_picture_is_the_same_alone_and_among_pictures_of_other_classes(hub: Hub, solver: str, steps: int) -> None:
    request = Request("tiny-dit", labels=(4, 0, 7, 4, 2), seeds=(5, 6, 7, 8, 9), steps=steps, solver=solver, guidance=3.0)
    *_, together = hub.generate(request, preview=False, visitor=None)
    for k in (0, 2):
        *_, alone = hub.generate(replace(request, labels=request.labels[k], seeds=request.seeds[k]), preview=False, visitor=None)
        assert alone.receipts[0]["pixels"] == together.receipts[k]["pixels"]
