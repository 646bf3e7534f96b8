"""The Compare tab: two to four settings on the same class and noise, seen together at equal noise levels, with what each cost."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from zoo import compare, figures, media, report
from zoo.compare import Column
from zoo.errors import RequestError, ZooError
from zoo.request import SOLVERS, Progress, Result
from zoo.results import put
from zoo.sampling import Schedule
from zoo.ui import controls, plates
from zoo.ui.image import PRIVATE
from zoo.ui.settings import labels

if TYPE_CHECKING:
    from zoo.hub import Hub

EMPTY = '<div class="frame empty"><p>Nothing compared yet. Choose two settings and press Compare.</p></div>'


@dataclass
class Seen:
    """A comparison as the page shows it."""

    columns: list[Column] = field(default_factory=list)
    frames: list[list[tuple[float, str]]] = field(default_factory=list)
    """Of each column: (half log of signal to noise, pictures as HTML), a pair a step."""
    words: list[str] = field(default_factory=list)

    def html(self, level: float | None = None) -> str:
        """All columns beside each other: the latest, or those nearest to a noise level."""
        heads = [report.heading(name, column) for name, column in zip(compare.names(len(self.columns)), self.columns, strict=True)]
        cells = []
        for head, frames, words, column in zip(heads, self.frames, self.words, self.columns, strict=True):
            count = len(column.request.seeds)
            shown = controls.pictures(None, count)
            if frames:
                shown = frames[-1][1] if level is None else min(frames, key=lambda one: abs(one[0] - level))[1]
            cells.append(f"<div><h3>{html.escape(head)}</h3>{shown}{words}</div>")
        return f'<div class="columns">{"".join(cells)}</div>'

    def levels(self) -> tuple[float, float]:
        """From the most to the least noise that was seen."""
        found = [level for frames in self.frames for level, _ in frames]
        return (min(found), max(found)) if found else (0.0, 1.0)


class CompareTab:
    """The components of the tab and what they do; a comparison stands in the visitor's own state."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState) -> None:
        self.hub, self.visitor, self.switches = hub, visitor, controls.Switches()
        self.seen = gr.State(None)
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()
        self._wire()

    def _build_controls(self) -> None:
        choices = controls.model_choices(self.hub) + controls.model_choices(self.hub, True)
        first = controls.first_generator(self.hub)
        local = [card.id for card in self.hub.offered if card.generates and not card.video and self.hub.local(card)] or [first.id]
        self.label = gr.Dropdown(
            labels(first), value=0 if first.label_names else None, label="Class of A (type to search)", elem_id="compare-label"
        )
        self.prompt = gr.Textbox(label="Prompt", visible=bool(first.text), elem_id="compare-prompt")
        self.count = gr.Slider(1, 16, 4, step=1, label="Samples", elem_id="compare-count", buttons=[])
        self.seed = gr.Textbox("0", label="Seed of the first", max_lines=1, elem_id="compare-seed")
        self.number = gr.Radio([2, 3, 4], value=2, label="Columns", elem_id="compare-number")
        self.groups, self.settings = [], []
        for k, name in enumerate(compare.names(compare.MOST)):
            card = self.hub.card(local[k % len(local)])
            with gr.Group(visible=k < 2) as group:
                model = gr.Dropdown(choices, value=card.id, label=f"{name}: model", elem_id=f"compare-model-{name}")
                with gr.Row():
                    steps = gr.Number(card.sampling.steps, precision=0, label="Steps", elem_id=f"compare-steps-{name}", min_width=80)
                    guidance = gr.Number(card.guidance.default, label="Guidance w", elem_id=f"compare-guidance-{name}", min_width=80)
                solver = gr.Dropdown(list(SOLVERS), value=card.sampling.solver, label="Solver", elem_id=f"compare-solver-{name}")
            self.groups.append(group)
            self.settings.append((model, steps, solver, guidance))
        self.go = gr.Button("Compare", variant="primary", elem_id="compare-go")
        self.halt = gr.Button("Stop", variant="stop", elem_id="compare-stop", visible=False)

    def _build_result(self) -> None:
        self.shown = gr.HTML(EMPTY, elem_id="compare-shown")
        self.note = gr.HTML(elem_id="compare-note")
        self.level = gr.Slider(0, 100, 100, step=1, label="From noise to picture, equal noise in all", elem_id="compare-level", buttons=[])
        self.table = gr.HTML(elem_id="compare-table")
        with gr.Accordion("Two of them closely", open=True):
            with gr.Row():
                self.left = gr.Dropdown(["A", "B"], value="A", label="Left", elem_id="compare-left", min_width=80)
                self.right = gr.Dropdown(["A", "B"], value="B", label="Right", elem_id="compare-right", min_width=80)
                self.which = gr.Slider(1, 16, 1, step=1, label="Sample", elem_id="compare-which", buttons=[])
            with gr.Row():
                self.slider = gr.ImageSlider(label="Drag the line", elem_id="compare-slider", interactive=False, max_height=420)
                self.difference = gr.HTML(elem_id="compare-difference")
        with gr.Accordion("Architectures", open=False):
            self.architectures = gr.HTML(elem_id="compare-architectures")
        with gr.Row(elem_classes="actions"):
            self.save = gr.Button("Report (HTML)", size="sm", elem_id="compare-save")
        self.file = gr.File(visible=False, show_label=False, elem_id="compare-file")

    def _wire(self) -> None:
        shown = [self.shown, self.note, self.table, self.slider, self.difference, self.architectures, self.seen, self.level]
        shown += [self.left, self.right, self.which]
        asked = [
            self.visitor,
            self.number,
            self.label,
            self.prompt,
            self.count,
            self.seed,
            *(part for four in self.settings for part in four),
        ]
        self.go.click(self.generate, asked, [*shown, self.go, self.halt], **PRIVATE)
        self.halt.click(self.switches.stop, None, None, queue=False, **PRIVATE)
        self.number.input(
            lambda n: [gr.update(visible=k < n) for k in range(compare.MOST)], self.number, self.groups, queue=False, **PRIVATE
        )
        for k, (model, *rest) in enumerate(self.settings):
            model.input(self.choose, model, [*rest, *([self.label, self.prompt] if k == 0 else [])], queue=False, **PRIVATE)
        same = PRIVATE | {"trigger_mode": "always_last"}
        self.level.input(self.scrub, [self.seen, self.level], self.shown, **same)
        for part in (self.left, self.right, self.which):
            part.input(self.closely, [self.seen, self.left, self.right, self.which], [self.slider, self.difference, self.note], **same)
        self.save.click(self.keep, self.seen, [self.file, self.note], **PRIVATE)

    # ---- what happens

    def choose(self, model: str) -> list:
        """A column's settings become its model's own; the first one's classes are offered."""
        card = self.hub.card(model)
        own = [card.sampling.steps, card.sampling.solver, gr.update(value=card.guidance.default, visible=card.guidable)]
        classes = gr.update(choices=labels(card), value=0 if card.label_names else None, visible=bool(card.label_names))
        return [*own, classes, gr.update(visible=bool(card.text))]

    def generate(self, session: gr.Request, visitor, number, label, prompt, count, seed, *values: Any) -> Iterator[dict]:
        """Run all columns together and show them as they come; every ending gives the button back."""
        idle = {self.go: gr.update(visible=True), self.halt: gr.update(visible=False)}
        with self.switches.held(session) as stop:
            try:
                columns = self._columns(int(number), label, prompt, count, seed, values)
                seen = Seen(columns, [[] for _ in columns], [""] * len(columns))
                same = controls.note(compare.noise(columns))
                yield {
                    self.go: gr.update(visible=False), self.halt: gr.update(visible=True), self.seen: seen, self.shown: seen.html(),
                    self.note: same, self.table: "", self.difference: "", self.slider: None,
                    self.architectures: report.table(report.architectures(columns), compare.names(len(columns))),
                }  # fmt: skip
                for k, item in compare.together(self.hub, columns, stop, visitor):
                    self._take(seen, k, item)
                    yield {self.shown: seen.html()}
                yield idle | self._finished(seen) | {self.note: same}
            except ZooError as error:
                yield idle | {self.note: controls.note(str(error), "error")}

    def _columns(self, number: int, label: Any, prompt: str, count: Any, seed: str, values: tuple) -> list[Column]:
        rows = []
        for k in range(number):
            model, steps, solver, guidance = values[4 * k : 4 * k + 4]
            card = self.hub.card(model)
            subject = label if k == 0 else 0
            made = controls.make_request(
                card, prompt or "a" if card.text else subject, count, seed or "0", steps, solver, guidance if card.guidable else 1
            )
            words = made.to_dict()
            if k:
                words.pop("labels")
                words["seeds"] = rows[0]["seeds"]
            if card.text:
                words["prompt"] = prompt
            rows.append(words)
        return compare.aligned(self.hub, rows)

    def _take(self, seen: Seen, k: int, item: Progress | Result) -> None:
        """One thing that happened in one column."""
        column = seen.columns[k]
        if isinstance(item, Result):
            seen.frames[k].append(
                (np.inf, controls.pictures(item.images if item.images.ndim == 4 else item.images[:, -1], len(item.images)))
            )
            seen.words[k] = controls.note(f"{column.seconds:.1f} s of its own")
            return
        seen.words[k] = controls.progress_line(item, column.card)
        if item.preview is not None:
            schedule, t = Schedule.from_card(column.card.schedule), column.trace.times[-1]
            level = schedule.half_log_snr((t - schedule.time_shift) / schedule.time_scale)
            images = item.preview if item.preview.ndim == 4 else item.preview[:, -1]
            seen.frames[k].append((level, controls.pictures(images, len(images), item.step, item.total)))

    def _finished(self, seen: Seen) -> dict:
        names = compare.names(len(seen.columns))
        pair = {self.left: gr.update(choices=names, value="A"), self.right: gr.update(choices=names, value=names[-1])}
        count = len(seen.columns[0].request.seeds)
        if not all(column.result for column in seen.columns):
            return pair
        table = report.table(report.rows(self.hub, seen.columns), names)
        slider, difference, _ = self.closely(seen, "A", names[-1], 1)
        return pair | {
            self.shown: seen.html(), self.table: table, self.slider: slider, self.difference: difference, self.seen: seen, self.level: 100,
            self.which: gr.update(maximum=max(count, 2), value=1),
        }  # fmt: skip

    def scrub(self, seen: Seen | None, level: float) -> str:
        """All columns at one level of noise."""
        if seen is None:
            return EMPTY
        low, high = seen.levels()
        return seen.html(None if level >= 100 else low + (min(high, 20) - low) * level / 100)

    def closely(self, seen: Seen | None, left: str, right: str, which: int) -> tuple[Any, str, str]:
        """Two columns' same sample under a line to drag, and where they differ."""
        try:
            names = compare.names(len(seen.columns)) if seen else []
            if left not in names or right not in names or not all(column.result for column in seen.columns):
                raise RequestError("There is nothing to lay side by side yet: press Compare and let it finish.")
            one, other = (seen.columns[names.index(name)].result.images for name in (left, right))
            k = min(int(which), len(one)) - 1
            one, other = (images[k] if images.ndim == 4 else images[k, -1] for images in (one, other))
            if one.shape != other.shape:
                raise RequestError(f"{left} and {right} make pictures of other sizes: choose two of the same.")
        except RequestError as error:
            return None, "", controls.note(str(error), "error")
        gap = np.abs(one.astype(np.int16) - other).mean(-1)
        drawn = figures.enlarged(figures.coloured(gap, 0, max(gap.max(), 1)), 256)
        words = f"{media.compare(one, other)} Bright where most."
        pair = tuple(figures.enlarged(image, 384, smooth=True) for image in (one, other))
        return pair, plates.picture(drawn, "difference", f"{left} and {right}", words), ""

    def keep(self, seen: Seen | None) -> tuple[Any, str]:
        """The comparison as one HTML file."""
        if seen is None or not all(column.result for column in seen.columns):
            return gr.skip(), controls.note("There is no finished comparison to report: press Compare and let it finish.", "error")
        name = f"comparison-{seen.columns[0].result.receipts[0]['pixels'][:10]}.html"
        [path] = put({name: report.page(self.hub, seen.columns).encode()}, self.hub.results.folder)
        return gr.update(value=str(path), visible=True), ""


def compare_tab(hub: Hub, visitor: gr.BrowserState) -> CompareTab:
    """Put the Compare tab here."""
    return CompareTab(hub, visitor)
