"""The weights on this machine: bundled files, and a folder of files named by their digest with a pin for each model."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.card import Card
from zoo.errors import DownloadError

WEIGHTS = Path(__file__).parent / "weights"
"""The models that ship with the repository."""


@dataclass(frozen=True)
class Kept:
    """The files of one model on this machine: the weights, their digest, and what else it needs by name."""

    path: Path
    sha256: str
    also: Mapping[str, Path] = field(default_factory=dict)
    origin: str = ""
    """bundled, or where the files came from, in words."""


class Store:
    """One file a digest, however many models and sources share it; files appear under their name by an atomic rename only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self.pins = folder / "pins"

    def find(self, card: Card) -> Kept | None:
        """The files of a card, None unless all of them are here. Nothing is read but their sizes."""
        for source in card.weights:
            if source.origin == "bundled" and (WEIGHTS / source.file).is_file():
                return Kept(WEIGHTS / source.file, source.sha256, origin="bundled")
        pin = self.pin(card)
        files = pin.get("files", {})
        paths = {name: self.blobs / entry["sha256"] for name, entry in files.items()}
        if not files or any(not path.is_file() or path.stat().st_size != files[name]["bytes"] for name, path in paths.items()):
            return None
        (main, path), *others = paths.items()
        return Kept(path, files[main]["sha256"], dict(others), pin.get("origin", ""))

    def pin(self, card: Card) -> dict[str, Any]:
        """What is kept of a model: its files with digests and sizes, where they came from, its fingerprint; empty if none is."""
        try:
            pin = json.loads((self.pins / f"{card.id}.json").read_text(encoding="utf-8"))
            whole = all(re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) and entry["bytes"] >= 0 for entry in pin["files"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}
        return pin if whole else {}

    def keep(self, card: Card, files: Mapping[str, str], origin: str, **more: Any) -> Kept:
        """Pin a card to files that are in the store already, name -> digest, the weights first."""
        sizes = {digest: (self.blobs / digest).stat().st_size for digest in files.values()}
        entries = {name: {"sha256": digest, "bytes": sizes[digest]} for name, digest in files.items()}
        self.note(card, {"files": entries, "origin": origin} | more)
        return self.find(card)

    def note(self, card: Card, pin: Mapping[str, Any]) -> None:
        """Write a model's pin, replacing what it said before."""
        self.pins.mkdir(parents=True, exist_ok=True)
        part = self.pins / f"{card.id}.part"
        part.write_text(json.dumps(pin, indent=1), encoding="utf-8")
        os.replace(part, self.pins / f"{card.id}.json")

    def add(self, path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
        """Copy a file into the store under its digest, which is returned; progress is told the bytes done.

        Raises DownloadError where it cannot be read, or the disk has no room for it.
        """
        try:
            self.room(path.stat().st_size)
            self.blobs.mkdir(parents=True, exist_ok=True)
            part = self.blobs / f"import-{os.getpid()}.part"
            digest, done = hashlib.sha256(), 0
            with path.open("rb") as source, part.open("wb") as copy:
                while piece := source.read(1 << 22):
                    digest.update(piece)
                    copy.write(piece)
                    progress(done := done + len(piece))
            os.replace(part, self.blobs / digest.hexdigest())
        except OSError as error:
            if isinstance(error, DownloadError):
                raise
            raise DownloadError(f"{path} cannot be copied into {self.blobs} ({error.strerror}): mend that and try again.") from None
        return digest.hexdigest()

    def room(self, needed: int) -> None:
        """Raise DownloadError unless the disk can take so many bytes more."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise DownloadError(
                f"{self.folder} has {free / 1e9:.2f} GB free, {needed / 1e9:.2f} GB are needed, {needed - free} bytes too few: free some "
                "with python -m zoo cache --prune, or set PATCHWORK_CACHE to a folder on another disk."
            )


def sha256(path: Path) -> str:
    """Digest of a file in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
