"""An X/Y grid: one setting with two of its words varied, a sample a cell, planned, priced, run, and kept as a picture and a manifest."""

from __future__ import annotations

import io
import json
import math
import re
import textwrap
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoo.catalog.card import Card
from zoo.compare import compare
from zoo.engine.hub import Hub
from zoo.engine.request import FLOW_SOLVERS, MAX_IMAGES, MAX_SEED, SOLVERS, Progress, Request, Result, draws, first_seed, short
from zoo.engine.results import pixels
from zoo.errors import RequestError, ZooError
from zoo.sampling import takes_eta

AXES = ("model", "solver", "steps", "guidance", "eta", "seed", "class", "autoencoder")
"""What a grid can vary."""
WORDS = {"class": "label", "autoencoder": "vae", "seed": "seeds"}
"""Axes that a request calls otherwise."""
WHOLE, REAL = {"steps", "seed"}, {"guidance", "eta"}
MOST, MOST_CELLS = 40, 200
"""Values of one axis, and cells of a grid."""
MAX_TEXT = 4000
"""Characters in which the values of an axis are written."""
MOST_PIXELS = 64_000_000
"""Pixels of the labelled picture; cells of a larger one are drawn smaller."""
RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)(?:\s*:\s*(\d+(?:\.\d+)?))?")


