"""Many small pictures in one file, so that a browser has them all at once and shows one at a time."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

MOST_PIXELS = 4_000_000
"""Of one sprite; the pictures of a larger one become smaller."""


@dataclass(frozen=True)
class Sprite:
    """Pictures of one size side by side, row by row, as one WebP file."""

    content: bytes
    across: int
    """Pictures in a row."""
    width: int
    height: int
    """Of one picture, in pixels of the file."""


def sprite(pictures: np.ndarray, lossless: bool = False) -> Sprite:
    """One file of pictures (n, h, w, 3) uint8; lossless: every pixel as it is, whatever that takes."""
    count, height, width = pictures.shape[:3]
    share = 1.0 if lossless else min(1.0, math.sqrt(MOST_PIXELS / (count * height * width)))
    size = max(1, int(width * share)), max(1, int(height * share))
    across = math.ceil(math.sqrt(count))
    sheet = Image.new("RGB", (across * size[0], math.ceil(count / across) * size[1]))
    for k, picture in enumerate(pictures):
        image = Image.fromarray(picture)
        tile = image if image.size == size else image.resize(size, Image.Resampling.BOX)
        sheet.paste(tile, (k % across * size[0], k // across * size[1]))
    file = io.BytesIO()
    sheet.save(file, format="WEBP", lossless=lossless, quality=100 if lossless else 80, method=6 if lossless else 2)
    return Sprite(file.getvalue(), across, *size)


def picture_of(sheet: np.ndarray, k: int, across: int, width: int, height: int) -> np.ndarray:
    """Picture k (height, width, 3) of a sprite that was read, (h, w, 3) uint8."""
    top, left = k // across * height, k % across * width
    return sheet[top : top + height, left : left + width]
