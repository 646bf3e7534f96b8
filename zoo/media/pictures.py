"""Pixels -> PNG files that carry their receipt, grids and enlargements; and back. Knows no model."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, PngImagePlugin

from zoo.errors import MediaError
from zoo.media import photographs, receipts

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 1 << 23
"""Pixels of a picture that is read back; the header of a larger one is all that is looked at."""

THUMBNAIL = 160
"""Pixels a side of a picture in a gallery."""


def to_uint8(pixels: Tensor) -> np.ndarray:
    """RGB (..., 3, h, w) in [-1, 1] to (..., h, w, 3) uint8, rounded to the nearest level."""
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(-3, -1).cpu().numpy()


def data_url(content: bytes, kind: str) -> str:
    """A file's content inside a URL; kind: its media type, such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def digest(image: np.ndarray) -> str:
    """sha256 in hex of a picture's size and pixels, however its file is compressed."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def grid(images: np.ndarray, columns: int, scale: int = 1, gap: int = 4) -> Image.Image:
    """One picture of all (b, h, w, 3) uint8, row by row, each smoothly enlarged `scale` times, `gap` white pixels between them."""
    height, width = images.shape[1] * scale, images.shape[2] * scale
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for index, image in enumerate(images):
        tile = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
        sheet.paste(tile, ((index % columns) * (width + gap), (index // columns) * (height + gap)))
    return sheet


def png(image: np.ndarray, receipt: dict[str, Any]) -> bytes:
    """(h, w, 3) uint8 as a PNG file with the receipt inside."""
    chunks, file = PngImagePlugin.PngInfo(), io.BytesIO()
    chunks.add_text(receipts.RECEIPT, receipts.receipt_text(receipt))
    Image.fromarray(image).save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()


def thumbnail(image: np.ndarray) -> bytes:
    """(h, w, 3) uint8 as a JPEG file of at most THUMBNAIL pixels a side, for a gallery."""
    small, file = Image.fromarray(image), io.BytesIO()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    small.save(file, format="JPEG", quality=88)
    return file.getvalue()


def read_png(path: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a PNG made here: its receipt, and only then its pixels (h, w, 3) uint8.

    Raises MediaError where it is no PNG, carries no receipt, or its receipt is malformed or not that of these pixels.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(8) != receipts.PNG:
                raise MediaError("This file cannot be read as a PNG: drop a picture that was downloaded here.")
        receipt = receipts.read(path)
        with photographs.ONE, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG",)) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise MediaError(f"This PNG has {picture.width}x{picture.height} pixels, too many: drop one that was downloaded here.")
                image = np.asarray(picture.convert("RGB"))
    except MediaError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise MediaError(f"This file cannot be read as a PNG ({type(error).__name__}): drop a picture that was downloaded here.") from None
    if receipt.get("pixels") != digest(image):
        raise MediaError("This picture was changed after it was made, so its receipt does not vouch for it: drop the original file.")
    return image, receipt


def compare(image: np.ndarray, earlier: np.ndarray) -> str:
    """One sentence on two pictures (h, w, 3): identical, close (with the largest difference in levels) or different."""
    if image.shape != earlier.shape:
        return f"Different: {image.shape[1]}x{image.shape[0]} pixels instead of {earlier.shape[1]}x{earlier.shape[0]}."
    gap = np.abs(image.astype(np.int16) - earlier.astype(np.int16))
    if not gap.any():
        return "Identical: every pixel is the same."
    verdict = "Close" if gap.max() <= 8 else "Different"
    return f"{verdict}: pixels differ by at most {gap.max()} of 255 levels, {gap.mean():.3f} on average."
