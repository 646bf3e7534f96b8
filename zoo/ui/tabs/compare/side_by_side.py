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
from zoo.ui.parts.settings import Settings, autoencoders
from zoo.ui.tabs.compare import columns_html
from zoo.ui.tabs.compare.comparison import Comparison, pair
from zoo.ui.tabs.compare.components import COLUMNS, EMPTY, CompareComponents, classes
from zoo.ui.parts.runs import PRIVATE

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.ui.tabs.compare.votes import VotesTab

UNSURE = "no difference"


class CompareTab(CompareComponents):
    """What the side-by-side view does; a comparison stands in the visitor's own state."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState) -> None:
        super().__init__(hub)
        self.visitor, self.stop_flags = visitor, runs.StopFlags()

    def wire(self, votes: VotesTab) -> None:
        """Let the components act, once those that count the choices stand as well."""
        self.votes = votes
        of_two = [self.left, self.right, self.which, self.frame]
        closely = [self.slider, self.difference, self.path]
        outputs = [*self.cells, self.note, self.choice, self.details, self.table, self.architectures, self.comparison, self.files]
        outputs += [*of_two, *closely, self.go, self.halt, self.again]
        inputs = [
            self.visitor,
            self.comparison,
            self.blind,
            self.number,
            self.label,
            self.prompt,
            self.count,
            self.seed,
            self.other_settings,
        ]
        inputs += [part for six in self.settings for part in six]
        self.go.click(self.generate, inputs, outputs, **PRIVATE)
        self.again.click(self.go_on, [self.visitor, self.comparison], outputs, **PRIVATE)
        self.halt.click(self.stop_flags.stop, None, None, queue=False, **PRIVATE)
        self.number.input(lambda n: [gr.update(visible=k < n) for k in range(COLUMNS)], self.number, self.groups, queue=False, **PRIVATE)
        offered = [self.label, self.prompt, self.other_settings, self.other_settings_note]
        for k, (model, *rest) in enumerate(self.settings):
            model.input(self.choose, model, rest, queue=False, **PRIVATE)
            if k == 0:
                model.input(self.offer, model, offered, queue=False, **PRIVATE)
        same = PRIVATE | {"trigger_mode": "always_last"}
        for part in of_two:
            part.input(self.closely, [self.comparison, *of_two], [*closely, self.note], **same)
        for cell in self.cells:
            chosen = cell.click(_sample, None, self.which, queue=False, **PRIVATE)
            chosen.then(self.closely, [self.comparison, *of_two], [*closely, self.note], **same)
        self.report.click(self.save, self.comparison, [self.files, self.note], **PRIVATE)
        self.choice.input(self.vote, [self.visitor, self.comparison, self.choice], [*outputs, *self.votes.outputs], **PRIVATE)
        self.take_outputs = [*offered, self.count, self.seed, *self.settings[0], *self.settings[1], self.note]

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
        options = classes(card)
        return {
            self.label: gr.update(choices=options, value=options[0][1] if options else None, visible=bool(options)),
            self.prompt: gr.update(visible=bool(card.text)), self.other_settings: {},
            self.other_settings_note: gr.update(value="", visible=False),
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
            index = Settings.place(receipt, request)
            first, count = controls.repeated(request) or (request.seeds[index], 1)  # of a mixed batch this one only
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        others = [other for other in controls.makers(self.hub, card.video) if other.id != card.id and other.labels == card.labels]
        others = [other for other in others if self.hub.local(other)] or [card]
        model, steps, solver, guidance, eta, vae = self.settings[0]
        own, other, options = self.choose(card.id), self.choose(others[0].id), self.offer(card.id)
        if request.labels:
            options[self.label] |= {"value": request.labels[index]}
        other_settings = {"frames": request.frames, "fps": request.fps} if card.video else {}
        other_settings |= {"negative_prompt": request.negative_prompt} if request.negative_prompt else {}
        more = ", ".join(f"{word.replace('_', ' ')} {value}" for word, value in other_settings.items())
        words = f"A is the setting of that result. B is {others[0].title}: change what you like, then press Compare."
        return options | {
            self.prompt: gr.update(value=request.prompt, visible=bool(card.text)), self.count: count,
            self.seed: str(first), model: card.id, steps: request.steps, solver: request.solver,
            guidance: gr.update(value=request.guidance, visible=card.guidable),
            eta: request.eta, vae: own[4] | {"value": request.vae},
            self.other_settings: other_settings, self.note: markup.note(words, "good"), self.settings[1][0]: others[0].id,
            self.other_settings_note: gr.update(value=markup.note(f"In all, from that result: {more}"), visible=bool(other_settings)),
        } | dict(zip(self.settings[1][1:], other, strict=True))  # fmt: skip

    def _columns(self, number: int, label: Any, prompt: str, count: Any, seed: str, other_settings: dict, values: tuple) -> list[Setting]:
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
            words |= {word: value for word, value in other_settings.items() if (card.video if word in ("frames", "fps") else card.text)}
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
        self, session: gr.Request, visitor, before, blind, number, label, prompt, count, seed, other_settings, *values: Any
    ) -> Iterator[dict]:
        """Run all columns together and show them as they come; every ending gives the button back."""
        try:
            columns = self._columns(int(number), label, prompt, count, seed, other_settings or {}, values)
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

    def go_on(self, session: gr.Request, visitor: str, comparison: Comparison | None) -> Iterator[dict]:
        """As many samples more of every column, of the seeds that follow."""
        try:
            if comparison is None or not all(one.finished for one in comparison.columns):
                raise RequestError("There is no finished comparison to go on with: press Compare and let it finish.")
            compare.more(comparison.columns)
        except ZooError as error:
            yield {self.note: markup.note(str(error), "error")}
            return
        yield from self._run(session, visitor, Comparison(comparison.columns, comparison.order, False), comparison)

    def _run(self, session: gr.Request, visitor: str, comparison: Comparison, before: Comparison | None) -> Iterator[dict]:
        idle = {self.go: gr.update(visible=True), self.halt: gr.update(visible=False)}
        places = {k: place for place, k in enumerate(comparison.order)}
        todo = [column.remaining for column in comparison.columns]
        done, noise = [0.0] * len(places), markup.note(compare.noise(comparison.columns))
        with self.stop_flags.held(session) as stop:
            try:
                yield self._cells([comparison.empty(place) for place in places.values()]) | {
                    self.go: gr.update(visible=False), self.halt: gr.update(visible=True), self.details: gr.update(visible=False),
                    self.choice: gr.update(visible=False), self.note: noise,
                }  # fmt: skip
                for k, item in compare.together(self.hub, comparison.columns, stop, visitor, preview=not comparison.blind):
                    column, place = comparison.columns[k], places[k]
                    part = item.step / item.total if isinstance(item, Progress) and item.total else 0
                    done[k] = (len(todo[k]) - len(column.remaining) + part) / max(len(todo[k]), 1)
                    if comparison.blind:
                        yield {self.note: markup.bar(sum(done) / len(done), compare.noise(comparison.columns))}
                    elif isinstance(item, Result):
                        yield {self.cells[place]: comparison.finished(place)}
                    else:
                        words = markup.progress_line(item, column.card)
                        changes = {self.cells[place]: self._forming(comparison, place, item, words), self.note: noise}
                        yield changes if item.preview is not None else {self.note: words}
                _trim(comparison)
                if not all(column.results for column in comparison.columns):
                    words = "stopped before there was something of every column; what was drawn is in the history of the Image tab"
                    yield idle | self._restored(before) | {self.note: markup.note(words)}
                    return
                yield idle | self._finished(comparison)
            except ZooError as error:
                _trim(comparison)
                yield idle | self._restored(before) | {self.note: markup.note(str(error), "error")}

    def _restored(self, before: Comparison | None) -> dict:
        """The comparison that stood there earlier."""
        return self._finished(before) if before is not None else self._cells([EMPTY])

    def _forming(self, comparison: Comparison, place: int, item: Progress, words: str) -> str:
        column = comparison.columns[comparison.order[place]]
        run = f"{comparison.run_id}-{len(column.results)}"
        return columns_html.forming_column(place, run, comparison.name(place), item.preview, column, words, column.noise)

    def _cells(self, contents: list[str]) -> dict:
        """The columns' places; those that are not needed vanish."""
        spare = contents + [""] * COLUMNS
        return {cell: gr.update(value=spare[k], visible=k < len(contents)) for k, cell in enumerate(self.cells)}

    def _finished(self, comparison: Comparison) -> dict:
        """All columns at their end; what tells them apart only where nobody chooses blindly."""
        changes = self._cells([comparison.finished(place) for place in range(len(comparison.order))]) | {self.comparison: comparison}
        complete = all(column.finished for column in comparison.columns)
        if comparison.blind and complete:
            names = [comparison.name(place) for place in range(len(comparison.order))]
            choice = gr.update(choices=[*names, UNSURE], value=None, visible=True)
            return changes | {self.choice: choice, self.note: markup.note(f"{compare.noise(comparison.columns)} Look, then choose.")}
        comparison.blind = False
        names, columns = compare.names(len(comparison.columns)), comparison.columns
        images = columns[0].images
        count, frames = len(images), images.shape[1] if images.ndim == 5 else 1
        closely = self.closely(comparison, "A", names[-1], 1, frames // 2 + 1)
        return changes | self._cells([comparison.finished(place) for place in range(len(comparison.order))]) | {
            self.details: gr.update(visible=True), self.table: report.table(report.rows(columns), names),
            self.architectures: report.drawings(columns) + report.table(report.architectures(columns), names),
            self.left: gr.update(choices=names, value="A"), self.right: gr.update(choices=names, value=names[-1]),
            self.which: gr.update(maximum=max(count, 2), value=1),
            self.frame: gr.update(visible=frames > 1, maximum=max(frames, 2), value=frames // 2 + 1),
            self.slider: closely[0], self.difference: closely[1], self.path: closely[2], self.note: markup.note(compare.noise(columns)),
            self.files: gr.update(visible=False),
            self.again: gr.update(interactive=complete), self.choice: gr.update(visible=False),
        }  # fmt: skip

    def vote(self, visitor: str, comparison: Comparison | None, chosen: str) -> dict:
        """Keep a blind choice and say what stood where."""
        try:
            if comparison is None or not comparison.blind:
                raise RequestError("This choice was made already: compare blindly again for another.")
            columns = [comparison.columns[k] for k in comparison.order]
            index = None if chosen == UNSURE else int(chosen) - 1
            settings = [report.setting(one) for one in columns]
            self.votes.keep(visitor, report.subject(columns[0]), columns[0].seeds, settings, index)
            comparison.blind = False
            words = "You saw no difference." if index is None else f"You chose {chosen}: {settings[index]}."
            return (
                self._finished(comparison)
                | {self.note: markup.note(f"{words} LocalFiles; the Votes tab counts.", "good")}
                | self.votes.show(visitor)
            )
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}

    def save(self, comparison: Comparison | None) -> dict:
        """The report as files."""
        try:
            if comparison is None or comparison.blind:
                raise RequestError("There is nothing to report yet: press Compare and let it finish.")
            files = put(report.files(comparison.columns), self.hub.results.folder / uuid.uuid4().hex)
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        return {self.files: gr.update(value=[str(path) for path in files], visible=True)}

    def closely(self, comparison: Comparison | None, left: str, right: str, which: int, frame: int) -> tuple[Any, Any, Any, Any]:
        """Two columns' same sample under a line to drag, and where they differ; the left one's file."""
        if comparison is not None and comparison.blind:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        try:
            return *pair(comparison, left, right, int(which) - 1, int(frame) - 1), markup.note(compare.noise(comparison.columns))
        except RequestError as error:
            return None, "", "", markup.note(str(error), "error")


def _trim(comparison: Comparison) -> None:
    """What was not begun is not missing."""
    for column in comparison.columns:
        del column.rounds[max(len(column.results), 1) :]


def _sample(event: gr.EventData) -> int:
    """The sample that was clicked."""
    return int(event.sample) + 1
