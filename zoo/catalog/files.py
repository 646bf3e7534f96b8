"""Files that appear whole or not at all, whoever else writes them; those of this user alone; whether a folder takes any."""

from __future__ import annotations

import os
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_write(path: Path, private: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, to be written inside the block: it takes its place at the end, and is removed where anything fails.

    The temporary name is another one each time, so that two processes that write the same file do not take each other's.
    private: the file, and the folder that it is in, are this user's alone.
    """
    if private:
        private_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        if private:
            private_file(part)
        yield part
        _replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def private_folder(folder: Path) -> None:
    """Make a folder that only this user may look into, whatever the umask; one that is there becomes such, where this user may say so."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _only_mine(folder, 0o700)


def private_file(path: Path) -> None:
    """As `private_folder`, of a file, empty at first."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    _only_mine(path, 0o600)


def _only_mine(path: Path, mode: int) -> None:
    if stat.S_IMODE(path.stat().st_mode) != mode:
        with suppress(OSError):  # of another user, or on a disk that knows no owners
            path.chmod(mode)


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
