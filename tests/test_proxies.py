"""Proxies in the environment: a download goes through them, or says that they failed, and they never stand between the page and itself."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, running
from huggingface_hub import close_session
from loopback_hub import REPO, LoopbackHub
from test_downloads import bytes_of, card_of, quick, source

from zoo.catalog import environment, sources
from zoo.catalog.card import Card
from zoo.catalog.store import Store
from zoo.errors import DownloadError

__all__ = ["quick"]
ORIGINS = ("huggingface", "modelscope", "url")


@pytest.fixture
def far(remote: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """What would be a proxy to a hub elsewhere, and the hub, too; no proxy is set yet."""
    close_session()  # Hugging Face's client reads the proxies once
    for name in [*environment.PROXIES, "no_proxy"]:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, "http://hub.test")
    yield remote
    close_session()


def secured(origin: str, monkeypatch: pytest.MonkeyPatch) -> Card:
    """A card whose source is elsewhere and asked by https, for which a proxy must make a tunnel."""
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(name, "https://hub.test")
    where = {"url": "https://hub.test/model.pt"} if origin == "url" else {"repo": REPO}
    return card_of({"from": origin, "file": "weights/model.pt"} | where)


def refused(card: Card, store: Store, says, *words: str) -> str:
    """What a download says that fails."""
    with says(DownloadError, *words) as caught:
        list(sources.stream([card], store, "", False, threading.Event()))
    assert "secret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("around", ["{}", " {}/ ", "'{}'\n"], ids=repr)
@pytest.mark.parametrize("origin", ["huggingface", "modelscope"])
@pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY"])
def test_a_download_goes_through_a_proxy(
    far: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, name: str, around: str
) -> None:
    monkeypatch.setenv(name, around.format(far.url.replace("//", "//me:secret@")))
    environment.tidy()
    assert sources.fetch(card_of(source(origin, far)), store).path.read_bytes() == bytes_of(far)
    assert {path.partition("/authors")[0].split("/api")[0] for _, path, _ in far.log} == {"http://hub.test"}


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("status", [502, 503, 403, 407])
def test_a_proxy_that_refuses_is_named_without_its_password(
    far: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, status: int, says
) -> None:
    monkeypatch.setenv("https_proxy", far.url.replace("//", "//me:secret@"))
    far.faults.status = status
    said = refused(secured(origin, monkeypatch), store, says, f"the proxy {far.url} of https_proxy", str(status))
    assert ("a name and a password" in said) == (status == 407)
    assert {method for method, _, _ in far.log} == {"CONNECT"}


@pytest.mark.parametrize("origin", ["huggingface", "modelscope"])
def test_what_a_proxy_answers_in_place_of_the_hub_is_said_of_the_proxy(
    far: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, says
) -> None:
    monkeypatch.setenv("http_proxy", far.url)
    far.faults.status = 502
    refused(card_of(source(origin, far)), store, says, f"the proxy {far.url} of http_proxy answered 502")
    far.faults.status = 404  # which is the hub's word
    assert "proxy" not in refused(card_of(source(origin, far)), store, says, "not found (404)")


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "all_proxy"])
def test_a_dead_proxy_is_named(far: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, name: str, says) -> None:
    monkeypatch.setenv(name, "http://me:secret@127.0.0.1:9")
    words = f"could not be reached through the proxy http://127.0.0.1:9 of {name.lower()}", "that proxy"
    refused(secured(origin, monkeypatch), store, says, *words)


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_silent_proxy_ends_a_download(
    quick: None, far: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, says
) -> None:
    monkeypatch.setenv("https_proxy", far.url)
    far.faults.silent = True
    refused(secured(origin, monkeypatch), store, says, f"could not be reached through the proxy {far.url} of https_proxy")


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_socks_proxy_names_the_packages_that_it_needs(
    far: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, says
) -> None:
    monkeypatch.setenv("all_proxy", "socks5://me:secret@127.0.0.1:9")
    refused(secured(origin, monkeypatch), store, says, "the proxy socks5://127.0.0.1:9 of all_proxy", "pip install 'httpx[socks]'")


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("value", ["no://me:secret@proxy", "http://me:secret@[::1", "http://me:secret@proxy:port", "http://"])
def test_what_is_no_proxy_is_named(far: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, value: str, says) -> None:
    monkeypatch.setenv("https_proxy", value)
    refused(secured(origin, monkeypatch), store, says, "https_proxy")


def test_loopback_needs_no_proxy_and_other_exceptions_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    environment.spare_loopback()
    assert "no_proxy" not in os.environ  # which would switch off the proxies of a system that keeps them elsewhere
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org, 10.0.0.0/8")
    monkeypatch.setenv("NO_PROXY", "")
    environment.spare_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.org,10.0.0.0/8,127.0.0.1,localhost,::1"


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("[::1]", "::1"), ("[::1]:80", "::1"), ("fe80::1%eth0", "fe80::1"), ("::1/128;10.0.0.0/8", "::1,10.0.0.0/8"), ("*, localhost", "*"),
        (".example.org *.example.com", ".example.org,.example.com"), ("http://inner/", "inner"), ("münchen.de", "xn--mnchen-3ya.de"),
        ("x:port,x:99999,user@host,-,,http://[::1", "::1"), ("\n", ""),
    ],
)  # fmt: skip
def test_what_no_proxy_names_is_written_as_every_client_reads_it(
    far: None, monkeypatch: pytest.MonkeyPatch, value: str, hosts: str
) -> None:
    import httpx
    from requests.utils import should_bypass_proxies

    monkeypatch.setenv("NO_PROXY", value)
    environment.spare_loopback()
    assert os.environ.get("no_proxy", "") == hosts
    httpx.Client().close()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    environment.spare_loopback()
    httpx.Client().close()
    for url in ("http://127.0.0.1:7860/", "http://[::1]:7860/", *(["https://any.where/"] if hosts == "*" else [])):
        assert should_bypass_proxies(url, None)


def test_a_page_starts_whatever_proxies_stand_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "[::1], x:port")
    for name, proxy in (("http_proxy", "http://127.0.0.1:9"), ("HTTPS_PROXY", "no://proxy"), ("all_proxy", "socks5://127.0.0.1:9")):
        monkeypatch.setenv(name, proxy)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    monkeypatch.setattr(urllib.request, "urlopen", opener.open)  # the test itself reaches it without one, too
    with running(ROOT, tmp_path / "cache") as url:
        assert opener.open(url, timeout=30).status == 200
