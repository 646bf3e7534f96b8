"""Figures and stages as HTML: each with its title, its words and its downloads."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from PIL import Image

from zoo.inside.tokenization import Stage
from zoo.media import figures
from zoo.media.figures import Figure


def plate(figure: Figure, words: str = "", number: int = 0) -> str:
    """One figure with its title, a sentence, and links to its files."""
    image = _url("image/png", figure.png)
    links = f'<a download="{figure.name}.png" href="{image}">PNG</a>'
    if figure.svg:
        links += f' <a download="{figure.name}.svg" href="{_url("image/svg+xml", figure.svg.encode())}">SVG</a>'
    title = f"{number}. {figure.title}" if number else figure.title
    said = f"<p>{html.escape(words)}</p>" if words else ""
    alt = html.escape(f"{figure.title}: {words}" if words else figure.title)
    kind = "plot" if figure.svg else "raster"
    shown = f'<figcaption>{html.escape(title)}</figcaption>{said}<img alt="{alt}" src="{image}">'
    return f'<figure class="plate {kind}">{shown}<p class="get">{links}</p></figure>'


def plates(shown: Sequence[Figure]) -> str:
    """Several figures side by side, as many as fit."""
    return f'<div class="plates">{"".join(plate(one) for one in shown)}</div>'


def stages(shown: Sequence[Stage], first: int = 1) -> str:
    """Steps in their order, numbered."""
    cells = "".join(plate(Figure(one.figure.name, one.title, one.figure.png), one.words, first + k) for k, one in enumerate(shown))
    return f'<div class="plates">{cells}</div>'


def picture(image: Image.Image, name: str, title: str, words: str = "") -> str:
    """A picture that was drawn here as one figure."""
    return plate(Figure(name, title, figures.png(image)), words)


def image(content: bytes, words: str) -> str:
    """A PNG in the line."""
    return f'<img class="inline" alt="{html.escape(words)}" src="{_url("image/png", content)}">'


def bars(rows: Sequence[tuple[str, float, int]]) -> str:
    """Names with a share each, as bars: the predictions."""
    cells = "".join(
        f'<li><span>{html.escape(name)}</span><i style="width:{60 * share:.1f}%"></i><b>{100 * share:.1f} %</b></li>'
        for name, share, _ in rows
    )
    return f'<ol class="bars">{cells}</ol>' if rows else ""


def _url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
