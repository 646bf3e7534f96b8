"""Anybody's clips, opened as a few frames: bounded before they are decoded, and reduced by ffmpeg while they are read."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.errors import MediaError
from zoo.media import ffmpeg, photographs, receipts

AREA = 480 * 270
"""Pixels that a frame is reduced to."""
FRAME, LARGE_FRAME = 30, 15
"""Millions of bytes of one frame that is decoded: 4K in 10 bits takes 25, 4K in 8 bits 12. Of more than LARGE_FRAME only key frames are
decoded, of which telephones write one or two a second, since a decoder holds many of the others; so where it runs out of memory."""
KEYS_ALONE = ("-skip_frame", "nokey")
MILLIONS = 500
"""Of bytes of all frames together that are decoded: 5 s of 1920x1080 in 8 bits at 30 frames a second, 48 s of 640x360."""
MAX_DECODED = 3000
"""Frames of a clip that are decoded, however small."""
MAX_STRETCH = 2
"""How much wider or narrower than high the pixels of a clip may be said to be."""


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Whether ffmpeg finds a video in a file."""
    try:
        return bool(ffmpeg.probe(Path(path)).width)
    except MediaError:
        return False


def open_clip(path: str | os.PathLike[str], count: int) -> list[Image.Image]:
    """`count` frames evenly over anybody's video, GIF or WebP: the whole of it, or as much of its beginning as MILLIONS and MAX_DECODED
    allow, which info["remark"] of the first frame says then. A still picture stands still.

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
            raise MediaError(
                f"A frame of this clip ({probe.width}x{probe.height}, {probe.pixel_format}) takes {megabytes:.0f} MB, more than the "
                f"{FRAME} of 4K in 10 bits: save it smaller."
            )
        share = min(1.0, math.sqrt(AREA / max(pixels, 1)))
        width = f"iw*{share:.6f}*clip(sar,{1 / MAX_STRETCH},{MAX_STRETCH})"  # pixels that are not square are made so
        scale = f"scale=w='max(1,round({width}))':h='max(1,round(ih*{share:.6f}))'"
        most = min(MAX_DECODED, max(1, int(MILLIONS // max(megabytes, 0.001))))
        try:
            frames, number, more = _decode(place, probe, most, scale, KEYS_ALONE if megabytes > LARGE_FRAME else ())
        except ffmpeg.OutOfMemoryError:
            frames, number, more = _decode(place, probe, most, scale, KEYS_ALONE)
        chosen = [frames[round(k)] for k in np.linspace(0, len(frames) - 1, count)]
        remark = f"Only the first {number:,} frames of this clip are looked at: cut it shorter to choose others." if more else ""
        pictures = [Image.open(io.BytesIO(frame), formats=("PPM",)).convert("RGB") for frame in chosen]
        pictures[0].info["remark"] = remark
        return pictures


def _decode(place: Path, probe: ffmpeg.Probe, most: int, scale: str, decoder: tuple[str, ...]) -> tuple[list[bytes], int, bool]:
    """What `_spread` chooses of a clip's first `most` frames, how many were decoded, and whether there are more."""
    with contextlib.closing(ffmpeg.frames(place, probe, most + 1, scale, decoder)) as decoded:
        return *_spread(itertools.islice(decoded, most)), any(decoded)


def _spread(frames: Iterable[bytes]) -> tuple[list[bytes], int]:
    """All frames, or where they are more than MAX_READ every second, fourth ... of them; and how many there were."""
    chosen, stride, number = [], 1, 0
    for frame in frames:
        if number % stride == 0:
            chosen.append(frame)
        number += 1
        if len(chosen) > photographs.MAX_READ:
            del chosen[1::2]
            stride *= 2
    return chosen, number
