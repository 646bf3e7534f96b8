"""Pixels -> PNG files that carry their receipt, grids and enlargements; and receipts back from files. Knows no model."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from zoo.errors import MediaError

if TYPE_CHECKING:
    from torch import Tensor

RECEIPT = "patchwork"
"""Name of the PNG text chunk that holds the receipt as JSON."""
MAX_RECEIPT = 256_000
"""Characters of a receipt; a longer one is refused."""

MAX_PHOTO = 80_000_000
"""Pixels of a photograph that somebody brings."""
MAX_SIDE = 4096
"""Pixels of the longer side that is kept of it."""
MAX_READ = 160
"""Frames of anybody's clip that are looked at."""
MAX_FILE = 200_000_000
"""Bytes of a file that is searched for a receipt."""
MAX_PIXELS = 1 << 24
"""Pixels of a picture that is read back, 4096 x 4096; the header of a larger one is all that is looked at."""


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
    chunks.add_text(RECEIPT, receipt_text(receipt))
    Image.fromarray(image).save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()


def receipt_text(receipt: dict[str, Any]) -> str:
    """A receipt as the JSON that stands in a PNG and beside every file."""
    return json.dumps(receipt, ensure_ascii=True, indent=1)


def carries_receipt(path: str | os.PathLike[str]) -> bool:
    """Whether a file, of any kind, was made here: its bytes hold the word that every receipt has. Nothing is decoded."""
    place = Path(path)
    return place.stat().st_size <= MAX_FILE and RECEIPT.encode() in place.read_bytes()


def read_png(path: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a PNG made here: its pixels (h, w, 3) uint8 and its receipt.

    Raises MediaError where it is no PNG, carries no receipt, or its receipt is malformed or not that of these pixels.
    """
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise MediaError(f"This PNG has {picture.width}x{picture.height} pixels, too many: drop one that was downloaded here.")
            text = picture.text.get(RECEIPT)
            if text is None:
                raise MediaError("This PNG carries no receipt of Patchwork: drop a picture that was downloaded here, unedited.")
            image = np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"This file cannot be read as a PNG ({type(error).__name__}): drop a picture that was downloaded here.") from None
    receipt = parse_receipt(text)
    if receipt.get("pixels") != digest(image):
        raise MediaError("This picture was changed after it was made, so its receipt does not vouch for it: drop the original file.")
    return image, receipt


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Open anybody's picture as upright, opaque RGB: turned as its EXIF says, over white where transparent, its first frame where it
    moves, 16 bits scaled to 8. Raises MediaError where it is no picture, damaged, or too large."""
    return open_frames(path, 1)[0]


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a picture that Pillow knows, be it damaged or too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path):
                return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # Pillow's readers raise whatever a damaged file leads them to
        return False


def open_frames(path: str | os.PathLike[str], count: int) -> list[Image.Image]:
    """`count` frames evenly over the first MAX_READ of a picture that moves, each as open_picture makes them; a still one stands still."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged EXIF is only not obeyed
            with Image.open(path) as file:
                indices = np.linspace(0, min(getattr(file, "n_frames", 1), MAX_READ) - 1, count).round().astype(int).tolist()
                frames = {}
                for index in dict.fromkeys(indices):
                    file.seek(index)
                    frames[index] = _opaque(file)
                    frames[index].thumbnail((MAX_SIDE, MAX_SIDE) if count == 1 else (512, 512))
                return [frames[index] for index in indices]
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise MediaError(f"This picture has more than {MAX_PHOTO // 10**6} million pixels: make it smaller first.") from None
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise MediaError(f"This file cannot be read as a picture ({type(error).__name__}): bring a JPEG, PNG, WebP or GIF.") from None


def _opaque(file: Image.Image) -> Image.Image:
    if file.width * file.height > MAX_PHOTO:
        raise MediaError(
            f"This picture has {file.width}x{file.height} pixels, more than {MAX_PHOTO // 10**6} million: make it smaller first."
        )
    file.draft("RGB", (2048, 2048))  # a large JPEG is decoded at a fraction of its size
    picture = ImageOps.exif_transpose(file)
    if picture.mode.startswith("I") or picture.mode == "F":
        levels = np.nan_to_num(np.asarray(picture).astype(np.float32)).clip(min=0)
        white = max(levels.max(), 65535 if picture.mode != "F" else 1)
        picture = Image.fromarray((levels * (255 / white)).round().astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert("RGB")


def parse_receipt(text: str) -> dict[str, Any]:
    """A receipt from its JSON. Raises MediaError for anything else; what it asks for is checked by Request."""
    try:
        receipt = json.loads(text) if len(text) <= MAX_RECEIPT else None
    except (ValueError, RecursionError):
        receipt = None
    if not isinstance(receipt, dict) or not isinstance(receipt.get("request"), dict):
        raise MediaError("The receipt in this file is malformed: drop a picture that was downloaded here, unedited.")
    return receipt


def compare(image: np.ndarray, earlier: np.ndarray) -> str:
    """One sentence on two pictures (h, w, 3): identical, close (with the largest difference in levels) or different."""
    if image.shape != earlier.shape:
        return f"Different: {image.shape[1]}x{image.shape[0]} pixels instead of {earlier.shape[1]}x{earlier.shape[0]}."
    gap = np.abs(image.astype(np.int16) - earlier.astype(np.int16))
    if not gap.any():
        return "Identical: every pixel is the same."
    verdict = "Close" if gap.max() <= 8 else "Different"
    return f"{verdict}: pixels differ by at most {gap.max()} of 255 levels, {gap.mean():.3f} on average."
