"""How the bundled models are made: the same data and weights from the same seed, also after an interruption."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.catalog.card import cards
from zoo.catalog.labels import label_names
from zoo.errors import CheckpointError
from zoo.sampling import Schedule
from zoo.training import clips, emoji, recipes, trainer
from zoo.training.__main__ import first, loss_for, trained
from zoo.training.recipes import RECIPES, diffusion_loss, pictures, videos, weights_path
from zoo.training.trainer import Plan, Training, fit

ROOT = Path(__file__).parent.parent
PLAN = Plan(steps=12, rate=1e-2, matrix_rate=1e-2, ema=0.9)


ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU, and steps are recorded only there")


def wait(device: str) -> None:
    """Until a GPU has done what was asked of it."""
    if device == "cuda":
        torch.cuda.synchronize()


def flat(model: nn.Module) -> Tensor:
    """All weights in one row, on the CPU."""
    return nn.utils.parameters_to_vector(model.parameters()).detach().cpu()


class Small(nn.Module):
    """A model with matrices in blocks, for Muon, and a bias outside of them, for AdamW."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) + self.shift


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
    x = torch.randn(16, 4, generator=generator, device=generator.device)
    return (model(x)[:, 0] - x.prod(-1) - 1).square().mean()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_held_out_pictures_are_others_and_whole_batches_do_not_matter(shipped_drawings: None) -> None:
    few, labels = pictures(3, 1)
    assert torch.equal(few, pictures(300, 1)[0][:3])
    assert torch.equal(labels, pictures(300, 1)[1][:3])
    assert not torch.equal(few, pictures(3, 2)[0])
    assert (few.dtype, few.shape) == (torch.uint8, (3, 3, 64, 64))


def test_clips_are_the_same_for_the_same_seed_and_differ_for_another(shipped_drawings: None) -> None:
    one, labels = videos(3, 1)
    assert torch.equal(one, videos(40, 1)[0][:3])
    assert not torch.equal(one, videos(3, 2)[0])
    assert (one.dtype, one.shape, labels.shape) == (torch.uint8, (3, 16, 3, 64, 64), (3,))


@pytest.mark.parametrize(("name", "words"), [("emoji", tuple(emoji.CLASSES)), ("clips", clips.LABELS)])
def test_the_label_lists_that_ship_are_those_of_the_data(name: str, words: tuple[str, ...]) -> None:
    assert label_names(name) == words


def test_every_loss_depends_on_its_generator_alone_and_reaches_what_is_trained(
    shipped_drawings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "POOL", 16)
    monkeypatch.setattr(recipes, "VIDEOS", 32)
    chosen = {name: replace(recipe, batch=4) for name, recipe in RECIPES.items()}
    for name, recipe in chosen.items():
        card = cards()[recipe.card or name]
        model, loss = trained(card), loss_for(card, recipe)
        torch.manual_seed(1)
        one = loss(model, seeded(5))
        torch.manual_seed(2)
        assert torch.equal(one, loss(model, seeded(5))), name
        assert not torch.equal(one, loss(model, seeded(6))), name
        one.backward()
        found = [value.grad for value in model.parameters() if value.grad is not None]
        assert all(gradient.isfinite().all() for gradient in found), name
        assert max(gradient.abs().max() for gradient in found) > 0, name


def test_a_flow_learns_the_velocity_at_even_times_with_one_label_in_ten_left_out() -> None:
    (picture,) = z = torch.randn(1, 4, 2, 2, generator=seeded(0))
    told = {}

    class Right(nn.Module):
        """What leads every point straight to the one picture that there is."""

        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            told.update(t=t, y=y)
            return (picture - x) / (1 - t).view(-1, 1, 1, 1)

    flow = recipes.flow_loss(z, torch.tensor([3]), num_classes=7, batch=2000)
    assert flow(Right(), seeded(1)) < 1e-5
    assert (told["t"] * 2000).floor().tolist() == list(range(2000))
    assert sorted(set(told["y"].tolist())) == [3, 7]
    assert 150 < (told["y"] == 7).sum() < 250


def test_high_noise_weighs_more_for_a_video_and_never_less_than_before() -> None:
    z, labels, schedule = torch.zeros(4, 2, 4, 4, 4), torch.zeros(4, dtype=torch.long), Schedule.linear(1e-4, 0.02, 1000)

    class Nothing(nn.Module):
        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return torch.zeros_like(x)

    plain, lifted = (diffusion_loss(z, labels, schedule, False, 1, batch=4, lift=lift)(Nothing(), seeded(0)) for lift in (1.0, 100.0))
    assert 10 * plain < lifted < 100 * plain


def test_training_is_the_same_twice_and_goes_down(tmp_path: Path) -> None:
    one, two, other = (fit(Small(), loss, PLAN, tmp_path / f"{k}.safetensors", seed) for k, seed in ((1, 5), (2, 5), (3, 6)))
    assert same(one, two)
    assert not same(one, other)
    assert loss(one, seeded(99)) < loss(Small(), seeded(99))
    assert load_file(tmp_path / "1.safetensors")["shift"].dtype == torch.bfloat16


