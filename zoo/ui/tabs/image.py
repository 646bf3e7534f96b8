"""The Image tab: choose, generate with a live preview, stop, keep, restore from a picture."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.engine.request import Progress, Request, Result
from zoo.errors import RequestError, ZooError
from zoo.media import pictures
from zoo.ui.parts import controls, markup, runs
from zoo.ui.parts.settings import Settings

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

EMPTY = '<div class="frame empty"><p>No picture yet. Press Generate, or drop a PNG made here.</p></div>'
PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}


class ImageTab:
    """The components of the tab and what they do; nothing of a visitor is kept here but the switch that stops a run."""

    def __init__(self, hub: Hub, page: gr.Blocks) -> None:
        self.hub = hub
        self.switches = runs.StopFlags()
        self.visitor = gr.BrowserState("", storage_key="patchwork-visitor", secret="patchwork")
        self.origin = gr.State(None)
        self.files = gr.State([])
        self.last_seed = gr.State(None)
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()
        self._wire(page)

    # ---- what stands where

    def _build_controls(self) -> None:
        self.settings = Settings(self.hub)
        self.go = gr.Button("Generate", variant="primary", elem_id="generate")
        self.halt = gr.Button("Stop", variant="stop", elem_id="stop", visible=False)
        self.cost = gr.HTML(elem_id="cost")
        self.get = gr.Button("Get this model", elem_id="get-this", visible=False)
        with gr.Accordion("More", open=False):
            self.settings.build_more()
        self.drop = gr.UploadButton("Restore from a PNG (or drop it anywhere)", file_types=[".png"], size="sm", elem_id="drop")

    def _build_result(self) -> None:
        self.preview = gr.HTML(EMPTY, elem_id="preview")
        self.gallery = gr.Gallery(
            format="png", show_label=False, visible=False, elem_id="gallery", object_fit="contain",
            interactive=False, buttons=["download", "fullscreen"],
        )  # fmt: skip
        self.progress = gr.HTML(elem_id="progress")
        gr.HTML(markup.TIMELINE, elem_id="timeline")
        self.facts = gr.HTML(elem_id="facts")
        self.verdict = gr.HTML(elem_id="verdict")
        with gr.Row(elem_classes="actions"):
            self.download = gr.DownloadButton("Download PNG", size="sm", interactive=False, elem_id="download")
            self.again = gr.Button("Use its settings", size="sm", interactive=False, elem_id="again")
            self.inside = gr.Button("Look inside", size="sm", elem_id="inside")
            self.beside = gr.Button("Compare with ...", size="sm", elem_id="beside")
        with gr.Accordion("Receipt", open=False):
            self.receipt = gr.JSON(show_label=False, elem_id="receipt")
        with gr.Accordion("History of this browser", open=True):
            self.bare = gr.HTML(markup.note("Pictures that this browser makes are kept here, also after a reload."))
            self.history = gr.Gallery(
                format="png", show_label=False, columns=10, rows=1, height="auto", object_fit="contain", allow_preview=False,
                interactive=False, elem_id="history", buttons=[], visible=False,
            )  # fmt: skip
            self.clear = gr.Button("Clear the history", size="sm", elem_id="clear", visible=False)

    def _wire(self, page: gr.Blocks) -> None:
        chosen = self.settings
        settings = [*chosen.shown, self.verdict]
        shown = [self.preview, self.gallery, self.files, self.download, self.again, self.receipt]
        kept = [self.bare, self.history, self.clear]
        outputs = [
            *shown, self.progress, self.facts, self.verdict, self.go, self.halt, self.last_seed, *kept,
        ]  # fmt: skip
        run = self.go.click(self.generate, [self.visitor, self.origin, *chosen.asked], outputs, **PRIVATE)
        self.halt.click(self.switches.stop, None, None, queue=False, **PRIVATE)
        chosen.dice.click(lambda: str(controls.random_seed()), None, chosen.seed, queue=False, **PRIVATE)
        chosen.reuse.click(lambda seed: gr.skip() if seed is None else str(seed), self.last_seed, chosen.seed, queue=False, **PRIVATE)
        chosen.model.input(self.choose, chosen.model, settings, queue=False, **PRIVATE)
        chosen.preset.input(self.choose, [chosen.model, chosen.preset], settings, queue=False, **PRIVATE)
        self.back = [*settings, self.origin]
        self.drop.upload(self.restore, self.drop, self.back, **PRIVATE)
        self.gallery.select(self.select, self.files, [self.download, self.receipt], **PRIVATE)
        self.history.select(self.recall, self.visitor, [*shown, self.facts], **PRIVATE)
        self.again.click(self.restore, self.download, self.back, **PRIVATE)
        self.clear.click(self.forget, self.visitor, kept, **PRIVATE)
        page.load(self.arrive, self.visitor, [self.visitor, *kept], **PRIVATE)
        priced = [chosen.model, chosen.count, chosen.steps, chosen.solver, chosen.guidance, chosen.vae]
        timer = gr.Timer(2)
        run.then(self.price, priced, [self.cost, timer, self.get], queue=False, **PRIVATE)
        gr.on(
            [page.load, timer.tick, *(c.change for c in priced)], self.price, priced, [self.cost, timer, self.get], queue=False, **PRIVATE
        )

    # ---- what happens

    def generate(self, session: gr.Request, visitor: str, origin: dict | None, *asked: Any) -> Iterator[dict]:
        """Run a request and show it as it comes; every ending gives the Generate button back."""
        idle = {self.go: gr.update(visible=True), self.halt: gr.update(visible=False)}
        number = 1
        with self.switches.held(session) as stop:
            try:
                card, request = self.settings.request(*asked)
                number = len(request.seeds)
                name = card.label_names[request.labels[0]] if request.labels else request.prompt

                def summary(ending: str) -> str:
                    return markup.facts(request, card.title, name, request.seeds, ending)

                yield {
                    self.go: gr.update(visible=False), self.halt: gr.update(visible=True), self.gallery: gr.update(visible=False),
                    self.preview: gr.update(value=markup.frame(None, number), visible=True), self.last_seed: request.seeds[0],
                    self.facts: summary("running"), self.verdict: "", self.progress: markup.note("starting"),
                }  # fmt: skip
                earlier, made = _earlier(origin, request), None
                for item in self.hub.generate(request, stop=stop, visitor=visitor):
                    if isinstance(item, Progress):
                        if item.preview is not None and earlier and item.step == earlier["stopped_at"]:
                            made = item.preview[earlier["place"]]
                        shown = (
                            {self.preview: markup.frame(item.preview, number, item.step, item.total)} if item.preview is not None else {}
                        )
                        yield shown | {self.progress: markup.progress_line(item, card)}
                    else:
                        if earlier and made is None and item.stopped_at == earlier["stopped_at"]:
                            made = item.images[earlier["place"]]
                        verdict = _verdict(made, earlier, item)
                        yield idle | self._show(list(item.files)) | {
                            self.progress: "", self.facts: summary(markup.ending(item)), self.verdict: verdict,
                        } | self._history(visitor)  # fmt: skip
                        return
                yield idle | {self.progress: markup.note("stopped while waiting; nothing was drawn yet")}
            except ZooError as error:
                yield idle | {self.progress: markup.note(str(error), "error")}

    def choose(self, model: str, preset: str | None = None) -> dict:
        """Reset what depends on the model to its card's defaults, or to one of its presets, and say so."""
        whose = f"the preset {preset}" if preset in self.hub.card(model).presets else f"{self.hub.card(model).title}'s own defaults"
        said = f"Steps, solver and guidance are now those of {whose}." if preset else f"Class, steps, solver and guidance are now {whose}."
        shown = self.settings.choose(model, preset)
        kept = {self.settings.label, self.settings.prompt} if preset else set()
        return {part: value for part, value in shown.items() if part not in kept} | {self.verdict: markup.note(said)}

    def restore(self, path: str | None) -> dict:
        """Put the settings of a picture made here back on the controls; a foreign or forged file changes nothing."""
        if not path:
            return {self.verdict: markup.note("Choose a picture first.", "error")}
        try:
            image, receipt = pictures.read_png(path)
            request = Request.from_dict(receipt["request"])
            card = self.hub.card(request.model)
            request = request.resolved(card)
            if card.video:
                raise RequestError(f"This is a still of a video of {card.id}: drop the video on the Video tab.")
            place = self.settings.place(receipt, request)
        except ZooError as error:
            return {self.verdict: markup.note(str(error), "error")}
        stopped = receipt.get("stopped_at") if isinstance(receipt.get("stopped_at"), int) else None
        words = f"Settings of {request.model}, seed {request.seeds[place]}, are back on the controls: Generate again to compare."
        if stopped:
            words = f"This picture was stopped after step {stopped}. {words}"
        return self.settings.restored(request, place) | {
            self.verdict: markup.note(words, "good"),
            self.origin: {"image": image, "request": request, "place": place, "stopped_at": stopped, "weights": receipt.get("weights")},
        }

    def select(self, files: list[str], event: gr.SelectData) -> tuple[Any, Any]:
        """Make the picture that was clicked the one to download."""
        path = Path(files[event.index])
        return gr.update(value=str(path), interactive=True), pictures.read_png(path)[1]

    def recall(self, visitor: str, event: gr.SelectData) -> dict:
        """Show a picture of the history again."""
        kept = self.hub.results.history(visitor)
        if event.index >= len(kept):
            return {self.facts: markup.note("This picture is gone; reload the page.", "error")}
        receipt = pictures.read_png(kept[event.index])[1]
        request = Request.from_dict(receipt["request"])
        title = self.hub.card(request.model).title
        words = markup.facts(request, title, receipt["label"], [receipt["seed"]], f"made {receipt['made']}")
        return self._show([kept[event.index]]) | {self.facts: words}

    def arrive(self, visitor: str) -> dict:
        """Know a browser again, or give it a name of its own."""
        visitor = visitor or uuid.uuid4().hex
        return {self.visitor: visitor} | self._history(visitor)

    def forget(self, visitor: str) -> dict:
        """Empty the history of this browser; files on disk stay."""
        self.hub.results.forget(visitor)
        return self._history(visitor)

    def price(self, model, count, steps, solver, guidance, vae) -> tuple[str, Any, Any]:
        """Say beforehand what a run will cost, or offer to bring the model."""
        words, timer = self.settings.price(model, count, None, steps, solver, guidance, vae)
        return words, timer, gr.update(visible=model in self.hub.cards and not self.hub.local(self.hub.card(model)))

    def _show(self, files: list[Path]) -> dict:
        names = [str(path) for path in files]
        return {
            self.preview: gr.update(visible=False), self.files: names,
            self.gallery: gr.update(value=names, visible=True, columns=markup.columns(len(names)), selected_index=None),
            self.download: gr.update(value=names[0], interactive=True), self.again: gr.update(interactive=True),
            self.receipt: pictures.read_png(names[0])[1],
        }  # fmt: skip

    def _history(self, visitor: str) -> dict:
        files = [str(path) for path in self.hub.results.history(visitor)]
        some = bool(files)
        return {
            self.history: gr.update(value=files, visible=some), self.clear: gr.update(visible=some), self.bare: gr.update(visible=not some),
        }  # fmt: skip


def image_tab(hub: Hub, page: gr.Blocks) -> ImageTab:
    """Put the Image tab here."""
    return ImageTab(hub, page)


def _earlier(origin: dict | None, request: Request) -> dict | None:
    """The dropped picture, if this request makes it again, with its place among the new ones."""
    if not origin:
        return None
    old: Request = origin["request"]
    seed, label = old.seeds[origin["place"]], old.labels[origin["place"]] if old.labels else None
    same = replace(old, seeds=request.seeds, labels=request.labels) == request
    if not same or seed not in request.seeds or (request.labels and request.labels[0] != label):
        return None
    return origin | {"place": request.seeds.index(seed)}


def _verdict(made: Any, earlier: dict | None, result: Result) -> str:
    """How the new picture compares with the dropped one, in one sentence."""
    if earlier is None or made is None:
        return ""
    words = pictures.compare(made, earlier["image"])
    if earlier["weights"] != result.receipts[0]["weights"]:
        words += " The weights are not the ones that made the earlier picture."
    return markup.note(f"Against the picture you dropped: {words}", "good" if words.startswith("Identical") else "plain")
