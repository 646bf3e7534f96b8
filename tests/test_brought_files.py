"""Pictures and clips as people have them: odd, deep, cut off, without a frame rate."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from zoo.errors import MediaError
from zoo.media import clips, photographs, video

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
        ("a.gif", {}, 1),
        ("a.gif", {}, 2),
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


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.avif", {}), ("a.tif", {}), ("a.tif", {"compression": "tiff_lzw"})],
)
@pytest.mark.parametrize("cut", [1, 2, 12, 60, 600])
def test_what_its_library_does_not_give_without_the_last_bytes_is_refused(tmp_path: Path, says, name: str, options: dict, cut: int) -> None:
    noise().save(tmp_path / name, **options)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-cut])
    assert photographs.is_picture(tmp_path / name)
    with says(MediaError, "cannot be read as a picture"):
        photographs.open_picture(tmp_path / name)


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


def test_a_webp_that_ends_within_its_receipt_has_a_malformed_one(tmp_path: Path, says) -> None:
    [content] = [content for suffix, content in video.files(np.zeros((2, 8, 8, 3), np.uint8), 8, {"request": {}}) if suffix == ".webp"]
    place = content.index(b"EXIF") + 8
    for length in range(30):
        (tmp_path / "a.webp").write_bytes(content[: place + length])
        with says(MediaError):
            video.read(tmp_path / "a.webp")
