"""Under which names a hub answers, and to which other pages: rules that every request is held against, before anything else."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
from conftest import run_async
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from zoo.catalog import settings
from zoo.catalog.settings import Serving
from zoo.errors import VariableError
from zoo.ui.parts.download import Downloads
from zoo.ui.server.hosts import Hosts

HERE, ALL = Serving(), Serving(host="0.0.0.0")
NAMED = Serving(host="0.0.0.0", allowed_hosts=("hub.example.org", "*.lab.example"))
BEHIND = Serving(allowed_hosts=("hub.example.org",))
ANY = Serving(host="0.0.0.0", allowed_hosts=("*",))
MACHINE = socket.gethostname()
LINK = "https://abc123.gradio.live"


def refused(serving: Serving, method: str = "GET", page: object = None, kind: str = "http", **headers: str) -> str:
    """Why a request is refused; empty where it is answered."""
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": kind, "method": method, "headers": pairs, "app": SimpleNamespace(blocks=page)}
    return Hosts(None, serving).refusal(scope)


def answer(serving: Serving, headers: Mapping[str, str], version: str = "1.1", page: object = None) -> tuple[int, str]:
    """The status of an answer, and who may show it in a frame."""
    sent = []

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/", "http_version": version, "app": SimpleNamespace(blocks=page),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    run_async(Hosts(PlainTextResponse("page"), serving)(scope, None, send))
    return sent[0]["status"], Headers(raw=sent[0]["headers"]).get("content-security-policy", "")


@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:7860", "127.8.9.1", "[::1]:7860", "LOCALHOST:80", "localhost."])
@pytest.mark.parametrize("serving", [HERE, ALL, NAMED, BEHIND, ANY])
def test_this_machine_asks_by_its_own_names(serving: Serving, host: str) -> None:
    assert refused(serving, host=host) == ""
    assert refused(serving, "POST", host=host, origin=f"http://{host}") == ""


@pytest.mark.parametrize(
    ("serving", "host"),
    [
        *((HERE, host) for host in ("evil.example", "evil.example:7860", "192.168.0.7", "0.0.0.0:7860", MACHINE, "localhost.evil.example")),
        *(
            (HERE, host)
            for host in ("", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "evil.example#127.0.0.1", "[::1].evil.example")
        ),
        *((HERE, host) for host in ("2130706433", "0x7f.1", "localhost:7860:evil", "localhost/x", "l\xf6calhost", "*", "%6cocalhost")),
        *((ALL, host) for host in ("evil.example", "8.8.8.8.evil.example", f"{MACHINE}.evil.example", "1.2.3", "x" * 5000)),
        *((NAMED, host) for host in ("evil.example", "nothub.example.org", "lab.example", "evillab.example")),
        *((BEHIND, host) for host in ("evil.example", "example.org")),
    ],
)
def test_a_foreign_name_is_refused_in_one_sentence(serving: Serving, host: str) -> None:
    words = refused(serving, host=host)
    assert words.startswith("This hub does not answer to the name ")
    assert words.endswith("--allowed-hosts (PATCHWORK_ALLOWED_HOSTS).")
    assert words.isascii()
    assert words.isprintable()
    assert len(words) < 250
    assert refused(serving, host="127.0.0.1", x_forwarded_host=f"localhost, {host}")
    assert refused(serving, host=host, kind="websocket")


@pytest.mark.parametrize(
    ("serving", "host"),
    [
        *((ALL, host) for host in ("192.168.0.7:7860", "[fe80::1]:7860", "10.0.0.1", "8.8.8.8", MACHINE, f"{MACHINE}:80")),
        (ALL, f"{MACHINE.partition('.')[0]}.local:7860"), (Serving(host="nas.lan"), "nas.lan:7860"),
        (NAMED, "hub.example.org"), (NAMED, "HUB.example.org:443"), (NAMED, "a.lab.example"), (NAMED, "a.b.lab.example"),
        (NAMED, "192.168.0.7:7860"), (NAMED, MACHINE), (BEHIND, "hub.example.org"), (ANY, "whatever.example"),
    ],
)  # fmt: skip
def test_where_others_may_come_they_come_by_address_or_by_a_name_that_was_given(serving: Serving, host: str) -> None:
    assert refused(serving, host=host) == ""
    assert refused(serving, host="127.0.0.1:7860", x_forwarded_host=host) == ""
    assert refused(serving, "POST", host=host, origin=f"https://{host}") == ""
    assert refused(serving, "POST", host=host, referer=f"https://{host}/?tab=look") == ""


@pytest.mark.parametrize("serving", [HERE, ALL, NAMED, BEHIND, ANY])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://evil.example:7860", "http://6.6.6.6", "https://huggingface.co", "http://[::1", "x"],
)
def test_a_foreign_page_is_refused_whatever_it_asks(serving: Serving, method: str, origin: str) -> None:
    words = refused(serving, method, host="127.0.0.1:7860", origin=origin)
    assert words.startswith("This hub does not take orders from a page of ")
    assert words.endswith("--allowed-hosts (PATCHWORK_ALLOWED_HOSTS).")
    assert refused(serving, kind="websocket", host="127.0.0.1:7860", origin=origin)


def test_a_form_of_a_foreign_page_is_known_by_its_referer_or_by_what_the_browser_says() -> None:
    assert refused(HERE, "POST", host="localhost", referer="http://evil.example/form")
    assert refused(HERE, "POST", host="localhost", sec_fetch_site="cross-site")
    assert refused(HERE, "GET", host="localhost", referer="http://evil.example/links", sec_fetch_site="cross-site") == ""
    assert refused(ALL, "POST", host="10.0.0.1", origin="http://localhost:3000")
    assert refused(NAMED, "POST", host="hub.example.org", origin="http://a.lab.example") == ""


def test_a_program_that_names_no_page_is_answered() -> None:
    assert refused(HERE, "POST", host="localhost:7860") == ""
    assert refused(HERE, "POST") == ""  # HTTP/1.0, which a browser does not speak


def test_a_space_answers_to_its_own_names_and_to_the_site_that_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_HOST", "me-patchwork.hf.space,patchwork.example")
    for name in ("me-patchwork.hf.space", "patchwork.example"):
        for origin in (f"https://{name}", "https://huggingface.co", "https://me-patchwork.hf.space"):
            assert refused(ALL, "POST", host=name, origin=origin) == ""
    assert refused(ALL, host="other.hf.space")
    assert refused(ALL, "POST", host="me-patchwork.hf.space", origin="https://other.hf.space")
    assert refused(ALL, "POST", host="me-patchwork.hf.space", origin="https://huggingface.co.evil.example")


def test_the_link_of_share_is_a_name_once_it_is_known() -> None:
    page = SimpleNamespace(share_url=None)
    host, origin = LINK.removeprefix("https://"), LINK
    assert refused(HERE, "POST", page, host=host, origin=origin)
    page.share_url = LINK
    assert refused(HERE, "POST", page, host=host, origin=origin) == ""
    assert refused(HERE, "POST", page, host="127.0.0.1:7860", origin=origin) == ""
    assert refused(HERE, "POST", page, host="other.gradio.live", origin="https://other.gradio.live")


def test_where_a_proxy_brings_others_visitors_may_not_do_what_the_user_of_this_machine_may(hub) -> None:
    def local(headers: Mapping[str, str] = {}, version: str = "1.1", host: str = "127.0.0.1", **words: object) -> bool:
        downloads = Downloads(hub)
        page = downloads.page = SimpleNamespace(server_name="127.0.0.1", share=False, share_url=None, **words)
        answer(HERE, {"host": host, **headers}, version, page)
        return downloads.local

    assert local()
    assert not local(allowed_hosts=("hub.example.org",))
    assert not local(root_path="/patchwork")
    assert not local(guarded=True), "who logs in is somebody of many"
    for name in ("x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-proto"):
        assert not local({name: "6.6.6.6"})
    assert not local(version="1.0"), "nginx adds nothing unless it is told to"
    assert local({"via": "6.6.6.6"}, host="evil.example"), "what is refused changes nothing"


def test_no_other_page_shows_the_hub_in_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(HERE, {"host": "localhost"}) == (200, "frame-ancestors 'self'")
    assert answer(BEHIND, {"host": "hub.example.org"}) == (200, "frame-ancestors 'self' hub.example.org")
    assert answer(ANY, {"host": "hub.example.org"}) == (200, "")
    monkeypatch.setenv("SPACE_HOST", "me-zoo.hf.space")
    words = "frame-ancestors 'self' https://huggingface.co https://me-zoo.hf.space"
    assert answer(ALL, {"host": "me-zoo.hf.space"}) == (200, words)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("hub.example.org", ("hub.example.org",)),
        (" Hub.Example.org , *.lab.example,", ("hub.example.org", "*.lab.example")),
        ("*", ("*",)),
        ("10.0.0.1,fe80::1,nas", ("10.0.0.1", "fe80::1", "nas")),
        ("mühle.example", ("xn--mhle-0ra.example",)),
    ],
)  # fmt: skip
def test_names_are_read_from_a_flag_or_the_environment(monkeypatch: pytest.MonkeyPatch, text: str, names: tuple[str, ...]) -> None:
    monkeypatch.setenv("PATCHWORK_ALLOWED_HOSTS", text)
    assert settings.chosen([])[1].allowed_hosts == names
    assert settings.chosen(["--allowed-hosts", text])[1].allowed_hosts == names


@pytest.mark.parametrize(
    "text", ["https://hub.example.org", "hub.example.org:443", "hub.example.org/x", "a b", "**", "hub.*.org", "-,.", "\u00e4" * 80 + ".org"]
)
def test_what_is_no_name_is_named(monkeypatch: pytest.MonkeyPatch, says, text: str) -> None:
    monkeypatch.setenv("PATCHWORK_ALLOWED_HOSTS", text)
    with says(VariableError, "PATCHWORK_ALLOWED_HOSTS", "a name such as hub.example.org"):
        settings.chosen([])
