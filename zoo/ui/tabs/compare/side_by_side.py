"""The side-by-side view of the Compare tab: settings on the same class and noise, run together, compared in detail, chosen blindly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.catalog.card import Card
from zoo.compare import compare, report
from zoo.compare.setting import Setting
from zoo.engine.request import MAX_IMAGES, Progress, Request, Result, first_seed, solvers_of
from zoo.errors import RequestError, ZooError
from zoo.media import receipts
from zoo.sampling import takes_eta
from zoo.ui.parts import controls, cost, markup, runs
from zoo.ui.parts.moving_slider import MOVING
from zoo.ui.parts.runs import LATEST, PRIVATE
from zoo.ui.parts.settings import Settings, autoencoders
from zoo.ui.tabs.compare import columns_html, take_over
from zoo.ui.tabs.compare.comparison import Comparison, pair
from zoo.ui.tabs.compare.components import AT_THE_END, COLUMNS, EMPTY, CompareComponents, classes, more_samples

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.ui.tabs.compare.votes import VotesTab

UNSURE = "no difference"


class CompareTab(CompareComponents):
    """What the side-by-side view does; a comparison stands in the visitor's own state."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState) -> None:
        super().__init__(hub)
        self.visitor, self.flags = visitor, runs.StopFlags()

    def wire(self, votes: VotesTab, views: gr.Tabs, comparing: gr.Tab) -> None:
        """Let the components act, once those that count the choices stand as well; views: the tabs among which this one is, comparing:
        the tab that holds them."""
        self.votes, self.views = votes, views
        of_two = [self.left, self.right, self.which, self.frame]
        detail = [self.slider, self.difference, self.path, self.detail_shown]
        outputs = [*self.cells, self.note, self.choice, self.details, self.table, self.architectures, self.comparison, self.files]
        outputs += [*of_two, *detail, self.noise, self.go, self.halt, self.again]
        common = [self.label, self.prompt, self.count, self.seed, self.other_settings]
        inputs = [self.visitor, self.comparison, self.blind, self.number, *common, *(part for six in self.settings for part in six)]
        self.download.click(self.generate, inputs, outputs, self._needed)
        asked = inputs[3:]
        gr.on(
            [self.timer.tick, comparing.select, *(part.change for part in asked)], self.price, asked, [self.cost, self.faster, self.timer],
            queue=False, **PRIVATE,
        )  # fmt: skip
        faster = [part for _, steps, solver, _, eta, _ in self.settings for part in (steps, solver, eta)]
        chosen = [part for six in self.settings for part in six[:2]]
        self.faster.click(self.hasten, chosen, [*faster, self.timer], queue=False, **PRIVATE)
        models = [part for six in self.settings for part in (six[0], six[5])]
        gr.on([part.change for part in (self.number, *models)], self._label, [self.number, *models], self.go, queue=False, **PRIVATE)
        self.again.click(self.go_on, [self.visitor, self.comparison], outputs, **PRIVATE)
        self.halt.click(self.flags.stop, None, None, queue=False, **PRIVATE)
        options = [self.label, self.prompt, self.other_settings, self.other_settings_note]
        for k, (model, steps, solver, guidance, eta, vae) in enumerate(self.settings):
            own = [model, steps, solver, guidance, eta, vae, self.chosen[k]]
            model.input(self._choosing(k), [model, self.chosen[k], self.label], [*own, *options, self.note], queue=False, **PRIVATE)
            solver.change(lambda name: gr.update(visible=takes_eta(name)), solver, eta, queue=False, **PRIVATE)
        shown = [self.comparison, self.detail_shown, *of_two]
        gr.on([part.input for part in of_two], self.detail, shown, [*detail, self.note], **LATEST)
        for cell in self.cells:
            sample = cell.click(_sample, None, self.which, queue=False, **PRIVATE)
            sample.then(self.detail, shown, [*detail, self.note], **LATEST)
        self.noise.input(self.show_noise, [self.comparison, self.noise], [*self.cells, self.noise, self.note], **LATEST)
        self.report.click(self.save, self.comparison, [self.files, self.note], **PRIVATE)
        self.choice.input(self.vote, [self.visitor, self.comparison, self.choice], [*outputs, *self.votes.outputs], **PRIVATE)
        self.common = [self.number, self.label, self.prompt, self.count, self.seed]
        self.take_outputs = [*options, self.count, self.seed, self.number, *self.settings[0], *self.settings[1]]
        self.take_outputs += [*self.chosen[:2], self.note, self.views]
        self.address_outputs = [*self.take_outputs, *(part for six in self.settings[2:] for part in six), *self.chosen[2:]]

    # ---- what is asked

    def _choosing(self, k: int) -> Any:
        """The handler of column k's list of models."""

        def choose(model: str, before: str, label: Any) -> dict:
            return self.choose(k, model, before, label)

        return choose

    @runs.answers
    def choose(self, k: int, model: str, before: str, label: Any) -> dict:
        """A column's settings become its model's defaults; the first column's decides on the classes, of which the same one stays.
        Where the model is the same as before nothing changes."""
        if model == before:
            return {self.chosen[k]: before}
        card = self.hub.card(model)
        kept = label if self.hub.card(before).labels == card.labels else None
        return self._shown(k, card, take_over.defaults(card)) | (self._offer(card, kept) if k == 0 else {})

    def _offer(self, card: Card, label: Any = None) -> dict:
        """The classes of the first column's model, or its prompt; what was taken over from another tab is gone."""
        return {
            self.label: gr.update(**classes(card), value=(0 if card.label_names else None) if label is None else label),
            self.prompt: gr.update(visible=bool(card.text)), self.other_settings: {},
            self.other_settings_note: gr.update(value="", visible=False),
        }  # fmt: skip

    def _shown(self, k: int, card: Card, request: Request) -> dict:
        """What the controls of column k show for a setting of a model."""
        model, steps, solver, guidance, eta, vae = self.settings[k]
        others = autoencoders(self.hub, card)
        return {
            model: card.id, self.chosen[k]: card.id, steps: request.steps,
            solver: gr.update(choices=list(dict.fromkeys([*solvers_of(card), request.solver])), value=request.solver),
            guidance: gr.update(value=request.guidance, visible=card.guidable),
            eta: gr.update(value=request.eta, visible=takes_eta(request.solver)),
            vae: gr.update(choices=others, value=request.vae, visible=len(others) > 1),
        }  # fmt: skip

    @runs.answers
    def take(self, path: str | None) -> dict:
        """Compare the setting of one sample of another tab with another model on the same class and noise: only the model differs,
        as far as the other one allows."""
        if not path:
            raise RequestError("Generate a picture or a video first, then compare its setting with another.")
        receipt = receipts.read(path)
        request = Request.from_dict(receipt["request"])
        card = self.hub.card(request.model)
        request = request.resolved(card)
        place = Settings.place(receipt, request)
        request = replace(request, seeds=request.seeds[place : place + 1], labels=request.labels[place : place + 1])
        rival = self._rival(card)
        other, refused = take_over.on_another(self.hub, request, rival)
        words_of_both = take_over.difference(card, rival, refused)
        more = {"frames": request.frames, "fps": request.fps} if card.video else {}
        more |= {"negative_prompt": request.negative_prompt} if request.negative_prompt else {}
        words = [f"{word.replace('_', ' ')} {value}" for word, value in more.items()]
        if request.interval not in (None, card.guidance.interval):
            more["interval"] = request.interval
            words.append("guidance at noise from {:g} to {:g}".format(*request.interval))
        taken = markup.note(f"For all columns, from that result: {', '.join(words)}")
        return self._offer(card, request.labels[0] if request.labels else None) | {
            self.prompt: gr.update(value=request.prompt, visible=bool(card.text)), self.count: 1, self.seed: str(request.seeds[0]),
            self.number: 2, self.other_settings: more, self.views: gr.Tabs(selected="side-by-side"),
            self.other_settings_note: gr.update(value=taken, visible=bool(more)),
        } | self._shown(0, card, request) | self._shown(1, rival, other) | self.say(words_of_both, "good")  # fmt: skip

    def addressed(self, text: str) -> dict:
        """What the tab shows for the settings of an address, a JSON list of requests as /compare takes it. Raises a ZooError."""
        columns = compare.aligned(self.hub, compare.from_json(text))
        if not 2 <= len(columns) <= COLUMNS:
            raise RequestError(f"This address compares {len(columns)} settings: the page shows 2 to {COLUMNS}.")
        first = columns[0]
        label = compare.EACH if first.each_class else next(iter(first.request.labels), None)
        shown = self._offer(first.card, label) | {
            self.prompt: gr.update(value=first.request.prompt, visible=bool(first.card.text)), self.count: len(first.seeds),
            self.seed: str(first.seeds[0]), self.number: len(columns),
            self.views: gr.Tabs(selected="side-by-side"),
        }  # fmt: skip
        for k, column in enumerate(columns):
            shown |= self._shown(k, column.card, column.request)
        return shown

    def _rival(self, card: Card) -> Card:
        """Another model on this machine that draws the same classes, or reads text as well; the same one where there is none."""
        same = [one for one in controls.makers(self.hub, card.video) if one.labels == card.labels and bool(one.text) == bool(card.text)]
        return next((one for one in same if one.id != card.id and self.hub.local(one)), card)

    def _columns(self, number: int, label: Any, prompt: str, count: Any, seed: str, other_settings: dict, values: tuple) -> list[Setting]:
        samples = controls.whole("Samples", count, 1, compare.MOST_SAMPLES)
        first = first_seed(seed, samples)
        settings = []
        for k in range(number):
            model, steps, solver, guidance, eta, vae = values[6 * k : 6 * k + 6]
            card = self.hub.card(model)
            words = {"model": model, "solver": solver or None, "vae": vae or None, "seeds": list(range(first, first + samples))}
            words |= {"steps": None if steps is None else controls.whole("Steps", steps, 1, 1000)}
            words |= {"guidance": guidance} if card.guidable else {}
            words |= {"eta": eta or 0} if takes_eta(solver or card.sampling.solver) else {}
            takes = {"frames": card.video, "fps": card.video, "negative_prompt": card.text, "interval": card.guidable}
            words |= {word: value for word, value in other_settings.items() if takes[word]}
            words |= {"prompt": prompt or ""} if card.text else {}
            if k == 0 and card.label_names:
                words["label"] = label
            settings.append(words)
        return compare.aligned(self.hub, settings)

    def _needed(self, *values: Any) -> list[Card]:
        """The models that the values of `generate` need, once they are known to fit together. Raises RequestError."""
        number, label, prompt, count, seed, other_settings = values[3:9]
        columns = self._columns(int(number), label, prompt, count, seed, other_settings or {}, values[9:])
        return _parts(self.hub, [(one.card.id, one.request.vae) for one in columns])

    def _label(self, number: int, *values: Any) -> Any:
        """What the Compare button says: that models are downloaded first, where some are not on this machine."""
        try:
            return self.download.label(_parts(self.hub, [values[2 * k : 2 * k + 2] for k in range(int(number))]))
        except ZooError:  # such as an autoencoder that somebody typed: pressing the button says it
            return gr.skip()

    def price(self, number: int, label: Any, prompt: str, count: Any, seed: str, other_settings: dict, *values: Any) -> tuple:
        """Say beforehand what all columns will cost, and offer a faster way. What does not fit together yet costs nothing: pressing the
        button says what is wrong."""
        try:
            columns = self._columns(int(number), label, prompt, count, seed, other_settings or {}, values)
            if self.download.downloads.words(_parts(self.hub, [(one.card.id, one.request.vae) for one in columns])):
                return cost.NOTHING
            return cost.answer(self.hub, [request for one in columns for request in one.rounds])
        except ZooError:
            return cost.NOTHING

    def hasten(self, *values: Any) -> dict:
        """Solver and steps of each column's model as its fast preset has them, where that has fewer."""
        updates: dict = {self.timer: gr.update(active=True)}
        for k, (_, steps, solver, _, eta, _) in enumerate(self.settings):
            name, number = cost.fast(self.hub.card(values[2 * k]))
            if values[2 * k + 1] is None or values[2 * k + 1] > number:
                updates |= {solver: name, steps: number, eta: gr.update(value=0, visible=takes_eta(name))}
        return updates

    # ---- what happens

    def _seconds(self, *values: Any) -> float | None:
        number, label, prompt, count, seed, other_settings = values[3:9]
        return compare.core_seconds(self.hub, self._columns(int(number), label, prompt, count, seed, other_settings or {}, values[9:]))

    @runs.stoppable(_seconds)
    def generate(self, visitor, before, blind, number, label, prompt, count, seed, other_settings, *values: Any) -> Iterator[dict]:
        """Run all columns together and show them as they come; every ending gives the button back."""
        columns = self._columns(int(number), label, prompt, count, seed, other_settings or {}, values)
        order = list(range(len(columns)))
        if blind:
            if len({report.setting(one) for one in columns}) < len(columns):
                raise RequestError("Two columns have the same setting: a blind choice between them would say nothing.")
            if len(columns[0].seeds) > MAX_IMAGES:
                raise RequestError(
                    f"A blind test shows at most {MAX_IMAGES} samples of a column, not {len(columns[0].seeds)}: choose fewer."
                )
            random.shuffle(order)
        yield from self._run(visitor, Comparison(columns, order, blind), before)

    @runs.stoppable(lambda tab, *values: values[1] and compare.core_seconds(tab.hub, values[1].columns))
    def go_on(self, visitor: str, before: Comparison | None) -> Iterator[dict]:
        """As many samples more of every column, of the seeds that follow; those that are there stay, whatever happens."""
        if before is None or not all(one.finished for one in before.columns):
            raise RequestError("There is no finished comparison to add samples to: press Compare and let it finish.")
        columns = [one.copy() for one in before.columns]
        compare.more(columns)
        yield from self._run(visitor, Comparison(columns, before.order, False), before)

    def _run(self, visitor: str, comparison: Comparison, before: Comparison | None) -> Iterator[dict]:
        try:
            yield self._cells([comparison.empty(place) for place in range(len(comparison.order))]) | self.busy() | {
                self.details: gr.update(visible=False), self.noise: gr.update(visible=False),
                self.choice: gr.update(visible=False), self.note: markup.note(compare.noise(comparison.columns)),
            }  # fmt: skip
            for k, item in compare.together(self.hub, comparison.columns, runs.stop_flag(), visitor, preview=not comparison.blind):
                yield self._step(comparison, k, item)
            for column in comparison.columns:  # what was not begun is not missing
                del column.rounds[max(len(column.results), 1) :]
            if all(column.results for column in comparison.columns):
                yield self.idle() | self._finished(comparison)
                return
            words, kind = "Stopped before every column had a result; finished pictures are in the history of the Image tab.", "plain"
        except Exception as error:
            words, kind = runs.sentence(error), "error"
        yield self.idle() | self._restored(before) | self.say(words, kind)

    def _step(self, comparison: Comparison, k: int, item: Progress | Result) -> dict:
        """What is new on the page once column k has come further."""
        column, place = comparison.columns[k], comparison.order.index(k)
        if isinstance(item, Result) and not comparison.blind:
            return {self.cells[place]: comparison.finished(place)}
        if comparison.blind and (isinstance(item, Result) or item.stage != "waiting"):
            rounds = sum(len(one.rounds) for one in comparison.columns)
            part = item.step / item.total if isinstance(item, Progress) and item.total else 0
            share = (sum(len(one.results) for one in comparison.columns) + part) / rounds
            return {self.note: markup.bar(min(share, 1.0), compare.noise(comparison.columns))}
        words = markup.progress_line(item, column.card)
        if item.preview is None:
            return {self.note: words}
        run_id = f"{comparison.run_id}-{len(column.results)}"
        forming = columns_html.forming_column(place, run_id, comparison.name(place), item.preview, column, words, column.noise)
        return {self.cells[place]: forming, self.note: markup.note(compare.noise(comparison.columns))}

    def _restored(self, before: Comparison | None) -> dict:
        """The comparison that stood there earlier."""
        return self._finished(before) if before is not None else self._cells([EMPTY])

    @runs.computes
    def show_noise(self, comparison: Comparison | None, share: float) -> dict:
        """Every column at the step at which its sample was as noisy as the others', its clean prediction decoded now."""
        if comparison is None or comparison.blind or not all(one.levels for one in comparison.columns):
            return {}
        places = range(len(comparison.order))
        if share >= 100:
            return self._cells([comparison.finished(place) for place in places]) | {self.noise: gr.update(label=AT_THE_END)}
        noise = comparison.noise_at(share / 100)
        label = f"Equal noise in all columns: {100 * noise:.{1 if noise > 0.95 else 0}f} % noise"
        return self._cells([comparison.at_noise(self.hub, place, noise) for place in places]) | {self.noise: gr.update(label=label)}

    def _cells(self, contents: list[str]) -> dict:
        """The columns' places; those that are not needed vanish."""
        spare = contents + [""] * COLUMNS
        return {cell: gr.update(value=spare[k], visible=k < len(contents)) for k, cell in enumerate(self.cells)}

    def _finished(self, comparison: Comparison) -> dict:
        """All columns at their end; what tells them apart only where nobody chooses blindly."""
        complete = all(column.finished for column in comparison.columns)
        comparison.blind = comparison.blind and complete
        changes = self._cells([comparison.finished(place) for place in range(len(comparison.order))]) | {self.comparison: comparison}
        if comparison.blind:
            names = [comparison.name(place) for place in range(len(comparison.order))]
            choice = gr.update(choices=[*names, UNSURE], value=None, visible=True)
            return changes | {self.choice: choice} | self.say(f"{compare.noise(comparison.columns)} Look, then choose.")
        names, columns = compare.names(len(comparison.columns)), comparison.columns
        count, frames = len(columns[0].samples), columns[0].request.frames
        return changes | self.say(compare.noise(columns)) | self._detail(comparison, "A", names[-1], 1, frames // 2 + 1) | {
            self.details: gr.update(visible=True), self.table: report.table(report.rows(columns), names),
            self.architectures: report.drawings(columns) + report.table(report.architectures(columns), names, "Architectures"),
            self.left: gr.update(choices=names, value="A"), self.right: gr.update(choices=names, value=names[-1]),
            self.which: gr.update(maximum=max(count, 2), value=1),
            self.frame: gr.update(elem_classes=[MOVING, *[runs.NEEDLESS] * (frames < 2)], maximum=max(frames, 2), value=frames // 2 + 1),
            self.files: gr.update(value=None, elem_classes=[runs.NEEDLESS]), self.choice: gr.update(visible=False),
            self.noise: gr.update(visible=True, value=100, label=AT_THE_END),
            self.again: gr.update(value=more_samples(count), interactive=complete),
        }  # fmt: skip

    @runs.answers
    def vote(self, visitor: str, comparison: Comparison | None, choice: str) -> dict:
        """Keep a blind choice and say what stood where."""
        if comparison is None or not comparison.blind:
            raise RequestError("This choice was made already: compare blindly again for another.")
        columns = [comparison.columns[k] for k in comparison.order]
        index = None if choice == UNSURE else int(choice) - 1
        settings = [report.setting(one) for one in columns]
        self.votes.keep(visitor, report.subject(columns[0]), columns[0].seeds, settings, index)
        comparison.blind = False
        words = "You saw no difference." if index is None else f"You chose {choice}: {settings[index]}."
        return self._finished(comparison) | self.votes.show(visitor) | self.say(f"{words} Saved; the Votes tab counts it.", "good")

    @runs.answers
    def save(self, comparison: Comparison | None) -> dict:
        """The report as files."""
        if comparison is None or comparison.blind:
            raise RequestError("There is nothing to report yet: press Compare and let it finish.")
        files = self.hub.results.bundle(report.files(comparison.columns))
        return {self.files: gr.update(value=[str(path) for path in files], elem_classes=[])}

    @runs.answers
    def detail(self, comparison: Comparison | None, before: list, left: str, right: str, which: float, frame: float) -> dict:
        """Two columns' same sample under a line to drag, and where they differ; nothing changes where they are shown already."""
        if comparison is None or comparison.blind or before == [left, right, which, frame]:
            return {self.detail_shown: before}
        return self._detail(comparison, left, right, int(which), int(frame)) | self.say(compare.noise(comparison.columns))

    def _detail(self, comparison: Comparison, left: str, right: str, which: int, frame: int) -> dict:
        try:
            images, difference, path = pair(comparison, left, right, which - 1, frame - 1)
        except RequestError as error:
            images, difference, path = None, markup.note(str(error), "error"), ""
        return {self.slider: images, self.difference: difference, self.path: path, self.detail_shown: [left, right, which, frame]}


def _parts(hub: Hub, chosen: list[tuple[str, str | None]]) -> list[Card]:
    """Models, each with the autoencoder that was chosen for it, and what they need besides; each once."""
    parts = [part for model, vae in chosen for part in [*hub.parts(hub.card(model)), *([hub.card(vae)] if vae else [])]]
    return list({part.id: part for part in parts}.values())


def _sample(event: gr.EventData) -> int:
    """The sample that was clicked."""
    return int(event.index) + 1
