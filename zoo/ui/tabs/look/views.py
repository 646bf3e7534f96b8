"""What the Look inside tab shows of a recording: pictures and HTML for what the visitor chose."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from zoo.catalog.card import SEEING, Card
from zoo.catalog.labels import DATA
from zoo.engine.request import Request
from zoo.engine.results import put
from zoo.errors import RequestError
from zoo.inside import attention_figures
from zoo.inside.forward_record import ONTO, Layer, Query, Recording
from zoo.inside.inspector import Looker, Run
from zoo.inside.tokenization import position, stages
from zoo.media import figures
from zoo.ui.parts import markup

SIDE = 512
"""Pixels of the two large pictures, so that a click says where it was."""
PATCH = "the patch that was clicked"
STEPS = 8
"""Steps of a run that are drawn side by side."""
CENTRE = (0.5, 0.5, 0.5)


class View(NamedTuple):
    """What is looked at, and how: the values of the controls."""

    subject: dict[str, Any]
    """{model, path} of a picture or clip, or {model, request} of a generation, perhaps with the request `beside` it."""
    way: str
    layer: int
    head: int
    some: list[int]
    target: str | None
    query: str
    place: tuple[float, float]
    frame: int
    step: int
    free: bool

    @property
    def heads(self) -> list[int]:
        """The heads that were chosen."""
        return [int(self.head)] if self.way == "one head" else list(self.some or ())

    def asked(self, frames: int) -> Query:
        """Who looks."""
        return self.at(frames) if self.query == PATCH else self.query

    def at(self, frames: int) -> tuple[float, float, float]:
        """The place that was clicked."""
        return ((int(self.frame) - 0.5) / frames, *self.place)


class Views:
    """Draws views, from a Looker's recordings."""

    def __init__(self, looker: Looker) -> None:
        self.looker = looker

    def run(self, request: dict[str, Any]) -> Run:
        """The run of a request."""
        return self.looker.run(Request.from_dict(request))

    def recording(self, subject: dict[str, Any], layer: int | None = None, step: int = 1, free: bool = False) -> Recording:
        """The recording of a subject that holds this layer. Raises RequestError where there is none yet."""
        if not {"path", "request"} & subject.keys():
            raise RequestError("There is nothing to look at yet: bring a picture, or press Generate and look.")
        if "path" in subject:
            return self.looker.picture(subject["model"], subject["path"], layer)
        return self.looker.step(self.run(subject["request"]), int(step) - 1, layer, bool(free))

    def draw(self, view: View) -> dict[str, Any]:
        """Where one place or token looks: on the picture, in all layers and heads, and beside the other model."""
        recording = self.recording(view.subject, view.layer, view.step, view.free)
        frames = len(recording.shown)
        asked, layer = view.asked(frames), recording.layers[view.layer]
        traced = self._traced(view, recording) if view.way == "relevance" else None
        values, rest = attention_figures.chosen(recording, view.layer, asked, view.way, view.heads, traced)
        clicked = layer.token(view.at(frames))
        picture, heat = pair(recording, layer, values, int(view.frame) - 1, clicked, view.query == PATCH)
        sheet = attention_figures.contact(recording, asked, clicked[0])
        return {
            "picture": picture, "heat": heat, "caption": _caption(recording, view, values, rest, clicked),
            "strip": _strip(recording, view, values) if frames > 1 else "",
            "sheet": markup.picture(sheet, "layers-by-heads", "A row a layer, a column a head", "Each on its own scale, dark to bright."),
            "position": markup.stages([position(recording, view.at(frames))], _before(recording) + 1),
            "second": self._beside(view, asked, recording) if "beside" in view.subject else "",
        }  # fmt: skip

    def _traced(self, view: View, recording: Recording) -> Tensor:
        if "path" not in view.subject:
            raise RequestError("Relevance is traced from a class that a classifier named: choose a model that looks at pictures.")
        return self.looker.relevance(view.subject["model"], view.subject["path"], recording.label(view.target))

    def _beside(self, view: View, asked: Query, first: Recording) -> str:
        """The other model on the same seed, at equal noise and equal depth."""
        run, other = self.run(view.subject["request"]), self.run(view.subject["beside"])
        index, layers = self.looker.nearest_level(other, self.looker.levels(run)[int(view.step) - 1]), self.looker.layers(other)
        there = round(view.layer * (len(layers) - 1) / max(len(first.layers) - 1, 1))
        recording, layer = self.looker.step(other, index, there, view.free), layers[there]
        query = asked if not isinstance(asked, str) or asked.removeprefix(ONTO) in recording.extra else CENTRE
        way = view.way if view.way != "rollout" or recording.whole else attention_figures.WAYS[0]
        values, _ = attention_figures.chosen(recording, there, query, way, [min(head, layer.heads - 1) for head in view.heads])
        clicked = layer.token(query if not isinstance(query, str) else CENTRE)
        frame = clicked[0] * len(recording.shown) // len(values)
        picture, heat = pair(recording, layer, values, frame, clicked, not isinstance(query, str))
        words = f"Step {index + 1} of {len(other.trace.inputs)}, where as much noise is left; layer {layer.name}."
        title = recording.card.title
        cells = markup.picture(picture, "beside", title, words), markup.picture(heat, "beside-looks", f"Where {title} looks", words)
        return f'<div class="plates">{"".join(cells)}</div>'

    def tokens(self, view: View) -> dict[str, str]:
        """The way from picture to tokens, and the figures by layer."""
        recording = self.recording(view.subject, view.layer, view.step, view.free)
        frame = min(int(view.frame), len(recording.shown)) - 1
        shown, split = stages(recording, frame), _before(recording)
        return {
            "tokens": markup.stages(shown[:split]), "entering": markup.stages(shown[split:], split + 2),
            "plots": markup.plates(attention_figures.plots(recording)),
        }  # fmt: skip

    def through(self, view: View) -> str:
        """The same layer, head and place at steps evenly over the run, and what changes on the way."""
        if "request" not in view.subject:
            raise RequestError("There are steps in a generation only: choose a model that draws, and press Generate and look.")
        run = self.run(view.subject["request"])
        total = len(run.trace.inputs)
        steps = sorted({round(k) for k in np.linspace(0, total - 1, min(STEPS, total))})
        recordings = {k: self.looker.step(run, k, int(view.layer), bool(view.free)) for k in steps}
        shown = attention_figures.through(recordings, view.layer, view.asked(len(run.made)), view.way, view.heads)
        values = self.looker.modulations(run, bool(view.free))
        return markup.plates([*shown, *(attention_figures.modulated(values) if values is not None else [])])

    def cut(self, view: View, skip: int, factor: float) -> str:
        """What a long skip carried: the clean prediction with more or less of it, and the difference."""
        if "request" not in view.subject:
            raise RequestError("Long skips are those of a U-ViT's run: choose one, and press Generate and look.")
        run, step, layer = self.run(view.subject["request"]), int(view.step) - 1, int(view.layer)
        whole = self.looker.step(run, step, layer)
        scaled = self.looker.step(run, step, layer, scales={int(skip): float(factor)})
        gap = np.abs(whole.shown[0].astype(np.int16) - scaled.shown[0]).mean(-1)
        share = f"Skip {int(skip)} carries {100 * whole.skips[int(skip)]:.0f} % of what comes together there."
        apart = f"Up to {gap.max():.0f} of 255 levels, bright where most."
        pictures = (
            (whole.shown[0], "as-it-is", "As it is", share),
            (scaled.shown[0], "scaled", f"{factor:g} times what it carries", "The clean prediction of this step then."),
            (figures.coloured(gap, 0, max(gap.max(), 1)), "difference", "The difference", apart),
        )
        cells = [markup.picture(figures.enlarged(one, 200, smooth=True), *words) for one, *words in pictures]
        return f'<div class="plates">{"".join(cells)}</div>'

    def arrays(self, view: View, folder: Path) -> str:
        """Write all arrays of a recording into a file; its path."""
        recording = self.recording(view.subject, view.layer, view.step, view.free)
        content = attention_figures.arrays(recording)
        name = f"{recording.card.id}-inside-{hashlib.sha256(content).hexdigest()[:10]}.npz"
        return str(put({name: content}, folder)[0])


