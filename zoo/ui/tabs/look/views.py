"""What the Look inside tab shows of a recording: pictures and HTML for what the visitor chose."""

from __future__ import annotations

import hashlib
import html
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from zoo.catalog.card import SEEING, Card
from zoo.catalog.labels import DATA
from zoo.engine.request import Request
from zoo.errors import RequestError
from zoo.inside import attention, attention_figures
from zoo.inside.attention_figures import CHOSEN, MEAN, ONE, RELEVANCE, ROLLOUT
from zoo.inside.forward_record import ONTO, Layer, Query, Recording
from zoo.inside.inspector import Looker, Run
from zoo.inside.tokenization import position, stages
from zoo.media import figures
from zoo.ui.parts import controls, markup

SIDE = 512
"""Pixels of the two large pictures, so that a click says where it was."""
PATCH = "clicked patch"
STEPS = 8
"""Steps of a run that are drawn side by side."""
CENTRE = (0.5, 0.5, 0.5)


class View(NamedTuple):
    """What is looked at, and how: the values of the controls."""

    subject: dict[str, Any]
    """{model, path} of a picture or clip, or {model, request} of a generation, perhaps with the request `rival` of another model."""
    combination: str
    layer: int
    head: int
    some: list[int]
    target: str | None
    query: str
    place: tuple[float, float]
    frame: int
    step: int
    free: bool

    @classmethod
    def of(cls, *values: Any) -> View:
        """The view of the values of the controls, of which a number may be missing while it is typed. Raises RequestError."""
        view = cls(*values)
        numbers = {"layer": ("Layer", 0, 999), "head": ("Head", 0, 999), "frame": ("Frame", 1, 999), "step": ("Step", 1, 9999)}
        whole = {name: controls.whole(what, getattr(view, name), low, high) for name, (what, low, high) in numbers.items()}
        return view._replace(**whole, some=sorted(int(head) for head in view.some or ()), place=tuple(view.place))

    @property
    def heads(self) -> list[int]:
        """The heads that were chosen."""
        return [self.head] if self.combination == ONE else self.some

    @property
    def of_patch(self) -> bool:
        """Whether a patch is the query: relevance is of a class, whatever was clicked."""
        return self.query == PATCH and self.combination != RELEVANCE

    def asked(self, recording: Recording) -> Query:
        """The query."""
        if self.combination == RELEVANCE and recording.extra:
            return recording.extra[0]
        return self.at(len(recording.pictures)) if self.query == PATCH else self.query

    def at(self, frames: int) -> tuple[float, float, float]:
        """The place that was clicked."""
        return ((min(self.frame, frames) - 0.5) / frames, *self.place)


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
            raise RequestError("There is nothing to look into yet: upload a picture, or press Look inside.")
        if "path" in subject:
            return self.looker.picture(subject["model"], subject["path"], layer)
        return self.looker.step(self.run(subject["request"]), int(step) - 1, layer, bool(free))

    def draw(self, view: View) -> dict[str, Any]:
        """The attention of one place or token: on the picture, in all layers and heads, and beside the other model."""
        recording = self.recording(view.subject, view.layer, view.step, view.free)
        asked, layer = view.asked(recording), recording.layers[view.layer]
        traced = self._traced(view, recording) if view.combination == RELEVANCE else None
        values, rest = attention_figures.chosen(recording, view.layer, asked, view.combination, view.heads, traced)
        clicked = layer.token(view.at(len(recording.pictures)))
        picture, heat = pair(recording, layer, values, min(view.frame, len(recording.pictures)) - 1, clicked, view.of_patch)
        sheet = attention_figures.contact(recording, asked, clicked[0])
        return {
            "picture": picture, "heat": heat, "caption": _caption(recording, view, values, rest, clicked),
            "strip": _strip(recording, view, values) if len(recording.pictures) > 1 else "",
            "sheet": markup.picture(sheet, "layers-by-heads", "One row per layer, one column per head", _sheet_words(recording)),
            "position": markup.stages([position(recording, view.at(len(recording.pictures)))], _before(recording) + 1),
            "second": self._rival(view, asked, recording) if "rival" in view.subject else "",
        }  # fmt: skip

    def _traced(self, view: View, recording: Recording) -> Tensor:
        if "path" not in view.subject:
            raise RequestError("Relevance explains a class that a classifier named: choose a classifier.")
        return self.looker.relevance(view.subject["model"], view.subject["path"], recording.label(view.target))

    def _rival(self, view: View, asked: Query, first: Recording) -> str:
        """The other model on the same seed, at equal noise and equal depth."""
        run, other = self.run(view.subject["request"]), self.run(view.subject["rival"])
        step = min(view.step, len(run.trace.inputs)) - 1
        index, layers = self.looker.nearest_level(other, self.looker.levels(run)[step]), self.looker.layers(other)
        there = round(view.layer * (len(layers) - 1) / max(len(first.layers) - 1, 1))
        recording, layer = self.looker.step(other, index, there, view.free), layers[there]
        query = asked if not isinstance(asked, str) or asked.removeprefix(ONTO) in recording.extra else CENTRE
        combination = view.combination if view.combination != ROLLOUT or recording.whole else MEAN
        values, _ = attention_figures.chosen(recording, there, query, combination, [min(head, layer.heads - 1) for head in view.heads])
        clicked = layer.token(query if not isinstance(query, str) else CENTRE)
        frame = clicked[0] * len(recording.pictures) // len(values)
        picture, heat = pair(recording, layer, values, frame, clicked, not isinstance(query, str))
        words = f"Step {index + 1} of {len(other.trace.inputs)}, the one with the most similar noise level; layer {layer.name}."
        title = recording.card.title
        cells = markup.picture(picture, "rival", title, words), markup.picture(heat, "rival-attention", f"Attention in {title}", words)
        return f'<div class="plates">{"".join(cells)}</div>'

    def tokens(self, view: View) -> dict[str, str]:
        """The way from picture to tokens, and the figures by layer."""
        recording = self.recording(view.subject, view.layer, view.step, view.free)
        frame = min(view.frame, len(recording.pictures)) - 1
        every, split = stages(recording, frame), _before(recording)
        return {
            "tokens": markup.stages(every[:split]), "entering": markup.stages(every[split:], split + 2),
            "plots": markup.plates(attention_figures.plots(recording)),
        }  # fmt: skip

    def through(self, view: View) -> str:
        """The same layer, head and place at steps evenly over the run, and what changes on the way."""
        if "request" not in view.subject:
            raise RequestError("Only a generation has steps: choose a generator, and press Look inside.")
        if view.combination == RELEVANCE:
            raise RequestError("Relevance explains a class that a classifier named: combine the heads in another way.")
        run = self.run(view.subject["request"])
        total = len(run.trace.inputs)
        steps = sorted({round(k) for k in np.linspace(0, total - 1, min(STEPS, total))})
        recordings = {k: self.looker.step(run, k, view.layer, view.free) for k in steps}
        asked = view.asked(recordings[steps[0]])
        drawings = attention_figures.through(recordings, view.layer, asked, view.combination, view.heads)
        values = self.looker.modulations(run, view.free)
        return markup.plates([*drawings, *(attention_figures.modulated(values) if values is not None else [])])

    def cut(self, view: View, skip: int, factor: float) -> str:
        """What a long skip carried: the clean prediction with more or less of it, and the difference."""
        if "request" not in view.subject:
            raise RequestError("Only a U-ViT has long skip connections: choose one, and press Look inside.")
        run, step, layer = self.run(view.subject["request"]), view.step - 1, view.layer
        plain = self.looker.step(run, step, layer)
        scaled = self.looker.step(run, step, layer, scales={int(skip): float(factor)})
        gap = np.abs(plain.pictures[0].astype(np.int16) - scaled.pictures[0]).mean(-1)
        share = f"Skip {int(skip)} carries {100 * plain.skips[int(skip)]:.0f} % of the sum where it is merged."
        apart = f"Up to {gap.max():.0f} of 255 levels; bright where it is largest."
        pictures = (
            (plain.pictures[0], "unchanged", "Unchanged", share),
            (scaled.pictures[0], "scaled", f"Skip {int(skip)} scaled by {factor:g}", "The clean prediction of this step."),
            (figures.coloured(gap, 0, max(gap.max(), 1)), "difference", "Difference", apart),
        )
        cells = [markup.picture(figures.enlarged(one, 200, smooth=True), *words) for one, *words in pictures]
        return f'<div class="plates">{"".join(cells)}</div>'

    def arrays(self, view: View) -> tuple[str, bytes]:
        """All arrays of a recording as a file: its name and content."""
        recording = self.recording(view.subject, view.layer, view.step, view.free)
        content = attention_figures.arrays(recording)
        return f"{recording.card.id}-inside-{hashlib.sha256(content).hexdigest()[:10]}.npz", content


