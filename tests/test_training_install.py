"""Training a bundled model again leaves the hub as it is until weights and card change together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

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


KILLED = """
import hashlib, os, pathlib, shutil, signal, sys
import torch
from zoo.catalog.card import cards
from zoo.engine.verify import fingerprint, load_module
from zoo.training.install import install

trained, weights, page = map(pathlib.Path, sys.argv[1:])
old, text = weights.read_bytes(), page.read_text(encoding="utf-8")
card, step = cards()["tiny-vit"], 0
torch.set_num_threads(1)
fingerprint(card, load_module(card, [trained])[0])  # what it imports is there, then, before each fork
while True:
    weights.write_bytes(old), page.write_text(text, encoding="utf-8")
    for _ in range(2):  # the second comes upon what the first left
        if not (child := os.fork()):
            count = iter(range(step, -1, -1))
            def dying(work):
                def do(*arguments, **words):
                    if next(count) == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    result = work(*arguments, **words)
                    if next(count) == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return result
                return do
            os.replace, shutil.copyfile = dying(os.replace), dying(shutil.copyfile)
            pathlib.Path.unlink, pathlib.Path.write_text = dying(pathlib.Path.unlink), dying(pathlib.Path.write_text)
            install(card, trained, weights, page)
            os._exit(0)
        over = os.waitpid(child, 0)[1] == 0
        said = page.read_text(encoding="utf-8")
        name = said.partition("      file: ")[2].partition(chr(10))[0]
        print(step, said.partition("sha256: ")[2][:64], hashlib.sha256((weights.parent / name).read_bytes()).hexdigest(), flush=True)
    if over:
        break
    step += 1
"""
"""Installs again and again, each time killed one step later."""


def test_killed_at_any_moment_it_leaves_a_card_and_the_weights_that_it_names(places: tuple[Path, Path, Path], tmp_path: Path) -> None:
    trained, weights, page = places
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, places)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    steps = [line.split() for line in done.stdout.splitlines()]
    assert int(steps[-1][0]) >= 14  # moments at which it was killed
    assert {(named, there) for _, named, there in steps} == {(CARD.weights[0].sha256,) * 2, (sha256(trained),) * 2}
    install(CARD, trained, weights, page)
    assert parse("tiny-vit", page.read_text(encoding="utf-8")).weights[0].file == "tiny-vit.safetensors"
    assert sha256(weights) == sha256(trained)
    assert {path.name for path in tmp_path.glob("tiny-vit*")} == {"tiny-vit.safetensors", "tiny-vit.md"}


def test_weights_of_another_model_change_neither(places: tuple[Path, Path, Path]) -> None:
    _, weights, page = places
    before = weights.read_bytes(), page.read_bytes()
    with pytest.raises(CheckpointError):
        install(CARD, WEIGHTS / "tiny-swin.safetensors", weights, page)
    assert (weights.read_bytes(), page.read_bytes()) == before


def test_a_training_that_is_interrupted_leaves_the_bundled_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in (WEIGHTS / "tiny-vit.safetensors", CARDS / "tiny-vit.md")}

    steps = iter(range(2))

    def interrupted(model: torch.nn.Module, _: torch.Generator) -> torch.Tensor:
        if next(steps) == 1:
            raise KeyboardInterrupt
        return next(model.parameters()).square().sum()

    monkeypatch.setenv("PATCHWORK_CACHE", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["zoo.training", "tiny-vit"])
    monkeypatch.setattr(command, "loss_for", lambda *_: interrupted)
    with pytest.raises(KeyboardInterrupt):
        command.main()
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in (tmp_path / "training").iterdir()} == {"tiny-vit.safetensors", "tiny-vit.resume.pt"}


def test_a_folder_that_cannot_be_written_is_said_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    environment = os.environ | {"PATCHWORK_CACHE": str(tmp_path / "file" / "below")}
    for more, place in (((), tmp_path / "file" / "below" / "training"), (("--sheet", "/nowhere/a.png"), "/nowhere/a.png")):
        command = [sys.executable, "-m", "zoo.training", "tiny-vit", *more]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert done.stderr.startswith("training: ")
        assert str(place) in done.stderr
        assert done.stderr.count("\n") == 1
