"""Pictures and clips as people have them: odd, deep, cut off, without a frame rate; and those made to cost much."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zlib
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from zoo.errors import MediaError
from zoo.media import clips, photographs, receipts, video

ROOT = Path(__file__).parent.parent
SHADES = [40 * k for k in range(6)]


def film(path: Path, *codec: str, size: tuple[int, int] = (64, 48)) -> Path:
    """Six flat frames from black to nearly white, as ffmpeg writes them for these words."""
    raw = b"".join(bytes([shade]) * (3 * size[0] * size[1]) for shade in SHADES)
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", "8", "-i", "-")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *given, *codec, "-y", f"file:{path}"]
    subprocess.run(command, input=raw, check=True, timeout=60)
    return path


def shades(path: Path, count: int = 6) -> list[float]:
    """The mean level of each frame."""
    return [float(np.asarray(frame).mean()) for frame in clips.open_clip(path, count)]


# ---- clips


@pytest.mark.parametrize(
    ("name", "codec", "size"),
    [
        ("ten-bit.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p10le"), (64, 48)),
        ("hdr.mp4", ("-c:v", "libx265", "-x265-params", "log-level=none:transfer=smpte2084", "-pix_fmt", "yuv420p10le"), (64, 48)),
        ("deep.mov", ("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le"), (64, 48)),
        ("grey.mkv", ("-c:v", "ffv1", "-pix_fmt", "gray16le"), (64, 48)),
        ("odd.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv444p"), (33, 17)),
        ("narrow.mkv", ("-c:v", "png", "-pix_fmt", "rgb24"), (1, 700)),
        ("12:30.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p"), (64, 48)),
        ("concat:a|b.mp4", ("-c:v", "libx264", "-pix_fmt", "yuv420p"), (64, 48)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_clip_of_any_depth_size_and_name_is_read(tmp_path, monkeypatch, name: str, codec: tuple, size: tuple) -> None:
    film(tmp_path / name, *codec, size=size)
    monkeypatch.chdir(tmp_path)
    assert shades(Path(name)) == pytest.approx(SHADES, abs=8)


def test_a_recording_without_a_frame_rate_is_read_to_its_end(tmp_path: Path) -> None:
    slow = ("-vf", "settb=1/1000,setpts=N*700+mod(N*37\\,90)", "-fps_mode", "passthrough", "-enc_time_base", "1/1000")
    found = shades(film(tmp_path / "browser.webm", *slow, "-c:v", "libvpx", "-crf", "4", "-b:v", "2M"))
    assert found == pytest.approx(SHADES, abs=12)


def test_a_playlist_opens_no_other_file(tmp_path: Path, says) -> None:
    film(tmp_path / "secret.mp4", "-c:v", "libx264")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    (tmp_path / "hls.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.mp4\n#EXT-X-ENDLIST\n")
    for name in ("list.mp4", "hls.mp4"):
        with says(MediaError, "cannot be read as a clip"):
            clips.open_clip(tmp_path / name, 2)


@pytest.mark.parametrize("fps", [1, 7, 24, 30, 50, 60])
@pytest.mark.parametrize("number", [1, 2, 16])
def test_a_gif_plays_at_the_speed_that_was_asked_for(fps: int, number: int) -> None:
    frames = np.stack([np.full((8, 8, 3), 15 * k, np.uint8) for k in range(number)])
    contents = dict(video.files(frames, fps, {"request": {}}))
    with Image.open(io.BytesIO(contents[".gif"])) as gif:
        delays = [_delay(gif, index) for index in range(gif.n_frames)]
    assert min(delays) >= 20
    assert sum(delays) == pytest.approx(max(20, 1000 * number / fps), abs=5.1)


def _delay(gif: Image.Image, index: int) -> int:
    gif.seek(index)
    return gif.info["duration"]


# ---- photographs


def noise(width: int = 64, height: int = 48) -> Image.Image:
    """A picture every part of which matters."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_exif_that_cannot_be_written_again_still_turns_the_picture(tmp_path: Path) -> None:
    head, turned = b"Exif\0\0MM\0*\0\0\0\x08", b"\x01\x12\0\x03\0\0\0\1\0\6\0\0"
    rational, text = b"\x01\x0f\0\5\0\0\0\1\0\0\0\x26", b"\x01\x00\0\2\0\0\0\x09\0\0\0\x26"  # Make as a number, ImageWidth as words
    for name, entry in (("make", rational), ("width", text)):
        exif = head + b"\0\2" + b"".join(sorted((entry, turned))) + bytes(4) + b"12 pixels\0"
        noise().save(tmp_path / f"{name}.jpg", exif=exif)
        assert photographs.open_picture(tmp_path / f"{name}.jpg").size == (48, 64), name


