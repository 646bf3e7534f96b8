"""Blind choices: kept in a file that survives, counted by pairs with honest intervals, exported and deleted by their owner only."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zoo.compare.votes import Votes, rates, wilson
from zoo.errors import VotesError

ANNA, BEN = "a" * 32, "b" * 32


def test_choices_survive_the_process_that_made_them(tmp_path: Path) -> None:
    code = "import sys, pathlib; from zoo.compare.votes import Votes\n"
    code += "Votes(pathlib.Path(sys.argv[1])).add('a' * 32, 'star', [0, 1], ['x', 'y'], 1)"
    path = tmp_path / "new folder" / "choices.sqlite3"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parent.parent)
    [first, second] = Votes(path).all(ANNA)
    assert (first.subject, first.seeds, first.settings, first.choice) == ("star", (0, 1), ("x", "y"), 1)
    assert second.time >= first.time


def test_many_visitors_may_choose_at_once(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "choices.sqlite3")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda k: votes.add(f"{k % 4:032x}", "star", [k], ["x", "y"], k % 2), range(80)))
    assert len(votes.all()) == 80
    assert [len(votes.all(f"{k:032x}")) for k in range(4)] == [20] * 4
    assert sorted(vote.seeds[0] for vote in votes.all()) == list(range(80))


def test_everybody_sees_exports_and_deletes_their_own(tmp_path: Path, says: Callable) -> None:
    votes = Votes(tmp_path / "choices.sqlite3")
    votes.add(ANNA, "star", [0], ["tiny DiT, 25 steps", "tiny U-ViT, 25 steps"], 1)
    votes.add(ANNA, 'a "quoted", prompt', [4, 5], ["x", "y"], None)
    votes.add(BEN, "heart", [0], ["x", "y"], 0)
    files = votes.export(ANNA)
    rows = list(csv.DictReader(io.StringIO(files["choices.csv"].decode())))
    assert [row["chosen"] for row in rows] == ["tiny U-ViT, 25 steps", "no difference"]
    assert rows[1]["subject"] == 'a "quoted", prompt'
    assert [(row["seeds"], row["chosen"]) for row in json.loads(files["choices.json"])] == [([0], 1), ([4, 5], None)]
    assert votes.delete(ANNA) == 2
    assert votes.all(ANNA) == []
    assert [vote.subject for vote in votes.all()] == ["heart"]
    for nobody in ("", "' or 1=1 --", "A" * 32):
        with says(VotesError, "reload the page"):
            votes.delete(nobody)
        with says(VotesError, "reload the page"):
            votes.add(nobody, "star", [0], ["x", "y"], 0)
    assert len(votes.all()) == 1


def test_rates_count_each_pair_and_leave_the_undecided_out(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "choices.sqlite3")
    for settings, chosen in [(["x", "y"], 0), (["y", "x"], 1), (["x", "y"], 1), (["x", "y"], None), (["x", "y", "z"], 2), (["z", "x"], 0)]:
        votes.add(ANNA, "star", [0], settings, chosen)
    found = {(rate.setting, rate.other): (rate.wins, rate.decisions, rate.ties) for rate in rates(votes.all())}
    assert found == {("z", "x"): (2, 2, 0), ("x", "y"): (2, 3, 1), ("z", "y"): (1, 1, 0)}
    assert rates([]) == []


def test_the_interval_is_wilsons() -> None:
    assert wilson(0, 0) == (0, 1)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1), abs=1e-4)
    assert wilson(1, 1)[0] < 0.5
    assert wilson(90, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)


def test_a_damaged_or_forbidden_file_is_said_in_a_sentence(tmp_path: Path, says: Callable) -> None:
    path = tmp_path / "choices.sqlite3"
    path.write_bytes(b"this is no database, but long enough to be looked at" * 100)
    with says(VotesError, "choices.sqlite3", "move the file away"):
        Votes(path).all()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with says(VotesError, "choices.sqlite3"):
        Votes(blocked / "choices.sqlite3").add(ANNA, "star", [0], ["x", "y"], 0)
    assert path.stat().st_size > 1000  # nothing was overwritten
