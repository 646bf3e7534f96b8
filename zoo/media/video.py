"""Frames -> MP4, GIF and WebP that carry their receipt, an animated preview and a space-time slice; and frames back. Knows no model."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zoo.errors import MediaError
from zoo.media.pictures import MAX_READ, MAX_RECEIPT, is_picture, open_frames, parse_receipt

DESCRIPTION = 0x010E
"""EXIF's ImageDescription, which holds the receipt of a WebP."""
SUFFIXES = (".mp4", ".gif", ".webp")
"""Of the files that a video is kept as."""
MAX_BYTES = 200_000_000
"""Of a video that is read back."""


def files(frames: np.ndarray, fps: int, receipt: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """(suffix, content) of (f, h, w, 3) uint8 as .webp (lossless), .gif and .mp4, the receipt inside each.

    Raises MediaError where ffmpeg cannot make the MP4, which comes last: the others are made by then.
    """
    text = json.dumps(receipt, ensure_ascii=True)
    exif = Image.Exif()
    exif[DESCRIPTION] = text
    yield ".webp", _webp(frames, fps, lossless=True, exif=exif.tobytes())
    yield ".gif", _gif(frames, fps, text)
    try:
        yield ".mp4", _mp4(frames, fps, text)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        raise MediaError(f"ffmpeg could not make the MP4 ({str(error)[:120]}): the video is kept as WebP and GIF in the results.") from None


def _ffmpeg(*arguments: str, stdin: bytes | None = None) -> bytes:
    """What ffmpeg, as imageio-ffmpeg ships it, writes to its output. Raises RuntimeError with its first complaint."""
    import imageio_ffmpeg

    process = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments], input=stdin, capture_output=True, timeout=600, check=False
    )
    if process.returncode:
        raise RuntimeError((process.stderr.decode(errors="replace").splitlines() or ["ffmpeg failed"])[0])
    return process.stdout


def _mp4(frames: np.ndarray, fps: int, text: str) -> bytes:
    """H.264, yuv420p, faststart: what every browser plays; odd sides lose their last line."""
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2
    raw = np.ascontiguousarray(frames[:, :height, :width]).tobytes()
    source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-")
    codec = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "16", "-movflags", "+faststart")
    with tempfile.TemporaryDirectory() as folder:  # faststart moves what it has written, for which it needs a file
        path = Path(folder) / "clip.mp4"
        _ffmpeg(*source, *codec, "-metadata", f"comment={text}", str(path), stdin=raw)
        return path.read_bytes()


def _gif(frames: np.ndarray, fps: int, text: str) -> bytes:
    return _moving(frames, format="GIF", duration=1000 / fps, comment=text.encode())


def _webp(frames: np.ndarray, fps: int, **options: Any) -> bytes:
    return _moving(frames, format="WEBP", duration=round(1000 / fps), **options)


def _moving(frames: np.ndarray, **options: Any) -> bytes:
    pictures, file = [Image.fromarray(frame) for frame in frames], io.BytesIO()
    pictures[0].save(file, save_all=True, append_images=pictures[1:], loop=0, **options)
    return file.getvalue()


def animation(frames: np.ndarray, fps: int) -> bytes:
    """An animated picture (WebP) of (f, h, w, 3) uint8, quick to make, for a preview."""
    return _webp(frames, fps, quality=80, method=0)


def read(path: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, Any]]:
    """Frames (f, h, w, 3) uint8 and the receipt of an MP4, GIF or WebP made here; an MP4's frames are off by the codec's error.

    Raises MediaError where it is none of these, or carries no receipt.
    """
    place = Path(path)
    try:
        if place.stat().st_size > MAX_BYTES:
            raise MediaError(f"This file has {place.stat().st_size} bytes, too many: drop a video that was downloaded here.")
        frames, text = _read_mp4(place) if place.suffix.lower() == ".mp4" else _read_animation(place)
    except (OSError, ValueError, TypeError, RuntimeError, subprocess.TimeoutExpired, Image.DecompressionBombError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"This file cannot be read as a video ({type(error).__name__}): drop one that was downloaded here.") from None
    if not text or len(text) > MAX_RECEIPT:
        raise MediaError("This video carries no receipt of Patchwork: drop one that was downloaded here, unedited.")
    return frames, parse_receipt(text)