def price(card: Card, patch: int) -> str:
    """What another patch size would cost, in one sentence."""
    if card.family == "swin":
        return markup.note("Attention stays within windows here: its cost grows with the number of patches, not with its square.")
    n, pairs, total = attention_figures.cost(card, min(max(int(patch), 1), widest(card)))
    own, *_ = attention_figures.cost(card, card.arch["patch_size"])
    own_side = card.arch["patch_size"]
    times = f"{n} tokens"
    times += ", as in this model" if patch == own_side else f", {n / own:.3g} times as many as at the model's own size, {own_side}"
    words = f"{times}: {total:.3g} billion multiply-adds in the blocks"
    return markup.note(f"{words}, {100 * pairs / total:.0f} % of them for attention, whose cost grows with the square of the tokens.")


def widest(card: Card) -> int:
    """The largest patch that is offered: half of the picture."""
    return card.side // 2


def _before(recording: Recording) -> int:
    """Stages before the position embedding."""
    return 6 + (recording.original is not None)


def pair(
    recording: Recording, layer: Layer, values: Tensor, frame: int, clicked: tuple[int, int, int], framed: bool
) -> tuple[Image.Image, Image.Image]:
    """The picture with its patches, and the attention over it."""
    pixels, (_, rows, columns) = recording.pictures[frame], layer.grid
    ground = figures.enlarged(pixels, SIDE, smooth=True)
    place = clicked[1:] if framed else None
    window = round(layer.places.shape[1] ** 0.5) if layer.places is not None else 0
    picture = figures.marked(ground, (rows, columns), place)
    over = figures.overlay(pixels, values[clicked[0]].numpy(), SIDE, high=float(values.max()))
    heat = figures.marked(over, (rows, columns), place, lines=False)
    if window:
        shift = int(layer.places[0, 0]) // columns
        picture, heat = (figures.windows(one, (rows, columns), window, shift) for one in (picture, heat))
    return picture, heat


