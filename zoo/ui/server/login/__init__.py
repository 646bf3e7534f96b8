"""Login: who may open the page, how he says so, and the door that lets nobody else in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.engine.passwords import Users
from zoo.errors import LoginError
from zoo.ui.server.login.guard import Guard

if TYPE_CHECKING:
    from zoo.catalog.settings import Serving
    from zoo.engine.hub import Hub

OF_A_SPACE = ("SPACE_ID", "OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")
"""What Hugging Face sets on a Space whose front matter has `hf_oauth: true`."""


def guard_of(hub: Hub, serving: Serving) -> Guard | None:
    """Who guards a page as its operator wants it, None where everybody may come. Raises LoginError where nobody could log in."""
    huggingface = serving.login == "huggingface"
    if huggingface:
        _check_space()
    elif serving.members:
        raise LoginError("--members names users of Hugging Face: it needs --login huggingface beside it.")
    users = Users(Path(serving.auth_file).expanduser()) if serving.auth_file else None
    return Guard(hub.cache_dir, users, huggingface, serving.members) if users or huggingface else None


def _check_space() -> None:
    """Raise LoginError where Hugging Face cannot log anybody in: elsewhere gradio would let everybody in as the owner of a token."""
    if os.environ.get("SYSTEM") != "spaces" or [name for name in OF_A_SPACE if not os.environ.get(name)]:
        raise LoginError("Hugging Face logs visitors in on its Spaces only, with `hf_oauth: true` in the README: use --auth-file here.")
