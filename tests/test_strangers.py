"""Strangers are kept apart: about a thousand tries of somebody without a name, at every route and every event of the page, against a hub on
which another visitor has results, votes, an upload and a run that goes on."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
import httpx
import pytest
from conftest import free_port
from gradio.utils import get_upload_folder
from gradio_client import Client, handle_file

from zoo import ui
from zoo.catalog.settings import Serving
from zoo.compare.votes import Votes
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.ui.server.closed import CLOSED

VISITOR, SESSION = "5ec2e7" + "c0ffee" * 4 + "aa", "hissession1"
PROMPT_OF_A_VOTE = "a secret subject"
pytestmark = [  # gradio leaves its event loops to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]  # fmt: skip

IDS = ("", "0", "null", "undefined", "*", "..", "a" * 32, "hissession2", str(uuid.UUID(int=0)), SESSION[:-1], VISITOR[:-1])
"""What a stranger may take for the name of a session, an event or a visitor."""

PAGE, ASK, NOBODY, OWN = "describes the page", "runs an event", "knows no such session", "tells who asks about himself"
JUDGED = {
    "/openapi.json": PAGE, "/gradio_api/openapi.json": PAGE, "/gradio_api/info": PAGE, "/config": PAGE, "/": PAGE, "/favicon.ico": PAGE,
    "/svelte/{path:path}": PAGE, "/static/{path:path}": PAGE, "/assets/{path:path}": PAGE, "/theme.css": PAGE, "/robots.txt": PAGE,
    "/manifest.json": PAGE, "/gradio_api/theme.css": PAGE, "/gradio_api/app_id": PAGE, "/gradio_api/startup-events": PAGE,
    "/login": OWN, "/logout": OWN, "/gradio_api/user": OWN, "/gradio_api/login_check": OWN, "/gradio_api/token": OWN,
    "/gradio_api/api/{api_name}": ASK, "/gradio_api/run/{api_name}": ASK, "/gradio_api/call/{api_name}": ASK,
    "/gradio_api/call/v2/{api_name}": ASK, "/gradio_api/queue/join": ASK,
    "/gradio_api/reset": "does nothing", "/gradio_api/cancel": NOBODY, "/gradio_api/heartbeat/{session_hash}": NOBODY,
    "/gradio_api/call/{api_name}/{event_id}": NOBODY, "/gradio_api/call/v2/{api_name}/{event_id}": NOBODY,
    "/gradio_api/queue/data": NOBODY, "/gradio_api/upload_progress": NOBODY,
    "/gradio_api/file={path_or_url:path}": "files whose names nobody else is told",
    "/gradio_api/queue/status": "tells how many wait", "/gradio_api/upload": "keeps what is sent, and tells its name to its sender",
}  # fmt: skip
"""Every route, and why it gives a stranger nothing of another: one that is new fails the test until somebody has judged it."""


class Served(NamedTuple):
    """A hub, its page and address, and what its one visitor has there."""

    hub: Hub
    page: gr.Blocks
    url: str
    files: list[Path]
    event: str
    secrets: list[str]

    def state(self) -> dict[str, bytes]:
        """All that the visitor has on disk, to the byte."""
        return {str(path): path.read_bytes() for path in self.files} | {"votes": repr(self.votes.all(VISITOR)).encode()}

    @property
    def votes(self) -> Votes:
        """Those of the hub."""
        return Votes(self.hub.cache_dir / "choices.sqlite3")

    def events(self, name: str) -> list[int]:
        """The numbers of a handler's events."""
        return [number for number, fn in self.page.fns.items() if getattr(fn.fn, "__qualname__", "") == name]

    def run(self, number: int, values: list[Any], session: str | None = None) -> httpx.Response:
        """What an event of the page answers whoever calls it by number."""
        body = {"data": values, "fn_index": number, "session_hash": session}
        return httpx.post(f"{self.url}gradio_api/run/x", json=body, timeout=120)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    umask, folder = os.umask(0), tmp_path_factory.mktemp("strangers")
    earlier = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    hub = Hub(device="cpu", cache_dir=folder / "cache")
    page, port = ui.build(hub), free_port()
    ui.launch(page, hub, Serving(port=port), quiet=True)
    url = f"http://127.0.0.1:{port}/"
    try:
        [*_, result] = hub.generate(Request("tiny-dit", labels=4, seeds=(7, 8), steps=2), visitor=VISITOR)
        client = Client(url, verbose=False)
        client.predict("tiny-dit", "star", 1, 9, 2, "ddim", 2.0, api_name="/generate_image")
        client.predict(handle_file(str(result.files[0])), "tiny-vit", None, None, None, api_name="/look_inside")
        Votes(hub.cache_dir / "choices.sqlite3").add(VISITOR, PROMPT_OF_A_VOTE, (1,), ("one", "two"), 0)
        files = [path for path in (*hub.results.folder.rglob("*"), *Path(get_upload_folder()).rglob("*")) if path.is_file()]
        event = begun(hub, url)
        folders = {path.parent.name for path in files if len(path.parent.name) >= 32}
        made = [json.loads(path.read_text()) for path in files if path.suffix == ".json"]
        secrets = [VISITOR, SESSION, event, PROMPT_OF_A_VOTE, *folders, *(one["pixels"] for one in made)]
        yield Served(hub, page, url, files, event, secrets)
    finally:
        os.umask(umask)
        os.environ.pop("GRADIO_TEMP_DIR")
        os.environ |= {"GRADIO_TEMP_DIR": earlier} if earlier else {}
        hub.engine.close(0.0)
        page.close()