def _caption(recording: Recording, view: View, values: Tensor, rest: Tensor, clicked: tuple[int, int, int]) -> str:
    """A colour bar, and what is drawn on it in one sentence that a screen reader is told; page.js walks the patches by its numbers."""
    layer, top = recording.layers[view.layer], float(values.max())
    heads = f"head {view.head} of {layer.heads}" if view.combination == ONE else view.combination
    heads += f" {', '.join(map(str, view.heads))}" if view.combination == CHOSEN else ""
    others = list(zip(layer.beside or recording.extra, rest.tolist(), strict=False))[:3]
    tokens = "".join(f"; {100 * share:.0f} % on the {name} token" for name, share in others)
    unit = {RELEVANCE: "relevance", ROLLOUT: "share of attention, rolled out"}.get(view.combination, "share of attention")
    subject = f"query: row {clicked[1]}, column {clicked[2]}" if view.of_patch else f"query: {_token(view.query)}"
    if view.combination == RELEVANCE:
        depth, subject = "All layers", f"for the class {view.target or recording.predictions[0][0]}, whichever patch was clicked"
    else:
        depth = f"Layers 0 to {layer.name}" if view.combination == ROLLOUT and view.layer else f"Layer {layer.name}"
    words = f"{depth} · {heads} · {subject}. Largest on one patch: {top:.2g}{tokens}."
    (_, rows, columns), alt = layer.grid, html.escape(words, quote=True)
    data = f'data-rows="{rows}" data-columns="{columns}" data-row="{clicked[1]}" data-column="{clicked[2]}" data-words="{alt}"'
    title = html.escape(recording.card.title, quote=True)
    status = f'<div id="look-status" role="status" data-title="{title}" {data}>{markup.note(words)}</div>'
    return markup.scale(max(top, 1e-9), unit) + status


