"""How the bundled models are made: the same data and weights from the same seed, also after an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.catalog.card import cards
from zoo.errors import CheckpointError
from zoo.sampling import Schedule
from zoo.training import motions, shapes
from zoo.training.__main__ import first
from zoo.training.recipes import RECIPES, diffusion_loss, pictures, videos, weights_path
from zoo.training.trainer import Plan, fit

ROOT = Path(__file__).parent.parent
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


def test_every_motion_moves_as_it_is_called() -> None:
    assert tuple((ROOT / "zoo" / "catalog" / "data" / "motions.txt").read_text().splitlines()) == motions.MOTIONS
    frames = motions.render(torch.arange(8), torch.zeros(8, dtype=torch.long), torch.Generator().manual_seed(0))
    assert frames.shape == (8, 16, 3, 64, 64)
    assert frames.abs().max() <= 1
    object_ = (frames - frames[:, :, :, :1, :1]).abs().amax(2) > 0.5  # unlike the ground in the corner: (8, 16, 64, 64)
    axis = torch.arange(64.0)
    size = object_.flatten(2).sum(-1)
    x, y = (object_.float() * axis).sum((2, 3)) / size, -(object_.float() * axis[:, None]).sum((2, 3)) / size
    right, left, up, down, grown, shrunk, jump, swing = ((x, y, size)[k][index] for index, k in enumerate((0, 0, 1, 1, 2, 2, 1, 0)))
    assert [round(float(way[-1] - way[0])) for way in (right, left, up, down)] == [12, -12, 12, -12]
    assert grown[-1] > 4 * grown[0]
    assert shrunk[0] > 4 * shrunk[-1]
    assert jump[7] - jump[0] > 12
    assert abs(jump[-1] - jump[0]) < 1
    assert swing[4] - swing[0] > 7
    assert swing[0] - swing[11] > 7


def test_videos_are_the_same_for_the_same_seed_and_differ_for_another() -> None:
    one, labels = videos(3, 1)
    assert torch.equal(one, videos(40, 1)[0][:3])
    assert not torch.equal(one, videos(3, 2)[0])
    assert (one.dtype, one.shape, labels.shape) == (torch.uint8, (3, 16, 3, 64, 64), (3,))


def test_high_noise_weighs_more_for_a_video_and_never_less_than_before() -> None:
    z, labels, schedule = torch.zeros(4, 2, 4, 4, 4), torch.zeros(4, dtype=torch.long), Schedule.linear(1e-4, 0.02, 1000)

    class Nothing(nn.Module):
        def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            return torch.zeros_like(x)

    plain, lifted = (diffusion_loss(z, labels, schedule, False, 1, 0, batch=4, lift=lift)(Nothing(), 0) for lift in (1.0, 100.0))
    assert 10 * plain < lifted < 100 * plain


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


def test_a_video_model_begins_with_the_blocks_of_the_model_of_pictures() -> None:
    dit, latte = (first(cards()[name], RECIPES[name]) for name in ("tiny-dit", "tiny-latte"))
    known = load_file(weights_path("tiny-dit"))
    assert torch.equal(latte.blocks[3].mlp.fc1.weight, known["blocks.3.mlp.fc1.weight"].float())
    assert not torch.equal(dit.blocks[3].mlp.fc1.weight, known["blocks.3.mlp.fc1.weight"].float())
    assert latte.y_embedder.embedding_table.weight.shape == (9, 192)  # its own classes, at random


def test_every_bundled_model_has_its_recipe() -> None:
    assert {recipe.card or name for name, recipe in RECIPES.items()} == {
        card.id for card in cards().values() if card.weights[0].origin == "bundled"
    }
    assert all(weights_path(name).is_file() for name in RECIPES if not RECIPES[name].card)
