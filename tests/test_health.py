"""What machines ask of a public hub: whether it can serve, what it does, and what happened; while it is busy, loads or fails."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, run_async, running, serving
from gradio_client import Client
from gradio_client.exceptions import AppError
from loopback_hub import LoopbackHub
from prometheus_client.parser import text_string_to_metric_families
from test_downloads import card_of, source

from zoo.catalog import settings
from zoo.engine.hub import Hub
from zoo.engine.job import Job
from zoo.engine.limits import Limits
from zoo.engine.request import Request
from zoo.errors import RequestError
from zoo.ui.parts import runs
from zoo.ui.server import doors, event_log, health
from zoo.ui.server.metrics import Metrics
from zoo.ui.server.probes import Probes, own_path

SECRET = "zebracorn"
"""What a visitor writes, and nobody else."""


def ask(url: str, path: str = "health", method: str = "GET", **headers: str) -> tuple[int, str, Message]:
    """Status, body and headers of an answer."""
    asked = urllib.request.Request(url + path, method=method, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def state(url: str) -> tuple[int, dict[str, str]]:
    """What /health says."""
    status, body, _ = ask(url)
    return status, json.loads(body)


def becomes(url: str, word: str) -> tuple[int, dict[str, str]]:
    """What /health says once it says this word."""
    deadline = time.monotonic() + 60
    while (said := state(url))[1]["state"] != word and time.monotonic() < deadline:
        time.sleep(0.1)
    return said


def numbers(url: str) -> dict[tuple[str, ...], float]:
    """What /metrics says, by name and values of labels."""
    status, text, headers = ask(url, "metrics")
    assert (status, headers.get_content_type()) == (200, "text/plain")
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type != "unknown" for family in families)
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


@pytest.fixture
def own(tmp_path: Path) -> Hub:
    """A hub in a folder of its own."""
    return Hub(device="cpu", cache_dir=tmp_path / "cache", limits=Limits(visitor_flying=100))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Hub]]:
    """A hub in a folder of its own, its page open and ready."""
    hub = Hub(device="cpu", cache_dir=tmp_path_factory.mktemp("served"))
    with serving(hub) as url:
        assert becomes(url, "ready")[0] == 200
        yield url, hub


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health that believes what it saw for moments only."""
    monkeypatch.setattr(health, "EVERY", 0.0)


# ---- ready, loading, failing


