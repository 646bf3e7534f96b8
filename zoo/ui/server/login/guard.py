"""Who a request is from: by the cookie of a session, or by name and password, as programs send them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import LoginError
from zoo.ui.server import event_log
from zoo.ui.server.login.accounts import Accounts, TooOftenError
from zoo.ui.server.login.sessions import LoginSessions

if TYPE_CHECKING:
    from starlette.requests import Request

    from zoo.engine.passwords import Users

FROM_HUB = "huggingface:"
"""Before the names of users of Hugging Face, so that none is somebody in the file, whose names hold no colon."""


@dataclass(frozen=True)
class Visit:
    """Somebody who is logged in: his name, the hash that let him in, and the word of his session, if that did."""

    user: str
    proof: str
    word: str = ""


class Guard:
    """Knows who may come in. One a page."""

    def __init__(self, folder: Path, users: Users | None, huggingface: bool = False, members: Sequence[str] = ()) -> None:
        """folder: where the key lies by which users have the same history after a restart; members: users and organisations of Hugging
        Face, empty: all users."""
        self.accounts = Accounts(users) if users else None
        self.huggingface, self.members = huggingface, frozenset(members)
        self.sessions = LoginSessions()
        self._key = _key(folder / "login.key")
        self.cookie = f"patchwork-{hashlib.sha256(self._key).hexdigest()[:8]}"
        """Of the session; hubs on other ports of a host share its cookies, so each has a name of its own."""

    async def visit(self, request: Request) -> Visit | None:
        """Who a request is from, None where that is nobody. Raises TooOftenError."""
        if self.accounts:
            await self.accounts.refresh()
        if (word := request.cookies.get(self.cookie)) and (session := self.sessions.find(word)):
            visit = Visit(session.user, session.proof, word)
            return visit if self.holds(visit) else None
        if credentials := _credentials(request.headers.get("authorization", "")):
            return await self.enter(request, *credentials)
        return None

    async def enter(self, request: Request, name: str, password: str) -> Visit | None:
        """Who has this name and password, None where they are wrong. Raises TooOftenError."""
        if not self.accounts or not password:
            return None
        name = unicodedata.normalize("NFC", name.strip())[:100]
        device = request.cookies.get(f"{self.cookie}-known", "")
        known = hmac.compare_digest(device.encode(), self.device(name, device.partition(".")[0]).encode())
        address = request.client.host if request.client else ""
        mark = event_log.mark(self.identity(name))
        try:
            proof = await self.accounts.proof(name, password, address, device if known else "")
        except TooOftenError:
            event_log.say("login", visitor=mark, outcome="too often")
            raise
        if not proof:
            event_log.say("login", visitor=mark, outcome="wrong")
            return None
        return Visit(name, proof)

    def member(self, claims: dict[str, Any]) -> str | None:
        """Who Hugging Face says it is, from the claims of OpenID, None where he is no member here."""
        name = claims.get("preferred_username")
        groups = {org.get("preferred_username") or org.get("name") for org in claims.get("orgs") or ()}
        return f"{FROM_HUB}{name}" if name and (not self.members or self.members & {name, *groups}) else None

    def holds(self, visit: Visit) -> bool:
        """Whether somebody is still in: his session goes on, and his password is the one that let him in."""
        if visit.word and not self.sessions.find(visit.word):
            return False
        if visit.user.startswith(FROM_HUB):
            return self.huggingface
        return self.accounts is not None and hmac.compare_digest(visit.proof, self.accounts.users.hash_of(visit.user) or "")

    def identity(self, user: str) -> str:
        """What a user's history, votes and limits go by: 32 hex digits, which without the key nobody can name."""
        return self._digest("user", user)[:32]

    def device(self, name: str, salt: str = "") -> str:
        """The word of a browser on which a user has logged in, with a new salt or a given one."""
        salt = salt or secrets.token_hex(8)
        return f"{salt}.{self._digest('device', name, salt)}"

    def _digest(self, *words: str) -> str:
        return hmac.digest(self._key, "\0".join(words).encode("utf-8", "surrogatepass"), hashlib.sha256).hex()


def _credentials(header: str) -> tuple[str, str] | None:
    """Name and password of an Authorization header: Basic, or `Bearer NAME:PASSWORD`, as clients send what they call a key."""
    scheme, _, words = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            words = base64.b64decode(words.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return None
    elif scheme.lower() == "bearer":
        words = words.strip().encode("latin-1").decode("utf-8", "replace")
    else:
        return None
    name, colon, password = words.partition(":")
    return (name, password) if colon else None


def _key(path: Path) -> bytes:
    """The key of a hub, made at the first start; only its owner can read it. Raises LoginError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
        except FileExistsError:
            pass
        key = path.read_bytes()
    except OSError as error:
        raise LoginError(
            f"The key of the logins cannot be kept in {path} ({error.strerror}): set PATCHWORK_CACHE to your own folder."
        ) from None
    if len(key) != 32:
        raise LoginError(f"{path} is no key of 32 bytes: delete it, and another one is made; the users' histories begin anew.")
    return key
