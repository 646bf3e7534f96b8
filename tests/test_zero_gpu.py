"""A GPU lent for a request: the real PyPI `spaces`, which forks a process for each, and a service that lends, refuses, waits and kills."""

from __future__ import annotations

import ast
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import gradio as gr
import httpx
import pytest
import torch
from conftest import ROOT, free_port, run_async
from gradio_client import Client, handle_file
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult
from zero_gpu_place import Lender, lending

from zoo.engine import elsewhere as module
from zoo.engine import plain_run
from zoo.engine.elsewhere import Elsewhere
from zoo.engine.hub import Hub
from zoo.engine.plain_run import Outcome, Work
from zoo.engine.request import Progress, Request, Result
from zoo.errors import OutOfMemoryError, RequestError
from zoo.ui.server import lent_gpu
from zoo.ui.server.event_log import Line
from zoo.ui.server.page import Page

TOKEN = "a.e30.b"
"""What ZeroGPU's own page sends of its visitor: a JWT with nothing in it."""
PROGRAM = ROOT / "spaces" / "zerogpu" / "zero_gpu.py"
LONG = ("tiny-dit", "star", 16, 0, 1000, "ddpm", 2.0)


@pytest.fixture(scope="module")
def lender() -> Iterator[Lender]:
    with lending() as service:
        yield service