def test_it_says_loading_until_the_first_model_is_prepared_and_then_ready(own: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    going, load = threading.Event(), own.load
    monkeypatch.setattr(own, "load", lambda card: going.wait(60) and load(card))
    with serving(own) as url:
        for _ in range(3):
            assert state(url) == (503, {"state": "loading", "reason": "the first model is being prepared"})
        assert ask(url, "gradio_api/info")[0] == 200  # the page answers meanwhile
        assert len(own.engine.jobs()) == 1  # which is prepared once
        going.set()
        assert becomes(url, "ready") == (200, {"state": "ready"})
        status, body, headers = ask(url, method="HEAD")
        assert (status, body, headers["cache-control"]) == (200, "", "no-store")
        assert own.engine.jobs() == []


def test_it_answers_while_sixteen_jobs_run_and_others_wait(served: tuple[str, Hub]) -> None:
    url, hub = served
    jobs = [hub.submit(Request("tiny-dit", 0, steps=900), visitor=None, preview=False) for _ in range(20)]
    try:
        for _ in range(5):
            assert state(url) == (200, {"state": "ready"})
        said = numbers(url)
        assert (said["patchwork_running", "run"], said["patchwork_queue_length", "run"]) == (16, 4)
        assert hub.engine.counts() == (16, 4)
    finally:
        for job in jobs:
            job.cancel()
        for job in jobs:
            assert job.wait(60)
    assert numbers(url)["patchwork_running", "run"] == 0


def test_it_fails_while_results_cannot_be_written_and_recovers(served: tuple[str, Hub], quick: None) -> None:
    url, hub = served
    folder = hub.results.folder
    folder.rename(folder.with_name("away"))
    folder.write_text("no folder")
    assert becomes(url, "failing") == (503, {"state": "failing", "reason": "results cannot be written"})
    folder.unlink()
    folder.with_name("away").rename(folder)
    assert becomes(url, "ready") == (200, {"state": "ready"})


def test_a_disk_that_does_not_answer_keeps_nobody_waiting(served: tuple[str, Hub], quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    going, (url, _) = threading.Event(), served
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    monkeypatch.setattr(health, "try_writing", lambda *_: going.wait(60))
    assert state(url) == (200, {"state": "ready"})  # what was seen last
    assert sum(thread.name == "health" for thread in threading.enumerate()) == 1
    monkeypatch.setattr(health, "HUNG", 0.0)
    assert state(url) == (503, {"state": "failing", "reason": "the disk of the results does not answer"})
    assert sum(thread.name == "health" for thread in threading.enumerate()) == 1
    monkeypatch.setattr(health, "HUNG", 60.0)
    going.set()
    assert becomes(url, "ready")[0] == 200


def test_a_thread_that_died_a_device_that_fails_and_a_hub_that_closes_are_told_apart(
    own: Hub, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    with serving(own) as url:
        becomes(url, "ready")
        with monkeypatch.context() as patch, contextlib.suppress(torch.AcceleratorError):
            patch.setattr(own, "load", breaks)
            own.submit(Request("tiny-dit", 0, steps=2)).result()
        assert state(url) == (503, {"state": "failing", "reason": "the device reports errors"})
        with pytest.raises(RequestError):
            own.submit(Request("tiny-dit", 0, steps=0))
        assert state(url)[0] == 503
        own.submit(Request("tiny-dit", 0, steps=2), preview=False).result()
        assert state(url)[0] == 200
        hook = threading.excepthook
        monkeypatch.setattr(threading, "excepthook", lambda one: None if one.exc_type is SystemExit else hook(one))
        own.engine.spare(sys.exit)
        assert becomes(url, "failing") == (503, {"state": "failing", "reason": "what computes has stopped"})
        own.close(0.0)
        assert state(url) == (503, {"state": "failing", "reason": "it is closing"})


def test_under_the_path_of_a_proxy_it_is_found_whether_or_not_the_proxy_strips_it() -> None:
    paths = [("/patchwork/health", "/patchwork"), ("/patchwork/health", "/patchwork/"), ("/health", "/patchwork"), ("/health", "")]
    assert {own_path({"path": path, "root_path": root}) for path, root in paths} == {"/health"}
    assert own_path({"path": "/patchworkhealth", "root_path": "/patchwork"}) == "/patchworkhealth"


def test_only_get_and_head_of_these_two_paths_are_answered(own: Hub) -> None:
    passed = []

    async def app(scope: dict, *_: object) -> None:
        passed.append((scope["type"], scope.get("method"), scope.get("path")))

    probes = Probes(app, health.Health.of(own), Metrics.of(own), True)
    others = [("http", "POST", "/health"), ("http", "GET", "/health/x"), ("http", "GET", "/config"), ("websocket", None, "/health")]
    for kind, method, path in [*others, ("lifespan", None, None)]:
        run_async(probes({"type": kind, "method": method, "path": path, "headers": []}, None, None))
    assert passed == [*others, ("lifespan", None, None)]


# ---- metrics


def test_metrics_count_what_was_asked_and_hold_nothing_of_anybody(
    served: tuple[str, Hub], remote: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, hub = served
    client, before = Client(url, verbose=False), numbers(url)
    ask_for = {"api_name": "/generate_image"}
    client.predict("tiny-dit", "star", 2, 0, 3, "ddim", 2.0, **ask_for)
    for values in [(SECRET, "star"), ("tiny-dit", SECRET)]:
        with pytest.raises(AppError):
            client.predict(*values, 1, 0, 3, "ddim", 2.0, **ask_for)
    with monkeypatch.context() as patch:
        patch.setattr("zoo.engine.generation.parts_of", lambda *_: {}[SECRET])
        with pytest.raises(AppError, match="fault of the program"):
            client.predict("tiny-dit", "star", 1, 0, 3, "ddim", 2.0, **ask_for)
    job = hub.submit(Request("tiny-dit", 0, steps=900), visitor=None, preview=False)
    job.cancel()
    job.wait(60)
    list(hub.download([card_of(source("huggingface", remote))]))
    after = numbers(url)
    gained = {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)}
    assert gained["patchwork_requests_total", "generate_image", "run", "done"] == 1
    assert gained["patchwork_requests_total", "generate_image", "run", "failed"] == 3
    assert gained["patchwork_requests_total", "image", "run", "cancelled"] == 1
    assert gained["patchwork_pictures_total", "generate_image"] == 2
    assert gained["patchwork_steps_total",] >= 6
    assert gained["patchwork_wait_seconds_count", "run"] >= 4
    assert gained["patchwork_compute_seconds_total",] > 0
    assert (gained["patchwork_errors_total", "RequestError"], gained["patchwork_errors_total", "fault"]) == (2, 1)
    assert (gained["patchwork_downloads_total", "done"], gained["patchwork_downloaded_bytes_total",]) == (1, 3_000_000)
    assert after["patchwork_memory_bytes", "weights"] == sum(hub.models.sizes().values()) > 0
    assert after["patchwork_memory_bytes", "budget"] == hub.models.budget
    assert after["patchwork_disk_limit_bytes", "results"] == hub.results.retention.budget
    assert after["process_resident_memory_bytes",] > 1e8
    assert SECRET not in ask(url, "metrics")[1]
    assert str(hub.cache_dir) not in ask(url, "metrics")[1]
    client.close()


def test_what_is_on_disk_is_measured_while_nobody_waits_for_it(own: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    own.submit(Request("tiny-dit", 0, steps=2), preview=False).result()
    own.store.blobs.mkdir(parents=True)
    (own.store.blobs / "x").write_bytes(bytes(77))
    metrics = Metrics.of(own)
    assert metrics is Metrics.of(own)
    text = metrics.text().decode()
    assert 'patchwork_disk_bytes{of="models"} 77.0' in text
    assert f'patchwork_disk_bytes{{of="results"}} {float(own.results.retention.usage().bytes)}' in text
    going, inside, usage = threading.Event(), threading.Event(), own.results.retention.usage
    monkeypatch.setattr(own.results.retention, "usage", lambda: inside.set() or (going.wait(60) and usage()))
    monkeypatch.setattr("zoo.ui.server.metrics.MEASURED_EVERY", 0.0)
    slow = threading.Thread(target=metrics.text)
    slow.start()
    assert inside.wait(60)
    assert 'patchwork_disk_bytes{of="models"} 77.0' in metrics.text().decode()  # as of before
    going.set()
    slow.join(60)


def test_rows_of_shared_passes_are_counted(own: Hub) -> None:
    metrics = Metrics.of(own)
    own.engine.watchers.tell("computed", 0.5, 6)
    own.engine.watchers.tell("computed", 0.5, 0)
    said = {
        (one.name, *one.labels.values()): one.value for f in text_string_to_metric_families(metrics.text().decode()) for one in f.samples
    }
    assert (said["patchwork_pass_rows_count",], said["patchwork_pass_rows_sum",]) == (1, 6)
    assert (said["patchwork_pass_rows_bucket", "4.0"], said["patchwork_pass_rows_bucket", "8.0"]) == (0, 1)


def test_metrics_are_for_this_machine_unless_the_operator_says_otherwise(served: tuple[str, Hub]) -> None:
    url, hub = served
    assert ask(url, "metrics")[0] == 200
    for headers in ({"X_Forwarded_For": "192.0.2.1"}, {"Forwarded": "for=192.0.2.1"}, {"Via": "1.1 proxy"}):
        assert ask(url, "metrics", **headers)[0] == 404
    assert ask(url, "metrics", Host="hub.example")[0] == 403
    for host in (url.split("/")[2].replace("127.0.0.1", "localhost"), "localhost", "127.0.0.1"):
        assert ask(url, "metrics", Host=host)[0] == 200
    for flag, status in (("--metrics", 200), ("--no-metrics", 404)):
        probes = next(one for one in doors(hub, settings.chosen([flag])[1], None) if one.cls is Probes)
        sent: list[dict] = []

        async def send(message: dict, sent: list[dict] = sent) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": [(b"host", b"hub.example")], "client": ("192.0.2.1", 9)}
        run_async(probes.cls(None, **probes.kwargs)(scope, None, send))
        assert sent[0]["status"] == status


def test_a_watcher_that_fails_disturbs_nobody(own: Hub, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Callable:
            raise ZeroDivisionError

    own.engine.watchers.append(Broken())
    assert own.submit(Request("tiny-dit", 0, steps=2), preview=False).result().files
    assert "a watcher failed: ZeroDivisionError" in caplog.text


# ---- the log


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machines that run tests are busy."""
    monkeypatch.setattr(event_log, "PATIENCE", 60.0)


@pytest.fixture
def logged(own: Hub, tmp_path: Path) -> Iterator[Callable[..., Callable[[], list[str]]]]:
    """logged(form, prompts): what is logged from now on goes to a file; what it gives, its lines so far."""
    writers, hook = [], threading.excepthook

    def start(form: str = "json", prompts: bool = False) -> Callable[[], list[str]]:
        stream = (tmp_path / "log").open("w", encoding="utf-8")
        writers.append((event_log.start(own, form, prompts, stream), stream))

        def lines() -> list[str]:
            writers[-1][0].flush()
            return (tmp_path / "log").read_text(encoding="utf-8").splitlines()

        return lines

    yield start
    for writer, stream in writers:
        logging.getLogger().removeHandler(writer)
        writer.close()
        stream.close()
    logging.captureWarnings(False)
    event_log.EVENTS.setLevel(logging.NOTSET)
    threading.excepthook = hook


def test_each_event_is_one_line_of_json_without_what_visitors_wrote(own: Hub, logged: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, visitor = logged(), "f" * 32

    def submit(**words: Any) -> Job:
        return own.submit(Request("tiny-dit", 4, (0, 1), steps=2), preview=False, visitor=visitor, address="192.0.2.1", **words)

    submit().result()
    with monkeypatch.context() as patch:
        patch.setattr("zoo.engine.generation.parts_of", lambda *_: {}[SECRET])
        with pytest.raises(KeyError) as raised:
            submit().result()
    runs.sentence(raised.value)
    monkeypatch.setattr(own.engine, "limits", Limits(seconds=1e-9))
    with pytest.raises(RequestError):
        submit()
    thread = threading.Thread(target=lambda: {}[SECRET])
    thread.start()
    thread.join()
    logging.getLogger("another").warning("said of %s\nanother line", "it")
    events = [json.loads(line) for line in lines()]
    assert [one["event"] for one in events] == ["begun", "ended", "begun", "ended", "fault", "refused", "fault", "said"]
    done, failed, refused = events[1], events[3], events[5]
    assert {"kind": "image", "model": "tiny-dit", "steps": 2, "pictures": 2, "outcome": "done"}.items() <= done.items()
    assert done["computed"] > 0 <= done["waited"]
    assert (failed["outcome"], failed["error"], refused["error"]) == ("failed", "fault KeyError", "RequestError")
    assert len({one["visitor"] for one in (*events[:4], refused)}) == 1
    fault = events[4]
    assert (fault["level"], fault["error"], fault["message"]) == ("error", "KeyError", "a handler failed")
    assert "generation.py" in fault["traceback"]
    assert events[7]["message"] == "said of it\nanother line"
    text = "\n".join(lines())
    assert [word for word in (SECRET, visitor, "192.0.2.1", '"labels"', '"seeds"', "prompt", str(own.cache_dir)) if word in text] == []


def test_what_visitors_ask_for_is_logged_where_the_operator_wants_it(own: Hub, logged: Callable) -> None:
    lines = logged("text", True)
    own.submit(Request("tiny-dit", 4, (7,), steps=2), preview=False).result()
    logging.getLogger("another").warning("one\nline")
    try:
        _ = {}[SECRET]
    except KeyError as error:
        runs.sentence(error)
    begun, ended, said, fault, *trace = lines()
    assert ' info begun kind=image lane=run model=tiny-dit steps=2 pictures=1 frames=1 labels=[4] seeds=[7] prompt=""' in begun
    assert "outcome=done" in ended
    assert said.endswith('warning said logger=another message="one\\nline"')
    assert "error fault " in fault
    assert trace[-1] == f"KeyError: '{SECRET}'"


def test_whoever_logs_never_waits_for_whoever_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck:
        going, text = threading.Event(), ""

        def write(self, text: str) -> None:
            assert self.going.wait(60)
            self.text += text

        def flush(self) -> None:
            pass

    monkeypatch.setattr(event_log, "MOST", 10)
    stream = Stuck()
    writer = event_log.Writer(stream)
    for k in range(50):
        writer.emit(logging.LogRecord("x", logging.INFO, "", 0, f"line {k}", None, None))
    monkeypatch.setattr(logging.getLogger(event_log.__name__), "warning", lambda words, *values: stream.write(words % values))
    stream.going.set()
    writer.close()
    while "lost" not in stream.text:
        writer.flush()
    kept = stream.text.count("line ")
    assert 10 <= kept <= 11
    assert f"{50 - kept} lines were lost" in stream.text


def test_the_program_itself_says_how_it_is_from_its_start_to_its_end(tmp_path: Path) -> None:
    tmp_path /= "app"
    with running(ROOT, tmp_path, "--log", "json") as url:
        assert becomes(url.rstrip("/") + "/", "ready")[0] == 200
        client = Client(url, verbose=False)
        client.predict("tiny-dit", "star", 1, 0, 2, "ddim", 2.0, api_name="/generate_image")
        client.close()
    lines = [json.loads(line) for line in (tmp_path / "app.log").read_text().splitlines() if line.startswith("{")]
    assert [one["event"] for one in lines] == ["starting", "begun", "ended", "begun", "ended", "stopped"]
    assert (lines[0]["host"], lines[2]["kind"], lines[4]["kind"]) == ("127.0.0.1", "warm-up", "generate_image")
