"""A film in the frame of a result: pictures that change together, with Pause, a slider and a line that says what is seen (results.js)."""

from __future__ import annotations

import html
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.engine.steps_film import StepsFilm
from zoo.media import sprites
from zoo.media.pictures import data_url
from zoo.ui.parts import markup

HELP = {
    "film-play": "Stops the film where it is, or lets it go on.",
    "film-place": "Shows the film at this place and stops it there.",
    "film-back": "Closes the film: the result stands in its place again.",
}
STEPS_A_SECOND = 6
"""Of a film of steps: slow enough to see the noise go."""
CLOSING = """element.addEventListener("click", (event) => { if (event.target.closest("[data-close]")) { trigger("click"); } });"""
"""For the frame of a tab: what a film's own button gives back to the server."""


@dataclass(frozen=True)
class Reel:
    """A sprite that holds the pictures of every screen, screen by screen, and how they are played."""

    url: str
    across: int
    width: int
    height: int
    labels: Sequence[str]
    """What is seen, picture by picture."""
    fps: float = STEPS_A_SECOND
    rest: float = 2.5
    """Seconds that it stays on its end before it begins again."""


def film(reel: Reel, screens: Sequence[tuple[str, Sequence[str]]], after: str = "", asked: bool = False, kind: str = "") -> str:
    """The HTML of a film. screens: groups side by side, each a caption and the names of its screens; after: HTML under the slider;
    asked: somebody asked for it, so it plays where less motion is wished for as well; kind: another class of the frame."""
    groups = "".join(
        f'<figure><div class="screens" style="--columns:{markup.columns(len(names))}">'
        + "".join(
            f'<canvas role="img" aria-label="{html.escape(name)}" width="{reel.width}" height="{reel.height}"></canvas>' for name in names
        )
        + f"</div><figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, names in screens
    )
    last = len(reel.labels) - 1
    words = html.escape(json.dumps(list(reel.labels)))
    data = f'data-film="{uuid.uuid4().hex}" data-sprite="{reel.url}" data-across="{reel.across}" data-labels="{words}"'
    data += f' data-fps="{reel.fps:g}" data-rest="{reel.rest:g}"' + (" data-asked" if asked else "")
    bar = (
        '<div class="film-bar"><button type="button" class="film-play" data-help="film-play">Pause</button>'
        f'<input type="range" min="0" max="{last}" value="0" aria-label="Place in the film" data-help="film-place">'
        '<span class="film-at"></span></div>'
    )
    return f'<div class="frame film {kind}" {data}><div class="groups">{groups}</div>{bar}{after}</div>'


def of_steps(steps: StepsFilm) -> str:
    """The film of all steps of a run: noisy samples beside clean predictions, and a way back to the result."""
    tiles = sprites.sprite(np.concatenate([*steps.noisy, *steps.clean]))
    labels = [f"step {step} of {steps.total}, noise {noise:.2f}" for step, noise in zip(steps.steps, steps.noise, strict=True)]
    url = data_url(tiles.content, "image/webp")
    count = range(1, len(steps.noisy) + 1)
    screens = [
        ("noisy sample x_t", [f"noisy sample {k}" for k in count]),
        ("clean prediction x_0", [f"clean prediction {k}" for k in count]),
    ]
    back = '<button type="button" class="film-back" data-close data-help="film-back">Show the result</button>'
    return film(Reel(url, tiles.across, tiles.width, tiles.height, labels), screens, back, asked=True)
