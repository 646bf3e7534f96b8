"""A file of the hub's own that is damaged, or gone at this moment, costs what it held and nothing else."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from zoo.catalog.card import cards
from zoo.catalog.store import Store
from zoo.engine.hub import Hub
from zoo.engine.linear_preview import LinearPreview
from zoo.engine.request import Request
from zoo.engine.results import Results
from zoo.engine.retention import Retention
from zoo.engine.step_timing import StepTiming
from zoo.errors import MediaError
from zoo.ui.parts import gallery_entries

DIGEST = "a" * 64
NO_TEXT = b"\xff\xfe\x00\x9c no text"
REQUEST = Request("tiny-dit", (0,), (1,), 10, "ddim", 1.0, frames=1)


@pytest.mark.parametrize(
    "content",
    [
        NO_TEXT,
        b"[" * 100_000,
        b"[1]",
        b'{"files": {"a": 7}}',
        b'{"files": {"a": {"sha256": 7, "bytes": 1}}}',
        json.dumps({"files": {"a": {"sha256": DIGEST, "bytes": float("nan")}}}).encode(),
        json.dumps({"files": {"a": {"sha256": DIGEST, "bytes": "9"}}}).encode(),
        json.dumps({"files": {"a": {"sha256": DIGEST, "bytes": 1, "path": "\0"}}}).encode(),
        json.dumps({"files": {"a": {"sha256": DIGEST, "bytes": 1}}, "origin": 7}).encode(),
    ],
    ids=lambda content: content[:24].decode(errors="replace"),
)
def test_a_pin_that_says_nothing_is_a_model_that_is_not_here(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.pins.mkdir(parents=True, exist_ok=True)
    (store.pins / "dit-xl-2-256.json").write_bytes(content)
    assert store.find(cards()["dit-xl-2-256"]) is None
    assert store.all_pins() == {}
    assert store.remove("dit-xl-2-256") == store.prune() == 0


def test_a_pin_without_an_origin_is_listed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.note("dit-xl-2-256", {"files": {"a": {"sha256": DIGEST, "bytes": 1}}})
    assert store.all_pins()["dit-xl-2-256"]["origin"] == ""


TIMES = [b'{"here": {"tiny-dit 1": %s}}' % value for value in (b"NaN", b"Infinity", b"-3", b"0", b'"x"', b"1" + b"0" * 400)]


@pytest.mark.parametrize("content", [NO_TEXT, b"[" * 100_000, b'{"here": []}', b"[]", *TIMES], ids=range(10))
def test_measured_times_that_are_no_times_are_measured_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "steps.json").write_bytes(content)
    timing = StepTiming(tmp_path / "steps.json", "here")
    assert timing.seconds(REQUEST) is None
    timing.add(REQUEST, [0.5])
    assert StepTiming(tmp_path / "steps.json", "here").seconds(REQUEST) == pytest.approx(5.0)


@pytest.mark.parametrize(
    "content", ["[[1]]", '{"a": [[[NaN]], [[1, 2, 3]]]}', '{"a": [[[1]], [[1, 2]]]}', '{"a": [[[1]]]}', '{"a": [1, 2]}']
)
def test_a_preview_that_was_learned_wrongly_is_learned_again(tmp_path: Path, content: str) -> None:
    (tmp_path / "previews.json").write_text(content)
    assert LinearPreview(tmp_path / "previews.json")._sums == {}


def test_a_history_that_is_no_text_still_shows_what_it_names(tmp_path: Path) -> None:
    results, visitor = Results(tmp_path), "0" * 32
    (tmp_path / "star.png").write_bytes(b"")
    page = tmp_path / f"{visitor}.history"
    page.write_bytes(NO_TEXT + b"\nstar.png\n" + b"x" * 5000 + b".png\n../other.png\n/etc/passwd.png\n\0.png\n")
    assert results.history(visitor) == [tmp_path / "star.png"]
    assert results.history(7.5) == []
    assert Retention(tmp_path).prune() == 0
    results.forget(visitor)
    assert not (tmp_path / "star.png").exists()


def test_results_that_are_gone_are_said_to_be(tmp_path: Path, says) -> None:
    with says(MediaError, "star.png is no longer there"):
        gallery_entries.files([tmp_path / "star.png"])
    with says(MediaError, "star.png is no longer there"):
        Results(tmp_path).copy([tmp_path / "star.png"], tmp_path / "out")


def test_files_that_vanish_while_they_are_counted_cost_nothing(tmp_path: Path) -> None:
    store, stop = Store(tmp_path), threading.Event()
    store.parts.mkdir(parents=True)

    def churn() -> None:
        while not stop.is_set():
            for k in range(50):
                (store.parts / f"{k}.part").write_bytes(b"x")
            for k in range(50):
                (store.parts / f"{k}.part").unlink(missing_ok=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(100):
            assert store.unfinished_bytes() <= 50
    finally:
        stop.set()
        thread.join()


def test_a_hub_starts_on_a_damaged_cache(tmp_path: Path) -> None:
    for name in ("pins", "results"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dit-xl-2-256.json").write_bytes(NO_TEXT)
    assert len(Hub(device="cpu", cache_dir=tmp_path).describe()) == len(cards())
