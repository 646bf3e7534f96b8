"""Anybody's pictures, opened upright, opaque and of a size that figures need: one at a time, and bounded before they are decoded."""

from __future__ import annotations

import io
import os
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
from pi_heif import register_heif_opener
from PIL import Image

from zoo.errors import MediaError
from zoo.media import picture_heads, receipts

ONE = threading.Lock()
"""Held while a picture or clip is decoded: many small requests shall not add up to one large one."""
MILLIONS = {
    "JPEG": 80, "MPO": 80, "PNG": 32, "BMP": 32, "PPM": 32, "TIFF": 20, "GIF": 24, "HEIF": 16, "WEBP": 12, "AVIF": 12, "JPEG2000": 2,
}  # fmt: skip
"""Formats that are read, and millions of pixels of one picture: what Pillow decodes in about a second and 200 MB. It decodes a JPEG
reduced, and needs 16 bytes a pixel for a WebP."""
MILLIONS_DECODED = 24
"""Of a JPEG where it cannot be reduced: all of a progressive one is held."""
MILLIONS_MOVING = 24
"""Millions of pixels of all frames together that are decoded of a picture that moves."""
MAX_SCANS, MILLIONS_SCANNED = 100, 600
"""Passes over a progressive JPEG, and millions of pixels of all together; a program writes about ten."""
MAX_SIDE = 65_535
"""Pixels of a side; Pillow keeps some twenty bytes for each line and column beside the picture."""
MAX_WORDS = 4_000_000
"""Bytes of a PPM that writes its levels as decimal numbers, which Pillow reads one by one."""
MAX_READ = 160
"""Frames of anybody's clip that are looked at."""
SIDE, SIDE_MOVING = 2048, 512
"""Pixels of the longer side from which on a picture is halved, or reduced further; and what a frame of a clip is reduced to."""
TURNS = dict(enumerate(("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"), 2))
"""What makes a picture upright, by its orientation in EXIF."""
ORIENTATION, WHOLE = 0x0112, {1: 1, 3: 2, 4: 4}
"""Its tag, and the bytes of whole numbers by their kind."""
MAX_MISSING = 1000
"""Bytes of a WebP's end that may be missing."""
REMARK = "The end of this file is missing, but nothing of the picture."
BRING = "bring a JPEG, PNG, WebP, GIF, AVIF or HEIC"


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Open anybody's picture as upright, opaque RGB: turned as its EXIF says, over white where transparent, its first frame where it
    moves, 16 bits scaled to 8, large ones reduced to a longer side below 4096.

    What there is to remark on the file stands in info["remark"]. Raises MediaError where it is no picture, damaged, or too large.
    """
    return open_frames(path, 1)[0]


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a picture that can be read, be it damaged or too large."""
    try:
        with _opened(path):
            return True
    except (MediaError, Image.DecompressionBombError):
        return picture_heads.kind(path) != ""
    except Exception:  # Pillow's readers raise whatever a damaged file leads them to; ffmpeg reads some GIFs that they do not
        return picture_heads.kind(path) not in ("", "GIF")


def open_frames(path: str | os.PathLike[str], count: int) -> list[Image.Image]:
    """`count` frames evenly over the beginning of a picture that moves, as much as MAX_READ and MILLIONS_MOVING allow, each as
    open_picture makes them; a still one stands still."""
    try:
        with ONE, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged EXIF is only not obeyed
            with _opened(path) as file:
                _check(file, path)
                moves = count > 1 and file.format not in ("MPO", "TIFF") and getattr(file, "is_animated", False)
                return _moving(file, path, count) if moves else [_still(file, path)] * count
    except MediaError:
        raise
    except Image.DecompressionBombError:
        raise MediaError(f"This picture has more than {max(MILLIONS.values())} million pixels: make it smaller first.") from None
    except Exception as error:  # as above
        raise MediaError(f"This file cannot be read as a picture ({type(error).__name__}): {BRING}.") from None


def _opened(path: str | os.PathLike[str]) -> Image.Image:
    """Pillow's file with its header read."""
    picture_heads.check(path)
    Image.init()
    register_heif_opener(thumbnails=False, decode_threads=1)
    return Image.open(_filled_webp(path) or path, formats=[one for one in MILLIONS if one in Image.OPEN])