def price(card: Card, patch: int) -> str:
    """What another patch size would cost, in one sentence."""
    if card.family == "swin":
        return markup.note("Attention stays within windows here: its cost grows with the number of patches, not with its square.")
    n, pairs, total = attention_figures.cost(card, min(max(int(patch), 1), widest(card)))
    own, *_ = attention_figures.cost(card, card.arch["patch_size"])
    own_side = card.arch["patch_size"]
    times = "as it is" if patch == own_side else f"{n / own:.3g} times as many as with its own {own_side}"
    words = f"{n} tokens, {times}: {total:.3g} billion multiply-adds in the blocks"
    return markup.note(f"{words}, {100 * pairs / total:.0f} % of them between tokens, which grow with the square of their number.")


def widest(card: Card) -> int:
    """The largest patch that is told of: half of the picture."""
    return (card.pixels.crop or card.arch["input_size"]) // 2


def _before(recording: Recording) -> int:
    """Stages before the tokens are told where they stand."""
    return 6 + (recording.brought is not None)


def pair(
    recording: Recording, layer: Layer, values: Tensor, frame: int, clicked: tuple[int, int, int], framed: bool
) -> tuple[Image.Image, Image.Image]:
    """The picture with its patches, and where is looked on it."""
    shown, (_, rows, columns) = recording.shown[frame], layer.grid
    ground = figures.enlarged(shown, SIDE, smooth=True)
    place = clicked[1:] if framed else None
    window = round(layer.places.shape[1] ** 0.5) if layer.places is not None else 0
    picture = figures.marked(ground, (rows, columns), place)
    over = figures.overlay(shown, values[clicked[0]].numpy(), SIDE, high=float(values.max()))
    heat = figures.marked(over, (rows, columns), place, lines=False)
    if window:
        shift = int(layer.places[0, 0]) // columns
        picture, heat = (figures.windows(one, (rows, columns), window, shift) for one in (picture, heat))
    return picture, heat


