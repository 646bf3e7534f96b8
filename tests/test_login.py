"""Where a login is asked for nothing answers without one, who logged in is the same everywhere, and guessing is slow."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from conftest import run_async, serving
from gradio.context import LocalContext
from gradio_client import Client
from gradio_client.exceptions import AuthenticationError
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from test_accessibility import findings

import zoo
from zoo.engine import passwords
from zoo.engine.hub import Hub
from zoo.ui.parts import runs
from zoo.ui.server.login.door import LoginDoor
from zoo.ui.server.login.guard import Guard
from zoo.ui.server.login.sessions import OF_USER

QUICK = (16, 8, 1)
"""A cost of scrypt for tests: microseconds."""
FORMS = ((b"x" * 30_000, "application/x-www-form-urlencoded"), (b"--a\r\n", "multipart/form-data; boundary=b"), (b"{}", "application/json"))
BROWSER = {"accept": "text/html,application/xhtml+xml"}


def line(name: str, password: str = "") -> str:
    return f"{name}:{passwords.hashed(password or f'{name} has a secret', QUICK)}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two users."""
    path = tmp_path / "users.txt"
    path.touch(mode=0o600)
    path.write_text(f"# who may come in\n{line('alice')}\n\n{line('bob')}\n")
    return path


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of users that stays as it is."""
    path = tmp_path_factory.mktemp("login") / "users.txt"
    path.touch(mode=0o600)
    path.write_text("\n".join(map(line, ("alice", "bob", "eve", "script"))))
    return path


@pytest.fixture(scope="module")
def page(hub: Hub) -> Iterator[list[gr.Blocks]]:
    """Collects the pages that are built here."""
    from zoo import ui

    pages, build = [], ui.build
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ui, "build", lambda *values, **words: pages.append(build(*values, **words)) or pages[-1])
        yield pages


@pytest.fixture(scope="module")
def url(hub: Hub, users: Path, page: list) -> Iterator[str]:
    """The page of a hub that asks for a login."""
    with serving(hub, auth_file=str(users)) as address:
        yield address.rstrip("/")


def logged_in(url: str, name: str = "alice", **words: Any) -> httpx.Client:
    client = httpx.Client(base_url=url, timeout=60)
    answer = client.post("/login", data={"username": name, "password": f"{name} has a secret"}, **words)
    assert answer.json() == {"success": True}
    return client


# ---- the file


def test_a_file_that_changes_lets_new_users_in_and_others_out(hub: Hub, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(hub, auth_file=str(file)) as url:
        alice, bob = logged_in(url), logged_in(url, "bob")
        with caplog.at_level(logging.WARNING):
            file.write_text(f"{line('bob')}\nwhat is this\n{line('carol')}\n")
            until(lambda: alice.get("/config").status_code == 401)
        assert "Line 2" in caplog.text
        assert logged_in(url, "carol").get("/config").status_code == 200
        assert bob.get("/config").status_code == 401, "his password is another one, as far as the hub can know"
        file.unlink()
        time.sleep(1.1)
        assert logged_in(url, "carol").get("/config").status_code == 200, "a file that is being replaced locks nobody out"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- nothing without a login


def test_the_events_of_a_session_are_for_the_user_who_opened_it(url: str) -> None:
    alice, bob = logged_in(url), logged_in(url, "bob")
    for path in ("/gradio_api/heartbeat/sess1234567", "/gradio_api/queue/data?session_hash=sess7654321"):
        with alice.stream("GET", path) as stream:
            assert stream.status_code in (200, 404)
        assert bob.get(path).status_code == 403
    with bob.stream("GET", "/gradio_api/heartbeat/sess0000000") as stream:
        assert stream.status_code == 200


def every_route(routes: Sequence[Any], above: str = "") -> Iterator[tuple[str, str]]:
    """(method, path) of all that a server answers, with a word for every parameter."""
    for route in routes:
        for part in (getattr(route, "original_router", None), route):  # a router of FastAPI, a mount of Starlette
            yield from every_route(getattr(part, "routes", None) or (), above + getattr(route, "path", ""))
        if path := getattr(route, "path", None):
            yield from ((method, above + re.sub(r"\{[^}]*\}", "x", path)) for method in getattr(route, "methods", None) or ("GET",))


def test_no_route_of_the_page_answers_without_a_login(url: str, page: list) -> None:
    known = set(every_route(page[-1].app.routes))
    assert {("GET", "/"), ("GET", "/config"), ("GET", "/gradio_api/info"), ("POST", "/gradio_api/queue/join")} <= known
    assert len(known) > 40
    more = ("/health/", "//health", "/HEALTH", "/health/../config", "/x/health", "/metrics", "/v1/models", "/gradio_api/mcp/", "/login/x")
    more += ("/login/huggingface", "/login/callback", "/gradio_api/file=README.md", "/assets/../config", "//", "/%2e/config", "/health%00")
    tried = sorted(known | {(method, path) for path in more for method in ("GET", "POST")} - {("GET", "/health"), ("HEAD", "/health")})
    with httpx.Client(base_url=url) as client:
        for method, path in tried:
            for headers in ({}, BROWSER, {"cookie": "patchwork-x=y"}, {"authorization": "Bearer alice:wrong"} if path == "/" else {}):
                answer = client.request(method, httpx.URL(url + path), headers=headers)
                if (method, path) == ("POST", "/logout") or answer.status_code == 405:
                    continue
                assert answer.status_code == 401, (method, path, answer.text[:100])
                page_of_login = "<title>Log in" in answer.text
                assert method == "HEAD" or page_of_login or set(answer.json()) == {"error", "detail"}, (method, path)
                assert method != "GET" or headers is not BROWSER or page_of_login
        assert client.get("/health").status_code != 401
        assert client.get("/gradio_api/startup-events").status_code == 401


def test_the_page_holds_nothing_of_whom_it_is_sent_to(url: str) -> None:
    first, second = (logged_in(url, name).get("/").text for name in ("alice", "bob"))
    assert first == second
    assert "alice" not in first


def test_a_wrong_name_costs_and_says_what_a_wrong_password_does(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []
    monkeypatch.setattr(passwords, "matches", lambda _, kept, real=passwords.matches: costs.append(kept.split("$")[1:4]) or real(_, kept))
    wrong, unknown = (
        httpx.post(f"{url}/login", data={"username": name, "password": "no secret", "next": "/"}, headers=BROWSER)
        for name in ("alice", "mallory")
    )
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("alice", "mallory") == unknown.text
    assert 'role="alert"' in wrong.text
    assert costs == [["16", "8", "1"]] * 2


def test_logging_out_and_a_week_end_a_session(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client, other = logged_in(url), logged_in(url)
    word = dict(client.cookies)
    assert client.post("/logout").headers["location"] == "/"
    assert client.get("/config").status_code == 401
    assert httpx.get(f"{url}/config", cookies=word).status_code == 401, "the word that somebody kept is worth nothing"
    assert other.get("/config").status_code == 200
    for _ in range(OF_USER):  # of one user so many are kept, and nobody else's leave for them
        last = logged_in(url, "bob")
    assert other.get("/config").status_code == last.get("/config").status_code == 200
    logged_in(url)
    monkeypatch.setattr("zoo.ui.server.login.sessions.AGE", -1)
    assert logged_in(url).get("/config").status_code == 401


@pytest.mark.parametrize(
    ("asked", "led"),
    [
        ("/?tab=image&model=tiny-dit&label=star", "/?tab=image&model=tiny-dit&label=star"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example/", "/"),
        ("/\t/evil.example/", "/"),
        ("/x\r\nset-cookie: a=b", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_after_the_login_one_is_where_one_wanted_to_be_and_on_this_server(url: str, asked: str, led: str) -> None:
    with httpx.Client(base_url=url) as client:
        words = {"username": "alice", "password": "alice has a secret", "next": asked}
        answer = client.post("/login", data=words, headers=BROWSER)
        assert client.get(answer.headers["location"], headers=BROWSER).headers["location"] == led
    without = httpx.get(url + answer.headers["location"], headers=BROWSER)
    assert "allow cookies" in without.text, "a browser that keeps none is told so"


# ---- programs


def test_gradio_client_logs_in_and_others_send_name_and_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(url, auth=("alice", "alice has a secret"), verbose=False)
    files, [receipt] = client.predict("tiny-dit", "star", 1, 3, 2, "ddim", 1.0, api_name="/generate_image")
    assert Path(files[0]["image"]).read_bytes().startswith(b"\x89PNG")
    assert receipt["seed"] == 3
    for words in ({}, {"auth": ("alice", "alice has no secret")}):
        with pytest.raises(AuthenticationError):
            Client(url, verbose=False, **words)
    hashes = []
    monkeypatch.setattr(passwords, "matches", lambda *values, real=passwords.matches: hashes.append(1) or real(*values))
    with httpx.Client(base_url=url) as script:
        for _ in range(5):
            assert script.get("/config", auth=("script", "script has a secret")).status_code == 200
            assert script.get("/config", headers={"authorization": "Bearer script:script has a secret"}).status_code == 200
        assert len(hashes) == 1, "a script pays for its first request"
        for header in ("Basic !", "Basic Ym9i", "Bearer hf_token", "Digest x", "Bearer :", "Bearer \xff:\xff"):
            assert script.get("/config", headers=[(b"authorization", header.encode("latin-1"))]).status_code == 401


def test_forms_that_are_none_are_refused(url: str) -> None:
    for content, kind in FORMS:
        assert httpx.post(f"{url}/login", content=content, headers={"content-type": kind}).status_code in (400, 401)
    files = {"username": (None, "alice"), "password": (None, "alice has a secret")}
    assert httpx.post(f"{url}/login", files=files).json() == {"success": True}, "as @gradio/client sends it"


# ---- guessing


def test_guessing_is_slowed_down_and_locks_nobody_out_who_was_there(hub: Hub, file: Path) -> None:
    with serving(hub, auth_file=str(file)) as url:
        alice = logged_in(url)
        alice.post("/logout")
        answers = [httpx.post(f"{url}login", data={"username": "alice", "password": f"guess {k}"}) for k in range(12)]
        assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
        assert 0 < int(answers[-1].headers["retry-after"]) <= 31
        assert "try again in" in answers[-1].json()["error"]
        assert httpx.get(f"{url}config", auth=("alice", "alice has a secret")).status_code == 429
        right = {"username": "alice", "password": "alice has a secret"}
        assert httpx.post(f"{url}login", data=right).status_code == 429, "a stranger who has guessed it now does not get in at once"
        assert alice.post("/login", data=right).json() == {"success": True}, "her own browser does"
        bob = httpx.post(f"{url}login", data=right | {"username": "bob"}, cookies=dict(alice.cookies))
        assert bob.status_code == 429, "and lets her guess nobody else's"


def test_while_one_password_is_compared_others_are_answered(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, got = logged_in(url), []
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(passwords, "matches", lambda *_: begun.set() or not go_on.wait(60))
    words = {"username": "bob", "password": "bob"}
    slow = threading.Thread(target=lambda: got.append(httpx.post(f"{url}/login", data=words, timeout=60).status_code))
    slow.start()
    assert begun.wait(30)
    assert alice.get("/config").status_code == 200
    assert httpx.get(url, headers=BROWSER).status_code == 401
    assert not got
    go_on.set()
    slow.join()
    assert got == [401]


# ---- who somebody is


def event(client: httpx.Client, page: gr.Blocks, number: int, data: list, session: str) -> dict:
    """What an event of the page answers to values of our own."""
    client.post("/gradio_api/queue/join", json={"fn_index": number, "data": data, "session_hash": session}).raise_for_status()
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for text in stream.iter_lines():
            if text.startswith("data:") and (message := json.loads(text[5:]))["msg"] == "process_completed":
                return message["output"]
    raise AssertionError("no answer")


def test_nobody_can_name_himself_as_another(url: str, page: list, hub: Hub, users: Path) -> None:
    blocks = page[-1]
    key = Guard(hub.cache_dir, passwords.Users(users))
    [*_, pictures] = hub.generate(zoo.Request("tiny-dit", 3, (5,), steps=1), visitor=key.identity("alice"))
    name = pictures.files[0].name
    number = next(n for n, fn in blocks.fns.items() if getattr(fn.fn, "__qualname__", "").endswith("History.update") and fn.inputs)
    assert name in json.dumps(event(logged_in(url), blocks, number, [""], "a1"))
    assert name in json.dumps(event(logged_in(url), blocks, number, ["0" * 32], "a2"))
    assert name not in json.dumps(event(logged_in(url, "bob"), blocks, number, [key.identity("alice")], "b1"))
    elsewhere = Guard(users.parent, None)
    names = {key.identity("alice"), key.identity("bob"), key.identity("huggingface:alice"), elsewhere.identity("alice")}
    assert len(names) == 4


def test_limits_count_a_user_on_all_his_browsers() -> None:
    def account(session: str, **scope: str) -> str:
        request = Request({"type": "http", "headers": [], "client": ("10.0.0.1", 1), **scope})
        LocalContext.request.set(gr.Request(request, session_hash=session))
        return runs.new_job("run").account

    try:
        assert account("a", visitor="alice") == account("b", visitor="alice") != account("a", visitor="bob")
        assert account("a") != account("b")
    finally:
        LocalContext.request.set(None)


# ---- proxies, streams


def test_behind_a_proxy_the_login_stays_under_its_path_and_is_secure(tmp_path: Path, users: Path) -> None:
    guard = Guard(tmp_path, passwords.Users(users))
    routes = [Route("/", lambda request: PlainTextResponse(request.scope["user"]))]
    app = Starlette(routes=routes, middleware=[Middleware(LoginDoor, guard=guard)])
    inside = TestClient(app, root_path="/patchwork", base_url="https://hub.example", follow_redirects=False)
    form = inside.get("/patchwork/?tab=models", headers=BROWSER).text
    assert 'action="/patchwork/login"' in form
    assert 'value="/?tab=models"' in form
    words = {"username": "alice", "password": "alice has a secret", "next": "/?tab=models"}
    answer = inside.post("/patchwork/login", data=words, headers=BROWSER)
    assert answer.headers["location"].startswith("/patchwork/login?")
    flags = "Path=/patchwork; HttpOnly; Secure; SameSite=None; Partitioned"
    assert all(flags in cookie for cookie in answer.headers.get_list("set-cookie"))
    assert inside.get(answer.headers["location"], headers=BROWSER).headers["location"] == "/patchwork/?tab=models"
    assert inside.get("/patchwork/").text == "alice"
    plain = TestClient(app, base_url="http://hub.example").post("/login", data=words)
    assert "SameSite=Lax" in plain.headers["set-cookie"]
    assert "Secure" not in plain.headers["set-cookie"]
    assert "Secure" in TestClient(app).post("/login", data=words, headers={"x-forwarded-proto": "https"}).headers["set-cookie"]


def test_a_stream_ends_with_the_login_that_opened_it(tmp_path: Path, users: Path) -> None:
    guard = Guard(tmp_path, passwords.Users(users))
    word = guard.sessions.open("alice", guard.accounts.users.hash_of("alice"))
    said: list[dict] = []

    async def app(scope: dict, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        guard.sessions.close(word)
        await send({"type": "http.response.body", "body": b"two", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"three", "more_body": True})

    async def keep(message: dict) -> None:
        said.append(message)

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    cookie = [(b"cookie", f"{guard.cookie}={word}".encode())]
    scope = {"type": "http", "method": "GET", "path": "/gradio_api/queue/data", "query_string": b"", "headers": cookie, "client": ("", 0)}
    run_async(LoginDoor(app, guard)(scope, receive, keep))
    assert [message.get("body") for message in said] == [None, b"one", b""]
    assert (b"cache-control", b"private") in said[0]["headers"]


# ---- in a browser


def enter(page: Any, name: str, password: str = "") -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password or f"{name} has a secret")
    page.keyboard.press("Enter")


def test_a_user_has_his_pictures_in_every_browser_and_nobody_else_has(url: str, browser: Browser) -> None:
    first, phone, stranger = (browser.new_context() for _ in range(3))
    page = first.new_page()
    page.goto(f"{url}/?tab=image&model=tiny-dit&label=star&seed=41&steps=2&count=1")
    expect(page.get_by_label("Name")).to_be_focused()
    enter(page, "bob", "wrong word")
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    expect(page.get_by_label("Password")).to_be_focused()
    assert findings(page) == []
    enter(page, "bob")
    expect(page.locator("#cost p")).to_have_text(re.compile("^about"))  # while the form stands, its policy lets no function be evaluated
    expect(page.locator("#seed input")).to_have_value("41")
    expect(page.locator("#who")).to_contain_text("bob")
    expect(page.get_by_text("Your history").first).to_be_visible()
    page.locator("#generate").click()
    expect(page.locator("#history img")).to_have_count(1)
    page.reload()
    expect(page.locator("#history img")).to_have_count(1)
    for context, name, count in ((phone, "bob", 1), (stranger, "eve", 0)):
        other = context.new_page()
        other.goto(url)
        enter(other, name)
        expect(other.locator("#who")).to_contain_text(name)
        expect(other.locator("#history img")).to_have_count(count)
    assert "tiny-dit" not in stranger.pages[0].locator("#history-list, #history").evaluate_all(
        "all => all.map((one) => one.innerHTML).join()"
    )
    first.clear_cookies()
    page.locator("#generate").click()  # the login has ended while the page was open
    expect(page.get_by_label("Name")).to_be_visible()
    enter(page, "bob")
    expect(page.locator("#history img")).to_have_count(1)
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Name")).to_be_visible()
    page.goto(url)
    expect(page.get_by_label("Name")).to_be_visible()
    for context in (first, phone, stranger):
        context.close()