def _token(query: str) -> str:
    """A token as a query, in words."""
    return f"all patches, onto the {query.removeprefix(ONTO)} token" if query.startswith(ONTO) else f"{query} token"


def _sheet_words(recording: Recording) -> str:
    """What the sheet of all layers and heads holds."""
    words = "Each map has its own scale, dark to bright."
    if len(recording.maps) < len(recording.layers):
        words += f" The maps of all layers need more than {attention.BUDGET / 1e6:.0f} MB, so only the chosen layer is kept."
    return words


def known(recording: Recording) -> str:
    """What a classifier names, how many classes it knows, and whether the picture is far from its data, with the numbers."""
    if not recording.predictions:
        words = f"{recording.card.title} is an encoder without a classification head: it names no class."
        return markup.note(words) if not recording.card.generates else ""
    card, distance = recording.card, recording.data_distance
    count = card.arch["num_classes"]
    names = f" ({', '.join(card.label_names)})" if 0 < len(card.label_names) <= 12 else ""
    words = f"{card.title} knows only {count:,} classes{names} and names one of them whatever it is shown."
    if distance is None:
        return markup.note(words) + markup.bars(recording.predictions)
    numbers = f"distance {distance.value:.1f}; {100 * distance.accepted:g} % of held-out data lie within {distance.limit:.1f}"
    how = f"Mahalanobis distance of the class token's features in {distance.judge} to those of the nearest class."
    what = "clip" if "num_frames" in card.arch else "picture"
    if not distance.far:
        close = f"This {what} is like its training data ({numbers})."
        return markup.bars(recording.predictions) + markup.note(f"{words} {close} {how}")
    far = f"This {what} is far from the data that {card.title} was trained on, so do not trust its answer ({numbers})."
    return f'<div class="far">{markup.note(far, "warning")}{markup.bars(recording.predictions)}{markup.note(f"{words} {how}")}</div>'


def _strip(recording: Recording, view: View, values: Tensor) -> str:
    """Every frame, or tubelet, with the attention in it, on one scale; of a layer through time, the frames of a place to each other."""
    if recording.layers[view.layer].kind == "time":
        one = attention_figures.joined(recording.frames(view.layer, view.place), view.combination, view.heads).numpy()
        names = [str(k + 1) for k in range(len(one))]
        title = "Frame to frame, at the place that was clicked"
        return markup.plate(
            figures.matrix("frame-to-frame", title, one, "key frame", "query frame", "share of attention", names, names, 0.0)
        )
    count, top = len(values), float(values.max())
    frames = [recording.pictures[k * len(recording.pictures) // count] for k in range(count)]
    over = [np.asarray(figures.overlay(one, v.numpy(), 96, high=top)) for one, v in zip(frames, values, strict=True)]
    return markup.picture(figures.sheet(over, min(count, 8), 96), "frames", "Frame by frame", "All on one scale.")


def examples(card: Card) -> list[tuple[str, str]]:
    """Pictures, or a clip, that are at hand offline: (name, path), the fitting one first."""
    clip = ("clip: a rocket flies up", str(DATA / "example-clip.webp"))
    if "num_frames" in card.arch:
        return [clip]
    from matplotlib.cbook import get_sample_data

    drawings = [(f"drawing of a {name}", str(DATA / f"example-{name}.png")) for name in ("fox", "rocket", "star", "heart")]
    photograph = ("photograph of Grace Hopper", str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    return [*drawings, photograph] if card.arch["input_size"] <= 64 else [photograph, *drawings]


def kind(card: Card) -> str:
    """What a model is, in one word."""
    if card.generates:
        return "generator"
    return "classifier" if card.task.endswith("classification") else "encoder"


def model_choices(looker: Looker) -> list[tuple[str, str]]:
    """(title, what it is and whether it is downloaded, id) of every model that can be looked into, ready ones and the plain ViT first."""
    cards = sorted(looker.models(), key=lambda card: (not looker.hub.local(card), card.task not in SEEING, card.family != "vit"))
    return [(f"{card.title} · {kind(card)}{'' if looker.hub.local(card) else ' · not downloaded'}", card.id) for card in cards]