def _caption(recording: Recording, view: View, values: Tensor, rest: Tensor, clicked: tuple[int, int, int]) -> str:
    layer, top = recording.layers[view.layer], float(values.max())
    who = f"row {clicked[1] + 1}, column {clicked[2] + 1}" if view.query == PATCH else view.query
    head = f"head {int(view.head)} of {layer.heads}" if view.way == "one head" else view.way
    head += f" {', '.join(map(str, view.heads))}" if view.way.endswith("chosen heads") else ""
    others = list(zip(recording.extra, rest.tolist(), strict=False))[:3]
    tokens = ", ".join(f"{100 * share:.0f} % on the {name} token" for name, share in others)
    unit = {"relevance": "relevance", "rollout": "share of attention, rolled out"}.get(view.way, "share of attention")
    words = f"Layer {layer.name} · {head} · {who}: {top:.2g} at most on one patch{'; ' + tokens if tokens else ''}."
    scale = figures.png(figures.bar(max(top, 1e-9), unit))
    return f"{markup.image(scale, 'colour bar: ' + unit)}{markup.note(words)}"


def _strip(recording: Recording, view: View, values: Tensor) -> str:
    """Every frame, or tubelet, with what is looked at in it, on one scale; of a layer through time, who of a place attends to whom."""
    if recording.layers[view.layer].kind == "time":
        one = attention_figures.joined(recording.frames(view.layer, view.place), view.way, view.heads).numpy()
        names = [str(k + 1) for k in range(len(one))]
        title = "Frame to frame, at the place that was clicked"
        return markup.plate(figures.matrix("frame-to-frame", title, one, "attended to", "frame", "share of attention", names, names, 0.0))
    count, top = len(values), float(values.max())
    frames = [recording.shown[k * len(recording.shown) // count] for k in range(count)]
    over = [np.asarray(figures.overlay(one, v.numpy(), 96, high=top)) for one, v in zip(frames, values, strict=True)]
    return markup.picture(figures.sheet(over, min(count, 8), 96), "frames", "Frame by frame", "All on one scale.")


def examples(card: Card) -> list[tuple[str, str]]:
    """Pictures, or a clip, that are at hand offline: (name, path), the fitting one first."""
    clip = ("a clip: a star jumps", str(DATA / "example-clip.webp"))
    if "num_frames" in card.arch:
        return [clip]
    from matplotlib.cbook import get_sample_data

    drawn = [(f"a {name}, drawn", str(DATA / f"example-{name}.png")) for name in ("star", "heart")]
    photograph = ("a photograph: Grace Hopper", str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return [*drawn, photograph] if card.arch["input_size"] <= 64 else [photograph, *drawn]


def model_choices(looker: Looker) -> list[tuple[str, str]]:
    """(title, what it does and whether it is here, id) of every model that can be looked into, ready ones and the plain ViT first."""
    found = sorted(looker.models(), key=lambda card: (not looker.hub.local(card), card.task not in SEEING, card.family != "vit"))
    words = {card.id: f"{'looks' if card.task in SEEING else 'draws'}{'' if looker.hub.local(card) else ' · not here'}" for card in found}
    return [(f"{card.title} · {words[card.id]}", card.id) for card in found]