@pytest.fixture(scope="module")
def place(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the hub as ZeroGPU starts it."""
    folder, port = tmp_path_factory.mktemp("zero"), free_port()
    (folder / "cgroup").write_text("0::/hub\n", encoding="utf-8")
    environment = os.environ | {
        "PATCHWORK_CACHE": str(folder), "GRADIO_TEMP_DIR": str(folder / "gradio"), "PYTHONPATH": str(ROOT),
        "PATCHWORK_OFFER": "tiny-dit,tiny-uvit,tiny-latte",
        "SPACES_ZERO_GPU": "true", "SPACES_ZERO_DEVICE_API_URL": lender.url, "ZEROGPU_PROC_SELF_CGROUP_PATH": str(folder / "cgroup"),
    }  # fmt: skip
    command = [
        sys.executable,
        str(ROOT / "tests" / "zero_gpu_place.py"),
        str(ROOT / "spaces" / "zerogpu" / "zero_gpu.py"),
        "--port",
        str(port),
    ]
    log = folder / "app.log"
    with log.open("w") as said:
        app = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 180
        while True:
            assert app.poll() is None, log.read_text()
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                break
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        app.terminate()
        app.wait(30)
    assert "Traceback" not in log.read_text(), log.read_text()
    children = [int(words["pid"]) for words in lender.of("allow")]
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == [], "processes with a GPU outlived the hub"


@pytest.fixture
def client(place: str) -> Client:
    return Client(place, headers={"x-ip-token": TOKEN}, verbose=False)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """A hub that computes in this process, with the products that a GPU to be is given: the plain ones."""
    hub = Hub(device="cpu", cache_dir=tmp_path_factory.mktemp("here"), models=["tiny-dit", "tiny-uvit", "tiny-latte"])
    hub.models._kernels = None
    return hub


def pixels(hub: Hub, request: Request) -> list[str]:
    *_, result = hub.generate(request)
    return [receipt["pixels"] for receipt in result.receipts]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- the real package


def test_pictures_of_a_lent_gpu_are_those_of_this_process_and_come_with_previews(client: Client, lender: Lender, here: Hub) -> None:
    job = client.submit("tiny-dit", "star", 3, 5, 25, "dpm-solver++", 2.0, api_name="/generate_image")
    gallery, receipts = job.result(120)
    star = here.card("tiny-dit").label_names.index("star")
    assert [one["pixels"] for one in receipts] == pixels(here, Request("tiny-dit", star, (5, 6, 7), 25, "dpm-solver++", 2.0))
    assert len(gallery) == 3
    told = job.outputs()[:-1]
    assert {words["stage"] for _, words in told} >= {"asking", "sampling"}
    assert any(pictures for pictures, _ in told), "no preview came across"
    asked = lender.of("schedule")[-1]
    assert asked["token"] == TOKEN, "the quota of the visitor is not known where the GPU is asked for"
    assert asked["gpuSize"] == "large"
    assert 1 <= int(asked["durationSeconds"]) <= 60
    assert lender.of("startup-report")
    assert lender.of("release")[-1]["fail"] == "false"


def _asked(place: str) -> urllib.request.Request:
    """A picture asked for as of OpenAI."""
    body = json.dumps({"model": "tiny-dit", "prompt": "star", "steps": 5, "seed": 5}).encode()
    return urllib.request.Request(f"{place}v1/images/generations", body, {"Content-Type": "application/json", "X-IP-Token": TOKEN})


def test_programs_on_the_other_ways_in_take_the_quota_of_their_visitor(place: str, lender: Lender) -> None:
    before = len(lender.of("schedule"))
    with urllib.request.urlopen(_asked(place), timeout=120) as answer:
        assert json.loads(answer.read())["data"]

    async def call() -> CallToolResult:
        async with httpx.AsyncClient(headers={"X-IP-Token": TOKEN}, timeout=120) as http:
            way = streamable_http_client(f"{place}gradio_api/mcp/", http_client=http)
            async with way as (reading, writing, _), ClientSession(reading, writing) as session:
                await session.initialize()
                return await session.call_tool("generate_image", {"model": "tiny-dit", "label": "star", "steps": 5, "seed": 5})

    assert not run_async(call()).isError
    assert [words.get("token") for words in lender.of("schedule")[before:]] == [TOKEN, TOKEN]


def test_videos_comparisons_and_looks_at_a_step_come_of_it_too(client: Client, lender: Lender, here: Hub) -> None:
    _, receipt = client.predict("tiny-latte", "rocket flies up", "", 4, 8, 0, 5, "dpm-solver++", 2.0, api_name="/generate_video")
    assert receipt["pixels"] == pixels(here, replace(Request.from_dict(receipt["request"])))[0]
    before = len(lender.of("schedule"))
    both = [{"model": "tiny-dit", "label": "star", "seed": 7, "steps": 5}, {"model": "tiny-uvit", "steps": 5}]
    columns = client.predict(both, api_name="/compare")
    assert len(lender.of("schedule")) == before + 2
    assert [len(column["files"]) for column in columns] == [1, 1]
    for column in columns:
        assert column["receipt"][0]["pixels"] == pixels(here, Request.from_dict(column["receipt"][0]["request"]))[0]
    overlay, facts = client.predict(handle_file(columns[0]["files"][0]), "tiny-dit", 3, None, "5", api_name="/look_inside")
    assert Path(overlay).read_bytes().startswith(b"\x89PNG")
    assert facts["layer"] == 3


def test_many_visitors_at_once_get_their_own_pictures(place: str, here: Hub) -> None:
    def visit(seed: int) -> str:
        own = Client(place, verbose=False)
        return own.predict("tiny-uvit", "heart", 1, seed, 5, "dpm-solver++", 2.0, api_name="/generate_image")[1][0]["pixels"]

    with ThreadPoolExecutor(6) as visitors:
        got = list(visitors.map(visit, range(6)))
    label = here.card("tiny-uvit").label_names.index("heart")
    assert got == pixels(here, Request("tiny-uvit", label, range(6), 5, "dpm-solver++", 2.0))


def test_a_visitor_beyond_his_quota_is_told_so_in_one_sentence_and_others_are_served(client: Client, place: str, lender: Lender) -> None:
    lender.refusal = {"left": 2, "wait": "PT1H"}
    try:
        with pytest.raises(Exception, match=r"ZeroGPU quota exceeded: You have exceeded your ZeroGPU quota .* vs\. 2s left") as refused:
            client.predict("tiny-dit", "star", 1, 0, 5, "ddim", 2.0, api_name="/generate_image")
        assert "\n" not in str(refused.value)
        with pytest.raises(urllib.error.HTTPError) as answered:
            urllib.request.urlopen(_asked(place), timeout=120)
        assert answered.value.code == 429
        assert "ZeroGPU quota exceeded" in json.load(answered.value)["error"]["message"]
    finally:
        lender.refusal = None
    client.predict("tiny-dit", "star", 1, 0, 5, "ddim", 2.0, api_name="/generate_image")


def test_a_process_that_is_killed_is_said_and_the_next_one_works(client: Client, lender: Lender) -> None:
    before = len(lender.of("allow"))
    job = client.submit(*LONG, api_name="/generate_image")
    until(lambda: len(lender.of("allow")) > before and any(words["step"] for _, words in job.outputs()))
    os.kill(int(lender.of("allow")[-1]["pid"]), signal.SIGKILL)  # as the kernel does for want of memory, and ZeroGPU at the end of the time
    with pytest.raises(Exception, match="The GPU was taken back before the end"):
        job.result(60)
    client.predict("tiny-dit", "star", 1, 0, 5, "ddim", 2.0, api_name="/generate_image")


def test_who_leaves_ends_his_run_in_the_other_process(client: Client, lender: Lender) -> None:
    allowed, released = len(lender.of("allow")), len(lender.of("release"))
    job = client.submit(*LONG, api_name="/generate_image")
    until(lambda: len(lender.of("allow")) > allowed and any(words["step"] for _, words in job.outputs()))
    job.cancel()
    until(lambda: len(lender.of("release")) > released)  # it would take minutes


def test_who_leaves_while_a_gpu_is_waited_for_frees_his_place_and_no_gpu_computes_for_him(client: Client, lender: Lender) -> None:
    lender.holds.set()
    asked, released = len(lender.of("schedule")), len(lender.of("release"))
    try:
        for k in range(1, 4):  # two of a visitor may run at a time
            job = client.submit(*LONG, api_name="/generate_image")
            until(lambda: len(lender.of("schedule")) == asked + k)
            job.cancel()
    finally:
        lender.holds.clear()
    until(lambda: len(lender.of("release")) == released + 3)  # each would take minutes


def test_the_log_says_that_a_run_there_failed_without_the_words_of_its_error(caplog: pytest.LogCaptureFixture) -> None:
    words = "zebracorn"

    def broken(work: Work) -> Iterator[object]:
        raise gr.Error(words, title=lent_gpu.WORKER)
        yield

    with caplog.at_level(logging.ERROR), pytest.raises(RuntimeError):
        list(lent_gpu.told(broken)(None))
    (record,) = caplog.records
    line = json.loads(Line("json", False).format(record))
    assert (line["event"], line["message"]) == ("fault", "a run on the lent GPU failed")
    assert words not in str(line)
    assert words in Line("json", True).format(record)


# ---- forks as the package makes them, in this process


def forked(work: Work) -> Iterator[object]:
    """The events of a run in a fork of this process, by pickles; what does not end by itself is killed."""
    context = multiprocessing.get_context("fork")
    box = context.SimpleQueue()

    def compute() -> None:
        for event in plain_run.generate(work):
            box.put(event)
        box.put(None)

    process = context.Process(target=compute, daemon=True)
    process.start()
    try:
        while (event := box.get()) is not None:
            yield event
    finally:
        process.kill()
        process.join()


@pytest.fixture
def lent(here: Hub) -> Iterator[Hub]:
    Elsewhere(here, "cpu").use(forked)
    yield here
    here.elsewhere = None


def test_stop_keeps_the_last_prediction_of_the_other_process_and_its_steps(lent: Hub) -> None:
    job = lent.submit(Request("tiny-dit", 4, (0, 1), 200, "ddim"), visitor="0" * 32)
    events = []
    for event in job:
        events.append(event)
        if isinstance(event, Progress) and event.step == 3:
            job.cancel()
    result = events[-1]
    assert isinstance(result, Result)
    assert 3 <= result.stopped_at < 200
    assert all(file.is_file() for file in result.files)
    number, images = lent.step_images(result.run, result.stopped_at)
    assert number == result.stopped_at
    assert (images == result.images).all()
    lent.elsewhere = None
    first, again = Request("tiny-dit", 4, (0, 1), 200, "ddim"), None
    job = lent.submit(first)
    for event in job:
        if isinstance(event, Progress) and event.step >= result.stopped_at:
            job.cancel()
        again = event
    assert lent.step_images(again.run, result.stopped_at)[0] == result.stopped_at
    assert (lent.step_images(again.run, result.stopped_at)[1] == result.images).all()


def test_a_model_that_does_not_fit_is_said_as_ever(lent: Hub, says: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB")

    monkeypatch.setattr(plain_run, "walk", no_room)
    with says(OutOfMemoryError, "2 images of tiny-dit do not fit into the memory of the GPU"):
        list(lent.generate(Request("tiny-dit", 4, (0, 1), 5)))


def test_a_fault_in_the_other_process_reaches_the_reader(lent: Hub) -> None:
    def broken(work: Work) -> Iterator[object]:
        yield Progress("loading", work.request)
        raise LookupError("gone")

    lent.elsewhere.use(broken)
    with pytest.raises(LookupError, match="gone"):
        list(lent.generate(Request("tiny-dit", 4, 0, 5)))
    lent.elsewhere.use(forked)
    *_, result = lent.generate(Request("tiny-dit", 4, 0, 5))
    assert result.files


def test_every_event_can_be_pickled_and_no_tensor_is_in_it(here: Hub) -> None:
    import pickle

    Elsewhere(here, "cpu")
    request = Request("tiny-latte", 1, 0, 3, frames=2).resolved(here.card("tiny-latte"))
    *_, outcome = [pickle.loads(pickle.dumps(event)) for event in plain_run.generate(Work(request, trace=True, keep_steps=True))]
    assert isinstance(outcome, Outcome)
    assert not [value for value in vars(outcome).values() if isinstance(value, torch.Tensor)]
    assert outcome.run_steps(request).last == 3


# ---- what is asked for


def test_a_shorter_run_asks_for_less_and_none_for_more_than_anybody_has(lent: Hub, says: Callable) -> None:
    elsewhere, card = lent.elsewhere, lent.card("tiny-dit")

    def duration(**words: object) -> int:
        return elsewhere.duration(Work(Request("tiny-dit", 4, 0, **words).resolved(card)))

    assert 1 <= duration(steps=5) < duration(steps=250) < duration(steps=1000)
    elsewhere._timing.seconds_per_step["tiny-dit 2"] = 0.11  # 110 s and the start: the margin is cut at 120
    assert duration(steps=1000, solver="ddim", guidance=2.0) == 120
    elsewhere._timing.seconds_per_step["tiny-dit 2"] = 10.0
    with says(RequestError, "about 167 minutes of a GPU", "choose fewer"):
        lent.submit(Request("tiny-dit", 4, 0, 1000, "ddim"))


def test_models_that_leave_no_room_on_the_smaller_gpu_take_the_larger_and_double_quota(here: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    card = here.card("tiny-dit")
    request = Request("tiny-dit", 4, 0, 5).resolved(card)
    small = Elsewhere(here, "cpu")
    assert (small.size, small.quota(card, request)) == ("large", small.seconds(card, request))
    monkeypatch.setattr(module, "ROOM", 47e9)
    large = Elsewhere(here, "cpu")
    assert (large.size, large.quota(card, request)) == ("xlarge", 2 * large.seconds(card, request))


def test_a_model_that_came_after_the_start_runs_here(lent: Hub) -> None:
    elsewhere = lent.elsewhere
    elsewhere._models = {name: one for name, one in elsewhere._models.items() if name != "tiny-uvit"}
    assert not elsewhere.takes(lent.card("tiny-uvit"), Request("tiny-uvit", 0).resolved(lent.card("tiny-uvit")))
    *_, result = lent.generate(Request("tiny-uvit", 0, 0, 3))
    assert result.receipts[0]["threads"] == 1
    assert lent.seconds(Request("tiny-uvit", 0, 0, 3)) is not None


# ---- where it is not


def test_elsewhere_the_package_changes_nothing_and_only_the_flavour_knows_it() -> None:
    code = "import spaces, sys; f = lambda: (yield 1); assert spaces.GPU(duration=lambda: 3)(f) is f; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={**os.environ, "SPACES_ZERO_GPU": ""})
    knowing = []
    for path in [*(ROOT / "zoo").rglob("*.py"), *(ROOT / "spaces").rglob("*.py"), ROOT / "app.py"]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
        knowing += [path] * any(name.split(".")[0] == "spaces" for name in names)
    assert [path.relative_to(ROOT).as_posix() for path in knowing] == ["spaces/zerogpu/zero_gpu.py"]


def test_gradio_lets_more_than_one_visitor_wait_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    with Page() as page:
        assert page.queue(default_concurrency_limit=None)._queue.max_size > 10_000
