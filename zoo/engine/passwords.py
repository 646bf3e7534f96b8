"""Who may log in: names, and their passwords as salted scrypt hashes, in a file of `name:hash` lines."""

from __future__ import annotations

import base64
import getpass
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import sys
import unicodedata
from pathlib import Path

from zoo.catalog.files import atomic_write
from zoo.errors import LoginError

COST = (2**15, 8, 3)
"""n, r and p of scrypt for new passwords, as OWASP recommends them: 32 MB, a quarter of a second. A line holds its own."""
NAME = re.compile(r"[\w.@+-]{1,64}")
HASH = re.compile(r"scrypt\$(\d{1,8})\$(\d{1,3})\$(\d{1,3})\$([A-Za-z0-9+/]{22,88}={0,2})\$([A-Za-z0-9+/]{43,88}={0,2})")
SHORTEST, LONGEST = 8, 1000
"""Characters of a password."""
MOST_BYTES = 256_000_000
"""That one hash may need: a line that asks for more is refused when it is read."""


def hashed(password: str, cost: tuple[int, int, int] = COST) -> str:
    """A password as a file of users keeps it, with a salt of its own; cost: n, r and p of scrypt (RFC 7914)."""
    salt = secrets.token_bytes(16)
    return "$".join(["scrypt", *map(str, cost), *(base64.b64encode(part).decode() for part in (salt, _scrypt(password, salt, cost)))])


def matches(password: str, kept: str) -> bool:
    """Whether a password is the one that was hashed; takes a quarter of a second, whatever the answer."""
    *cost, salt, digest = HASH.fullmatch(kept).groups()
    return hmac.compare_digest(_scrypt(password, base64.b64decode(salt), tuple(map(int, cost))), base64.b64decode(digest))


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    n, r, p = cost
    secret = unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")  # one é from every keyboard
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=128 * r * (n + p + 2) + 2**20)


def _usable(kept: str) -> bool:
    """Whether a hash is one of ours that this machine can afford."""
    if not (match := HASH.fullmatch(kept)):
        return False
    n, r, p = map(int, match.groups()[:3])
    return n > 1 and n & (n - 1) == 0 and r > 0 and 0 < p <= 16 and 128 * n * r <= MOST_BYTES


class Users:
    """The names of a file and their hashes; the file may change at any time."""

    def __init__(self, path: Path) -> None:
        """Raise LoginError for a file that is missing, cannot be read, is empty, or has a wrong line."""
        self.path, self._readable = path, True
        try:
            self._stamp = self._look()
            self._hashes, faults = self._read()
        except FileNotFoundError:
            raise LoginError(f"There is no file of users {path}: make it with `{_command(path)}`.") from None
        except (OSError, ValueError) as error:
            raise LoginError(f"The file of users {path} cannot be read ({_reason(error)}): name a readable text file.") from None
        if faults:
            raise LoginError(faults[0])
        if not self._hashes:
            raise LoginError(f"{path} holds no user, so that nobody could log in: add one with `{_command(path)}`.")

    def hash_of(self, name: str) -> str | None:
        """The hash of a user's password, None for a name that is not in the file."""
        return self._hashes.get(name)

    def any_hash(self) -> str:
        """A hash to compare with for a name that is not in the file, so that its answer takes as long."""
        return next(iter(self._hashes.values()), None) or hashed("")

    def refresh(self) -> None:
        """Read the file again if it has changed: a wrong line then takes nobody but its own user in or out, and is logged. As long as
        the file cannot be read, those that it held before may log in."""
        try:
            if (stamp := self._look()) == self._stamp:
                return
            self._hashes, faults = self._read()
        except (OSError, ValueError) as error:
            if self._readable:
                logging.getLogger(__name__).warning("%s cannot be read (%s): its users stay as they were", self.path, _reason(error))
            self._readable = False
            return
        self._stamp, self._readable = stamp, True
        for fault in faults:
            logging.getLogger(__name__).warning("%s", fault)

    def _look(self) -> tuple[int, ...]:
        """What tells one state of the file from another."""
        found = self.path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is no file")
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode

    def _read(self) -> tuple[dict[str, str], list[str]]:
        """Hash by name, and a sentence for each line that is wrong, which never quotes a hash."""
        hashes: dict[str, str] = {}
        numbers: dict[str, int] = {}
        faults = []
        if os.name == "posix" and self.path.stat().st_mode & 0o044:
            logging.getLogger(__name__).warning("%s can be read by other users of this machine: chmod 600 %s", self.path, self.path)
        for number, line in enumerate(self.path.read_text(encoding="utf-8-sig").splitlines(), 1):
            if not (words := line.strip()) or words.startswith("#"):
                continue
            name, _, kept = (part.strip() for part in words.partition(":"))
            name = unicodedata.normalize("NFC", name)
            if not kept or not NAME.fullmatch(name):
                faults.append(f"Line {number} of {self.path} is no `name:hash`: make it with `{_command(self.path)}`.")
            elif not _usable(kept):
                faults.append(f"Line {number} of {self.path} has no hash that is known here: make it with `{_command(self.path, name)}`.")
            elif name in hashes:
                faults.append(f"Line {number} of {self.path} names {name} again, who is in line {numbers[name]}: delete one of them.")
            else:
                hashes[name], numbers[name] = kept, number
        return hashes, faults


def _command(path: Path, name: str = "NAME") -> str:
    return f"python -m zoo password {name} --auth-file {path}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or ("it is no text" if isinstance(error, UnicodeError) else str(error))


def ask(name: str) -> str:
    """The line of a user, whose password is asked for twice at a terminal, or is the first line that comes through a pipe.

    Raises LoginError for a name or a password that cannot be one.
    """
    name = unicodedata.normalize("NFC", name)
    if not NAME.fullmatch(name):
        raise LoginError(f"{name[:64]!r} is no name of a user: take up to 64 letters, digits and . @ + - _, without blanks.")
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {name}: ")
        if getpass.getpass("Once more: ") != password:
            raise LoginError("The two passwords differ: nothing was written.")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not SHORTEST <= len(password) <= LONGEST:
        raise LoginError(f"A password has {SHORTEST} to {LONGEST} characters, and this one has {len(password)}: nothing was written.")
    return f"{name}:{hashed(password)}"


def put(path: Path, line: str) -> None:
    """Add a user's line to a file, in the place of his earlier one if there is one; only its owner can read it. Raises LoginError."""
    name = line.partition(":")[0]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path.exists() else []
        places = [k for k, old in enumerate(lines) if unicodedata.normalize("NFC", old.partition(":")[0].strip()) == name]
        lines = [old for k, old in enumerate(lines) if k not in places[1:]]
        lines[slice(places[0], places[0] + 1) if places else slice(len(lines), None)] = [line]
        with atomic_write(path.resolve()) as part:
            part.touch(mode=0o600)
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LoginError(f"{path} cannot be written ({_reason(error)}): name a text file of your own.") from None
