"""Arrays -> pictures that explain: overlays and contact sheets with Pillow, plots with matplotlib. Knows no model."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoo.media import pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MAP = "viridis"
"""The one colour map: perceptually uniform, and legible to the colour-blind."""
MARK = (255, 64, 64)
"""Colour of what was clicked."""
WINDOW = (255, 200, 40)
"""Colour of windows' borders."""
LABEL = (125, 134, 148)
"""Colour of words in pictures without a ground of their own: about 3.8 to 1 on white and on a dark panel."""


@dataclass(frozen=True)
class Figure:
    """A figure in a file's bytes: always a PNG, and where it is a plot an SVG as well."""

    name: str
    title: str
    png: bytes
    svg: str = ""


def coloured(values: np.ndarray, low: float = 0.0, high: float | None = None) -> np.ndarray:
    """Numbers of any shape to colours (..., 3) uint8, `low` dark and `high` (their largest where None) bright."""
    from matplotlib import colormaps

    top = values.max() if high is None else high
    scaled = (values - low) / (top - low) if top > low else np.zeros_like(values)
    return colormaps[MAP](np.clip(scaled, 0, 1), bytes=True)[..., :3]


def enlarged(image: np.ndarray, side: int, smooth: bool = False) -> Image.Image:
    """A picture (h, w, 3) uint8 enlarged to a width of at least `side`: in whole squares, or smoothly where it is a photograph."""
    height, width = image.shape[:2]
    factor = max(1, math.ceil(side / width))
    if smooth:
        return Image.fromarray(image).resize((side, round(side * height / width)), Image.Resampling.LANCZOS)
    return Image.fromarray(image).resize((width * factor, height * factor), Image.Resampling.NEAREST)


def overlay(picture: np.ndarray, values: np.ndarray, side: int = 512, opacity: float = 0.62, high: float | None = None) -> Image.Image:
    """A picture (h, w, 3) uint8, grey, under the colours of values (rows, columns): side x side pixels, a square a patch."""
    ground = Image.fromarray(picture).convert("L").convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    heat = Image.fromarray(coloured(values, 0.0, high)).resize((side, side), Image.Resampling.NEAREST)
    return Image.blend(ground, heat, opacity)


def marked(picture: Image.Image, grid: tuple[int, int], place: tuple[int, int] | None, lines: bool = True) -> Image.Image:
    """A copy of a picture with the borders of its patches, rows x columns, and the chosen one framed."""
    copy = picture.copy()
    draw = ImageDraw.Draw(copy, "RGBA")
    (rows, columns), (width, height) = grid, copy.size
    if lines:
        for k in range(1, columns):
            draw.line([(k * width / columns, 0), (k * width / columns, height)], fill=(255, 255, 255, 90))
        for k in range(1, rows):
            draw.line([(0, k * height / rows), (width, k * height / rows)], fill=(255, 255, 255, 90))
    if place:
        row, column = place
        box = [column * width / columns, row * height / rows, (column + 1) * width / columns - 1, (row + 1) * height / rows - 1]
        draw.rectangle(box, outline=MARK, width=max(2, width // 170))
    return copy


def framed(picture: Image.Image, box: Sequence[float]) -> Image.Image:
    """A copy of a picture with a rectangle in the colour of what was clicked."""
    copy = picture.copy()
    ImageDraw.Draw(copy).rectangle([max(0, box[0]), max(0, box[1]), box[2] - 1, box[3] - 1], outline=MARK, width=2)
    return copy


def windows(picture: Image.Image, grid: tuple[int, int], size: int, shift: int) -> Image.Image:
    """A copy of a picture of rows x columns patches with the borders of attention windows, shifted ones where they belong."""
    copy = picture.copy()
    draw = ImageDraw.Draw(copy)
    (rows, columns), (width, height) = grid, copy.size
    for k in range(shift % size, max(rows, columns), size):
        across, down = k * width / columns, k * height / rows
        if 0 < k < columns:
            draw.line([(across, 0), (across, height)], fill=WINDOW, width=3)
        if 0 < k < rows:
            draw.line([(0, down), (width, down)], fill=WINDOW, width=3)
    return copy


def sheet(tiles: Sequence[np.ndarray], columns: int, tile: int, gap: int = 3) -> Image.Image:
    """Pictures (h, w, 3) uint8 of any size, each made tile x tile in whole squares, row by row on white."""
    squares = [np.asarray(Image.fromarray(one).resize((tile, tile), Image.Resampling.NEAREST)) for one in tiles]
    return pictures.grid(np.stack(squares), columns, gap=gap)


def labelled(picture: Image.Image, rows: Sequence[str], columns: Sequence[str]) -> Image.Image:
    """A contact sheet with the names of its rows on the left and of its columns above; what is white in it becomes transparent, so that
    it can stand on light and dark."""
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=12)
    left = 10 + max(int(draw.textlength(name, font)) for name in rows)
    whole = Image.new("RGBA", (picture.width + left, picture.height + 20), (*LABEL, 0))
    inside = Image.fromarray(np.where((np.asarray(picture) == 255).all(-1), 0, 255).astype(np.uint8))
    whole.paste(picture, (left, 20), inside)
    draw = ImageDraw.Draw(whole)
    for k, name in enumerate(rows):
        draw.text((left - 6, 20 + (k + 0.5) * picture.height / len(rows)), name, LABEL, font, anchor="rm")
    for k, name in enumerate(columns):
        draw.text((left + (k + 0.5) * picture.width / len(columns), 10), name, LABEL, font, anchor="mm")
    return whole


def scaled(values: np.ndarray) -> np.ndarray:
    """Numbers (..., 3) to uint8, the range from the 1st to the 99th percentile of each channel spread over all levels."""
    low, high = np.percentile(values.reshape(-1, values.shape[-1]), (1, 99), axis=0)
    return (255 * np.clip((values - low) / np.maximum(high - low, 1e-9), 0, 1)).astype(np.uint8)


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=3)
    return file.getvalue()


