"""Cards: the bundled ones are true of their files, and a wrong one is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.catalog.card import Card, cards, parse
from zoo.catalog.store import WEIGHTS, sha256
from zoo.errors import CardError
from zoo.networks.build import build_module

GOOD = """---
license: mit
zoo:
  title: a model
  family: dit
  task: class-to-image
  arch: {input_size: 4, num_classes: 100}
  schedule: {kind: linear, start: 0.0001, end: 0.02, steps: 1000}
  sampling: {solver: ddim, steps: 50}
  labels: emoji
  weights:
    - {from: bundled, file: a.safetensors}
---

Prose.
"""
BUNDLED = [card for card in cards().values() if card.weights[0].origin == "bundled"]


@pytest.mark.parametrize("card", BUNDLED, ids=lambda card: card.id)
def test_a_bundled_card_is_true_of_its_file(card: Card) -> None:
    source = card.weights[0]
    path = WEIGHTS / source.file
    assert (path.stat().st_size, sha256(path)) == (source.bytes, source.sha256)
    assert sum(parameter.numel() for parameter in build_module(card).parameters()) == card.cost.params
    assert card.cost.gmacs > 0
    assert card.licence == "apache-2.0"


@pytest.mark.parametrize("card", BUNDLED, ids=lambda card: card.id)
def test_a_bundled_card_says_how_good_it_is_and_how_it_was_made(card: Card) -> None:
    assert card.measured
    assert f"python -m zoo.training {card.id}" in card.prose
    assert "seed 0" in card.prose
    for name, figure in card.measured.items():
        shown = {"psnr_db": f"{figure:.2f} dB", "flicker_ratio": f"{figure:.2f} times"}.get(name, f"{100 * figure:.1f}")
        assert shown in card.prose or f"{100 * figure:.2f} %" in card.prose, shown


def test_generators_stand_first_and_every_file_of_weights_has_a_card() -> None:
    assert [card.generates for card in cards().values()] == sorted((card.generates for card in cards().values()), reverse=True)
    assert {path.name for path in WEIGHTS.glob("*.safetensors")} == {card.weights[0].file for card in BUNDLED}


def test_a_good_card_parses() -> None:
    card = parse("good", GOOD)
    assert (card.id, card.licence, card.sampling.steps, card.label_names[4], card.prose) == ("good", "mit", 50, "panda", "Prose.")
    assert card.revision != parse("good", GOOD + "More.").revision


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("---\nlicense", "license", ["front matter"]),
        ("{kind: linear, start", "{kind: linear, [start", ["not YAML"]),
        ("zoo:", "zoo: [", ["not YAML"]),
        ("  title: a model\n", "", ["`title`"]),
        ("  labels: emoji", "  lables: emoji", ["'lables'", "labels"]),
        ("task: class-to-image", "task: dreaming", ["'dreaming'", "class-to-image"]),
        ("  sampling: {solver: ddim, steps: 50}\n", "", ["`sampling`"]),
        ("kind: linear", "kind: cosine", ["schedule", "scaled-linear"]),
        (", end: 0.02", "", ["schedule"]),
        ("num_classes: 100", "num_classes: 11", ["100 labels", "11 classes"]),
        ("labels: emoji", "labels: ../emoji", ["../emoji"]),
        ("labels: emoji", "labels: nothing", ["nothing"]),
        ("file: a.safetensors", "file: ../a.safetensors", ["../a.safetensors", "plain name"]),
        ("file: a.safetensors", "fiel: a.safetensors", ["fiel"]),
        ("{solver: ddim, steps: 50}", "{solver: ddim, stepps: 50}", ["stepps"]),
        ("    - {from: bundled, file: a.safetensors}", "    - a.safetensors", ["weights"]),
        ("\n    - {from: bundled, file: a.safetensors}", " []", ["`weights`", "at least one source"]),
        ("\n    - {from: bundled, file: a.safetensors}", " 7", ["`weights`", "list"]),
        ("file: a.safetensors", "file: ..", ["'..'", "plain name"]),
        ("{from: bundled, file: a.safetensors}", "{from: ftp, file: a.pt}", ["'ftp'", "huggingface"]),
        ("{from: bundled, file: a.safetensors}", "{from: huggingface, file: a.pt}", ["needs `repo`"]),
        ("{from: bundled, file: a.safetensors}", "{from: huggingface, repo: ../etc, file: a.pt}", ["'../etc'", "owner/name"]),
        ("{from: bundled, file: a.safetensors}", "{from: huggingface, repo: a/b, file: ../../x}", ["'../../x'", "folder/name"]),
        ("{from: bundled, file: a.safetensors}", "{from: modelscope, repo: a/b, file: /etc/passwd}", ["'/etc/passwd'"]),
        ("{from: bundled, file: a.safetensors}", "{from: huggingface, repo: a/b, file: a.pt, also: [../x]}", ["'../x'"]),
        ("{from: bundled, file: a.safetensors}", "{from: huggingface, repo: a/b, file: a.pt, revision: ../x}", ["'../x'", "revision"]),
        (
            "{from: bundled, file: a.safetensors}",
            "{from: url, url: 'file:///etc/passwd', file: a.pt}",
            ["'file:///etc/passwd'", "https://"],
        ),
        ("{from: bundled, file: a.safetensors}", "{from: url, url: 'http://example.org/a.pt', file: a.pt}", ["https://"]),
        ("file: a.safetensors}", "file: a.safetensors, sha256: abc}", ["'abc'", "64 hex"]),
        ("file: a.safetensors}", "file: a.safetensors, bytes: many}", ["'many'", "whole number"]),
        ("{input_size: 4, num_classes: 100}", "{input_size: 4, num_classes: 100, in_channels: 4}", ["in_channels", "latent"]),
        ("  labels: emoji", "  labels: emoji\n  presets: {paper: {solver: ddim, step: 3}}", ["step"]),
        ("license: mit", "license: mit\nmodel-index: 7", ["model-index"]),
        ("file: a.safetensors", "file: 7", ["plain name"]),
        ("task: class-to-image", "task: [dreaming]", ["`task`", "text"]),
        ("arch: {input_size: 4, num_classes: 100}", "arch: 4", ["`arch`", "mapping"]),
        ("labels: emoji", "labels: 5", ["`labels`", "text"]),
        ("{solver: ddim, steps: 50}", "fifty", ["`sampling`", "mapping"]),
        ("  labels: emoji", "  guidance: 4\n  labels: emoji", ["`guidance`", "mapping"]),
        ("{kind: linear, start: 0.0001, end: 0.02, steps: 1000}", "linear", ["`schedule`", "mapping"]),
        ("kind: linear", "kind: [linear]", ["schedule", "scaled-linear"]),
        ("start: 0.0001", "start: 1e-4", ["`start`", "schedule", "'1e-4'"]),
        ("  labels: emoji", "  7: seven\n  lables: emoji", ["unknown key 7"]),
    ],
)
def test_a_malformed_card_is_refused_with_its_name_and_the_fault(says, old: str, new: str, words: list[str]) -> None:
    assert old in GOOD
    with says(CardError, "Card bad: ", *words):
        parse("bad", GOOD.replace(old, new, 1))


def test_every_card_stands_in_the_folder_of_cards() -> None:
    folder = Path(__file__).parent.parent / "model_cards"
    assert {path.stem for path in folder.glob("*.md")} == set(cards())
