"""The page that asks who somebody is: plain HTML that needs no other file, for browsers; programs are told in JSON."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from starlette.datastructures import URL
from starlette.responses import HTMLResponse, JSONResponse, Response

from zoo.ui import language
from zoo.ui.server.prefix import own_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import Scope

    from zoo.ui.server.login.guard import Guard

PAGE = Template(Path(__file__).with_name("form.html").read_text(encoding="utf-8"))
FRAMED = "if (self !== top) { document.querySelectorAll('a.go').forEach((link) => { link.target = '_blank'; }); }"
"""Inside another page Hugging Face does not ask for a login, and cookies may be refused: a tab of its own opens."""
HASH = base64.b64encode(hashlib.sha256(FRAMED.encode()).digest()).decode()
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{HASH}'; form-action 'self'; "
    "base-uri 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
LOCAL = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path of this server with its query: nothing that a browser takes for another host."""
NEEDED = "Log in to open this page."
NAME, PASSWORD, ENTER, BY_HUB = "User name", "Password", "Log in", "Log in with Hugging Face"
TITLE = f"{ENTER} · Patchwork"
WORDS = (NAME, PASSWORD, ENTER, BY_HUB, TITLE)
"""What stands on the page, beside the sentence that says why it is shown."""


def root(scope: Scope) -> str:
    """Under which path a browser finds this server: empty, or like /patchwork."""
    return URL(scope.get("root_path", "")).path.rstrip("/")


def local(address: str) -> str:
    """An address to go to after the login, the page's own where it is not one of this server."""
    return address if LOCAL.fullmatch(address) else "/"


def address(request: Request) -> str:
    """Where somebody wanted to go."""
    query = request.scope["query_string"].decode("latin-1")
    return local(own_path(request.scope) + (f"?{query}" if query else ""))


def page_wanted(request: Request) -> bool:
    """Whether a browser asks for something to show."""
    return "text/html" in request.headers.get("accept", "")


def refusal(request: Request, guard: Guard, status: int, words: str = NEEDED, more: Mapping[str, str] | None = None) -> Response:
    """The login page for a browser, JSON for a program. more: headers."""
    if page_wanted(request) and request.method in ("GET", "HEAD"):
        return login_page(request, guard, address(request), words, status, more)
    challenge = {"www-authenticate": 'Bearer realm="Patchwork"'} if status == 401 else {}  # Basic would have browsers ask in a window
    return JSONResponse({"error": words, "detail": words}, status, HEADERS | challenge | dict(more or {}))


def login_page(
    request: Request, guard: Guard, to: str, words: str, status: int, more: Mapping[str, str] | None = None, name: str = ""
) -> Response:
    """The page itself, which leads on to the address `to`; name: that stands in it already."""
    base, plain = root(request.scope), words == NEEDED
    spoken = language.asked_for(request.headers.get("accept-language", ""))
    said = {text: html.escape(language.said(text, spoken)) for text in (words, *WORDS)}
    message = f"<p>{said[words]}</p>" if plain else f'<p class="bad" role="alert" id="wrong">{said[words]}</p>'
    form = ""
    if guard.accounts:
        wrong = "" if plain else ' aria-describedby="wrong"'
        first, second = ("", " autofocus") if name else (" autofocus", "")
        form += (
            f'<form method="post" action="{html.escape(base)}/login"><input type="hidden" name="next" value="{html.escape(to)}">'
            f'<label>{said[NAME]}<input name="username" value="{html.escape(name)}" autocomplete="username" autocapitalize="none"'
            f' spellcheck="false" maxlength="64" required{wrong}{first}></label>'
            f'<label>{said[PASSWORD]}<input name="password" type="password" autocomplete="current-password"'
            f" required{wrong}{second}></label>"
            f"<button>{said[ENTER]}</button></form>"
        )
    if guard.huggingface:
        there = URL(f"{base}/login/huggingface").include_query_params(_target_url=to)
        form += f'<a class="go" href="{html.escape(str(there))}">{said[BY_HUB]}</a>'
    theme = re.search(r"(?:^|&)__theme=(dark|light)(?:&|$)", URL(to).query)
    title = said[f"{ENTER} · Patchwork"]
    content = PAGE.substitute(
        language=spoken, title=title, theme=f' data-theme="{theme[1]}"' if theme else "", message=message, form=form, script=FRAMED
    )
    return HTMLResponse(content, status, HEADERS | {"vary": "accept-language"} | dict(more or {}))