@dataclass
class Cell:
    """One place of a grid: what is asked there, and what came of it."""

    card: Card
    request: Request
    values: tuple[Any, Any]
    """Of the axes across and down."""
    file: Path | None = None
    receipt: dict[str, Any] | None = None
    error: str = ""

    @property
    def image(self) -> np.ndarray | None:
        """(h, w, 3) or (f, h, w, 3) uint8, read from the file; None where there is none yet."""
        return self.file and pixels(self.file, self.request.fps)

    @property
    def still(self) -> np.ndarray | None:
        """(h, w, 3) uint8: the picture, or the middle frame."""
        image = self.image
        return image if image is None or image.ndim == 3 else image[len(image) // 2]


@dataclass
class Grid:
    """A grid: the names and values of its axes, and its cells row by row."""

    across: tuple[str, list[Any]]
    down: tuple[str, list[Any]]
    cells: list[list[Cell]]

    @property
    def all_cells(self) -> list[Cell]:
        """All cells, row by row."""
        return [cell for row in self.cells for cell in row]

    def core_seconds(self, hub: Hub) -> float | None:
        """Seconds of one core that the cells that are missing take, None where one of their models was never measured."""
        seconds = [hub.core_seconds(cell.request) for cell in self.all_cells if cell.file is None]
        return None if None in seconds else sum(seconds)

    def manifest(self) -> dict[str, Any]:
        """The axes, and every cell with its request, its file and its receipt, as JSON values."""
        axes = {axis: values for axis, values in (("across", self.across), ("down", self.down)) if values[0]}
        cells = [
            {
                "row": row, "column": column, **{values[0]: cell.values[axis == "down"] for axis, values in axes.items()},
                "request": cell.request.to_dict(), "file": cell.file and f"cells/{cell.file.name}", "receipt": cell.receipt,
                "error": cell.error or None,
            }
            for row, line in enumerate(self.cells) for column, cell in enumerate(line)
        ]  # fmt: skip
        return {axis: {name: values} for axis, (name, values) in axes.items()} | {"cells": cells}

    def files(self) -> dict[str, bytes]:
        """The folder of a grid: the labelled picture, the manifest, and every finished cell's files under cells/."""
        contents = {"grid.png": _png(self.picture()), "manifest.json": json.dumps(self.manifest(), indent=1).encode()}
        for cell in self.all_cells:
            if cell.file:
                contents |= {f"cells/{part.name}": part.read_bytes() for part in sorted(cell.file.parent.glob(f"{cell.file.stem}.*"))}
        return contents

    def archive(self) -> bytes:
        """The folder as one ZIP file."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as packed:
            for name, content in self.files().items():
                packed.writestr(name, content)
        return file.getvalue()

    def picture(self) -> Image.Image:
        """All cells with the values of their row and column, a grey place where there is none yet; a video shows its middle frame."""
        side = max((max(image.shape[:2]) for cell in self.all_cells if (image := cell.still) is not None), default=64)
        side = max(min(side, math.isqrt(MOST_PIXELS // len(self.all_cells))), 96 if side < 96 else 1)
        font, small = ImageFont.load_default(size=15), ImageFont.load_default(size=13)
        rows = [f"{self.down[0]} {words}" for words in self.words(1)] if self.down[0] else [""]
        columns = [f"{self.across[0]} {words}" for words in self.words(0)]
        measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
        margin = 24 + round(max(measure.textlength(words, font) for words in rows))
        wide = max(side, *(round(measure.textlength(words, font)) + 12 for words in columns))
        head, gap, title = 30, 6, self.title()
        sheet = Image.new(
            "RGB",
            (
                max(margin + len(columns) * (wide + gap), margin + round(measure.textlength(title, small)) + 12),
                34 + head + len(rows) * (side + gap),
            ),
            "white",
        )
        draw = ImageDraw.Draw(sheet)
        draw.text((margin, 17), title, (90, 90, 90), small, anchor="lm")
        for j, words in enumerate(columns):
            draw.text((margin + j * (wide + gap) + wide / 2, 34 + head / 2), words, (30, 30, 30), font, anchor="mm")
        for i, words in enumerate(rows):
            draw.text((margin - 12, 34 + head + i * (side + gap) + side / 2), words, (30, 30, 30), font, anchor="rm")
            for j, image in enumerate(cell.still for cell in self.cells[i]):
                place = (margin + j * (wide + gap) + (wide - side) // 2, 34 + head + i * (side + gap))
                if image is None:
                    draw.rectangle([*place, place[0] + side - 1, place[1] + side - 1], (225, 225, 225))
                else:
                    sheet.paste(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), place)
        return sheet

    def words(self, axis: int) -> list[str]:
        """The values of the axis across (0) or down (1) as they are shown."""
        cells = self.cells[0] if axis == 0 else [row[0] for row in self.cells]
        name = (self.across, self.down)[axis][0]
        return [cell.card.label_names[cell.request.labels[0]] if name == "class" else _text(cell.values[axis]) for cell in cells]

    def title(self) -> str:
        """What all cells share, in words."""
        one, axes = self.cells[0][0], {self.across[0], self.down[0]}
        request, card = one.request, one.card
        label = card.label_names[request.labels[0]] if request.labels else request.prompt
        shared = {
            "model": card.title, "class": label, "seed": f"seed {request.seeds[0]}", "steps": f"{request.steps} steps",
            "solver": request.solver, "guidance": f"guidance {request.guidance:g}",
        }  # fmt: skip
        own = {"steps", "solver", "guidance"} if "model" in axes else set()
        words = ", ".join(text for name, text in shared.items() if text and name not in axes | own)
        return textwrap.shorten(words, 200, placeholder=" ...")


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def values(axis: str, value: Any) -> list[Any]:
    """Values of an axis from a list, or a text such as 10,20,50 or 1-8:1, a range with its last value and its step.

    Names are separated by commas, or by semicolons where a name holds commas. Raises RequestError for anything else.
    """
    if axis not in AXES:
        raise RequestError(f"A grid cannot vary {short(axis)}: choose one of {', '.join(AXES)}.")
    if isinstance(value, (list, tuple)):
        items = [item for one in value for item in (_range(axis, one) if isinstance(one, str) else [one])]
        if not all(isinstance(item, (str, int, float)) for item in items):
            raise RequestError(f"The values of {axis} are a list of words or numbers, such as {_example(axis)}.")
    else:
        text = short(value) if not isinstance(value, (str, int, float)) or isinstance(value, bool) else str(value)
        if len(text) > MAX_TEXT:
            raise RequestError(f"The values of {axis} have {len(text)} characters, more than {MAX_TEXT}: give fewer.")
        words = [word.strip() for word in text.split(";" if ";" in text else ",")]
        items = [item for word in words if word for item in _range(axis, word)]
    items = list(dict.fromkeys(items))
    if not 1 <= len(items) <= MOST:
        raise RequestError(f"{len(items)} values of {axis} were given: choose 1 to {MOST}, such as {_example(axis)}.")
    return items


def _example(axis: str) -> str:
    examples = {"model": "tiny-dit, tiny-uvit", "solver": "ddim, dpm-solver++", "class": "star, heart", "autoencoder": "sd-vae-ft-ema"}
    return examples.get(axis) or {"steps": "10,20,50", "seed": "0-3", "guidance": "1-4:0.5", "eta": "0-1:0.25"}[axis]


def _range(axis: str, word: str) -> list[Any]:
    """The values of one word: itself, or those of a range."""
    matched = RANGE.fullmatch(word) if axis in WHOLE | REAL | {"class"} else None
    if matched is None:
        return [_value(axis, word)]
    low, high, step = (float(part) if part else 1.0 for part in matched.groups())
    if not math.isfinite(high - low) or high < low or step <= 0 or (high - low) / step >= MOST:
        raise RequestError(f"The range {short(word)} of {axis} is not understood: write first-last:step with at most {MOST} values.")
    numbers = [low + k * step for k in range(int((high - low) / step + 1e-9) + 1)]
    return [_value(axis, f"{number:g}" if number < 1e5 else f"{number:.0f}") for number in numbers]


def _value(axis: str, word: str) -> Any:
    if axis == "seed" and draws(word):
        return first_seed(word)
    if axis in WHOLE | REAL:
        try:
            number = float(word)
            if not math.isfinite(number):
                raise ValueError
        except ValueError:
            raise RequestError(f"{short(word)} is not a value of {axis}: write numbers such as {_example(axis)}.") from None
        if axis in REAL:
            return number
        if number != int(number) or abs(number) > MAX_SEED:
            bound = f" from 0 to {MAX_SEED}" if axis == "seed" else ""
            raise RequestError(f"{short(word)} is not a value of {axis}: write whole numbers{bound} such as {_example(axis)}.")
        return int(number)
    if axis == "solver" and word not in (*SOLVERS, *FLOW_SOLVERS) and not word.startswith("diffusers:"):
        names = ", ".join(dict.fromkeys((*SOLVERS, *FLOW_SOLVERS)))
        raise RequestError(f"Solver {short(word)} is unknown: choose from {names} or diffusers:<Scheduler>.")
    return word


def plan(hub: Hub, setting: Mapping[str, Any], across: tuple[str, Any], down: tuple[str, Any] = ("", "")) -> Grid:
    """A grid of one setting, as JSON values, with one or two words varied; an axis is its name and its values, a list or a text.

    Raises RequestError that names the cell that does not fit.
    """
    if across[0] == down[0]:
        raise RequestError(f"Both axes vary {across[0]}: choose two different ones.")
    setting = dict(setting) | {word: first_seed(setting[word]) for word in ("seed", "seeds") if word in setting and draws(setting[word])}
    columns = values(*across)
    rows = values(*down) if down[0] else [None]
    if len(columns) * len(rows) > MOST_CELLS:
        raise RequestError(f"{len(columns)} x {len(rows)} cells are too many: a grid holds at most {MOST_CELLS}.")
    cells = [[_cell(hub, setting, {across[0]: x} | ({down[0]: y} if down[0] else {}), (x, y)) for x in columns] for y in rows]
    if len({cell.card.video for row in cells for cell in row}) > 1:
        raise RequestError("Some of these models make pictures and some videos: choose only the ones or the others.")
    return Grid((across[0], columns), (down[0], rows), cells)


def _cell(hub: Hub, setting: Mapping[str, Any], axis_values: Mapping[str, Any], both: tuple[Any, Any]) -> Cell:
    words = dict(setting) | {WORDS.get(axis, axis): value for axis, value in axis_values.items()}
    for word in ("labels",) if "class" in axis_values else ():
        words.pop(word, None)
    for word in ("seed", "count") if "seed" in axis_values else ():
        words.pop(word, None)
    try:
        if not isinstance(words.get("model"), str):
            raise RequestError("The setting names no model: choose one, such as tiny-dit.")
        column = compare.column(hub, words)
        if "eta" in axis_values and not takes_eta(column.request.solver):
            raise RequestError(f"{column.request.solver} takes no eta: choose the solver ddim.")
        if len(column.seeds) != 1:
            raise RequestError(f"a cell holds one sample, and {len(column.seeds)} seeds were given: give one, or vary the seed.")
    except RequestError as error:
        place = ", ".join(f"{axis} {_text(value)[:40]}" for axis, value in axis_values.items())
        raise RequestError(f"At {place}: {error}") from None
    return Cell(column.card, column.request, both)


def batches(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that differ in seed and class only, which one request makes, at most MAX_IMAGES at once."""
    groups: dict[Request, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(replace(cell.request, seeds=(), labels=()), []).append(cell)
    return [group[k : k + MAX_IMAGES] for group in groups.values() for k in range(0, len(group), MAX_IMAGES)]


def run(
    hub: Hub, grid: Grid, stop: threading.Event | None = None, visitor: str = ""
) -> Iterator[tuple[list[Cell], Progress | Result | None]]:
    """Fill the cells that are empty: (cells that are being made, Progress) as it comes, (cells, Result) once they are there.

    Once stop is set the cells in the making stay empty and the finished ones are kept. What goes wrong in one cell stands there as
    its error, told with None, and the others are made.
    """
    stop = stop or threading.Event()
    for cells in batches([cell for cell in grid.all_cells if cell.file is None]):
        request = replace(
            cells[0].request,
            seeds=tuple(seed for cell in cells for seed in cell.request.seeds),
            labels=tuple(label for cell in cells for label in cell.request.labels),
        )
        try:
            for item in hub.generate(request, stop=stop, visitor=visitor, keep_steps=False):
                if isinstance(item, Result) and item.stopped_at is None:
                    for cell, file, receipt in zip(cells, item.files, item.receipts, strict=True):
                        cell.file, cell.receipt, cell.error = file, receipt, ""
                yield cells, item
        except ZooError as error:
            for cell in cells:
                cell.error = str(error)
            yield cells, None
        if stop.is_set():
            return
