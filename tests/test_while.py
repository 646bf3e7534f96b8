"""The server answers everybody while others wait, compute, leave, load or fail: asked from outside, with the real clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from conftest import ROOT, serving
from gradio_client import Client

from zoo.engine.hub import Hub
from zoo.engine.limits import Limits
from zoo.engine.request import Request

LONG = ["tiny-dit", "star", 4, 0, 1000, "ddim", 2.0]


@pytest.fixture
def busy(hub_with: Callable[..., Hub]) -> Iterator[tuple[Hub, str]]:
    """A hub with two places for runs, and its address."""
    hub = hub_with({}, limits=Limits(flying=2))
    with serving(hub) as url:
        yield hub, url
        hub.close()


def ask(url: str, data: list, **headers: str) -> None:
    """Call /generate_image as a session of its own that never reads the answer."""
    headers |= {"Content-Type": "application/json"}
    call = urllib.request.Request(f"{url}gradio_api/call/generate_image", json.dumps({"data": data}).encode(), headers)
    with urllib.request.urlopen(call, timeout=60) as answer:
        assert json.load(answer)["event_id"]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


@contextmanager
def connected(url: str) -> Iterator[Client]:
    with closing(Client(url, verbose=False)) as client:
        yield client


def test_everybody_is_answered_while_48_wait(busy: tuple[Hub, str]) -> None:
    hub, url = busy
    *_, finished = hub.generate(Request("tiny-dit", labels=4, seeds=1, steps=2))
    for seed in range(50):
        ask(url, [*LONG[:3], seed, *LONG[4:]])
    until(lambda: hub.engine.counts() == (2, 48))
    waiting_threads = [thread for thread in threading.enumerate() if thread.name in ("job", "AnyIO worker thread")]
    assert len(waiting_threads) < 20  # of 40 that the server has
    with urllib.request.urlopen(url, timeout=60) as page:
        assert page.status == 200
    with connected(url) as client:
        assert client.predict(api_name="/list_models") == hub.describe()
    with urllib.request.urlopen(f"{url}gradio_api/file={finished.files[0]}", timeout=60) as picture:
        assert picture.read() == finished.files[0].read_bytes()


def test_an_api_client_that_waits_is_told_its_place_and_leaves_it_when_it_cancels(busy: tuple[Hub, str]) -> None:
    hub, url = busy
    for seed in range(2):
        ask(url, [*LONG[:3], seed, *LONG[4:]])
    until(lambda: hub.engine.counts()[0] == 2)
    with connected(url) as client:
        job = client.submit(*LONG, api_name="/generate_image")
        until(lambda: bool(job.outputs()))
        pictures, place = job.outputs()[0]
        assert (pictures, place["stage"], place["ahead"]) == ([], "waiting", 2)
        assert hub.engine.counts() == (2, 1)
        job.cancel()
        until(lambda: hub.engine.counts() == (2, 0))


def test_others_are_answered_while_a_model_loads(busy: tuple[Hub, str], monkeypatch: pytest.MonkeyPatch) -> None:
    hub, url = busy
    hub.load(hub.card("tiny-dit"))
    hub.load(hub.card("tiny-vae"))
    loading, go, read = threading.Event(), threading.Event(), hub.models._load

    def slowly(*arguments: object) -> object:
        loading.set()
        assert go.wait(60)
        return read(*arguments)

    with monkeypatch.context() as slow, connected(url) as client:
        slow.setattr(hub.models, "_load", slowly)
        job = client.submit("tiny-uvit", "star", 1, 0, 2, "ddim", 2.0, api_name="/generate_image")
        assert loading.wait(60)
        with connected(url) as other:
            _, receipts = other.predict("tiny-dit", "star", 1, 0, 2, "ddim", 2.0, api_name="/generate_image")
            assert receipts[0]["stopped_at"] is None
        assert not job.done()
        go.set()
        assert job.result(60)[1][0]["seed"] == 0


def test_who_leaves_has_his_picture_finished_and_keeps_nobody(busy: tuple[Hub, str]) -> None:
    hub, url = busy
    with connected(url) as client:
        job = client.submit(*LONG, api_name="/generate_image")
        until(lambda: any(receipt.get("step") for _, receipt in job.outputs()))
        job.cancel()
    with connected(url) as client:
        assert client.predict(api_name="/list_models")
    until(lambda: hub.engine.counts() == (0, 0))
    folder: Path = hub.results.folder
    assert len(list(folder.rglob("*.png"))) == 4


def test_the_server_does_not_look_through_all_that_its_libraries_are_for_what_is_free(tmp_path: Path) -> None:
    program = """if True:
        import gc, os, signal, threading, time
        from zoo import ui
        from zoo.engine.hub import Hub

        def look():
            while not gc.get_freeze_count():
                time.sleep(0.05)
            print(gc.get_freeze_count() > 10 * len(gc.get_objects()), flush=True)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=look).start()
        ui.until_interrupted(Hub(device="cpu"))
    """
    environment = os.environ | {"PATCHWORK_CACHE": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert said.stdout.split() == ["True"], said.stderr


def test_the_address_that_a_trusted_proxy_forwards_is_the_one_that_counts(hub_with: Callable[..., Hub]) -> None:
    hub = hub_with({}, limits=Limits(flying=4, address_flying=1, address_waiting=9))
    with serving(hub) as url:
        for headers, flying in (({}, 2), ({"X-Forwarded-For": "203.0.113.7"}, 1)):  # this machine is trusted unless somebody says otherwise
            for seed in range(2):
                ask(url, [*LONG[:3], seed, *LONG[4:]], **headers)
            until(lambda flying=flying: hub.engine.counts() == (flying, 2 - flying))
            for job in hub.engine.jobs():
                job.cancel()
            until(lambda: hub.engine.counts() == (0, 0))
        hub.close()
