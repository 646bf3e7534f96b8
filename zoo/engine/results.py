"""The folder of results: every picture with its receipt, and which visitor asked for it.

A picture lies in a folder of its own, whose name only its maker is told: who makes the same one elsewhere neither finds nor rewrites it.
"""

from __future__ import annotations

import glob
import platform
import re
import shutil
import threading
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import zoo
from zoo.catalog.files import atomic_write, private_file, try_writing
from zoo.engine.retention import Retention, delete, lines
from zoo.errors import MediaError
from zoo.media import pictures, video
from zoo.media.receipts import receipt_text

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.request import Request

HISTORY_LENGTH = 500
"""Pictures of one visitor that the history shows, the newest first."""
THUMBNAIL = "small.jpg"
"""Beside a large picture or a video: what a gallery shows of it."""
ARCHIVE = "patchwork-results.zip"
"""Name of the ZIP file of what a visitor chose; he has one at a time."""
ARCHIVE_BYTES = 1_000_000_000
"""That one ZIP file holds at most."""


class Results:
    """Writes pictures as they are made and finds a visitor's again; a visitor is 32 hex digits that a browser keeps."""

    def __init__(self, folder: Path, gigabytes: float | None = None, days: float | None = None) -> None:
        """gigabytes, days: how much room results may take, and how old they may become (see Retention)."""
        self.folder = folder
        self.retention = Retention(folder, gigabytes, days)
        self._writing = threading.Lock()  # of a history, which is added to and rewritten

    def keep(self, images: np.ndarray, receipts: Sequence[dict[str, Any]], visitor: str) -> tuple[Path, ...]:
        """Write pictures (b, h, w, 3), or videos (b, f, h, w, 3), uint8 and their receipts; the paths of the PNGs or MP4s.
        A video of one frame is also written as a PNG.

        Raises MediaError where the disk refuses.
        """
        names = [_name(receipt, "mp4" if images.ndim == 5 else "png") for receipt in receipts]
        files = tuple(self.folder / self._own_folder(visitor, name) / name for name in names)
        try:
            for image, path, receipt in zip(images, files, receipts, strict=True):
                for suffix, content in _contents(image, receipt):
                    with atomic_write(path.with_suffix(suffix), private=True) as part:
                        part.write_bytes(content)
                if small := _thumbnail(image):
                    with atomic_write(path.with_name(THUMBNAIL), private=True) as part:
                        part.write_bytes(small)
            if page := self._page(visitor):
                private_file(page)
                with self._writing, page.open("a", encoding="utf-8") as names_file:
                    names_file.writelines(f"{path.relative_to(self.folder).as_posix()}\n" for path in files)
        except OSError as error:
            raise MediaError(
                f"The pictures cannot be written to {self.folder} ({error.strerror}): free some space, "
                "or set PATCHWORK_CACHE to another folder."
            ) from None
        self.retention.prune_soon()
        return files

    def history(self, visitor: str, suffix: str = ".png") -> list[Path]:
        """A visitor's pictures, or videos with the suffix .mp4, that still exist, the newest first, each once."""
        page = self._page(visitor)
        names = lines(page) if page else []
        newest = dict.fromkeys(reversed(names))
        return [path for name in newest if name.endswith(suffix) and (path := self.folder / name).is_file()][:HISTORY_LENGTH]

    def chosen(self, visitor: str, names: Sequence[str]) -> list[Path]:
        """Those of a visitor's own files, which still exist, that have these names below the folder of results, the newest first."""
        wanted = set(names)
        return [path for path in self.history(visitor, "") if path.relative_to(self.folder).as_posix() in wanted]

    def forget(self, visitor: str, names: Sequence[str] | None = None) -> int:
        """Take all, or the files of these names, out of a visitor's history and delete them, except those that are in another's as well;
        how many pictures or videos those were."""
        if not (page := self._page(visitor)):
            return 0
        with self._writing:
            own = lines(page)
            leaving = set(own) if names is None else set(own) & set(names)
            if staying := [name for name in own if name not in leaving]:
                with atomic_write(page, private=True) as part:
                    part.write_text("".join(f"{name}\n" for name in staying), encoding="utf-8")
            else:
                page.unlink(missing_ok=True)
        for other in self.folder.glob("*.history"):
            if other != page:
                leaving.difference_update(lines(other))
        for name in leaving:
            path = self.folder / name
            flat = path.parent == self.folder  # as an earlier version kept them
            delete(list(self.folder.glob(f"{glob.escape(path.stem)}.*")) if flat else [path.parent])
        delete([self.folder / self._own_folder(visitor, ARCHIVE)])
        return len(leaving)

    def pack(self, visitor: str, names: Sequence[str]) -> tuple[Path, int]:
        """One ZIP file of a visitor's own files of these names, each with its receipt as JSON; its path, and how many results it holds.

        Raises MediaError where none is there, where they are more than one ZIP file holds, or where the disk refuses.
        """
        files = self.chosen(visitor, names)
        if not files:
            raise MediaError("None of these results is there any more: reload the page.")
        target = self.folder / self._own_folder(visitor, ARCHIVE) / ARCHIVE
        try:
            size, most = sum(path.stat().st_size for path in files), min(ARCHIVE_BYTES, self.retention.budget)
            if size > most:
                raise MediaError(
                    f"These {len(files)} results have {size / 1e6:,.0f} MB together, and one ZIP file may have {most / 1e6:,.0f} MB here: "
                    "select fewer."
                )
            with atomic_write(target, private=True) as part, zipfile.ZipFile(part, "w") as archive:
                for path, stem in zip(files, _unique([path.stem for path in files]), strict=True):
                    archive.write(path, stem + path.suffix)
                    if (receipt := path.with_suffix(".json")).is_file():
                        archive.write(receipt, f"{stem}.json", zipfile.ZIP_DEFLATED)
        except OSError as error:
            raise MediaError(f"The ZIP file cannot be written ({error.strerror}): select fewer results, or free some space.") from None
        return target, len(files)

    def bundle(self, files: dict[str, bytes]) -> list[Path]:
        """Write files that were made together into a folder of their own; their paths. Raises MediaError where the disk refuses."""
        return write_files(files, self.folder / uuid.uuid4().hex, private=True)

    def copy(self, files: Sequence[Path], folder: Path) -> list[Path]:
        """Copy pictures and the receipts beside them into a folder; their paths there. Raises MediaError where the disk refuses."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in files:
                if not path.is_file():
                    raise MediaError(f"{path.name} is no longer there: make it once more.")
                for file in path.parent.glob(f"{path.stem}.*") if folder.resolve() != path.parent.resolve() else ():
                    with atomic_write(folder / file.name) as part:
                        shutil.copyfile(file, part)
        except OSError as error:
            raise MediaError(f"The pictures cannot be copied to {folder} ({error.strerror}): they are kept in {self.folder}.") from None
        return [folder / path.name for path in files]

    def _own_folder(self, visitor: str, name: str) -> str:
        """For a picture of this name: the same for a visitor who makes it again, one that was never there for somebody without a name."""
        return sha256(f"{visitor}/{name}".encode()).hexdigest()[:32] if self._page(visitor) else uuid.uuid4().hex

    def _page(self, visitor: str) -> Path | None:
        return self.folder / f"{visitor}.history" if re.fullmatch(r"[0-9a-f]{32}", str(visitor)) else None


def _contents(image: np.ndarray, receipt: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """(suffix, content) of every file of a picture (h, w, 3), or of a video (f, h, w, 3)."""
    if image.ndim == 3:
        yield ".png", pictures.png(image, receipt)
    else:
        if len(image) == 1:
            yield ".png", pictures.png(image[0], receipt | {"pixels": pictures.digest(image[0])})
        yield from video.files(image, receipt["request"]["fps"], receipt)
    yield ".json", receipt_text(receipt).encode()


def _thumbnail(image: np.ndarray) -> bytes:
    """Of a video (f, h, w, 3) its middle frame, of a large picture (h, w, 3) a small one, as JPEG; of a small picture nothing."""
    if image.ndim == 3 and max(image.shape[:2]) <= pictures.THUMBNAIL:
        return b""
    return pictures.thumbnail(image[len(image) // 2] if image.ndim == 4 else image)


def _unique(stems: Sequence[str]) -> list[str]:
    """The same names, of which one that was there before has a number behind it."""
    taken: dict[str, None] = {}
    for stem in stems:
        name, number = stem, 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken[name] = None
    return [*taken]


def _name(receipt: dict[str, Any], suffix: str) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", receipt["label"].lower()).strip("-")[:40]
    speed = f"-{receipt['request']['fps']}fps" if suffix == "mp4" else ""  # the same frames at another speed are another video
    return f"{receipt['request']['model']}-{label}-{receipt['seed']}-{receipt['pixels'][:10]}{speed}.{suffix}"


def receipts_of(card: Card, request: Request, images: np.ndarray, conditions: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """The receipts of pictures or videos: the request, each one's own seed, and all that decides its pixels."""
    common = {
        "patchwork": zoo.__version__, "request": request.to_dict(), "card": {"id": card.id, "revision": card.revision}, **conditions,
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"), "seconds": round(seconds, 3),
    }  # fmt: skip
    names = [card.label_names[label] for label in request.labels] or [request.prompt or "sample"] * len(images)
    return [
        common | {"index": k, "seed": request.seeds[k], "label": names[k], "pixels": pictures.digest(image)}
        for k, image in enumerate(images)
    ]


