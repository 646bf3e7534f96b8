"""What stands where on the Compare tab: the settings of each column, the columns, and what is said under them."""

from __future__ import annotations

import html
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder

from zoo.catalog.card import Card
from zoo.compare import compare, report
from zoo.compare.setting import Setting
from zoo.engine.request import MAX_IMAGES, SOLVERS
from zoo.errors import RequestError
from zoo.media import figures, pictures
from zoo.ui.parts import controls, markup
from zoo.ui.parts.settings import autoencoders, labels

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

COLUMNS = 4
"""That stand side by side on the page."""
KEPT = 7200
"""Seconds for which a visitor's comparison is kept in memory after it was last touched."""
SINGLE = 16
"""Samples up to which each is a picture of its own while they form."""
EMPTY = '<div class="frame empty"><p>Nothing compared yet. Choose two settings and press Compare.</p></div>'
TIMELINE = (
    '<label>At equal noise <input type="range" min="0" max="100" value="100" aria-label="noise level of all columns">'
    " <output>result</output></label>"
)
LOCKSTEP = (
    '<button type="button">Pause</button><label>Frame <input type="range" min="0" max="15" value="0" aria-label="frame of all videos">'
    "</label> <output></output>"
)
SAMPLE = """element.addEventListener("click", (event) => {
  const found = event.target.closest("[data-sample]");
  if (found) { trigger("click", { sample: Number(found.dataset.sample) }); }
});"""


@dataclass
class Comparison:
    """A comparison as a visitor sees it; `order` says which column stands at each place."""

    columns: list[Setting]
    order: list[int]
    blind: bool
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def name(self, place: int) -> str:
        """What stands over a place: the setting, or only a number while nobody may know."""
        k = self.order[place]
        return str(place + 1) if self.blind else report.heading(compare.names(len(self.columns))[k], self.columns[k])

    def empty(self, place: int) -> str:
        """A column before anything of it is there."""
        return shown(place, self.run, self.name(place), None, self.columns[self.order[place]], "", 1.0)

    def finished(self, place: int) -> str:
        """A column at its end."""
        column = self.columns[self.order[place]]
        words = f"stopped after step {column.stopped}" if column.stopped else "" if self.blind else f"{column.seconds:.1f} s of its own"
        return finished(place, self.run, self.name(place), column, markup.note(words), self.blind)


