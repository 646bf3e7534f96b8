"""Training a bundled model again leaves the hub as it is until weights and card change together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from zoo.catalog.card import CARDS, cards, parse
from zoo.catalog.checkpoint import load_into
from zoo.catalog.store import WEIGHTS, sha256
from zoo.engine.verify import fingerprint, load_module
from zoo.errors import CheckpointError
from zoo.networks.build import build_module
from zoo.training import __main__ as command
from zoo.training.install import install
from zoo.training.trainer import write_weights

CARD = cards()["tiny-vit"]


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Other weights of the same model, and copies of the bundled ones and of their card."""
    module = build_module(CARD)
    load_into(module, WEIGHTS / "tiny-vit.safetensors")
    with torch.no_grad():
        next(module.parameters()).mul_(1.5)
    write_weights(module, tmp_path / "own" / "tiny-vit.safetensors")
    for source in (WEIGHTS / "tiny-vit.safetensors", CARDS / "tiny-vit.md"):
        shutil.copyfile(source, tmp_path / source.name)
    return tmp_path / "own" / "tiny-vit.safetensors", tmp_path / "tiny-vit.safetensors", tmp_path / "tiny-vit.md"


def test_weights_and_what_the_card_says_of_them_change_together(places: tuple[Path, Path, Path]) -> None:
    trained, weights, page = places
    install(CARD, trained, weights, page)
    card = parse("tiny-vit", page.read_text(encoding="utf-8"))
    assert card.weights[0].sha256 == sha256(weights) == sha256(trained) != CARD.weights[0].sha256
    assert card.bytes == weights.stat().st_size
    assert card.fingerprint == pytest.approx(fingerprint(card, load_module(card, [weights])[0]), rel=1e-4)
    assert card.prose == CARD.prose
    assert sorted(path.name for path in weights.parent.iterdir()) == ["own", "tiny-vit.md", "tiny-vit.safetensors"]


def test_weights_of_another_model_change_neither(places: tuple[Path, Path, Path]) -> None:
    _, weights, page = places
    before = weights.read_bytes(), page.read_bytes()
    with pytest.raises(CheckpointError):
        install(CARD, WEIGHTS / "tiny-swin.safetensors", weights, page)
    assert (weights.read_bytes(), page.read_bytes()) == before


def test_a_training_that_is_interrupted_leaves_the_bundled_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in (WEIGHTS / "tiny-vit.safetensors", CARDS / "tiny-vit.md")}

    def interrupted(model: torch.nn.Module, step: int) -> torch.Tensor:
        if step == 1:
            raise KeyboardInterrupt
        return next(model.parameters()).square().sum()

    monkeypatch.setenv("PATCHWORK_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["zoo.training", "tiny-vit"])
    monkeypatch.setattr(command, "loss_for", lambda *_: interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.main()
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in (tmp_path / "training").iterdir()} == {"tiny-vit.safetensors", "tiny-vit.resume.pt"}
