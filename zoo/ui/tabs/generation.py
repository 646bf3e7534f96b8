"""What the Image and the Video tab share: settings above a button, a run under it, and the way back from a result to its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.engine.request import Request, random_seed
from zoo.errors import MediaError
from zoo.ui.parts import film, markup, runs
from zoo.ui.parts.moving_slider import moving_slider
from zoo.ui.parts.runs import LATEST, PRIVATE

if TYPE_CHECKING:
    from gradio.events import Dependency

    from zoo.engine.hub import Hub
    from zoo.engine.request import Result
    from zoo.ui.parts.download import Offer
    from zoo.ui.parts.examples import Examples
    from zoo.ui.parts.history import History
    from zoo.ui.parts.settings import Settings


SHOWN = ("clean prediction", "noisy sample")
"""What of a step is shown: the network's prediction of x_0, or x_t itself."""


class GenerationTab(runs.RunButtons):
    """The events and answers of a tab that generates; the components are built by the tab itself."""

    hub: Hub
    settings: Settings
    offer: Offer
    history: History
    visitor: gr.BrowserState
    examples: Examples
    preview: gr.HTML
    again: gr.Button
    link: gr.Button
    drop: gr.UploadButton
    progress: gr.HTML
    facts: gr.HTML
    verdict: gr.HTML
    receipt: gr.JSON
    origin: gr.State
    last_seed: gr.State
    flags: runs.StopFlags
    generate: Callable[..., Any]
    frame_of: Callable[..., dict]
    in_frame: Callable[[str | None], dict]
    restore: Callable[..., dict]
    shown_again: Callable[[Path], tuple[Path, dict, dict]]

    def _wire_run(self, name: str, result: gr.State, current: Any, results: Sequence[Any]) -> Dependency:
        """The events from the settings to a result and back; name: of the tab in an address; result: what stood in the frame before a
        run; current: the file whose settings can be taken back; results: what shows a result. Gives the event of the run."""
        settings = self.settings
        setting_outputs = [*settings.outputs, self.verdict]
        self._wire_steps(results)
        self.examples.wire(settings.outputs, self.verdict)
        outputs = [
            *results,
            self.steps_row,
            self.run_id,
            self.step,
            self.shown,
            self.progress,
            self.facts,
            self.verdict,
            self.go,
            self.halt,
            self.last_seed,
            *self.history.outputs,
        ]
        inputs = [self.visitor, self.origin, result, *settings.inputs]
        run = self.offer.click(self.generate, inputs, outputs, lambda _, __, ___, *values: settings.cards_for(*values))
        self.halt.click(self.flags.stop, None, None, queue=False, **PRIVATE)
        settings.dice.click(lambda: str(random_seed()), None, settings.seed, queue=False, **PRIVATE)
        settings.reuse.click(lambda seed: gr.skip() if seed is None else str(seed), self.last_seed, settings.seed, queue=False, **PRIVATE)
        for part in (settings.model, settings.preset):
            part.input(self.choose, [settings.model, settings.preset, settings.selection], setting_outputs, queue=False, **PRIVATE)
        settings.faster.click(settings.hasten, settings.model, [settings.solver, settings.steps, settings.eta], queue=False, **PRIVATE)
        settings.solver.input(settings.eta_for, settings.solver, settings.eta, queue=False, **PRIVATE)
        self.back = [*setting_outputs, self.origin]
        self.drop.upload(self.restore, self.drop, self.back, **PRIVATE)
        self.again.click(self.restore, current, self.back, **PRIVATE)
        self.link.click(None, self.receipt, None, js=f"(receipt) => copyLink('{name}', receipt)")
        self._wire_history([*results, self.steps_row, self.facts, self.progress])
        return run

    def _wire_history(self, outputs: Sequence[Any]) -> None:
        """What the gallery can do with one result: show it with its settings, or look inside."""
        history = self.history
        history.on(history.use, self.recall, self.visitor, [*outputs, *self.back])
        shown = history.on(history.inside, self.recall_alone, self.visitor, [*outputs, history.answer])
        shown.then(None, history.answer, None, js=f"(name) => name && document.querySelector('#{history.prefix}inside').click()", **PRIVATE)

    @runs.answers
    def recall(self, visitor: str, name: str) -> dict:
        """Show a result of the history again, and put its settings on the controls."""
        path, updates = self._recalled(visitor, name)
        return updates | self.restore(str(path))

    def recall_alone(self, visitor: str, name: str) -> dict:
        """Show a result of the history again, for what looks inside; the browser is told its name where that came to something."""
        return {self.history.answer: ""} | self._show_again(visitor, name)

    @runs.answers
    def _show_again(self, visitor: str, name: str) -> dict:
        return self._recalled(visitor, name)[1] | {self.history.answer: name}

    def _recalled(self, visitor: str, name: str) -> tuple[Path, dict]:
        """The file of a visitor's result that holds its exact pixels, and what shows it. Raises MediaError where it is gone."""
        if not (path := self.history.named(visitor, name)):
            raise MediaError("This result is gone: reload the page.")
        exact, updates, receipt = self.shown_again(path)
        request = Request.from_dict(receipt["request"])
        title = self.hub.card(request.model).title
        words = markup.facts(request, title, receipt["label"], [receipt["seed"]], f"made {markup.when(receipt['made'])}")
        return exact, updates | self.steps_of(None) | {self.facts: words, self.progress: ""}

    def _build_steps(self, prefix: str) -> None:
        """Put the controls here that show any step of a run once it is over."""
        self.run_id = gr.State(("", 0))
        with gr.Row(visible=False, elem_id=f"{prefix}steps-of-run", elem_classes=["first", "steps-of-run"]) as self.steps_row:
            self.step = moving_slider(1, 2, 1, label="Step", elem_id=f"{prefix}step", min_width=160, scale=3)
            self.shown = gr.Radio(SHOWN, value=SHOWN[0], label="Show", elem_id=f"{prefix}shown", min_width=200, scale=2)
            self.play = gr.Button("Play all steps", size="sm", elem_id=f"{prefix}play-steps", min_width=120, scale=0)

    def _wire_steps(self, outputs: Sequence[Any]) -> None:
        inputs = [self.run_id, self.step, self.shown]
        outputs = [*outputs, self.progress]
        gr.on([part.input for part in (self.step, self.shown)], self.show_step, inputs, outputs, **LATEST)
        told = self.play.click(lambda: self.say("Decoding all steps of this run."), None, self.progress, queue=False, **PRIVATE)
        told.then(self.play_steps, self.run_id, outputs, **PRIVATE)
        self.preview.click(lambda: self.in_frame(None) | self.say(""), None, outputs, queue=False, **PRIVATE)

    def steps_of(self, result: Result | None) -> dict:
        """The controls of the steps as a run leaves them; None: hidden."""
        if result is None or not result.run:
            return {self.steps_row: gr.update(visible=False)}
        last = self.hub.last_step(result.run)
        step = gr.update(maximum=max(last, 2), value=last, label=f"Step of {last}")
        return {self.steps_row: gr.update(visible=True), self.run_id: (result.run, last), self.step: step, self.shown: SHOWN[0]}

    @runs.computes
    def show_step(self, run_id: tuple[str, int], step: int, shown: str) -> dict:
        """The pictures of one step of the run that is over; of the last one the result itself."""
        run, last = run_id
        if step >= last and shown == SHOWN[0]:
            return self.frame_of(None, last) | self.say("")
        number, images = self.hub.step_images(run, int(step), shown == SHOWN[1])
        words = "" if number == step else f"Of so long a run not every step is kept: this is step {number}."
        return self.frame_of(images, number) | self.say(words)

    @runs.computes
    def play_steps(self, run_id: tuple[str, int]) -> dict:
        """All steps of the run that is over as one film in the frame."""
        return self.in_frame(film.of_steps(self.hub.steps_film(run_id[0]))) | self.say("")

    def _wire_cost(self, run: Dependency, events: Sequence[Any], inputs: Sequence[Any], price: Callable[..., Any]) -> None:
        """Say what a run will cost whenever something that decides it changes, until it is known."""
        timer = gr.Timer(2)
        outputs = [self.settings.cost, timer, self.go, self.settings.faster]
        run.then(price, inputs, outputs, queue=False, **PRIVATE)
        gr.on([*events, timer.tick, *(part.change for part in inputs)], price, inputs, outputs, queue=False, **PRIVATE)

    def core_seconds(self, *values: Any) -> float | None:
        """Seconds of one core that `generate` takes, from its values, where that is known. Raises RequestError."""
        return self.hub.core_seconds(self.settings.request(*values[3:])[1])

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence under the frame."""
        return {self.progress: markup.note(text, kind)}

    @runs.answers
    def choose(self, *values: Any) -> dict:
        """Reset what depends on the model to its card's defaults, or to one of its presets, and say so; the same choice changes nothing."""
        words, updates = self.settings.choose_anew(*values)
        return updates | {self.verdict: markup.note(words)} if updates else {}
