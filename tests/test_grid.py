"""The X/Y grid and what a file says to compare: values, plans, batches, stops, pictures and manifests."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.__main__ import main
from zoo.compare import grid, study
from zoo.compare.grid import Grid
from zoo.engine.hub import Hub
from zoo.engine.request import Progress, Request, Result
from zoo.errors import RequestError
from zoo.media import pictures

SETTING = {"model": "tiny-dit", "label": "star", "seeds": [3], "steps": 3}


def filled(hub: Hub, made: Grid) -> Grid:
    """A grid, run to its end."""
    for _ in grid.run(hub, made):
        pass
    return made


@pytest.mark.parametrize(
    ("axis", "text", "expected"),
    [
        ("steps", "10,20,50", [10, 20, 50]),
        ("steps", "1-8:1", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("steps", " 5 , 10-20:5 ", [5, 10, 15, 20]),
        ("steps", [4, 8], [4, 8]),
        ("seed", "0-3", [0, 1, 2, 3]),
        ("seed", "4294967290-4294967295:5", [4294967290, 4294967295]),
        ("guidance", "1-2:0.25", [1.0, 1.25, 1.5, 1.75, 2.0]),
        ("guidance", "1, 4, 4", [1.0, 4.0]),
        ("eta", "0-1:0.1", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ("solver", "dpm-solver++, ddim", ["dpm-solver++", "ddim"]),
        ("class", "star, heart, 0-1", ["star", "heart", "0", "1"]),
        ("class", "tench, Tinca tinca; goldfish", ["tench, Tinca tinca", "goldfish"]),
        ("model", "tiny-dit;tiny-uvit", ["tiny-dit", "tiny-uvit"]),
    ],
)
def test_values_are_lists_or_ranges(axis: str, text: object, expected: list) -> None:
    assert grid.values(axis, text) == pytest.approx(expected) if axis in grid.REAL else grid.values(axis, text) == expected


@pytest.mark.parametrize(
    ("axis", "text", "words"),
    [
        ("steps", "", ["0 values", "10,20,50"]),
        ("steps", "ten", ["'ten'", "steps"]),
        ("steps", "2.5", ["'2.5'", "whole numbers"]),
        ("steps", "8-1", ["'8-1'", "first-last:step"]),
        ("steps", "1-8:0", ["first-last:step"]),
        ("steps", "1-100", ["at most 40"]),
        ("guidance", "nan", ["'nan'"]),
        ("guidance", "1e999", ["'1e999'"]),
        ("seed", "99999999999", ["whole numbers"]),
        ("solver", "dpm", ["'dpm'", "dpm-solver++"]),
        ("colour", "red", ["'colour'", "model"]),
        ("class", ",".join(f"c{k}" for k in range(41)), ["41 values"]),
    ],
)
def test_values_that_make_no_sense_are_refused_in_a_sentence(axis: str, text: str, words: list[str], says: Callable) -> None:
    with says(RequestError, *words):
        grid.values(axis, text)


@pytest.mark.parametrize(
    ("setting", "across", "down", "words"),
    [
        (SETTING, ("steps", "1-4"), ("steps", "5"), ["Both axes"]),
        (SETTING, ("steps", "0,4"), ("", ""), ["At steps 0", "Steps must be"]),
        (SETTING, ("class", "star, circle"), ("seed", "0-1"), ["At class circle", "no class 'circle'"]),
        (SETTING, ("seed", "0-39"), ("guidance", "1-4:0.5"), ["40 x 7", "at most 200"]),
        (SETTING, ("model", "tiny-dit, tiny-latte"), ("", ""), ["At model tiny-latte", "no class 'star'"]),
        (SETTING | {"seeds": [1, 2]}, ("steps", "4"), ("", ""), ["one sample", "2 seeds"]),
        ({"label": "star"}, ("steps", "4"), ("", ""), ["names no model"]),
        (SETTING, ("autoencoder", "tiny-vae, tiny-dit"), ("", ""), ["At autoencoder tiny-dit", "does not decode"]),
        (SETTING, ("eta", "0, 0.5"), ("", ""), ["At eta 0", "dpm-solver++ takes no eta"]),
        (SETTING, ("steps", [[1, 2]]), ("", ""), ["list of words or numbers"]),
        (SETTING, ("steps", "9" * 400 + "-" + "9" * 400), ("", ""), ["first-last:step"]),
        (SETTING, ("steps", "1," * 4000), ("", ""), ["characters"]),
        (SETTING | {"vae": ["x"]}, ("steps", "4"), ("", ""), ["An autoencoder is named"]),
    ],
)
def test_a_grid_that_does_not_fit_names_the_cell(
    setting: dict, across: tuple, down: tuple, words: list[str], hub: Hub, says: Callable
) -> None:
    with says(RequestError, *words):
        grid.plan(hub, setting, across, down)


def test_every_cell_is_what_its_setting_gives_alone(hub: Hub) -> None:
    made = filled(hub, grid.plan(hub, SETTING, ("guidance", "1,3"), ("class", "star; heart")))
    for i, label in enumerate(("star", "heart")):
        for j, guidance in enumerate((1.0, 3.0)):
            index = hub.card("tiny-dit").label_names.index(label)
            *_, alone = hub.generate(Request("tiny-dit", (index,), (3,), 3, guidance=guidance), visitor=None)
            assert np.array_equal(made.cells[i][j].image, alone.images[0])


def test_cells_that_differ_in_seed_and_class_only_are_made_in_one_batch(hub: Hub) -> None:
    made = grid.plan(hub, SETTING, ("seed", "0-3"), ("class", "star; heart; dog"))
    assert [len(cells) for cells in grid.batches(made.all_cells)] == [12]
    results = [item for _, item in grid.run(hub, made) if isinstance(item, Result)]
    assert len(results) == 1
    assert {cell.receipt["seed"] for cell in made.all_cells} == {0, 1, 2, 3}
    assert [cell.receipt["label"] for cell in made.all_cells] == ["star"] * 4 + ["heart"] * 4 + ["dog"] * 4
    apart = grid.plan(hub, SETTING, ("seed", "0-3"), ("steps", "2,4"))
    assert [len(cells) for cells in grid.batches(apart.all_cells)] == [4, 4]


def test_a_grid_stopped_midway_keeps_its_finished_cells_and_can_be_filled_in(hub: Hub) -> None:
    made, stop = grid.plan(hub, SETTING | {"steps": 20}, ("guidance", "1-4:1"), ("solver", "ddim, dpm-solver++, euler")), threading.Event()
    ready = 0
    for _, item in grid.run(hub, made, stop):
        ready += isinstance(item, Result) and item.stopped_at is None
        if ready == 5 and isinstance(item, Progress) and item.step == 2:
            stop.set()
    kept = [(cell.file, cell.receipt) for cell in made.all_cells]
    assert [cell.image is not None for cell in made.all_cells] == [True] * 5 + [False] * 7
    assert made.manifest()["cells"][5]["file"] is None
    assert made.picture().width > 4 * 64
    filled(hub, made)
    assert all(cell.image is not None for cell in made.all_cells)
    assert [(cell.file, cell.receipt) for cell in made.all_cells[:5]] == kept[:5]


def test_a_model_axis_keeps_the_class_by_name_and_each_models_own_defaults(hub: Hub) -> None:
    made = grid.plan(hub, {"model": "tiny-dit", "label": "star", "seeds": [1]}, ("model", "tiny-dit, tiny-uvit, tiny-unet"))
    assert [cell.request.steps for cell in made.all_cells] == [hub.card(cell.card.id).sampling.steps for cell in made.all_cells]
    assert {cell.card.label_names[cell.request.labels[0]] for cell in made.all_cells} == {"star"}
    assert made.title() == "star, seed 1"
    assert made.words(0) == ["tiny-dit", "tiny-uvit", "tiny-unet"]


def test_what_a_grid_costs_is_told_from_measured_steps(hub: Hub) -> None:
    filled(hub, grid.plan(hub, SETTING | {"steps": 8}, ("seed", "0-1")))
    one = hub.seconds(Request("tiny-dit", (0,), (0,), 10))
    cells = grid.plan(hub, SETTING, ("steps", "10,20")).all_cells
    assert sum(hub.seconds(cell.request) for cell in cells) == pytest.approx(3 * one)


def test_the_picture_has_the_cells_where_their_values_stand(hub: Hub) -> None:
    made = filled(hub, grid.plan(hub, SETTING, ("steps", "2,4"), ("seed", "0-2")))
    picture = np.asarray(made.picture())
    cells = [[np.asarray(Image.fromarray(cell.image).resize((96, 96), Image.Resampling.BICUBIC)) for cell in row] for row in made.cells]
    [left] = [x for x in range(picture.shape[1] - 96) if np.array_equal(picture[64:160, x : x + 96], cells[0][0])]
    for i in range(3):
        for j in range(2):
            top, start = 64 + i * 102, left + j * 102
            assert np.array_equal(picture[top : top + 96, start : start + 96], cells[i][j])
    assert (picture[64:160, :left] < 128).any()  # the value of the row stands beside it


def test_the_folder_holds_picture_manifest_and_every_cell_with_its_receipt(hub: Hub) -> None:
    made = filled(hub, grid.plan(hub, SETTING | {"solver": "ddim"}, ("steps", "2,4"), ("eta", "0-1:0.5")))
    with zipfile.ZipFile(io.BytesIO(made.archive())) as packed:
        names = packed.namelist()
        manifest = json.loads(packed.read("manifest.json"))
        assert Image.open(io.BytesIO(packed.read("grid.png"))).size == made.picture().size
        inside = [json.loads(packed.read(cell["file"].replace(".png", ".json")))["request"] for cell in manifest["cells"]]
    assert [(one["steps"], one["eta"]) for one in inside] == [(cell["steps"], cell["eta"]) for cell in manifest["cells"]]
    assert manifest["across"] == {"steps": [2, 4]}
    assert manifest["down"] == {"eta": [0.0, 0.5, 1.0]}
    assert [(cell["row"], cell["column"], cell["steps"], cell["eta"]) for cell in manifest["cells"]][:3] == [
        (0, 0, 2, 0),
        (0, 1, 4, 0),
        (1, 0, 2, 0.5),
    ]
    assert {cell["file"] for cell in manifest["cells"]} <= set(names)
    for cell in manifest["cells"]:
        assert Request.from_dict(cell["request"]).steps == cell["steps"]
        assert cell["receipt"]["request"]["eta"] == cell["eta"]


# ---- a file that says what to compare


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_command_line_compares_what_a_file_says(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    asked = "label: star\nseeds: 0-1\nsteps: 3\ncolumns:\n  - model: tiny-dit\n  - {model: tiny-uvit, steps: 4}\n"
    assert main(["compare", str(written(tmp_path, asked)), "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert said.out.split() == [str(tmp_path / "out" / name) for name in ("comparison.html", "comparison.json")]
    assert "samples 0 of 2: step 2 of 3" in said.err
    facts = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [one["figures"]["evaluations"] for one in facts["columns"]] == [3, 4]
    for one in facts["columns"]:
        for name, receipt in zip(one["files"], one["receipt"], strict=True):
            assert pictures.read_png(tmp_path / "out" / name)[1]["pixels"] == receipt["pixels"]
    assert main(["compare", str(tmp_path / "study.yaml"), "--device", "cpu", "--out", str(tmp_path / "out"), "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert [sorted(entry) for entry in entries] == [["figures", "files", "receipt"]] * 2


def test_the_command_line_fills_a_grid(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    asked = 'model: tiny-dit\nlabel: heart\nseeds: 5\nacross: {steps: "2,4"}\ndown: {guidance: [1, 2]}\n'
    assert main(["compare", str(written(tmp_path, asked)), "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in ("grid.png", "manifest.json")]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert len(manifest["cells"]) == 4
    for cell in manifest["cells"]:
        assert pictures.read_png(tmp_path / "out" / cell["file"])[1]["request"]["steps"] == cell["steps"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("columns: [", ["not valid YAML", "line"]),
        ("", ["either columns"]),
        ("tiny-dit", ["either columns"]),
        ("model: tiny-dit", ["either columns"]),
        ("columns: {model: tiny-dit}", ["list of settings"]),
        ("columns: []", ["1 to 16"]),
        ("across: [1, 2]\nmodel: tiny-dit", ["An axis is one name"]),
        ("across: {steps: 4, seed: 1}\nmodel: tiny-dit", ["An axis is one name"]),
        ("across: {steps: 4}\ndown: {steps: 5}\nmodel: tiny-dit\nlabel: star", ["Both axes"]),
        ("columns: [{model: tiny-dit, label: star}, {model: tiny-uvit, label: heart}]", ["Column B", "one class"]),
        ("!!python/object/apply:os.system ['true']", ["not valid YAML"]),
        ("seeds: 2024-13-45\ncolumns: [{model: tiny-dit, label: star}]", ["not valid YAML"]),
        ("columns: [{model: tiny-dit, label: star, vae: [1]}]", ["Column A", "An autoencoder is named"]),
    ],
)
def test_a_file_that_cannot_be_compared_is_refused_in_one_line(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["compare", str(written(tmp_path, text)), "--device", "cpu", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert [word for word in words if word not in said] == [], said
    assert not (tmp_path / "out").exists()


def test_a_grid_with_a_cell_that_fails_writes_the_others_and_says_which(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    asked = "label: 3\nseeds: 0\nsteps: 5\nacross: {model: 'tiny-dit; dit-xl-2-256'}\n"
    assert main(["compare", str(written(tmp_path, asked)), "--device", "cpu", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "Some cells are missing: DiT-XL/2 256 is not downloaded" in said.err
    assert "Traceback" not in said.err
    first, second = json.loads((tmp_path / "out" / "manifest.json").read_text())["cells"]
    assert (tmp_path / "out" / first["file"]).is_file()
    assert (second["file"], second["error"] is not None, "down" in first) == (None, True, False)


def test_a_file_takes_the_words_of_the_endpoints(hub: Hub) -> None:
    shared = {"label": "star", "seed": 3, "count": 2}
    columns = study.plan(
        hub, shared | {"columns": [{"model": "tiny-dit"}, {"model": "tiny-uvit", "seeds": [9]}, {"model": "tiny-unet", "seed": 5}]}
    )
    assert [column.seeds for column in columns] == [[3, 4], [9], [5, 6]]
    cells = study.plan(hub, shared | {"model": "tiny-dit", "across": {"seed": "0-2"}}).all_cells
    assert [cell.request.seeds for cell in cells] == [(0,), (1,), (2,)]


def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = written(tmp_path, "columns: [{model: tiny-dit, label: star, steps: 3}]")
    (tmp_path / "taken").write_text("a file")
    assert main(["compare", str(path), "--device", "cpu", "--out", str(tmp_path / "taken")]) == 1
    assert capsys.readouterr().err == f"zoo: Nothing can be written to {tmp_path / 'taken'} (Not a directory): choose another folder.\n"


def test_a_prompt_of_several_lines_stands_in_the_title_in_one(hub: Hub) -> None:
    made = grid.plan(hub, {"model": "u-vit-s-2-mscoco", "prompt": "a red bus\n" * 60, "seeds": 1}, ("steps", "4,8"))
    assert "\n" not in made.title()
    assert made.picture().width < 2500


def test_a_file_that_is_not_there_is_said(tmp_path: Path, says: Callable) -> None:
    with says(RequestError, "No such file"):
        study.read(tmp_path / "none.yaml")
