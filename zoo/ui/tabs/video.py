"""The Video tab: choose, watch the clip form as it plays, stop, keep, and look at it frame by frame and through time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from zoo.engine.request import Progress, Request, Result
from zoo.errors import RequestError, ZooError
from zoo.media import pictures, video
from zoo.ui.parts import controls, markup, runs
from zoo.ui.parts.settings import Settings
from zoo.ui.tabs.image import PRIVATE

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

EMPTY = '<div class="frame empty"><p>No video yet. Press Generate, or restore an MP4, GIF or WebP made here.</p></div>'
KINDS = (".mp4", ".gif", ".webp")


class VideoTab:
    """The components of the tab and what they do; of a visitor only the switch that stops a run is kept."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState, tab: gr.Tab) -> None:
        self.hub, self.visitor, self.tab = hub, visitor, tab
        self.switches = runs.StopFlags()
        self.origin, self.file, self.last_seed = gr.State(None), gr.State(""), gr.State(None)
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self.settings = Settings(hub, video=True)
                self.go = gr.Button("Generate", variant="primary", elem_id="video-generate")
                self.halt = gr.Button("Stop", variant="stop", elem_id="video-stop", visible=False)
                self.cost = gr.HTML(elem_id="video-cost")
                with gr.Accordion("More", open=False):
                    self.settings.build_more()
                self.drop = gr.UploadButton("Restore from a video made here", file_types=list(KINDS), size="sm", elem_id="video-drop")
            with gr.Column(elem_classes="result"):
                self._build_result()
        self._wire()

    def _build_result(self) -> None:
        self.preview = gr.HTML(EMPTY, elem_id="video-preview")
        self.player = gr.Video(show_label=False, visible=False, autoplay=True, loop=True, elem_id="player", buttons=[])
        self.progress = gr.HTML(elem_id="video-progress")
        self.facts = gr.HTML(elem_id="video-facts")
        self.verdict = gr.HTML(elem_id="video-verdict")
        with gr.Row(elem_classes="actions"):
            self.inside = gr.Button("Look inside", size="sm", elem_id="video-inside")
            self.beside = gr.Button("Compare with ...", size="sm", elem_id="video-beside")
            self.saves = [gr.DownloadButton(kind[1:].upper(), size="sm", interactive=False, elem_id=f"save{kind[1:]}") for kind in KINDS]
        with gr.Row(elem_classes="through-time"):
            with gr.Column(min_width=260):
                self.strip = gr.HTML(elem_id="strip")
            with gr.Column(min_width=260):
                self.row = gr.Slider(0, 1, 0.5, step=0.01, label="Row of the space-time slice", elem_id="row", buttons=[], visible=False)
                self.slice = gr.HTML(elem_id="slice")
        with gr.Accordion("Receipt", open=False):
            self.receipt = gr.JSON(show_label=False, elem_id="video-receipt")
        with gr.Accordion("History of this browser", open=True):
            self.history = gr.Radio([], show_label=False, elem_id="video-history", visible=False)

    def _wire(self) -> None:
        chosen = self.settings
        shown = [self.preview, self.player, *self.saves, self.strip, self.row, self.slice, self.receipt, self.file]
        outputs = [*shown, self.progress, self.facts, self.verdict, self.go, self.halt, self.last_seed, self.history]
        settings = [*chosen.shown, self.verdict]
        run = self.go.click(self.generate, [self.visitor, self.origin, *chosen.asked], outputs, **PRIVATE)
        self.halt.click(self.switches.stop, None, None, queue=False, **PRIVATE)
        chosen.dice.click(lambda: str(controls.random_seed()), None, chosen.seed, queue=False, **PRIVATE)
        chosen.reuse.click(lambda seed: gr.skip() if seed is None else str(seed), self.last_seed, chosen.seed, queue=False, **PRIVATE)
        for part, asked in ((chosen.model, [chosen.model]), (chosen.preset, [chosen.model, chosen.preset])):
            part.input(chosen.choose, asked, chosen.shown, queue=False, **PRIVATE)
        self.back = [*settings, self.origin]
        self.drop.upload(self.restore, self.drop, self.back, **PRIVATE)
        self.row.release(lambda path, row: _slice(video.read(path)[0], row) if path else "", [self.file, self.row], self.slice, **PRIVATE)
        self.history.input(self.recall, [self.history, self.visitor], [*shown, self.facts], **PRIVATE)
        self.tab.select(self.arrive, self.visitor, self.history, **PRIVATE)
        priced = [chosen.model, chosen.count, chosen.frames, chosen.steps, chosen.solver, chosen.guidance, chosen.vae]
        timer = gr.Timer(2)
        run.then(chosen.price, priced, [self.cost, timer], queue=False, **PRIVATE)
        gr.on(
            [self.tab.select, timer.tick, *(c.change for c in priced)],
            self.settings.price,
            priced,
            [self.cost, timer],
            queue=False,
            **PRIVATE,
        )

    # ---- what happens

    def generate(self, session: gr.Request, visitor: str, origin: dict | None, *asked: Any) -> Iterator[dict]:
        """Run a request and show it as it comes; every ending gives the Generate button back."""
        idle = {self.go: gr.update(visible=True), self.halt: gr.update(visible=False)}
        with self.switches.held(session) as stop:
            try:
                card, request = self.settings.request(*asked)
                name = card.label_names[request.labels[0]] if request.labels else request.prompt
                outside = f" (trained on {card.arch['num_frames']})" if request.frames != card.arch["num_frames"] else ""

                def summary(ending: str) -> str:
                    return markup.facts(request, card.title, name, request.seeds, f"{request.frames} frames{outside} · {ending}")

                yield {
                    self.go: gr.update(visible=False), self.halt: gr.update(visible=True), self.player: gr.update(visible=False),
                    self.preview: gr.update(value=markup.frame(None, 1), visible=True), self.last_seed: request.seeds[0],
                    self.facts: summary("running"), self.verdict: "", self.progress: markup.note("starting"),
                }  # fmt: skip
                for item in self.hub.generate(request, stop=stop, visitor=visitor):
                    if isinstance(item, Progress):
                        shown = {} if item.preview is None else {self.preview: _playing(item.preview[0], request.fps)}
                        yield shown | {self.progress: markup.progress_line(item, card)}
                    else:
                        yield idle | self._show(item.images[0], item.files[0], item.receipts[0]) | {
                            self.progress: "", self.facts: summary(markup.ending(item)), self.verdict: _verdict(item, origin),
                            self.history: self.arrive(visitor),
                        }  # fmt: skip
                        return
                yield idle | {self.progress: markup.note("stopped while waiting; nothing was drawn yet")}
            except ZooError as error:
                yield idle | {self.progress: markup.note(str(error), "error")}

    def restore(self, path: str | None) -> dict:
        """Put the settings of a video made here back on the controls; a foreign or forged file changes nothing."""
        if not path:
            return {self.verdict: markup.note("Choose a video first.", "error")}
        try:
            frames, receipt = video.read(path)
            request = Request.from_dict(receipt["request"])
            card = self.hub.card(request.model)
            request = request.resolved(card)
            if not card.video:
                raise RequestError(f"{card.id} makes pictures: drop its PNG on the Image tab.")
            place = self.settings.place(receipt, request)
            request = replace(request, seeds=request.seeds[place : place + 1], labels=request.labels[place : place + 1])
        except ZooError as error:
            return {self.verdict: markup.note(str(error), "error")}
        words = f"Settings of {request.model}, seed {request.seeds[0]}, are back on the controls: Generate again to compare."
        origin = {"request": request, "frames": frames, "pixels": receipt.get("pixels")}
        return self.settings.restored(request, 0) | {self.verdict: markup.note(words, "good"), self.origin: origin}

    def recall(self, name: str, visitor: str) -> dict:
        """Show a video of the history again."""
        path = next((path for path in self.hub.results.history(visitor, ".mp4") if path.name == name), None)
        if path is None:
            return {self.facts: markup.note("This video is gone; reload the page.", "error")}
        frames, receipt = video.read(path.with_suffix(".webp"))
        return self._show(frames, path, receipt) | {self.facts: markup.note(f"{name}, made {receipt['made']}")}

    def arrive(self, visitor: str) -> Any:
        """This browser's videos, the newest first."""
        names = [path.name for path in self.hub.results.history(visitor or "", ".mp4")]
        return gr.update(choices=names, visible=bool(names), value=None)

    def _show(self, frames: np.ndarray, path: Path, receipt: dict) -> dict:
        files = {save: gr.update(value=str(path.with_suffix(kind)), interactive=True) for save, kind in zip(self.saves, KINDS, strict=True)}
        return files | {
            self.preview: gr.update(visible=False), self.player: gr.update(value=str(path), visible=True), self.strip: _strip(frames),
            self.row: gr.update(visible=True, value=0.5), self.slice: _slice(frames, 0.5), self.receipt: receipt,
            self.file: str(path.with_suffix(".webp")),
        }  # fmt: skip