def begun(hub: Hub, url: str) -> str:
    """The event of a run of the visitor's session that takes long, and little of the processor."""
    predict = hub.predict

    def slowly(*values: Any) -> Callable[..., Any]:
        step = predict(*values)
        return step if values[1].steps < 100 else lambda *of: time.sleep(1) or step(*of)

    hub.predict = slowly
    fn = next(one for one in httpx.get(f"{url}config").json()["dependencies"] if one["api_name"] == "generate_image")
    body = {"data": ["tiny-dit", "star", 1, 3, 1000, "ddim", 2.0], "fn_index": fn["id"], "session_hash": SESSION}
    return httpx.post(f"{url}gradio_api/queue/join", json=body, timeout=60).json()["event_id"]


def routes(of: list[Any]) -> Iterator[tuple[str, str]]:
    """(method, path) of every route, of those as well that a server holds in a list of its own."""
    for route in of:
        if inner := getattr(route, "original_router", None):
            yield from routes(inner.routes)
        else:
            for method in getattr(route, "methods", None) or ("GET",):
                yield method, route.path


# ---- a thousand tries


BESIDE = ("/v1/models", "/v1/images/generations", "/gradio_api/mcp", "/metrics", "/health")
"""What may answer beside the routes of gradio's server."""


def guesses(served: Served) -> Iterator[str]:
    """Files that a stranger may ask for: names as somebody who makes the same picture knows them, in the folders that there are."""
    results, uploads = served.hub.results.folder, get_upload_folder()
    names = [path.name for path in served.files]
    for name in names:
        for folder in (
            results,
            f"{results}/{'0' * 32}",
            f"{results}/*",
            f"{results}/{VISITOR[:6]}",
            uploads,
            f"{uploads}/*",
            "",
            ".",
            "results",
        ):
            yield f"{folder}/{name}"
    for path in ("", "/", ".", "..", "/..", "/.", "/../results", "/%2e%2e/choices.sqlite3", "/../choices.sqlite3", "/choices.sqlite3"):
        yield f"{results}{path}"
        yield f"{uploads}{path}"
    for visitor in ("0" * 32, "a" * 32, "", "*", VISITOR[:-2]):
        yield f"{results}/{visitor}.history"
    yield from (
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/self/cmdline",
        "app.py",
        "zoo/__init__.py",
        "../../etc/passwd",
        "~",
        "C:/x",
        "\\\\x\\y",
    )


