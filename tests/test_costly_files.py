"""Small files that ask for gigabytes or minutes, and their kin: refused or read within a second of a core and 200 MB, ffmpeg's counted."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest
from PIL import Image

from zoo.errors import MediaError
from zoo.media import clips, ffmpeg, photographs, receipts

ROOT = Path(__file__).parent.parent
SECONDS, MEGABYTES = 4, 200
"""Of a core, several times what is demanded, for others work on the same machine; and of memory beyond what the program had."""


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, interlaced: bool = False) -> Callable[[Path], None]:
    """A PNG of few bytes and many pixels, written without making them; chunks stand before its picture."""

    def write(path: Path) -> None:
        head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
        passes = [(8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)] if interlaced else [(1, 1)]
        pack = zlib.compressobj(1)
        bits = depth * {0: 1, 2: 3, 3: 1, 6: 4}[colour]
        lines = b"".join(pack.compress(bytes(1 + (-(-width // x) * bits + 7) // 8)) for x, y in passes for _ in range(-(-height // y)))
        content = chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", lines + pack.flush()) + chunk(b"IEND", b"")
        path.write_bytes(receipts.PNG + content)

    return write


def gif(
    side: int, frames: int, comment: bytes = b"", frame: bytes = b"\x21\xf9\x04\x08\x05\0\0\0,\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
) -> Callable:
    """A GIF whose frames are one pixel on a large canvas."""
    blocks = b"".join(bytes([len(comment[k : k + 255])]) + comment[k : k + 255] for k in range(0, len(comment), 255))
    start = b"GIF89a" + side.to_bytes(2, "little") * 2 + b"\x80\0\0" + b"\0\0\0\xff\xff\xff" + b"\x21\xfe" + blocks + b"\0"
    return lambda path: path.write_bytes(start + frame * frames + b";")


def flat(mode: str, width: int, height: int, frames: int = 1, **options: object) -> Callable[[Path], None]:
    """One colour, as Pillow writes it."""

    def write(path: Path) -> None:
        several = {"save_all": True, "append_images": [Image.new(mode, (width, height), k) for k in range(1, frames)]} if frames > 1 else {}
        Image.new(mode, (width, height)).save(path, **several, **options)

    return write


def passes(number: int) -> Callable[[Path], None]:
    """A progressive JPEG that repeats its last pass."""

    def write(path: Path) -> None:
        Image.new("L", (4800, 4900)).save(path, progressive=True, quality=20)
        content = path.read_bytes()
        last = content.rindex(b"\xff\xda")
        path.write_bytes(content[:-2] + content[last:-2] * number + b"\xff\xd9")

    return write


def within(kind: str, place: int, more: bytes, tail: bool = False) -> Callable[[Path], None]:
    """A small whole picture with something in its middle, or cut where it stands last."""

    def write(path: Path) -> None:
        file = io.BytesIO()
        Image.new("RGB", (64, 64)).save(file, kind)
        content = file.getvalue()
        content = content[:place] + more + (content[place:-200] if tail else content[place:])
        path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:] if kind == "WEBP" else content)

    return write


def tiff(rows: int, count: int, kind: int = 4) -> Callable[[Path], None]:
    """A TIFF of one column, with so many strips."""
    one = [(256, 4, 1, 1), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, kind, count, 200)]
    entries = [*one, (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, rows, 200)]
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return lambda path: path.write_bytes(head.ljust(200, b"\0") + struct.pack("<I", 8) * count)


def film(size: str, frames: int, *codec: str, tracks: int = 1) -> Callable[[Path], None]:
    """A flat clip as ffmpeg writes it."""
    given = ("-f", "lavfi", "-i", f"color=red:s={size}:r=25:d={frames / 25}", *("-map", "0:v") * tracks)
    codec = codec if "-c:v" in codec else ("-c:v", "libx264", "-preset", "ultrafast", *codec)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *given, *codec]
    return lambda path: subprocess.run([*command, str(path)], check=True, timeout=120)


def grows(path: Path) -> None:
    """A clip that begins small, and is large once it was looked at."""
    for name, size, frames in (("small.ts", "320x240", 20), ("large.ts", "4096x2304", 30)):
        film(size, frames)(path.with_name(name))
    path.write_bytes(b"".join(path.with_name(name).read_bytes() for name in ("small.ts", "large.ts")))
    path.with_name("small.ts").unlink()
    path.with_name("large.ts").unlink()


PIXEL = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
EXIF = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 0x9286, 5, 3_000_000, 100) + bytes(4)
COSTLY: dict[str, Callable[[Path], object]] = {
    "large.png": png(8900, 8900), "interlaced.png": png(5600, 5600, interlaced=True), "deep.png": png(5600, 5600, depth=16, colour=6),
    "wide.png": png(3_000_000, 1), "tall.png": png(1, 3_000_000),
    "chunks.png": png(4, 4, chunk(b"abCd", b"") * 600_000), "texts.png": png(4, 4, chunk(b"tEXt", b"a\0b") * 300_000),
    "exif.png": png(4, 4, chunk(b"eXIf", EXIF + b"\1" * 24_000_000)),
    "profile.png": png(4, 4, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000), 1))),
    "canvas.gif": gif(8000, 2000), "many.gif": gif(1200, 20_000), "comment.gif": gif(8, 2, b"x" * 8_000_000),
    "full.gif": flat("P", 5000, 5000, 2),
    "extensions.gif": gif(8, 1_000_000, frame=b"\x21\xaa\0"), "moving.png": flat("RGB", 1000, 1000, 40),
    "moving-png.gif": flat("RGB", 1000, 1000, 30, format="PNG"),
    "large.webp": flat("RGB", 4000, 3100, lossless=True, method=0), "most.webp": flat("RGB", 4000, 2999, quality=1, method=0),
    "moving.webp": flat("RGB", 3400, 3400, 3, lossless=True, method=0), "many.webp": flat("RGB", 32, 32, 2000, lossless=True, method=0),
    "chunks.webp": within("WEBP", 12 + 8 + 10, b"ABCD\0\0\0\0" * 600_000),
    "large.avif": flat("RGB", 3600, 3600, speed=10, quality=10), "most.avif": flat("RGB", 3460, 3460, speed=10, quality=10),
    "large.tif": flat("RGB", 4900, 4900, compression="tiff_lzw"), "lab.tif": flat("LAB", 4400, 4400, compression="tiff_adobe_deflate"),
    "pages.tif": flat("L", 100, 100, 400, compression="packbits"),
    "strips.tif": tiff(3_000_000, 3_000_000), "numbers.tif": tiff(4, 12_000_000, kind=3),
    "passes.jpg": passes(200), "fewer-passes.jpg": passes(85), "printed.jpg": flat("CMYK", 4890, 4890, quality=5, progressive=True),
    "segments.jpg": within("JPEG", 2, b"\xff\xe5\0\2" * 3_000_000),
    "long-and-cut.jpg": within("JPEG", 2, (b"\xff\xfe\xff\xff" + b"x" * 65533) * 1800, tail=True),
    "words.ppm": lambda path: path.write_bytes(b"P3\n2300 2300\n255\n" + b"1 " * (2300 * 2300 * 3)),
    "bits.pbm": lambda path: path.write_bytes(b"P1\n5600 5600\n" + b"1" * (5600 * 5600)),
    "8k.mp4": film("7680x4320", 2), "long.mp4": film("640x360", 2000), "tiny-and-long.mp4": film("16x16", 20_000),
    "ten-bit.mp4": film("4000x2300", 3, "-pix_fmt", "yuv420p10le"), "no-chroma-lost.mp4": film("4000x2300", 2, "-pix_fmt", "yuv444p10le"),
    "deep.mkv": film("4000x2300", 1, "-c:v", "png", "-pix_fmt", "rgba64be"), "held.mp4": film("4096x2304", 20, "-refs", "16", "-bf", "8"),
    "tracks.mp4": film("320x240", 1, tracks=80), "tracks.mkv": film("1280x720", 1, "-c:v", "mpeg4", tracks=40), "grows.ts": grows,
    "boxes.mp4": lambda path: path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(12) + struct.pack(">I4s", 8, b"free") * 8_000_000),
    "packets.ts": lambda path: path.write_bytes((b"\x47\x40\x00\x10" + bytes(184)) * 300_000),
}  # fmt: skip

MEASURE = """
import json, os, resource, sys
from pathlib import Path
from PIL import Image
from zoo.errors import ZooError
from zoo.media import clips, ffmpeg, photographs, pictures, receipts, video
readers = [photographs.open_picture, lambda path: clips.open_clip(path, 16), pictures.read_png, video.read, receipts.carries_receipt]
Image.init()
def memory(word):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(word)) / 1024
def measure(path, number):
    before, said = memory("VmRSS"), "read"
    try:
        readers[number](path)
    except ZooError as error:
        said = str(error)
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(use.ru_utime + use.ru_stime for use in uses)
    print(json.dumps([path.name, number, seconds, memory("VmHWM") - before + uses[1].ru_maxrss / 1024, said]), flush=True)
