"""The Look inside tab: a picture or a generation, its tokens, and where any place of it looks in any layer, head and step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.catalog.card import SEEING, Card
from zoo.engine.request import Progress, Request, find_label
from zoo.errors import RequestError, ZooError
from zoo.inside import attention_figures
from zoo.inside.forward_record import ONTO, Recording
from zoo.media import pictures
from zoo.ui.parts import controls, markup, runs
from zoo.ui.parts.runs import PRIVATE
from zoo.ui.parts.settings import labels
from zoo.ui.tabs.look.components import NOTHING, LookComponents
from zoo.ui.tabs.look.views import PATCH, SIDE, View, Views, examples, model_choices, price, widest

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.inside.inspector import Looker

EMPTY = "Choose a class and press Generate and look: every step of the run can then be opened."


def errors_in_place(handler: Callable[..., dict]) -> Callable[..., dict]:
    """A handler whose errors stand on the page in one sentence."""

    @wraps(handler)
    def safe(self: LookTab, *values: Any) -> dict:
        try:
            return handler(self, *values)
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}

    return safe


class LookTab(LookComponents):
    """What the tab does; what is looked at stands in `subject`, recordings in the Looker."""

    def __init__(self, hub: Hub, looker: Looker, tab: gr.Tab) -> None:
        super().__init__(looker)
        self.hub, self.tab, self.views, self.switches = hub, tab, Views(looker), runs.StopFlags()
        self._wire()

    def _wire(self) -> None:
        view = [
            self.subject,
            self.way,
            self.layer,
            self.head,
            self.some,
            self.target,
            self.query,
            self.place,
            self.frame,
            self.step,
            self.free,
        ]
        drawn = [self.picture, self.heat, self.caption, self.second, self.strip, self.sheet, self.position, self.note]
        ranges = [
            self.place,
            self.layer,
            self.head,
            self.some,
            self.query,
            self.frame,
            self.step,
            self.free,
            self.skip,
            self.steps_part,
            self.skips_part,
        ]
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
        for part in (self.layer, self.head, self.some, self.frame, self.step, self.way, self.target, self.query, self.free):
            part.input(self.draw, view, [*drawn, self.target, self.head, self.some], **same)
        for part in (self.picture, self.heat):
            click = part.select(_clicked, None, [self.place, self.query], queue=False, **PRIVATE)
            click.then(self.draw, view, [*drawn, self.target, self.head, self.some], **same)
        for event in (self.step.release, self.frame.release, self.free.input):
            event(self.reopen, view, [self.tokens, self.entering, self.plots, self.note], **same)
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

    @errors_in_place
    def choose(self, model: str) -> dict:
        """Show what a model needs to be looked into, and open an example where it only looks."""
        card = self.hub.card(model)
        looks, ready = card.task in SEEING, examples(card)
        rivals = [
            one for one in self.looker.models() if one.generates and one.id != model and (one.labels, one.text) == (card.labels, card.text)
        ]
        others = [one.id for one in rivals if self.hub.local(one)]
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
        texts = dict.fromkeys([part for part in self.all if isinstance(part, gr.HTML)], "")
        hidden = dict.fromkeys((self.steps_part, self.skips_part, self.step, self.frame, self.free, self.file), gr.update(visible=False))
        return texts | hidden | {self.picture: None, self.heat: None, self.note: markup.note(words), self.subject: {}}

    @errors_in_place
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
                yield {self.go: gr.update(visible=False), self.halt: gr.update(visible=True), self.note: markup.note("starting")}
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
                            yield {self.note: markup.progress_line(item, self.hub.card(request.model))}
                if stop.is_set():
                    yield idle | {self.note: markup.note("stopped; nothing was kept")}
                    return
                subject = {"model": card.id, "request": requests[0].to_dict()}
                yield idle | self._opened(subject | ({"beside": requests[1].to_dict()} if requests[1:] else {}))
            except ZooError as error:
                yield idle | {self.note: markup.note(str(error), "error")}

    def _opened(self, subject: dict) -> dict:
        """Everything of a new subject, its controls set to what it has."""
        made = "request" in subject
        steps = len(self.views.run(subject["request"]).trace.inputs) if made else 1
        recording = self.views.recording(subject, None, steps)
        card, extra, frames = recording.card, recording.extra, len(recording.shown)
        layer = len(recording.layers) // 2 if made else len(recording.layers) - 1
        tokens = [(f"the {name} token", name) for name in extra[:8]]
        tokens += [(f"all patches, onto the {name} token", ONTO + name) for name in extra[:2]]
        query = extra[0] if extra and not made else PATCH
        named = [name for name, *_ in recording.predictions]
        missing = {"rollout": not recording.whole, "relevance": not (extra and named and recording.whole)}
        ways = [way for way in attention_figures.WAYS if not missing.get(way)]
        guided, skips, most = made and subject["request"]["guidance"] != 1, sorted(recording.skips or ()), _most(recording)
        shown = {
            self.subject: subject, self.place: (0.5, 0.5), self.layer: gr.update(maximum=len(recording.layers) - 1, value=layer),
            self.head: gr.update(maximum=most, value=0, visible=False),
            self.some: gr.update(choices=list(range(most + 1)), value=[0, 1], visible=False),
            self.query: gr.update(choices=[PATCH, *tokens], value=query), self.way: gr.update(choices=ways, value=ways[0]),
            self.frame: gr.update(visible=frames > 1, maximum=max(frames, 2), value=1),
            self.step: gr.update(visible=made, maximum=max(steps, 2), value=steps),
            self.free: gr.update(visible=guided, value=False), self.steps_part: gr.update(visible=made),
            self.skips_part: gr.update(visible=bool(skips)), self.skip: gr.update(maximum=max(skips, default=1), value=0),
            self.target: gr.update(visible=False, choices=named, value=named[0] if named else None),
            self.predictions: _asked(card, subject["request"]) if made else markup.bars(recording.predictions),
            self.forming: "", self.carried: "", self.file: gr.update(visible=False),
            self.patch: gr.update(value=card.arch["patch_size"], maximum=widest(card)), self.cost: price(card, card.arch["patch_size"]),
        }  # fmt: skip
        view = View(subject, ways[0], layer, 0, [], None, query, (0.5, 0.5), 1, steps, False)
        return self.reopen(*view) | self.draw(*view) | shown

    # ---- what is drawn

    @errors_in_place
    def draw(self, *view: Any) -> dict:
        """Where one place or token looks."""
        chosen = View(*view)
        parts = {getattr(self, name): value for name, value in self.views.draw(chosen).items()}
        uses = {self.target: "relevance", self.head: "one head", self.some: "mean of chosen heads"}
        shown = {part: gr.update(visible=chosen.way == way) for part, way in uses.items()}
        return parts | shown | {self.note: ""}

    @errors_in_place
    def reopen(self, *view: Any) -> dict:
        """The tokens and the figures by layer, of another step or frame."""
        return {getattr(self, name): value for name, value in self.views.tokens(View(*view)).items()}

    def price(self, model: str, patch: int) -> str:
        """What another patch size would cost."""
        return price(self.hub.card(model), int(patch))

    @errors_in_place
    def draw_through(self, *view: Any) -> dict:
        """The same layer, head and place through the run."""
        return {self.forming: self.views.through(View(*view)), self.note: ""}

    @errors_in_place
    def cut(self, skip: int, factor: float, *view: Any) -> dict:
        """What a long skip carried."""
        return {self.carried: self.views.cut(View(*view), skip, factor), self.note: ""}

    @errors_in_place
    def save(self, *view: Any) -> dict:
        """All arrays of this recording as one file."""
        return {self.file: gr.update(value=self.views.arrays(View(*view), self.hub.results.folder), visible=True), self.note: ""}

    def take(self, path: str | None) -> Iterator[dict]:
        """Look into the run that made a picture or video of another tab, at its last step."""
        try:
            if not path:
                raise RequestError("Generate a picture first, or click one.")
            request = self.looker.made(path)
            asked = {self.seed: str(request.seeds[0]), self.steps: request.steps, self.label: (request.labels or (None,))[0]}
            yield self.choose(request.model) | asked | {self.model: request.model, self.subject: {"model": request.model}}
            for item in self.looker.generate(request):
                if isinstance(item, Progress):
                    yield {self.note: markup.progress_line(item, self.hub.card(request.model))}
            yield self._opened({"model": request.model, "request": request.to_dict()})
        except ZooError as error:
            yield {self.note: markup.note(str(error), "error")}

    def addressed(self, words: Mapping[str, str]) -> dict:
        """What the tab shows for the words of an address, those of the API: model, label, prompt, seed, steps. Raises a ZooError."""
        card = self.hub.card(words.get("model", self.looker.models()[0].id))
        shown = self.choose(card.id) | {self.model: card.id}
        if card.label_names and "label" in words and card.generates:
            shown[self.label] = gr.update(choices=labels(card), value=find_label(card, words["label"]), visible=True)
        shown |= {part: words[word] for word, part in (("prompt", self.prompt), ("seed", self.seed)) if word in words}
        if words.get("steps", "").isdecimal():
            shown[self.steps] = int(words["steps"])
        return shown

    def dropped(self, path: str) -> dict:
        """Look at a picture or clip that was dropped on the page, with the first classifier that takes such."""
        moving = not pictures.is_picture(path)
        able = [
            card for card in self.looker.models() if card.task in SEEING and ("num_frames" in card.arch) == moving and self.hub.local(card)
        ]
        if not able:
            raise RequestError("No model of this hub looks at files of this kind.")
        return self.choose(able[0].id) | self.open(able[0].id, path) | {self.model: able[0].id}


def _most(recording: Recording) -> int:
    """The last head of the layer that has most."""
    return max(one.heads for one in recording.layers) - 1


def _asked(card: Card, request: dict) -> str:
    """What a run was asked for, in one line."""
    asked = Request.from_dict(request)
    name = card.label_names[asked.labels[0]] if asked.labels else asked.prompt
    return markup.facts(asked, card.title, name, asked.seeds, "the model's own clean prediction at this step")


def _clicked(event: gr.SelectData) -> tuple[tuple[float, float], str]:
    """The place of a click, down and across."""
    across, down = event.index
    return (min(down / SIDE, 0.999), min(across / SIDE, 0.999)), PATCH


def look_tab(hub: Hub, looker: Looker, tab: gr.Tab) -> LookTab:
    """Put the Look inside tab here."""
    return LookTab(hub, looker, tab)