def tries(served: Served) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, address, more) of what a stranger asks for: every route with every guess, and every event by its number."""
    for method, path in routes(served.page.app.routes):
        yield from of_route(served, method, path)
    for path in CLOSED:
        for prefix in ("", "/gradio_api"):
            for method in ("GET", "POST"):
                yield method, prefix + path.partition("{")[0], {"params": {"session_hash": SESSION}}
    for path in BESIDE:
        for method in ("GET", "POST"):
            yield method, path, {"params": {"session_hash": SESSION[:-1]}, "json": {"visitor": VISITOR[:-1]}}
    for number, fn in served.page.fns.items():
        for filling in (None, "a" * 32):
            values = [filling] * len(fn.inputs)
            yield "POST", "/gradio_api/run/x", {"json": {"data": values, "fn_index": number}}
        body = {"data": [None] * len(fn.inputs), "fn_index": number, "session_hash": "stranger01"}
        yield "POST", "/gradio_api/queue/join", {"json": body}


def of_route(served: Served, method: str, path: str) -> Iterator[tuple[str, str, dict[str, Any]]]:  # noqa: C901 - a case for each kind of route
    """What a stranger asks of one route."""
    if "{path_or_url" in path:
        for guess in guesses(served):
            yield method, f"/gradio_api/file={guess}", {}
    elif path.startswith("/gradio_api/heartbeat"):
        yield from ((method, f"/gradio_api/heartbeat/{one or '-'}", {"stream": True}) for one in IDS)
    elif "{event_id}" in path:
        for one in IDS:
            yield method, path.replace("{api_name}", "generate_image").replace("{event_id}", one or "-"), {}
    elif path == "/gradio_api/queue/data":
        yield from ((method, path, {"params": {"session_hash": one}}) for one in IDS)
    elif path == "/gradio_api/upload_progress":
        yield from ((method, path, {"params": {"upload_id": one}}) for one in IDS[:2])
    elif path in ("/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/reset/"):
        for one in IDS:
            for event in (one, served.event[:-1]):
                yield method, path, {"json": {"session_hash": one, "fn_index": 166, "event_id": event}}
    elif "{path:path}" in path:
        for guess in ("../../../../etc/passwd", "..%2f..%2fetc/passwd", f"/{served.files[0]}", ""):
            yield method, path.replace("{path:path}", guess), {}
    elif "{api_name}" in path or path == "/gradio_api/queue/join":
        name = path.replace("{api_name}", "generate_image")
        for body in (
            {},
            [],
            {"data": []},
            {"data": [], "session_hash": "s"},
            {"data": None, "fn_index": -1},
            {"data": [], "fn_index": 10**6},
        ):
            yield method, name, {"json": body}
    else:
        yield from ((method, path, {"params": params}) for params in ({}, {"session_hash": SESSION[:-1]}, {"deep_link": "../x"}))


def test_a_thousand_tries_of_a_stranger_get_nothing_of_another_visitor(served: Served) -> None:
    before, all_tries = served.state(), list(tries(served))
    assert len(all_tries) > 1000

    def attempt(one: tuple[str, str, dict[str, Any]]) -> tuple[int, str]:
        method, path, more = one
        more = dict(more)
        if more.pop("stream", False):
            with client.stream(method, path, **more) as answer:
                return answer.status_code, next(answer.iter_text(), "")
        answer = client.request(method, path, **more)
        return answer.status_code, answer.text

    with httpx.Client(base_url=served.url, timeout=120, follow_redirects=True) as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(attempt, all_tries))
    told = [(one, secret) for one, (_, text) in zip(all_tries, answers, strict=True) for secret in served.secrets if secret in text]
    own = [(one, secret) for one, secret in told if secret not in json.dumps(one, default=str)]
    assert own == []
    odd = [(one, status) for one, (status, _) in zip(all_tries, answers, strict=True) if status not in range(200, 300)]
    assert [(one, status) for one, status in odd if status not in REFUSED and (one[1], status) != ("/health", 503)] == []
    assert served.state() == before
    assert served.event in served.page._queue.event_ids_to_events  # his run goes on


REFUSED = (400, 401, 403, 404, 405, 406, 415, 422, 500)
"""500 is what gradio gives an error of an event that is called directly, with its sentence."""


def test_every_route_is_judged(served: Served) -> None:
    paths = {path.rstrip("/") or "/" for _, path in routes(served.page.app.routes)}
    assert paths - JUDGED.keys() == set()
    assert JUDGED.keys() - paths == set()


def test_the_visitor_himself_has_it_all(served: Served) -> None:
    """Without this the test above would hold for a hub that gives nobody anything."""
    with httpx.Client(base_url=served.url, timeout=60) as client:
        for path in served.files:
            if path.suffix != ".history":
                assert client.get(f"/gradio_api/file={path}").content == path.read_bytes()
    [update, *_] = served.events("History.update")
    shown, others = served.run(update, [VISITOR]).text, served.run(update, ["a" * 32]).text
    names = [path.name for path in served.hub.results.history(VISITOR)]
    assert len(names) == 2
    assert all(name in shown and name not in others for name in names)
    assert "1 choice" in served.run(served.events("VotesTab.show")[0], [VISITOR, "my choices"]).text


# ---- the same picture, and the files


def test_who_makes_the_same_picture_neither_finds_nor_rewrites_that_of_another(served: Served) -> None:
    before, request = served.state(), Request("tiny-dit", labels=4, seeds=(7, 8), steps=2)
    mine = served.hub.results.history(VISITOR)
    for visitor in ("b" * 32, "", ""):
        [*_, result] = served.hub.generate(request, visitor=visitor)
        assert {path.name for path in result.files} == {path.name for path in mine}
        assert not {path.parent for path in result.files} & {path.parent for path in mine}
    assert served.state() == before
    [*_, again] = served.hub.generate(request, visitor=VISITOR)
    assert set(again.files) == set(mine)
    assert served.hub.results.forget("b" * 32) == 2
    assert all(path.is_file() for path in mine)


@pytest.mark.skipif(os.name == "nt", reason="Windows knows other permissions")
def test_what_visitors_have_is_for_the_user_who_runs_the_hub_alone_whatever_the_umask(served: Served) -> None:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        [upload] = client.post("/gradio_api/upload", files={"files": ("a.png", b"x", "image/png")}).json()
    assert "choices.csv" in served.run(served.events("VotesTab.give")[0], [VISITOR]).text
    kept = [
        *served.hub.results.folder.rglob("*"),
        served.hub.results.folder,
        served.hub.cache_dir / "choices.sqlite3",
        Path(get_upload_folder()),
    ]
    kept += [Path(upload)]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in kept}
    assert {path: oct(mode) for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert {path.suffix for path in modes} >= {".png", ".json", ".history", ".sqlite3", ".csv"}


# ---- what only the user of this machine may do


def test_events_by_number_neither_remove_nor_download_nor_add_a_model_where_visitors_may_not(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served.page, "proxied", True)
    removed, fetched = [], []
    monkeypatch.setattr(served.hub, "remove", removed.append)
    monkeypatch.setattr(served.hub, "download", lambda *values: fetched.append(values) or iter(()))
    [forget], [download], [path], [add] = (
        served.events(name) for name in ("ModelsTab.forget", "ModelsTab.download", "AddModel.open_path", "AddModel.add")
    )
    words = {
        (forget, "tiny-dit"): "Only the person who runs this hub can remove a model.",
        (download, None, "dit-xl-2-256", "order"): "only the person who runs this hub can download it",
        (path, "/etc/hostname"): "A path is read where the page is open on the same machine only",
        (add, *[None] * 11): "Only the person who runs this hub can add a model.",
    }
    for (number, *values), sentence in words.items():
        assert sentence in last_of(served, number, values)
    assert removed == fetched == []


def last_of(served: Served, number: int, values: list[Any]) -> str:
    """All that a session of its own is told of an event."""
    session = uuid.uuid4().hex
    body = {"data": values, "fn_index": number, "session_hash": session}
    with httpx.Client(base_url=served.url, timeout=60) as client:
        assert client.post("/gradio_api/queue/join", json=body).status_code == 200
        return client.get("/gradio_api/queue/data", params={"session_hash": session}).text


def test_a_form_of_a_foreign_page_leaves_nothing_here(served: Served) -> None:
    before = sorted(Path(get_upload_folder()).rglob("*"))
    foreign = {"Origin": "http://evil.example"}
    plain = foreign | {"Content-Type": "text/plain"}
    call = json.dumps({"data": ["tiny-dit", "star", 1, 3, 1, "ddim", 2.0]})
    with httpx.Client(base_url=served.url, timeout=60) as client:
        answers = [
            client.post("/gradio_api/upload", files={"files": ("a.html", b"evil", "text/html")}, headers=foreign),
            client.post("/gradio_api/call/generate_image", content=call, headers=plain),
            client.options("/gradio_api/upload", headers=foreign | {"Access-Control-Request-Method": "POST"}),
            client.get("/config", headers=foreign), client.get("/config", headers={"Host": "evil.example"}),
            client.post("/gradio_api/upload", files={"files": ("a.html", b"evil", "text/html")}, headers={"Host": "evil.example"}),
        ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 403
        assert answer.text.startswith("This hub does not ")
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert sorted(Path(get_upload_folder()).rglob("*")) == before


# ---- addresses


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """An address of this machine, and what was asked for there."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    asked.append(connection.recv(1000))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.png", asked
        over.set()
        thread.join()