for path in sorted(Path(sys.argv[1]).iterdir()):
    for number in range(len(readers)):
        if (child := os.fork()) == 0:
            try:
                measure(path, number)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
"""
"""Prints of every file and way in: seconds of a core, megabytes beyond what the program had, what was said. A process of its own each, so
that a peak is that file's."""


def test_files_made_to_cost_much_are_refused_or_read_within_moments_on_every_way_in(tmp_path: Path) -> None:
    for name, write in COSTLY.items():
        write(tmp_path / name)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 5 * len(COSTLY), done.stderr
    most = {"read": SECONDS + ffmpeg.DECODING_SECONDS}
    assert [row for row in rows if row[2] > most.get(row[4], SECONDS) or row[3] > MEGABYTES or "\n" in row[4]] == []


@pytest.mark.parametrize("name", ["chunks.png", "wide.png", "segments.jpg", "strips.tif", "words.ppm", "chunks.webp", "exif.png"])
def test_a_costly_picture_is_refused_as_a_picture_where_a_clip_is_asked_for(tmp_path: Path, says, name: str) -> None:
    COSTLY[name](tmp_path / name)
    assert photographs.is_picture(tmp_path / name)
    with says(MediaError, f"This {Path(name).suffix[1:4].upper().replace('JPG', 'JPEG').replace('WEB', 'Web').replace('TIF', 'TIFF')}"):
        clips.open_clip(tmp_path / name, 2)


def test_a_large_ten_bit_clip_is_looked_at_by_its_key_frames_and_one_that_grows_until_it_does(tmp_path: Path) -> None:
    film("3840x2160", 6, "-pix_fmt", "yuv420p10le", "-g", "2")(tmp_path / "a.mp4")
    assert [frame.size for frame in clips.open_clip(tmp_path / "a.mp4", 4)] == [(480, 270)] * 4
    grows(tmp_path / "grows.ts")
    assert [frame.size for frame in clips.open_clip(tmp_path / "grows.ts", 4)] == [(320, 240)] * 4
