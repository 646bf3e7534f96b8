"""The photographs of a telephone: HEIC in 8 and 10 bits, turned, damaged, too large, and files that only say that they are one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from zoo.errors import MediaError
from zoo.media import clips, photographs, picture_heads

COLOURS = ((200, 30, 40), (30, 180, 60), (40, 50, 190), (220, 210, 60))
"""Of the quarters of a picture: above left, above right, below left, below right."""


def quarters(width: int = 96, height: int = 64) -> np.ndarray:
    picture = np.zeros((height, width, 3), np.uint8)
    for number, colour in enumerate(COLOURS):
        rows, columns = slice(number // 2 * height // 2, None), slice(number % 2 * width // 2, None)
        picture[rows, columns] = colour
    return picture


def write(path: Path, picture: np.ndarray, **options: object) -> Path:
    mode = "RGB;16" if picture.dtype == np.uint16 else "RGB"
    file = pillow_heif.from_bytes(mode, (picture.shape[1], picture.shape[0]), picture.tobytes())
    file.save(path, quality=95, **options)
    return path


def seen(picture: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middle of the quarters."""
    width, height = picture.size
    return [picture.getpixel((width * (1 + 2 * (k % 2)) // 4, height * (1 + 2 * (k // 2)) // 4)) for k in range(4)]


def near(colours: list[tuple[int, ...]], expected: tuple) -> bool:
    return bool(np.abs(np.array(colours) - np.array(expected)).max() <= 6)


@pytest.mark.parametrize("bits", [8, 10])
def test_a_heic_is_opened_in_its_colours(tmp_path: Path, bits: int) -> None:
    picture = quarters() if bits == 8 else quarters().astype(np.uint16) * 257
    path = write(tmp_path / "a.heic", picture)
    opened = photographs.open_picture(path)
    assert (opened.mode, opened.size) == ("RGB", (96, 64))
    assert near(seen(opened), COLOURS)
    assert photographs.is_picture(path)
    assert not clips.is_clip(tmp_path / "no.heic")
    assert [near(seen(frame), COLOURS) for frame in clips.open_clip(path, 2)] == [True, True]


def test_a_heic_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a telephone that is held upright: turn by 90 degrees
    path = write(tmp_path / "turned.heic", quarters(), exif=exif.tobytes())
    opened = photographs.open_picture(path)
    assert opened.size == (64, 96)
    assert near(seen(opened), (COLOURS[2], COLOURS[0], COLOURS[3], COLOURS[1]))


@pytest.mark.parametrize("cut", [2, 200, 0.5])
def test_a_heic_that_is_cut_off_is_refused_in_a_sentence(tmp_path: Path, says, cut: float) -> None:
    path = write(tmp_path / "cut.heic", np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: -cut if cut >= 1 else int(len(content) * cut)])
    with says(MediaError, "bring a JPEG"):
        photographs.open_picture(path)


def test_a_heic_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, says, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "large.heic", quarters())
    monkeypatch.setitem(photographs.MILLIONS, "HEIF", 0.001)
    with says(MediaError, "96x64 pixels"):
        photographs.open_picture(path)


def test_a_heic_of_too_many_bytes_is_refused_unread(tmp_path: Path, says, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "long.heic", quarters())
    monkeypatch.setitem(picture_heads.HELD, "HEIC", 100)
    with says(MediaError, "This HEIC has"):
        photographs.open_picture(path)


def test_what_only_says_that_it_is_a_heic_is_refused(tmp_path: Path, says) -> None:
    (tmp_path / "no.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 400)
    with says(MediaError):
        photographs.open_picture(tmp_path / "no.heic")
