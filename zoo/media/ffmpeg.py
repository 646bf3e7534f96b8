"""The program ffmpeg, as imageio-ffmpeg ships it: the one place that calls it, with bounds on what it may read, decode and write."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zoo.errors import MediaError

if sys.platform == "linux":
    import resource

SECONDS = 10
"""After which ffmpeg is stopped."""
PROBING_SECONDS, DECODING_SECONDS = 1, 3
"""Of one core that it may take, which other work on the machine does not lengthen."""
PROBING, DECODING = 150, 200
"""Millions of bytes that ffmpeg may ask the machine for, the stacks of its threads (80) among them: a file makes it open a decoder for
each of its tracks, and hold up to sixteen frames."""
TRACKS = 16
"""Of one file."""
MAX_PIXELS = 4096 * 2304
"""Of one frame that is decoded: 4K, as telephones record it."""
MAX_METADATA = 2_000_000
"""Bytes of a file's metadata that are read."""
FORMATS = "mov,matroska,avi,mpeg,mpegts,flv,ogg,asf,ivf,gif"
"""Containers that are opened: not the playlists and scripts among ffmpeg's formats, which make it open other files and addresses."""
VIDEO = re.compile(r"^ *Stream #\d+:\d+.*?: Video: .*?(?:, (\w+)(?:\([^)]*\))?)?, (\d+)x(\d+)", re.MULTILINE)
SAMPLES = {"yuva": 4, "420": 1.5, "nv12": 1.5, "p010": 1.5, "411": 1.5, "422": 2, "gray": 1, "pal8": 1, "444": 3, "rgb24": 3, "gbrp": 3}
"""Samples a pixel, by a part of the pixel format's name; another has four at most."""


class OutOfMemoryError(MediaError):
    """A clip's decoder asked for more than PROBING or DECODING."""


@dataclass(frozen=True)
class Probe:
    """What the head of a file says of its first video."""

    width: int
    height: int
    pixel_format: str
    comment: str

    @property
    def frame_bytes(self) -> float:
        """Of one decoded frame, roughly and rather too many."""
        samples = next((number for part, number in SAMPLES.items() if part in self.pixel_format), 4)
        depth = 4 if "f32" in self.pixel_format else 2 if self.pixel_format.endswith(("le", "be")) else 1
        return self.width * self.height * samples * depth


def probe(path: os.PathLike[str]) -> Probe:
    """Size and comment of a video, nothing of it decoded. Raises MediaError where ffmpeg finds none."""
    with run("-v", "info", *_input(path), "-f", "ffmetadata", "-", bounds=(PROBING, PROBING_SECONDS)) as process:
        lines = process.stdout.read(MAX_METADATA).decode(errors="replace").splitlines()
        said = process.said()
    video = next((found for found in VIDEO.finditer(said) if "attached pic" not in said[found.start() :].split("\n", 1)[0]), None)
    _check_memory(said)
    if video is None:
        raise MediaError("This file cannot be read as a clip (no video in it): bring an MP4, WebM, GIF, WebP or a picture.")
    comment = next((line[8:] for line in lines if line.lower().startswith("comment=")), "")
    return Probe(int(video[2]), int(video[3]), video[1] or "", "".join(_unescape(comment)))


def frames(path: os.PathLike[str], video: Probe, most: int, filters: str = "null", decoder: Sequence[str] = ()) -> Iterator[bytes]:
    """The first frames of a video, each a PPM of 8 bits a channel, as they are and not by the clock; `most` at most.

    video: what its head says; frames that grow stop at that size, or 1920x1088; filters: applied before a frame leaves ffmpeg, such as
    scale; decoder: its options. Raises MediaError where there is no frame, OutOfMemoryError where it takes too much.
    """
    padded = (video.width + 256) * (video.height + 320)  # as some decoders hold it
    pixels = min(max(padded, 1920 * 1088), MAX_PIXELS * 5 // 4)
    wanted = ("-map", "0:V:0", "-frames:v", str(most), "-fps_mode", "passthrough", "-filter_threads", "1", "-vf", filters)
    written = ("-pix_fmt", "rgb24", "-c:v", "ppm", "-threads", "1", "-f", "image2pipe", "-")
    number = 0
    with run("-v", "error", *decoder, *_input(path, pixels), *wanted, *written, bounds=(DECODING, DECODING_SECONDS)) as process:
        while picture := _ppm(process.stdout):
            yield picture
            number += 1
        complaint = process.said()
        killed = process.process.returncode == -9
    _check_memory(complaint)
    if killed:
        raise MediaError("This clip takes too long to decode: cut it shorter, or make it smaller first.")
    if not number:
        why = re.sub(r"^(\[.*?\] *)+", "", (complaint.splitlines() or ["no frames"])[0])[:120].rstrip(".")  # less which part complains
        raise MediaError(f"This file cannot be read as a clip ({''.join(filter(str.isprintable, why))}): bring an MP4, WebM, GIF or WebP.")


def _check_memory(said: str) -> None:
    """Raise OutOfMemoryError where ffmpeg got no more: it then leaves frames out, or breaks off."""
    if "max pixel count" not in said and re.search(r"annot allocate memory|ould not allocate|get_buffer\(\) failed", said):
        raise OutOfMemoryError("This clip needs more memory than one may: save it smaller, with one track, in 8 bits.")


def make(*arguments: str, stdin: bytes) -> None:
    """Let ffmpeg write a file from raw frames. Raises RuntimeError with its first complaint."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments]
    process = subprocess.run(command, input=stdin, capture_output=True, timeout=600, check=False)
    if process.returncode:
        raise RuntimeError((process.stderr.decode(errors="replace").splitlines() or ["ffmpeg failed"])[0])


def _input(path: os.PathLike[str], pixels: int = MAX_PIXELS) -> tuple[str, ...]:
    """One core, frames of a bounded size; `file:` because a name such as 12:30.mp4 would be read as a protocol."""
    bounds = ("-threads", "1", "-max_pixels", str(pixels), "-max_streams", str(TRACKS), "-format_whitelist", FORMATS)
    return (*bounds, "-protocol_whitelist", "file", "-i", f"file:{os.fspath(path)}")


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
def run(*arguments: str, bounds: tuple[int, int]) -> Iterator[Running]:
    """ffmpeg at work inside the block, stopped at its end or after SECONDS.

    bounds: megabytes and seconds of a core, where the system can hold it to them. Raises MediaError where it cannot be started.
    """
    import imageio_ffmpeg

    with tempfile.TemporaryFile() as complaints:
        try:
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-nostats", *arguments]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints)
        except (OSError, RuntimeError, ValueError) as error:
            raise MediaError(f"ffmpeg cannot be started ({type(error).__name__}): reinstall imageio-ffmpeg.") from None
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # it has ended already
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (bounds[0] * 10**6, bounds[0] * 10**6))
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (bounds[1], bounds[1]))
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
