"""Lines as the world has them: settings pasted with blanks and quotes, proxies, redirects to strangers, and clients that die."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from conftest import ROOT
from loopback_hub import LoopbackHub, loopback_hub
from test_downloads import FILE, REPO, bytes_of, card_of, source

from zoo.catalog import download, environment, sources
from zoo.catalog.store import Store
from zoo.engine.hub import Hub
from zoo.errors import DownloadError, VariableError

HUBS = {"huggingface": ("HF_ENDPOINT", "HF_TOKEN"), "modelscope": ("MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN")}


@pytest.fixture
def remote(hub_server: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> LoopbackHub:
    """A hub that holds one file, and nothing that the machine of the test sets."""
    hub_server.files[REPO, FILE] = hub_server.files["plain", FILE] = os.urandom(100_000)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return hub_server


# ---- settings


@pytest.mark.parametrize("origin", HUBS)
@pytest.mark.parametrize("around", ["{} ", " {}", "{}\n", "{}\r\n", '"{}"', "'{}' ", "{}/ "], ids=repr)
def test_an_address_and_a_token_are_what_stands_between_blanks_quotes_and_line_ends(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, around: str
) -> None:
    address, token = HUBS[origin]
    monkeypatch.setenv(address, around.format(remote.url))
    monkeypatch.setenv(token, around.replace("/", "").format("secret-1"))
    assert sources.fetch(card_of(source(origin, remote)), store).path.read_bytes() == bytes_of(remote)
    _, bearer, cookie = remote.told[-1]
    assert (bearer, cookie) == (("Bearer secret-1", "") if origin == "huggingface" else ("", "m_session_id=secret-1"))


@pytest.mark.parametrize("origin", HUBS)
@pytest.mark.parametrize("value", ["htp://mirror", "http://[::1", "http://mir ror", "http://", "http://h:port", "http://127.0.0.1:1 x"])
def test_an_address_that_is_none_is_named_with_its_variable(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, value: str, says
) -> None:
    monkeypatch.setenv(HUBS[origin][0], value)
    with says(DownloadError, HUBS[origin][0], repr(value), "which is no address", "https://"):
        list(sources.stream([card_of(source(origin, remote))], store, "", False, threading.Event()))
    other = "modelscope" if origin == "huggingface" else "huggingface"  # which is asked then
    assert sources.fetch(card_of(source(origin, remote), source(other, remote)), store).path.read_bytes() == bytes_of(remote)


@pytest.mark.parametrize("origin", HUBS)
@pytest.mark.parametrize("value", ["sec\nret", "schlüssel", "two words"])
def test_a_token_that_is_none_is_named_and_not_quoted(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, value: str, says
) -> None:
    monkeypatch.setenv(HUBS[origin][1], value)
    with says(DownloadError, HUBS[origin][1], "copy the token once more") as caught:
        list(sources.stream([card_of(source(origin, remote))], store, "", False, threading.Event()))
    assert value not in str(caught.value)


def test_a_closed_port_with_a_blank_behind_it_ends_a_download_at_once(tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:1 ", "MODELSCOPE_ENDPOINT": "http://127.0.0.1:1\n"}
    command = [sys.executable, "-m", "zoo", "fetch", "dino-s-16"]
    environment |= {"PATCHWORK_CACHE": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hf"), "MODELSCOPE_CACHE": str(tmp_path / "ms")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "could not be reached" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize("value", ["1", "true", "True", "YES", "on", "On\n", '"1"'])
def test_offline_in_every_spelling_that_huggingface_hub_takes(
    remote: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert Hub(device="cpu", cache_dir=tmp_path).offline


def test_the_variable_of_the_hub_counts_before_that_of_transformers_as_it_does_there(
    remote: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert not environment.offline()
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    assert environment.offline()


@pytest.mark.parametrize(("value", "allowed"), [("1", True), ("TRUE", True), ("0", False), ("false", False), ("No ", False), ("", None)])
def test_whether_visitors_may_download_is_a_switch_in_any_spelling(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str, allowed: bool | None, says
) -> None:
    monkeypatch.setenv("PATCHWORK_DOWNLOADS", value)
    assert Hub(device="cpu", cache_dir=tmp_path).downloads is allowed
    monkeypatch.setenv("PATCHWORK_DOWNLOADS", "perhaps")
    with says(VariableError, "PATCHWORK_DOWNLOADS", "'perhaps'", "1 or 0"):
        Hub(device="cpu", cache_dir=tmp_path)


@pytest.mark.parametrize("origin", HUBS)
def test_a_mirror_that_asks_for_a_password_is_told_it_and_nobody_else_is(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str, says
) -> None:
    monkeypatch.setenv(HUBS[origin][0], remote.url.replace("//", "//me:secret@") + "//")
    assert sources.fetch(card_of(source(origin, remote)), store).path.read_bytes() == bytes_of(remote)
    assert all(bearer == "Basic bWU6c2VjcmV0" for _, bearer, _ in remote.told)
    for place in ("//me:secret@127.0.0.1:1", "//me:sec ret@mirror", "//me:secret@"):
        monkeypatch.setenv(HUBS[origin][0], f"http:{place}")
        with says(DownloadError) as caught:
            sources.fetch(card_of(source(origin, remote), name="other"), Store(store.folder.parent / place[-6:]))
        assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"[]", b"{}", b'{"Data": {"Files": [{"Path": "weights/model.pt"}]}}', b'{"Data": {"Files": [7]}}', b'{"Data": null}'],
)
def test_a_list_of_files_that_is_none_is_said(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, answer: bytes, says
) -> None:
    remote.files["plain", "list"] = answer
    remote.faults.list_away = f"{remote.url}/plain/list"
    with says(DownloadError, "its list of files cannot be read"):
        sources.fetch(card_of(source("modelscope", remote)), store)


# ---- strangers


@pytest.mark.parametrize("origin", HUBS)
def test_a_token_does_not_follow_a_redirect_to_a_stranger(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv(HUBS[origin][1], "secret-1")
    with loopback_hub() as stranger, loopback_hub() as third:
        third.files["plain", FILE] = bytes_of(remote)
        remote.faults.away, stranger.faults.away = f"{stranger.url}/plain/{FILE}", f"{third.url}/plain/{FILE}"
        stranger.files["plain", FILE] = b"behind yet another redirect"
        assert sources.fetch(card_of(source(origin, remote)), store).path.read_bytes() == bytes_of(remote)
        assert any("secret-1" in bearer + cookie for _, bearer, cookie in remote.told)
        strangers = [(bearer, cookie) for _, bearer, cookie in [*stranger.told, *third.told]]
    assert len(strangers) >= 2
    assert set(strangers) == {("", "")}


def test_a_token_does_not_follow_the_list_of_files_to_another_port_of_its_host(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", "secret-1")
    with loopback_hub() as stranger:
        stranger.files[REPO, FILE] = bytes_of(remote)
        remote.faults.list_away = f"{stranger.url}/api/v1/models/{REPO}/repo/files"
        assert sources.fetch(card_of(source("modelscope", remote)), store).path.read_bytes() == bytes_of(remote)
        assert [(bearer, cookie) for _, bearer, cookie in stranger.told] == [("", "")]
    assert {(bearer, cookie) for _, bearer, cookie in remote.told} == {("", "m_session_id=secret-1")}


@pytest.mark.parametrize("origin", HUBS)
def test_a_token_follows_a_redirect_within_its_own_host(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    monkeypatch.setenv(HUBS[origin][1], "secret-1")
    remote.faults.away = f"/cdn/{REPO}/resolve/main/{FILE}"
    assert sources.fetch(card_of(source(origin, remote)), store).path.read_bytes() == bytes_of(remote)
    path, bearer, cookie = remote.told[-1]
    assert path == remote.faults.away
    assert "secret-1" in bearer + cookie


# ---- what dies in the thread


@pytest.mark.parametrize("error", [UnicodeError("label too long"), SystemExit(3), RecursionError("deep"), LookupError()], ids=repr)
def test_whatever_dies_in_the_thread_of_a_download_reaches_who_waits_for_it(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, error: BaseException, says
) -> None:
    def die(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("requests.Session.get", die)
    with says(DownloadError, "M", type(error).__name__):
        list(sources.stream([card_of(source("modelscope", remote))], store, "", False, threading.Event()))
    monkeypatch.setattr(download, "on_modelscope", die)
    with says(DownloadError, "M", type(error).__name__):
        list(sources.stream([card_of(source("modelscope", remote))], store, "", False, threading.Event()))


@pytest.mark.parametrize(
    ("value", "command"), [("http://[::1", ["app.py"]), ("http://h:port", ["-m", "zoo", "sample", "tiny-dit", "--label", "star"])]
)
def test_an_address_on_which_libraries_break_is_named_before_they_are_imported(tmp_path: Path, value: str, command: list[str]) -> None:
    environment = os.environ | {"PATCHWORK_CACHE": str(tmp_path), "HF_ENDPOINT": value}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.partition(": ")[2] == f"HF_ENDPOINT is {value!r}, which is no address: write it like https://host.\n"
