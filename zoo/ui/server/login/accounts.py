"""Whether a name and a password belong together: compared in threads of their own, slowly, and not too often."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from zoo.engine import passwords
from zoo.engine.limits import network
from zoo.ui.server.login.tries import OF_ADDRESS, OF_DEVICE, OF_NAME, Tries

if TYPE_CHECKING:
    from zoo.engine.passwords import Users

THREADS = 2
"""Passwords that are hashed at once: each takes 32 MB and a core."""
WAITING = 64
"""That may be in hand at once; more are sent away for some seconds."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the file of users."""
KNOWN = 1000
"""Right passwords of programs that are remembered, so that a script's every request does not cost a hash."""


class TooOftenError(Exception):
    """So many tries were wrong that the next one has to wait."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(1, round(seconds + 0.5))
        super().__init__(f"Too many tries to log in: try again in {self.seconds} s.")


class Accounts:
    """The users of a file; what was found right is remembered by a keyed digest, of which nobody learns a password."""

    def __init__(self, users: Users) -> None:
        self.users = users
        self._tries, self._looked = Tries(), time.monotonic()
        self._threads = ThreadPoolExecutor(THREADS, "login")
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[str | None]] = {}

    async def refresh(self) -> None:
        """Look at the file, once a second at most."""
        if time.monotonic() - self._looked > LOOK_EVERY:
            self._looked = time.monotonic()
            await asyncio.to_thread(self.users.refresh)

    async def proof(self, name: str, password: str, address: str, device: str = "") -> str | None:
        """The hash that a password fits, None for a wrong password or name; an answer takes as long for a name that does not exist.

        device: of a browser on which this user has logged in before. Raises TooOftenError, without looking at the password.
        """
        digest = hmac.digest(self._key, f"{name}\0{password}".encode("utf-8", "surrogatepass"), hashlib.sha256)
        if not (task := self._asked.get(digest)):  # else the same is being asked: a program that sends many requests at once
            keys = [(("device", device), OF_DEVICE)] if device else [(("address", network(address)), OF_ADDRESS), (("name", name), OF_NAME)]
            if wait := self._tries.take(keys):  # also for what is known: else one could guess on, and wait for another answer than this
                raise TooOftenError(wait)
            if (kept := self._known.get(digest)) and kept == self.users.hash_of(name):
                self._known.move_to_end(digest)
                self._tries.give_back(keys)
                return kept
            if len(self._asked) >= WAITING:
                self._tries.give_back(keys)
                raise TooOftenError(5)
            task = self._asked[digest] = asyncio.create_task(self._compare(digest, name, password, keys))
            task.add_done_callback(lambda _: self._asked.pop(digest))
        return await asyncio.shield(task)

    async def _compare(self, digest: bytes, name: str, password: str, keys: list) -> str | None:
        kept = self.users.hash_of(name)

        def compare() -> bool:
            return passwords.matches(password[: passwords.LONGEST], kept or self.users.any_hash())

        same = await asyncio.get_running_loop().run_in_executor(self._threads, compare)
        if not same or kept is None:
            return None
        self._tries.give_back(keys)
        self._known[digest] = kept
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return kept
