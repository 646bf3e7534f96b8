"""Files that appear whole or not at all, whoever else writes them at the same time, and whether a folder takes any."""

from __future__ import annotations

import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, to be written inside the block: it takes its place at the end, and is removed where anything fails.

    The temporary name is another one each time, so that two processes that write the same file do not take each other's.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield part
        _replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _replace(part: Path, path: Path) -> None:
    """Rename a file over another; Windows refuses that as long as somebody reads the other, which takes moments."""
    for pause in (0.01, 0.05, 0.2, 0.5):
        try:
            os.replace(part, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(part, path)


def try_writing(folder: Path, size: int = 0) -> None:
    """Raise OSError unless a file can be written to a folder or, where there is none, to the one in which it would be made.

    size: its bytes; a disk that is full takes an empty one.
    """
    while not os.path.lexists(folder):
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(size))
