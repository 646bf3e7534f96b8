"""HTML of the Compare tab: a column of samples while it forms and at its end, a video as one picture of its frames, a grid of cells."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from zoo.compare.grid import Cell, Grid
from zoo.compare.setting import Setting
from zoo.engine.request import MAX_IMAGES, Progress
from zoo.media import pictures
from zoo.ui.parts import gallery_entries, markup

SINGLE = 16
"""Samples up to which each is a picture of its own while they form."""
PICKING = """const picked = (event) => event.target.closest("button[data-sample], button[data-cell]");
element.addEventListener("click", (event) => {
  const button = picked(event);
  if (button) { trigger("click", { index: Number(button.dataset.sample ?? button.dataset.cell) }); }
});
element.addEventListener("keydown", (event) => {
  const buttons = [...element.querySelectorAll("button[data-sample], button[data-cell]")], at = buttons.indexOf(picked(event));
  if (at < 0) { return; }
  const top = (button) => Math.round(button.getBoundingClientRect().top);
  const across = buttons.filter((button) => Math.abs(top(button) - top(buttons[0])) < 4).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -at, End: buttons.length - 1 - at };
  const next = buttons[at + steps[event.key]];
  if (!next) { return; }
  event.preventDefault();
  buttons.forEach((button) => { button.tabIndex = button === next ? 0 : -1; });
  next.focus();
});"""
"""A click or Enter picks a sample or a cell; arrow keys walk among them, of which one at a time is a stop of the Tab key."""


def forming_column(place: int, run_id: str, head: str, images: np.ndarray | None, column: Setting, words: str, noise: float) -> str:
    """One column while it forms: its samples, how noisy what the network saw was, and words under it (page.js keeps what was shown)."""
    count = len(images) if images is not None else len((column.remaining or column.rounds)[0].seeds)
    if images is None:
        cells = ["<i></i>"] * min(count, MAX_IMAGES)
    elif images.ndim == 5:
        cells = [clip(video, column.request.fps, k) for k, video in enumerate(images)]
    elif count > SINGLE:
        stride = max(1, images.shape[1] * markup.columns(count) // 1024)
        sheet = np.asarray(pictures.grid(images[:, ::stride, ::stride], markup.columns(count), gap=2))
        return _column(place, run_id, head, [f'<img alt="{count} samples forming" src="{markup.picture_url(sheet)}">'], 1, words, noise)
    else:
        cells = [f'<img alt="sample {k + 1} forming" src="{markup.picture_url(image)}">' for k, image in enumerate(images)]
    return _column(place, run_id, head, cells, markup.columns(count), words, noise)


def finished_column(place: int, run_id: str, head: str, column: Setting, words: str, blind: bool = False) -> str:
    """One column at its end: all its samples, each from its file, whose name tells the model, or blindly; a click chooses one."""
    if column.card.video:
        cells = [clip(video, column.request.fps, k, finished=True) for k, video in enumerate(column.samples)]
    else:
        exact = (markup.picture_url(image, exact=True) for image in column.samples)
        sources = exact if blind else [file_url(path) for path in column.files]
        cells = [
            f'<button type="button" data-sample="{k}" tabindex="{-bool(k)}" title="sample {k + 1}, seed {seed}">'
            f'<img alt="sample {k + 1}, seed {seed}" src="{source}"></button>'
            for k, (source, seed) in enumerate(zip(sources, column.seeds, strict=False))
        ]
    return _column(place, run_id, head, cells, markup.columns(len(column.samples)), words, 0.0)


def _column(place: int, run_id: str, head: str, cells: Sequence[str], across: int, words: str, noise: float) -> str:
    frame = f'<div class="frame" data-noise="{noise:.5f}" style="--columns:{across}">{"".join(cells)}</div>'
    return f'<div class="samples" data-place="{place}" data-run="{run_id}"><h3>{html.escape(head)}</h3>{frame}{words}</div>'


def clip(frames: np.ndarray, fps: int, sample: int, finished: bool = False) -> str:
    """A video (f, h, w, 3) uint8 as one picture of all its frames, of which page.js shows one at a time, the same in all columns."""
    across = markup.columns(len(frames))
    down = -(-len(frames) // across)
    sheet = np.asarray(pictures.grid(frames, across, gap=0))
    style = f"background-image:url({markup.picture_url(sheet)});background-size:{100 * across}% {100 * down}%"
    data = f'data-frames="{len(frames)}" data-across="{across}" data-down="{down}" data-fps="{fps}" style="{style}"'
    if finished:
        picking = f'type="button" data-sample="{sample}" tabindex="{-bool(sample)}"'
        return f'<button class="clip" aria-label="sample {sample + 1}, a video" {picking} {data}></button>'
    return f'<div class="clip" role="img" aria-label="sample {sample + 1} forming" {data}></div>'


def grid_table(grid: Grid, forming: list[Cell] | None = None, item: Progress | None = None) -> str:
    """The grid under the values of its axes; cells in the making show their preview."""
    previews = {id(cell): item.preview[k] for k, cell in enumerate(forming or [])} if item is not None else {}
    top = "".join(f'<th scope="col">{html.escape(words)}</th>' for words in grid.words(0))
    body, number = "", 0
    sides = grid.words(1) if grid.down[0] else [""]
    for words, row in zip(sides, grid.cells, strict=True):
        body += f'<tr><th scope="row">{html.escape(words)}</th>' if words else "<tr><td></td>"
        for across, cell in zip(grid.words(0), row, strict=True):
            name = ", ".join(f"{axis} {value}" for axis, value in ((grid.across[0], across), (grid.down[0], words)) if axis)
            content = _content(cell, previews.get(id(cell)), html.escape(name))
            body += f'<td><button type="button" data-cell="{number}" tabindex="{-bool(number)}">{content}</button></td>'
            number += 1
        body += "</tr>"
    corner = f"<td>{' / '.join(filter(None, (grid.down[0], grid.across[0])))}</td>"
    table = f'<table class="grid"><thead><tr>{corner}{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'{markup.note(grid.title())}<div class="wide" role="region" aria-label="grid of samples" tabindex="0">{table}</div>'


def _content(cell: Cell, preview: Any, name: str) -> str:
    """What stands in a cell; name: its place on the axes, as HTML."""
    if cell.file is not None:
        return f'<img alt="{name}" src="{file_url(cell.file.with_suffix(".webp") if cell.card.video else cell.file)}">'
    if preview is not None:
        source = markup.picture_url(preview if preview.ndim == 3 else preview[-1])
        return f'<img alt="{name}, forming" class="forming" src="{source}">'
    state = "failed" if cell.error else "empty"
    return f'<i role="img" aria-label="{name}, {state}" title="{html.escape(cell.error)}">{"failed" if cell.error else ""}</i>'


def file_url(path: Path) -> str:
    """Where the page finds a file of the results: a link to what it is now, for the file itself may be written again meanwhile."""
    return f"gradio_api/file={url_path(gallery_entries.served(path).absolute())}"


def url_path(path: PurePath) -> str:
    """An absolute path as it stands in a URL: /tmp/a%20b.png, C:/a%20b.png, //server/share/a.png."""
    uri = path.as_uri()
    return uri.removeprefix("file:" if uri[7] != "/" else "file:///" if path.drive else "file://")