@pytest.mark.parametrize("stop", [1, 7, 11])
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path: Path, stop: int) -> None:
    whole = fit(Small(), loss, PLAN, tmp_path / "whole.safetensors", seed=2)
    steps = iter(range(PLAN.steps))

    def interrupted(model: nn.Module, generator: torch.Generator) -> Tensor:
        if next(steps) == stop:
            raise KeyboardInterrupt
        return loss(model, generator)

    path = tmp_path / "parts.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(Small(), interrupted, PLAN, path, seed=2)
    assert torch.load(path.with_suffix(".resume.pt"))["step"] == stop
    assert same(whole, fit(Small(), loss, PLAN, path, seed=2))
    assert not path.with_suffix(".resume.pt").exists()


SPOILT = {
    "a loss that is no number": lambda value, model, spoil: value * spoil,
    "a loss without end": lambda value, model, spoil: value + spoil.nan_to_num(torch.inf) * model.shift.square().sum().exp(),
    "a gradient alone": lambda value, model, spoil: value + (0 * model.shift + spoil.isfinite()).sqrt().sum(),
}
"""Ways in which a step goes wrong while a number on the model's device is NaN."""


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
@pytest.mark.parametrize("wrong", [0, 6])
@pytest.mark.parametrize("spoilt", SPOILT.values(), ids=SPOILT)
def test_a_step_whose_gradient_is_not_finite_leaves_the_weights_as_they_were_and_the_next_ones_go_on(
    spoilt: Callable[[Tensor, Small, Tensor], Tensor], wrong: int, device: str
) -> None:
    spoil = torch.ones((), device=device)
    training = Training(Small().to(device), lambda model, generator: spoilt(loss(model, generator), model, spoil), PLAN, 0)
    for step in range(PLAN.steps):
        spoil.fill_(torch.nan if step == wrong else 1)
        before, told = deepcopy(training.model), training.smooth.item()
        wait(device)
        training.advance()
        wait(device)
        assert same(training.model, before) == (step == wrong)
        assert all(value.isfinite().all() for model in (training.model, training.average) for value in model.parameters())
        assert training.smooth.isfinite()
        assert (training.smooth.item() == told) == (step == wrong)
    assert loss(training.model.cpu(), seeded(99)) < loss(Small(), seeded(99))


@ON_GPU
def test_steps_that_are_recorded_as_a_graph_are_those_that_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, found = replace(PLAN, rate=0.1, matrix_rate=0.1), []
    for eager in (trainer.EAGER, plan.steps):
        monkeypatch.setattr(trainer, "EAGER", eager)
        training = Training(Small().cuda(), loss, plan, 3)
        for _ in range(plan.steps):
            training.advance()
        wait("cuda")
        assert (training.graph is None) == (eager == plan.steps)
        found.append([flat(model) for model in (training.model, training.average)])
    for recorded, eager in zip(*found, strict=True):
        assert (recorded - eager).norm() < 0.01 * (eager - flat(Small())).norm()


def test_a_state_of_another_plan_is_not_gone_on_with(says, tmp_path: Path) -> None:
    torch.save({"plan": {}}, tmp_path / "a.resume.pt")
    with says(CheckpointError, "a.resume.pt", "another plan", "remove it"):
        fit(Small(), loss, PLAN, tmp_path / "a.safetensors")


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    model = Small()
    model.shift.requires_grad_(False)
    assert fit(model, loss, PLAN, tmp_path / "a.safetensors").shift.item() == 0


def test_a_video_model_begins_with_the_blocks_of_the_model_of_pictures() -> None:
    dit, latte = (first(cards()[name], RECIPES[name]) for name in ("tiny-dit", "tiny-latte"))
    known = load_file(weights_path("tiny-dit"))
    assert torch.equal(latte.blocks[3].mlp.fc1.weight, known["blocks.3.mlp.fc1.weight"].float())
    assert not torch.equal(dit.blocks[3].mlp.fc1.weight, known["blocks.3.mlp.fc1.weight"].float())
    own, vectors = latte.y_embedder.embedding_table.weight, known["y_embedder.embedding_table.weight"].float()
    assert own.shape == (97, 192)
    for label, thing in (("rocket flies up", "rocket"), ("rocket spins", "rocket"), ("soccer ball rolls left", "soccer ball")):
        assert torch.equal(own[clips.LABELS.index(label)], vectors[list(emoji.CLASSES).index(thing)])
    assert torch.equal(own[96], vectors[100])  # no label


def test_every_bundled_model_has_its_recipe() -> None:
    assert {recipe.card or name for name, recipe in RECIPES.items()} == {
        card.id for card in cards().values() if card.weights[0].origin == "bundled"
    }
    assert all(weights_path(name).is_file() for name in RECIPES if not RECIPES[name].card)
