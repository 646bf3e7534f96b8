"""Under which names the page answers, and to which other pages: a web page elsewhere must not drive a hub that its visitor can reach.

Such a page has two ways. It lets a name of its own lead to this machine ("DNS rebinding"), so that a browser takes both for one site: then
the request asks for a foreign Host. Or it sends forms and requests from its own address: then it bears a foreign Origin, or Referer.
Programs send neither, and are answered.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import platform
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from zoo.ui.server.prefix import own_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from zoo.catalog.settings import Serving

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{0,5})?", re.IGNORECASE)
ADDRESS = re.compile(r"[a-z]+://([^/?#]+)([/?#].*)?", re.IGNORECASE)
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing: a link on any page leads here by them, and names that page as Referer."""
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""What proxies add to a request."""
HEALTH = "/health"
"""Tells a state and nothing else, so whoever looks after the machine may ask for it by any name."""
EMBEDDING = "huggingface.co"
"""The site that shows a Space within its own page."""


class Names:
    """The names of this hub."""

    def __init__(self, serving: Serving) -> None:
        self.here = is_loopback(serving.host)
        self.given = (*serving.allowed_hosts, *filter(None, [host_of(serving.root_path)]))
        self.space = [name for name in map(host_name, os.environ.get("SPACE_HOST", "").split(",")) if name]
        machine = platform.node().lower()
        short = machine.partition(".")[0]
        self.machine = {host_name(serving.host), machine, short, f"{short}.local"} - {""}

    def answers(self, name: str, shared: str = "") -> bool:
        """Whether a request may ask for this name. shared: the host of a link through gradio's servers, where there is one.

        An address leads here whatever somebody else's names do, so where others may come at all, they may come by address.
        """
        if is_loopback(name) or self.listed(name, shared) or "*" in self.given:
            return True
        return not self.here and (name in self.machine or is_address(name))

    @property
    def framing(self) -> str:
        """The policy that lets only pages of this hub's own show it in a frame, where a click could be led astray; empty: any may."""
        if "*" in self.given:
            return ""
        sites = [f"https://{EMBEDDING}", *(f"https://{name}" for name in self.space)] if self.space else []
        return " ".join(["frame-ancestors 'self'", *sites, *(name for name in self.given if ":" not in name)])

    def listed(self, name: str, shared: str = "") -> bool:
        """Whether the name was said to be this hub's own."""
        below = any(given.startswith("*.") and name.endswith(given[1:]) for given in self.given)
        return bool(name) and (below or name in (*self.given, *self.space, shared))

    def trusts(self, origin: str, hosts: list[str], shared: str = "") -> bool:
        """Whether a page of this origin may ask: it is one of this hub's own, under the name that it asks for or another of its names."""
        name = host_of(origin)
        if not name:  # "null": a page of nowhere
            return False
        same = name in hosts or (is_loopback(name) and any(map(is_loopback, hosts)))
        return same or self.listed(name, shared) or (bool(self.space) and name == EMBEDDING)


class Hosts:
    """Outermost middleware of the server: others' names and pages get 403, and one sentence."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self.app, self.names = app, Names(serving)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI says."""
        open_to_all = scope["type"] == "lifespan" or (own_path(scope) == HEALTH and scope.get("method") in SAFE)
        words = "" if open_to_all else self.refusal(scope)
        if not words:
            self._note_proxy(scope)
            await self.app(scope, receive, self._framed(send) if scope["type"] == "http" else send)
        elif scope["type"] == "http":
            await PlainTextResponse(words, 403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": words[:120]})

    def refusal(self, scope: Scope) -> str:
        """Why this request is not answered, in one sentence; empty where it is."""
        headers, page = Headers(scope=scope), getattr(scope.get("app"), "blocks", None)
        shared = host_of(getattr(page, "share_url", None) or "")  # known some time after the start
        forwarded = [name.strip() for value in headers.getlist("x-forwarded-host") for name in value.split(",")]
        hosts = [*headers.getlist("host"), *forwarded]  # only a program asks without any
        names = [host_name(host) for host in hosts]
        if foreign := [host for host, name in zip(hosts, names, strict=True) if not self.names.answers(name, shared)]:
            return (
                f"This hub does not answer to the name {_printable(foreign[0])}: open it by an address of its machine, or whoever runs it "
                f"names it with --allowed-hosts (PATCHWORK_ALLOWED_HOSTS)."
            )
        pages = headers.getlist("origin")
        if not pages and scope.get("method") not in SAFE and scope["type"] == "http":
            pages = headers.getlist("referer")
            if not pages and headers.get("sec-fetch-site") == "cross-site":
                pages = ["null"]
        if foreign := [origin for origin in pages if not self.names.trusts(origin, names, shared)]:
            return (
                f"This hub does not take orders from a page of {_printable(foreign[0])}: open its own page, or whoever runs it names that "
                f"host with --allowed-hosts (PATCHWORK_ALLOWED_HOSTS)."
            )
        return ""

    def _note_proxy(self, scope: Scope) -> None:
        """Who comes through a proxy may be anybody: from the first such request on, no visitor counts as this machine's own user."""
        page = getattr(scope.get("app"), "blocks", None)
        if page is not None and not getattr(page, "proxied", False) and through_proxy(scope):
            page.proxied = True
            if self.names.here:
                words = "a proxy brings visitors: they download, remove and add no models unless --downloads lets them"
                logging.getLogger(__name__).warning(words)

    def _framed(self, send: Send) -> Send:
        if not (policy := self.names.framing):
            return send

        async def framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("content-security-policy", policy)
            await send(message)

        return framed


def through_proxy(scope: Scope) -> bool:
    """Whether a proxy asks, for somebody else: by what it adds, or by HTTP 1.0, which nginx speaks to those behind it."""
    return any(name in Headers(scope=scope) for name in FORWARDED) or scope.get("http_version") == "1.0"


def host_name(host: str) -> str:
    """The name in `name:port`, in small letters, an address without brackets; empty where there is none."""
    match = HOST.fullmatch(host.strip())
    return match[1].strip("[]").rstrip(".").lower() if match else ""


def host_of(address: str) -> str:
    """The name of the host in the address of a page; empty where there is none."""
    match = ADDRESS.fullmatch(address.strip())
    return host_name(match[1]) if match else ""


def is_address(name: str) -> bool:
    """Whether a name is the address of a machine itself."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Whether a name leads to the machine itself that asks for it, from where nobody else comes."""
    name = name.strip("[]").rstrip(".").lower()
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)


def _printable(text: str) -> str:
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:60])
