"""Frames -> MP4, GIF and WebP that carry their receipt, an animated preview and a space-time slice; and frames back. Knows no model."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.errors import MediaError
from zoo.media import ffmpeg, photographs, receipts

SUFFIXES = (".mp4", ".gif", ".webp")
"""Of the files that a video is kept as."""
MAX_FRAMES = 64
"""Of a video that is read back."""
MAX_PIXELS = 1 << 24
"""Of all its frames together: 64 frames of 512x512."""
GIF_DELAY = 0.02
"""Seconds that a frame of a GIF stays at least; browsers make a tenth of a second of what is shorter."""


def files(frames: np.ndarray, fps: int, receipt: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """(suffix, content) of (f, h, w, 3) uint8 as .webp (lossless), .gif and .mp4, the receipt inside each.

    Raises MediaError where ffmpeg cannot make the MP4, which comes last: the others are made by then.
    """
    text = json.dumps(receipt, ensure_ascii=True)
    exif = Image.Exif()
    exif[receipts.DESCRIPTION] = text
    yield ".webp", _webp(frames, fps, lossless=True, exif=exif.tobytes())
    yield ".gif", _gif(frames, fps, text)
    try:
        yield ".mp4", _mp4(frames, fps, text)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        raise MediaError(f"ffmpeg could not make the MP4 ({str(error)[:120]}): the video is kept as WebP and GIF in the results.") from None


def _mp4(frames: np.ndarray, fps: int, text: str) -> bytes:
    """H.264, yuv420p, faststart: what every browser plays; odd sides lose their last line."""
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    raw = np.ascontiguousarray(frames[:, :height, :width]).tobytes()
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-")
    codec = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "16", "-movflags", "+faststart")
    with tempfile.TemporaryDirectory() as folder:  # faststart moves what it has written, for which it needs a file
        path = Path(folder) / "clip.mp4"
        ffmpeg.make(*source, *codec, "-metadata", f"comment={text}", str(path), stdin=raw)
        return path.read_bytes()


def _gif(frames: np.ndarray, fps: int, text: str) -> bytes:
    """At more than 50 frames a second some are left out, evenly."""
    seconds = len(frames) / fps
    number = min(len(frames), max(1, math.floor(seconds / GIF_DELAY + 1e-9)))
    chosen = frames[[k * len(frames) // number for k in range(number)]]
    return _moving(chosen, format="GIF", duration=_delays(number, seconds, unit=10), comment=text.encode())


def _webp(frames: np.ndarray, fps: int, **options: Any) -> bytes:
    return _moving(frames, format="WEBP", duration=_delays(len(frames), len(frames) / fps, unit=1), **options)


def _delays(number: int, seconds: float, unit: int) -> list[int]:
    """Milliseconds of each frame in whole units, which together are as long as asked to within half a unit."""
    ends = [round(seconds * 1000 * k / number / unit) * unit for k in range(number + 1)]
    return [max(end - start, 1) for start, end in itertools.pairwise(ends)]


def _moving(frames: np.ndarray, **options: Any) -> bytes:
    pictures, file = [Image.fromarray(frame) for frame in frames], io.BytesIO()
    pictures[0].save(file, save_all=True, append_images=pictures[1:], loop=0, **options)
    return file.getvalue()


def animation(frames: np.ndarray, fps: int) -> bytes:
    """An animated picture (WebP) of (f, h, w, 3) uint8, quick to make, for a preview."""
    return _webp(frames, fps, quality=80, method=0)


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """The receipt of an MP4, GIF or WebP made here, and only then its frames (f, h, w, 3) uint8; an MP4's are off by the codec's error.

    Raises MediaError where it is none of these, carries no receipt, or holds more than a video that is made here.
    """
    place = Path(path)
    receipt = receipts.read(place)
    try:
        with photographs.ONE, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return (_animation_frames if photographs.is_picture(place) else _mp4_frames)(place), receipt
    except MediaError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise MediaError(f"This file cannot be read as a video ({type(error).__name__}): drop one that was downloaded here.") from None


def _check(width: int, height: int, number: int = 1) -> None:
    """Raise MediaError for more than a video that is made here has."""
    if number > MAX_FRAMES or width * height * number > MAX_PIXELS:
        raise MediaError(f"This video has {number} or more frames of {width}x{height}, too many: drop one that was downloaded here.")


def _mp4_frames(path: Path) -> np.ndarray:
    probe = ffmpeg.probe(path)
    _check(probe.width, probe.height)
    most = min(MAX_FRAMES, MAX_PIXELS // max(probe.width * probe.height, 1))
    frames = [np.asarray(Image.open(io.BytesIO(one), formats=("PPM",))) for one in ffmpeg.frames(path, probe, most + 1)]
    _check(probe.width, probe.height, len(frames))
    return np.stack(frames)


def _animation_frames(path: Path) -> np.ndarray:
    with Image.open(path, formats=("GIF", "WEBP")) as picture:
        _check(picture.width, picture.height)
        most = min(MAX_FRAMES, MAX_PIXELS // (picture.width * picture.height))
        frames = []
        for index in range(most + 1):
            try:
                picture.seek(index)
            except EOFError:
                break
            frames.append(np.asarray(picture.convert("RGB")))
        _check(picture.width, picture.height, len(frames))
    return np.stack(frames)


def exact_frames(path: Path, fps: int) -> np.ndarray:
    """Frames (f, h, w, 3) uint8 of a lossless WebP made here at so many frames a second, to the bit. Raises OSError or ValueError.

    WebP keeps a frame that equals the one before it as a longer duration of that one.
    """
    frames = []
    with Image.open(path, formats=("WEBP",)) as picture:
        for index in range(picture.n_frames):
            picture.seek(index)
            frame = np.asarray(picture.convert("RGB"))
            frames += [frame] * max(1, round(picture.info.get("duration", 0) * fps / 1000))
    return np.stack(frames)


def space_time(frames: np.ndarray, row: int, scale: int = 8) -> np.ndarray:
    """The x-t picture of one row of (f, h, w, 3): time runs down, each frame `scale` lines high; flicker shows as stripes."""
    return np.repeat(frames[:, row], scale, axis=0)


def flicker(frames: np.ndarray) -> float:
    """Mean absolute change of the change from frame to frame, in levels of 255: 0 for a still or evenly changing video."""
    return float(np.abs(np.diff(frames.astype(np.float32), n=2, axis=0)).mean())
