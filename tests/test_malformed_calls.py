"""Calls that no client of ours makes, by plain HTTP: each is answered by a sentence, and none leaves a traceback in the server's log."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

FILE = {"meta": {"_type": "gradio.FileData"}}
FOREIGN = [
    FILE | {"path": "/etc/passwd"}, FILE | {"path": "\0"}, FILE | {"path": "x" * 5000}, FILE | {"path": None}, FILE | {"path": 7},
    {"path": "/etc/passwd"}, "/etc/passwd", "\0", "x" * 5000, [], {}, 1e308, True,
]  # fmt: skip
GOOD = {
    "generate_image": ["tiny-dit", "star", 1, 3, 1, "ddim", 1],
    "generate_video": ["tiny-latte", "a", "", 2, 8, 1, 1, "ddim", 1, ""],
    "look_inside": [None, "tiny-vit", None, None, None],
    "compare": ["[]"],
}


def send(url: str, body: Any = None) -> tuple[int, str]:
    """Status and text of what a server answers; body: posted as JSON."""
    asked = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def called(server: str, name: str, values: list[Any]) -> str:
    """How a public call ends: its last event."""
    status, text = send(f"{server}gradio_api/call/{name}", {"data": values})
    assert status == 200, text
    return send(f"{server}gradio_api/call/{name}/{json.loads(text)['event_id']}")[1].strip().split("event: ")[-1]


def malformed() -> list[tuple[str, list[Any]]]:
    calls = []
    for name, values in GOOD.items():
        calls += [(name, values[:-1]), (name, [])]
        places = range(len(values)) if name == "look_inside" else range(2)
        calls += [(name, [*values[:k], odd, *values[k + 1 :]]) for k in places if k < len(values) for odd in FOREIGN]
    return calls


def test_a_malformed_call_gets_a_sentence(server: str) -> None:
    calls = malformed()
    with ThreadPoolExecutor(8) as pool:
        endings = list(pool.map(lambda call: called(server, *call), calls))
    for call, ending in zip(calls, endings):
        if ending.startswith("complete"):  # some of these are what a parameter may be
            continue
        error = json.loads(ending.split("data: ", 1)[1])["error"]
        assert error, call
        assert error.endswith("."), (call, error)
        assert "\n" not in error
        assert len(error) < 600
        assert "fault of the program" not in error, (call, error)


ODD = [{"data": []}, {"data": [None] * 40}, {"data": ["\0"] * 40}, {"data": [FOREIGN[0]] * 40}, {"event_data": {"index": "x"}}]


@pytest.mark.parametrize("number", range(len(ODD)))
def test_a_private_event_with_odd_values_ends_in_words(server: str, number: int) -> None:
    """Every event of the page gets one kind of odd values, in turn."""
    events = json.loads(send(f"{server}config")[1])["dependencies"]
    for event in events[number :: len(ODD)]:
        body = {"fn_index": event["id"], "session_hash": uuid.uuid4().hex, "data": [None] * len(event["inputs"])} | ODD[number]
        status, text = send(f"{server}gradio_api/run/predict", body)
        assert status == 200 or json.loads(text).get("error") or json.loads(text).get("detail"), (event["id"], text)


@pytest.mark.parametrize("number", [-1, 99_999, "x", None, 1.5])
def test_an_event_that_is_none_is_said_to_be(server: str, number: Any) -> None:
    for path in ("queue/join", "run/predict"):
        status, text = send(f"{server}gradio_api/{path}", {"fn_index": number, "data": [], "session_hash": "s"})
        assert 400 <= status < 500, (path, text)
        assert json.loads(text).get("error") or json.loads(text).get("detail")


@pytest.mark.parametrize("path", ["queue/data?session_hash=nobody", "queue/data", "call/list_models/nobody"])
def test_a_stream_of_nobody_ends_in_words_and_leaves_no_traceback(server: str, path: str) -> None:
    _, text = send(f"{server}gradio_api/{path}")
    assert text.strip()
    assert "/list_models" in send(f"{server}gradio_api/info")[1]  # and others are answered; the server's log is read when it ends
