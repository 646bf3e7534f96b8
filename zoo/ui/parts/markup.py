"""What the page says and shows as HTML: notes, progress, previews, and figures with their titles and downloads."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from zoo.inside.tokenization import Stage
from zoo.media import figures
from zoo.media.figures import Figure
from zoo.media.pictures import data_url
from zoo.ui.server import page_files

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.compare.nearest import Drawing
    from zoo.engine.request import Progress, Request, Result

ACROSS = 20
"""Drawings in a row of the sprite `drawings.webp`."""


def note(text: str, kind: str = "plain") -> str:
    """One line of words under the frame; kind: plain | error | good."""
    role = ' role="alert"' if kind == "error" else ""
    return f'<p class="note {kind}"{role}>{html.escape(text)}</p>'


def bar(share: float, words: str) -> str:
    """A thin line that is filled to a share, with words under it, which a screen reader is told."""
    percent = 100 * share
    attributes = f'role="progressbar" aria-label="progress" aria-valuenow="{percent:.0f}"'
    return f'<div class="line" {attributes}><b style="width:{percent:.1f}%"></b></div><div role="status">{note(words)}</div>'


def when(timestamp: str) -> str:
    """A time of a receipt in words: 25 Nov 2026, 09:50."""
    try:
        time = datetime.fromisoformat(timestamp).astimezone()
    except (TypeError, ValueError):
        return "at an unknown time"
    return f"{time.day} {time:%b %Y, %H:%M}"


def waiting(item: Progress) -> str:
    """The place in the queue and seconds, where they are known."""
    time_left = "" if item.seconds_left is None else f", about {max(1, round(item.seconds_left))} s"
    return f"waiting: {item.ahead} ahead of you{time_left}"


def progress_line(item: Progress, card: Card) -> str:
    """A thin line with words under it: waiting, loading, or step k of n and the time left."""
    words = waiting(item) if item.stage == "waiting" else f"loading {card.title}, {card.size}"
    if item.stage == "asking":
        words = "waiting for a GPU"
    if item.stage == "sampling":
        words = f"step {item.step} of {item.total}, {item.seconds_left:.1f} s left, {item.steps_per_second:.1f} steps/s"
    return bar(item.step / item.total if item.total else 0.0, words)


def facts(request: Request, title: str, label: str, seeds: Sequence[int], ending: str) -> str:
    """One line that says what was asked and how it ended, the seeds always among it."""
    seed = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    words = (title, label, f"seed {seed}", f"{request.steps} steps {request.solver}", f"guidance {request.guidance:g}", ending)
    return note(" · ".join(word for word in words if word))


def ending(result: Result) -> str:
    """How a run ended."""
    if result.stopped_at:
        return f"stopped after step {result.stopped_at}, what was there is kept"
    return f"{result.seconds:.1f} s"


def verdict(words: str, what: str, earlier: Mapping[str, Any], receipt: Mapping[str, Any]) -> str:
    """How a repeated picture or video compares with the one that was brought, and what may have made a difference, by their receipts."""
    if words.startswith("Identical"):
        return note(f"Against the {what}: {words}", "good")
    if earlier.get("weights") != receipt["weights"]:
        words += " The weights are not the ones that made the earlier one."
    if earlier.get("shared_passes") or receipt["shared_passes"]:
        words += " One of the two went through the model together with others, which rounds differently: usually by 1 of 255 levels."
    return note(f"Against the {what}: {words}")


def frame(images: np.ndarray | None, count: int, step: int = 0, total: int = 0) -> str:
    """The frame of the live preview: pictures (b, h, w, 3) uint8 of a step inline, or as many empty places."""
    cells = (
        [f'<img alt="preview {k + 1}" src="{picture_url(image)}">' for k, image in enumerate(images)]
        if images is not None
        else ["<i></i>"] * count
    )
    return f'<div class="frame" data-step="{step}" data-total="{total}" style="--columns:{columns(count)}">{"".join(cells)}</div>'


def columns(count: int) -> int:
    """Columns of a nearly square arrangement."""
    return math.ceil(math.sqrt(count))


def picture_url(image: np.ndarray, exact: bool = False) -> str:
    """A picture (h, w, 3) uint8 inside a URL: as a PNG, or a large one that need not be exact as a JPEG, a tenth of the bytes."""
    file, kind = io.BytesIO(), "PNG" if exact or image.shape[0] <= 128 else "JPEG"
    Image.fromarray(image).save(file, format=kind, **({"compress_level": 1} if kind == "PNG" else {"quality": 88}))
    return data_url(file.getvalue(), f"image/{kind.lower()}")


def plate(figure: Figure, words: str = "", number: int = 0) -> str:
    """One figure with its title, a sentence, and links to its files."""
    image = data_url(figure.png, "image/png")
    links = f'<a download="{figure.name}.png" href="{image}">PNG</a>'
    if figure.svg:
        links += f' <a download="{figure.name}.svg" href="{data_url(figure.svg.encode(), "image/svg+xml")}">SVG</a>'
    title = f"{number}. {figure.title}" if number else figure.title
    paragraph = f"<p>{html.escape(words)}</p>" if words else ""
    alt = html.escape(f"{figure.title}: {words}" if words else figure.title)
    kind, drawing = ("plot", plot(figure.svg, alt)) if figure.svg else ("raster", f'<img alt="{alt}" src="{image}">')
    content = f"<figcaption>{html.escape(title)}</figcaption>{paragraph}{drawing}"
    return f'<figure class="plate {kind}">{content}<p class="get">{links}</p></figure>'


def plot(svg: str, alt: str) -> str:
    """A plot in the text's colour, on the page's ground: its black lines and words follow the theme."""
    drawing = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg[svg.index("<svg") :], flags=re.DOTALL)  # that style would be the page's
    return drawing.replace("#000000", "currentColor").replace("<svg", f'<svg role="img" aria-label="{alt}"', 1)


def plates(drawings: Sequence[Figure]) -> str:
    """Several figures side by side, as many as fit."""
    return f'<div class="plates">{"".join(plate(one) for one in drawings)}</div>'


def stages(steps: Sequence[Stage], first: int = 1) -> str:
    """Steps in their order, numbered."""
    cells = "".join(plate(Figure(one.figure.name, one.title, one.figure.png), one.words, first + k) for k, one in enumerate(steps))
    return f'<div class="plates">{cells}</div>'


def picture(image: Image.Image, name: str, title: str, words: str = "") -> str:
    """A picture that was drawn here as one figure."""
    return plate(Figure(name, title, figures.png(image)), words)


def scale(high: float, unit: str) -> str:
    """A colour bar from 0 to `high` with its unit, to stand under an overlay."""
    stops = ", ".join("#" + bytes(colour).hex() for colour in figures.coloured(np.linspace(0, 1, 17), 0.0, 1.0).tolist())
    ticks = "".join(f"<span>{high * k / 4:.2g}</span>" for k in range(5))
    words = f'role="img" aria-label="colour bar from 0 to {high:.2g}: {html.escape(unit)}"'
    return f'<div class="scale" {words}><i style="background:linear-gradient(90deg, {stops})"></i>{ticks}<b>{html.escape(unit)}</b></div>'


def bars(rows: Sequence[tuple[str, float, int]]) -> str:
    """Names with a share each, as bars, the largest first: the predictions."""
    cells = "".join(
        f'<li><span>{html.escape(name)}</span><i style="width:{60 * share:.1f}%"></i><b>{100 * share:.1f} %</b></li>'
        for name, share, _ in rows
    )
    return f'<ol class="bars">{cells}</ol>' if rows else ""


def nearest(drawings: Sequence[Drawing]) -> str:
    """The drawing of the training data that each sample is nearest to: its picture where that ships, its name, set and licence."""
    cells = []
    for one in drawings:
        words = html.escape(f"{one.name} · {one.design} · {one.licence} · {100 * one.likeness:.0f} % alike")
        place = "" if one.cell is None else f' style="--column:{one.cell % ACROSS};--row:{one.cell // ACROSS}"'
        picture = f'<i role="img" aria-label="{words}"{place}></i>' if place else ""
        cells.append(f'<li title="{words}">{picture}<span>{html.escape(one.name)}</span><small>{html.escape(one.design)}</small></li>')
    if not cells:
        return ""
    title = f"Nearest drawing{'s' if len(cells) > 1 else ''} of the training data: a model this small remembers them."
    sprite = f"--sprite:url({page_files.address('drawings.webp')})"
    return f'<figure class="nearest" style="{sprite}"><figcaption>{title}</figcaption><ul>{"".join(cells)}</ul></figure>'
