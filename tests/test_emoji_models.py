"""The models on emoji: they begin from the newest weights, know a hundred classes, and are measured on what was never trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zoo.training import emoji, emoji_models
from zoo.training.emoji_models import (
    BEGUN,
    RECIPES,
    SCALE,
    autoencoder_loss,
    card_of,
    classifier_loss,
    decoder_loss,
    drawn,
    first,
    measured,
    pictures,
    trained,
    where,
)
from zoo.training.recipes import weights_path
from zoo.training.trainer import write_weights


@pytest.fixture(autouse=True)
def discs(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Instead of every drawing a disc, redder from class to class; and few of them."""
    axis = torch.linspace(-1, 1, 16)
    made = torch.zeros(len(emoji.CLASSES), 6, 4, 16, 16, dtype=torch.uint8)
    made[:, :, 3] = 255 * (axis.square() + axis[:, None].square() < 1)
    made[:, :, 0] = 2 * torch.arange(100, dtype=torch.uint8)[:, None, None, None]
    monkeypatch.setattr(emoji, "drawings", lambda _: made)
    monkeypatch.setattr(emoji_models, "POOL", 16)
    monkeypatch.setattr(emoji_models, "HELD_OUT", 16)
    return made


@pytest.mark.parametrize("path", sorted(BEGUN.glob("*.safetensors")), ids=lambda path: path.stem)
def test_what_was_begun_is_a_model_of_the_card_and_small(path: Path) -> None:
    name = path.stem
    assert name in {recipe.model or key for key, recipe in RECIPES.items()}
    assert path.stat().st_size < 10_000_000
    assert {value.dtype for value in load_file(path).values()} == {torch.bfloat16}
    assert next(trained(name, Path("nowhere")).parameters()).isfinite().all()


def test_a_training_begins_with_its_own_weights_then_those_begun_then_those_that_ship(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(emoji_models, "BEGUN", tmp_path / "begun")
    (tmp_path / "begun").mkdir()
    assert where("tiny-dit", tmp_path) == weights_path("tiny-dit")
    for folder in (tmp_path / "begun", tmp_path):
        save_file({"x": torch.zeros(1)}, folder / "tiny-dit.safetensors")
        assert where("tiny-dit", tmp_path) == folder / "tiny-dit.safetensors"


def test_the_shapes_of_before_are_kept_and_the_classes_begin_anew(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(emoji_models, "BEGUN", tmp_path)
    model, before = first("tiny-dit", RECIPES["tiny-dit"], tmp_path), load_file(weights_path("tiny-dit"))
    assert torch.equal(model.blocks[3].mlp.fc1.weight, before["blocks.3.mlp.fc1.weight"].float())
    assert model.y_embedder.embedding_table.weight.shape == (101, 192)
    assert card_of("tiny-dit").latent.scale == SCALE


def test_held_out_pictures_are_others_and_whole_batches_do_not_matter() -> None:
    few, labels = pictures(3, 1)
    assert torch.equal(few, pictures(300, 1)[0][:3])
    assert torch.equal(labels, pictures(300, 1)[1][:3])
    assert not torch.equal(few, pictures(3, 2)[0])
    assert (few.dtype, few.shape) == (torch.uint8, (3, 3, 64, 64))


def test_every_loss_depends_on_the_step_alone_and_reaches_what_is_trained() -> None:
    vae = trained("tiny-vae", Path("nowhere"))
    judge = trained("tiny-vit", Path("nowhere"))
    for model, loss in ((vae, autoencoder_loss(0, 2)), (vae, decoder_loss(vae, 0, 2)), (judge, classifier_loss(0, 4))):
        torch.manual_seed(1)
        one = loss(model, 5)
        torch.manual_seed(2)
        assert torch.equal(one, loss(model, 5))
        assert not torch.equal(one, loss(model, 6))
        one.backward()
        assert [name for name, value in model.named_parameters() if value.grad is not None and not value.grad.isfinite().all()] == []
        assert max(value.grad.abs().max() for value in model.parameters() if value.grad is not None) > 0


def test_samples_are_one_a_label_and_measured_as_shares(tmp_path: Path) -> None:
    write_weights(first("tiny-dit", RECIPES["tiny-dit"], tmp_path), tmp_path / "tiny-dit.safetensors")
    x = drawn("tiny-dit", tmp_path, torch.tensor([0, 99]), 2.0, steps=2)
    assert x.shape == (2, 3, 64, 64)
    assert x.isfinite().all()
    assert measured("tiny-vae", Path("nowhere"), 2, 2.0)["psnr_db"] > 10
    found = measured("tiny-vit", Path("nowhere"), 2, 2.0)
    assert 0 <= found["worst_class"] <= found["all"] <= 1
