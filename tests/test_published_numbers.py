"""Numbers that others recorded with the published weights: on their cards, compared by verify, and seen on the Models tab."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_look import ARCHES, card_words, random_module
from torch import nn

from zoo.__main__ import main
from zoo.catalog.card import Card, cards
from zoo.engine.hub import Hub
from zoo.engine.published_numbers import verified
from zoo.engine.verify import admit, verify
from zoo.errors import CardError, CheckpointError, MediaError, RequestError, ZooError
from zoo.networks.build import build_module
from zoo.networks.preparation import prepare

CATS = "COCO val2017 000000039769"
OWN_SHAPES = {"dino-s-8": (1, 3601, 384), "clip-b-32-text": (1, 77, 512)}
SHAPES = {
    "logits": (1, 1000), "last_hidden_state": (1, 197, 768), "sample": (3, 3, 512, 512), "tokens": (15,),
    "pooler_output": (1, 768),
}  # fmt: skip
"""Of what was recorded with the published weights."""
RECORDED = {
    "vit-b-16": {"constant": 6, "picture": 3}, "deit-b-16-distilled": {"constant": 6, "picture": 3}, "swin-t": {"picture": 3},
    "dinov2-b-14": {"picture": 9}, "dinov2-b-14-registers": {"picture": 9}, "vivit-b-16x2": {"clip": 5}, "autoencoder-kl": {"latents": 16},
    "t5-v1-1-xxl": {"text": 15}, "clip-b-32-vision": {"constant": 12}, "clip-b-32-text": {"text": 9},
    "dino-s-8": {"picture": 9},
}  # fmt: skip
"""How many numbers are known of each card, by their input."""


def test_what_others_recorded_stands_on_its_card() -> None:
    counts: dict[str, dict[str, int]] = {}
    for card in cards().values():
        for entry in card.expected:
            name, index = entry.place
            assert torch.zeros(OWN_SHAPES.get(card.id, SHAPES[name]))[index].numel() == len(entry.numbers), (card.id, entry.output)
            kinds = counts.setdefault(card.id, {})
            kinds[entry.kind] = kinds.get(entry.kind, 0) + len(entry.numbers)
            assert entry.kind != "picture" or entry.given == CATS
    assert counts == RECORDED
    assert len({entry.key for card in cards().values() for entry in card.expected}) == 17


# ---- stand-ins: random weights, and the numbers that transformers' and diffusers' own classes make of them


def recorded(given: dict, output: str, numbers: torch.Tensor | list, **more: object) -> dict:
    return {"input": given, "output": output, "numbers": [float(n) for n in numbers], "source": "somebody", "tolerance": 1e-5} | more


@pytest.fixture
def stand_in(hub_with: Callable[..., Hub], tmp_path: Path) -> Callable[..., tuple[Hub, Card]]:
    """stand_in(words, module, entries): a hub with these weights imported for a card that expects these numbers of them."""

    def build(words: dict, module: nn.Module, entries: list[dict]) -> tuple[Hub, Card]:
        hub = hub_with({"mine": words | {"expected": entries}})
        torch.save(module.state_dict(), tmp_path / "w.pt")
        admit(hub.store, hub.card("mine"), [tmp_path / "w.pt"])
        return hub, hub.card("mine")

    return build


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    """A picture that is not square."""
    generator = np.random.default_rng(3)
    Image.fromarray(generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / "any name.png")
    return tmp_path / "any name.png"


def inner(module: nn.Module) -> nn.Module:
    """The network of transformers below a head."""
    return next((getattr(module, name) for name in ("vit", "deit", "swin", "vivit") if hasattr(module, name)), module)


@torch.no_grad()
@pytest.mark.parametrize("family", ARCHES)
def test_a_stand_in_of_every_family_is_verified_without_any_file(family: str, stand_in: Callable) -> None:
    module = random_module(family)
    x = torch.full((1, *[4] * (family == "vivit"), 3, 32, 32), 0.5)
    hidden = inner(module)(x).last_hidden_state
    entries = [recorded({"constant": 0.5}, "last_hidden_state[0, 1:3, :3]", hidden[0, 1:3, :3].flatten())]
    if ARCHES[family]["num_classes"]:
        entries.append(recorded({"constant": 0.5}, "logits[0, :3]", module(x).logits[0, :3]))
    hub, card = stand_in(card_words(family), module, entries)
    assert verified(hub.store, card) == 0
    *_, words = verify(hub.store, card)
    count = 6 + 3 * (len(entries) - 1)
    assert words.startswith(f"published numbers: verified against {count}, the farthest")
    assert "\n" not in words
    assert "last_hidden_state[0, 1:3, :3] of a constant input of 0.5" in words
    assert verified(hub.store, card) == count


@torch.no_grad()
@pytest.mark.parametrize(("place", "change"), [(0, 0.001), (2, -3.0), (1, 0.00005)])
def test_other_numbers_are_refused_with_both(place: int, change: float, stand_in: Callable, says: Callable) -> None:
    module = random_module("vit")
    right = module(torch.full((1, 3, 32, 32), 0.5)).logits[0, :3]
    wrong = right.clone()
    wrong[place] += change
    hub, card = stand_in(card_words("vit"), module, [recorded({"constant": 0.5}, "logits[0, :3]", wrong)])
    with says(
        CheckpointError, "mine computes", f"{right[0]:.4f}", f"{wrong[0]:.4f}", "somebody", f"{abs(change):.1e} apart", "other weights"
    ):
        list(verify(hub.store, card))
    assert verified(hub.store, card) == 0


@torch.no_grad()
def test_proof_ends_when_other_weights_arrive_or_numbers_no_longer_hold(stand_in: Callable, says: Callable, tmp_path: Path) -> None:
    module = random_module("vit")
    entry = recorded({"constant": 0.5}, "logits[0, :3]", module(torch.full((1, 3, 32, 32), 0.5)).logits[0, :3])
    hub, card = stand_in(card_words("vit"), module, [entry])
    list(verify(hub.store, card))
    assert verified(hub.store, card) == 3
    pin = hub.store.pin(card.id)
    torch.save({key: value * 1.1 for key, value in module.state_dict().items()}, tmp_path / "w.pt")
    admit(hub.store, card, [tmp_path / "w.pt"])
    assert verified(hub.store, card) == 0
    hub.store.note(card.id, hub.store.pin(card.id) | {"verified": pin["verified"]})
    with says(CheckpointError, "mine computes"):
        list(verify(hub.store, card))
    assert verified(hub.store, card) == 0
    for damage in (None, 7, "all", {"a": 1}, [1, None, "x" * 12]):
        hub.store.note(card.id, hub.store.pin(card.id) | {"verified": damage})
        assert verified(hub.store, card) == 0


@torch.no_grad()
def test_a_picture_that_somebody_brings_proves_the_preparation_too(stand_in: Callable, says: Callable, cats: Path, tmp_path: Path) -> None:
    module = random_module("vit")
    with Image.open(cats) as picture:
        from transformers import ViTImageProcessorPil

        x = ViTImageProcessorPil(size={"height": 32, "width": 32})(picture, return_tensors="pt")["pixel_values"]
    entries = [
        recorded({"constant": 0.5}, "logits[0, 0]", [module(torch.full((1, 3, 32, 32), 0.5)).logits[0, 0]]),
        recorded({"picture": CATS}, "logits[0, :3]", module(x).logits[0]),
    ]
    hub, card = stand_in(card_words("vit"), module, entries)
    *_, without = verify(hub.store, card)
    assert "verified against 1" in without
    assert f"3 more are of the picture {CATS}: bring it with --input FILE." in without
    *_, words = verify(hub.store, card, [cats])
    assert "verified against 4" in words
    assert "--input" not in words
    list(verify(hub.store, card))
    assert verified(hub.store, card) == 4  # what was seen to hold is remembered
    Image.new("RGB", (64, 48)).save(tmp_path / "black.png")
    with says(CheckpointError, "mine computes", f"what was brought is not {CATS}"):
        list(verify(hub.store, card, [tmp_path / "black.png"]))
    for wrong, kind, word in (
        ([cats, cats], RequestError, "a second file"),
        ([tmp_path / "x.npy"], RequestError, f"bring the picture {CATS}"),
        ([tmp_path / "not there.png"], MediaError, "not there.png"),
    ):
        with says(kind, word):
            list(verify(hub.store, card, wrong))


@torch.no_grad()
def test_a_clip_is_compared_with_either_of_two_preparations(stand_in: Callable, says: Callable, tmp_path: Path) -> None:
    module = random_module("vivit")
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 50, 3), dtype=np.uint8)
    np.save(tmp_path / "spaghetti.npy", frames)
    words = card_words("vivit", pixels={"resize": 36, "scale": 1 / 127.5, "offset": 1})
    logits = {}
    for name, normalise in (("wide", True), ("narrow", False)):
        from transformers import VivitImageProcessor

        made = VivitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}, do_normalize=normalise)
        logits[name] = module(made(list(frames), return_tensors="pt")["pixel_values"]).logits[0, :2].tolist()
    entry = recorded({"clip": "spaghetti.npy"}, "logits[0, :2]", logits["narrow"])
    hub, card = stand_in(words, module, [entry | {"otherwise": logits["wide"]}])
    *_, said = verify(hub.store, card, [tmp_path / "spaghetti.npy"])
    assert "verified against 2" in said
    hub, card = stand_in(words, module, [entry])
    with says(CheckpointError, "mine computes", "spaghetti.npy"):
        list(verify(hub.store, card, [tmp_path / "spaghetti.npy"]))


DECODER = {
    "title": "a small autoencoder", "family": "autoencoder-kl", "task": "autoencoder",
    "arch": {
        "block_out_channels": [8, 8], "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4, "sample_size": 16,
        "mid_block_add_attention": True,
    },
    "weights": [{"from": "manual", "url": "https://example.org/page", "file": "w.pt"}],
}  # fmt: skip


@pytest.fixture
def decoder(hub_with: Callable[..., Hub]) -> nn.Module:
    torch.manual_seed(0)
    return build_module(hub_with({"a": DECODER}).card("a")).eval()


@torch.no_grad()
def test_latents_are_decoded_and_compared_with_their_file(decoder: nn.Module, stand_in: Callable, tmp_path: Path) -> None:
    latents = np.random.default_rng(0).standard_normal((3, 4, 8, 8)).astype(np.float32)
    np.save(tmp_path / "noise.npy", latents)
    sample = decoder.decode(torch.from_numpy(latents)).sample
    entry = recorded({"latents": "noise.npy"}, "sample[-1, -2:, :2, -2:]", sample[-1, -2:, :2, -2:].flatten())
    hub, card = stand_in(DECODER, decoder, [entry])
    *_, said = verify(hub.store, card, [tmp_path / "noise.npy"])
    assert "verified against 8" in said
    doubtful = entry | {"numbers": [0.5] * 8, "inferred": "only the title says so"}
    hub, card = stand_in(DECODER, decoder, [doubtful])
    *_, said = verify(hub.store, card, [tmp_path / "noise.npy"])
    assert said.startswith("published numbers: none compared; sample[-1, -2:, :2, -2:]")
    assert said.endswith("which is no proof against these weights: only the title says so.")
    assert verified(hub.store, card) == 0


def test_an_array_that_is_not_what_it_should_be_is_refused_before_it_is_read(
    decoder: nn.Module, stand_in: Callable, says: Callable, tmp_path: Path
) -> None:
    hub, card = stand_in(DECODER, decoder, [recorded({"latents": "noise.npy"}, "sample[0, 0, 0, 0]", [0.0])])
    path = tmp_path / "noise.npy"

    def refused(*words: str) -> None:
        with says(MediaError, "noise.npy", *words):
            list(verify(hub.store, card, [path]))

    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refused("cannot be read")
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 4, 1000, 1000), }".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(64))
    refused("cannot be read")
    for content in (b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00\xff\xff("):
        path.write_bytes(content)
        refused("cannot be read")
    for array, word in (
        (np.zeros((1, 4, 8), np.float32), "(1, 4, 8)"),
        (np.zeros((1, 4, 8, 8), np.int64), "int64"),
        (np.zeros((1, 3, 8, 8), np.float32), "4 channels"),
        (np.full((1, 4, 8, 8), np.nan, np.float32), "4 channels"),
        (np.zeros((0, 4, 8, 8), np.float32), "(0, 4, 8, 8)"),
    ):
        np.save(path, array)
        refused(word)


@pytest.mark.parametrize("output", ["logits[0, 99]", "pooler_output[0]", "sample[0]", "tokens"])
def test_numbers_of_what_a_model_has_not_are_refused(output: str, stand_in: Callable, says: Callable) -> None:
    hub, card = stand_in(card_words("vit"), random_module("vit"), [recorded({"constant": 0.5}, output, [0.0])])
    with says(ZooError, "mine" if output != "tokens" else "spiece.model"):
        list(verify(hub.store, card))


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("logits", "mappings"),
        ({"input": {"constant": 0.5}, "output": "logits[0]", "numbers": [1]}, "source"),
        (recorded({"smell": "of roses"}, "logits[0, 0]", [1]), "smell"),
        (recorded({"constant": "half"}, "logits[0, 0]", [1]), "half"),
        (recorded({"picture": 7}, "logits[0, 0]", [1]), "picture"),
        (recorded({"constant": 0.5, "text": "a"}, "logits[0, 0]", [1]), "one of"),
        (recorded({"constant": 0.5}, "__class__", [1]), "__class__"),
        (recorded({"constant": 0.5}, "logits[0, 1:2:3]", [1]), "1:2:3"),
        (recorded({"constant": 0.5}, "logits[--1]", [1]), "--1"),
        (recorded({"constant": 0.5}, "logits[0]", []), "numbers"),
        (recorded({"constant": 0.5}, "logits[0]", [float("nan")]), "numbers"),
        (recorded({"constant": 0.5}, "logits[0]", [1.0], otherwise=[1.0, 2.0]), "as many"),
        (recorded({"constant": 0.5}, "logits[0]", [1.0]) | {"numbers": "abc"}, "numbers"),
        (recorded({"constant": 0.5}, "logits[0]", [1.0], side=480), "side"),
        (recorded({"picture": CATS}, "logits[0]", [1.0], side=10**6), "side"),
        (recorded({"picture": CATS}, "logits[0]", [1.0], side="480"), "side"),
        (recorded({"constant": 0.5}, "logits[0]", [1.0]) | {"numbers": 3}, "seer"),
    ],
)
def test_a_card_with_numbers_that_cannot_be_compared_is_refused(
    entry: object, word: str, hub_with: Callable[..., Hub], says: Callable
) -> None:
    with says(CardError, "seer", word):
        hub_with({"seer": card_words("vit", expected=[entry])})


# ---- seen


@torch.no_grad()
def test_the_command_line_compares_and_the_models_tab_shows_it(
    stand_in: Callable, cats: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from zoo import ui
    from zoo.ui.tabs.models import ModelsTab

    module = random_module("swin")
    with Image.open(cats) as picture:
        x = prepare(picture, card_pixels := cards()["tiny-vit"].pixels, 32)[1][None]
    entries = [recorded({"picture": CATS}, "logits[0, :3]", module(x).logits[0, :3])]
    hub, card = stand_in(card_words("swin"), module, entries)
    assert card.pixels == card_pixels
    monkeypatch.setattr("zoo.__main__.cards", lambda: hub.cards)
    monkeypatch.setenv("PATCHWORK_CACHE", str(hub.cache_dir))
    assert main(["verify", "mine"]) == 0
    assert "none compared; 3 more are of the picture" in capsys.readouterr().out
    tabs = []
    wire = ModelsTab._wire
    monkeypatch.setattr(ModelsTab, "_wire", lambda self, page: tabs.append(self) or wire(self, page))
    ui.build(hub)
    hub.close()  # the rehearsal of the first model
    assert "Proof" not in tabs[0]._facts(card)
    assert main(["verify", "mine", "--input", str(cats), "--json"]) == 0
    assert "verified against 3" in json.loads(capsys.readouterr().out)["holds"][3]
    assert "<dt>Proof</dt><dd>verified against 3 published numbers</dd>" in tabs[0]._facts(card)
    assert main(["verify", "tiny-vit", "--input", str(cats)]) == 1
    assert "No numbers of tiny-vit were recorded of any name.png" in capsys.readouterr().err
