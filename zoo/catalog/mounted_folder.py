"""One folder of weights that somebody else keeps: what lies in it under a name that a card has, looked through in the background."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
import zipfile
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

from zoo.catalog.card import Card
from zoo.catalog.store import LocalFiles, Store

MOST, DEPTH = 50_000, 12
"""Files and folders that are looked through, and how deep."""
FRESH, PATIENCE = 10.0, 5.0
"""Seconds for which what was seen counts, and that somebody waits for the first look."""
SETTLED = 2_000_000_000
"""Nanoseconds after which a folder's own time tells whether it changed."""
HEADER = 100_000_000
"""Bytes of the names of all tensors of a safetensors file, at most."""


@dataclass(frozen=True)
class Lying:
    """A file under a name that a card has."""

    path: Path
    size: int
    changed: int
    """Nanoseconds."""
    promised: str = ""
    """The sha256 that the cache of Hugging Face's client calls it by."""
    fault: str = ""
    """Why it cannot be weights, in a sentence."""


@dataclass(frozen=True)
class Seen:
    """What a look through a folder found."""

    files: Mapping[str, list[Lying]] = field(default_factory=dict)
    """By name."""
    kept: Mapping[str, LocalFiles] = field(default_factory=dict)
    """Models that another Patchwork keeps there, by id."""
    by_path: Mapping[Path, Lying] = field(default_factory=dict)
    remark: str = ""


class MountedFolder:
    """What one folder holds, as of its last look. It may be a file, may be missing, may hang, may change at any time."""

    def __init__(self, path: Path, cards: Callable[[], Iterable[Card]], hub: str = "") -> None:
        """hub: whose client's cache it is, which need not be there; empty for a folder that an operator named."""
        self.path, self.hub, self._cards = path, hub, cards
        self.origin = f"from the cache of {hub}" if hub else "mounted"
        self.seen = Seen()
        self._listings: dict[Path, tuple[int, list[str], list[str]]] = {}
        self._began, self._ended, self._waited = 0.0, 0.0, False
        self._lock, self._first = threading.Lock(), threading.Event()

    @property
    def remark(self) -> str:
        """What is wrong with this folder, in a sentence; empty where nothing is."""
        since = time.monotonic() - self._began
        if self._began > self._ended and since > PATIENCE:
            return f"{self.path} has not answered for {since:.0f} s: look after what is mounted there."
        return self.seen.remark

    def look(self) -> Seen:
        """What lies there, as it was at most FRESH seconds before somebody asked last. Only the first look is waited for, for PATIENCE."""
        with self._lock:
            if self._began <= self._ended and (not self._ended or time.monotonic() - self._ended > FRESH):
                self._began = time.monotonic()
                threading.Thread(target=self._work, daemon=True, name=f"looks through {self.path}").start()
            waits, self._waited = not self._waited, True
        if waits:
            self._first.wait(PATIENCE)
            if self.remark:
                logging.getLogger(__name__).warning(self.remark)
        return self.seen

    def _work(self) -> None:
        try:
            self.seen = self._see()
        finally:
            self._ended = time.monotonic()
            self._first.set()

    def _see(self) -> Seen:
        cards = list(self._cards())
        names = {file.rpartition("/")[2] for card in cards for source in card.weights for file in source.files}
        repositories = {f"models--{source.repo.replace('/', '--')}" for card in cards for source in card.weights if source.repo}
        paths, kept, remarks = [], {}, []
        visited, folders, count = set(), deque([(self.path, 0)]), 0
        listings: dict[Path, tuple[int, list[str], list[str]]] = {}
        while folders:
            folder, depth = folders.popleft()  # those near the top first
            try:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in visited:  # a link that leads back
                    continue
                visited.add((status.st_dev, status.st_ino))
                if S_ISREG(status.st_mode):
                    paths.append(folder)
                    continue
                listing = self._listings.get(folder)
                if listing is None or listing[0] != status.st_mtime_ns:
                    listing = _list(folder, status.st_mtime_ns, names)
            except OSError as error:
                what = "what lies there is not found" if folder != self.path else "mount it, or take it out of PATCHWORK_MODELS"
                if folder != self.path or not self.hub:
                    remarks.append(f"{folder} cannot be read ({error.strerror}): {what}.")
                continue
            if time.time_ns() - status.st_mtime_ns > SETTLED:
                listings[folder] = listing
            _, below, here = listing
            paths += [folder / name for name in here]
            if {"pins", "blobs"} <= set(below):
                kept |= _of_another(Store(folder), cards)
            count += len(below) + len(here)
            wanted = [name for name in below if not name.startswith("models--") or name in repositories]
            if depth < DEPTH and count <= MOST:
                folders.extend((folder / name, depth + 1) for name in wanted)
            elif wanted:
                what = f"{MOST:,} folders and files of models, {DEPTH} deep"
                remarks.append(f"{self.path} holds more than is looked through ({what}): name the folders in it that hold weights.")
        paths += [path for files in kept.values() for path in (files.path, *files.also.values())]
        self._listings = listings
        by_path = self._files(paths, remarks)
        files = defaultdict(list)
        for path, lying in by_path.items():
            files[path.name].append(lying)
        return Seen(files, kept, by_path, remarks[0] if remarks else "")

    def _files(self, paths: Iterable[Path], remarks: list[str]) -> dict[Path, Lying]:
        found = {}
        for path in paths:
            try:
                found[path] = _lying(path, self.seen.by_path.get(path))
            except OSError as error:
                remarks.append(f"{path} cannot be read ({error.strerror}): allow this user to read it, or take it away.")
        return found


