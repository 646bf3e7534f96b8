"""A picture reaches a vision transformer as transformers' own processor prepares it, bit by bit, and as the published file says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from loopback_hub import LoopbackHub
from PIL import Image
from safetensors.torch import save_file

from zoo.__main__ import main
from zoo.catalog.card import PREPARATION, SEEING, Card, Pixels, cards
from zoo.engine.hub import Hub
from zoo.engine.verify import admit, verify
from zoo.errors import CheckpointError
from zoo.inside import tokenization
from zoo.inside.inspector import Looker
from zoo.media.photographs import open_picture
from zoo.networks.build import build_module
from zoo.networks.preparation import PROCESSORS, prepare, prepared

MEAN, STD, HALF = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], [0.5, 0.5, 0.5]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CROP = {"do_center_crop": True, "crop_size": {"height": 224, "width": 224}}
DINOV2 = CROP | {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 256},
    "resample": 3,
    "image_mean": MEAN,
    "image_std": STD,
}
TINY = {"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 64}, "image_mean": HALF, "image_std": HALF}
CLIP = {
    "feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "do_center_crop": True, "crop_size": 224, "resample": 3,
    "image_mean": CLIP_MEAN, "image_std": CLIP_STD,
}  # fmt: skip
FILES = {
    "vit-b-16": {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2, "image_mean": HALF, "image_std": HALF},
    "swin-t": {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 3, "image_mean": MEAN, "image_std": STD},
    "dino-s-16": {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2, "image_mean": MEAN, "image_std": STD},
    "dino-s-8": {"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 2, "image_mean": MEAN, "image_std": STD},
    "deit-b-16-distilled": {
        "feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "do_center_crop": True, "crop_size": 224, "resample": 3,
        "image_mean": MEAN, "image_std": STD,
    },
    "clip-b-16-vision": CLIP,
    "clip-b-32-vision": CLIP,
    "dinov2-b-14": DINOV2,
    "dinov2-b-14-registers": DINOV2,
    "vivit-b-16x2": CROP | {
        "image_processor_type": "VivitImageProcessor", "size": {"shortest_edge": 256}, "resample": 2, "rescale_factor": 1 / 127.5,
        "offset": True, "image_mean": HALF, "image_std": HALF,
    },
    "tiny-vit": TINY, "tiny-swin": TINY, "tiny-vivit": TINY,
}  # fmt: skip
"""Of every vision card what its published configuration says, in the words of its time."""
SHAPES = [(640, 480), (480, 640), (333, 517), (225, 224), (448, 448), (51, 37), (7, 5), (1, 9), (1500, 97), (61, 1100), (1023, 769)]
VISION = [card for card in cards().values() if card.task in SEEING]


def photograph(width: int, height: int) -> Image.Image:
    """A picture of noise, which no two ways of resizing give the same."""
    generator = np.random.default_rng(width * 10_000 + height)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


def theirs(words: dict, picture: Image.Image) -> torch.Tensor:
    """What the processor of transformers that needs no torchvision makes of a picture."""
    words = dict(words)
    kind = (words.pop("image_processor_type", "") or words.pop("feature_extractor_type")).removesuffix("ImageProcessor")
    values = getattr(transformers, PROCESSORS[kind.removesuffix("FeatureExtractor")])(**words)(picture, return_tensors="pt")["pixel_values"]
    return values.flatten(0, -4)[0]


def test_every_vision_card_is_compared() -> None:
    assert {card.id for card in VISION} == FILES.keys()
    assert all(PREPARATION in source.also for card in VISION for source in card.weights if source.origin != "bundled")


@pytest.mark.parametrize("card", VISION, ids=lambda card: card.id)
def test_a_picture_is_prepared_exactly_as_transformers_does(card: Card, tmp_path: Path) -> None:
    (tmp_path / PREPARATION).write_text(json.dumps(FILES[card.id]))
    said = prepared(card, {PREPARATION: tmp_path / PREPARATION})
    for shape in SHAPES:
        picture = photograph(*shape)
        wanted = theirs(FILES[card.id], picture)
        image, numbers = prepare(picture, card.pixels, card.side)
        assert torch.equal(numbers, wanted), (shape, (numbers - wanted).abs().max())
        assert image.shape == (card.side, card.side, 3)
        assert torch.equal(prepare(picture, said.pixels, said.side)[1], wanted)
    assert not any(name.startswith("torchvision") for name in sys.modules)


def test_a_picture_of_one_line_costs_no_more_than_a_square() -> None:
    image, numbers = prepare(Image.new("RGB", (60_000, 1), (255, 0, 51)), Pixels(resize=256), 224)  # resized whole: 12 GB
    assert (image == (255, 0, 51)).all()
    assert numbers.shape == (3, 224, 224)


def test_kinetics_names_the_classes_of_vivit() -> None:
    names = cards()["vivit-b-16x2"].label_names
    assert (len(names), names[0], names[399], names[names.index("eating spaghetti") - 1]) == (400, "abseiling", "zumba", "eating ice cream")


# ---- what comes with the weights


OTHERS = {
    "another mean": {"image_mean": [0.1, 0.2, 0.3]},
    "the shorter side, then the middle": {"size": {"shortest_edge": 72}, "do_center_crop": True, "crop_size": 64},
    "stretched, then the middle": {"size": {"height": 80, "width": 80}, "do_center_crop": True, "crop_size": 64, "resample": 1},
    "levels as they are": {"do_rescale": False, "do_normalize": False},
    "of a newer processor": {"image_processor_type": "ViTImageProcessorFast", "rescale_factor": 1 / 127.5},
    "of CLIP": {"image_processor_type": "CLIPImageProcessor", "size": 72, "crop_size": 64},
}


@pytest.mark.parametrize("words", OTHERS.values(), ids=OTHERS)
def test_what_the_file_says_wins_over_the_card(words: dict, tmp_path: Path) -> None:
    words = TINY | words
    (tmp_path / PREPARATION).write_text(json.dumps(words))
    card = prepared(cards()["tiny-vit"], {PREPARATION: tmp_path / PREPARATION})
    picture = photograph(130, 99)
    name = words["image_processor_type"].removesuffix("Fast")
    assert torch.equal(prepare(picture, card.pixels, card.side)[1], theirs(words | {"image_processor_type": name}, picture))


WRONG = {
    "no JSON": ("{", "cannot be followed"),
    "a list": ("[]", "no mapping"),
    "too long": (json.dumps({"a": "x" * 100_000}), "bytes"),
    "bytes": (b"\xff\xfe\x00", "cannot be followed"),
    "deep": ("[" * 50_000, "cannot be followed"),
    "an unknown processor": ('{"image_processor_type": "ConvNextImageProcessor"}', "ConvNextImageProcessor"),
    "another size": ('{"size": 96}', "96 x 96"),
    "no square": ('{"size": {"height": 64, "width": 32}}', "no square"),
    "more than there is": ('{"size": 32, "do_center_crop": true, "crop_size": 64}', "64 pixels a side from 32"),
    "nothing": ('{"size": 0}', "cannot be followed"),
    "less than nothing": ('{"size": -64}', "cannot be followed"),
    "words for numbers": ('{"size": "large"}', "cannot be followed"),
    "two means": ('{"image_mean": [0.5, 0.5]}', "three numbers"),
    "no deviation": ('{"image_std": [0, 0, 0]}', "three numbers"),
    "not a number": ('{"image_mean": [NaN, 0, 0]}', "three numbers"),
    "no such filter": ('{"resample": 99}', "99"),
    "no resizing": ('{"do_resize": false}', "at its size"),
}


@pytest.mark.parametrize(("content", "word"), WRONG.values(), ids=WRONG)
def test_a_file_that_cannot_be_followed_is_refused_in_words(content: str | bytes, word: str, tmp_path: Path, says: Callable) -> None:
    (tmp_path / PREPARATION).write_bytes(content if isinstance(content, bytes) else content.encode())
    with says(CheckpointError, PREPARATION, word, "import its weights without") as caught:
        prepared(cards()["tiny-vit"], {PREPARATION: tmp_path / PREPARATION})
    assert len(str(caught.value)) < 400


ARCH = {
    "input_size": 32,
    "patch_size": 8,
    "in_channels": 3,
    "hidden_size": 32,
    "depth": 2,
    "num_heads": 4,
    "mlp_ratio": 2,
    "num_classes": 3,
}
SEER = {
    "title": "seer", "family": "vit", "task": "image-classification", "arch": ARCH,
    "weights": [{"from": "huggingface", "repo": "a/seer", "file": "model.safetensors", "also": [PREPARATION]}],
}  # fmt: skip
SAID = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"shortest_edge": 40},
    "do_center_crop": True,
    "crop_size": 32,
    "image_mean": [0, 0, 0],
}


@pytest.fixture
def hub(hub_with: Callable[..., Hub], tmp_path: Path) -> Hub:
    """A hub with the card of a random ViT, whose weights are in tmp_path / model.safetensors, and a picture beside them."""
    hub = hub_with({"seer": SEER})
    torch.manual_seed(0)
    save_file(build_module(hub.card("seer")).state_dict(), tmp_path / "model.safetensors")
    photograph(90, 60).save(tmp_path / "a.png")
    return hub


def seen(hub: Hub, path: Path) -> torch.Tensor:
    return Looker(hub)._pixels(Looker(hub)._card("seer", seeing=True), path)[-1]


def test_the_file_arrives_with_the_weights_and_is_followed(hub: Hub, hub_server: LoopbackHub, tmp_path: Path) -> None:
    hub_server.files["a/seer", "model.safetensors"] = (tmp_path / "model.safetensors").read_bytes()
    hub_server.files["a/seer", PREPARATION] = json.dumps(SAID).encode()
    list(hub.fetch("seer"))
    assert torch.equal(seen(hub, tmp_path / "a.png"), theirs(SAID, open_picture(tmp_path / "a.png")))
    assert "1 other files" in next(verify(hub.store, hub.card("seer")))
    recording = Looker(hub).picture("seer", tmp_path / "a.png")
    words = tokenization.stages(recording)[0].words
    assert words == "Its shorter side is resized to 40 pixels, and 32 x 32 in the middle are taken."


def test_a_hub_without_the_file_gives_the_weights_and_the_card_prepares(hub: Hub, hub_server: LoopbackHub, tmp_path: Path) -> None:
    hub_server.files["a/seer", "model.safetensors"] = (tmp_path / "model.safetensors").read_bytes()
    *_, last = hub.fetch("seer")
    assert f"has no {PREPARATION} (not found (404)): pictures are prepared as the card says" in last.notes[0]
    assert torch.equal(seen(hub, tmp_path / "a.png"), prepare(open_picture(tmp_path / "a.png"), Pixels(), 32)[1])


def test_weights_are_imported_with_the_file_or_without_it(hub: Hub, tmp_path: Path, says: Callable) -> None:
    looker, weights, said = Looker(hub), tmp_path / "model.safetensors", tmp_path / PREPARATION
    admit(hub.store, hub.card("seer"), [weights])
    plain = looker.picture("seer", tmp_path / "a.png")
    said.write_text(json.dumps(SAID))
    admit(hub.store, hub.card("seer"), [weights, said])
    other = looker.picture("seer", tmp_path / "a.png")
    assert not np.array_equal(plain.pictures, other.pictures)  # nothing of the picture seen before is shown again
    said.write_text(json.dumps({"size": 224}))
    with says(CheckpointError, "224 x 224", "32 x 32"):
        admit(hub.store, hub.card("seer"), [weights, said])
    assert looker._card("seer", seeing=True).pixels == other.card.pixels  # what was there stays


def test_stretched_pictures_are_described_with_the_part_that_is_taken(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / PREPARATION).write_text(json.dumps({"size": 40, "do_center_crop": True, "crop_size": 32}))
    admit(hub.store, hub.card("seer"), [tmp_path / "model.safetensors", tmp_path / PREPARATION])
    recording = Looker(hub).picture("seer", tmp_path / "a.png")
    words = tokenization.stages(recording)[0].words
    assert words == "It is resized to 40 x 40 pixels, whatever its shape, and 32 x 32 in the middle are taken."


def test_a_card_that_cuts_more_than_it_resizes_to_is_refused(
    capsys: pytest.CaptureFixture, hub_with: Callable[..., Hub], says: Callable
) -> None:
    from zoo.errors import CardError

    with says(CardError, "seer", "32 pixels a side", "30"):
        hub_with({"seer": SEER | {"pixels": {"resize": 30}}})
    assert main(["show", "deit-b-16-distilled"]) == 0
    assert "stretched to 256 x 256" in capsys.readouterr().out
