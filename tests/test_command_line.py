"""The command line: results on stdout, progress on stderr, and one line with exit status 1 for whatever a user can mend."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.__main__ import main
from zoo.catalog import store
from zoo.catalog.card import cards
from zoo.media import pictures

ROOT = Path(__file__).parent.parent
FAST = ["--steps", "3"]


def test_list_shows_every_model_with_size_and_licence(capsys: pytest.CaptureFixture) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(cards())
    for line, card in zip(lines, cards().values(), strict=True):
        assert card.size in line
        assert card.licence in line
        assert line.endswith("not downloaded" if card.weights[0].origin != "bundled" else " included")


def test_list_as_json_is_what_the_api_tells(capsys: pytest.CaptureFixture) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [["id", "title", "family", "task", "licence", "bytes", "local", "labels"]] * len(cards())


@pytest.mark.parametrize("identity", list(cards()))
def test_show_prints_a_whole_card(capsys: pytest.CaptureFixture, identity: str) -> None:
    assert main(["show", identity]) == 0
    text = capsys.readouterr().out
    assert cards()[identity].prose in text
    assert main(["show", identity, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == cards()[identity].cost.params


def test_sample_writes_a_picture_a_seed_and_prints_only_their_paths(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    out = tmp_path / "new" / "stars"
    assert main(["sample", "tiny-dit", "--label", "star", "--seed", "0-2,7", *FAST, "--out", str(out)]) == 0
    said = capsys.readouterr()
    paths = [Path(line) for line in said.out.splitlines()]
    assert sorted(path.name for path in out.glob("*.png")) == sorted(path.name for path in paths)
    assert [pictures.read_png(path)[1]["seed"] for path in paths] == [0, 1, 2, 7]
    assert "step 2 of 3" in said.err


def test_the_same_picture_comes_from_its_receipt_in_another_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zoo", "sample", "tiny-uvit", "--label", "3", "--seed", "5", *FAST, "--out", str(tmp_path), "--json"]
    first, second = (json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)[0] for _ in range(2))
    assert first["pixels"] == second["pixels"]
    assert first["request"] == second["request"]


def test_labels_may_differ_by_picture(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main(["sample", "tiny-dit", "--label", "star,heart", "--seed", "1,1", *FAST, "--out", str(tmp_path), "--json"]) == 0
    assert [receipt["label"] for receipt in json.loads(capsys.readouterr().out)] == ["star", "heart"]


def test_a_random_seed_is_told(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main(["sample", "tiny-dit", "--label", "0", *FAST, "--out", str(tmp_path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert f"-{pictures.read_png(path)[1]['seed']}-" in path.name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "tiny-dot"], ["'tiny-dot'", "tiny-dit"]),
        (["sample", "tiny-dot", "--label", "0"], ["'tiny-dot'"]),
        (["sample", "tiny-vae"], ["does not make pictures"]),
        (["sample", "tiny-dit"], ["--label dog"]),
        (["sample", "tiny-dit", "--label", "stra"], ["star"]),
        (["sample", "tiny-dit", "--label", "100"], ["0 to 99"]),
        (["sample", "tiny-dit", "--label", "0,1,2", "--seed", "1,2"], ["3 labels for 2 images"]),
        (["sample", "tiny-dit", "--label", "0", "--steps", "0"], ["1 to 1000"]),
        (["sample", "tiny-dit", "--label", "0", "--steps", "1000000"], ["1 to 1000"]),
        (["sample", "tiny-dit", "--label", "0", "--guidance", "nan"], ["0 to 50"]),
        (["sample", "tiny-dit", "--label", "0", "--solver", "magic"], ["dpm-solver++"]),
        (["sample", "tiny-dit", "--label", "0", "--seed", "0-9999"], ["10000 images"]),
        (["sample", "tiny-dit", "--label", "0", "--seed", "5-3"], ["seed"]),
        (["sample", "tiny-dit", "--label", "0", "--seed", "-4"], ["seed"]),
        (["sample", "tiny-dit", "--label", "0", "--seed", "x"], ["0-3,10"]),
        (["sample", "tiny-dit", "--label", "0", "--seed", "9" * 30], ["eed"]),
        (["sample", "tiny-dit", "--label", "0", "--steps", "2", "--out", "/dev/null/x"], ["/dev/null/x"]),
    ],
    ids=lambda value: " ".join(value)[:60],
)
def test_bad_input_is_one_line_on_stderr_and_exit_1(capsys: pytest.CaptureFixture, arguments: list[str], words: list[str]) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr()
    line = said.err.splitlines()[-1].rsplit("\r", 1)[-1]
    assert said.out == ""
    assert line.startswith("zoo: ")
    assert "Traceback" not in said.err
    assert [word for word in words if word.lower() not in line.lower()] == [], line


def test_a_damaged_model_is_one_line_and_exit_1(capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(store.WEIGHTS, tmp_path / "weights")
    (tmp_path / "weights" / "tiny-dit.safetensors").write_bytes(b"<html>")
    monkeypatch.setattr(store, "WEIGHTS", tmp_path / "weights")
    assert main(["sample", "tiny-dit", "--label", "0"]) == 1
    assert capsys.readouterr().err.endswith("At a terminal: git checkout zoo/catalog/weights/tiny-dit.safetensors\n")


@pytest.mark.parametrize("arguments", [[], ["sample"], ["paint"], ["sample", "tiny-dit", "--steps", "many"]], ids=str)
def test_words_that_are_no_command_show_the_usage(capsys: pytest.CaptureFixture, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m zoo" in capsys.readouterr().err