def _check(file: Image.Image, path: str | os.PathLike[str]) -> None:
    """Raise MediaError for more pixels than are decoded of such a file; what a JPEG needs is known once its header is read."""
    kind, (width, height) = file.format or "", file.size
    pixels = width * height
    million = MILLIONS[kind]
    if pixels > million * 10**6:
        raise MediaError(
            f"This {kind} has {width}x{height} pixels, more than the {million} million that are read of one: "
            f"make it smaller{'' if kind == 'JPEG' else ', or save it as a JPEG'} first."
        )
    if max(width, height) > MAX_SIDE:
        raise MediaError(f"This {kind} has {width}x{height} pixels, a side of more than {MAX_SIDE:,}: cut it smaller first.")
    if kind == "PPM" and file.tile[0][0] == "ppm_plain" and Path(path).stat().st_size > MAX_WORDS:
        raise MediaError(f"This PPM writes more than {MAX_WORDS:,} bytes of numbers as text: save it as a PNG first.")
    if kind in ("JPEG", "MPO"):
        file.draft("RGB", (SIDE, SIDE))  # a large JPEG is decoded at a fraction of its size
        progressive = bool(file.info.get("progressive"))
        most = MILLIONS_DECODED * 3 // max(3, len(file.getbands()))
        if (pixels if progressive else file.width * file.height) > most * 10**6:
            raise MediaError(
                f"This {'progressive ' if progressive else ''}JPEG has {width}x{height} pixels that must be decoded at once: "
                f"make it smaller than {most} million."
            )
        scans = Path(path).read_bytes().count(b"\xff\xda")
        if (scans > MAX_SCANS and kind == "JPEG") or (progressive and scans * pixels > MILLIONS_SCANNED * 10**6):
            raise MediaError(f"This JPEG has {scans} passes over the same picture, too many: save it again with another program.")


