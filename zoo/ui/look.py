"""The Look inside tab: a picture or a generation, its tokens, and where any place of it looks in any layer, head and step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo import attention, explain
from zoo.card import SEEING
from zoo.errors import RequestError, ZooError
from zoo.look import BUDGET, Looker
from zoo.recording import ONTO
from zoo.request import Progress, Request, find_label
from zoo.ui import controls, plates
from zoo.ui.image import PRIVATE
from zoo.ui.settings import labels
from zoo.ui.views import PATCH, SIDE, View, Views, examples, model_choices, price

if TYPE_CHECKING:
    from zoo.hub import Hub

NOTHING = "no second model"
KEPT = (
    f"Of a run every input of the network is kept, and a step is computed again when it is opened. A recording holds at most "
    f"{attention.BUDGET / 1e6:.0f} MB of maps, beyond which it holds the open layer only; all recordings together {BUDGET / 1e9:.1f} GB."
)
EMPTY = "Choose a class and press Generate and look: every step of the run can then be opened."


def said(handler: Callable[..., dict]) -> Callable[..., dict]:
    """A handler whose errors stand on the page in one sentence."""

    @wraps(handler)
    def safe(self: LookTab, *values: Any) -> dict:
        try:
            return handler(self, *values)
        except ZooError as error:
            return {self.note: controls.note(str(error), "error")}

    return safe


class LookTab:
    """The components of the tab and what they do; what is looked at stands in `subject`, recordings in the Looker."""

    def __init__(self, hub: Hub, looker: Looker, tab: gr.Tab) -> None:
        self.hub, self.looker, self.tab, self.views, self.switches = hub, looker, tab, Views(looker), controls.Switches()
        self.subject, self.place = gr.State({}), gr.State((0.5, 0.5))
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()
        self._wire()

    # ---- what stands where

    def _build_controls(self) -> None:
        choices = model_choices(self.looker)
        self.model = gr.Dropdown(choices, value=choices[0][1] if choices else None, label="Model", elem_id="look-model")
        self.bring = gr.UploadButton("Bring a picture", file_types=["image", ".mp4", ".gif", ".webp"], size="sm", elem_id="look-bring")
        self.example = gr.Dropdown([], label="or take an example", elem_id="look-example")
        self.label = gr.Dropdown([], label="Class (type to search)", elem_id="look-label", visible=False)
        self.prompt = gr.Textbox(label="Prompt", elem_id="look-prompt", visible=False)
        with gr.Row(visible=False) as self.numbers:
            self.seed = gr.Textbox("0", label="Seed", max_lines=1, elem_id="look-seed", min_width=100)
            self.steps = gr.Number(25, precision=0, label="Steps", elem_id="look-steps", min_width=100)
        self.beside = gr.Dropdown([NOTHING], value=NOTHING, label="Beside it, on the same seed", elem_id="look-beside", visible=False)
        self.go = gr.Button("Generate and look", variant="primary", elem_id="look-go", visible=False)
        self.halt = gr.Button("Stop", variant="stop", elem_id="look-stop", visible=False)
        self.way = gr.Dropdown(list(explain.WAYS), value=explain.WAYS[0], label="What is drawn", elem_id="look-way")
        self.layer = gr.Slider(0, 3, 0, step=1, label="Layer", elem_id="look-layer", buttons=[])
        self.head = gr.Slider(0, 3, 0, step=1, label="Head", elem_id="look-head", buttons=[])
        self.target = gr.Dropdown([], label="Class that is traced", elem_id="look-target", visible=False)
        self.query = gr.Dropdown([PATCH], value=PATCH, label="Who looks", elem_id="look-query")
        self.frame = gr.Slider(1, 16, 1, step=1, label="Frame", elem_id="look-frame", buttons=[], visible=False)
        self.step = gr.Slider(1, 25, 25, step=1, label="Step, from noise to picture", elem_id="look-step", buttons=[], visible=False)
        self.free = gr.Checkbox(False, label="without the class (null label)", elem_id="look-free", visible=False)
        gr.HTML(controls.note(KEPT))

    def _build_result(self) -> None:
        self.note = gr.HTML(elem_id="look-note")
        with gr.Row(elem_classes="pair"):
            plain = {"show_label": False, "interactive": False, "buttons": ["download"], "format": "png", "min_width": 240}
            self.picture = gr.Image(**plain, container=False, elem_id="look-picture")
            self.heat = gr.Image(**plain, container=False, elem_id="look-heat")
        self.caption = gr.HTML(elem_id="look-caption")
        self.second = gr.HTML(elem_id="look-second")
        self.strip = gr.HTML(elem_id="look-strip")
        self.predictions = gr.HTML(elem_id="look-predictions")
        with gr.Accordion("All layers and heads", open=True):
            self.sheet = gr.HTML(elem_id="look-sheet")
        with gr.Accordion("From picture to tokens", open=True):
            with gr.Column(elem_id="look-stages"):
                self.tokens = gr.HTML(elem_id="look-tokens")
                self.position = gr.HTML(elem_id="look-position")
                self.entering = gr.HTML(elem_id="look-entering")
            self.patch = gr.Slider(2, 32, 8, step=1, label="What if patches had this side", elem_id="look-patch", buttons=[])
            self.cost = gr.HTML(elem_id="look-cost")
        with gr.Accordion("Layer by layer", open=True):
            self.plots = gr.HTML(elem_id="look-plots")
        with gr.Accordion("Through the steps", open=True, visible=False) as self.steps_part:
            self.through = gr.Button("Draw this layer, head and place at every step", size="sm", elem_id="look-through")
            self.forming = gr.HTML(elem_id="look-forming")
        with gr.Accordion("Long skips", open=True, visible=False) as self.skips_part:
            with gr.Row():
                self.skip = gr.Slider(0, 2, 0, step=1, label="Skip, 0 is the innermost", elem_id="look-skip", buttons=[])
                self.factor = gr.Slider(0, 2, 0, step=0.1, label="Times what it carries", elem_id="look-factor", buttons=[])
            self.carried = gr.HTML(elem_id="look-carried")
        with gr.Row(elem_classes="actions"):
            self.pack = gr.Button("Arrays (.npz)", size="sm", elem_id="look-pack")
        self.file = gr.File(visible=False, show_label=False, elem_id="look-file")

    def _wire(self) -> None:
        view = [self.subject, self.way, self.layer, self.head, self.target, self.query, self.place, self.frame, self.step, self.free]
        drawn = [self.picture, self.heat, self.caption, self.second, self.strip, self.sheet, self.position, self.note]
        ranges = [self.layer, self.head, self.query, self.frame, self.step, self.free, self.skip, self.steps_part, self.skips_part]
        opened = [*drawn, *ranges, self.subject, self.way, self.target, self.predictions, self.plots, self.patch, self.cost]
        opened += [self.tokens, self.entering, self.forming, self.carried, self.file]
        asked = [self.bring, self.example, self.label, self.prompt, self.numbers, self.seed, self.steps, self.beside, self.go]
        self.all = [self.model, *asked, *opened]
        same = PRIVATE | {"trigger_mode": "always_last"}
        self.model.input(self.choose, self.model, [*asked, *opened], **PRIVATE)
        self.tab.select(self.arrive, [self.subject, self.model], self.all, **PRIVATE)
        self.bring.upload(self.open, [self.model, self.bring], opened, **PRIVATE)
        self.example.input(self.open, [self.model, self.example], opened, **PRIVATE)
        chosen = [self.model, self.label, self.prompt, self.seed, self.steps, self.beside]
        self.go.click(self.generate, chosen, [*opened, self.go, self.halt], **PRIVATE)
        self.halt.click(self.switches.stop, None, None, queue=False, **PRIVATE)
        for part in (self.layer, self.head, self.frame, self.step, self.way, self.target, self.query, self.free):
            part.input(self.draw, view, [*drawn, self.target, self.head], **same)
        for part in (self.picture, self.heat):
            click = part.select(_clicked, None, [self.place, self.query], queue=False, **PRIVATE)
            click.then(self.draw, view, [*drawn, self.target, self.head], **same)
        for part in (self.step, self.frame):
            part.release(self.reopen, view, [self.tokens, self.entering, self.plots, self.note], **same)
        self.patch.input(self.price, [self.model, self.patch], self.cost, queue=False, **PRIVATE)
        self.through.click(self.draw_through, view, [self.forming, self.note], **PRIVATE)
        for part in (self.skip, self.factor):
            part.input(self.cut, [self.skip, self.factor, *view], [self.carried, self.note], **same)
        self.pack.click(self.save, view, [self.file, self.note], **PRIVATE)

    # ---- what is looked at

    def arrive(self, subject: dict, model: str) -> dict:
        """Know what is here now, and open the first example when the tab is opened for the first time."""
        models = {self.model: gr.update(choices=model_choices(self.looker))}
        return models if subject else models | self.choose(model)

    @said
    def choose(self, model: str) -> dict:
        """Show what a model needs to be looked into, and open an example where it only looks."""
        card = self.hub.card(model)
        looks, ready = card.task in SEEING, examples(card)
        others = [one.id for one in self.looker.models() if one.generates and one.id != model and self.hub.local(one) and not one.text]
        shown = {
            self.bring: gr.update(visible=looks), self.example: gr.update(visible=looks, choices=ready, value=ready[0][1]),
            self.label: gr.update(visible=bool(card.label_names) and not looks, choices=labels(card), value=0),
            self.prompt: gr.update(visible=bool(card.text)), self.numbers: gr.update(visible=not looks),
            self.steps: card.sampling.steps if card.sampling else 1, self.go: gr.update(visible=not looks), self.seed: "0",
            self.beside: gr.update(visible=not looks and bool(others), choices=[NOTHING, *others], value=NOTHING),
        }  # fmt: skip
        if words := controls.missing(self.hub, self.hub.parts(card)):
            return shown | self._cleared(words)
        return shown | (self.open(model, ready[0][1]) if looks else self._cleared(EMPTY))

    def come(self, model: str) -> dict:
        """Come here from the Models tab with one of them."""
        return self.choose(model) | {self.model: model}

    def _cleared(self, words: str) -> dict:
        """Nothing to look at yet, and why."""
        texts = [part for part in self.all if isinstance(part, gr.HTML)]
        return {self.picture: None, self.heat: None, **dict.fromkeys(texts, ""), self.note: controls.note(words), self.subject: {}}

    @said
    def open(self, model: str, path: str | None) -> dict:
        """Look at a picture or clip with a model."""
        if not path:
            raise RequestError("Bring a picture first, or take an example.")
        return self._opened({"model": self.hub.card(model).id, "path": path})

    def generate(self, session: gr.Request, model: str, label: Any, prompt: str, seed: str, steps: Any, beside: str) -> Iterator[dict]:
        """Run a model, and the one beside it, and keep every step; every ending gives the button back."""
        idle = {self.go: gr.update(visible=True), self.halt: gr.update(visible=False)}
        with self.switches.held(session) as stop:
            try:
                yield {self.go: gr.update(visible=False), self.halt: gr.update(visible=True), self.note: controls.note("starting")}
                card = self.hub.card(model)
                requests = [controls.make_request(card, prompt if card.text else label, 1, seed or "0", steps, None, None)]
                if beside != NOTHING:
                    other = self.hub.card(beside)
                    name = card.label_names[requests[0].labels[0]] if requests[0].labels else ""
                    labels = (find_label(other, name),) if other.label_names else ()
                    requests.append(Request(other.id, labels, requests[0].seeds, requests[0].steps).resolved(other))
                for request in requests:
                    for item in self.looker.generate(request, stop):
                        if isinstance(item, Progress):
                            yield {self.note: controls.progress_line(item, self.hub.card(request.model))}
                if stop.is_set():
                    yield idle | {self.note: controls.note("stopped; nothing was kept")}
                    return
                subject = {"model": card.id, "request": requests[0].to_dict()}
                yield idle | self._opened(subject | ({"beside": requests[1].to_dict()} if requests[1:] else {}))
            except ZooError as error:
                yield idle | {self.note: controls.note(str(error), "error")}

    def _opened(self, subject: dict) -> dict:
        """Everything of a new subject, its controls set to what it has."""
        made = "request" in subject
        steps = len(self.views.run(subject["request"]).trace.inputs) if made else 1
        recording = self.views.recording(subject, 0, steps)
        card, layers, extra = recording.card, len(recording.layers), recording.extra
        layer = layers // 2 if made else layers - 1
        frames = len(recording.shown)
        tokens = [(f"the {name} token", name) for name in extra[:8]]
        tokens += [(f"all patches, onto the {name} token", ONTO + name) for name in extra[:2]]
        query = extra[0] if extra and not made else PATCH
        missing = {"rollout": not recording.whole, "relevance": not (extra and recording.predictions)}
        ways = [way for way in explain.WAYS if not missing.get(way)]
        named = [name for name, *_ in recording.predictions]
        guided = made and subject["request"]["guidance"] != 1
        skips = sorted(recording.skips or ())
        shown = {
            self.subject: subject, self.layer: gr.update(maximum=layers - 1, value=layer),
            self.head: gr.update(maximum=max(one.heads for one in recording.layers) - 1, value=0, visible=False),
            self.query: gr.update(choices=[PATCH, *tokens], value=query), self.way: gr.update(choices=ways, value=ways[0]),
            self.frame: gr.update(visible=frames > 1, maximum=max(frames, 2), value=1),
            self.step: gr.update(visible=made, maximum=max(steps, 2), value=steps),
            self.free: gr.update(visible=guided, value=False), self.steps_part: gr.update(visible=made),
            self.skips_part: gr.update(visible=bool(skips)), self.skip: gr.update(maximum=max(skips, default=1), value=0),
            self.target: gr.update(visible=False, choices=named, value=named[0] if named else None),
            self.predictions: plates.bars(recording.predictions), self.forming: "", self.carried: "", self.file: gr.update(visible=False),
            self.patch: gr.update(value=card.arch["patch_size"], maximum=card.arch["input_size"] // 2),
            self.cost: price(card, card.arch["patch_size"]),
        }  # fmt: skip
        view = View(subject, ways[0], layer, 0, None, query, (0.5, 0.5), 1, steps, False)
        return self.reopen(*view) | self.draw(*view) | shown

    # ---- what is drawn

    @said
    def draw(self, *view: Any) -> dict:
        """Where one place or token looks."""
        chosen = View(*view)
        parts = {getattr(self, name): value for name, value in self.views.draw(chosen).items()}
        shown = {self.target: gr.update(visible=chosen.way == "relevance"), self.head: gr.update(visible=chosen.way == "one head")}
        return parts | shown | {self.note: ""}

    @said
    def reopen(self, *view: Any) -> dict:
        """The tokens and the figures by layer, of another step or frame."""
        return {getattr(self, name): value for name, value in self.views.tokens(View(*view)).items()}

    def price(self, model: str, patch: int) -> str:
        """What another patch size would cost."""
        return price(self.hub.card(model), int(patch))

    @said
    def draw_through(self, *view: Any) -> dict:
        """The same layer, head and place through the run."""
        return {self.forming: self.views.through(View(*view)), self.note: ""}

    @said
    def cut(self, skip: int, factor: float, *view: Any) -> dict:
        """What a long skip carried."""
        return {self.carried: self.views.cut(View(*view), skip, factor), self.note: ""}

    @said
    def save(self, *view: Any) -> dict:
        """All arrays of this recording as one file."""
        return {self.file: gr.update(value=self.views.arrays(View(*view), self.hub.results.folder), visible=True), self.note: ""}

    def take(self, path: str | None) -> Iterator[dict]:
        """Look into the run that made a picture or video of another tab, at its last step."""
        try:
            if not path:
                raise RequestError("Generate a picture first, or click one.")
            request = self.looker.made(path)
            yield self.choose(request.model) | {self.model: request.model, self.subject: {"model": request.model}}
            for item in self.looker.generate(request):
                if isinstance(item, Progress):
                    yield {self.note: controls.progress_line(item, self.hub.card(request.model))}
            yield self._opened({"model": request.model, "request": request.to_dict()})
        except ZooError as error:
            yield {self.note: controls.note(str(error), "error")}


def _clicked(event: gr.SelectData) -> tuple[tuple[float, float], str]:
    """The place of a click, down and across."""
    across, down = event.index
    return (min(down / SIDE, 0.999), min(across / SIDE, 0.999)), PATCH


def look_tab(hub: Hub, looker: Looker, tab: gr.Tab) -> LookTab:
    """Put the Look inside tab here."""
    return LookTab(hub, looker, tab)
