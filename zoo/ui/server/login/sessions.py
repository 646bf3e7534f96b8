"""Who is logged in: random words that browsers keep as cookies, and whom each one stands for, until he logs out or a week is over."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass

AGE = 7 * 24 * 3600
"""Seconds after which somebody has to log in again."""
MOST, OF_USER = 10_000, 50
"""Sessions of all, and of one user, of which the oldest leave first."""


@dataclass(frozen=True)
class Session:
    """One browser of a user."""

    user: str
    proof: str
    """The hash of the password that was right: another one in the file ends the session."""
    until: float


class LoginSessions:
    """The sessions by the digest of their word, so that who reads the memory has no word."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Session] = {}

    def open(self, user: str, proof: str = "") -> str:
        """A new session's word."""
        word = secrets.token_urlsafe(32)
        self._sessions[_digest(word)] = Session(user, proof, time.time() + AGE)
        own = [digest for digest, session in self._sessions.items() if session.user == user]
        for digest in [*own[:-OF_USER], *list(self._sessions)[:-MOST]]:
            self._sessions.pop(digest, None)
        return word

    def find(self, word: str) -> Session | None:
        """The session of a word, None where there is none or it is over."""
        session = self._sessions.get(_digest(word))
        return session if session and session.until > time.time() else None

    def close(self, word: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(word), None)


def _digest(word: str) -> bytes:
    return hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()
