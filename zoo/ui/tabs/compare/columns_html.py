"""HTML of the Compare tab: a column of samples while it forms and at its end, a video as one picture of its frames, a grid of cells."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from zoo.compare.grid import Cell, Grid
from zoo.compare.setting import Setting
from zoo.engine.request import MAX_IMAGES, Progress
from zoo.media import pictures
from zoo.ui.parts import markup

SINGLE = 16
"""Samples up to which each is a picture of its own while they form."""


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
    images, files = column.images, column.files
    if images.ndim == 5:
        cells = [clip(video, column.request.fps, k) for k, video in enumerate(images)]
    else:
        sources = [markup.picture_url(image, exact=True) for image in images] if blind else [file_url(path) for path in files]
        cells = [
            f'<img loading="lazy" data-sample="{k}" alt="sample {k + 1}" title="sample {k + 1}, seed {seed}" src="{source}">'
            for k, (source, seed) in enumerate(zip(sources, column.seeds, strict=False))
        ]
    return _column(place, run_id, head, cells, markup.columns(len(images)), words, 0.0)


def _column(place: int, run_id: str, head: str, cells: Sequence[str], across: int, words: str, noise: float) -> str:
    frame = f'<div class="frame" data-noise="{noise:.5f}" style="--columns:{across}">{"".join(cells)}</div>'
    return f'<div class="samples" data-place="{place}" data-run="{run_id}"><h3>{html.escape(head)}</h3>{frame}{words}</div>'


def clip(frames: np.ndarray, fps: int, sample: int) -> str:
    """A video (f, h, w, 3) uint8 as one picture of all its frames, of which page.js shows one at a time, the same in all columns."""
    across = markup.columns(len(frames))
    down = -(-len(frames) // across)
    sheet = np.asarray(pictures.grid(frames, across, gap=0))
    style = f"background-image:url({markup.picture_url(sheet)});background-size:{100 * across}% {100 * down}%"
    data = f'data-frames="{len(frames)}" data-across="{across}" data-down="{down}" data-fps="{fps}" data-sample="{sample}"'
    return f'<div class="clip" role="img" aria-label="video {sample + 1}" {data} style="{style}"></div>'


def grid_table(grid: Grid, forming: list[Cell] | None = None, item: Progress | None = None) -> str:
    """The grid under the values of its axes; cells in the making show their preview."""
    previews = {id(cell): item.preview[k] for k, cell in enumerate(forming or [])} if item is not None else {}
    top = "".join(f"<th>{html.escape(words)}</th>" for words in grid.words(0))
    body, number = "", 0
    sides = grid.words(1) if grid.down[0] else [""]
    for words, row in zip(sides, grid.cells, strict=True):
        body += f"<tr><th>{html.escape(words)}</th>"
        for cell in row:
            body += f'<td data-cell="{number}" tabindex="0">{_content(cell, previews.get(id(cell)))}</td>'
            number += 1
        body += "</tr>"
    corner = f"<th>{' / '.join(filter(None, (grid.down[0], grid.across[0])))}</th>"
    table = f'<table class="grid"><thead><tr>{corner}{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'{markup.note(grid.title())}<div class="wide">{table}</div>'


def _content(cell: Cell, preview: Any) -> str:
    if cell.file is not None:
        return f'<img alt="finished cell" src="{file_url(cell.file.with_suffix(".webp") if cell.card.video else cell.file)}">'
    if preview is not None:
        return f'<img alt="cell forming" class="forming" src="{markup.picture_url(preview if preview.ndim == 3 else preview[-1])}">'
    return f'<i title="{html.escape(cell.error)}">{"not made" if cell.error else ""}</i>'


def file_url(path: Path) -> str:
    """Where the page finds a file of the results: a copy named after its content, for the file itself may be written again meanwhile."""
    copy = save_file_to_cache(path, get_upload_folder())
    return f"gradio_api/file={Path(copy).as_uri().removeprefix('file://')}"
