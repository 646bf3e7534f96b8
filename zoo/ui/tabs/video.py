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
from zoo.ui.parts import controls, film, markup, runs
from zoo.ui.parts.download import Offer
from zoo.ui.parts.examples import Examples
from zoo.ui.parts.history import History
from zoo.ui.parts.opening import opening_clips
from zoo.ui.parts.runs import HIDDEN, PRIVATE
from zoo.ui.parts.settings import Settings
from zoo.ui.tabs.generation import GenerationTab

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

HELP = {
    "video-generate": "Sample a video with these settings: all frames together, from pure noise to x_0.",
    "video-stop": "End the run within one step; the clean prediction of that step is kept.",
    "video-drop": "Read the receipt inside an MP4, GIF or WebP made here, and set every control as it was.",
    "video-step": "Shows any step of this run, decoded now; the last one is the result.",
    "video-play-steps": "Decodes every kept step of this run and plays them: the noisy sample beside the clean prediction.",
    "example-clips": "Each sets the model, class, seed, steps, solver and guidance that made it.",
    "video-shown": "The network's prediction of x_0 at this step, or the sample x_t itself with its noise.",
    "video-again": "Set every control to what made this video; generating again says whether the pixels are identical.",
    "video-inside": "Open this generation on the Look inside tab: attention within and between frames, at any step.",
    "video-beside": "Run this setting beside another model, on the same class and noise.",
    "video-link": "Copy an address that opens this page with the settings of this video.",
    "savemp4": "The video as H.264, which every browser plays.",
    "savegif": "The video as GIF, with 256 colours a frame.",
    "savewebp": "The video as lossless WebP: every pixel as the model made it.",
    "row": "Which row of pixels the space-time slice shows, from the top (0) to the bottom (1).",
    "strip": "All frames; the slider shows one of them large.",
}


