"""Pictures carry their receipts, and only whole, unedited ones are believed."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from zoo.errors import MediaError
from zoo.media import photographs, pictures, receipts

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 6, 3), dtype=np.uint8)
RECEIPT = {"request": {"model": "tiny-dit"}, "label": "étoile \u2605", "pixels": pictures.digest(IMAGE)}


@pytest.fixture
def png(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(IMAGE, RECEIPT))
    return path


def with_text(path: Path, text: str, image: np.ndarray = IMAGE, key: str = receipts.RECEIPT) -> Path:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(key, text, zip=len(text) > 10_000)
    Image.fromarray(image).save(path, pnginfo=chunks)
    return path


def test_a_picture_and_its_receipt_come_back_as_they_were(png: Path) -> None:
    image, receipt = pictures.read_png(png)
    assert np.array_equal(image, IMAGE)
    assert receipt == RECEIPT == json.loads(receipts.receipt_text(RECEIPT))


def test_a_picture_saved_again_by_another_program_keeps_its_word(png: Path) -> None:
    with_text(png, json.dumps(RECEIPT))
    assert pictures.read_png(png)[1] == RECEIPT


def test_a_changed_picture_is_not_vouched_for(says, png: Path) -> None:
    changed = IMAGE.copy()
    changed[0, 0, 0] ^= 1
    with says(MediaError, "changed"):
        pictures.read_png(with_text(png, json.dumps(RECEIPT), changed))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "null", '{"request": 7}', "[" * 100_000, json.dumps(RECEIPT | {"label": "x" * 300_000})],
    ids=lambda t: t[:20],
)
def test_a_malformed_receipt_is_refused(says, png: Path, text: str) -> None:
    with says(MediaError, "malformed"):
        pictures.read_png(with_text(png, text))


def test_a_picture_without_a_receipt_says_what_to_drop(says, png: Path) -> None:
    with says(MediaError, "no receipt", "downloaded here"):
        pictures.read_png(with_text(png, "hello", key="Comment"))


def test_what_is_no_png_is_refused(says, png: Path, tmp_path: Path) -> None:
    whole = png.read_bytes()
    bomb = whole[:16] + (60_000).to_bytes(4, "big") * 2 + whole[24:29]
    bomb += zlib.crc32(bomb[12:29]).to_bytes(4, "big") + whole[33:]
    Image.fromarray(IMAGE).save(tmp_path / "picture.jpg")
    wrong = [b"", b"not a picture", whole[:40], whole[:-30], bomb, (tmp_path / "picture.jpg").read_bytes()]
    for content in wrong:
        png.write_bytes(content)
        with says(MediaError, "PNG"):
            pictures.read_png(png)
    with says(MediaError, "PNG"):
        pictures.read_png(tmp_path / "nowhere.png")


def test_two_pictures_are_identical_close_or_different() -> None:
    near, far = IMAGE.copy(), IMAGE.copy()
    near[0, 0, 0] = near[0, 0, 0] - 3 if near[0, 0, 0] > 100 else near[0, 0, 0] + 3
    far[..., 0] = 255 - far[..., 0]
    assert pictures.compare(IMAGE, IMAGE).startswith("Identical")
    assert pictures.compare(near, IMAGE).startswith("Close: pixels differ by at most 3 of 255")
    assert pictures.compare(far, IMAGE).startswith("Different")
    assert pictures.compare(IMAGE[:4], IMAGE) == "Different: 6x4 pixels instead of 6x8."


def test_a_grid_puts_pictures_row_by_row_with_a_gap() -> None:
    images = np.stack([np.full((8, 8, 3), shade, np.uint8) for shade in (0, 50, 100)])
    sheet = np.asarray(pictures.grid(images, columns=2, scale=2, gap=4))
    assert sheet.shape == (36, 36, 3)
    assert [int(sheet[8, 8, 0]), int(sheet[8, 28, 0]), int(sheet[28, 8, 0]), int(sheet[28, 28, 0])] == [0, 50, 100, 255]


# ---- pictures that people bring


def blocks(width: int, height: int) -> Image.Image:
    """Red above, blue below on the left, green on the right half."""
    picture = Image.new("RGB", (width, height), (0, 160, 0))
    picture.paste((200, 0, 0), (0, 0, width // 2, height // 2))
    picture.paste((0, 0, 200), (0, height // 2, width // 2, height))
    return picture


def test_whatever_a_camera_or_a_browser_saves_is_opened_upright_and_opaque(tmp_path: Path) -> None:
    plain = np.asarray(blocks(40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn it to the right
    saved = {
        "plain.png": (blocks(40, 20), {}),
        "turned.png": (blocks(40, 20).transpose(Image.Transpose.ROTATE_90), {"exif": exif}),
        "palette.png": (blocks(40, 20).convert("P", palette=Image.Palette.ADAPTIVE), {}),
        "cmyk.tiff": (blocks(40, 20).convert("CMYK"), {}),
        "moving.gif": (blocks(40, 20), {"save_all": True, "append_images": [Image.new("RGB", (40, 20))]}),
        "web.webp": (blocks(40, 20), {"lossless": True}),
    }
    for name, (picture, words) in saved.items():
        picture.save(tmp_path / name, **words)
        opened = photographs.open_picture(tmp_path / name)
        assert opened.mode == "RGB"
        assert np.abs(np.asarray(opened).astype(int) - plain).max() <= 2, name


def test_a_transparent_picture_lies_on_white_and_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    ghost = blocks(8, 8).convert("RGBA")
    ghost.putalpha(0)
    ghost.save(tmp_path / "ghost.png")
    assert np.asarray(photographs.open_picture(tmp_path / "ghost.png")).min() == 255
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.abs(np.asarray(photographs.open_picture(tmp_path / "deep.png"))[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    Image.new("1", (3, 3), 1).save(tmp_path / "bits.png")
    assert np.asarray(photographs.open_picture(tmp_path / "bits.png")).min() == 255
    Image.new("L", (1, 1), 7).save(tmp_path / "dot.png")
    assert photographs.open_picture(tmp_path / "dot.png").getpixel((0, 0)) == (7, 7, 7)


def test_a_photograph_of_forty_megapixels_is_opened_and_a_bomb_is_not(tmp_path: Path, says) -> None:
    blocks(8000, 5000).save(tmp_path / "photo.jpg", quality=50)
    opened = photographs.open_picture(tmp_path / "photo.jpg")
    assert opened.getpixel((10, 10))[0] > 150
    assert opened.width * 5 == opened.height * 8
    Image.new("1", (16000, 5500)).save(tmp_path / "large.png")
    with says(MediaError, "16000x5500 pixels", "32 million"):
        photographs.open_picture(tmp_path / "large.png")
    Image.new("1", (40000, 40000)).save(tmp_path / "bomb.png")
    with says(MediaError, "more than 80 million pixels"):
        photographs.open_picture(tmp_path / "bomb.png")


def test_what_is_no_picture_is_refused_in_a_sentence(tmp_path: Path, says) -> None:
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    blocks(64, 64).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:120])
    blocks(64, 64).save(tmp_path / "turned.jpg", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03")
    photographs.open_picture(tmp_path / "turned.jpg")  # what its EXIF says is cut off: it stays as it is
    for name in ("text.png", "empty.jpg", "half.png", "nowhere.png"):
        with says(MediaError, "cannot be read as a picture", "bring a JPEG"):
            photographs.open_picture(tmp_path / name)
