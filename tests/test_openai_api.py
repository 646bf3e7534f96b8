"""The OpenAI way in, through that service's own client and by plain HTTP, against the real page."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest
from conftest import run_async, serving
from test_malformed_calls import send

from zoo.engine.hub import Hub
from zoo.engine.limits import Limits
from zoo.engine.request import Request
from zoo.media import pictures


@pytest.fixture(scope="module")
def served(hub: Hub) -> Iterator[str]:
    """The page of the hub that these tests hold."""
    with serving(hub) as url:
        yield url


@pytest.fixture(scope="module")
def client(served: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served}v1", api_key="none", max_retries=0) as made:
        yield made


def receipt_of(content: bytes, folder: Path) -> dict:
    """The receipt in a PNG that was an answer, which vouches for its pixels."""
    (folder / "answer.png").write_bytes(content)
    return pictures.read_png(folder / "answer.png")[1]


def ask(server: str, body: bytes, kind: str = "application/json") -> http.client.HTTPConnection:
    """A connection that has asked for pictures and read nothing yet."""
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=60)
    connection.request("POST", "/v1/images/generations", body, {"Content-Type": kind})
    return connection


def answer(server: str, body: bytes, kind: str = "application/json") -> tuple[int, dict, http.client.HTTPMessage]:
    """Status, JSON and headers of an answer."""
    connection = ask(server, body, kind)
    told = connection.getresponse()
    values = json.loads(told.read())
    connection.close()
    return told.status, values, told.headers


def test_the_models_are_those_that_make_pictures(client: openai.OpenAI, hub: Hub) -> None:
    listed = [model.id for model in client.models.list()]
    assert set(listed) == {card.id for card in hub.offers if card.generates and not card.video}
    assert listed[0] in {"tiny-dit", "tiny-uvit", "tiny-unet"}  # what is ready comes first
    one = client.models.retrieve("tiny-dit")
    assert (one.id, one.object) == ("tiny-dit", "model")
    assert one.model_extra["labels"] == list(hub.card("tiny-dit").label_names)
    for name in ("tiny-dot", "tiny-latte"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve(name)
        assert caught.value.code == "model_not_found"


def test_pictures_are_those_that_the_hub_makes_of_the_same_seed(client: openai.OpenAI, hub: Hub, tmp_path: Path) -> None:
    more = {"seed": 7, "steps": 5, "solver": "ddim", "guidance": 1.5, "eta": 0.5}
    told = client.images.generate(model="tiny-dit", prompt="star", n=2, size="64x64", quality="high", extra_body=more)
    receipts = [receipt_of(base64.b64decode(one.b64_json), tmp_path) for one in told.data]
    assert [one.model_extra["receipt"] for one in told.data] == receipts
    star = hub.card("tiny-dit").label_names.index("star")
    *_, made = hub.generate(Request("tiny-dit", star, (7, 8), steps=5, solver="ddim", guidance=1.5, eta=0.5))
    assert [receipt["pixels"] for receipt in receipts] == [receipt["pixels"] for receipt in made.receipts]
    assert (told.size, told.output_format, told.usage.total_tokens) == ("64x64", "png", 0)


def test_a_picture_may_be_an_address_that_nobody_can_guess(client: openai.OpenAI, served: str, tmp_path: Path) -> None:
    raw = client.images.with_raw_response.generate(model="tiny-uvit", prompt="3", response_format="url", extra_body={"steps": 2})
    assert raw.headers["content-type"] == "application/json"
    [one] = raw.parse().data
    assert one.url.startswith(f"{served}v1/files/")
    connection = http.client.HTTPConnection(urlsplit(served).netloc, timeout=60)
    connection.request("GET", urlsplit(one.url).path)
    assert receipt_of(connection.getresponse().read(), tmp_path)["label"] == "bear"
    assert send(f"{served}v1/files/{receipt_of.__name__}.png")[0] == 404
    assert len(one.url.split("/")[-1]) > 24


def test_partial_images_come_before_the_picture(client: openai.OpenAI, tmp_path: Path) -> None:
    asked = {"model": "tiny-dit", "prompt": "heart", "stream": True, "extra_body": {"seed": 3, "steps": 100}}
    told = list(client.images.generate(**asked, partial_images=2))
    *partial, last = told
    assert 1 <= len(partial) <= 2
    assert [(event.type, event.partial_image_index) for event in partial] == [
        ("image_generation.partial_image", k) for k in range(len(partial))
    ]
    assert base64.b64decode(partial[0].b64_json).startswith(b"\x89PNG")
    assert last.type == "image_generation.completed"
    assert receipt_of(base64.b64decode(last.b64_json), tmp_path)["seed"] == 3
    assert [event.type for event in client.images.generate(**asked)] == ["image_generation.completed"]


def test_many_ask_at_once_and_each_gets_his_own(served: str) -> None:
    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{served}v1", api_key="none", max_retries=0) as client:
            labels = ["star", "heart", "owl", "bee"] * 5
            more = {"extra_body": {"steps": 2}}
            told = await asyncio.gather(*(client.images.generate(model="tiny-unet", prompt=one, **more) for one in labels))
            return [one.data[0].model_extra["receipt"]["label"] for one in told]

    assert run_async(all_of_them()) == ["star", "heart", "owl", "bee"] * 5


def test_curl_is_answered_as_well(served: str) -> None:
    if not (curl := shutil.which("curl")):
        pytest.skip("there is no curl: install it to have this test, on Debian by apt-get install curl")
    command = [curl, "-s", f"{served}v1/images/generations", "-H", "Content-Type: application/json"]
    done = subprocess.run([*command, "-d", '{"prompt": "star", "steps": 1}'], capture_output=True, check=True)
    assert json.loads(done.stdout)["data"][0]["receipt"]["label"] == "star"  # of the model that the page begins with


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "tiny-dot"}, 404, "There is no model 'tiny-dot'"),
        ({"model": "tiny-latte"}, 404, "makes no pictures"),
        ({"model": ["tiny-dit"]}, 404, "There is no model"),
        ({"model": "dit-xl-2-256", "prompt": "golden retriever"}, 400, "not downloaded"),
        ({"prompt": "stra"}, 400, "has no class 'stra'"),
        ({"prompt": None}, 400, "prompt must be a text"),
        ({"prompt": "x" * 2000}, 400, "prompt must be a text of at most 1000"),
        ({"n": 11}, 400, "n must be a whole number from 1 to 10, not 11"),
        ({"n": "two"}, 400, "not two"),
        ({"n": 0}, 400, "not 0"),
        ({"seed": -5}, 400, "Seed must be a whole number"),
        ({"steps": 10**6}, 400, "Steps must be a whole number"),
        ({"guidance": "strong"}, 400, "Guidance must be a number"),
        ({"solver": "magic"}, 400, "Solver 'magic' is unknown"),
        ({"eta": 2}, 400, "Eta must be"),
        ({"size": "1024x1024"}, 400, "makes 64x64"),
        ({"output_format": "webp"}, 400, 'output_format must be "png"'),
        ({"response_format": "jpg"}, 400, "response_format must be"),
        ({"background": "transparent"}, 400, "opaque"),
        ({"stream": "yes"}, 400, "stream must be"),
        ({"partial_images": 2}, 400, "set stream to true"),
        ({"partial_images": 4, "stream": True}, 400, "from 0 to 3"),
        ({"n": 2, "stream": True}, 400, "A stream holds one picture"),
        ({"stream": True, "prompt": "stra"}, 400, "has no class"),
        ({"magic": 1}, 400, "Unknown parameter: 'magic'"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence_in_the_shape_of_that_service(client: openai.OpenAI, change: dict, status: int, words: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.generate(prompt="star", extra_body={"model": "tiny-dit", "steps": 2} | change)
    assert caught.value.status_code == status
    error = caught.value.body
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]
    assert error["message"].endswith(".")
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b'{"prompt": "star", "guidance": NaN}', "application/json", 400),
        (b'{"prompt": "star", "seed": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"prompt": "star"}', "text/plain", 415),  # what a foreign page may send without being asked
        (b'{"prompt": "' + b"x" * 100_000 + b'"}', "application/json", 413),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_request_is_refused(served: str, body: bytes, kind: str, status: int) -> None:
    told, values, _ = answer(served, body, kind)
    assert told == status
    assert values["error"]["message"].endswith(".")


@pytest.mark.parametrize(("path", "status"), [("chat/completions", 404), ("images/generations", 405)])
def test_what_is_not_offered_is_refused_in_that_shape(served: str, path: str, status: int) -> None:
    told, text = send(f"{served}v1/{path}")
    assert (told, json.loads(text)["error"]["type"]) == (status, "invalid_request_error")


def until(true: Callable[[], bool]) -> None:
    """Wait for what comes soon."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


