"""`python -m zoo bench`: what its report holds, that it times only code that computes the same, and what it refuses."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from zoo.__main__ import main
from zoo.engine import bench
from zoo.engine.bench import machine, peers
from zoo.engine.hub import Hub
from zoo.errors import RequestError

QUICK = ["--steps", "2", "--rounds", "1"]
LINEAR = {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}
ABROAD = [{"from": "huggingface", "repo": "some/body", "file": "model.safetensors"}]
SMALL_DIT = {
    "title": "Small DiT", "family": "dit", "task": "class-to-image", "schedule": LINEAR, "guidance": {"default": 4.0},
    "arch": {"input_size": 8, "patch_size": 2, "in_channels": 3, "hidden_size": 32, "depth": 2, "num_heads": 2, "num_classes": 1000},
    "sampling": {"solver": "ddim", "steps": 50}, "labels": "imagenet-1k", "weights": ABROAD,
}  # fmt: skip
FILM = {
    "title": "Film", "family": "latte-t2v", "task": "text-to-video", "schedule": LINEAR, "guidance": {"default": 7.5},
    "text": "t5-v1-1-xxl",
    "arch": {
        "input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 32, "depth": 2, "num_heads": 4, "num_frames": 4,
        "context_dim": 16, "num_context_tokens": 5,
    },
    "sampling": {"solver": "ddim", "steps": 50}, "latent": {"vae": "tiny-vae", "scale": 0.8}, "weights": ABROAD,
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a bench keeps its temporary folder, which must be empty again afterwards."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def names(part: dict) -> list[str]:
    return [row["name"] for row in part["rows"]]


def run(model: str, **more: object) -> dict:
    return bench.run(bench.Settings(model, peers=True, steps=2, rounds=1, **more))


def test_the_command_says_everything_and_writes_it_as_json(capsys: pytest.CaptureFixture, tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "report.json"
    assert main(["bench", "--peers", "--visitors", "2", "--json", str(file), *QUICK]) == 0
    said, report = capsys.readouterr(), json.loads(file.read_text())
    assert report["model"]["id"] == "tiny-dit"
    assert report["model"]["own_weights"]
    assert names(report["step"]) == names(report["loop"]) == ["ours", "official, restated", "diffusers"]
    assert names(report["whole"]) == ["bare loop and decoding", "through the Hub", "through the Hub, with previews"]
    for row in (*report["step"]["rows"], *report["loop"]["rows"]):
        assert row["difference"] < 1e-3
        assert row["cpu_seconds"] > 0
        assert row["wall_seconds"] > 0
    assert report["loading"]["first_seconds"] > 0
    assert report["loading"]["peak_bytes"] > 0
    assert report["whole"]["first_preview_seconds"] is None or report["whole"]["first_preview_seconds"] > 0
    crowd = report["visitors"]
    assert (crowd["images"], crowd["same_pixels"]) == (6, 6)
    assert crowd["together"]["worst_wait_seconds"] >= crowd["together"]["median_wait_seconds"] > 0
    assert {"torch", "diffusers", "python"} <= report["machine"]["versions"].keys()
    assert report["machine"]["threads"] == 1
    for words in (
        "tiny DiT (tiny-dit, 4.2 M parameters), its own weights, float32",
        "downscale_freq_shift",
        "2 visitors at once",
        "6 of 6",
    ):
        assert words in said.out
    assert "round 1 of 1: ours" in said.err
    assert list(folder.glob("patchwork-*")) == []


@pytest.mark.parametrize("model", ["tiny-uvit", "tiny-latte"])
def test_the_restatement_is_timed_where_diffusers_has_nothing(model: str) -> None:
    report = run(model)
    assert names(report["step"]) == ["ours", "official, restated"]
    assert names(report["loop"])[1:] == (["official, restated"] if model == "tiny-latte" else [])
    assert report["step"]["rows"][1]["difference"] < 1e-4
    assert any(note.startswith("diffusers has no ") for note in report["notes"])


def test_a_network_that_is_diffusers_own_has_no_peer() -> None:
    report = run("tiny-unet")
    assert names(report["step"]) == ["ours"]
    assert any("diffusers' own UNet2DModel" in note for note in report["notes"])


def test_bfloat16_is_held_to_a_wider_tolerance() -> None:
    report = run("tiny-dit", dtype="bfloat16")
    assert report["dtype"] == "bfloat16"
    assert [0.1 > row["difference"] > 1e-4 for row in report["step"]["rows"][1:]] == [True, True]


def test_a_model_that_is_not_here_runs_on_random_weights_and_says_so(hub_with: Callable[..., Hub], folder: Path) -> None:
    hub_with({"small-dit": SMALL_DIT})
    report = run("small-dit", visitors=1)
    assert not report["model"]["own_weights"]
    assert report["notes"][0] == "small-dit is not on this machine: random weights of its architecture took its place."
    assert names(report["loop"]) == ["ours", "official, restated", "diffusers"]
    assert "random weights" in bench.text(report)
    assert list(folder.glob("patchwork-*")) == []


def test_a_model_of_texts_is_held_against_the_pipeline_of_diffusers(hub_with: Callable[..., Hub]) -> None:
    hub_with({"film": FILM})
    report = run("film")
    assert names(report["step"]) == names(report["loop"]) == ["ours", "diffusers"]
    assert report["whole"] is None
    assert any("without its text encoder" in note for note in report["notes"])


def test_code_that_computes_something_else_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "official.py"
    other.write_text(peers.OFFICIAL.read_text().replace("eps=1e-6", "eps=1e-2"))
    monkeypatch.setattr(peers, "OFFICIAL", other)
    report = run("tiny-dit")
    assert names(report["step"]) == names(report["loop"]) == ["ours", "diffusers"]
    assert any(note.startswith("A step of official, restated was not timed: it differs from ours by ") for note in report["notes"])


def test_without_the_tests_folder_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "OFFICIAL", tmp_path / "official.py")
    report = run("tiny-dit")
    assert names(report["step"]) == ["ours", "diffusers"]
    assert any("run this from a checkout of the repository" in note for note in report["notes"])


def test_steps_that_diffusers_cannot_take_leave_its_pipeline_out() -> None:
    report = bench.run(bench.Settings("tiny-dit", peers=True, steps=3, rounds=1))
    assert names(report["step"]) == ["ours", "official, restated", "diffusers"]
    assert names(report["loop"]) == ["ours", "official, restated"]
    assert any("does not take 3 even steps" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "tiny-vae"], "does not make pictures"),
        (["--model", "tiny-dot"], "'tiny-dot'"),
        (["--visitors", "1000"], "1000 visitors"),
        (["--threads", "0"], "0 threads"),
        (["--rounds", "0"], "0 rounds"),
        (["--steps", "100000"], "Steps must be a whole number"),
        (["--json", "/nowhere/report.json"], "there is no folder /nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    capsys: pytest.CaptureFixture, arguments: list[str], words: str, folder: Path
) -> None:
    assert main(["bench", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    [line] = [line for line in said.err.replace("\r", "\n").splitlines() if line.startswith("zoo: ")]
    assert words in line
    assert list(folder.glob("patchwork-*")) == []


def test_steps_of_0_are_refused_as_well(says: Callable) -> None:
    with says(RequestError, "Steps must be a whole number"):
        bench.run(bench.Settings("tiny-dit", steps=0))


def test_a_busy_machine_is_doubted_in_one_sentence_with_its_reasons() -> None:
    calm = {"name": "ours", "cpu_seconds": 1.0, "wall_seconds": 1.01, "variation": 0.02}
    assert machine.doubt(0.0, [calm], 1, on_cpu=True) == ""
    assert "load average before the start was 90.0" in machine.doubt(90.0, [calm], 1, on_cpu=True)
    assert "'ours' varied by 60 %" in machine.doubt(0.0, [calm | {"variation": 0.6}], 1, on_cpu=True)
    assert "something else for 50 % of the time" in machine.doubt(0.0, [calm | {"wall_seconds": 2.0}], 1, on_cpu=True)
    assert machine.doubt(0.0, [calm | {"wall_seconds": 2.0}], 1, on_cpu=False) == ""
    assert machine.doubt(90.0, [calm], 1, on_cpu=True).count(".") == 2  # of the number, and of the sentence
