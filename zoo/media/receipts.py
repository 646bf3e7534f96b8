"""The receipt that a file carries, found in its metadata before anything is decoded; and how the receipt is written. Knows no model."""

from __future__ import annotations

import io
import json
import os
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from zoo.errors import MediaError
from zoo.media import ffmpeg

RECEIPT = "patchwork"
"""Name of the PNG text chunk that holds the receipt as JSON."""
DESCRIPTION = 0x010E
"""EXIF's ImageDescription, which holds the receipt of a WebP."""
MAX_RECEIPT = 256_000
"""Characters of a receipt; a longer one is refused."""
MAX_FILE = 200_000_000
"""Bytes of a file that anybody brings."""
MAX_PARTS = 500_000
"""Chunks and blocks of one file: a hundred megabytes of a GIF have as many."""
PNG, GIF = b"\x89PNG\r\n\x1a\n", (b"GIF87a", b"GIF89a")
"""How such files begin."""


def receipt_text(receipt: dict[str, Any]) -> str:
    """A receipt as the JSON that stands in a PNG and beside every file."""
    return json.dumps(receipt, ensure_ascii=True, indent=1)


def parse_receipt(text: str) -> dict[str, Any]:
    """A receipt from its JSON. Raises MediaError for anything else; what it asks for is checked by Request."""
    try:
        receipt = json.loads(text) if len(text) <= MAX_RECEIPT else None
    except (ValueError, RecursionError):
        receipt = None
    if not isinstance(receipt, dict) or not isinstance(receipt.get("request"), dict):
        raise MediaError("The receipt in this file is malformed: drop a picture that was downloaded here, unedited.")
    return receipt


def carries_receipt(path: str | os.PathLike[str]) -> bool:
    """Whether a file was made here, as far as its metadata say."""
    try:
        return bool(find(path))
    except MediaError:
        return False


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The receipt of a PNG, MP4, GIF or WebP made here. Raises MediaError where it has none, or that is malformed."""
    text = find(path)
    if text is None:
        raise MediaError(f"{_name(path)} carries no receipt of Patchwork: drop a PNG or a video that was downloaded here, unedited.")
    return parse_receipt(text)


def find(path: str | os.PathLike[str]) -> str | None:
    """What stands where a file made here has its receipt, by the kind that the file is and not by its name; None where nothing does that
    could be one: others write their words into a comment, too.

    At most MAX_RECEIPT characters and one more are read. Raises MediaError where the file cannot be read or is too large.
    """
    place = Path(path)
    try:
        if (size := place.stat().st_size) > MAX_FILE:
            raise MediaError(f"{_name(place)} has {size:,} bytes, more than {MAX_FILE:,}: bring a smaller file.")
        with place.open("rb") as file:
            start = file.read(12)
            if start.startswith(PNG):
                return _of_png(file)
            if start.startswith(GIF):
                return _json(next((content for kind, content in gif_parts(file) if kind == "comment"), b"").decode(errors="replace"))
            if start[:4] == b"RIFF" and start[8:] == b"WEBP":
                return _json(_of_webp(file))
        if start[4:8] == b"ftyp":
            return _json(ffmpeg.probe(place).comment)
        raise MediaError(f"{_name(place)} cannot be read as a PNG, MP4, GIF or WebP: drop a file that was downloaded here.")
    except OSError as error:
        raise MediaError(f"{_name(place)} cannot be read ({error.strerror}): name a file that is there.") from None
    except (ValueError, SyntaxError, zlib.error) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"The receipt in {_name(place)} is malformed: drop a file that was downloaded here, unedited.") from None


def _name(path: str | os.PathLike[str]) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in Path(path).name)[-60:] or "This file"


def png_chunks(file: BinaryIO, most: int = MAX_PARTS) -> Iterator[tuple[bytes, int]]:
    """(kind, bytes) of every chunk of a PNG, the file standing at its content meanwhile. Raises MediaError for too many."""
    place = file.seek(len(PNG))
    for _ in range(most):
        header = file.read(8)
        if len(header) < 8:
            return
        size, place = int.from_bytes(header[:4], "big"), place + 12 + int.from_bytes(header[:4], "big")
        yield header[4:], size
        file.seek(place)
    raise MediaError(f"This PNG is in more than {most:,} pieces: save it again with another program.")


def webp_chunks(file: BinaryIO, most: int = MAX_PARTS) -> Iterator[tuple[bytes, int]]:
    """As png_chunks, of a WebP."""
    place = file.seek(12)
    for _ in range(most):
        header = file.read(8)
        if len(header) < 8:
            return
        size = int.from_bytes(header[4:], "little")
        yield header[:4], size
        place = file.seek(place + 8 + size + size % 2)
    raise MediaError(f"This WebP is in more than {most:,} pieces: save it again with another program.")


def _json(text: str) -> str | None:
    return text[: MAX_RECEIPT + 1] if text.startswith("{") else None


def _of_png(file: BinaryIO) -> str | None:
    for kind, size in png_chunks(file):
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            content = file.read(min(size, 4 * MAX_RECEIPT))
            if not content.startswith(RECEIPT.encode() + b"\0"):
                continue
            content = content[len(RECEIPT) + 1 :]
            if kind == b"tEXt":
                return content[: MAX_RECEIPT + 1].decode("latin-1")
            packed = kind == b"zTXt" or content[:1] == b"\1"
            content = content[1:] if kind == b"zTXt" else content[2:].split(b"\0", 2)[-1]
            content = zlib.decompressobj().decompress(content, 4 * MAX_RECEIPT) if packed else content
            return content.decode("latin-1" if kind == b"zTXt" else "utf-8", errors="replace")[: MAX_RECEIPT + 1]
    return None


def _of_webp(file: BinaryIO) -> str:
    for kind, size in webp_chunks(file):
        if kind == b"EXIF":
            exif = Image.Exif()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    exif.load(file.read(min(size, 4 * MAX_RECEIPT)))
                    text = exif.get(DESCRIPTION, "")
            except Exception:  # whatever damaged EXIF leads Pillow to
                raise ValueError("damaged EXIF") from None
            return text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return ""


def gif_parts(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """("frame", b"") for every frame of a GIF and ("comment", its beginning) for every comment, in order, nothing decoded.

    Raises MediaError for more blocks than a clip needs, and for a comment that no program writes.
    """
    file.seek(10)
    flags = file.read(3)[:1]
    file.seek(3 * 2 ** ((flags[0] & 7) + 1) if flags and flags[0] & 128 else 0, io.SEEK_CUR)
    blocks = 0
    while (kind := file.read(1)) in (b"!", b","):
        label = file.read(1) if kind == b"!" else b""
        if kind == b",":
            local = file.read(9)[8:]
            file.seek((3 * 2 ** ((local[0] & 7) + 1) if local and local[0] & 128 else 0) + 1, io.SEEK_CUR)
        content, length = [], 0
        while size := file.read(1):
            blocks += 1
            if blocks > MAX_PARTS or length > MAX_FILE // 100:
                raise MediaError(f"This GIF is in more than {MAX_PARTS:,} pieces, or has an endless comment: save it again, or shorter.")
            if not size[0]:
                break
            if label == b"\xfe":
                content.append(file.read(size[0]))
                length += size[0]
            else:
                file.seek(size[0], io.SEEK_CUR)
        if label == b"\xfe":
            yield "comment", b"".join(content)[: 4 * MAX_RECEIPT]
        elif kind == b",":
            yield "frame", b""
