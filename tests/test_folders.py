"""Folders as other machines have them: another user's, none at all, not to be written; named before any work, with what mends it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import ROOT
from permissions import obeying_permissions

from zoo.__main__ import main
from zoo.catalog import environment
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.errors import VariableError


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A place below a file, where no user, root included, can make a folder."""
    (tmp_path / "file").write_text("no folder")
    return tmp_path / "file" / "below"


def test_a_temporary_folder_that_cannot_be_written_is_named(blocked: Path, monkeypatch: pytest.MonkeyPatch, says) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(blocked))
    with says(VariableError, str(blocked), "GRADIO_TEMP_DIR"):
        environment.choose_temporary_folder()


@pytest.mark.parametrize("value", ["~/pages", "pages", " pages\n"])
def test_a_temporary_folder_is_made_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADIO_TEMP_DIR", value)
    environment.choose_temporary_folder()
    assert os.environ["GRADIO_TEMP_DIR"] == str(tmp_path / "pages")


def test_without_one_the_folder_is_this_users_whoever_came_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    environment.choose_temporary_folder()
    own = Path(os.environ["GRADIO_TEMP_DIR"])
    assert own == tmp_path / f"gradio-{os.getuid()}"
    monkeypatch.setattr(os, "getuid", lambda: own.stat().st_uid + 1)
    (tmp_path / f"gradio-{os.getuid()}").mkdir()  # of another user
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    environment.choose_temporary_folder()
    assert Path(os.environ["GRADIO_TEMP_DIR"]) not in (own, tmp_path / f"gradio-{os.getuid()}")


def test_a_machine_without_any_temporary_folder_is_told_which_variable_to_set(monkeypatch: pytest.MonkeyPatch, says) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    with says(VariableError, "no temporary folder", "TMPDIR"):
        environment.choose_temporary_folder()


def test_a_cache_that_cannot_be_written_is_named_before_any_work(blocked: Path, says) -> None:
    hub = Hub(device="cpu", cache_dir=blocked)
    with says(VariableError, str(blocked), "cannot be written", "PATCHWORK_CACHE"):
        hub.submit(Request("tiny-dit", 4, 0, steps=2))


def test_a_cache_that_cannot_even_be_looked_into_is_named(tmp_path: Path, says) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("y" * 300, "loop"):
        with says(VariableError, "cannot be read", "PATCHWORK_CACHE"):
            Hub(device="cpu", cache_dir=tmp_path / name)


def test_a_user_without_a_home_is_told_which_variable_to_set(monkeypatch: pytest.MonkeyPatch, says) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("PATCHWORK_CACHE")
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}["nobody"])
    with says(VariableError, "no home", "PATCHWORK_CACHE"):
        Hub(device="cpu")


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATCHWORK_CACHE", "~/hub")
    assert Hub(device="cpu").cache_dir == tmp_path / "hub"
    assert main(["sample", "tiny-dit", "--label", "star", "--seed", "-1", "--steps", "2", "--out=~/stars"]) == 0
    assert len(list((tmp_path / "stars").glob("*.png"))) == 1


def test_a_folder_for_results_that_cannot_be_written_is_said_before_the_work(blocked: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["sample", "tiny-dit", "--label", "star", "--out", str(blocked)]) == 1
    said = capsys.readouterr().err
    assert f"Nothing can be written to {blocked}" in said
    assert "step" not in said


@pytest.mark.parametrize(
    ("name", "encoding"), [(b"r\xe9sum\xe9", "utf-8"), ("\u7ed3\u679c".encode(), "cp1252")], ids=["latin-1", "Chinese"]
)
def test_names_that_a_terminal_has_no_letters_for_are_printed_somehow(tmp_path: Path, name: bytes, encoding: str) -> None:
    folder = os.fsencode(tmp_path) + b"/" + name
    command = [sys.executable, "-m", "zoo", "sample", "tiny-dit", "--label", "star", "--steps", "2", "--out", folder]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 1
    assert list(Path(os.fsdecode(folder)).glob("*.png"))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.yaml").write_text("{model: tiny-dit, label: star, across: {steps: '2,3'}}")
    return tmp_path / "study.yaml"


COMMANDS = {
    "sample": ["sample", "tiny-dit", "--label", "star", "--out"],
    "look": ["look", str(ROOT / "zoo/catalog/data/example-heart.png"), "--model", "tiny-vit", "--out"],
    "compare": ["compare", "study.yaml", "--out"],
    "bench": ["bench", "--json"],
}
"""Every command that writes where somebody says."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["below a file", "a file in the way", "a link to nowhere", "no longer to be written"])
def test_where_nothing_can_be_written_is_said_before_any_model_is_loaded(
    tmp_path: Path, study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, command: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "away")
    (tmp_path / "closed").mkdir(mode=0o555)
    folder = tmp_path / {"below a file": "file/a/b", "a file in the way": "file", "a link to nowhere": "link"}.get(place, "closed")
    folder = folder / "report.json" if command == "bench" else folder

    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("zoo.engine.model_cache.ModelCache.load", load)
    monkeypatch.setattr("zoo.engine.bench.run", load)
    with obeying_permissions():
        assert main([*COMMANDS[command], str(folder)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(folder) in said or str(folder.parent) in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed", "file", "link", "study.yaml"]
    assert not any((tmp_path / "closed").iterdir())


def test_a_request_that_is_refused_leaves_no_folder_behind(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for model in ("tiny-vit", "no-such"):
        assert main(["look", str(tmp_path / "no.png"), "--model", model, "--out", str(tmp_path / "inside")]) == 1
    assert main(["sample", "tiny-dit", "--label", "star", "--steps", "0", "--out", str(tmp_path / "stars")]) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_start_names_the_folder(blocked: Path) -> None:
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=os.environ | {"GRADIO_TEMP_DIR": str(blocked)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr == f"app: {blocked} cannot be written (Not a directory): set GRADIO_TEMP_DIR to a folder of your own.\n"
