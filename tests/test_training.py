"""How the bundled models are made: the same data and weights from the same seed, also after an interruption."""

from __future__ import annotations

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
from zoo.training import clips, emoji, recipes
from zoo.training.__main__ import first, loss_for, trained
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


def test_every_loss_depends_on_the_step_alone_and_reaches_what_is_trained(shipped_drawings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "POOL", 16)
    monkeypatch.setattr(recipes, "VIDEOS", 32)
    vae, judge, film = (trained(cards()[name]) for name in ("tiny-vae", "tiny-vit", "tiny-vivit"))
    losses = [
        (vae, recipes.autoencoder_loss(0, 2)), (vae, recipes.decoder_loss(vae, 0, 2)), (judge, recipes.classifier_loss(0, 4)),
        (film, recipes.video_classifier_loss(0, 2)),
    ]  # fmt: skip
    generators = [cards()["tiny-dit"], cards()["tiny-latte"]]
    losses += [(trained(card), loss_for(card, replace(RECIPES[card.id], batch=2))) for card in generators]
    for model, loss in losses:
        torch.manual_seed(1)
        one = loss(model, 5)
        torch.manual_seed(2)
        assert torch.equal(one, loss(model, 5))
        assert not torch.equal(one, loss(model, 6))
        one.backward()
        found = [value.grad for value in model.parameters() if value.grad is not None]
        assert all(gradient.isfinite().all() for gradient in found)
        assert max(gradient.abs().max() for gradient in found) > 0


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
    assert latte.y_embedder.embedding_table.weight.shape == (97, 192)  # its own classes, at random


def test_every_bundled_model_has_its_recipe() -> None:
    assert {recipe.card or name for name, recipe in RECIPES.items()} == {
        card.id for card in cards().values() if card.weights[0].origin == "bundled"
    }
    assert all(weights_path(name).is_file() for name in RECIPES if not RECIPES[name].card)