LONG = {"model": "tiny-dit", "prompt": "star", "steps": 1000, "n": 10, "solver": "ddpm"}


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_ends_his_run_and_others_are_answered_meanwhile(served: str, hub: Hub, stream: bool) -> None:
    until(lambda: hub.engine.counts() == (0, 0))
    words = LONG | {"stream": stream, "n": 1 if stream else 10}
    leaving = ask(served, json.dumps(words).encode())
    until(lambda: hub.engine.counts() == (1, 0))
    short = json.dumps({"model": "tiny-uvit", "prompt": "owl", "steps": 2}).encode()
    assert answer(served, short)[1]["data"][0]["receipt"]["label"] == "owl"
    assert hub.engine.counts() == (1, 0)
    leaving.close()
    until(lambda: hub.engine.counts() == (0, 0))


def test_too_many_at_once_are_told_when_to_come_again(tmp_path: Path) -> None:
    limits = Limits(visitor_flying=1, visitor_waiting=1)
    with serving(busy := Hub(device="cpu", cache_dir=tmp_path, models=["tiny-dit"], limits=limits)) as url:
        body = json.dumps(LONG | {"user": "somebody"}).encode()
        others = [ask(url, body), ask(url, body)]
        until(lambda: busy.engine.counts() == (1, 1))
        status, values, headers = answer(url, body)
        assert status == 429
        assert values["error"]["type"] == "rate_limit_error"
        assert "requests of yours wait already" in values["error"]["message"]
        assert int(headers["Retry-After"]) >= 1
        for one in others:
            one.close()
