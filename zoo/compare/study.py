"""A comparison or a grid written down in a YAML file: read, planned, run, and its folder of results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from zoo.catalog import plain_yaml
from zoo.compare import grid, report
from zoo.compare.compare import aligned, names, together
from zoo.compare.grid import Grid
from zoo.compare.setting import Setting
from zoo.engine.hub import Hub
from zoo.engine.request import Progress, short
from zoo.engine.results import check_folder, write_files
from zoo.errors import RequestError

MAX_BYTES = 1_000_000
"""Of a file that says what to compare."""


def read(path: Path) -> Any:
    """What a YAML or JSON file says. Raises RequestError where it cannot be read."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RequestError(f"{path} has {path.stat().st_size} bytes, too many for a description of a comparison: give the YAML file.")
        return plain_yaml.load(path.read_text(encoding="utf-8"))
    except RequestError:
        raise
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror}): name a YAML file that says what to compare.") from None
    except (yaml.YAMLError, ValueError) as error:
        where = f" in line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        raise RequestError(f"{path} is not valid YAML{where}: list columns, each with a model, as the README shows.") from None


def plan(hub: Hub, words: Any) -> list[Setting] | Grid:
    """A list of settings, or a mapping of what they share with `columns`, their list, or with `across` and `down`, the axes of a grid.

    Raises RequestError that says what does not fit.
    """
    if isinstance(words, list):
        words = {"columns": words}
    if not isinstance(words, Mapping) or ("columns" in words) == ("across" in words):
        raise RequestError("A comparison needs either columns, a list of settings, or the axes of a grid: across, and down if it has two.")
    shared = {str(word): value for word, value in words.items() if word not in ("columns", "across", "down")}
    if "columns" not in words:
        axes = [_axis(words[side]) if words.get(side) is not None else ("", "") for side in ("across", "down")]
        return grid.plan(hub, shared, *axes)
    columns = words["columns"]
    if not isinstance(columns, list) or not all(isinstance(one, Mapping) for one in columns):
        raise RequestError("The columns of a comparison are a list of settings, each a mapping such as {model: tiny-dit, steps: 25}.")
    return aligned(hub, [_merged(shared, one) for one in columns])


def _merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A column's words over the shared ones; its own label or labels, seed or seeds, take the place of either."""
    replaced = {"label", "labels"} if {"label", "labels"} & own.keys() else set()
    replaced |= {"seed", "seeds"} if {"seed", "seeds"} & own.keys() else set()
    replaced |= {"count"} if "seeds" in own else set()
    return {word: value for word, value in shared.items() if word not in replaced} | dict(own)


def _axis(words: Any) -> tuple[str, Any]:
    if not isinstance(words, Mapping) or len(words) != 1:
        raise RequestError(f'An axis is one name with its values, such as {{steps: "10,20,50"}}, not {short(words)}.')
    [(name, value)] = words.items()
    return str(name), value


def carry_out(hub: Hub, study: list[Setting] | Grid, folder: Path, say: Callable[[str, Progress], None]) -> Iterator[Path]:
    """Run all of it, telling what runs and how far it is, and put the report and the samples into a folder: the paths of the report.

    Of a grid the cells that are there are written even where it is interrupted or some fail. Raises a ZooError as Hub.generate does,
    for a grid the first cell's at the end; MediaError before anything runs where the folder cannot be written.
    """
    for place in (folder, folder / "cells") if isinstance(study, Grid) else (folder,):
        check_folder(place)
    if not isinstance(study, Grid):
        for k, item in together(hub, study, preview=False):
            if isinstance(item, Progress):
                done = f"samples {len(study[k].files)} of {len(study[k].seeds)}"
                say(f"{report.heading(names(len(study))[k], study[k])}, {done}", item)
        for column in study:
            hub.results.copy(column.files, folder)
        yield from write_files(report.files(study), folder)
        return
    try:
        for _, item in grid.run(hub, study):
            if isinstance(item, Progress):
                say(f"{sum(cell.file is not None for cell in study.all_cells)} of {len(study.all_cells)} cells", item)
    finally:
        contents = study.files()
        write_files({Path(name).name: content for name, content in contents.items() if name.startswith("cells/")}, folder / "cells")
        paths = write_files({name: content for name, content in contents.items() if "/" not in name}, folder)
    yield from paths
    if wrong := next((cell.error for cell in study.all_cells if cell.error), ""):
        raise RequestError(f"Some cells are missing: {wrong}")
