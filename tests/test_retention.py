"""Results have an age and a budget of bytes: the oldest leave first, nothing that is young or being written does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.__main__ import main
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.engine.retention import EVERY, Retention
from zoo.errors import RequestError

HOUR, DAY = 3600.0, 86400.0


def lay(folder: Path, name: str, age: float, size: int = 1000) -> Path:
    """A file of so many bytes that was written so many seconds ago."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def left(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_oldest_leave_first_with_all_their_files_until_the_rest_fits(tmp_path: Path) -> None:
    for age, stem in ((4, "d"), (2, "b"), (3, "c"), (1.5, "a")):
        for suffix in ("png", "json"):
            lay(tmp_path, f"{stem}.{suffix}", age * HOUR)
    assert Retention(tmp_path, gigabytes=5000e-9).prune() == 4000
    assert left(tmp_path) == {"a.png", "a.json", "b.png", "b.json"}


def test_a_picture_is_as_old_as_its_youngest_file_and_a_folder_as_what_is_in_it(tmp_path: Path) -> None:
    bundle, other = "0" * 32, "1" * 32
    for name, age in (("a.png", 9), ("a.json", 2), (f"{bundle}/grid.png", 8), (f"{bundle}/cells/x.png", 8), (f"{other}/r.html", 3)):
        lay(tmp_path, name, age * HOUR)
    Retention(tmp_path, gigabytes=3000e-9).prune()
    assert left(tmp_path) == {"a.png", "a.json", f"{other}/r.html"}
    assert not (tmp_path / bundle).exists()


def test_what_is_too_old_leaves_though_there_is_room(tmp_path: Path) -> None:
    lay(tmp_path, "old.png", 31 * DAY)
    lay(tmp_path, "new.png", 29 * DAY)
    Retention(tmp_path, days=30).prune()
    assert left(tmp_path) == {"new.png"}


def test_nothing_young_leaves_and_nothing_at_all_where_it_fits(tmp_path: Path) -> None:
    lay(tmp_path, "young.png", 0.9 * HOUR)
    lay(tmp_path, f".{'0' * 32}.part", 10)
    assert Retention(tmp_path, gigabytes=1e-9, days=1e-9).prune() == 0
    lay(tmp_path, "very-old.png", 1000 * DAY)
    assert Retention(tmp_path).prune() == 0
    assert len(left(tmp_path)) == 3


def test_what_nobody_finished_leaves_and_a_history_once_nothing_of_it_is_left(tmp_path: Path) -> None:
    lay(tmp_path, f".{'0' * 32}.part", 3 * HOUR)
    lay(tmp_path, "a.png", 2 * HOUR)
    for visitor, name in (("a" * 32, "a.png"), ("b" * 32, "gone.png")):
        page = tmp_path / f"{visitor}.history"
        page.write_text(f"{name}\n")
        os.utime(page, (time.time() - 5 * HOUR,) * 2)
    Retention(tmp_path, gigabytes=1000e-9).prune()
    assert left(tmp_path) == {"a.png", f"{'a' * 32}.history"}


def test_the_operator_says_how_much_and_how_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: Callable) -> None:
    plain = Retention(tmp_path / "not" / "there")
    assert 0 < plain.budget <= 10e9
    assert plain.age == float("inf")
    monkeypatch.setenv("PATCHWORK_RESULTS_GB", "2")
    monkeypatch.setenv("PATCHWORK_RESULTS_DAYS", "7")
    assert (Retention(tmp_path).budget, Retention(tmp_path).age) == (2_000_000_000, 7 * DAY)
    assert Retention(tmp_path, 3, 1).budget == 3_000_000_000
    monkeypatch.setenv("PATCHWORK_RESULTS_DAYS", "soon")
    with says(RequestError, "soon", "days"):
        Retention(tmp_path)


def test_it_happens_in_the_background_after_something_was_made_and_not_after_every_picture(tmp_path: Path) -> None:
    hub = Hub(device="cpu", cache_dir=tmp_path, results_gb=1e-9)
    old = lay(hub.results.folder, "old.png", 2 * HOUR)
    [*_, result] = hub.generate(Request("tiny-dit", 0, steps=1), preview=False)
    deadline = time.monotonic() + 30
    while old.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not old.exists()
    assert result.files[0].is_file()
    assert hub.results.retention.prune_soon() is None
    hub.results.retention._next -= EVERY
    thread = hub.results.retention.prune_soon()
    assert thread is not None
    thread.join(30)


def test_the_command_line_shows_what_results_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("PATCHWORK_CACHE", str(tmp_path))
    monkeypatch.setenv("PATCHWORK_RESULTS_DAYS", "30")
    lay(tmp_path / "results", "a.png", 2 * DAY, 2_000_000)
    lay(tmp_path / "results", "a.json", 2 * DAY, 500_000)
    assert main(["cache"]) == 0
    said = capsys.readouterr().out
    for words in ("2 files", "2.5 MB", "2.0 days old", "at most", "30 days", "prompts"):
        assert words in said
    assert main(["cache", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert (results["files"], results["bytes"], results["limit_days"]) == (2, 2_500_000, 30)