def _playing(frames: np.ndarray, fps: int) -> str:
    url = pictures.data_url(video.animation(frames, fps), "image/webp")
    return f'<div class="frame" style="--columns:1"><img alt="preview, playing" src="{url}"></div>'


def _strip(frames: np.ndarray) -> str:
    """All frames, and one of them large, chosen by the slider (page.js)."""
    cells = "".join(f'<img alt="frame {k + 1}" src="{markup.picture_url(frame)}">' for k, frame in enumerate(frames))
    slider = f'<label>Frame <input type="range" min="1" max="{len(frames)}" value="1"> <output>1 of {len(frames)}</output></label>'
    return f'<div class="cells">{cells}</div>{slider}<img class="large" alt="chosen frame" src="{markup.picture_url(frames[0])}">'


def _slice(frames: np.ndarray, row: float) -> str:
    line = min(int(row * frames.shape[1]), frames.shape[1] - 1)
    url = markup.picture_url(video.space_time(frames, line))
    words = f"Row {line} through time, which runs down: a moving object draws a slanted band, flicker draws stripes."
    return f'<img alt="space-time slice of row {line}" src="{url}">' + markup.note(words)


def _verdict(result: Result, origin: dict | None) -> str:
    """How the new video compares with the restored one, in one sentence."""
    if not origin or origin["request"] != result.request:
        return ""
    if origin["pixels"] == result.receipts[0]["pixels"]:
        return markup.note("Against the video you restored: Identical: every pixel of every frame is the same.", "good")
    made, earlier = result.images[0], origin["frames"]
    if made.shape != earlier.shape:
        return markup.note("Against the video you restored: Different: another size or number of frames.")
    return markup.note(
        "Against the video you restored: " + pictures.compare(made.reshape(-1, *made.shape[-2:]), earlier.reshape(-1, *made.shape[-2:]))
    )


def video_tab(hub: Hub, visitor: gr.BrowserState, tab: gr.Tab) -> VideoTab:
    """Put the Video tab here."""
    return VideoTab(hub, visitor, tab)
