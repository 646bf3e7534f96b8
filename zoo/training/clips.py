"""The data set "clips": one of sixteen emoji makes one of six motions in sixteen frames of 64x64 RGB; the label names both."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.training.drawings import drawings
from zoo.training.emoji import CLASSES, Look, look, paint

FRAMES = 16
ACTS = {
    "rocket": "flies", "airplane": "flies", "car": "drives", "train": "drives", "fish": "swims", "whale": "swims", "duck": "walks",
    "snail": "crawls", "bee": "flies", "butterfly": "flies", "crab": "walks", "ghost": "floats", "balloon": "floats",
    "soccer ball": "rolls", "star": "moves", "heart": "moves",
}  # fmt: skip
"""The things, by their names in the pictures, and how each gets from place to place."""
WAYS = ("left", "right", "up", "down")
LABELS = tuple(f"{thing} {word}" for thing, act in ACTS.items() for word in (*(f"{act} {way}" for way in WAYS), "spins", "grows"))
"""The classes: a thing and what it does, six to a thing."""
DESIGN = 3
"""The one set that the clips are of (drawings.PACKAGES): the flat one of Fluent, so that a small model learns things and motions both."""
POINTED = frozenset({"rocket", "airplane"})
"""What every set draws pointing up and to the right, and is turned to where it flies."""
SIDEWAYS = frozenset({"car", "train", "fish", "whale", "duck", "snail", "bee"})
"""What every set draws looking left, and is mirrored to look where it goes."""


def paths(labels: Tensor, still: Look, generator: torch.Generator) -> Look:
    """The looks of clips (b,) long 0..95, frame by frame: each (b, 16) or (b, 16, 2 or 3), from those of their middle.

    Ways lead 20 pixels through the middle, what rolls turns as it goes, a spin is one turn, and what grows does so from 18 to 54 pixels.
    """
    things, does = labels // 6, labels % 6
    names = list(ACTS)
    pointed, sideways, rolling = (torch.tensor([name in group for name in names])[things] for group in (POINTED, SIDEWAYS, {"soccer ball"}))
    time = torch.linspace(-0.5, 0.5, FRAMES)  # (f,)
    away = torch.tensor([[-1.0, 0], [1, 0], [0, -1], [0, 1], [0, 0], [0, 0]])[does]
    side = 32 + 8 * torch.rand(len(labels), generator=generator)
    sides = torch.where((does == 5)[:, None], 36 * (1 + time), side[:, None].expand(-1, FRAMES))
    heading = torch.tensor([-3, 1, -1, 3, 0, 0])[does] * math.pi / 4  # from up and right, clockwise
    tilt = torch.where(pointed, heading + still.tilt / 3, still.tilt)
    turn = torch.where(does == 4, 1.0, torch.where(rolling, away.sum(-1) / 2, 0.0)) * 2 * math.pi
    mirror = torch.where(sideways, torch.where(does == 1, -1.0, torch.where(does == 0, 1.0, still.mirror)), still.mirror)
    mirror = torch.where(pointed, 1.0, mirror)
    frames = Look(*(value.unsqueeze(1).expand(-1, FRAMES, *value.shape[1:]) for value in still))
    return frames._replace(
        centre=frames.centre + 20 * time[:, None] * away[:, None], side=sides, tilt=tilt[:, None] + turn[:, None] * (time + 0.5),
        mirror=mirror[:, None].expand(-1, FRAMES),
    )  # fmt: skip


def render(labels: Tensor, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Draw one clip a label: (b,) long 0..95 to (b, 16, 3, 64, 64) in [-1, 1]; ground and places are random as in the pictures."""
    words = list(CLASSES)
    indices = torch.tensor([words.index(thing) for thing in ACTS])[labels // 6]
    sprites = drawings(tuple(CLASSES.values()))
    how = paths(labels, look(indices, generator), generator)
    chosen = sprites[indices, DESIGN].to(device).repeat_interleave(FRAMES, 0)
    return paint(chosen, Look(*(value.flatten(0, 1) for value in how)).to(device)).unflatten(0, (len(labels), FRAMES))


def batch(size: int, seed: int, index: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Clips (size, 16, 3, 64, 64) and labels (size,) of batch `index`, painted on `device`: the same for the same seed and index."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    labels = torch.randint(len(LABELS), (size,), generator=generator)
    return render(labels, generator, device), labels.to(device)