class CompareComponents:
    """The components of the side-by-side view."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.seen, self.path = gr.State(None, time_to_live=KEPT), gr.State("")
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()

    def _build_controls(self) -> None:
        first = controls.first_generator(self.hub)
        rivals = [card for card in controls.makers(self.hub, False) if self.hub.local(card)] or [first]
        self.label = gr.Dropdown(
            classes(first), value=0 if first.label_names else None, label="Class, in all (type to search)", elem_id="compare-label",
            visible=bool(first.label_names),
        )  # fmt: skip
        self.prompt = gr.Textbox(label="Prompt, in all", visible=bool(first.text), elem_id="compare-prompt")
        with gr.Row(elem_classes="pairs"):
            self.count = gr.Number(4, precision=0, label="Samples", elem_id="compare-count", min_width=90)
            self.seed = gr.Textbox("0", label="First seed", placeholder="random", max_lines=1, elem_id="compare-seed", min_width=90)
        self.carried, self.also = gr.State({}), gr.HTML(visible=False, elem_id="compare-also")
        self.number = gr.Radio([2, 3, 4], value=2, label="Columns", elem_id="compare-number")
        self.groups, self.settings = [], []
        for k, name in enumerate(compare.names(COLUMNS)):
            card = rivals[k % len(rivals)]
            how = card.sampling.solver if k < len(rivals) else "ddim"  # a setting of its own, where models run out
            with gr.Group(visible=k < 2, elem_classes="setting") as group:
                model = gr.Dropdown(choices(self.hub), value=card.id, label=f"{name}: model", elem_id=f"compare-model-{name}")
                with gr.Row(elem_classes="pairs"):
                    steps = gr.Number(card.sampling.steps, precision=0, label="Steps", elem_id=f"compare-steps-{name}", min_width=70)
                    guidance = gr.Number(
                        card.guidance.default, label="Guidance", elem_id=f"compare-guidance-{name}", min_width=70, visible=card.guidable
                    )
                solver = gr.Dropdown(list(SOLVERS), value=how, label="Solver", elem_id=f"compare-solver-{name}", allow_custom_value=True)
                with gr.Row(elem_classes="pairs"):
                    eta = gr.Number(0, label="Eta, noise that ddim adds", elem_id=f"compare-eta-{name}", min_width=70)
                others, own = autoencoders(self.hub, card), card.latent and card.latent.vae
                vae = gr.Dropdown(
                    others, value=own, label="Autoencoder", elem_id=f"compare-vae-{name}", visible=len(others) > 1, allow_custom_value=True
                )
            self.groups.append(group)
            self.settings.append((model, steps, solver, guidance, eta, vae))
        self.blind = gr.Checkbox(False, label="Blind: shuffled and nameless until you have chosen", elem_id="compare-blind")
        self.go = gr.Button("Compare", variant="primary", elem_id="compare-go")
        self.halt = gr.Button("Stop", variant="stop", elem_id="compare-stop", visible=False)

    def _build_result(self) -> None:
        with gr.Row(elem_id="compare-columns"):
            self.cells = [
                gr.HTML(EMPTY if k == 0 else "", js_on_load=SAMPLE, visible=k == 0, elem_classes="column") for k in range(COLUMNS)
            ]
        gr.HTML(LOCKSTEP, elem_id="lockstep")
        gr.HTML(TIMELINE, elem_id="compare-timeline")
        self.note = gr.HTML(elem_id="compare-note")
        self.choice = gr.Radio([], label="Which is better?", visible=False, elem_id="compare-choice")
        with gr.Column(visible=False) as self.details:
            with gr.Row(elem_classes="actions"):
                self.again = gr.Button("As many samples more", size="sm", elem_id="compare-more")
                self.report = gr.Button("Report (HTML, JSON)", size="sm", elem_id="compare-report")
            self.saved = gr.File(visible=False, show_label=False, file_count="multiple", elem_id="compare-saved")
            self.table = gr.HTML(elem_id="compare-table")
            with gr.Accordion("Two of them closely", open=True):
                with gr.Row():
                    self.left = gr.Dropdown(["A", "B"], value="A", label="Left", elem_id="compare-left", min_width=80)
                    self.right = gr.Dropdown(["A", "B"], value="B", label="Right", elem_id="compare-right", min_width=80)
                    self.which = gr.Slider(1, MAX_IMAGES, 1, step=1, label="Sample (or click one)", elem_id="compare-which", buttons=[])
                    self.frame = gr.Slider(1, 16, 1, step=1, label="Frame", elem_id="compare-frame", buttons=[], visible=False)
                with gr.Row(elem_classes="pair"):
                    self.slider = gr.ImageSlider(
                        label="Drag the line", elem_id="compare-slider", interactive=False, max_height=420, buttons=[]
                    )
                    self.difference = gr.HTML(elem_id="compare-difference", min_width=280)
                with gr.Row(elem_classes="actions"):
                    self.open = gr.Button("Left one to its own tab", size="sm", elem_id="compare-open")
                    self.inside = gr.Button("Look inside the left one", size="sm", elem_id="compare-inside")
            with gr.Accordion("Architectures", open=False):
                self.architectures = gr.HTML(elem_id="compare-architectures")


def choices(hub: Hub) -> list[tuple[str, str]]:
    """Every generator, those of pictures first."""
    return controls.model_choices(hub) + controls.model_choices(hub, True)


def classes(card: Card) -> list[tuple[str, Any]]:
    """(name, index) of every class, and all of them in turn."""
    return [*labels(card), ("every class in turn", compare.EACH)] if card.label_names else []


def shown(place: int, run: str, head: str, images: np.ndarray | None, column: Setting, words: str, noise: float) -> str:
    """One column while it forms: its samples, how noisy what the network saw was, and words under it (page.js keeps what was shown)."""
    count = len(images) if images is not None else len((column.left or column.rounds)[0].seeds)
    if images is None:
        cells = ["<i></i>"] * min(count, MAX_IMAGES)
    elif images.ndim == 5:
        cells = [clip(video, column.request.fps, k) for k, video in enumerate(images)]
    elif count > SINGLE:
        stride = max(1, images.shape[1] * markup.columns(count) // 1024)
        sheet = np.asarray(pictures.grid(images[:, ::stride, ::stride], markup.columns(count), gap=2))
        return _column(place, run, head, [f'<img alt="{count} samples forming" src="{markup.picture_url(sheet)}">'], 1, words, noise)
    else:
        cells = [f'<img alt="sample {k + 1} forming" src="{markup.picture_url(image)}">' for k, image in enumerate(images)]
    return _column(place, run, head, cells, markup.columns(count), words, noise)


def finished(place: int, run: str, head: str, column: Setting, words: str, blind: bool = False) -> str:
    """One column at its end: all its samples, each from its file, whose name tells the model, or blindly; a click chooses one."""
    images, files = column.images, column.files
    if images.ndim == 5:
        cells = [clip(video, column.request.fps, k) for k, video in enumerate(images)]
    else:
        shown = [markup.picture_url(image, exact=True) for image in images] if blind else [url(path) for path in files]
        cells = [
            f'<img loading="lazy" data-sample="{k}" alt="sample {k + 1}" title="sample {k + 1}, seed {seed}" src="{source}">'
            for k, (source, seed) in enumerate(zip(shown, column.seeds, strict=False))
        ]
    return _column(place, run, head, cells, markup.columns(len(images)), words, 0.0)


def _column(place: int, run: str, head: str, cells: Sequence[str], across: int, words: str, noise: float) -> str:
    frame = f'<div class="frame" data-noise="{noise:.5f}" style="--columns:{across}">{"".join(cells)}</div>'
    return f'<div class="samples" data-place="{place}" data-run="{run}"><h3>{html.escape(head)}</h3>{frame}{words}</div>'


def clip(frames: np.ndarray, fps: int, sample: int) -> str:
    """A video (f, h, w, 3) uint8 as one picture of all its frames, of which page.js shows one at a time, the same in all columns."""
    across = markup.columns(len(frames))
    down = -(-len(frames) // across)
    sheet = np.asarray(pictures.grid(frames, across, gap=0))
    style = f"background-image:url({markup.picture_url(sheet)});background-size:{100 * across}% {100 * down}%"
    data = f'data-frames="{len(frames)}" data-across="{across}" data-down="{down}" data-fps="{fps}" data-sample="{sample}"'
    return f'<div class="clip" role="img" aria-label="video {sample + 1}" {data} style="{style}"></div>'


def closely(seen: Comparison | None, left: str, right: str, sample: int, frame: int) -> tuple[tuple[Any, Any], str, str]:
    """The same sample of two columns, enlarged, and their difference as HTML; the left one's file. Raises RequestError."""
    names = compare.names(len(seen.columns)) if seen is not None else []
    if left not in names or right not in names:
        raise RequestError("There is nothing to lay side by side yet: press Compare and let it finish.")
    columns = [seen.columns[names.index(name)] for name in (left, right)]
    k = max(0, min(sample, *(len(column.images) - 1 for column in columns)))
    one, other = (column.images[k] for column in columns)
    if one.ndim == 4:
        one, other = (film[max(0, min(frame, len(film) - 1))] for film in (one, other))
    if one.shape != other.shape:
        raise RequestError(f"{left} and {right} make pictures of other sizes: choose two of the same.")
    gap = np.abs(one.astype(np.int16) - other).mean(-1)
    drawn = figures.enlarged(figures.coloured(gap, 0, max(gap.max(), 1)), 256)
    words = f"{pictures.compare(one, other)}{' Bright where most.' if gap.any() else ''}"
    path = columns[0].files[k]
    difference = markup.picture(drawn, "difference", f"{left} and {right}, sample {k + 1}", words)
    pair = tuple(figures.enlarged(image, 384, smooth=True) for image in (one, other))
    return pair, difference, str(path.with_suffix(".webp") if columns[0].card.video else path)


def url(path: Path) -> str:
    """Where the page finds a file of the results: a copy named after its content, for the file itself may be written again meanwhile."""
    kept = save_file_to_cache(path, get_upload_folder())
    return f"gradio_api/file={Path(kept).as_uri().removeprefix('file://')}"
