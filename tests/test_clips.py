"""The data set "clips": a thing goes where its label says, looks where it goes, and stays itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from zoo.training import clips, emoji
from zoo.training.clips import ACTS, FRAMES, LABELS, POINTED, SIDEWAYS, batch, paths


@pytest.fixture
def discs(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Instead of every drawing a black disc, redder from class to class."""
    axis = torch.linspace(-1, 1, 32)
    made = torch.zeros(len(emoji.CLASSES), 6, 4, 32, 32, dtype=torch.uint8)
    made[:, :, 3] = 255 * (axis.square() + axis[:, None].square() < 1)
    made[:, :, 0] = torch.arange(100, dtype=torch.uint8)[:, None, None, None]
    monkeypatch.setattr(clips, "drawings", lambda _: made)
    return made


def frames(words: list[str], seed: int = 0) -> emoji.Look:
    """The looks of one clip a label, whose middles lie in the middle and upright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([LABELS.index(word) for word in words])
    still = emoji.look(torch.zeros(len(words), dtype=torch.long), generator)
    return paths(labels, still._replace(centre=torch.zeros(len(words), 2), tilt=torch.zeros(len(words))), generator)


def test_labels_name_a_thing_and_what_it_does() -> None:
    assert len(LABELS) == len(set(LABELS)) == 96
    assert LABELS[:6] == ("rocket flies left", "rocket flies right", "rocket flies up", "rocket flies down", "rocket spins", "rocket grows")
    assert set(ACTS) <= set(emoji.CLASSES)
    assert set(ACTS) > POINTED | SIDEWAYS


def test_clips_are_the_same_for_the_same_seed_and_index_and_differ_for_others(discs: Tensor) -> None:
    one, labels = batch(3, seed=1, index=2)
    assert torch.equal(one, batch(3, 1, 2)[0])
    assert torch.equal(labels, batch(3, 1, 2)[1])
    assert not torch.equal(one, batch(3, 1, 3)[0])
    assert not torch.equal(one, batch(3, 2, 2)[0])
    assert (one.shape, labels.shape) == ((3, FRAMES, 3, 64, 64), (3,))
    assert one.abs().max() <= 1


def test_a_clip_shows_one_thing_on_one_ground_all_the_time(discs: Tensor) -> None:
    labels = torch.arange(0, 96, 6)
    x = clips.render(labels, torch.Generator().manual_seed(0))
    middle = x[:, FRAMES // 2, 0, 24:40, 24:40].amin((1, 2))
    assert len(middle.unique()) == len(labels)
    assert (x[:, :, :, 1, 1] - x[:, :1, :, 1, 1]).abs().max() < 1e-6


def test_things_go_where_their_labels_say(discs: Tensor) -> None:
    words = ["star moves left", "star moves right", "star moves up", "star moves down", "star grows"]
    labels = torch.tensor([LABELS.index(word) for word in words])
    x = clips.render(labels, torch.Generator().manual_seed(0))
    dark = (x[:, :, 1:].amax(2) < 0).float()
    axis, size = torch.arange(64.0), dark.sum((2, 3))
    right, down = (dark * axis).sum((2, 3)) / size, (dark * axis[:, None]).sum((2, 3)) / size
    moved = torch.stack([right[:, -1] - right[:, 0], down[:, -1] - down[:, 0]], -1).round().long()
    assert moved.tolist() == [[-20, 0], [20, 0], [0, -20], [0, 20], [0, 0]]
    assert size[4, -1] > 6 * size[4, 0]


def test_things_look_where_they_go() -> None:
    assert frames(["fish swims left", "fish swims right"]).mirror[:, 0].tolist() == [1, -1]
    tilts = frames([f"rocket flies {way}" for way in ("right", "down", "left", "up")]).tilt[:, 0]
    assert torch.allclose(tilts.sin(), (torch.tensor([1.0, 3, -3, -1]) * math.pi / 4).sin(), atol=1e-6)
    assert frames(["rocket flies left"] * 20).mirror.unique().tolist() == [1]


def test_a_spin_is_one_turn_and_what_rolls_turns_with_its_way() -> None:
    how = frames(["star spins", "soccer ball rolls left", "soccer ball rolls right", "star moves left"])
    turned = (how.tilt[:, -1] - how.tilt[:, 0]) / (2 * math.pi)
    assert torch.allclose(turned, torch.tensor([1.0, -0.5, 0.5, 0.0]))
    assert len(how.side[0].unique()) == 1