EVERYWHERE = 2
"""How many of these forms are tried with every event; the others with those that take a file."""
FORMS: list[Callable[[str], Any]] = [
    lambda url: {"path": url, "url": url, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}},
    lambda url: [{"path": "a", "deeper": {"path": url, "meta": {"_type": "gradio.FileData"}}}],
    lambda url: [{"image": {"path": url, "meta": {"_type": "gradio.FileData"}}, "caption": None}],
    lambda url: {"path": url},
    lambda url: url,
]


@pytest.mark.parametrize("form", FORMS)
def test_no_address_given_as_a_file_is_fetched_by_any_event(
    served: Served, listener: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch, form: Callable[[str], Any]
) -> None:
    monkeypatch.setattr("safehttpx.is_public_ip", lambda _: True)  # gradio itself refuses this machine's own, and no other
    url, asked = listener
    events = {number: [part for part in fn.inputs if not part.stateful] for number, fn in served.page.fns.items()}
    takes_a_file = (gr.File, gr.UploadButton, gr.DownloadButton, gr.JSON)
    chosen = [
        n
        for n, parts in events.items()
        if parts and (FORMS.index(form) < EVERYWHERE or any(isinstance(part, takes_a_file) for part in parts))
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: served.run(number, [form(url)] * len(served.page.fns[number].inputs)), chosen))
    assert len(chosen) > (90 if FORMS.index(form) < EVERYWHERE else 8)
    assert asked == []


@pytest.mark.parametrize("name", ["file=", "file/", "proxy=", "file=%20", "file=HTTP"])
def test_no_address_asked_for_as_a_file_is_fetched(
    served: Served, listener: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("safehttpx.is_public_ip", lambda _: True)
    url, asked = listener
    path = name + url.removeprefix("http") if name.endswith("HTTP") else name + url
    assert httpx.get(f"{served.url}gradio_api/{path}", timeout=60).status_code in (403, 404)
    assert asked == []
