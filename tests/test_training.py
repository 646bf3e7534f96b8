"""How the bundled models are made: the same data and weights from the same seed, also after an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.card import cards
from zoo.errors import CheckpointError
from zoo.training import shapes
from zoo.training.recipes import RECIPES, pictures, weights_path
from zoo.training.trainer import Plan, fit

PLAN = Plan(steps=12, rate=1e-2, matrix_rate=1e-2, ema=0.9)


class Small(nn.Module):
    """A model with matrices in blocks, for Muon, and a bias outside of them, for AdamW."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x) + self.shift


def loss(model: nn.Module, step: int) -> Tensor:
    x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return (model(x)[:, 0] - x.prod(-1) - 1).square().mean()


def test_the_data_are_the_same_for_the_same_seed_and_differ_for_another() -> None:
    one, labels = shapes.batch(20, seed=1, index=3)
    assert torch.equal(one, shapes.batch(20, 1, 3)[0])
    assert torch.equal(labels, shapes.batch(20, 1, 3)[1])
    assert not torch.equal(one, shapes.batch(20, 2, 3)[0])
    assert one.shape == (20, 3, 64, 64)
    assert one.abs().max() <= 1
    assert pictures(5, 1)[0].dtype == torch.uint8


def test_every_class_is_drawn_as_something_else() -> None:
    drawn = torch.stack([shapes.render(torch.tensor([k]), torch.Generator().manual_seed(0))[0] for k in range(10)])
    away = torch.cdist(drawn.flatten(1), drawn.flatten(1)) + torch.eye(10) * 1e9
    assert away.min() > 5


def test_training_is_the_same_twice_and_goes_down(tmp_path: Path) -> None:
    one, two = (fit(Small(), loss, PLAN, tmp_path / f"{k}.safetensors") for k in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert loss(one, 99) < loss(Small(), 99)
    assert load_file(tmp_path / "1.safetensors")["shift"].dtype == torch.bfloat16


@pytest.mark.parametrize("stop", [1, 7, 11])
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path: Path, stop: int) -> None:
    whole = fit(Small(), loss, PLAN, tmp_path / "whole.safetensors")

    def interrupted(model: nn.Module, step: int) -> Tensor:
        if step == stop:
            raise KeyboardInterrupt
        return loss(model, step)

    path = tmp_path / "parts.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(Small(), interrupted, PLAN, path)
    assert path.with_suffix(".resume.pt").exists()
    parts = fit(Small(), loss, PLAN, path)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
    assert not path.with_suffix(".resume.pt").exists()


def test_a_state_of_another_plan_is_not_gone_on_with(says, tmp_path: Path) -> None:
    torch.save({"plan": {}}, tmp_path / "a.resume.pt")
    with says(CheckpointError, "a.resume.pt", "another plan", "remove it"):
        fit(Small(), loss, PLAN, tmp_path / "a.safetensors")


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    model = Small()
    model.shift.requires_grad_(False)
    assert fit(model, loss, PLAN, tmp_path / "a.safetensors").shift.item() == 0


def test_every_bundled_model_has_its_recipe() -> None:
    assert {recipe.card or name for name, recipe in RECIPES.items()} == {
        card.id for card in cards().values() if card.weights[0].origin == "bundled"
    }
    assert all(weights_path(name).is_file() for name in RECIPES if not RECIPES[name].card)
