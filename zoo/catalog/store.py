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
from typing import TYPE_CHECKING, Any, BinaryIO

from filelock import FileLock, Timeout

from zoo.catalog.budget import Budget
from zoo.catalog.card import SHARD, Card
from zoo.catalog.files import atomic_write, try_writing
from zoo.errors import DownloadError

if TYPE_CHECKING:
    from zoo.catalog.mounts import Mounts

WEIGHTS = Path(__file__).parent / "weights"
"""The models that ship with the repository."""
PIECE = 1 << 22
"""Bytes that are read at a time."""
PATIENCE = 60.0
"""Seconds to wait for whoever changes the store, which takes moments."""
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
    chosen: str = ""
    """Which of several sets of weights in the file somebody chose; empty for the averaged ones where there are some."""
    taken: str = ""
    """Which set was taken when the file was imported, in words; empty where it holds one."""
    folder: Path | None = None
    """Somebody else's, in which they lie and which is only read; None where they are this program's own."""

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

    def __init__(self, folder: Path, mounts: Mounts | None = None, most: int | None = None) -> None:
        """mounts: asked for files that are not in the store; most: bytes that its own may take, None for as many as the disk has."""
        self.folder, self.mounts = folder, mounts
        self.blobs, self.parts, self.pins = folder / "blobs", folder / "parts", folder / "pins"
        self.budget = Budget(self.blobs, self.parts, most)

    def find(self, card: Card) -> LocalFiles | None:
        """The files of a card, None unless all of them are here. Nothing is read but their sizes."""
        for source in card.weights:
            if source.origin == "bundled" and (WEIGHTS / source.file).is_file():
                path = WEIGHTS / source.file
                return LocalFiles(path, source.sha256, origin="bundled", bytes=source.bytes, digests={path: source.sha256})
        return self._pinned(card) or (self.mounts.find(card) if self.mounts else None)

    def _pinned(self, card: Card) -> LocalFiles | None:
        pin = self.pin(card.id)
        files = pin.get("files", {})
        paths = {name: self._place(entry) for name, entry in files.items()}
        if not files or any(not _size(path) or _size(path) != files[name]["bytes"] for name, path in paths.items()):
            return None
        (main, path), *others = paths.items()
        also = {name.rpartition("/")[2]: other for name, other in others}
        digests = {paths[name]: entry["sha256"] for name, entry in files.items()}
        size = sum(entry["bytes"] for entry in files.values())
        words = (str(pin.get(word, "")) for word in ("origin", "chosen", "taken"))
        origin, chosen, taken = words
        return LocalFiles(path, files[main]["sha256"], also, origin, size, digests, chosen, taken)

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

    def notes(self, card: Card) -> dict[str, Any]:
        """What was noted of the files of a card that are here, wherever they lie."""
        pin, files = self.pin(card.id), self.find(card)
        return pin if files and (not files.folder or pin.get("of") == files.digest) else {}

    def annotate(self, card: Card, **more: Any) -> bool:
        """Add to what is noted of a model that is here; whether it could be written, for a store may be somebody else's."""
        try:
            with self.changing():
                if (files := self.find(card)) and (files.folder or self.pin(card.id)):
                    of = {"files": {}, "of": files.digest} if files.folder else {}
                    self.note(card.id, self.pin(card.id) | of | more)
        except OSError:
            return False
        return True

    def has(self, digest: str, size: int) -> bool:
        """Whether a whole file of this digest is in the store; size: its bytes, 0 where nobody said."""
        path = self.blobs / digest
        if not digest or not path.is_file():
            return False
        return path.stat().st_size == size if size else sha256(path) == digest

    def entry(self, digest: str) -> dict[str, Any]:
        """What a pin says of a file in the store."""
        return {"sha256": digest, "bytes": (self.blobs / digest).stat().st_size}

    def add(self, path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
        """Copy a file into the store under its digest, which is returned; progress is told the bytes done.

        Raises DownloadError where it cannot be read, or the disk has no room for it.
        """
        try:
            size, key = path.stat().st_size, f"import-{os.getpid()}-{threading.get_ident()}"
            self.room(size)
            with self.budget.hold({key: size}, path.name), self.part(key) as part:
                try:
                    with path.open("rb") as source:
                        while piece := source.read(PIECE):
                            part.write(piece)
                            progress(part.done)
                    return part.settle(part.sha256())
                except BaseException:
                    part.restart()  # nobody goes on with it
                    raise
        except OSError as error:
            if isinstance(error, DownloadError):
                raise
            raise DownloadError(f"{path} cannot be copied into {self.folder} ({error.strerror}): mend that and try again.") from None

    def room(self, size: int) -> None:
        """Raise DownloadError unless the disk can take so many bytes more."""
        try:
            for folder in (self.parts, self.blobs):
                folder.mkdir(parents=True, exist_ok=True)
                try_writing(folder)
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
        Raises DownloadError where the system lets nobody delete a file, as Windows does while it is in use.
        """
        with self.changing():
            pin = self.pin(identity)
            digests = {name: entry["sha256"] for name, entry in pin.get("files", {}).items()}
            if digests:
                self.note(identity, {"files": {}, "was": pin.get("was", {}) | digests})
            other_digests = {entry["sha256"] for other in self.all_pins().values() for entry in other["files"].values()}
            paths = [self.blobs / digest for digest in digests.values() if digest not in other_digests]
            freed_bytes = sum(_delete(path) for path in paths)
        if stuck := [path for path in paths if path.is_file()]:
            raise DownloadError(
                f"{identity} is removed, but {sum(path.stat().st_size for path in stuck):,} bytes of it are in use and stay on disk: end "
                "what computes with it, then let the person who runs this hub prune its downloads.",
                command="python -m zoo cache --prune",
            )
        return freed_bytes

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only one, of all threads and processes, who pins files or deletes any: for moments.

        Raises DownloadError where another one is at it for PATIENCE seconds.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "pins.lock")
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise DownloadError(f"{self.folder} is locked by another process: end it, or delete pins.lock there.") from None
        except OSError as error:
            raise DownloadError(
                f"{error.filename or self.folder} cannot be written ({error.strerror}): set PATCHWORK_CACHE to another folder."
            ) from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def part(self, key: str) -> Iterator[Part]:
        """A new unfinished file that is this caller's alone while the block runs."""
        with FileLock(self.parts / f"{key}.lock"), Part(self, key) as part:
            yield part

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
        with self.changing():
            digests = {entry["sha256"] for pin in self.all_pins().values() for entry in pin["files"].values()}
            freed_bytes += sum(_delete(path) for path in self.blobs.glob("*") if path.name not in digests)
        for path in self.parts.glob("*.part"):  # a download may have begun by now
            with _try_lock(path.with_suffix(".lock")) as free:
                freed_bytes += _delete(path) if free else 0
        return freed_bytes

    def unfinished_bytes(self) -> int:
        """Bytes of downloads that were begun and not finished."""
        return sum(_size(path) for path in self.parts.glob("*.part"))

    def _place(self, entry: Mapping[str, Any]) -> Path:
        return Path(entry["path"]) if entry.get("path") else self.blobs / entry["sha256"]


class Part:
    """An unfinished file of a store, open while it is used as a context: one handle writes it, is read to check it, and lets it go.

    told(bytes done, bytes a second).
    """

    def __init__(self, store: Store, key: str, on_progress: OnProgress = lambda *_: None) -> None:
        self.store, self.path, self.on_progress = store, store.parts / f"{key}.part", on_progress
        self._file: BinaryIO | None = None
        self._laps: deque[tuple[float, int]] = deque(maxlen=64)

    def __enter__(self) -> Part:
        self._file = self.path.open("a+b", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.size:
            self.path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """Bytes on disk, whoever brought them."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def done(self) -> int:
        """Bytes in the open file."""
        return os.fstat(self._file.fileno()).st_size

    def take_up(self, total: int) -> None:
        """Go on from what an earlier download left, unless it is more than the whole, or that is unknown (0)."""
        if self.done > total:
            self.restart()
        self.on_progress(self.done, None)

    def write(self, piece: bytes) -> None:
        """Append what has arrived."""
        left = memoryview(piece)
        while left:
            left = left[self._file.write(left) :]
        now, done = time.monotonic(), self.done
        if not self._laps or now - self._laps[-1][0] > 0.1:
            self._laps.append((now, done))
            start, earlier = self._laps[0]
            self.on_progress(done, (done - earlier) / (now - start) if now > start else None)

    def restart(self) -> None:
        """Throw away what is there."""
        os.truncate(self.path if self._file.closed else self._file.fileno(), 0)

    def sha256(self) -> str:
        """Digest of what stands on disk."""
        self._file.seek(0)
        return _digest(self._file)

    def settle(self, digest: str) -> str:
        """Move the whole file, whose digest this is, to it. Raises OSError where somebody put another in its place."""
        os.fsync(self._file.fileno())
        if not os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
            raise OSError(f"somebody else wrote {self.path.name}")
        size = self.done
        self._file.close()  # for Windows renames no file that is open
        try:
            os.replace(self.path, self.store.blobs / digest)
        except PermissionError:  # nor onto one that is mapped, which a model that computes has
            if not self.store.has(digest, size):
                raise
            self.path.unlink()
        return digest


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
    """Bytes of a file, 0 where it is gone, be it at this moment, or lies where this user may not look."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def _delete(path: Path) -> int:
    """The bytes freed: none where the system lets nobody delete the file, as Windows does while it is mapped."""
    size = _size(path)
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return 0
    return size


def sha256(path: Path) -> str:
    """Digest of a file in hex, read in pieces. Raises DownloadError where it cannot be read, as another user's."""
    try:
        with path.open("rb") as file:
            return _digest(file)
    except OSError as error:
        raise DownloadError(
            f"{path} cannot be read ({error.strerror}): ask its owner to allow it, or set PATCHWORK_CACHE to a folder of your own."
        ) from None


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()
