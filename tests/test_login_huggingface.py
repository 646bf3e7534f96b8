"""Users of Hugging Face on a Space: gradio's way there and back, against a provider of OpenID on this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from conftest import free_port, serving
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from zoo.catalog.settings import Serving
from zoo.engine.hub import Hub
from zoo.errors import LoginError
from zoo.ui.server.login import guard_of

BROWSER = {"accept": "text/html"}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """Knows who somebody is from the code that he comes back with: NAME.NONCE."""
    key, url = RSAKey.generate_key(2048, {"kid": "k"}), f"http://127.0.0.1:{free_port()}"

    async def token(request: Request) -> JSONResponse:
        name, nonce = (await request.form())["code"].split(".")
        now = int(time.time())
        claims: dict[str, Any] = {"iss": url, "aud": "client", "sub": name, "iat": now, "exp": now + 60, "nonce": nonce}
        claims |= {"preferred_username": name, "name": name.title(), "orgs": [{"preferred_username": "friends"}] if name == "bob" else []}
        return JSONResponse(
            {"access_token": f"token of {name}", "token_type": "bearer", "id_token": jwt.encode({"alg": "RS256", "kid": "k"}, claims, key)}
        )

    def configuration(_: Request) -> JSONResponse:
        places = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        return JSONResponse({"issuer": url, **{name: url + place for name, place in places.items()}})

    routes = [
        Route("/.well-known/openid-configuration", configuration),
        Route("/token", token, methods=["POST"]),
        Route("/keys", lambda _: JSONResponse({"keys": [key.as_dict(private=False)]})),
    ]
    server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), port=urlsplit(url).port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield url
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def url(hub: Hub, provider: str) -> Iterator[str]:
    """The page of a Space that alice and the organisation "friends" may open."""
    with pytest.MonkeyPatch.context() as patch:
        values = {"OAUTH_CLIENT_ID": "client", "OAUTH_CLIENT_SECRET": "s", "OAUTH_SCOPES": "openid profile"}
        values |= {"OPENID_PROVIDER_URL": provider}
        for name, value in values.items():
            patch.setenv(name, value)
            patch.setattr(f"gradio.oauth.{name}", value)
        patch.setenv("SYSTEM", "spaces")
        patch.setenv("SPACE_ID", "someone/patchwork")
        patch.setattr("gradio.http_server.get_space", lambda: None)  # no watching of files
        with serving(hub, login="huggingface", members=["alice", "friends"]) as address:
            yield address.rstrip("/")


def come_back(url: str, name: str, to: str = "/?tab=models") -> tuple[httpx.Response, str]:
    """What somebody gets who was asked by Hugging Face, and his cookie of gradio's, which is for https alone."""
    there = httpx.get(f"{url}/login/huggingface", params={"_target_url": to})
    asked = {key: value[0] for key, value in parse_qs(urlsplit(there.headers["location"]).query).items()}
    assert asked["client_id"] == "client"
    cookie = there.headers["set-cookie"].partition(";")[0]
    words = {"state": asked["state"]} | ({"code": f"{name}.{asked['nonce']}"} if name else {"error": "access_denied"})
    back = httpx.URL(asked["redirect_uri"]).copy_merge_params(words)
    return httpx.get(back, headers=BROWSER | {"cookie": cookie}), cookie


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_members_come_in_where_they_wanted_to_be_and_their_token_is_kept_nowhere(url: str, name: str) -> None:
    answer, _ = come_back(url, name)
    assert answer.headers["location"] == "/?tab=models"
    cookies = dict(cookie.partition(";")[0].split("=", 1) for cookie in answer.headers.get_list("set-cookie"))
    assert cookies.pop("session") == "null", "gradio's session, with the token in it, is empty again"
    client = httpx.Client(base_url=url, cookies=cookies)
    assert client.get("/config").status_code == 200
    client.post("/logout")
    assert httpx.get(f"{url}/config", cookies=cookies).status_code == 401


def test_others_are_told_that_they_may_not(url: str) -> None:
    answer, _ = come_back(url, "mallory")
    assert answer.status_code == 403
    assert "mallory is no member" in answer.text
    assert "patchwork-" not in answer.headers.get("set-cookie", "")
    answer, cookie = come_back(url, "")
    assert answer.status_code == 502
    assert "access_denied" in answer.text
    for headers in ({}, {"cookie": cookie}):
        assert httpx.get(f"{url}/config", headers=headers).status_code == 401
    form = httpx.get(f"{url}/?tab=look", headers=BROWSER).text
    assert 'href="/login/huggingface?_target_url=%2F%3Ftab%3Dlook"' in form
    assert "<form" not in form


def test_elsewhere_nobody_is_let_in_as_the_owner_of_a_token(hub: Hub, monkeypatch: pytest.MonkeyPatch, says) -> None:
    monkeypatch.delenv("SYSTEM", raising=False)
    with says(LoginError, "on its Spaces only", "hf_oauth"):
        guard_of(hub, Serving(login="huggingface"))
    with says(LoginError, "--login huggingface"):
        guard_of(hub, Serving(members=["alice"]))