# ---- plots


def _canvas(width: float, height: float) -> tuple[Canvas, Axes]:
    from matplotlib.figure import Figure as Canvas  # the class, not pyplot: nothing of one visitor is left for the next

    canvas = Canvas(figsize=(width, height), layout="constrained", facecolor="white")
    return canvas, canvas.subplots()


def _render(name: str, title: str, canvas: Canvas) -> Figure:
    import matplotlib as mpl

    files = [io.BytesIO(), io.StringIO()]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "patchwork"}):
        canvas.savefig(files[0], format="png", dpi=160)
        canvas.savefig(files[1], format="svg", metadata={"Date": None}, transparent=True)
    return Figure(name, title, files[0].getvalue(), files[1].getvalue())


def by_layer(name: str, title: str, values: dict[int, np.ndarray], unit: str) -> Figure:
    """A dot a head over the layers, and their mean as a line."""
    canvas, axes = _canvas(5.2, 3.2)
    layers = sorted(values)
    for layer in layers:
        axes.plot([layer] * len(values[layer]), values[layer], "o", ms=4, alpha=0.7, color="#0d9488")
    axes.plot(layers, [values[layer].mean() for layer in layers], "-", lw=1, color="black")
    axes.set(xlabel="layer", ylabel=unit, xticks=layers if len(layers) <= 16 else layers[::4], ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    return _render(name, title, canvas)


def matrix(
    name: str,
    title: str,
    values: np.ndarray,
    across: str,
    down: str,
    unit: str,
    columns: Sequence[str],
    rows: Sequence[str],
    low: float | None = None,
) -> Figure:
    """Numbers (rows, columns) as colours with a colour bar, rows and columns by their names."""
    canvas, axes = _canvas(5.2, 3.2)
    heatmap = axes.imshow(values, cmap=MAP, aspect="auto", vmin=low, interpolation="nearest")
    axes.set(xlabel=across, ylabel=down)
    for place, ticks in ((axes.set_xticks, columns), (axes.set_yticks, rows)):
        every = math.ceil(len(ticks) / 8)
        place(range(0, len(ticks), every), ticks[::every])
    canvas.colorbar(heatmap, ax=axes, label=unit)
    return _render(name, title, canvas)


def curves(name: str, title: str, lines: dict[str, Sequence[float]], ticks: Sequence[float], across: str, unit: str) -> Figure:
    """Named lines over shared places."""
    canvas, axes = _canvas(5.2, 3.2)
    from matplotlib import colormaps

    for (label, values), shade in zip(lines.items(), np.linspace(0.3, 0.75, max(1, len(lines))), strict=True):
        axes.plot(ticks, values, "-", lw=1.5, label=label, color=colormaps[MAP](shade))
    axes.set(xlabel=across, ylabel=unit, ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    if 1 < len(lines) <= 12:
        axes.legend(fontsize="small", frameon=False, ncols=2)
    return _render(name, title, canvas)
