"""The weights on this machine: bundled files, and a folder of files named by their digest with a pin for each model."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from zoo.catalog.card import SHARD, Card
from zoo.catalog.files import atomic_write
from zoo.errors import DownloadError

WEIGHTS = Path(__file__).parent / "weights"
"""The models that ship with the repository."""
PIECE = 1 << 22
"""Bytes that are read at a time."""
OnProgress = Callable[[int, "float | None"], None]


@dataclass(frozen=True)
class LocalFiles:
    """The files of one model on this machine: the weights, their digest, and what else it needs by name."""

    path: Path
    sha256: str
    also: Mapping[str, Path] = field(default_factory=dict)
    origin: str = ""
    """bundled, or where the files came from, in words."""
    bytes: int = 0
    digests: Mapping[Path, str] = field(default_factory=dict)
    """What the sha256 of each file was when it arrived."""

    @property
    def digest(self) -> str:
        """What tells these files from others: the sha256 of the weights, or of all digests where the model needs several files."""
        return self.sha256 if len(self.digests) < 2 else hashlib.sha256(" ".join(self.digests.values()).encode()).hexdigest()

    @property
    def weights(self) -> list[Path]:
        """The weights, shard by shard where they are cut."""
        return [self.path, *(path for name, path in self.also.items() if SHARD.fullmatch(name))]


class Store:
    """One file a digest, however many models and sources share it; files appear under their name by an atomic rename only.

    blobs/<sha256> are whole files, parts/<key>.part unfinished ones, pins/<card id>.json what is kept of a model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs, self.parts, self.pins = folder / "blobs", folder / "parts", folder / "pins"

    def find(self, card: Card) -> LocalFiles | None:
        """The files of a card, None unless all of them are here. Nothing is read but their sizes."""
        for source in card.weights:
            if source.origin == "bundled" and (WEIGHTS / source.file).is_file():
                path = WEIGHTS / source.file
                return LocalFiles(path, source.sha256, origin="bundled", bytes=source.bytes, digests={path: source.sha256})
        pin = self.pin(card.id)
        files = pin.get("files", {})
        paths = {name: self._place(entry) for name, entry in files.items()}
        if not files or any(not path.is_file() or _size(path) != files[name]["bytes"] for name, path in paths.items()):
            return None
        (main, path), *others = paths.items()
        also = {name.rpartition("/")[2]: other for name, other in others}
        digests = {paths[name]: entry["sha256"] for name, entry in files.items()}
        size = sum(entry["bytes"] for entry in files.values())
        return LocalFiles(path, files[main]["sha256"], also, pin.get("origin", ""), size, digests)

    def pin(self, identity: str) -> dict[str, Any]:
        """What is kept of a model: its files with digests and sizes, where they came from, its fingerprint; empty if none is."""
        try:
            pin = json.loads((self.pins / f"{identity}.json").read_text(encoding="utf-8"))
            whole = (
                isinstance(pin.get("origin", ""), str) and isinstance(pin.get("was", {}), dict) and all(map(_sound, pin["files"].values()))
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}
        return {"origin": ""} | pin if whole else {}

    def keep(self, card: Card, files: Mapping[str, Mapping[str, Any]], origin: str, **more: Any) -> LocalFiles | None:
        """Pin a card to files: name -> {sha256, bytes, and path where the file lies outside the store}, the weights first."""
        self.note(card.id, {"files": {name: dict(entry) for name, entry in files.items()}, "origin": origin} | more)
        return self.find(card)

    def note(self, identity: str, pin: Mapping[str, Any]) -> None:
        """Write a model's pin, replacing what it said before."""
        with atomic_write(self.pins / f"{identity}.json") as part:
            part.write_text(json.dumps(pin, indent=1), encoding="utf-8")

    def has(self, digest: str) -> bool:
        """Whether a file of this digest is in the store."""
        return bool(digest) and (self.blobs / digest).is_file()

    def entry(self, digest: str) -> dict[str, Any]:
        """What a pin says of a file in the store."""
        return {"sha256": digest, "bytes": (self.blobs / digest).stat().st_size}

    def add(self, path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
        """Copy a file into the store under its digest, which is returned; progress is told the bytes done.

        Raises DownloadError where it cannot be read, or the disk has no room for it.
        """
        part = self.parts / f"import-{os.getpid()}-{threading.get_ident()}.part"
        try:
            self.room(path.stat().st_size)
            digest, done = hashlib.sha256(), 0
            with path.open("rb") as source, part.open("wb") as copy:
                while piece := source.read(PIECE):
                    digest.update(piece)
                    copy.write(piece)
                    progress(done := done + len(piece))
            os.replace(part, self.blobs / digest.hexdigest())
        except OSError as error:
            part.unlink(missing_ok=True)
            if isinstance(error, DownloadError):
                raise
            raise DownloadError(f"{path} cannot be copied into {self.folder} ({error.strerror}): mend that and try again.") from None
        return digest.hexdigest()

    def room(self, size: int) -> None:
        """Raise DownloadError unless the disk can take so many bytes more."""
        try:
            for folder in (self.parts, self.blobs):
                folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise DownloadError(f"{self.folder} cannot be written ({error.strerror}): set PATCHWORK_CACHE to another folder.") from None
        if size > free:
            raise DownloadError(
                f"{self.folder} has {free:,} bytes free and {size:,} are needed, {size - free:,} too few: free some space, or set "
                "PATCHWORK_CACHE to a folder on another disk.",
                command="python -m zoo cache --prune",
            )

    def all_pins(self) -> dict[str, dict[str, Any]]:
        """Every model that has files here, by id: its pin."""
        pins = {path.stem: self.pin(path.stem) for path in sorted(self.pins.glob("*.json"))}
        return {identity: pin for identity, pin in pins.items() if pin.get("files")}

    def remove(self, identity: str) -> int:
        """Forget a model's files, and delete those that no other model needs; the bytes freed. Files outside the store stay.

        Their digests are remembered, so that another content under the same name is noticed when it is fetched again.
        """
        pin = self.pin(identity)
        digests = {name: entry["sha256"] for name, entry in pin.get("files", {}).items()}
        if digests:
            self.note(identity, {"files": {}, "was": pin.get("was", {}) | digests})
        other_digests = {entry["sha256"] for other in self.all_pins().values() for entry in other["files"].values()}
        return sum(_delete(self.blobs / digest) for digest in digests.values() if digest not in other_digests)

    def arriving(self, identity: str) -> AbstractContextManager[bool]:
        """Tell other processes that files of a model arrive one by one, which no pin names before the last."""
        with suppress(OSError):  # said in words by whoever writes there
            self.parts.mkdir(parents=True, exist_ok=True)
        return _try_lock(self.parts / f"{identity}.lock", patience=1)

    def prune(self) -> int:
        """Delete unfinished downloads that nobody is at, and files that no model needs or is about to; the bytes freed."""
        freed_bytes, busy = 0, False
        for path in self.parts.glob("*.lock"):
            with _try_lock(path) as free:
                busy = busy or not free
                freed_bytes += _delete(path.with_suffix(".part")) if free else 0
        if busy:
            return freed_bytes
        digests = {entry["sha256"] for pin in self.all_pins().values() for entry in pin["files"].values()}
        orphans = [path for path in self.blobs.glob("*") if path.name not in digests]
        return freed_bytes + sum(_delete(path) for path in [*orphans, *self.parts.glob("*.part")])

    def unfinished_bytes(self) -> int:
        """Bytes of downloads that were begun and not finished."""
        return sum(_size(path) for path in self.parts.glob("*.part"))

    def _place(self, entry: Mapping[str, Any]) -> Path:
        return Path(entry["path"]) if entry.get("path") else self.blobs / entry["sha256"]


class Part:
    """An unfinished file of a store, its digest so far, and how fast it grows; told(bytes done, bytes a second)."""

    def __init__(self, store: Store, key: str, on_progress: OnProgress) -> None:
        self.store, self.path, self.on_progress = store, store.parts / f"{key}.part", on_progress
        self.digest, self.done = hashlib.sha256(), 0
        self._laps: deque[tuple[float, int]] = deque(maxlen=64)

    @property
    def size(self) -> int:
        """Bytes on disk, whoever brought them."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def take_up(self, total: int) -> None:
        """Go on from what an earlier download left, unless it is more than the whole, or that is unknown (0)."""
        if self.size > total:
            self.path.unlink()
        if self.size:
            with self.path.open("rb") as file:
                while piece := file.read(PIECE):
                    self.digest.update(piece)
                    self.done += len(piece)
        self.on_progress(self.done, None)

    def write(self, piece: bytes) -> None:
        """Append what has arrived."""
        with self.path.open("ab") as file:
            file.write(piece)
        self.digest.update(piece)
        self.done += len(piece)
        now = time.monotonic()
        if not self._laps or now - self._laps[-1][0] > 0.1:
            self._laps.append((now, self.done))
            start, earlier = self._laps[0]
            self.on_progress(self.done, (self.done - earlier) / (now - start) if now > start else None)

    def restart(self) -> None:
        """Throw away what is there."""
        self.path.unlink(missing_ok=True)
        self.digest, self.done = hashlib.sha256(), 0

    def settle(self) -> str:
        """Move the whole file to its digest, which is returned."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(self.path, self.store.blobs / self.digest.hexdigest())
        return self.digest.hexdigest()


@contextmanager
def _try_lock(path: Path, patience: float = 0) -> Iterator[bool]:
    """Hold a lock file, unless somebody else does, or owns it; whether it is held."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _sound(entry: Mapping[str, Any]) -> bool:
    """Whether what a pin says of a file is what this program writes."""
    digest, size, path = entry["sha256"], entry["bytes"], entry.get("path", "")
    return bool(re.fullmatch(r"[0-9a-f]{64}", digest)) and type(size) is int and size >= 0 and isinstance(path, str) and "\0" not in path


def _size(path: Path) -> int:
    """Bytes of a file, 0 where it is gone, be it at this moment."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _delete(path: Path) -> int:
    size = _size(path)
    path.unlink(missing_ok=True)
    return size


def sha256(path: Path) -> str:
    """Digest of a file in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
