"""What a picture's file is made of, looked through before Pillow opens it: Pillow keeps every piece, and takes its time for each."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from zoo.errors import MediaError
from zoo.media import receipts

PIECES = 50_000
"""Chunks of a PNG or WebP: a program writes one for every few thousand bytes."""
SEGMENTS = 1000
"""Of a JPEG before its picture begins."""
VALUES = 100_000
"""Of the first directory of a TIFF, where a strip has two."""
BESIDE = 20_000_000
"""Bytes of all that is not the picture."""
HEIC = (b"heic", b"heix", b"heim", b"heis", b"mif1")
"""How the brand of a still picture in HEVC may be called."""
HELD = {"JPEG": 60_000_000, "WebP": 30_000_000, "AVIF": 30_000_000, "HEIC": 30_000_000, "JPEG 2000": 30_000_000}
"""Bytes of a file that is read into memory as a whole, some of them several times."""
WIDTHS = {3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of a TIFF, by its type; types that are not here are bytes, kept as they are."""


def check(path: str | os.PathLike[str]) -> None:
    """Raise MediaError for a picture in more pieces, or with more beside it, than programs write."""
    size = Path(path).stat().st_size
    if size > receipts.MAX_FILE:
        raise MediaError(f"This file has {size:,} bytes, more than {receipts.MAX_FILE:,}: make it smaller first.")
    name = kind(path)
    if size > HELD.get(name, size):
        raise MediaError(f"This {name} has {size:,} bytes, more than {HELD[name]:,}: make it smaller first.")
    with Path(path).open("rb") as file:
        if name == "GIF":
            for _ in receipts.gif_parts(file):
                pass
        elif name == "PNG":
            _pieces(name, (length for piece, length in receipts.png_chunks(file, PIECES) if piece not in (b"IDAT", b"fdAT")))
        elif name == "WebP":
            _pieces(name, (length for piece, length in receipts.webp_chunks(file, PIECES) if piece[:3] not in (b"VP8", b"ANM", b"ALP")))
        elif name == "JPEG":
            _jpeg(file)
        elif name == "TIFF":
            start = file.read(4)
            _tiff(file, "little" if start[:1] == b"I" else "big", wide=b"+" in start)


def kind(path: str | os.PathLike[str]) -> str:
    """GIF, PNG, WebP, AVIF, HEIC, JPEG, JPEG 2000 or TIFF, as a file begins; empty for another, and where it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(12)
    except (OSError, ValueError):
        return ""
    if start.startswith(receipts.GIF):
        return "GIF"
    if start.startswith(receipts.PNG):
        return "PNG"
    if start[:4] == b"RIFF" and start[8:] == b"WEBP":
        return "WebP"
    if start[4:8] == b"ftyp" and start[8:11] == b"avi":
        return "AVIF"
    if start[4:8] == b"ftyp" and start[8:] in HEIC:
        return "HEIC"
    if start[:2] == b"\xff\xd8":
        return "JPEG"
    if start[:4] == b"\xff\x4f\xff\x51" or start[4:8] == b"jP  ":
        return "JPEG 2000"
    return "TIFF" if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*") else ""


def _pieces(name: str, lengths: Iterator[int]) -> None:
    if (beside := sum(lengths)) > BESIDE:
        raise MediaError(f"This {name} has {beside:,} bytes beside its picture: save it again without them.")


def _jpeg(file: BinaryIO) -> None:
    place = file.seek(2)
    for _ in range(SEGMENTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA or place > BESIDE:
            break
        place = file.seek(place + (1 if head[1] == 0xFF else 2 + int.from_bytes(head[2:], "big")))
    else:
        raise MediaError(f"This JPEG has more than {SEGMENTS:,} pieces before its picture: save it again with another program.")
    if place > BESIDE:
        raise MediaError(f"This JPEG has more than {BESIDE:,} bytes before its picture: save it again without them.")


def _tiff(file: BinaryIO, order: str, wide: bool) -> None:
    """wide: a BigTIFF, whose numbers have 8 bytes."""

    def number(length: int) -> int:
        return int.from_bytes(file.read(length), order)

    file.seek(8 if wide else 4)
    file.seek(number(8 if wide else 4), io.SEEK_SET)
    values = beside = 0
    for _ in range(min(number(8 if wide else 2), VALUES)):
        _, kind, count, _ = number(2), number(2), number(8 if wide else 4), number(8 if wide else 4)
        values += count if kind in WIDTHS else 1
        beside += count * WIDTHS.get(kind, 1)
    if values > VALUES or beside > BESIDE:
        raise MediaError(f"This TIFF is in more than {VALUES // 2:,} pieces, or has {BESIDE:,} bytes beside its picture: save it again.")
