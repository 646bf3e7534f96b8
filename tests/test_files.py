"""Files of results appear whole or not at all, whoever else writes them at the same time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from zoo.catalog.files import atomic_write
from zoo.engine.results import THUMBNAIL, Results
from zoo.media import pictures

IMAGE = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
RECEIPT = {"request": {"model": "m", "fps": 8}, "label": "star", "seed": 3, "pixels": pictures.digest(IMAGE)}
WRITER = """
import sys
from pathlib import Path
from test_files import IMAGE, RECEIPT
from zoo.engine.results import Results
print("ready", flush=True)
sys.stdin.readline()
for _ in range(300):
    Results(Path(sys.argv[1])).keep(IMAGE[None], [RECEIPT], "a" * 32)
"""


def test_two_processes_that_make_the_same_picture_both_keep_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": "/usr/bin:/bin"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, cwd=ROOT, env=environment, **pipes) for _ in range(2)]
    assert [writer.stdout.readline() for writer in both] == ["ready\n"] * 2
    for writer in both:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=120)[1] for writer in both]
    assert [writer.returncode for writer in both] == [0, 0], said
    (path,) = tmp_path.rglob("*.png")
    assert sorted(path.parent.iterdir()) == [path.with_suffix(".json"), path]
    image, receipt = pictures.read_png(path)
    assert (image == IMAGE).all()
    assert receipt == RECEIPT


def test_a_video_lies_beside_its_receipt_in_three_formats_with_a_small_still_for_the_gallery(tmp_path: Path) -> None:
    clip = np.stack([IMAGE, 255 - IMAGE])
    (path,) = Results(tmp_path).keep(clip[None], [RECEIPT | {"pixels": pictures.digest(clip)}], "")
    assert {file.name for file in path.parent.iterdir()} == {THUMBNAIL} | {path.stem + kind for kind in (".mp4", ".gif", ".webp", ".json")}
    assert path.suffix == ".mp4"


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path) as part:
        part.write_text("earlier")

    def fail() -> None:
        with atomic_write(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "earlier"
    assert list(path.parent.iterdir()) == [path]