def _read_mp4(path: Path) -> tuple[np.ndarray, str]:
    frames = _frames(_ffmpeg("-i", str(path), "-f", "image2pipe", "-c:v", "ppm", "-"))
    lines = _ffmpeg("-i", str(path), "-f", "ffmetadata", "-").decode().splitlines()
    comment = next((line.removeprefix("comment=") for line in lines if line.startswith("comment=")), "")
    return frames, "".join(_unescape(comment))


def _frames(raw: bytes) -> np.ndarray:
    """Frames (f, h, w, 3) of PPM pictures one after the other."""
    header = re.match(rb"P6\s(\d+) (\d+)\s255\s", raw)
    if header is None:
        raise ValueError("no frames")
    width, height = int(header[1]), int(header[2])
    return np.frombuffer(raw, np.uint8).reshape(-1, header.end() + width * height * 3)[:, header.end() :].reshape(-1, height, width, 3)


def _unescape(text: str) -> Any:
    """ffmpeg puts a backslash before = ; # and the backslash itself."""
    letters = iter(text)
    return (next(letters, "") if letter == "\\" else letter for letter in letters)


def _read_animation(path: Path) -> tuple[np.ndarray, str]:
    with Image.open(path, formats=("GIF", "WEBP")) as picture:
        text = picture.getexif().get(DESCRIPTION) or picture.info.get("comment", b"")
        frames = []
        for index in range(picture.n_frames):
            picture.seek(index)
            frames.append(np.asarray(picture.convert("RGB")))
    return np.stack(frames), text.decode() if isinstance(text, bytes) else text


def exact_frames(path: Path, fps: int) -> np.ndarray:
    """Frames (f, h, w, 3) uint8 of a lossless WebP made here at so many frames a second, to the bit. Raises OSError or ValueError.

    WebP keeps a frame that equals the one before it as a longer duration of that one.
    """
    frames = []
    with Image.open(path, formats=("WEBP",)) as picture:
        for index in range(picture.n_frames):
            picture.seek(index)
            frame = np.asarray(picture.convert("RGB"))
            frames += [frame] * max(1, round(picture.info.get("duration", 0) / round(1000 / fps)))
    return np.stack(frames)


def is_clip(path: str | os.PathLike[str]) -> bool:
    """Whether ffmpeg finds at least one frame of a video in a file."""
    try:
        return bool(_ffmpeg("-i", str(path), "-frames:v", "1", "-vf", "scale=16:16", "-f", "image2pipe", "-c:v", "ppm", "-"))
    except (OSError, RuntimeError, subprocess.TimeoutExpired):
        return False


def open_clip(path: str | os.PathLike[str], count: int) -> list[Image.Image]:
    """`count` frames evenly over the beginning of anybody's video, GIF or WebP; a still picture stands still.

    Raises MediaError where it is none, damaged or too large.
    """
    place = Path(path)
    if is_picture(place):
        return open_frames(place, count)
    side = "scale=w='min(480,iw)':h='min(480,ih)':force_original_aspect_ratio=decrease:force_divisible_by=2"
    try:
        if place.stat().st_size > MAX_BYTES:
            raise MediaError(f"This file has {place.stat().st_size} bytes, more than {MAX_BYTES // 10**6} million: cut it shorter first.")
        frames = _frames(_ffmpeg("-i", str(place), "-vf", side, "-frames:v", str(MAX_READ), "-f", "image2pipe", "-c:v", "ppm", "-"))
    except (OSError, ValueError, RuntimeError, subprocess.TimeoutExpired) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"This file cannot be read as a clip ({type(error).__name__}): bring an MP4, GIF, WebP or a picture.") from None
    return [Image.fromarray(frames[round(k)]) for k in np.linspace(0, len(frames) - 1, count)]


def space_time(frames: np.ndarray, row: int, scale: int = 8) -> np.ndarray:
    """The x-t picture of one row of (f, h, w, 3): time runs down, each frame `scale` lines high; flicker shows as stripes."""
    return np.repeat(frames[:, row], scale, axis=0)


def flicker(frames: np.ndarray) -> float:
    """Mean absolute change of the change from frame to frame, in levels of 255: 0 for a still or evenly changing video."""
    return float(np.abs(np.diff(frames.astype(np.float32), n=2, axis=0)).mean())
