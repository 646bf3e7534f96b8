"""How much downloaded weights may take on disk: what would be too much is refused before its first byte is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zoo.errors import DownloadError


class Budget:
    """Bytes that the files of a store may take, unfinished ones included, and those of downloads that run as if they were whole."""

    def __init__(self, blobs: Path, parts: Path, most: int | None) -> None:
        """most: None for as many as the disk has."""
        self.blobs, self.parts, self.most = blobs, parts, most
        self._expected: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Bytes that the files take now."""
        return sum(_sizes(self.blobs, "*").values()) + sum(_sizes(self.parts, "*.part").values())

    def refusal(self, size: int, title: str) -> str:
        """Why so many bytes more are too many, in one sentence; empty where they are not."""
        with self._lock:
            return self._refusal({title: size}, title) if self.most is not None else ""

    @contextmanager
    def hold(self, files: Mapping[str, int], title: str) -> Iterator[None]:
        """Keep room for a download while the block runs. files: names of its unfinished files, and their bytes when they are whole.

        Raises DownloadError where there is too little.
        """
        with self._lock:
            if self.most is not None and (words := self._refusal(files, title)):
                raise DownloadError(words, command="python -m zoo cache")
            self._expected.update(files)
        try:
            yield
        finally:
            with self._lock:
                for name in files:
                    self._expected.pop(name, None)

    def _refusal(self, files: Mapping[str, int], title: str) -> str:
        whole, parts = _sizes(self.blobs, "*"), _sizes(self.parts, "*.part")
        begun = parts | {name: size for name, size in self._expected.items() if name not in whole}
        others = sum(whole.values()) + sum(size for name, size in begun.items() if name not in files)
        size = sum(size for name, size in files.items() if name not in whole)
        if others + size <= self.most:
            return ""
        return (
            f"{title} would take {size:,} bytes on disk, and of the {self.most:,} that downloaded models may take here {others:,} are "
            "taken: let the person who runs this hub remove one, or allow more (PATCHWORK_MODELS_GB)."
        )


def _sizes(folder: Path, pattern: str) -> dict[str, int]:
    """Bytes of each file of a folder, by its name without a suffix."""
    sizes = {}
    for path in folder.glob(pattern):
        try:
            sizes[path.stem] = path.stat().st_size
        except OSError:  # gone meanwhile
            continue
    return sizes
