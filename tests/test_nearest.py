"""Beside a result stands the drawing of the training data that it is nearest to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from shipped import shipped

from zoo.catalog.labels import label_names
from zoo.compare.nearest import Drawing, known, nearest
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.media.pictures import to_uint8
from zoo.training import emoji
from zoo.training.nearest_data import TILE
from zoo.ui.parts import markup
from zoo.ui.server import page_files


def drawn() -> np.ndarray:
    """Every drawing of the sprite on a soft ground, of a size and a tilt that samples have: (n, 64, 64, 3) uint8."""
    sprites = shipped()
    classes = torch.arange(len(sprites)).repeat_interleave(known().pictured)
    how = emoji.look(classes, torch.Generator().manual_seed(0))
    return to_uint8(emoji.paint(sprites.flatten(0, 1), how))


def test_a_drawing_is_nearest_to_itself(hub: Hub) -> None:
    pictured = known().pictured
    found = nearest(hub, hub.card("tiny-dit"), drawn())
    names = [name for name in label_names("emoji") for _ in range(pictured)]
    assert np.mean([one.name == name for one, name in zip(found, names, strict=True)]) > 0.98
    assert np.mean([one.cell == k for k, one in enumerate(found)]) > 0.9
    assert all(-1 <= one.likeness <= 1.001 for one in found)


def test_the_sprite_holds_only_what_is_free_to_show_and_every_drawing_of_it() -> None:
    drawings = known()
    assert set(drawings.licences[: drawings.pictured]) <= {"Apache-2.0", "MIT"}
    with Image.open(page_files.FOLDER / "drawings.webp") as sheet:
        assert sheet.size[0] == markup.ACROSS * TILE
        assert sheet.size[1] // TILE * markup.ACROSS >= drawings.pictured * len(label_names("emoji"))


def test_a_sample_of_a_class_is_near_to_a_drawing_of_it(hub: Hub) -> None:
    card = hub.card("tiny-dit")
    labels = tuple(card.label_names.index(name) for name in ("rocket", "pizza", "heart", "bee"))
    *_, result = hub.generate(Request("tiny-dit", labels, (0, 1, 2, 3)), preview=False)
    found = nearest(hub, card, result.images)
    assert [one.name for one in found] == ["rocket", "pizza", "heart", "bee"]


@pytest.mark.parametrize("model", ["dit-xl-2-256", "tiny-latte"])
def test_a_model_of_other_data_has_no_nearest_drawing(hub: Hub, model: str) -> None:
    assert nearest(hub, hub.card(model), np.zeros((1, 64, 64, 3), np.uint8)) == []


def test_a_drawing_that_does_not_ship_is_named_without_a_picture() -> None:
    words = markup.nearest([Drawing("fox", "Twemoji", "CC-BY-4.0", None, 0.9), Drawing("dog", "Noto <b>", "Apache-2.0", 21, 0.5)])
    assert words.count("<i ") == 1
    assert "--column:1;--row:1" in words
    assert "Noto &lt;b&gt;" in words
    assert markup.nearest([]) == ""