class VideoTab(GenerationTab):
    """The components of the tab and what they do; of a visitor only the flag that stops a run is kept."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState, tab: gr.Tab) -> None:
        self.hub, self.visitor, self.tab = hub, visitor, tab
        self.flags = runs.StopFlags()
        self.origin, self.file, self.last_seed = gr.State(None), gr.State(""), gr.State(None)
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self.settings = Settings(hub, video=True)
                with gr.Row(elem_classes="bar"):
                    self.go = gr.Button("Generate", variant="primary", elem_id="video-generate", elem_classes="go")
                    self.halt = gr.Button("Stop", variant="stop", elem_id="video-stop", elem_classes="halt", visible=HIDDEN)
                    self.settings.offer = self.offer = Offer(hub, self.go, "video-")
                self.settings.build_cost()
                self.examples = Examples(hub, self.settings, video=True)
                with gr.Accordion("More", open=False):
                    self.settings.build_more()
                self.drop = gr.UploadButton("Restore the settings of a video", size="sm", elem_id="video-drop")
            with gr.Column(elem_classes="result"):
                self._build_result()
        self._wire()

    def _build_result(self) -> None:
        self.preview = gr.HTML(opening_clips(), js_on_load=film.CLOSING, elem_id="video-preview", elem_classes="first")
        self.player = gr.Video(
            show_label=False,
            visible=HIDDEN,
            autoplay=True,
            loop=True,
            elem_id="player",
            elem_classes="first",
            buttons=[],
            interactive=False,
        )
        self.progress = gr.HTML(elem_id="video-progress", elem_classes="first")
        self._build_steps("video-")
        lists = {self.settings.model: lambda: controls.model_choices(self.hub, True)}
        self.offer.build_text([self.settings.model, self.settings.vae], lists)
        self.facts = gr.HTML(elem_id="video-facts", elem_classes="first")
        self.verdict = gr.HTML(elem_id="video-verdict", elem_classes="first")
        with gr.Row(elem_classes="actions"):
            self.saves = [
                gr.DownloadButton(kind[1:].upper(), size="sm", interactive=False, elem_id=f"save{kind[1:]}") for kind in video.SUFFIXES
            ]
            self.again = gr.Button("Use its settings", size="sm", interactive=False, elem_id="video-again")
            self.inside = gr.Button("Look inside", size="sm", elem_id="video-inside")
            self.beside = gr.Button("Compare with ...", size="sm", elem_id="video-beside")
            self.link = gr.Button("Copy link", size="sm", interactive=False, elem_id="video-link")
        with gr.Row(elem_classes="through-time"):
            with gr.Column(min_width=260):
                self.strip = gr.HTML(elem_id="strip")
            with gr.Column(min_width=260):
                self.row = gr.Slider(0, 1, 0.5, step=0.01, label="Row of the space-time slice", elem_id="row", buttons=[], visible=False)
                self.slice = gr.HTML(elem_id="slice")
        with gr.Accordion("Receipt", open=False):
            self.receipt = gr.JSON(show_label=False, elem_id="video-receipt")
        self.history = History(self.hub, self.visitor, "video-")

    def _wire(self) -> None:
        results = [self.preview, self.player, *self.saves, self.again, self.link, self.strip, self.row, self.slice, self.receipt, self.file]
        run = self._wire_run("video", self.file, self.file, results)
        self.row.release(lambda path, row: _slice(video.read(path)[0], row) if path else "", [self.file, self.row], self.slice, **PRIVATE)
        self.tab.select(self.history.update, self.visitor, self.history.outputs, **PRIVATE)
        settings = self.settings
        cost = [settings.model, settings.count, settings.frames, settings.steps, settings.solver, settings.guidance, settings.vae]
        self._wire_cost(run, [self.tab.select], cost, settings.price)

    # ---- what happens

    @runs.stoppable(GenerationTab.core_seconds)
    def generate(self, visitor: str, origin: dict | None, file: str, *values: Any) -> Iterator[dict]:
        """Run a request and show it as it comes; a run that fails leaves the earlier video where it was."""
        card, request = self.settings.request(*values)
        name = card.label_names[request.labels[0]] if request.labels else request.prompt
        outside = f" (trained on {card.arch['num_frames']})" if request.frames != card.arch["num_frames"] else ""

        def summary(ending: str) -> str:
            return markup.facts(request, card.title, name, request.seeds, f"{request.frames} frames{outside} · {ending}")

        yield self.busy() | self.steps_of(None) | {
            self.last_seed: request.seeds[0], self.facts: summary("running"), self.verdict: "", self.progress: markup.note("starting")
        }  # fmt: skip
        try:
            for item in self.hub.generate(request, stop=runs.stop_flag(), visitor=visitor):
                if isinstance(item, Progress):
                    forming = {}
                    if item.stage == "sampling" and (item.preview is not None or item.step == 1):
                        empty = item.preview is None
                        frame = markup.frame(None, 1) if empty else _playing(item.preview[0], request.fps, item.preview_step)
                        forming = self.in_frame(frame)
                    yield forming | {self.progress: markup.progress_line(item, card)}
                else:
                    video_parts = self._show(item.images[0], item.files[0], item.receipts[0]) | self.steps_of(item)
                    yield self.idle() | video_parts | self.history.update(visitor) | {
                        self.progress: "", self.facts: summary(markup.ending(item)), self.verdict: _verdict(item, origin),
                    }  # fmt: skip
                    return
        except Exception:
            yield self._before(file)
            raise
        yield self.idle() | self._before(file) | self.say("Stopped before the first step: nothing was generated.")

    def frame_of(self, images: np.ndarray | None, step: int) -> dict:
        """The video of a step in the place of the result, playing, or the result itself."""
        return self.in_frame(None if images is None else _playing(images[0], 8, step))

    def in_frame(self, content: str | None) -> dict:
        """HTML in the place of the result, or the result itself."""
        if content is None:
            return {self.preview: gr.update(visible=HIDDEN), self.player: gr.update(visible=True)}
        return {self.preview: gr.update(value=content, visible=True), self.player: gr.update(visible=HIDDEN)}

    def _before(self, file: str) -> dict:
        """What stood in the frame before a run that came to nothing."""
        return {
            self.preview: gr.update(value=opening_clips(), visible=HIDDEN if file else True),
            self.player: gr.update(visible=bool(file) or HIDDEN),
            self.facts: "",
        }

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
        origin = {"request": request, "frames": frames, "receipt": receipt}
        return self.settings.updates_for(request, 0) | {self.verdict: markup.note(words, "good"), self.origin: origin}

    def shown_again(self, path: Path) -> tuple[Path, dict, dict]:
        """The file that holds a video's exact pixels, what shows it, and its receipt. Raises MediaError."""
        exact = path.with_suffix(".webp")
        frames, receipt = video.read(exact)
        return exact, self._show(frames, path, receipt), receipt

    def _show(self, frames: np.ndarray, path: Path, receipt: dict) -> dict:
        files = {
            save: gr.update(value=str(path.with_suffix(kind)), interactive=True)
            for save, kind in zip(self.saves, video.SUFFIXES, strict=True)
        }
        return files | {
            self.preview: gr.update(visible=HIDDEN), self.player: gr.update(value=str(path), visible=True), self.strip: _strip(frames),
            self.row: gr.update(visible=True, value=0.5), self.slice: _slice(frames, 0.5), self.receipt: receipt,
            self.file: str(path.with_suffix(".webp")), self.again: gr.update(interactive=True), self.link: gr.update(interactive=True),
        }  # fmt: skip


def _playing(frames: np.ndarray, fps: int, step: int) -> str:
    url = pictures.data_url(video.animation(frames, fps), "image/webp")
    return f'<div class="frame" data-step="{step}" style="--columns:1"><img alt="preview, playing" src="{url}"></div>'


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
    frames, earlier = result.images[0], origin["frames"]
    if origin["receipt"].get("pixels") == result.receipts[0]["pixels"]:
        words = "Identical: every pixel of every frame is the same."
    elif frames.shape != earlier.shape:
        words = "Different: another size or number of frames."
    else:
        words = pictures.compare(frames.reshape(-1, *frames.shape[-2:]), earlier.reshape(-1, *frames.shape[-2:]))
    return markup.verdict(words, "video you restored", origin["receipt"], result.receipts[0])


def video_tab(hub: Hub, visitor: gr.BrowserState, tab: gr.Tab) -> VideoTab:
    """Put the Video tab here."""
    return VideoTab(hub, visitor, tab)
