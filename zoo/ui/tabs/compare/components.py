"""The components of the side-by-side view: the settings of each column, the columns, and what is laid under them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.catalog.card import Card
from zoo.compare import compare
from zoo.engine.request import MAX_IMAGES, SOLVERS
from zoo.ui.parts import controls
from zoo.ui.parts.settings import autoencoders, labels

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

COLUMNS = 4
"""That stand side by side on the page."""
STATE_SECONDS = 7200
"""For which a visitor's comparison is held in memory after it was last touched."""
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


class CompareComponents:
    """The components of the side-by-side view."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.comparison, self.path = gr.State(None, time_to_live=STATE_SECONDS), gr.State("")
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
        self.other_settings, self.other_settings_note = gr.State({}), gr.HTML(visible=False, elem_id="compare-also")
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
            self.files = gr.File(visible=False, show_label=False, file_count="multiple", elem_id="compare-saved")
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