@pytest.mark.parametrize(
    ("name", "options", "cut"),
    [
        ("a.jpg", {}, 2),
        ("a.jpg", {}, 1),
        ("a.jpg", {"progressive": True}, 2),
        ("a.png", {}, 4),
        ("a.png", {}, 12),
        ("a.png", {}, 18),
    ],
)
def test_what_lacks_only_its_end_is_shown_with_a_remark_and_what_lacks_a_part_is_not(tmp_path, says, name, options, cut: int) -> None:
    path = tmp_path / name
    noise().save(path, **options)
    content, whole = path.read_bytes(), photographs.open_picture(path)
    assert whole.info["remark"] == ""
    path.write_bytes(content[:-cut])
    opened = photographs.open_picture(path)
    assert opened.info["remark"] == photographs.REMARK
    assert np.array_equal(opened, whole)
    for more in (cut + 60, len(content) // 3):
        path.write_bytes(content[:-more])
        with says(MediaError, "a part is missing"):
            photographs.open_picture(path)


def test_avif_and_deep_and_printed_pictures_are_read(tmp_path: Path) -> None:
    flat = Image.new("RGB", (40, 20), (200, 40, 90))
    flat.save(tmp_path / "a.avif", quality=95)
    flat.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(np.asarray(photographs.open_picture(tmp_path / "a.avif")).astype(int) - (200, 40, 90)).max() <= 6
    assert np.abs(np.asarray(photographs.open_picture(tmp_path / "a.jpg")).astype(int) - (200, 40, 90)).max() <= 6
    large = np.linspace(0, 65535, 5000).astype(np.uint16)[None].repeat(3, 0)
    Image.fromarray(large).save(tmp_path / "a.png")
    shade = np.asarray(photographs.open_picture(tmp_path / "a.png"))
    assert shade.shape == (2, 2500, 3)
    assert np.abs(shade[0, :, 0] - np.linspace(0, 255, 2500)).max() <= 2


# ---- files made to cost much


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def flat_png(path: Path, width: int, height: int) -> None:
    """A PNG of few bytes and many pixels, written without making them."""
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    pack = zlib.compressobj(9)
    lines = b"".join(pack.compress(bytes(1 + 3 * width)) for _ in range(height)) + pack.flush()
    path.write_bytes(receipts.PNG + chunk(b"IHDR", head) + chunk(b"IDAT", lines) + chunk(b"IEND", b""))


def flat_gif(path: Path, side: int, frames: int, comment: bytes = b"") -> None:
    """A GIF whose frames are one pixel on a large canvas."""
    size = side.to_bytes(2, "little") * 2
    blocks = b"".join(bytes([len(comment[k : k + 255])]) + comment[k : k + 255] for k in range(0, len(comment), 255))
    frame = b"\x21\xf9\x04\x08\x05\0\0\0" + b",\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    path.write_bytes(b"GIF89a" + size + b"\x80\0\0" + b"\0\0\0\xff\xff\xff" + b"\x21\xfe" + blocks + b"\0" + frame * frames + b";")


def costly(folder: Path) -> None:
    """One file of each kind that took seconds or gigabytes."""
    flat_png(folder / "large.png", 8900, 8900)
    flat_gif(folder / "canvas.gif", 8000, 2000)
    flat_gif(folder / "many.gif", 1200, 20_000)
    flat_gif(folder / "comment.gif", 8, 2, b"x" * 8_000_000)
    still = [Image.new("RGB", (1000, 1000), (k, 0, 0)) for k in range(40)]
    still[0].save(folder / "moving.png", save_all=True, append_images=still[1:])
    for name, size, seconds in (("8k.mp4", "7680x4320", 1), ("long.mp4", "640x360", 200)):
        wanted = ("-f", "lavfi", "-i", f"color=red:s={size}:r=10:d={seconds}", "-c:v", "libx264", "-preset", "ultrafast")
        subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *wanted, str(folder / name)], check=True, timeout=120)
    Image.new("RGB", (4800, 4900)).save(folder / "passes.jpg", progressive=True, quality=20)
    content = (folder / "passes.jpg").read_bytes()
    last = content.rindex(b"\xff\xda")
    (folder / "passes.jpg").write_bytes(content[:-2] + content[last:-2] * 200 + b"\xff\xd9")


MEASURE = """
import json, resource, sys, time
from pathlib import Path
from zoo.errors import ZooError
from zoo.media import clips, ffmpeg, photographs, pictures, receipts, video
readers = [lambda p: photographs.open_picture(p), lambda p: clips.open_clip(p, 16), pictures.read_png, video.read, receipts.carries_receipt]
def peak():
    return sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
def spent():
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)
photographs.open_picture(sys.argv[2])
start = peak()
for path in sorted(Path(sys.argv[1]).iterdir()):
    for k, reader in enumerate(readers):
        before, said = spent(), "read"
        try:
            reader(path)
        except ZooError as error:
            said = str(error)
        print(json.dumps([path.name, k, spent() - before, (peak() - start) / 1024, said]))
"""


def test_files_made_to_cost_much_are_refused_or_read_within_moments_on_every_way_in(tmp_path: Path) -> None:
    folder = tmp_path / "costly"
    folder.mkdir()
    costly(folder)
    noise().save(tmp_path / "plain.png")
    command = [sys.executable, "-c", MEASURE, str(folder), str(tmp_path / "plain.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 5 * len(list(folder.iterdir()))
    assert [row for row in rows if row[2] > 4 or row[3] > 300 or "\n" in row[4]] == []  # seconds of a core, MB beyond the start
