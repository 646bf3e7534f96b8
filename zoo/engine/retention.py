"""How much room results may take on disk, and how old they may become: the oldest leave first, in the background."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.engine.request import short
from zoo.errors import RequestError

SHARE, MOST = 0.1, 10e9
"""Of a disk, and bytes, that results may take where the operator says nothing: the smaller of the two."""
YOUNG, EVERY = 3600.0, 600.0
"""Seconds that everything stays at least, as somebody may be looking at it; and between two prunings."""
BUNDLE = re.compile(r"[0-9a-f]{32}")
"""Names of folders that hold what was made together: a picture with its receipt, a report, a grid, an export."""
NAME = re.compile(r"([0-9a-f]{32}/)?[^/\\\x00-\x1f]{1,200}")
"""Names of files of results, in their folders."""


@dataclass(frozen=True)
class Usage:
    """Files, their bytes, and the age of the oldest in seconds."""

    files: int
    bytes: int
    age: float


@dataclass(frozen=True)
class Thing:
    """What leaves together: a picture or a video with its receipt, or a folder of what was made together."""

    paths: tuple[Path, ...]
    bytes: int
    made: float


class Retention:
    """Watches over a folder of results and what else grows beside it."""

    def __init__(self, folder: Path, gigabytes: float | None = None, days: float | None = None) -> None:
        """gigabytes, days: the operator's limits (default: PATCHWORK_RESULTS_GB, else 10 GB or a tenth of the disk, the smaller;
        PATCHWORK_RESULTS_DAYS, else any age). Raises RequestError for what is no number above 0."""
        self.folder = folder
        size, age = _number("PATCHWORK_RESULTS_GB", gigabytes, "GB"), _number("PATCHWORK_RESULTS_DAYS", days, "days")
        self._budget = None if size is None else int(size * 1e9)
        self.age = math.inf if age is None else age * 86400
        self._next, self._lock = 0.0, threading.Lock()

    @property
    def budget(self) -> int:
        """Bytes that results may take."""
        if self._budget is not None:
            return self._budget
        there = next((one for one in (self.folder, *self.folder.parents) if one.is_dir()), Path("/"))
        return int(min(MOST, SHARE * shutil.disk_usage(there).total))

    def usage(self) -> Usage:
        """What there is now, histories and files in the making included."""
        states = [state for path in self.folder.rglob("*") if (state := _state(path))]
        oldest = min((state.st_mtime for state in states), default=time.time())
        return Usage(len(states), sum(state.st_size for state in states), max(0.0, time.time() - oldest))

    def facts(self) -> dict[str, Any]:
        """What there is now, and the limits, as JSON values."""
        usage, days = self.usage(), None if math.isinf(self.age) else self.age / 86400
        found = {"folder": str(self.folder), "files": usage.files, "bytes": usage.bytes, "oldest_days": round(usage.age / 86400, 2)}
        return found | {"limit_bytes": self.budget, "limit_days": days}

    def prune_soon(self) -> threading.Thread | None:
        """Prune in the background, unless that was done a short while ago."""
        with self._lock:
            if time.monotonic() < self._next:
                return None
            self._next = time.monotonic() + EVERY
        thread = threading.Thread(target=self.prune, name="prune results", daemon=True)
        thread.start()
        return thread

    def prune(self) -> int:
        """Delete what is older than it may be, and then the oldest until the rest fits; nothing of the last hour. The bytes freed."""
        now, freed = time.time(), 0
        things = sorted(self._things(), key=lambda thing: thing.made)
        total, budget = sum(thing.bytes for thing in things), self.budget
        for thing in things:
            age = now - thing.made
            if age > YOUNG and (age > self.age or total - freed > budget) and not _made_again(thing):
                freed += thing.bytes
                delete(thing.paths)
        self._forget_empty_histories(now)
        return freed

    def _things(self) -> list[Thing]:
        """Everything that may leave. A file in the making is one of its own, which nobody finishes once it is an hour old."""
        groups: dict[str, list[Path]] = {}
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.is_dir() and BUNDLE.fullmatch(path.name):
                    groups[path.name] = [path, *path.rglob("*")]
                elif path.is_file() and path.suffix != ".history":
                    groups.setdefault(path.name if path.suffix == ".part" else path.stem, []).append(path)
        things = []
        for paths in groups.values():
            states = [state for path in paths if (state := _state(path))]
            if states:
                things.append(Thing(tuple(paths), sum(one.st_size for one in states), max(one.st_mtime for one in states)))
        return things

    def _forget_empty_histories(self, now: float) -> None:
        """Delete the histories of which no file is left."""
        for page in self.folder.glob("*.history"):
            state = _state(page)
            if state and now - state.st_mtime > YOUNG and not any((self.folder / name).is_file() for name in lines(page)):
                delete([page])


def delete(paths: tuple[Path, ...] | list[Path]) -> None:
    """Delete files, and folders with all that is in them; what is gone already is none the worse."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def lines(page: Path) -> list[str]:
    """The names in a history, none where it is gone; a line that is no name of a file says nothing."""
    try:
        names = page.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return [name for name in names if NAME.fullmatch(name)]


def _made_again(thing: Thing) -> bool:
    """Whether a file was written once more since it was looked at."""
    return any((state := _state(path)) and state.st_mtime > thing.made for path in thing.paths)


def _state(path: Path) -> os.stat_result | None:
    """Size and times of a file; None for a folder, and for what is gone meanwhile."""
    try:
        return None if path.is_dir() else path.stat()
    except OSError:
        return None


def _number(variable: str, chosen: float | None, unit: str, environment: Mapping[str, str] = os.environ) -> float | None:
    value = environment.get(variable) or None if chosen is None else chosen
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not number > 0:
        raise RequestError(f"The limit on results is a number of {unit} above 0, not {short(value)}.")
    return number