def _still(file: Image.Image, path: str | os.PathLike[str]) -> Image.Image:
    remark = ""
    try:
        file.load()
        if file.format in ("PNG", "GIF") and not _ends(path):
            remark = REMARK
        if file.format == "WEBP" and (other := _filled_webp(path, b"\x5a")):
            _same(file, other)
            remark = REMARK
    except OSError:
        content = Path(path).read_bytes() if Path(path).stat().st_size < picture_heads.HELD["JPEG"] else b""
        if content and file.format == "PNG" and _is_whole_png(content):
            file.tile = []  # it was all decoded before the end was missed
        elif file.format in ("JPEG", "MPO") and (mended := _whole_jpeg(content)):
            mended.info |= file.info
            file = mended
        else:
            raise MediaError(f"This file cannot be read as a picture, a part is missing or damaged: {BRING} that is whole.") from None
        remark = REMARK
    picture = _upright(file, _rgb(file, max(1, max(file.size) // SIDE)))
    picture.info["remark"] = remark
    return picture


def _moving(file: Image.Image, path: str | os.PathLike[str], count: int) -> list[Image.Image]:
    number = min(_count(file, path), MAX_READ, max(1, MILLIONS_MOVING * 10**6 // (file.width * file.height)))
    if number == 1:
        raise MediaError(f"This picture moves and has {file.width}x{file.height} pixels a frame, too many: make it smaller first.")
    indices = np.linspace(0, number - 1, count).round().astype(int).tolist()
    frames: dict[int, Image.Image] = {}
    decoded = 0
    for index in range(number):  # one after the other, as each is drawn over the one before and may be larger than the header says
        try:
            file.seek(index)
            decoded += file.width * file.height
            if decoded > MILLIONS_MOVING * 10**6:
                raise MediaError("A frame of this picture is larger than its header says, by too much: save it again with another program.")
            file.load()
        except (EOFError, OSError):
            if not frames:
                raise
            break  # it is cut off: what came before is looked at
        if index in indices:
            frames[index] = _upright(file, _rgb(file, max(1, max(file.size) // SIDE_MOVING)))
            frames[index].thumbnail((SIDE_MOVING, SIDE_MOVING))
    return [frames.get(index, frames[max(frames)]) for index in indices]


def _count(file: Image.Image, path: str | os.PathLike[str]) -> int:
    """Frames of a picture that moves; Pillow would go through those of a GIF one by one."""
    if file.format != "GIF":
        return file.n_frames
    with Path(path).open("rb") as stream:
        return sum(kind == "frame" for kind, _ in receipts.gif_parts(stream))


def _rgb(file: Image.Image, factor: int) -> Image.Image:
    """A decoded picture in 8-bit RGB over white, reduced by a whole factor: strip by strip, so that no second copy of it stands."""
    width, height = file.size
    picture = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    file.load()
    deep, lines = file.mode.startswith("I") or file.mode == "F", 64 * factor
    strips = range(0, height, lines)
    white = 1.0
    if deep:
        highest = max(_levels(file.crop((0, top, width, min(top + lines, height)))).max() for top in strips)
        white = max(float(highest), 1.0 if file.mode == "F" else 65535.0)
    for top in strips:
        strip = file.crop((0, top, width, min(top + lines, height)))
        if deep:
            strip = Image.fromarray((_levels(strip) * (255 / white)).round().astype(np.uint8))
        if strip.has_transparency_data:
            strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip.convert("RGBA"))
        picture.paste(strip.convert("RGB").reduce(factor), (0, top // factor))
    return picture


def _levels(strip: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(strip).astype(np.float32), posinf=0).clip(min=0)


def _upright(file: Image.Image, picture: Image.Image) -> Image.Image:
    """Turned as its file says: by the orientation in its EXIF, whatever is damaged beside it, else by that in its XMP."""
    turn = TURNS.get(_orientation(file.info.get("exif")))
    if turn is None:
        try:
            turn = TURNS.get(file.getexif().get(ORIENTATION))
        except Exception:  # whatever damaged EXIF leads Pillow to
            return picture
    return picture.transpose(Image.Transpose[turn]) if turn else picture


def _orientation(exif: object) -> int | None:
    """The orientation in EXIF, None where it says none. Pillow reads nothing of what follows a tag that points outside the file."""
    if not isinstance(exif, bytes):
        return None
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2], "big")
    start = int.from_bytes(tiff[4:8], order)
    for place in range(start + 2, min(start + 2 + 12 * int.from_bytes(tiff[start : start + 2], order), len(tiff)), 12):
        tag, kind = (int.from_bytes(tiff[at : at + 2], order) for at in (place, place + 2))
        if tag == ORIENTATION and kind in WHOLE:
            return int.from_bytes(tiff[place + 8 : place + 8 + WHOLE[kind]], order)
    return None


# ---- files that are cut off


def _whole_jpeg(content: bytes) -> Image.Image | None:
    """A JPEG without its end marker, decoded, if nothing of the picture is missing: then what follows its last bit changes nothing."""
    content = content.removesuffix(b"\xff")
    pictures = []
    for filler in (b"", b"\x5a" * 4096):
        try:
            picture = Image.open(io.BytesIO(content + filler + b"\xff\xd9"), formats=("JPEG",))
            picture.draft("RGB", (SIDE, SIDE))
            picture.load()
        except Exception:  # Pillow's readers raise whatever a damaged file leads them to
            return None
        pictures.append(picture)
    return pictures[0] if pictures[0].tobytes() == pictures[1].tobytes() else None


def _filled_webp(path: str | os.PathLike[str], filler: bytes = b"\0") -> io.BytesIO | None:
    """A WebP that lacks some bytes of its end, as long as it says that it is: else nothing of it is decoded. None for any other file."""
    with Path(path).open("rb") as file:
        start, length = file.read(12), file.seek(0, io.SEEK_END)
        missing = 8 + int.from_bytes(start[4:8], "little") - length
        if not (start[:4] == b"RIFF" and start[8:] == b"WEBP" and 0 < missing <= MAX_MISSING):
            return None
        file.seek(0)
        return io.BytesIO(file.read() + filler * missing)


def _same(file: Image.Image, other: io.BytesIO) -> None:
    """Raise OSError unless a picture is the same with other bytes in place of its end: then that was a part of it."""
    with Image.open(other, formats=("WEBP",)) as copy:
        if copy.tobytes() != file.tobytes():
            raise OSError("its end is a part of the picture")


def _ends(path: str | os.PathLike[str]) -> bool:
    """Whether a PNG has its last chunk, or a GIF the mark of its end."""
    with Path(path).open("rb") as file:
        if file.read(6) in receipts.GIF:
            for _ in receipts.gif_parts(file):
                pass
            file.seek(-1, os.SEEK_CUR)
            return file.read(1) == b";"
        return any(kind == b"IEND" and len(file.read(4)) == 4 for kind, _ in receipts.png_chunks(file))


def _is_whole_png(content: bytes) -> bool:
    """Whether a PNG without its end holds every line of its picture."""
    stream, unpack, length = io.BytesIO(content), zlib.decompressobj(), 0
    bits = content[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(content[25], 4)
    width, height = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    sizes = [(-(-(width - x) // w), -(-(height - y) // h)) for x, y, w, h in (passes if content[28] else [(0, 0, 1, 1)])]
    wanted = sum((1 + (bits * columns + 7) // 8) * rows for columns, rows in sizes if columns > 0 and rows > 0)
    try:
        for kind, size in receipts.png_chunks(stream):
            piece = stream.read(size) if kind == b"IDAT" else b""
            while piece and length < wanted:
                length += len(unpack.decompress(piece, 1 << 20))
                piece = unpack.unconsumed_tail
    except zlib.error:
        return False
    return length >= wanted
