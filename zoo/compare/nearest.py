"""The drawing of the training data that a sample is nearest to: a small model remembers its drawings, and the page says so."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.catalog.labels import DATA, label_names

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub

LABELS, JUDGE = "emoji", "tiny-vit"
"""The label list whose drawings are known, and the classifier whose features compare them with samples."""
FILE = DATA / "emoji-drawings.npz"


class Drawing(NamedTuple):
    """One drawing of the training data, and how like a sample it is."""

    name: str
    design: str
    """The set that it is from, with its makers."""
    licence: str
    cell: int | None
    """Its place in the sprite `drawings.webp`, counted by rows; None where only its features ship."""
    likeness: float
    """Cosine of the features, from -1 to 1."""


class Known(NamedTuple):
    """All drawings: unit features (n, d) less their mean (d,), which class and which set each is, and the names and licences of the
    sets, of which the first ones stand in the sprite."""

    features: Tensor
    mean: Tensor
    classes: Tensor
    sets: Tensor
    designs: tuple[str, ...]
    licences: tuple[str, ...]
    pictured: int


@torch.no_grad()
def features(judge: nn.Module, pixels: Tensor) -> Tensor:
    """Class tokens (b, d) before the last block of pictures (b, 3, h, w) in [-1, 1]: the last one has forgotten the design."""
    return judge(pixels.to(next(judge.parameters()).device), output_hidden_states=True).hidden_states[-2][:, 0].float().cpu()


@cache
def known() -> Known:
    """The drawings that ship as features."""
    with np.load(FILE) as values:
        own, mean = (torch.from_numpy(values[name]).float() for name in ("features", "mean"))
        classes, sets = (torch.from_numpy(values[name]).long() for name in ("classes", "sets"))
        designs, licences = (tuple(map(str, values[name])) for name in ("designs", "licences"))
        return Known(F.normalize(own), mean, classes, sets, designs, licences, int(values["pictured"]))


def nearest(hub: Hub, card: Card, images: Sequence[np.ndarray]) -> list[Drawing]:
    """The nearest drawing of each sample (h, w, 3) uint8; none for models that were not trained on these drawings."""
    judge = hub.cards.get(JUDGE)
    if card.labels != LABELS or judge is None or not hub.local(judge) or any(len(image) != judge.arch["input_size"] for image in images):
        return []
    pixels = torch.from_numpy(np.stack(images)).movedim(-1, -3).float() / 127.5 - 1
    drawings, names = known(), label_names(LABELS)
    own = F.normalize(hub.compute(features, hub.load(judge).module, pixels) - drawings.mean)
    found = (own @ drawings.features.T).max(1)
    return [_drawing(drawings, names, k, likeness) for k, likeness in zip(found.indices.tolist(), found.values.tolist(), strict=True)]


def _drawing(drawings: Known, names: Sequence[str], index: int, likeness: float) -> Drawing:
    kind, place = int(drawings.classes[index]), int(drawings.sets[index])
    cell = kind * drawings.pictured + place if place < drawings.pictured else None
    return Drawing(names[kind], drawings.designs[place], drawings.licences[place], cell, likeness)
