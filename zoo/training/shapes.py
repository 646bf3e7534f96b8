"""The procedural data set "shapes": one of ten objects, large and near the middle, on a softly shaded background, 64x64 RGB."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

SIZE = 64
"""Side of a picture in pixels."""


def _regular(corners: int, radius: float = 1.0, start: float = 90.0) -> list[tuple[float, float]]:
    angles = [math.radians(start + 360 * i / corners) for i in range(corners)]
    return [(radius * math.cos(a), radius * math.sin(a)) for a in angles]


def _star() -> list[tuple[float, float]]:
    outer, inner = _regular(5, 1.05), _regular(5, 0.5, 126.0)
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _heart() -> list[tuple[float, float]]:
    angles = [2 * math.pi * i / 40 for i in range(40)]
    curve = [(16 * math.sin(a) ** 3, 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) for a in angles]
    return [(x / 16.5, (y + 2.5) / 16.5) for x, y in curve]


_ARROW = [(0, 1), (0.9, 0.05), (0.36, 0.05), (0.36, -0.95), (-0.36, -0.95), (-0.36, 0.05), (-0.9, 0.05)]
_HOURGLASS = [(-0.75, 0.95), (0.75, 0.95), (0.16, 0), (0.75, -0.95), (-0.75, -0.95), (-0.16, 0)]
_CROSS = [(x * sx, y * sy) for sx, sy, points in [
    (1, 1, [(0.95, 0.32), (0.32, 0.32), (0.32, 0.95)]),
    (-1, 1, [(0.32, 0.95), (0.32, 0.32), (0.95, 0.32)]),
    (-1, -1, [(0.95, 0.32), (0.32, 0.32), (0.32, 0.95)]),
    (1, -1, [(0.32, 0.95), (0.32, 0.32), (0.95, 0.32)]),
] for x, y in points]  # fmt: skip


@cache
def _polygon(corners: tuple[tuple[float, float], ...]) -> Callable[[Tensor], Tensor]:
    a = torch.tensor(corners)
    edge = a.roll(-1, 0) - a

    def distance(p: Tensor) -> Tensor:
        """Signed distance of points (..., 2): exact, negative inside (crossing-number rule)."""
        w = p.unsqueeze(-2) - a
        along = ((w * edge).sum(-1) / (edge * edge).sum(-1)).clamp(0, 1)
        nearest = (w - edge * along.unsqueeze(-1)).square().sum(-1).amin(-1).sqrt()
        above, below = w[..., 1] >= 0, (w - edge)[..., 1] < 0
        left = edge[:, 0] * w[..., 1] - edge[:, 1] * w[..., 0] > 0
        crossings = ((above & below & left).int() - (~above & ~below & ~left).int()).sum(-1)
        return torch.where(crossings != 0, -nearest, nearest)

    return distance


def _disc(p: Tensor, radius: float, x: float = 0.0, y: float = 0.0) -> Tensor:
    return (p - torch.tensor([x, y])).norm(dim=-1) - radius


OBJECTS: dict[str, Callable[[Tensor], Tensor]] = {
    "circle": lambda p: _disc(p, 0.88),
    "ring": lambda p: _disc(p, 0.7).abs() - 0.24,
    "square": lambda p: p.abs().amax(-1) - 0.78,
    "triangle": _polygon(tuple((1.1 * x, 1.1 * y - 0.15) for x, y in _regular(3))),
    "star": _polygon(tuple(_star())),
    "heart": _polygon(tuple(_heart())),
    "crescent": lambda p: torch.maximum(_disc(p, 0.95, -0.1), -_disc(p, 0.8, 0.38, 0.12)),
    "cross": _polygon(tuple(_CROSS)),
    "arrow": _polygon(tuple(_ARROW)),
    "hourglass": _polygon(tuple(_HOURGLASS)),
}
"""Signed distance (negative inside, y up, object about 1 in radius) of each class, in the order of the labels."""


def _hue_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    ramps = (hue[:, None] * 6 + torch.tensor([0.0, 4.0, 2.0])) % 6
    return value[:, None] * (1 - saturation[:, None] * (1 - (ramps - 3).abs().sub(1).clamp(0, 1)))


class Look(NamedTuple):
    """Where an object is and what it looks like, each (b,) or (b, 2): centre and radius in pixels, y up; tilt and lean in radians."""

    centre: Tensor
    radius: Tensor
    tilt: Tensor
    hue: Tensor
    saturation: Tensor
    value: Tensor
    paper: Tensor
    tint: Tensor
    lean: Tensor
    slope: Tensor


def look(b: int, generator: torch.Generator) -> Look:
    """Random looks of b large objects near the middle."""

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(b, generator=generator)

    centre = torch.stack([uniform(-3, 3), uniform(-3, 3)], -1)
    radius, tilt = uniform(19, 25), uniform(-0.25, 0.25)
    hue, saturation, value = uniform(0, 1), uniform(0.7, 0.95), uniform(0.7, 0.95)
    paper, tint, lean, slope = uniform(0.8, 0.97), uniform(0, 1), uniform(0, 2 * math.pi), uniform(0.03, 0.14)
    return Look(centre, radius, tilt, hue, saturation, value, paper, tint, lean, slope)


def render(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one picture a label: (b,) long 0..9 to (b, 3, 64, 64) in [-1, 1], random in place, size, tilt, hue and shade."""
    return paint(labels, look(len(labels), generator))


def paint(labels: Tensor, how: Look) -> Tensor:
    """Draw objects as they are said to look: (b,) long to (b, 3, 64, 64) in [-1, 1]."""
    b = len(labels)
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    grid = torch.stack([axis.expand(SIZE, SIZE), -axis[:, None].expand(SIZE, SIZE)], -1)
    moved = (grid - how.centre[:, None, None]) / how.radius[:, None, None, None]
    cos, sin = how.tilt.cos()[:, None, None], how.tilt.sin()[:, None, None]
    points = torch.stack([cos * moved[..., 0] + sin * moved[..., 1], cos * moved[..., 1] - sin * moved[..., 0]], -1)
    distance = torch.empty(b, SIZE, SIZE)
    for index, shape in enumerate(OBJECTS.values()):
        chosen = labels == index
        if chosen.any():
            distance[chosen] = shape(points[chosen])
    coverage = (0.5 - distance * how.radius[:, None, None]).clamp(0, 1)[:, None]

    shade = (grid[..., 0] * how.lean.cos()[:, None, None] + grid[..., 1] * how.lean.sin()[:, None, None]) / SIZE
    pale = _hue_to_rgb(how.tint, torch.full((b,), 0.06), how.paper)[:, :, None, None]
    ground = pale - (shade + 0.5)[:, None] * how.slope[:, None, None, None]
    ink = _hue_to_rgb(how.hue, how.saturation, how.value)[:, :, None, None]
    return (ground + coverage * (ink - ground)).clamp(0, 1) * 2 - 1


def batch(size: int, seed: int, index: int) -> tuple[Tensor, Tensor]:
    """Pictures (size, 3, 64, 64) and labels (size,) of batch `index`: the same for the same seed and index, on any machine."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    labels = torch.randint(len(OBJECTS), (size,), generator=generator)
    return render(labels, generator), labels