def _of_another(store: Store, cards: Iterable[Card]) -> dict[str, LocalFiles]:
    """The models in the folder of another Patchwork."""
    found = {card.id: files for card in cards if (files := store.find(card))}
    return {identity: files for identity, files in found.items() if files.path.is_relative_to(store.folder)}


def _list(folder: Path, changed: int, names: set[str]) -> tuple[int, list[str], list[str]]:
    """A folder's time, the folders in it, and the files under one of these names."""
    below, here = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in names:
                here.append(entry.name)
            elif not entry.name.startswith(".") and _is_folder(entry):
                below.append(entry.name)
    return changed, sorted(below), sorted(here)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links that lead to themselves
        return False


def _lying(path: Path, before: Lying | None) -> Lying:
    """A file as it lies there; what was seen before counts while its size and time are the same."""
    status = path.stat()
    if not S_ISREG(status.st_mode):  # to open a pipe would wait for ever
        return Lying(path, 0, status.st_mtime_ns, fault=f"{path} is no file: take it away.")
    if before and (before.size, before.changed) == (status.st_size, status.st_mtime_ns):
        return before
    name = path.resolve().name
    promised = name if re.fullmatch(r"[0-9a-f]{64}", name) else ""
    return Lying(path, status.st_size, status.st_mtime_ns, promised, _fault(path, status.st_size))


def _fault(path: Path, size: int) -> str:
    """Why a file cannot be what its name says, from its first and last bytes; a sentence, or nothing."""
    with path.open("rb") as file:
        head = file.read(64)
        length = int.from_bytes(head[:8], "little")
        header = file.seek(8) and file.read(length) if head[8:9] == b"{" and length <= min(size, HEADER) else b""
    if not size:
        return f"{path} is empty: copy it again."
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a git-lfs pointer, not the file: run git lfs pull where it comes from, and copy it again."
    half = f"{path} ends after {size:,} bytes, in the middle: copy it again."
    if head[:2] == b"PK":
        return "" if zipfile.is_zipfile(path) else half
    if path.suffix != ".safetensors":
        return ""
    try:
        tensors = [entry for name, entry in json.loads(header).items() if name != "__metadata__"]
        end = 8 + length + max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return half if head[8:9] == b"{" else f"{path} is no safetensors file: bring the right one."
    return "" if size == end else half
