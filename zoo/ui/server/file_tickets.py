"""Files of results under names that nobody can guess, for programs that were told them."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from pathlib import Path

MOST = 10_000
"""Files that have such a name, those named first leaving first."""


class FileTickets:
    """Gives files names, and finds them again; from any thread."""

    def __init__(self) -> None:
        self._paths: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    def give(self, path: Path) -> str:
        """A name for a file, with its suffix."""
        ticket = f"{secrets.token_urlsafe(18)}{path.suffix}"
        with self._lock:
            self._paths[ticket] = path
            while len(self._paths) > MOST:
                self._paths.popitem(last=False)
        return ticket

    def find(self, ticket: str) -> Path | None:
        """The file of a name, None where there is none, or it is gone."""
        path = self._paths.get(ticket)
        return path if path and path.is_file() else None
