"""The Image tab: choose, generate with a live preview, stop, keep, restore from a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from zoo.compare.nearest import nearest
from zoo.engine.request import Progress, Request, Result
from zoo.errors import RequestError, ZooError
from zoo.media import pictures
from zoo.ui.parts import controls, film, markup, runs
from zoo.ui.parts.download import Offer
from zoo.ui.parts.examples import Examples
from zoo.ui.parts.history import History
from zoo.ui.parts.opening import opening
from zoo.ui.parts.runs import HIDDEN, PRIVATE
from zoo.ui.parts.settings import Settings
from zoo.ui.tabs.generation import GenerationTab

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub

HELP = {
    "generate": "Sample pictures with these settings: from pure noise, step by step, to x_0.",
    "stop": "End the run within one step; the clean prediction of that step is kept.",
    "drop": "Read the receipt inside a PNG made here, and set every control as it was.",
    "download": "The picture that was clicked, or the first, as a PNG with its receipt inside.",
    "again": "Set every control to what made this picture; generating again says whether the pixels are identical.",
    "inside": "Open this generation on the Look inside tab: tokens and attention at any of its steps.",
    "beside": "Run this setting beside another model, on the same class and noise.",
    "link": "Copy an address that opens this page with the settings of this picture.",
    "step": "Shows any step of this run, decoded now; the last one is the result.",
    "play-steps": "Decodes every kept step of this run and plays them: the noisy sample beside the clean prediction.",
    "examples": "Each sets the model, class, seed, steps, solver and guidance that made it.",
    "shown": "The network's prediction of x_0 at this step, or the sample x_t itself with its noise.",
}
KNOWN = "(name) => name || Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')"
"""The name of this browser, or a new one: given by the browser itself, so that a run begun before the server has answered has it too."""


class ImageTab(GenerationTab):
    """The components of the tab and what they do; nothing of a visitor is kept here but the flag that stops a run."""

    def __init__(self, hub: Hub, page: gr.Blocks, tab: gr.Tab) -> None:
        self.hub = hub
        self.flags = runs.StopFlags()
        self.visitor = gr.BrowserState("", storage_key="patchwork-visitor", secret="patchwork")
        self.origin = gr.State(None)
        self.files = gr.State([])
        self.last_seed = gr.State(None)
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()
        self._wire(page, tab)

    # ---- what stands where

    def _build_controls(self) -> None:
        self.settings = Settings(self.hub)
        with gr.Row(elem_classes="bar"):
            self.go = gr.Button("Generate", variant="primary", elem_id="generate", elem_classes="go")
            self.halt = gr.Button("Stop", variant="stop", elem_id="stop", elem_classes="halt", visible=HIDDEN)
            self.settings.offer = self.offer = Offer(self.hub, self.go, "image-")
        self.settings.build_cost()
        self.examples = Examples(self.hub, self.settings)
        with gr.Accordion("More", open=False):
            self.settings.build_more()
        self.drop = gr.UploadButton("Restore the settings of a PNG", size="sm", elem_id="drop")

    def _build_result(self) -> None:
        self.preview = gr.HTML(opening(), js_on_load=film.CLOSING, elem_id="preview", elem_classes="first")
        self.gallery = gr.Gallery(
            format="png", show_label=False, visible=HIDDEN, elem_id="gallery", elem_classes="first", object_fit="contain",
            interactive=False, buttons=["download", "fullscreen"],
        )  # fmt: skip
        self.progress = gr.HTML(elem_id="progress", elem_classes="first")
        self.offer.build_text([self.settings.model, self.settings.vae], {self.settings.model: lambda: controls.model_choices(self.hub)})
        self._build_steps("")
        self.facts = gr.HTML(elem_id="facts", elem_classes="first")
        self.nearest = gr.HTML(elem_id="nearest", elem_classes="first")
        self.verdict = gr.HTML(elem_id="verdict", elem_classes="first")
        with gr.Row(elem_classes="actions"):
            self.download = gr.DownloadButton("Download PNG", size="sm", interactive=False, elem_id="download")
            self.again = gr.Button("Use its settings", size="sm", interactive=False, elem_id="again")
            self.inside = gr.Button("Look inside", size="sm", elem_id="inside")
            self.beside = gr.Button("Compare with ...", size="sm", elem_id="beside")
            self.link = gr.Button("Copy link", size="sm", interactive=False, elem_id="link")
        with gr.Accordion("Receipt", open=False):
            self.receipt = gr.JSON(show_label=False, elem_id="receipt")
        self.history = History(self.hub, self.visitor)

    def _wire(self, page: gr.Blocks, tab: gr.Tab) -> None:
        results = [self.preview, self.gallery, self.files, self.download, self.again, self.link, self.receipt, self.nearest]
        run = self._wire_run("image", self.files, self.download, results)
        self.gallery.select(self.select, self.files, [self.download, self.receipt], **PRIVATE)
        known = page.load(None, self.visitor, self.visitor, js=KNOWN, **PRIVATE)
        known.then(self.history.update, self.visitor, self.history.outputs, **PRIVATE)
        settings = self.settings
        cost = [settings.model, settings.count, settings.steps, settings.solver, settings.guidance, settings.vae]
        self._wire_cost(run, [page.load, tab.select], cost, self.price)

    # ---- what happens

    @runs.stoppable(GenerationTab.core_seconds)
    def generate(self, visitor: str, origin: dict | None, files: list[str], *values: Any) -> Iterator[dict]:
        """Run a request and show it as it comes; a run that fails leaves the earlier pictures where they were."""
        card, request = self.settings.request(*values)
        number = len(request.seeds)
        name = card.label_names[request.labels[0]] if request.labels else request.prompt

        def summary(ending: str) -> str:
            return markup.facts(request, card.title, name, request.seeds, ending)

        yield self.busy() | self.steps_of(None) | {
            self.last_seed: request.seeds[0], self.facts: summary("running"), self.verdict: "", self.progress: markup.note("starting"),
            self.nearest: "",
        }  # fmt: skip
        earlier = _earlier(origin, request)
        try:
            for item in self.hub.generate(request, stop=runs.stop_flag(), visitor=visitor):
                if isinstance(item, Progress):
                    forming = {}
                    if item.stage == "sampling" and (item.preview is not None or item.step == 1):
                        forming = self.in_frame(markup.frame(item.preview, number, item.preview_step, item.total))
                    yield forming | {self.progress: markup.progress_line(item, card)}
                else:
                    repeat = self._repeat(item, earlier)
                    shown = self._show(list(item.files), card, item.images) | self.steps_of(item) | self.history.update(visitor)
                    yield self.idle() | shown | {
                        self.progress: "", self.facts: summary(markup.ending(item)), self.verdict: _verdict(repeat, earlier, item),
                    }  # fmt: skip
                    return
        except Exception:
            yield self._before(files)
            raise
        yield self.idle() | self._before(files) | self.say("Stopped before the first step: nothing was generated.")

    def frame_of(self, images: np.ndarray | None, step: int) -> dict:
        """The pictures of a step in the place of the result, or the result itself."""
        return self.in_frame(None if images is None else markup.frame(images, len(images), step))

    def in_frame(self, content: str | None) -> dict:
        """HTML in the place of the result, or the result itself."""
        if content is None:
            return {self.preview: gr.update(visible=HIDDEN), self.gallery: gr.update(visible=True)}
        return {self.preview: gr.update(value=content, visible=True), self.gallery: gr.update(visible=HIDDEN)}

    def _before(self, files: list[str]) -> dict:
        """What stood in the frame before a run that came to nothing."""
        return {
            self.preview: gr.update(value=opening(), visible=HIDDEN if files else True),
            self.gallery: gr.update(visible=bool(files) or HIDDEN),
            self.facts: "",
        }

    def _repeat(self, result: Result, earlier: dict | None) -> np.ndarray | None:
        """Of a result the sample that the earlier picture shows, at the step after which that one was stopped."""
        if earlier is None:
            return None
        if result.stopped_at == earlier["stopped_at"]:
            return result.images[earlier["place"]]
        if earlier["stopped_at"] is None or (result.stopped_at or earlier["stopped_at"]) < earlier["stopped_at"]:
            return None
        number, images = self.hub.step_images(result.run, earlier["stopped_at"])
        return images[earlier["place"]] if number == earlier["stopped_at"] else None

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
        stopped_at = receipt.get("stopped_at") if isinstance(receipt.get("stopped_at"), int) else None
        words = f"Settings of {request.model}, seed {request.seeds[place]}, are back on the controls: Generate again to compare."
        if stopped_at:
            words = f"This picture was stopped after step {stopped_at}. {words}"
        return self.settings.updates_for(request, place) | {
            self.verdict: markup.note(words, "good"),
            self.origin: {"image": image, "request": request, "place": place, "stopped_at": stopped_at, "receipt": receipt},
        }

    def select(self, files: list[str], event: gr.SelectData) -> tuple[Any, Any]:
        """Make the picture that was clicked the one to download."""
        path = Path(files[event.index])
        return gr.update(value=str(path), interactive=True), pictures.read_png(path)[1]

    def shown_again(self, path: Path) -> tuple[Path, dict, dict]:
        """The picture, what shows it, and its receipt. Raises MediaError."""
        image, receipt = pictures.read_png(path)
        return path, self._show([path], self.hub.card(receipt["request"]["model"]), [image]), receipt

    def price(self, model, count, steps, solver, guidance, vae) -> tuple[str, Any, Any, Any]:
        """Say beforehand what a run will cost, or what must be downloaded for it."""
        return self.settings.price(model, count, None, steps, solver, guidance, vae)

    def _show(self, files: list[Path], card: Card, images: Sequence[np.ndarray]) -> dict:
        names = [str(path) for path in files]
        return {
            self.preview: gr.update(visible=HIDDEN), self.files: names,
            self.gallery: gr.update(value=names, visible=True, columns=markup.columns(len(names)), selected_index=None),
            self.download: gr.update(value=names[0], interactive=True), self.again: gr.update(interactive=True),
            self.link: gr.update(interactive=True),
            self.receipt: pictures.read_png(names[0])[1], self.nearest: markup.nearest(nearest(self.hub, card, images)),
        }  # fmt: skip


def image_tab(hub: Hub, page: gr.Blocks, tab: gr.Tab) -> ImageTab:
    """Put the Image tab here."""
    return ImageTab(hub, page, tab)


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


def _verdict(image: Any, earlier: dict | None, result: Result) -> str:
    """How the new picture compares with the dropped one, in one sentence."""
    if earlier is None or image is None:
        return ""
    words = pictures.compare(image, earlier["image"])
    return markup.verdict(words, "picture you dropped", earlier["receipt"], result.receipts[0])
