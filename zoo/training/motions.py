"""The procedural videos: one of the ten objects makes one of eight motions in sixteen frames of 64x64 RGB."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.training.shapes import OBJECTS, look, paint

FRAMES = 16
MOTIONS = ("moves right", "moves left", "rises", "falls", "grows", "shrinks", "jumps", "swings")
"""The classes: what the object does."""


def render(motions: Tensor, objects: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one video a motion: (b,) long 0..7 and objects (b,) long 0..9 to (b, 16, 3, 64, 64) in [-1, 1].

    Straight motions lead from near the middle 12 pixels away, sizes change between 10 and 22 pixels of radius, a jump is 14 pixels
    high, a swing goes 8 to the right, to the left and back; everything else is random as in the pictures.
    """
    b = len(motions)
    still = look(b, generator)
    small = 16 + 3 * torch.rand(b, generator=generator)
    time = torch.linspace(0, 1, FRAMES)  # (f,)
    swing, jump, nothing = 8 * (2 * math.pi * time).sin(), 14 * 4 * time * (1 - time) - 5, torch.zeros(FRAMES)
    straight = 12 * time
    paths = [(straight, nothing), (-straight, nothing), (nothing, straight), (nothing, -straight)]
    paths += [(nothing, nothing), (nothing, nothing), (nothing, jump), (swing, nothing)]
    away = torch.stack([torch.stack(path, -1) for path in paths])[motions]  # (b, f, 2)
    radius = small[:, None].expand(b, FRAMES).clone()
    for index, (first, last) in ((4, (10, 22)), (5, (22, 10))):
        radius[motions == index] = first + (last - first) * time
    still = still._replace(centre=still.centre[:, None] + away, radius=radius)
    spread = [(value if value.ndim > 1 else value[:, None].expand(b, FRAMES)).flatten(0, 1) for value in still]
    return paint(objects.repeat_interleave(FRAMES), type(still)(*spread)).unflatten(0, (b, FRAMES))


def batch(size: int, seed: int, index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Videos (size, 16, 3, 64, 64), motions and objects (size,) of batch `index`: the same for the same seed and index."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    motions = torch.randint(len(MOTIONS), (size,), generator=generator)
    objects = torch.randint(len(OBJECTS), (size,), generator=generator)
    return render(motions, objects, generator), motions, objects