def pixels(path: Path, fps: int = 8) -> np.ndarray:
    """What a file of the results shows, to the bit: (h, w, 3) of a PNG, (f, h, w, 3) of an MP4 by the WebP beside it; fps: its own.

    Raises MediaError where it is gone, as the oldest results are after a while, or damaged.
    """
    try:
        if path.suffix == ".mp4":
            return video.exact_frames(path.with_suffix(".webp"), fps)
        with Image.open(path, formats=("PNG",)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise MediaError(f"{path.name} is no longer there, or damaged ({type(error).__name__}): make it once more.") from None


def check_folder(folder: Path) -> None:
    """Raise MediaError where no file can be written to a folder: said before hours of work, and not after."""
    try:
        try_writing(folder)
    except OSError as error:
        raise MediaError(f"Nothing can be written to {folder} ({error.strerror}): choose another folder.") from None


def check_file(path: Path) -> None:
    """Raise MediaError where a file cannot be written, or would need a folder that is not there: said before the work, too."""
    if path.is_dir() or not path.parent.is_dir():
        raise MediaError(f"{path} cannot be written: {'it is a folder' if path.is_dir() else f'there is no folder {path.parent}'}.")
    check_folder(path.parent)


def write_files(files: dict[str, bytes], folder: Path, spare: Path | None = None, private: bool = False) -> list[Path]:
    """Write files into a folder, which private ones have for this user alone; their paths. Raises MediaError where the disk refuses, or the
    file to spare would be overwritten."""
    if spare is not None and spare.resolve() in {(folder / name).resolve() for name in files}:
        raise MediaError(f"{spare} would be overwritten by a figure of that name: choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with atomic_write(folder / name, private) as part:
                part.write_bytes(content)
    except OSError as error:
        raise MediaError(f"Nothing can be written to {folder} ({error.strerror}): choose another folder.") from None
    return [folder / name for name in files]
