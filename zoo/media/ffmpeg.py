"""The program ffmpeg, as imageio-ffmpeg ships it: the one place that calls it, with bounds on what it may read, decode and write."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from zoo.errors import MediaError

SECONDS = 60
"""After which ffmpeg is stopped."""
MAX_PIXELS = 4096 * 2304
"""Of one frame that is decoded: 4K, as telephones record it."""
MAX_METADATA = 2_000_000
"""Bytes of a file's metadata that are read."""
FORMATS = "mov,matroska,avi,mpeg,mpegts,flv,ogg,asf,ivf,gif"
"""Containers that are opened: not the playlists and scripts among ffmpeg's formats, which make it open other files and addresses."""
SIZE = re.compile(r"^ *Stream #\d+:\d+.*?: Video: .*?, (\d+)x(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Probe:
    """What the head of a file says of its first video."""

    width: int
    height: int
    comment: str


def probe(path: os.PathLike[str]) -> Probe:
    """Size and comment of a video, nothing of it decoded. Raises MediaError where ffmpeg finds none."""
    with run("-v", "info", *_input(path), "-f", "ffmetadata", "-") as process:
        lines = process.stdout.read(MAX_METADATA).decode(errors="replace").splitlines()
        said = process.said()
    size = next((found for found in SIZE.finditer(said) if "attached pic" not in said[found.start() :].split("\n", 1)[0]), None)
    if size is None:
        raise MediaError("This file cannot be read as a clip (no video in it): bring an MP4, WebM, GIF, WebP or a picture.")
    comment = next((line[8:] for line in lines if line.lower().startswith("comment=")), "")
    return Probe(int(size[1]), int(size[2]), "".join(_unescape(comment)))


def frames(path: os.PathLike[str], most: int, filters: str = "null") -> Iterator[bytes]:
    """The first frames of a video, each a PPM of 8 bits a channel, as they are and not by the clock; `most` at most.

    filters: applied before a frame leaves ffmpeg, such as scale. Raises MediaError where there is none, or one is too large.
    """
    wanted = ("-map", "0:V:0", "-frames:v", str(most), "-fps_mode", "passthrough", "-vf", filters)
    number = 0
    with run("-v", "error", *_input(path), *wanted, "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "-") as process:
        while picture := _ppm(process.stdout):
            yield picture
            number += 1
        complaint = "" if number else process.said()
    if not number:
        why = re.sub(r"^(\[.*?\] *)+", "", (complaint.splitlines() or ["no frames"])[0])[:120].rstrip(".")  # less which part complains
        raise MediaError(f"This file cannot be read as a clip ({''.join(filter(str.isprintable, why))}): bring an MP4, WebM, GIF or WebP.")


def make(*arguments: str, stdin: bytes) -> None:
    """Let ffmpeg write a file from raw frames. Raises RuntimeError with its first complaint."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments]
    process = subprocess.run(command, input=stdin, capture_output=True, timeout=600, check=False)
    if process.returncode:
        raise RuntimeError((process.stderr.decode(errors="replace").splitlines() or ["ffmpeg failed"])[0])


def _input(path: os.PathLike[str]) -> tuple[str, ...]:
    """One core, frames of a bounded size; `file:` because a name such as 12:30.mp4 would be read as a protocol."""
    bounds = ("-threads", "1", "-max_pixels", str(MAX_PIXELS), "-format_whitelist", FORMATS, "-protocol_whitelist", "file")
    return (*bounds, "-i", f"file:{os.fspath(path)}")


class Running:
    """A process of ffmpeg whose output is read piece by piece."""

    def __init__(self, process: subprocess.Popen[bytes], complaints: tempfile.SpooledTemporaryFile) -> None:
        self.process, self.complaints = process, complaints
        self.stdout = process.stdout

    def said(self) -> str:
        """What it said so far once it has ended, at most MAX_METADATA bytes."""
        self.process.wait()
        self.complaints.seek(0)
        return self.complaints.read(MAX_METADATA).decode(errors="replace")


@contextlib.contextmanager
def run(*arguments: str) -> Iterator[Running]:
    """ffmpeg at work inside the block, stopped at its end or after SECONDS. Raises MediaError where it cannot be started."""
    import imageio_ffmpeg

    with tempfile.TemporaryFile() as complaints:
        try:
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-nostats", *arguments]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        except (OSError, RuntimeError, ValueError) as error:
            raise MediaError(f"ffmpeg cannot be started ({type(error).__name__}): reinstall imageio-ffmpeg.") from None
        clock = threading.Timer(SECONDS, process.kill)
        clock.daemon = True
        clock.start()
        try:
            yield Running(process, complaints)
        finally:
            clock.cancel()
            process.kill()
            process.stdout.close()
            process.wait()


def _ppm(stream: object) -> bytes:
    """The next PPM of a stream, empty at its end or where it breaks off."""
    head = b"".join(stream.readline(32) for _ in range(3))
    if not (size := re.fullmatch(rb"P6\n(\d+) (\d+)\n255\n", head)):
        return b""
    content = stream.read(wanted := int(size[1]) * int(size[2]) * 3)
    return head + content if len(content) == wanted else b""


def _unescape(text: str) -> Iterator[str]:
    """ffmpeg puts a backslash before = ; # and the backslash itself."""
    letters = iter(text)
    return (next(letters, "") if letter == "\\" else letter for letter in letters)
