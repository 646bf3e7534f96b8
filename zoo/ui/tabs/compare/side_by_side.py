"""The Compare tab: settings side by side on the same class and noise, a grid of settings, and blind choices between them."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.compare import compare, report
from zoo.compare.setting import Setting
from zoo.engine.request import MAX_IMAGES, Progress, Request, Result
from zoo.engine.results import put
from zoo.errors import RequestError, ZooError
from zoo.media import pictures, video
from zoo.ui.parts import controls, markup, runs
from zoo.ui.parts.runs import PRIVATE
from zoo.ui.parts.settings import Settings, autoencoders
from zoo.ui.tabs.compare import columns
from zoo.ui.tabs.compare.columns import COLUMNS, EMPTY, CompareComponents, Comparison

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.ui.tabs.compare.votes import VotesTab

UNSURE = "no difference"


class CompareTab(CompareComponents):
    """What the side-by-side view does; a comparison stands in the visitor's own state."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState) -> None:
        super().__init__(hub)
        self.visitor, self.switches = visitor, runs.StopFlags()

    def wire(self, votes: VotesTab) -> None:
        """Let the components act, once those that count the choices stand as well."""
        self.votes = votes
        of_two = [self.left, self.right, self.which, self.frame]
        closely = [self.slider, self.difference, self.path]
        made = [*self.cells, self.note, self.choice, self.details, self.table, self.architectures, self.seen, self.saved]
        made += [*of_two, *closely, self.go, self.halt, self.again]
        asked = [self.visitor, self.seen, self.blind, self.number, self.label, self.prompt, self.count, self.seed, self.carried]
        asked += [part for six in self.settings for part in six]
        self.go.click(self.generate, asked, made, **PRIVATE)
        self.again.click(self.go_on, [self.visitor, self.seen], made, **PRIVATE)
        self.halt.click(self.switches.stop, None, None, queue=False, **PRIVATE)
        self.number.input(lambda n: [gr.update(visible=k < n) for k in range(COLUMNS)], self.number, self.groups, queue=False, **PRIVATE)
        offered = [self.label, self.prompt, self.carried, self.also]
        for k, (model, *rest) in enumerate(self.settings):
            model.input(self.choose, model, rest, queue=False, **PRIVATE)
            if k == 0:
                model.input(self.offer, model, offered, queue=False, **PRIVATE)
        same = PRIVATE | {"trigger_mode": "always_last"}
        for part in of_two:
            part.input(self.closely, [self.seen, *of_two], [*closely, self.note], **same)
        for cell in self.cells:
            chosen = cell.click(_sample, None, self.which, queue=False, **PRIVATE)
            chosen.then(self.closely, [self.seen, *of_two], [*closely, self.note], **same)
        self.report.click(self.save, self.seen, [self.saved, self.note], **PRIVATE)
        self.choice.input(self.vote, [self.visitor, self.seen, self.choice], [*made, *self.votes.shown], **PRIVATE)
        self.taken = [*offered, self.count, self.seed, *self.settings[0], *self.settings[1], self.note]

    # ---- what is asked

    def choose(self, model: str) -> list:
        """A column's settings become its model's own."""
        card = self.hub.card(model)
        others = autoencoders(self.hub, card)
        return [
            card.sampling.steps, card.sampling.solver, gr.update(value=card.guidance.default, visible=card.guidable),
            0,
            gr.update(choices=others, value=card.latent and card.latent.vae, visible=len(others) > 1),
        ]  # fmt: skip

    def offer(self, model: str) -> dict:
        """The classes of the first column's model, or its prompt; what was taken over from another tab is left."""
        card = self.hub.card(model)
        offered = columns.classes(card)
        return {
            self.label: gr.update(choices=offered, value=offered[0][1] if offered else None, visible=bool(offered)),
            self.prompt: gr.update(visible=bool(card.text)), self.carried: {}, self.also: gr.update(value="", visible=False),
        }  # fmt: skip

    def take(self, path: str | None) -> dict:
        """Compare the setting of a picture or video of another tab with another model on the same class and noise."""
        try:
            if not path:
                raise RequestError("Generate a picture first, then compare its setting with another.")
            receipt = (pictures.read_png if str(path).endswith(".png") else video.read)(path)[1]
            request = Request.from_dict(receipt["request"])
            card = self.hub.card(request.model)
            request = request.resolved(card)
            place = Settings.place(receipt, request)
            first, count = controls.repeated(request) or (request.seeds[place], 1)  # of a mixed batch this one only
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        near = [other for other in controls.makers(self.hub, card.video) if other.id != card.id and other.labels == card.labels]
        near = [other for other in near if self.hub.local(other)] or [card]
        model, steps, solver, guidance, eta, vae = self.settings[0]
        own, other, offered = self.choose(card.id), self.choose(near[0].id), self.offer(card.id)
        if request.labels:
            offered[self.label] |= {"value": request.labels[place]}
        carried = {"frames": request.frames, "fps": request.fps} if card.video else {}
        carried |= {"negative_prompt": request.negative_prompt} if request.negative_prompt else {}
        said = ", ".join(f"{word.replace('_', ' ')} {value}" for word, value in carried.items())
        words = f"A is the setting of that result. B is {near[0].title}: change what you like, then press Compare."
        return offered | {
            self.prompt: gr.update(value=request.prompt, visible=bool(card.text)), self.count: count,
            self.seed: str(first), model: card.id, steps: request.steps, solver: request.solver,
            guidance: gr.update(value=request.guidance, visible=card.guidable),
            eta: request.eta, vae: own[4] | {"value": request.vae},
            self.carried: carried, self.note: markup.note(words, "good"), self.settings[1][0]: near[0].id,
            self.also: gr.update(value=markup.note(f"In all, from that result: {said}"), visible=bool(carried)),
        } | dict(zip(self.settings[1][1:], other, strict=True))  # fmt: skip

    def _columns(self, number: int, label: Any, prompt: str, count: Any, seed: str, carried: dict, values: tuple) -> list[Setting]:
        samples = controls.whole("Samples", count, 1, compare.MOST_SAMPLES)
        first = controls.first_seed(seed, samples)
        settings = []
        for k in range(number):
            model, steps, solver, guidance, eta, vae = values[6 * k : 6 * k + 6]
            card = self.hub.card(model)
            words = {"model": model, "solver": solver or None, "vae": vae or None, "seeds": list(range(first, first + samples))}
            words |= {"steps": None if steps is None else controls.whole("Steps", steps, 1, 1000)}
            words |= {"guidance": guidance} if card.guidable else {}
            words |= {"eta": eta or 0} if solver == "ddim" else {}
            words |= {word: value for word, value in carried.items() if (card.video if word in ("frames", "fps") else card.text)}
            words |= {"prompt": prompt or ""} if card.text else {}
            if k == 0 and card.label_names:
                words["label"] = label
            settings.append(words)
        columns = compare.aligned(self.hub, settings)
        needed = [self.hub.card(name) for one in columns for name in (one.card.id, one.request.vae, one.card.text) if name]
        if words := controls.missing(self.hub, needed):
            raise RequestError(words)
        return columns

    # ---- what happens

    def generate(
        self, session: gr.Request, visitor, before, blind, number, label, prompt, count, seed, carried, *values: Any
    ) -> Iterator[dict]:
        """Run all columns together and show them as they come; every ending gives the button back."""
        try:
            columns = self._columns(int(number), label, prompt, count, seed, carried or {}, values)
            order = list(range(len(columns)))
            if blind:
                if len({report.setting(one) for one in columns}) < len(columns):
                    raise RequestError("Two columns have the same setting: a blind choice between them would say nothing.")
                if len(columns[0].seeds) > MAX_IMAGES:
                    raise RequestError(f"Nobody looks at {len(columns[0].seeds)} samples blindly: choose at most {MAX_IMAGES}.")
                random.shuffle(order)
        except ZooError as error:
            yield {self.note: markup.note(str(error), "error")}
            return
        yield from self._run(session, visitor, Comparison(columns, order, blind), before)

    def go_on(self, session: gr.Request, visitor: str, seen: Comparison | None) -> Iterator[dict]:
        """As many samples more of every column, of the seeds that follow."""
        try:
            if seen is None or not all(one.finished for one in seen.columns):
                raise RequestError("There is no finished comparison to go on with: press Compare and let it finish.")
            compare.more(seen.columns)
        except ZooError as error:
            yield {self.note: markup.note(str(error), "error")}
            return
        yield from self._run(session, visitor, Comparison(seen.columns, seen.order, False), seen)

    def _run(self, session: gr.Request, visitor: str, seen: Comparison, before: Comparison | None) -> Iterator[dict]:
        idle = {self.go: gr.update(visible=True), self.halt: gr.update(visible=False)}
        places = {k: place for place, k in enumerate(seen.order)}
        ready = [column.left for column in seen.columns]
        done, noise = [0.0] * len(places), markup.note(compare.noise(seen.columns))
        with self.switches.held(session) as stop:
            try:
                yield self._cells([seen.empty(place) for place in places.values()]) | {
                    self.go: gr.update(visible=False), self.halt: gr.update(visible=True), self.details: gr.update(visible=False),
                    self.choice: gr.update(visible=False), self.note: noise,
                }  # fmt: skip
                for k, item in compare.together(self.hub, seen.columns, stop, visitor, preview=not seen.blind):
                    column, place = seen.columns[k], places[k]
                    part = item.step / item.total if isinstance(item, Progress) and item.total else 0
                    done[k] = (len(ready[k]) - len(column.left) + part) / max(len(ready[k]), 1)
                    if seen.blind:
                        yield {self.note: markup.bar(sum(done) / len(done), compare.noise(seen.columns))}
                    elif isinstance(item, Result):
                        yield {self.cells[place]: seen.finished(place)}
                    else:
                        words = markup.progress_line(item, column.card)
                        shown = {self.cells[place]: self._forming(seen, place, item, words), self.note: noise}
                        yield shown if item.preview is not None else {self.note: words}
                _trim(seen)
                if not all(column.results for column in seen.columns):
                    words = "stopped before there was something of every column; what was drawn is in the history of the Image tab"
                    yield idle | self._restored(before) | {self.note: markup.note(words)}
                    return
                yield idle | self._finished(seen)
            except ZooError as error:
                _trim(seen)
                yield idle | self._restored(before) | {self.note: markup.note(str(error), "error")}

    def _restored(self, before: Comparison | None) -> dict:
        """The comparison that stood there earlier."""
        return self._finished(before) if before is not None else self._cells([EMPTY])

    def _forming(self, seen: Comparison, place: int, item: Progress, words: str) -> str:
        column = seen.columns[seen.order[place]]
        run = f"{seen.run}-{len(column.results)}"
        return columns.shown(place, run, seen.name(place), item.preview, column, words, column.noise)

    def _cells(self, contents: list[str]) -> dict:
        """The columns' places; those that are not needed vanish."""
        spare = contents + [""] * COLUMNS
        return {cell: gr.update(value=spare[k], visible=k < len(contents)) for k, cell in enumerate(self.cells)}

    def _finished(self, seen: Comparison) -> dict:
        """All columns at their end; what tells them apart only where nobody chooses blindly."""
        shown = self._cells([seen.finished(place) for place in range(len(seen.order))]) | {self.seen: seen}
        whole = all(column.finished for column in seen.columns)
        if seen.blind and whole:
            names = [seen.name(place) for place in range(len(seen.order))]
            choice = gr.update(choices=[*names, UNSURE], value=None, visible=True)
            return shown | {self.choice: choice, self.note: markup.note(f"{compare.noise(seen.columns)} Look, then choose.")}
        seen.blind = False
        names, columns = compare.names(len(seen.columns)), seen.columns
        images = columns[0].images
        count, frames = len(images), images.shape[1] if images.ndim == 5 else 1
        pair = self.closely(seen, "A", names[-1], 1, frames // 2 + 1)
        return shown | self._cells([seen.finished(place) for place in range(len(seen.order))]) | {
            self.details: gr.update(visible=True), self.table: report.table(report.rows(columns), names),
            self.architectures: report.drawings(columns) + report.table(report.architectures(columns), names),
            self.left: gr.update(choices=names, value="A"), self.right: gr.update(choices=names, value=names[-1]),
            self.which: gr.update(maximum=max(count, 2), value=1),
            self.frame: gr.update(visible=frames > 1, maximum=max(frames, 2), value=frames // 2 + 1),
            self.slider: pair[0], self.difference: pair[1], self.path: pair[2], self.note: markup.note(compare.noise(columns)),
            self.saved: gr.update(visible=False),
            self.again: gr.update(interactive=whole), self.choice: gr.update(visible=False),
        }  # fmt: skip

    def vote(self, visitor: str, seen: Comparison | None, chosen: str) -> dict:
        """Keep a blind choice and say what stood where."""
        try:
            if seen is None or not seen.blind:
                raise RequestError("This choice was made already: compare blindly again for another.")
            shown = [seen.columns[k] for k in seen.order]
            index = None if chosen == UNSURE else int(chosen) - 1
            settings = [report.setting(one) for one in shown]
            self.votes.keep(visitor, report.subject(shown[0]), shown[0].seeds, settings, index)
            seen.blind = False
            words = "You saw no difference." if index is None else f"You chose {chosen}: {settings[index]}."
            return (
                self._finished(seen)
                | {self.note: markup.note(f"{words} LocalFiles; the Votes tab counts.", "good")}
                | self.votes.show(visitor)
            )
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}

    def save(self, seen: Comparison | None) -> dict:
        """The report as files."""
        try:
            if seen is None or seen.blind:
                raise RequestError("There is nothing to report yet: press Compare and let it finish.")
            files = put(report.files(seen.columns), self.hub.results.folder / uuid.uuid4().hex)
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        return {self.saved: gr.update(value=[str(path) for path in files], visible=True)}

    def closely(self, seen: Comparison | None, left: str, right: str, which: int, frame: int) -> tuple[Any, Any, Any, Any]:
        """Two columns' same sample under a line to drag, and where they differ; the left one's file."""
        if seen is not None and seen.blind:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        try:
            return *columns.closely(seen, left, right, int(which) - 1, int(frame) - 1), markup.note(compare.noise(seen.columns))
        except RequestError as error:
            return None, "", "", markup.note(str(error), "error")


def _trim(seen: Comparison) -> None:
    """What was not begun is not missing."""
    for column in seen.columns:
        del column.rounds[max(len(column.results), 1) :]


def _sample(event: gr.EventData) -> int:
    """The sample that was clicked."""
    return int(event.sample) + 1
