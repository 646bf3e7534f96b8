"""The data set "emoji": one of a hundred things that everybody knows, in one of six designs, on a soft background, 64x64 RGB."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.training.drawings import drawings

SIZE = 64
"""Side of a picture in pixels."""

CLASSES = {
    "dog": "dog-face", "cat": "cat-face", "fox": "fox", "bear": "bear", "panda": "panda", "lion": "lion", "tiger": "tiger-face",
    "cow": "cow-face", "pig": "pig-face", "frog": "frog", "monkey": "monkey-face", "rabbit": "rabbit-face", "unicorn": "unicorn",
    "penguin": "penguin", "owl": "owl", "duck": "duck", "bee": "honeybee", "butterfly": "butterfly", "ladybug": "lady-beetle",
    "snail": "snail", "spider": "spider", "crab": "crab", "octopus": "octopus", "fish": "tropical-fish", "whale": "spouting-whale",
    "shark": "shark", "turtle": "turtle", "elephant": "elephant",
    "apple": "red-apple", "pear": "pear", "orange": "tangerine", "lemon": "lemon", "banana": "banana", "watermelon": "watermelon",
    "grapes": "grapes", "strawberry": "strawberry", "cherries": "cherries", "peach": "peach", "pineapple": "pineapple",
    "carrot": "carrot", "corn": "ear-of-corn", "mushroom": "mushroom", "avocado": "avocado", "pizza": "pizza",
    "hamburger": "hamburger", "fries": "french-fries", "hot dog": "hot-dog", "cheese": "cheese-wedge", "doughnut": "doughnut",
    "cake": "birthday-cake", "ice cream": "soft-ice-cream", "lollipop": "lollipop",
    "sun": "sun", "moon": "crescent-moon", "star": "star", "rainbow": "rainbow", "snowflake": "snowflake",
    "snowman": "snowman-without-snow", "fire": "fire", "lightning": "high-voltage", "cactus": "cactus", "tree": "deciduous-tree",
    "palm tree": "palm-tree", "sunflower": "sunflower", "rose": "rose", "tulip": "tulip", "clover": "four-leaf-clover",
    "earth": "globe-showing-europe-africa",
    "rocket": "rocket", "airplane": "airplane", "helicopter": "helicopter", "car": "automobile", "bus": "bus", "train": "locomotive",
    "sailboat": "sailboat", "bicycle": "bicycle",
    "house": "house", "balloon": "balloon", "gift": "wrapped-gift", "bell": "bell", "guitar": "guitar", "drum": "drum",
    "camera": "camera", "light bulb": "light-bulb", "key": "key", "scissors": "scissors", "book": "closed-book", "pencil": "pencil",
    "umbrella": "umbrella", "crown": "crown", "shoe": "running-shoe", "clock": "alarm-clock", "soccer ball": "soccer-ball",
    "trophy": "trophy", "anchor": "anchor", "ghost": "ghost", "skull": "skull", "pumpkin": "jack-o-lantern", "heart": "red-heart",
    "smiley": "grinning-face",
}  # fmt: skip
"""The classes in the order of the labels, and what the six sets call each."""
ONE_WAY = frozenset({"moon", "lightning", "earth", "guitar", "clock"})
"""What a mirror would make something else of, or nobody draws the other way."""


class Look(NamedTuple):
    """Where a drawing is and what lies under it, each (b,) or (b, 2) or (b, 3): centre in pixels, y down; side in pixels of the square
    it fills, tilt and lean in radians, mirror 1 or -1; the background leads from the colour `near` to the colour `far`, in [0, 1]."""

    centre: Tensor
    side: Tensor
    tilt: Tensor
    mirror: Tensor
    near: Tensor
    far: Tensor
    lean: Tensor

    def to(self, device: torch.device | str) -> Look:
        """The same on a device."""
        return Look(*(value.to(device) for value in self))


def _soft(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    ramps = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    return value[:, None] * (1 - saturation[:, None] * (1 - (ramps - 3).abs().sub(1).clamp(0, 1)))


def look(labels: Tensor, generator: torch.Generator) -> Look:
    """Random looks of large drawings near the middle, one a label (b,) long 0..99."""
    b = len(labels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(b, generator=generator)

    centre = torch.stack([uniform(-2.5, 2.5), uniform(-2.5, 2.5)], -1)
    side, tilt = uniform(48, 58), uniform(-0.15, 0.15)
    one_way = torch.tensor([name in ONE_WAY for name in CLASSES])[labels]
    mirror = torch.where(one_way | (uniform(0, 1) < 0.5), 1.0, -1.0)
    hue, saturation, value = uniform(0, 1), uniform(0.12, 0.3), uniform(0.88, 0.98)
    near, far = _soft(hue, saturation, value), _soft(hue + uniform(-0.08, 0.08), saturation, value - uniform(0.03, 0.12))
    return Look(centre, side, tilt, mirror, near, far, uniform(0, 2 * math.pi))


def paint(sprites: Tensor, how: Look) -> Tensor:
    """Lay drawings (b, 4, s, s), uint8 with coverage, on their backgrounds as they are said to look: (b, 3, 64, 64) in [-1, 1].

    Each is warped at two samples a pixel and way, which are then averaged.
    """
    b = len(sprites)
    covered = sprites[:, 3:].float() / 255
    ink = torch.cat([sprites[:, :3].float() / 255 * covered, covered], 1)
    cos, sin, zoom = how.tilt.cos(), how.tilt.sin(), SIZE / how.side
    x, y = 2 * how.centre[:, 0] / SIZE, 2 * how.centre[:, 1] / SIZE
    rows = [
        torch.stack([cos, sin, -cos * x - sin * y], -1) * (zoom * how.mirror)[:, None],
        torch.stack([-sin, cos, sin * x - cos * y], -1) * zoom[:, None],
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [b, 4, 2 * SIZE, 2 * SIZE], align_corners=False)
    laid = F.avg_pool2d(F.grid_sample(ink, grid, align_corners=False), 2)
    axis = (torch.arange(SIZE, device=sprites.device) - (SIZE - 1) / 2) / SIZE
    away = axis * how.lean.cos()[:, None, None] + axis[:, None] * how.lean.sin()[:, None, None]
    ground = torch.lerp(how.near[:, :, None, None], how.far[:, :, None, None], (away + 0.5).clamp(0, 1)[:, None])
    return (laid[:, :3] + (1 - laid[:, 3:]) * ground).clamp(0, 1) * 2 - 1


def render(labels: Tensor, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Draw one picture a label: (b,) long 0..99 to (b, 3, 64, 64) in [-1, 1], random in design, place, size, tilt, side and ground."""
    sprites = drawings(tuple(CLASSES.values()))
    designs = torch.randint(sprites.shape[1], (len(labels),), generator=generator)
    return paint(sprites[labels, designs].to(device), look(labels, generator).to(device))


def batch(size: int, seed: int, index: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Pictures (size, 3, 64, 64) and labels (size,) of batch `index`, painted on `device`: the same for the same seed and index."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    labels = torch.randint(len(CLASSES), (size,), generator=generator)
    return render(labels, generator, device), labels.to(device)
