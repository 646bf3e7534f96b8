"""The X/Y grid on the Compare tab: two axes of values, priced, filled in live, saved as a picture or a folder; every cell can be opened."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.catalog.card import Card
from zoo.compare import grid
from zoo.compare.grid import AXES, Grid
from zoo.engine.request import Progress, Result, find_label, first_seed, short, solvers_of
from zoo.errors import RequestError
from zoo.media import figures
from zoo.ui.parts import controls, cost, markup, runs
from zoo.ui.parts.class_list import class_list
from zoo.ui.parts.download import Offer, sizes
from zoo.ui.parts.model_dropdown import model_dropdown
from zoo.ui.parts.runs import PRIVATE
from zoo.ui.tabs.compare.columns_html import PICKING, grid_table
from zoo.ui.tabs.compare.components import STATE_SECONDS, choices

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

NOTHING = "nothing"
WORDS = ("model", "label", "prompt", "seed", "steps", "guidance", "solver", "x", "xs", "y", "ys")
"""Of an address of the grid."""
EXAMPLES = {"solver": "dpm-solver++, ddim", "steps": "5,10,25", "guidance": "1-4:1", "eta": "0-1:0.5", "seed": "0-3"}
EMPTY = '<div class="frame empty"><p>No grid yet. Choose what to vary and press Run.</p></div>'
DEFAULT = "default"
EVERY = 0.5
"""Seconds between two looks at a forming grid: a page that draws the whole table at every step does not hear the Stop button."""

HELP: dict[str, str] = {
    "grid-model": "The network that denoises, unless an axis varies it.",
    "grid-label": "The class y of every cell, unless an axis varies it.",
    "grid-prompt": "The text that every cell draws.",
    "grid-seed": "Seed of every cell: the same seed is the same noise x_T.",
    "grid-steps": "Network evaluations (NFE) of every cell; empty takes what the model's card recommends.",
    "grid-guidance": "w of eps = uncond + w (cond - uncond) in every cell; 1 is off; empty takes what the card recommends.",
    "grid-solver": "How the reverse process is integrated in every cell, such as ddim; empty takes what the card recommends.",
    "grid-x": "What changes from column to column.",
    "grid-xs": "Values of the columns: a list such as 10,20,50, or first-last:step such as 1-8:1.",
    "grid-y": "What changes from row to row, or nothing.",
    "grid-ys": "Values of the rows: a list such as 10,20,50, or first-last:step such as 1-8:1.",
    "grid-go": "Fills the grid cell by cell; cells that differ in seed and class only are made together.",
    "grid-faster": "Writes fewer steps, and a solver that needs no more, into the boxes: the model's preset `fast`, or the usual ones.",
    "grid-stop": "Ends the run within one step; finished cells stay.",
    "grid-rest": "Makes the cells that are still empty; finished cells stay.",
    "grid-table": "Click a cell, or walk with the arrow keys and press Enter, to see its setting and to open it.",
    "grid-save": "Makes one labelled picture, and a ZIP of all cells with a manifest of their settings.",
    "grid-open": "Puts the settings of the chosen cell on the tab that makes such.",
    "grid-inside": "Shows where the model of the chosen cell looks.",
}


class GridTab(runs.RunButtons):
    """The components of the grid and what they do; a grid stands in the visitor's own state."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState, tab: gr.Tab) -> None:
        self.hub, self.visitor, self.flags = hub, visitor, runs.StopFlags()
        self.grid, self.path = gr.State(None, time_to_live=STATE_SECONDS), gr.State("")
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()
        self._wire(tab)

    def _build_controls(self) -> None:
        card = controls.first_generator(self.hub)
        self.model = model_dropdown(choices(self.hub), value=card.id, label="Model", elem_id="grid-model")
        names = card.label_names
        self.label = gr.Dropdown(**class_list(card, names), value=names[0] if names else None, label="Class", elem_id="grid-label")
        self.prompt = gr.Textbox(label="Prompt", visible=bool(card.text), elem_id="grid-prompt")
        with gr.Row():
            self.seed = gr.Textbox("0", label="Seed", placeholder="random", max_lines=1, elem_id="grid-seed", min_width=80)
            self.steps = gr.Textbox("", label="Steps", placeholder=DEFAULT, max_lines=1, elem_id="grid-steps", min_width=80)
            self.guidance = gr.Textbox("", label="Guidance w", placeholder=DEFAULT, max_lines=1, elem_id="grid-guidance", min_width=80)
        self.solver = gr.Textbox("", label="Solver", placeholder="model default", max_lines=1, elem_id="grid-solver")
        with gr.Group():
            self.x = gr.Dropdown(list(AXES), value="steps", label="Across", elem_id="grid-x")
            self.xs = gr.Textbox(EXAMPLES["steps"], label="Values across, such as 10,20,50 or 1-8:1", max_lines=1, elem_id="grid-xs")
        with gr.Group():
            self.y = gr.Dropdown([NOTHING, *AXES], value="guidance", label="Down", elem_id="grid-y")
            self.ys = gr.Textbox(EXAMPLES["guidance"], label="Values down", max_lines=1, elem_id="grid-ys")
        self.chosen = {"model": gr.State(card.id), "x": gr.State("steps"), "y": gr.State("guidance")}
        self.cost = gr.HTML(elem_id="grid-cost")
        self.faster = gr.Button("Take fewer steps", size="sm", elem_id="grid-faster", visible=False)
        with gr.Row(elem_classes=["bar", "at-hand"]):
            self.go = gr.Button("Run", variant="primary", elem_id="grid-go", elem_classes="go")
            self.halt = gr.Button("Stop", variant="stop", elem_id="grid-stop", elem_classes="halt", visible=runs.HIDDEN)
            self.download = Offer(self.hub, self.go, "grid-", "Run", ", then run")
        self.rest = gr.Button("Run the missing cells", elem_id="grid-rest", visible=False)

    def _build_result(self) -> None:
        self.note = gr.HTML(elem_id="grid-note", elem_classes="first")
        self.download.build_text(lists={self.model: lambda: choices(self.hub)})
        self.table = gr.HTML(EMPTY, js_on_load=PICKING, elem_id="grid-table", elem_classes="first")
        with gr.Row(elem_classes="actions"):
            self.save = gr.Button("Save as picture (PNG) and folder (ZIP)", size="sm", elem_id="grid-save")
        self.files = gr.File(visible=False, show_label=False, file_count="multiple", elem_id="grid-saved")
        self.facts = gr.HTML(elem_id="grid-facts")
        with gr.Row(elem_classes="actions", visible=False) as self.actions:
            self.open = gr.Button("Open this cell on its tab", size="sm", elem_id="grid-open")
            self.inside = gr.Button("Look inside this cell", size="sm", elem_id="grid-inside")

    def _wire(self, tab: gr.Tab) -> None:
        inputs = [self.model, self.label, self.prompt, self.seed, self.steps, self.guidance, self.solver, self.x, self.xs, self.y, self.ys]
        outputs = [self.table, self.note, self.files, self.facts, self.actions, self.grid, self.path, self.go, self.rest, self.halt]
        self.download.click(self.run, [self.visitor, self.grid, *inputs], outputs, self._needed)
        self.rest.click(self.go_on, [self.visitor, self.grid], outputs, **PRIVATE)
        self.halt.click(self.flags.stop, None, None, queue=False, **PRIVATE)
        chosen = self.chosen["model"]
        self.model.input(
            self.choose, [self.model, chosen, self.label], [self.label, self.prompt, chosen, self.note], queue=False, **PRIVATE
        )
        for axis, values, handler, state in (
            (self.x, self.xs, self.example_across, self.chosen["x"]),
            (self.y, self.ys, self.example_down, self.chosen["y"]),
        ):
            axis.input(handler, [axis, state, self.model], [values, state, self.note], queue=False, **PRIVATE)
        timer = gr.Timer(2, active=False)
        prices = [self.cost, self.go, self.faster, timer]
        gr.on([timer.tick, tab.select, *(part.change for part in inputs)], self.price, inputs, prices, queue=False, **PRIVATE)
        self.faster.click(self.hasten, self.model, [self.steps, self.solver], queue=False, **PRIVATE)
        self.save.click(self.keep, self.grid, [self.files, self.note], **PRIVATE)
        self.address_outputs = [*inputs, *self.chosen.values()]
        self.table.click(self.select, self.grid, [self.facts, self.actions, self.path, self.note], **PRIVATE)

    def busy(self) -> dict:
        """What they show while something runs."""
        return super().busy() | {self.rest: gr.update(visible=False)}

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence over the grid."""
        return {self.note: markup.note(text, kind)}

    # ---- what is asked

    @runs.answers
    def choose(self, model: str, before: str, label: str | None) -> dict:
        """Offer the classes of a model, of which the same one stays; where it is the same as before nothing changes."""
        if model == before:
            return {self.chosen["model"]: before}
        card = self.hub.card(model)
        names = card.label_names
        label = label if label in names else names[0] if names else None
        return {
            self.label: gr.update(**class_list(card, names), value=label), self.prompt: gr.update(visible=bool(card.text)),
            self.chosen["model"]: model,
        }  # fmt: skip

    @runs.answers
    def example_across(self, axis: str, before: str, model: str) -> dict:
        """Values that another axis across could take; where it is the same as before the typed ones stay."""
        return {self.chosen["x"]: axis} | ({} if axis == before else {self.xs: self._example(axis, model)})

    @runs.answers
    def example_down(self, axis: str, before: str, model: str) -> dict:
        """Values that another axis down could take; where it is the same as before the typed ones stay."""
        return {self.chosen["y"]: axis} | ({} if axis == before else {self.ys: self._example(axis, model)})

    def _example(self, axis: str, model: str) -> str:
        card = self.hub.card(model)
        if axis == "solver" and card.schedule["kind"] == "flow":
            return ", ".join(solvers_of(card)[:2])
        if axis in (NOTHING, *EXAMPLES):
            return EXAMPLES.get(axis, "")
        if axis == "class":
            return "; ".join(card.label_names[:3])
        if axis == "autoencoder":
            return card.latent.vae if card.latent else ""
        same = [one for one in self.hub.offers if one.generates and one.labels == card.labels and one.video == card.video]
        return ", ".join([one.id for one in same if self.hub.local(one)][:3])

    def addressed(self, words: Mapping[str, str]) -> dict:
        """What the view shows for the words of an address: model, label, prompt, seed, steps, guidance, solver, the axis x with its values
        xs, and y with ys. Raises a ZooError that says which word is wrong."""
        if unknown := sorted(words.keys() - set(WORDS)):
            raise RequestError(f"The address of a grid has the unknown word {short(unknown[0])}: it may have tab, {', '.join(WORDS)}.")
        card = self.hub.card(words.get("model", controls.first_generator(self.hub).id))
        if not card.generates:
            raise RequestError(f"{card.id} makes no pictures or videos: choose a model that generates.")
        names = list(card.label_names)
        label = names[find_label(card, words.get("label", "0"))] if names else None
        x, y = words.get("x", "steps"), words.get("y", NOTHING)
        for axis, among in ((x, AXES), (y, (NOTHING, *AXES))):
            if axis not in among:
                raise RequestError(f"A grid cannot vary {short(axis)}: choose one of {', '.join(among)}.")
        rest = [words.get(word, "") for word in ("steps", "guidance", "solver")]
        values = [x, words.get("xs") or self._example(x, card.id), y, words.get("ys") or self._example(y, card.id)]
        self.plan(card.id, label, words.get("prompt", "a prompt"), words.get("seed", "0"), *rest, *values)
        return {
            self.model: card.id, self.label: gr.update(choices=names, value=label, visible=bool(names)),
            self.prompt: gr.update(value=words.get("prompt", ""), visible=bool(card.text)), self.seed: words.get("seed", "0"),
            **dict(zip((self.steps, self.guidance, self.solver, self.x, self.xs, self.y, self.ys), rest + values, strict=True)),
            **{self.chosen[word]: value for word, value in (("model", card.id), ("x", x), ("y", y))},
        }  # fmt: skip

    def plan(self, model, label, prompt, seed, steps, guidance, solver, x, xs, y, ys) -> Grid:
        """The grid of these values. Raises RequestError."""
        card = self.hub.card(model)
        setting = {"model": model, "seeds": [first_seed(seed, 1)]}
        setting |= {axis: _single(axis, text) for axis, text in (("steps", steps), ("guidance", guidance), ("solver", solver)) if text}
        setting |= {"label": label} if card.label_names else {}
        setting |= {"prompt": prompt} if card.text else {}
        return grid.plan(self.hub, setting, (x, xs), ("", "") if y == NOTHING else (y, ys))

    def price(self, *values: Any) -> tuple[str, Any, Any, Any]:
        """Say beforehand how many cells there are and what they will cost, or what must be downloaded first, and offer a faster way; the
        timer ticks until the cost is known."""
        try:
            plan = self.plan(*values)
            parts = self._parts(plan)
            if words := self.download.downloads.words(parts):
                return markup.note(words), self.download.label(parts), *cost.NOTHING[1:]
            requests = [cell.request for cell in plan.all_cells]
            _, faster, timer = cost.answer(self.hub, requests)
            varied = {"steps", "solver"} & {plan.across[0], plan.down[0]}
            label = cost.on_button(self.hub, requests, self.download.label(parts))
            return markup.note(self._cost(plan)), label, cost.NOTHING[1] if varied else faster, timer
        except Exception as error:
            return markup.note(runs.sentence(error), "error"), gr.skip(), *cost.NOTHING[1:]

    def hasten(self, model: str) -> tuple[str, str]:
        """Steps and solver of a model's fast preset."""
        solver, steps = cost.fast(self.hub.card(model))
        return str(steps), solver

    def _cost(self, plan: Grid) -> str:
        """How many cells, and what they will cost, as far as that is known."""
        known = [cell.request for cell in plan.all_cells if self.hub.price(cell.request)]
        cells = f"{len(plan.cells)} x {len(plan.cells[0])} cells"
        words = f", {cost.words(self.hub, known)}" if known else ""
        unknown = len(plan.all_cells) - len(known)
        rest = f"; for {unknown} of them it is known after the first run" if unknown else ""
        return f"{cells}{words}{rest}"

    def _parts(self, plan: Grid) -> list[Card]:
        """The models that a grid needs, each once."""
        cards = {cell.card.id: cell.card for cell in plan.all_cells}.values()
        parts = [part for card in cards for part in self.hub.parts(card)]
        parts += [self.hub.card(vae) for vae in {cell.request.vae for cell in plan.all_cells} if vae]
        return list({part.id: part for part in parts}.values())

    def _needed(self, *values: Any) -> list[Card]:
        """The models that the values of `run` need. Raises RequestError."""
        return self._parts(self.plan(*values[2:]))

    # ---- what happens

    @runs.stoppable(lambda tab, *values: tab.plan(*values[2:]).core_seconds(tab.hub))
    def run(self, visitor: str, before: Grid | None, *values: Any) -> Iterator[dict]:
        """Fill a new grid; the one before comes back where nothing comes of it."""
        yield from self._fill(visitor, self.plan(*values), before)

    @runs.stoppable(lambda tab, *values: values[1] and values[1].core_seconds(tab.hub))
    def go_on(self, visitor: str, current: Grid | None) -> Iterator[dict]:
        """Fill in the cells that are still empty."""
        if current is None:
            raise RequestError("There is no grid to complete yet: press Run.")
        yield from self._fill(visitor, current, None)

    def _fill(self, visitor: str, current: Grid, before: Grid | None) -> Iterator[dict]:
        if missing := self.download.downloads.missing(self._parts(current)):
            raise RequestError(f"{sizes(missing)} must be downloaded first: press {self.download.plain} to do so.")
        yield self.busy() | {
            self.table: grid_table(current), self.facts: "", self.actions: gr.update(visible=False), self.grid: current,
            self.files: gr.update(visible=False),
        }  # fmt: skip
        problem, shown_at = "", 0.0
        try:
            for cells, item in grid.run(self.hub, current, runs.stop_flag(), visitor):
                if time.monotonic() - shown_at < EVERY:
                    continue
                shown_at = time.monotonic()
                if isinstance(item, Progress):
                    ready = sum(cell.file is not None for cell in current.all_cells)
                    words = markup.progress_line(item, cells[0].card)
                    changes = {self.table: grid_table(current, cells, item)} if item.preview is not None else {}
                    yield changes | {self.note: words + markup.note(f"{ready} of {len(current.all_cells)} cells finished")}
                elif isinstance(item, Result):
                    yield {self.table: grid_table(current)}
        except Exception as error:
            problem = runs.sentence(error)
        problem = problem or next((cell.error for cell in current.all_cells if cell.error), "")
        nothing = not any(cell.file is not None for cell in current.all_cells)
        yield self.idle() | self._ended(before if nothing and before else current, problem)

    def _ended(self, current: Grid, problem: str) -> dict:
        """A grid at its end, how much of it is there, and what went wrong."""
        ready = sum(cell.file is not None for cell in current.all_cells)
        words = f"{ready} of {len(current.all_cells)} cells finished{'; click one to open it' if ready else ''}."
        more = gr.update(visible=ready < len(current.all_cells))
        sentence = self.say(f"{words} {problem}" if problem else words, "error" if problem else "plain")
        return {self.table: grid_table(current), self.rest: more, self.grid: current} | sentence

    @runs.answers
    def keep(self, current: Grid | None) -> dict:
        """The grid as a picture and as a folder."""
        if current is None or not any(cell.file for cell in current.all_cells):
            raise RequestError("There is no grid to save yet: press Run.")
        contents = {"grid.png": figures.png(current.picture()), "grid.zip": current.archive()}
        files = self.hub.results.bundle(contents)
        return {self.files: gr.update(value=[str(path) for path in files], visible=True)}

    @runs.answers
    def select(self, current: Grid | None, event: gr.EventData) -> dict:
        """Say what a cell is, and make it the one that can be opened elsewhere."""
        index = int(event.index)
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
