"""The X/Y grid on the Compare tab: two axes of values, priced, filled in live, kept as a picture or a folder; every cell can be opened."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.compare import grid
from zoo.compare.grid import AXES, Grid
from zoo.engine.request import Progress, Result
from zoo.engine.results import put
from zoo.errors import RequestError, ZooError
from zoo.media import figures
from zoo.ui.parts import controls, markup, runs
from zoo.ui.tabs.compare.columns_html import grid_table
from zoo.ui.tabs.compare.components import STATE_SECONDS, choices, classes
from zoo.ui.parts.runs import PRIVATE

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

NOTHING = "nothing"
EXAMPLES = {"solver": "dpm-solver++, ddim", "steps": "5,10,25", "guidance": "1-4:1", "eta": "0-1:0.5", "seed": "0-3"}
CELL = """const choose = (event) => {
  const found = event.target.closest("[data-cell]");
  if (found && (event.type === "click" || event.key === "Enter")) { trigger("click", { cell: Number(found.dataset.cell) }); }
};
element.addEventListener("click", choose);
element.addEventListener("keydown", choose);"""
EMPTY = '<div class="frame empty"><p>No grid yet. Choose what to vary and press Run.</p></div>'


class GridTab:
    """The components of the grid and what they do; a grid stands in the visitor's own state."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState) -> None:
        self.hub, self.visitor, self.stop_flags = hub, visitor, runs.StopFlags()
        self.grid, self.path = gr.State(None, time_to_live=STATE_SECONDS), gr.State("")
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()
        self._wire()

    def _build_controls(self) -> None:
        card = controls.first_generator(self.hub)
        self.model = gr.Dropdown(choices(self.hub), value=card.id, label="Model", elem_id="grid-model")
        names = [name for name, _ in classes(card)[:-1]]
        self.label = gr.Dropdown(names, value=names[0] if names else None, label="Class", elem_id="grid-label", visible=bool(names))
        self.prompt = gr.Textbox(label="Prompt", visible=bool(card.text), elem_id="grid-prompt")
        with gr.Row():
            self.seed = gr.Textbox("0", label="Seed", max_lines=1, elem_id="grid-seed", min_width=80)
            self.steps = gr.Textbox("", label="Steps", placeholder="its own", max_lines=1, elem_id="grid-steps", min_width=80)
            self.guidance = gr.Textbox("", label="Guidance w", placeholder="its own", max_lines=1, elem_id="grid-guidance", min_width=80)
        self.solver = gr.Textbox("", label="Solver", placeholder="its own", max_lines=1, elem_id="grid-solver")
        with gr.Group():
            self.x = gr.Dropdown(list(AXES), value="steps", label="Across", elem_id="grid-x")
            self.xs = gr.Textbox(EXAMPLES["steps"], label="Values, such as 10,20,50 or 1-8:1", max_lines=1, elem_id="grid-xs")
        with gr.Group():
            self.y = gr.Dropdown([NOTHING, *AXES], value="guidance", label="Down", elem_id="grid-y")
            self.ys = gr.Textbox(EXAMPLES["guidance"], label="Values", max_lines=1, elem_id="grid-ys")
        self.go = gr.Button("Run", variant="primary", elem_id="grid-go")
        self.rest = gr.Button("Fill in the rest", elem_id="grid-rest", visible=False)
        self.halt = gr.Button("Stop", variant="stop", elem_id="grid-stop", visible=False)
        self.cost = gr.HTML(elem_id="grid-cost")

    def _build_result(self) -> None:
        self.table = gr.HTML(EMPTY, js_on_load=CELL, elem_id="grid-table")
        self.note = gr.HTML(elem_id="grid-note")
        with gr.Row(elem_classes="actions"):
            self.save = gr.Button("Picture (PNG), folder with manifest (ZIP)", size="sm", elem_id="grid-save")
        self.files = gr.File(visible=False, show_label=False, file_count="multiple", elem_id="grid-saved")
        self.facts = gr.HTML(elem_id="grid-facts")
        with gr.Row(elem_classes="actions", visible=False) as self.actions:
            self.open = gr.Button("Cell to its own tab", size="sm", elem_id="grid-open")
            self.inside = gr.Button("Look inside the cell", size="sm", elem_id="grid-inside")

    def _wire(self) -> None:
        inputs = [self.model, self.label, self.prompt, self.seed, self.steps, self.guidance, self.solver, self.x, self.xs, self.y, self.ys]
        outputs = [
            self.table,
            self.note,
            self.files,
            self.facts,
            self.actions,
            self.grid,
            self.path,
            self.go,
            self.rest,
            self.halt,
        ]
        self.go.click(self.run, [self.visitor, *inputs], outputs, **PRIVATE)
        self.rest.click(self.go_on, [self.visitor, self.grid], outputs, **PRIVATE)
        self.halt.click(self.stop_flags.stop, None, None, queue=False, **PRIVATE)
        self.model.input(self.choose, self.model, [self.label, self.prompt], queue=False, **PRIVATE)
        for axis, values in ((self.x, self.xs), (self.y, self.ys)):
            axis.input(self.example, [axis, self.model], values, queue=False, **PRIVATE)
        gr.on([part.change for part in inputs], self.price, inputs, self.cost, queue=False, **PRIVATE)
        self.save.click(self.keep, self.grid, [self.files, self.note], **PRIVATE)
        self.table.click(self.select, self.grid, [self.facts, self.actions, self.path], **PRIVATE)

    # ---- what is asked

    def choose(self, model: str) -> tuple[Any, Any]:
        """Offer the classes of a model."""
        card = self.hub.card(model)
        names = list(card.label_names)
        return gr.update(choices=names, value=names[0] if names else None, visible=bool(names)), gr.update(visible=bool(card.text))

    def example(self, axis: str, model: str) -> Any:
        """Values that an axis could take."""
        if axis in (NOTHING, *EXAMPLES):
            return gr.update(value=EXAMPLES.get(axis, ""))
        card = self.hub.card(model)
        if axis == "class":
            return "; ".join(card.label_names[:3])
        if axis == "autoencoder":
            return card.latent.vae if card.latent else ""
        same = [one.id for one in self.hub.offered if one.generates and one.labels == card.labels and one.video == card.video]
        return ", ".join([one for one in same if self.hub.local(self.hub.card(one))][:3])

    def plan(self, model, label, prompt, seed, steps, guidance, solver, x, xs, y, ys) -> Grid:
        """The grid of these values. Raises RequestError."""
        card = self.hub.card(model)
        setting = {"model": model, "seeds": [controls.first_seed(seed, 1)]}
        setting |= {axis: _single(axis, text) for axis, text in (("steps", steps), ("guidance", guidance), ("solver", solver)) if text}
        setting |= {"label": label} if card.label_names else {}
        setting |= {"prompt": prompt} if card.text else {}
        return grid.plan(self.hub, setting, (x, xs), ("", "") if y == NOTHING else (y, ys))

    def price(self, *values: Any) -> str:
        """Say beforehand how many cells there are and what they will cost."""
        try:
            current = self.plan(*values)
        except ZooError as error:
            return markup.note(str(error), "error")
        parts = [part for card in {cell.card.id: cell.card for cell in current.all_cells}.values() for part in self.hub.parts(card)]
        if words := controls.missing(self.hub, parts):
            return markup.note(words)
        seconds, unknown = current.price(self.hub)
        cells = f"{len(current.cells)} x {len(current.cells[0])} cells"
        cost = f", about {controls.duration(seconds)} here, from measured steps" if unknown < len(current.all_cells) else ""
        for card in {cell.card.id for cell in current.all_cells if self.hub.seconds(cell.request) is None}:
            self.hub.prepare(card)
        return markup.note(f"{cells}{cost}{f'; {unknown} of models not measured here yet' if unknown else ''}")

    # ---- what happens

    def run(self, session: gr.Request, visitor: str, *values: Any) -> Iterator[dict]:
        """Fill a new grid."""
        try:
            current = self.plan(*values)
        except ZooError as error:
            yield {self.note: markup.note(str(error), "error")}
            return
        yield from self._fill(session, visitor, current)

    def go_on(self, session: gr.Request, visitor: str, current: Grid | None) -> Iterator[dict]:
        """Fill in the cells that are still empty."""
        if current is None:
            yield {self.note: markup.note("There is no grid to go on with: press Run.", "error")}
            return
        yield from self._fill(session, visitor, current)

    def _fill(self, session: gr.Request, visitor: str, current: Grid) -> Iterator[dict]:
        idle = {self.go: gr.update(visible=True), self.halt: gr.update(visible=False)}
        with self.stop_flags.held(session) as stop:
            yield {
                self.go: gr.update(visible=False), self.rest: gr.update(visible=False), self.halt: gr.update(visible=True),
                self.table: grid_table(current), self.facts: "", self.actions: gr.update(visible=False), self.grid: current,
                self.files: gr.update(visible=False),
            }  # fmt: skip
            for cells, item in grid.run(self.hub, current, stop, visitor):
                if isinstance(item, Progress):
                    ready = sum(cell.image is not None for cell in current.all_cells)
                    words = markup.progress_line(item, cells[0].card)
                    changes = {self.table: grid_table(current, cells, item)} if item.preview is not None else {}
                    yield changes | {self.note: words + markup.note(f"{ready} of {len(current.all_cells)} cells are there")}
                elif isinstance(item, Result):
                    yield {self.table: grid_table(current)}
            yield idle | self._ended(current)

    def _ended(self, current: Grid) -> dict:
        """What a grid can be kept as, and how much of it is there."""
        ready, errors = (
            [cell for cell in current.all_cells if cell.image is not None],
            [cell.error for cell in current.all_cells if cell.error],
        )
        words = f"{len(ready)} of {len(current.all_cells)} cells are there; click one to open it."
        kind = "plain"
        if errors:
            words, kind = f"{words} {errors[0]}", "error"
        more = gr.update(visible=len(ready) < len(current.all_cells))
        return {self.table: grid_table(current), self.note: markup.note(words, kind), self.rest: more}

    def keep(self, current: Grid | None) -> dict:
        """The grid as a picture and as a folder."""
        try:
            if current is None or not any(cell.file for cell in current.all_cells):
                raise RequestError("There is no grid to keep yet: press Run.")
            contents = {"grid.png": figures.png(current.picture()), "grid.zip": current.archive()}
            files = put(contents, self.hub.results.folder / uuid.uuid4().hex)
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        return {self.files: gr.update(value=[str(path) for path in files], visible=True)}

    def select(self, current: Grid | None, event: gr.EventData) -> dict:
        """Say what a cell is, and make it the one that can be opened elsewhere."""
        index = int(event.cell)
        if current is None or not 0 <= index < len(current.all_cells) or current.all_cells[index].file is None:
            return {self.facts: markup.note("This cell is still empty."), self.actions: gr.update(visible=False)}
        cell = current.all_cells[index]
        label = cell.card.label_names[cell.request.labels[0]] if cell.request.labels else cell.request.prompt
        path = cell.file.with_suffix(".webp") if cell.card.video else cell.file
        return {
            self.facts: markup.facts(cell.request, cell.card.title, label, cell.request.seeds, path.name),
            self.actions: gr.update(visible=True), self.path: str(path),
        }  # fmt: skip


def _single(axis: str, text: str) -> Any:
    """The one value of a setting that no axis varies. Raises RequestError."""
    values = grid.values(axis, text)
    if len(values) > 1:
        raise RequestError(f"Give one value of {axis} here, or vary it across or down.")
    return values[0]
