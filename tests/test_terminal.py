"""Standard output as terminals and scripts have it: full, closed, of another alphabet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import ROOT
from PIL import Image

LIST = [sys.executable, "-m", "zoo", "list"]


def run(command: list[str], folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {"PATCHWORK_CACHE": str(folder), "PYTHONPATH": str(ROOT), "PATH": "", **options.pop("env", {})}
    return subprocess.run(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, timeout=120, **options)


def test_a_full_disk_behind_standard_output_is_said_in_a_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(LIST, tmp_path, stdout=full)
    assert done.returncode == 1
    assert done.stderr == "zoo: what was found cannot be printed (No space left on device): send it elsewhere.\n"


def test_a_standard_output_that_is_closed_is_written_nothing(tmp_path: Path) -> None:
    done = run(["/bin/sh", "-c", 'exec "$@" >&-', "sh", *LIST], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_names_that_the_terminal_cannot_write_are_escaped(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "猫.png")
    command = [sys.executable, "-m", "zoo", "look", "猫.png", "--model", "tiny-vit"]
    done = run(command, tmp_path, stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u732b-inside-tiny-vit/look.json" in done.stdout
    assert (tmp_path / "猫-inside-tiny-vit" / "look.json").is_file()
