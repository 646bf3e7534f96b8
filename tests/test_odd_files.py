"""Clips longer than what is looked at, of pixels that are not square, and pictures damaged beside what turns them or at their very end."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.errors import MediaError
from zoo.inside.inspector import Looker
from zoo.media import clips, photographs, receipts


def rising(path: Path, number: int, *codec: str) -> Path:
    """Flat frames of 16x16 from black to white."""
    raw = b"".join(bytes([255 * k // (number - 1)]) * (3 * 16 * 16) for k in range(number))
    given = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "16x16", "-r", "30", "-i", "-")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *given, *codec, "-y", str(path)]
    subprocess.run(command, input=raw, check=True, timeout=60)
    return path


def test_frames_are_spread_over_the_whole_of_a_longer_clip(tmp_path: Path) -> None:
    for number in (160, 161, 700):
        frames = clips.open_clip(rising(tmp_path / f"{number}.mkv", number, "-c:v", "ffv1"), 6)
        assert [float(np.asarray(frame).mean()) for frame in frames] == pytest.approx([51 * k for k in range(6)], abs=4), number
        assert frames[0].info["remark"] == ""


def test_of_a_clip_that_is_too_long_it_says_what_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "MAX_DECODED", 100)
    frames = clips.open_clip(rising(tmp_path / "long.mkv", 201, "-c:v", "ffv1"), 2)
    assert float(np.asarray(frames[-1]).mean()) == pytest.approx(126, abs=2)
    assert "Only the first 100 frames" in frames[0].info["remark"]


SHAPES = {"1/1": (16, 16), "2/1": (32, 16), "1/2": (8, 16), "64/45": (23, 16), "5/1": (32, 16)}
DAMAGED = [b"", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"nothing of the kind"]


@pytest.mark.parametrize(("shape", "size"), SHAPES.items())
def test_pixels_that_are_not_square_are_made_so(tmp_path: Path, shape: str, size: tuple[int, int]) -> None:
    path = rising(tmp_path / "wide.mp4", 4, "-vf", f"setsar={shape}", "-c:v", "libx264", "-pix_fmt", "yuv420p")
    assert clips.open_clip(path, 2)[0].size == size


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("kind", ["B", "H", "I"])
def test_a_tag_that_points_outside_the_file_keeps_no_picture_lying(tmp_path: Path, order: str, kind: str) -> None:
    number = {"B": 1, "H": 3, "I": 4}[kind]
    turned = struct.pack(f"{order}HHI{kind}", 0x0112, number, 1, 6).ljust(12, b"\0")
    outside = struct.pack(f"{order}HHII", 0x010F, 2, 5000, 99999)
    start = struct.pack(f"{order}2sHIH", b"MM" if order == ">" else b"II", 42, 8, 2)
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + start + outside + turned + bytes(4))
    assert photographs.open_picture(tmp_path / "a.jpg").size == (48, 64)


@pytest.mark.parametrize("exif", DAMAGED)
def test_exif_that_says_nothing_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + exif)
    assert photographs.open_picture(tmp_path / "a.jpg").size == (64, 48)


def test_a_webp_without_its_end_is_shown_unless_the_picture_ends_there_too(tmp_path: Path, says) -> None:
    path, exif = tmp_path / "a.webp", Image.Exif()
    exif[0x010E] = "some words after the picture"
    Image.effect_noise((120, 90), 80).convert("RGB").save(path, exif=exif.tobytes())
    content, whole = path.read_bytes(), photographs.open_picture(path)
    assert whole.info["remark"] == ""
    for cut in (1, 2, 20):
        path.write_bytes(content[:-cut])
        opened = photographs.open_picture(path)
        assert opened.info["remark"] == photographs.REMARK
        assert np.array_equal(opened, whole)
    path.write_bytes(content[: content.rindex(b"EXIF") - 20])
    with says(MediaError, "a part is missing"):
        photographs.open_picture(path)


def test_the_same_frames_at_another_speed_take_no_earlier_video_away(tmp_path: Path) -> None:
    hub = Hub(device="cpu", cache_dir=tmp_path)
    files = []
    for fps in (7, 24):
        *_, result = hub.generate(Request("tiny-latte", 0, 1, steps=2, frames=4, fps=fps), preview=False)
        files += result.files
    assert [receipts.read(file)["request"]["fps"] for file in files] == [7, 24]


def test_a_clip_for_a_model_of_pictures_is_told_from_a_file_of_something_else(hub: Hub, tmp_path: Path, says) -> None:
    looker = Looker(hub)
    with says(MediaError, "This is a clip, and tiny-vit looks at pictures: choose tiny-vivit"):
        looker.picture("tiny-vit", rising(tmp_path / "12:30.mp4", 8))
    (tmp_path / "words.png").write_text("no picture")
    with says(MediaError, "cannot be read as a picture"):
        looker.picture("tiny-vit", tmp_path / "words.png")
