"""How a hub is asked: with a token that stands in no file, again where the line or the server fails, and with a sentence at the end."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from deploying.places import DeployError, Flavour
from zoo.catalog import environment
from zoo.errors import ZooError

MARK = "PATCHWORK_DEPLOYED"
"""The variable by which a later deploy knows that a Space is its own; its value is the flavour."""
OURS = (MARK, "PATCHWORK_OFFER", "PATCHWORK_MODELS", "PATCHWORK_LOGIN", "TORCH_INDEX")
"""Variables that a deploy sets, and takes away where they are not wanted any more."""
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt."""
SILENCE = 60.0
"""Seconds without an answer after which a connection counts as dropped."""
POLL, PATIENCE = 5.0, 45 * 60.0
"""Seconds between two looks at a place that builds, and until it is given up."""
PASSING = {408, 412, 425, 429, 500, 502, 503, 504}
"""Statuses after which the same may be answered; 412: somebody committed meanwhile, perhaps ourselves, and the answer was lost."""
DROPPED = {"TransportError", "TimeoutException", "ConnectionError", "TimeoutError", "NetworkError", "ServerError", "RateLimitError"}
"""Names of the classes by which httpx, requests and both hubs' clients say that the line failed."""
T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What a deploy wants to be there."""

    name: str
    flavour: str
    place: Flavour
    hardware: str
    private: bool
    tree: dict[str, Path | bytes]
    message: str
    variables: dict[str, str]
    secrets: dict[str, str] = field(default_factory=dict)
    mounts: dict[str, str] = field(default_factory=dict)
    """Mount point -> repository of a model."""


def say(words: str) -> None:
    """Tell how far it is."""
    print(words, file=sys.stderr, flush=True)


def secret(name: str, hint: str = "") -> str:
    """A secret from the environment, else from whoever sits at the terminal, who types it unseen.

    Raises DeployError where there is neither, VariableError for what is no token.
    """
    value = (environment.token(name) if name.endswith("TOKEN") else os.environ.get(name)) or ""
    if not value and sys.stdin.isatty():
        import getpass

        value = getpass.getpass(f"{name} (not shown): ").strip()
    if not value:
        raise DeployError(f"{name} is not set: set it in the environment{hint}.")
    return value


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__


def status(error: BaseException) -> int:
    """What the server answered, 0 where it did not."""
    for cause in causes(error):
        answered = getattr(cause, "status_code", None) or getattr(getattr(cause, "response", None), "status_code", None)
        if answered:
            return int(answered)
    return 0


def passes(error: BaseException) -> bool:
    """Whether the same may be answered a moment later."""
    if isinstance(error, ZooError):
        return False
    if answered := status(error):
        return answered in PASSING
    return any(DROPPED & {kind.__name__ for kind in type(cause).__mro__} for cause in causes(error))


def words_of(error: BaseException) -> str:
    """What a server says, else what is at the bottom of an error, in one line."""
    *_, bottom = causes(error)
    said = next((cause.server_message for cause in causes(error) if getattr(cause, "server_message", None)), "")
    text = said or getattr(bottom, "message", None) or str(bottom)
    return environment.without_password(" ".join(str(text).split()))[:300].rstrip(". ")


def patiently(what: str, ask: Callable[[], T]) -> T:
    """An answer, asked for again where the line drops or the server is busy. Raises DeployError where that does not help."""
    for wait in (*WAITS, None):
        try:
            return ask()
        except Exception as error:
            if not passes(error):
                raise
            reason = f"the server answered {status(error)}" if status(error) else "the connection dropped or nothing answered"
            if wait is None:
                raise DeployError(
                    f"Could not {what}: {reason}, {len(WAITS) + 1} times ({words_of(error)[:120]}): the same command goes on from here."
                ) from error
            say(f"{what}: {reason}; once more ...")
            time.sleep(min(_asked_to_wait(error, wait), 60))
    raise AssertionError


def _asked_to_wait(error: BaseException, usual: float) -> float:
    """Seconds that a server asks for, else the usual ones."""
    for cause in causes(error):
        headers: Any = getattr(getattr(cause, "response", None), "headers", None) or {}
        asked = getattr(cause, "retry_after", None) or headers.get("Retry-After")
        if asked is not None and str(asked).replace(".", "", 1).isdigit():
            return float(asked)
    return usual


def until(look: Callable[[], T | None]) -> T:
    """What a look finds, repeated until it finds something. Raises DeployError after PATIENCE."""
    end = time.monotonic() + PATIENCE
    while (found := look()) is None:
        if time.monotonic() > end:
            raise DeployError(f"It does not run after {PATIENCE / 60:.0f} minutes: look at its page, or run the same command again.")
        time.sleep(POLL)
    return found
