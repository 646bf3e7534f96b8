"""Anybody's clips, opened as a few frames: bounded before they are decoded, and reduced by ffmpeg while they are read."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.errors import MediaError
from zoo.media import ffmpeg, photographs, receipts

AREA = 480 * 270
"""Pixels that a frame is reduced to."""
FRAME, LARGE_FRAME = 30, 15
"""Millions of bytes of one frame that is decoded: 4K in 10 bits takes 25, 4K in 8 bits 12. Of more than LARGE_FRAME only key frames are
decoded, of which telephones write one or two a second, since a decoder holds many of the others."""
MILLIONS = 300
"""Of bytes of all frames together that are decoded: 96 frames of 1920x1080 in 8 bits."""


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Whether ffmpeg finds a video in a file."""
    try:
        return bool(ffmpeg.probe(Path(path)).width)
    except MediaError:
        return False


def open_clip(path: str | os.PathLike[str], count: int) -> list[Image.Image]:
    """`count` frames evenly over the beginning of anybody's video, GIF or WebP: the whole of it, or as many frames as MAX_READ and
    MILLIONS allow. A still picture stands still.

    Raises MediaError where it is none, damaged or too large.
    """
    place = Path(path)
    if photographs.is_picture(place):
        return photographs.open_frames(place, count)
    try:
        size = place.stat().st_size
    except (OSError, ValueError) as error:
        raise MediaError(f"This file cannot be read as a clip ({type(error).__name__}): name one that is there.") from None
    if size > receipts.MAX_FILE:
        raise MediaError(f"This file has {size:,} bytes, more than {receipts.MAX_FILE:,}: cut it shorter first.")
    with photographs.ONE:
        probe = ffmpeg.probe(place)
        pixels = probe.width * probe.height
        if pixels > ffmpeg.MAX_PIXELS:
            raise MediaError(
                f"This clip has {probe.width}x{probe.height} pixels a frame, more than the {ffmpeg.MAX_PIXELS:,} of 4K: "
                "make it smaller first."
            )
        megabytes = probe.frame_bytes / 10**6
        if megabytes > FRAME:
            kind = f"{probe.width}x{probe.height}, {probe.pixel_format}"
            raise MediaError(
                f"A frame of this clip ({kind}) takes {megabytes:.0f} MB, more than the {FRAME} of 4K in 10 bits: save it smaller."
            )
        share = min(1.0, math.sqrt(AREA / max(pixels, 1)))
        scale = f"scale=w='max(1,round(iw*{share:.6f}))':h='max(1,round(ih*{share:.6f}))'"
        most = min(photographs.MAX_READ, max(1, int(MILLIONS // max(megabytes, 0.001))))
        frames = list(ffmpeg.frames(place, probe, most, scale, ("-skip_frame", "nokey") if megabytes > LARGE_FRAME else ()))
        chosen = [frames[round(k)] for k in np.linspace(0, len(frames) - 1, count)]
        return [Image.open(io.BytesIO(frame), formats=("PPM",)).convert("RGB") for frame in chosen]
