"""The Look inside tab: a picture or a generation, its tokens, and the attention of any place of it in any layer, head and step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.catalog.card import SEEING, Card
from zoo.engine.request import Progress, Request, find_label
from zoo.errors import RequestError, ZooError
from zoo.inside.attention_figures import CHOSEN, COMBINATIONS, MEAN, ONE, RELEVANCE, ROLLOUT
from zoo.inside.forward_record import ONTO, Layer, Recording, extra_of, layers_of
from zoo.inside.inspector import holds_all
from zoo.ui.parts import controls, cost, markup, runs
from zoo.ui.parts.class_list import class_list
from zoo.ui.parts.runs import LATEST, PRIVATE
from zoo.ui.tabs.look.components import EMPTY, FOLDS, NOTHING, LookComponents
from zoo.ui.tabs.look.views import PATCH, SIDE, View, Views, examples, known, model_choices, price, widest

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.inside.inspector import Looker


class LookTab(LookComponents):
    """What the tab does; what is looked at stands in `subject`, recordings in the Looker."""

    def __init__(self, hub: Hub, looker: Looker, tab: gr.Tab) -> None:
        super().__init__(looker)
        self.hub, self.tab, self.views, self.flags = hub, tab, Views(looker), runs.StopFlags()
        self._wire()

    def _wire(self) -> None:
        view = [
            self.subject, self.combination, self.layer, self.head, self.some, self.target, self.query, self.place, self.frame, self.step,
            self.free,
        ]  # fmt: skip
        drawn = [self.picture, self.heat, self.caption, self.second, self.strip, self.sheet, self.position, self.note, self.last_view]
        ranges = [
            self.place, self.layer, self.head, self.some, self.target, self.query, self.combination, self.frame, self.step, self.free,
            self.skip, self.steps_part, self.skips_part,
        ]  # fmt: skip
        opened = [*drawn, *ranges, self.subject, self.predictions, self.plots, self.patch, self.cost, self.tokens, self.entering]
        opened += [self.forming, self.carried, self.file]
        asked = [self.bring, self.example, self.label, self.prompt, self.numbers, self.seed, self.steps, self.rival]
        asked += [self.go, self.halt, self.settings, self.chosen, self.origin, self.coming]
        self.all = [self.model, *asked, *opened]
        self.model.input(self.choose, [self.model, self.chosen], self.all, **LATEST)
        self.tab.select(self.arrive, [self.model, self.chosen, self.coming], self.all, **PRIVATE)
        self.bring.upload(self.upload, [self.model, self.bring, self.chosen, *view], self.all, **LATEST)
        self.example.input(self.open, [self.model, self.example, self.chosen, *view], self.all, **LATEST)
        wanted = [self.model, self.label, self.prompt, self.seed, self.steps, self.rival, self.origin]
        self.offer.click(self.generate, [*wanted, *view], self.all, self._needed)
        timer, priced = gr.Timer(2, active=False), [self.model, self.label, self.steps, self.rival, self.origin]
        gr.on([timer.tick, *(part.change for part in priced)], self.price_run, priced, [self.price_words, timer], queue=False, **PRIVATE)
        self.halt.click(self.flags.stop, None, None, queue=False, **PRIVATE)
        uses = [self.layer, self.head, self.some, self.target, self.query]
        moved = (self.layer, self.head, self.some, self.frame, self.step, self.combination, self.target, self.query, self.free)
        gr.on([part.input for part in moved], self.draw, [self.last_view, *view], [*drawn, *uses], **LATEST)
        clicks = [self.picture.select, self.heat.select]
        click = gr.on(clicks, _clicked, [self.combination, self.query], [self.place, self.query], queue=False, **LATEST)
        click.then(self.draw, [self.last_view, *view], [*drawn, *uses], **LATEST)
        released = [self.step.release, self.frame.release, self.free.input]
        gr.on(released, self.reopen, view, [self.tokens, self.entering, self.plots, self.note], **LATEST)
        self.patch.input(self.price, [self.model, self.patch], [self.cost, self.note], queue=False, **PRIVATE)
        self.through.click(self.draw_through, view, [self.forming, self.note], **PRIVATE)
        scaled = [self.skip.input, self.factor.input]
        gr.on(scaled, self.cut, [self.skip, self.factor, *view], [self.carried, self.note], **LATEST)
        self.pack.click(self.save, view, [self.file, self.note], **PRIVATE)
        folds = [self.sheet_part, self.tokens_part, self.plots_part, self.steps_part, self.skips_part]
        gr.context.Context.root_block.load(None, None, folds, js=FOLDS, **PRIVATE)

    # ---- what stands on the tab

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence over the pictures."""
        return {self.note: markup.note(text, kind)}

    def _controls(self, card: Card) -> dict:
        """Every control as a model needs it, nothing opened yet."""
        seeing, ready = card.task in SEEING, examples(card)
        needless = seeing and self.hub.local(card)  # a picture is looked into without a press
        rivals = [
            one.id
            for one in self.looker.models()
            if one.generates and one.id != card.id and (one.labels, one.text) == (card.labels, card.text) and self.hub.local(one)
        ]
        return {
            self.model: gr.update(choices=model_choices(self.looker), value=card.id),
            self.bring: gr.update(visible=seeing, label="Upload a clip" if "num_frames" in card.arch else "Upload a picture"),
            self.example: gr.update(visible=seeing, choices=ready, value=ready[0][1] if seeing else None),
            self.label: gr.update(
                **class_list(card) | {"visible": bool(card.label_names) and not seeing}, value=0 if card.label_names else None
            ),
            self.prompt: gr.update(visible=bool(card.text)), self.numbers: gr.update(visible=not seeing),
            self.steps: card.sampling.steps if card.sampling else 1, self.seed: "0",
            self.go: self.offer.label(self.hub.parts(card)) | {"elem_classes": ["go", *[runs.NEEDLESS] * needless]},
            self.rival: gr.update(visible=not seeing and bool(rivals), choices=[NOTHING, *rivals], value=NOTHING),
            self.chosen: {"model": card.id, "example": ready[0][1] if seeing else None}, self.origin: None, self.settings: "",
            self.coming: False,
        }  # fmt: skip

    def _empty(self, card: Card, words: str) -> dict:
        """Nothing to look at yet, and why; the controls of the view are those of the model nevertheless."""
        texts = dict.fromkeys([part for part in self.all if isinstance(part, gr.HTML) and part is not self.settings], "")
        hidden = dict.fromkeys((self.steps_part, self.skips_part, self.step, self.frame, self.free, self.file), gr.update(visible=False))
        nothing = {self.picture: None, self.heat: None, self.subject: {}, self.last_view: None, self.place: (0.5, 0.5)}
        sizes = {
            self.patch: gr.update(value=card.arch["patch_size"], maximum=widest(card)),
            self.cost: price(card, card.arch["patch_size"]),
        }
        return texts | hidden | nothing | sizes | self._ranges(card, layers_of(card), None)[0] | self.say(words)

    def _ranges(self, card: Card, layers: tuple[Layer, ...], recording: Recording | None, old: View | None = None) -> tuple[dict, View]:
        """Layers, heads, queries and combinations as a model has them, before a run, too; and the view: as it was, else the first."""
        extra, last, generates = extra_of(card), len(layers) - 1, card.generates
        whole = recording.whole if recording else all(one.kind == "full" for one in layers) and holds_all(layers, len(extra), 2)
        names = [name for name, *_ in recording.predictions] if recording else []
        lacking = {ROLLOUT: not whole, RELEVANCE: not (extra and names and whole)}
        combinations = [one for one in COMBINATIONS if not lacking.get(one)]
        tokens = [(f"{name} token", name) for name in extra[:8]] + [
            (f"all patches, onto the {name} token", ONTO + name) for name in extra[:2]
        ]
        queries = [PATCH, *(name for _, name in tokens)]
        heads = max(one.heads for one in layers) - 1
        view = View(
            {}, MEAN, len(layers) // 2 if generates else last, 0, [0, 1], names[0] if names else None,
            extra[0] if extra and not generates else PATCH, (0.5, 0.5), 1, 1, False,
        )  # fmt: skip
        if old is not None:
            same = {"layer": min(old.layer, last), "head": min(old.head, heads), "some": [head for head in old.some if head <= heads]}
            same |= {"combination": old.combination} if old.combination in combinations else {}
            view = view._replace(**same, **({"query": old.query} if old.query in queries else {}))
        updates = {
            self.layer: gr.update(maximum=last, value=view.layer), self.head: gr.update(maximum=heads, value=view.head),
            self.some: gr.update(choices=list(range(heads + 1)), value=view.some),
            self.query: gr.update(choices=[PATCH, *tokens], value=view.query),
            self.combination: gr.update(choices=combinations, value=view.combination),
            self.target: gr.update(choices=names, value=view.target),
        }  # fmt: skip
        uses = self._uses(view)
        return {part: value | uses.get(part, {}) for part, value in updates.items()}, view

    def _uses(self, view: View) -> dict:
        """Which controls this combination makes use of; the others are off, and say why."""

        def state(on: bool, reason: str) -> dict:
            return gr.update(interactive=on, info="" if on else reason)

        relevance = view.combination == RELEVANCE
        return {
            self.layer: state(not relevance, "Off: relevance goes through all layers."),
            self.head: state(view.combination == ONE, f'Off: choose "{ONE}" under Combine heads.'),
            self.query: state(not relevance, "Off: relevance explains a class, not a query."),
            self.some: gr.update(visible=view.combination == CHOSEN), self.target: gr.update(visible=relevance),
        }  # fmt: skip

    # ---- what is looked at

    @runs.always_ends
    def arrive(self, model: str, chosen: dict, coming: bool) -> Iterator[dict]:
        """Know what is here now, and open the first example when the tab is opened for the first time."""
        yield {self.model: gr.update(choices=model_choices(self.looker))}
        if not chosen and not coming:
            yield from self._choose(model)

    @runs.always_ends
    def choose(self, session: gr.Request, model: str | None, chosen: dict) -> Iterator[dict]:
        """Show what another model needs, and open an example where it is a classifier; what runs of the old one ends."""
        if not model or model == chosen.get("model"):
            yield {self.note: gr.skip()}
            return
        self.flags.stop(session)
        yield from self._choose(model)

    def _choose(self, model: str) -> Iterator[dict]:
        card = self.hub.card(model)
        yield self._controls(card) | self._empty(card, "") | self.say("computing ...")
        yield self._first(card)

    def _first(self, card: Card) -> dict:
        """What is seen of a model that was just chosen."""
        if words := self.offer.downloads.words(self.hub.parts(card)):
            return self._empty(card, words)
        return self._opened({"model": card.id, "path": examples(card)[0][1]}) if card.task in SEEING else self._empty(card, EMPTY)

    @runs.always_ends
    def upload(self, model: str, path: str | None, chosen: dict, *view: Any) -> Iterator[dict]:
        """Look into somebody's own picture or clip."""
        if not path:
            raise RequestError("No file arrived: upload a picture, or choose an example.")
        yield self.say("computing ...")
        yield self._opened({"model": self.hub.card(model).id, "path": path}, View.of(*view)) | {
            self.example: None, self.chosen: chosen | {"example": None},
        }  # fmt: skip

    @runs.always_ends
    def open(self, model: str, path: str | None, chosen: dict, *view: Any) -> Iterator[dict]:
        """Look into an example; the one that is open, or none, changes nothing."""
        if not path or path == chosen.get("example"):
            yield {self.note: gr.skip()}
            return
        yield self.say("computing ...")
        yield self._opened({"model": self.hub.card(model).id, "path": path}, View.of(*view)) | {self.chosen: chosen | {"example": path}}

    def _seconds(self, model: str, *values: Any) -> float | None:
        label, prompt, seed, steps, _, origin = values[:6]
        card = self.hub.card(model)
        if card.task in SEEING:
            return 0.0
        return self.hub.core_seconds(_request(card, prompt if card.text else label, seed, steps, origin))

    @runs.stoppable(_seconds)
    def generate(
        self, model: str, label: Any, prompt: str, seed: str, steps: Any, rival: str, origin: dict | None, *view: Any
    ) -> Iterator[dict]:
        """Run a model, and the one beside it, and keep every step; every ending gives the button back."""
        yield self.busy() | self.say("starting")
        card = self.hub.card(model)
        if card.task in SEEING:  # it was just downloaded
            yield from self._choose(card.id)
            yield self.idle()
            return
        requests = [_request(card, prompt if card.text else label, seed, steps, origin)]
        if rival != NOTHING:
            other = self.hub.card(rival)
            name = card.label_names[requests[0].labels[0]] if requests[0].labels else ""
            classes = (find_label(other, name),) if other.label_names else ()
            requests.append(Request(other.id, classes, requests[0].seeds, requests[0].steps).resolved(other))
        for request in requests:
            yield from self._progress(request)
        if runs.stop_flag().is_set():
            yield self.idle() | self.say("Stopped: nothing was kept of this run, and what was here before stays.")
            return
        subject = {"model": card.id, "request": requests[0].to_dict()}
        subject |= {"rival": requests[1].to_dict()} if requests[1:] else {}
        yield self.idle() | self._opened(subject, View.of(*view))

    def price_run(self, model: str, label: Any, steps: Any, rival: str, origin: dict | None) -> tuple[str, Any]:
        """Say beforehand what the generation will cost that is looked into; nothing where none is, or pressing the button says why."""
        try:
            card = self.hub.card(model)
            if card.task in SEEING or not self.hub.local(card):
                return cost.NOTHING[::2]
            requests = [_request(card, "a" if card.text else label or 0, "0", steps, origin)]
            if rival != NOTHING:
                other = self.hub.card(rival)
                requests.append(Request(other.id, (0,) if other.label_names else (), steps=requests[0].steps).resolved(other))
            return cost.answer(self.hub, requests)[::2]
        except ZooError:
            return cost.NOTHING[::2]

    def _needed(self, model: str, *values: Any) -> list[Card]:
        """The models of a run, and what they need; values: as `generate` takes them."""
        return [part for one in (model, values[4]) if one != NOTHING for part in self.hub.parts(self.hub.card(one))]

    def _progress(self, request: Request) -> Iterator[dict]:
        for item in self.looker.generate(request, runs.stop_flag()):
            if isinstance(item, Progress):
                yield {self.note: markup.progress_line(item, self.hub.card(request.model))}

    @staticmethod
    def _label(card: Card, label: int) -> dict:
        """The list of classes with one chosen."""
        return gr.update(**class_list(card), value=label)

    def _opened(self, subject: dict, old: View | None = None) -> dict:
        """Everything of a new subject; the view stays as it was where the model has such."""
        generated = "request" in subject
        steps = len(self.views.run(subject["request"]).trace.inputs) if generated else 1
        recording = self.views.recording(subject, None, steps)
        card, frames = recording.card, len(recording.pictures)
        ranges, view = self._ranges(card, recording.layers, recording, old)
        view = view._replace(subject=subject, step=steps)
        guided, skips = generated and subject["request"]["guidance"] != 1, sorted(recording.skips or ())
        updates = {
            self.subject: subject, self.place: view.place, self.frame: gr.update(visible=frames > 1, maximum=max(frames, 2), value=1),
            self.step: gr.update(visible=generated, maximum=max(steps, 2), value=steps, label=f"Step of {steps}, 1 is pure noise"),
            self.free: gr.update(visible=guided, value=False), self.steps_part: gr.update(visible=generated),
            self.skips_part: gr.update(visible=bool(skips)), self.skip: gr.update(maximum=max(skips, default=1), value=0),
            self.predictions: _asked(card, subject["request"]) if generated else known(recording),
            self.forming: "", self.carried: "", self.file: gr.update(visible=False),
            self.note: markup.note(recording.remark) if recording.remark else "",
            self.patch: gr.update(value=card.arch["patch_size"], maximum=widest(card)), self.cost: price(card, card.arch["patch_size"]),
        }  # fmt: skip
        return self._tokens(view) | self._drawn(view) | updates | ranges

    # ---- what is drawn

    @runs.computes
    def draw(self, last: View | None, *values: Any) -> dict:
        """The attention of one place or token; the view that is there already changes nothing."""
        view = View.of(*values)
        if last is not None and list(view) == list(last):
            return {self.note: gr.skip()}
        return (self._drawn(view) if view.subject else {}) | self._uses(view)

    def _drawn(self, view: View) -> dict:
        parts = {getattr(self, name): value for name, value in self.views.draw(view).items()}
        return parts | {self.note: "", self.last_view: tuple(view)}

    @runs.computes
    def reopen(self, *view: Any) -> dict:
        """The tokens and the figures by layer, of another step or frame."""
        return self._tokens(View.of(*view))

    def _tokens(self, view: View) -> dict:
        return {getattr(self, name): value for name, value in self.views.tokens(view).items()}

    @runs.answers
    def price(self, model: str, patch: int) -> dict:
        """What another patch size would cost."""
        return {self.cost: price(self.hub.card(model), controls.whole("Patch size", patch, 1, 9999))}

    @runs.computes
    def draw_through(self, *view: Any) -> dict:
        """The same layer, head and place through the run."""
        return {self.forming: self.views.through(View.of(*view)), self.note: ""}

    @runs.computes
    def cut(self, skip: int, factor: float, *view: Any) -> dict:
        """What a long skip carried."""
        return {self.carried: self.views.cut(View.of(*view), skip, factor), self.note: ""}

    @runs.computes
    def save(self, *view: Any) -> dict:
        """All arrays of this recording as one file."""
        name, content = self.views.arrays(View.of(*view))
        [file] = self.hub.results.bundle({name: content})
        return {self.file: gr.update(value=str(file), visible=True), self.note: ""}


def _request(card: Card, subject: Any, seed: str, steps: Any, origin: dict | None) -> Request:
    """The request of the controls; what they do not hold comes from the picture that was brought here, where it is of this model."""
    request = controls.make_request(card, subject, 1, seed or "0", steps, None, None)
    if not origin or origin["model"] != card.id:
        return request
    asked = {"labels": request.labels, "seeds": request.seeds, "steps": request.steps, "prompt": request.prompt}
    return replace(Request.from_dict(origin), **asked).resolved(card)


def _asked(card: Card, request: dict) -> str:
    """What a run was asked for, in one line."""
    asked = Request.from_dict(request)
    name = card.label_names[asked.labels[0]] if asked.labels else asked.prompt
    return markup.facts(asked, card.title, name, asked.seeds, "the picture is the clean prediction of this step")


def _clicked(event: gr.SelectData, combination: str, query: str) -> tuple[tuple[float, float], str]:
    """The place of a click, down and across, and the query that it makes: relevance is of a class, and keeps its own."""
    across, down = event.index
    return (min(down / SIDE, 0.999), min(across / SIDE, 0.999)), query if combination == RELEVANCE else PATCH
