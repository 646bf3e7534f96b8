"""What `zoo/compare/nearest.py` compares samples with: the features of every drawing, and a sprite of those of the free sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.compare import nearest
from zoo.engine.hub import Hub
from zoo.training import emoji
from zoo.training.drawings import PACKAGES, drawings
from zoo.training.recipes import levels, pixels

PICTURED = tuple(package for package in PACKAGES if package.licence in ("Apache-2.0", "MIT"))
"""The sets whose drawings stand in the sprite; they are the first ones."""
TILE, ACROSS = 64, 20
"""Pixels a side of a drawing in the sprite, and how many stand in one row."""
SPRITE = Path(nearest.__file__).parent.parent / "ui" / "files" / "drawings.webp"


def plain(mirror: float, ground: float = 0.9) -> tuple[Tensor, Tensor, Tensor]:
    """Every drawing once (n, 3, 64, 64), upright in the middle of a light ground; its class (n,) and its set (n,)."""
    sprites = drawings(tuple(emoji.CLASSES.values()))
    classes, sets = torch.arange(sprites.shape[0]).repeat_interleave(sprites.shape[1]), torch.arange(sprites.shape[1]).repeat(len(sprites))
    one, grounds = torch.ones(len(classes)), torch.full((len(classes), 3), ground)
    how = emoji.look(classes, torch.Generator().manual_seed(0))
    centre = torch.zeros(len(classes), 2)
    how = how._replace(centre=centre, side=53 * one, tilt=0 * one, mirror=mirror * one, near=grounds, far=grounds)
    return pixels(levels(emoji.paint(sprites[classes, sets], how))), classes, sets


def write(hub: Hub) -> None:
    """Write the features and the sprite to where they ship."""
    judge, both = hub.load(hub.card(nearest.JUDGE)).module, [plain(mirror) for mirror in (1.0, -1.0)]
    x, classes, sets = (torch.cat(parts) for parts in zip(*both, strict=True))
    found = torch.cat([nearest.features(judge, part) for part in x.split(128)])
    np.savez_compressed(
        nearest.FILE, features=(found - found.mean(0)).half().numpy(), mean=found.mean(0).numpy(), classes=classes.byte().numpy(),
        sets=sets.byte().numpy(), designs=np.array([package.credit for package in PACKAGES]),
        licences=np.array([package.licence for package in PACKAGES]), pictured=np.int64(len(PICTURED)),
    )  # fmt: skip
    few = drawings(tuple(emoji.CLASSES.values()))[:, : len(PICTURED)].flatten(0, 1).permute(0, 2, 3, 1).numpy()
    sheet = Image.new("RGBA", (ACROSS * TILE, -(-len(few) // ACROSS) * TILE))
    for k, drawing in enumerate(few):
        small = Image.fromarray(drawing).resize((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(small, (k % ACROSS * TILE, k // ACROSS * TILE))
    sheet.save(SPRITE, quality=75, alpha_quality=50, method=6)
