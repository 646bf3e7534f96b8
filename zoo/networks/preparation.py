"""A picture as a vision transformer was trained to see it: as its published configuration says, else as its card does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalog.card import PREPARATION, Card, Pixels
from zoo.errors import CheckpointError

PROCESSORS = {
    "ViT": "ViTImageProcessorPil", "DeiT": "DeiTImageProcessorPil", "Bit": "BitImageProcessorPil", "CLIP": "CLIPImageProcessorPil",
    "Vivit": "VivitImageProcessor",
}  # fmt: skip
"""The processors of transformers that need no torchvision, by the name that configurations give them."""
PROCESSOR_OF = {
    "vit": "ViT", "swin": "ViT", "deit": "DeiT", "dinov2": "Bit", "dinov2-registers": "Bit", "clip-vision": "CLIP", "vivit": "Vivit",
}  # fmt: skip
"""The processor of a family whose configuration names none."""
LONGEST = 64
"""How many times as long as wide a picture is resized whole: at 256 pixels, 4 million of them."""
MAX_BYTES = 1 << 16
"""Of a configuration; published ones have less than a thousand."""
REMEDY = "fetch the model again, or import its weights without that file"


def prepare(picture: Image.Image, pixels: Pixels, size: int) -> tuple[np.ndarray, Tensor]:
    """Resize and crop a picture as a model wants it: (size, size, 3) uint8 and the numbers that it is given, (3, size, size).

    The same numbers, bit by bit, as the processors of transformers without torchvision; only of a picture more than LONGEST times as
    long as wide are the ends, which would be cut off anyway, cut off before it is resized.
    """
    picture = picture.convert("RGB")
    width, height = (min(side, LONGEST * min(picture.size)) for side in picture.size)
    if pixels.resize and (width, height) != picture.size:
        picture = _middle(picture, width, height)
    resample = Image.Resampling[pixels.resample.upper()]
    image = np.asarray(_middle(picture.resize(resized(pixels, size, *picture.size), resample), size, size))
    levels = (np.arange(256) * pixels.scale).astype(np.float32) - np.float32(pixels.offset)
    mean, std = (np.array(values, dtype=np.float32) for values in (pixels.mean, pixels.std))
    return image, torch.from_numpy((levels[image] - mean) / std).movedim(-1, 0).contiguous()


def _middle(picture: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def resized(pixels: Pixels, size: int, width: int, height: int) -> tuple[int, int]:
    """Width and height to which a picture is resized before its middle, `size` a side, is cut out."""
    if not pixels.resize:
        return (pixels.stretch or size,) * 2
    short = min(width, height)
    return int(pixels.resize * width / short), int(pixels.resize * height / short)


def prepared(card: Card, files: Mapping[str, Path]) -> Card:
    """The card of a vision transformer with the preparation that its files say, which wins over the card's own; files: by name.

    Raises CheckpointError for a configuration that is damaged, or that prepares what this model or this program does not take.
    """
    if PREPARATION not in files or card.family not in PROCESSOR_OF:
        return card
    path = files[PREPARATION]
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
        pixels, side = _read(json.loads(path.read_text(encoding="utf-8")), card)
    except Exception as error:  # transformers' processors raise whatever a wrong value leads them to
        reason = " ".join(f"{type(error).__name__ if isinstance(error, KeyError) else ''} {error}".split())[:120].rstrip(".")
        raise CheckpointError(f"{PREPARATION} of {card.id} cannot be followed ({reason}): {REMEDY}.") from None
    patch, own = card.arch["patch_size"], card.arch["input_size"]
    if side != own and not (card.family.startswith("dinov2") and side % patch == 0 and side <= own):
        raise CheckpointError(f"{PREPARATION} prepares {side} x {side} pixels, and {card.id} takes {own} x {own}: {REMEDY}.")
    return replace(card, pixels=pixels)


def _read(words: Any, card: Card) -> tuple[Pixels, int]:
    """What a configuration prepares, and pixels a side of it, with the defaults of its processor in transformers."""
    import transformers

    if not isinstance(words, dict):
        raise ValueError("it is no mapping")
    name = str(words.get("image_processor_type") or words.get("feature_extractor_type") or PROCESSOR_OF[card.family])
    kind = name.removesuffix("Pil").removesuffix("Fast").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    if kind not in PROCESSORS:
        raise ValueError(f"it is for {name[:40]}, and this program knows {', '.join(PROCESSORS)}")
    words = getattr(transformers, PROCESSORS[kind])(**words).to_dict()
    if not words["do_resize"] or words.get("do_pad"):
        raise ValueError("it leaves a picture at its size, or pads it")
    size = words["size"]
    short, square = size.get("shortest_edge", 0), _square(size) if "height" in size else 0
    crop = _square(words["crop_size"]) if words.get("do_center_crop") else 0
    side = crop or square
    if not 0 < side <= (short or square):
        raise ValueError(f"it cuts {side} pixels a side from {short or square}")
    mean, std = (words["image_mean"], words["image_std"]) if words["do_normalize"] else ((0.0,) * 3, (1.0,) * 3)
    scale = words["rescale_factor"] if words["do_rescale"] else 1.0
    offset = 1.0 if words.get("offset") and words["do_rescale"] else 0.0
    numbers = [float(value) for value in (*mean, *std, scale)]
    if len(numbers) != 7 or not all(map(math.isfinite, numbers)) or 0 in numbers[3:]:
        raise ValueError("its mean and deviation are not three numbers each")
    resample = Image.Resampling(words["resample"]).name.lower()
    return Pixels(short, 0 if short else square, crop, resample, tuple(numbers[:3]), tuple(numbers[3:6]), scale, offset), side


def _square(size: Mapping[str, int]) -> int:
    if size["height"] != size["width"] or isinstance(size["height"], bool) or not isinstance(size["height"], int):
        raise ValueError(f"it makes {size['height']} x {size['width']} pixels, which are no square")
    return size["height"]
