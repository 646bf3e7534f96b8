"""The components of the Look inside tab, where they stand and what they say; what they do is in look.py."""

from __future__ import annotations

import gradio as gr

from zoo.inside import attention, attention_figures
from zoo.inside.inspector import BUDGET, Looker
from zoo.ui.parts import markup
from zoo.ui.tabs.look.views import PATCH, model_choices

NOTHING = "no second model"
KEPT = (
    f"Of a run every input of the network is kept, and a step is computed again when it is opened. A recording holds at most "
    f"{attention.BUDGET / 1e6:.0f} MB of maps, beyond which it holds the open layer only; all recordings together {BUDGET / 1e9:.1f} GB."
)


class LookComponents:
    """The components, by what they are for."""

    def __init__(self, looker: Looker) -> None:
        self.looker = looker
        self.subject, self.place = gr.State({}), gr.State((0.5, 0.5))
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()

    def _build_controls(self) -> None:
        choices = model_choices(self.looker)
        self.model = gr.Dropdown(choices, value=choices[0][1] if choices else None, label="Model", elem_id="look-model")
        self.bring = gr.UploadButton("Bring a picture", file_types=["image", ".mp4", ".gif", ".webp"], size="sm", elem_id="look-bring")
        self.example = gr.Dropdown([], label="or take an example", elem_id="look-example")
        self.label = gr.Dropdown([], label="Class (type to search)", elem_id="look-label", visible=False)
        self.prompt = gr.Textbox(label="Prompt", elem_id="look-prompt", visible=False)
        with gr.Row(visible=False) as self.numbers:
            self.seed = gr.Textbox("0", label="Seed", max_lines=1, elem_id="look-seed", min_width=100)
            self.steps = gr.Number(25, precision=0, label="Steps", elem_id="look-steps", min_width=100)
        self.beside = gr.Dropdown([NOTHING], value=NOTHING, label="Beside it, on the same seed", elem_id="look-beside", visible=False)
        self.go = gr.Button("Generate and look", variant="primary", elem_id="look-go", visible=False)
        self.halt = gr.Button("Stop", variant="stop", elem_id="look-stop", visible=False)
        self.way = gr.Dropdown(list(attention_figures.WAYS), value=attention_figures.WAYS[0], label="What is drawn", elem_id="look-way")
        self.layer = gr.Slider(0, 3, 0, step=1, label="Layer", elem_id="look-layer", buttons=[])
        self.head = gr.Slider(0, 3, 0, step=1, label="Head", elem_id="look-head", buttons=[])
        self.some = gr.Dropdown([], label="Heads", multiselect=True, elem_id="look-some", visible=False)
        self.target = gr.Dropdown([], label="Class that is traced", elem_id="look-target", visible=False)
        self.query = gr.Dropdown([PATCH], value=PATCH, label="Who looks", elem_id="look-query")
        self.frame = gr.Slider(1, 16, 1, step=1, label="Frame", elem_id="look-frame", buttons=[], visible=False)
        self.step = gr.Slider(1, 25, 25, step=1, label="Step, from noise to picture", elem_id="look-step", buttons=[], visible=False)
        self.free = gr.Checkbox(False, label="without the class (null label)", elem_id="look-free", visible=False)
        gr.HTML(markup.note(KEPT))

    def _build_result(self) -> None:
        self.note = gr.HTML(elem_id="look-note")
        with gr.Row(elem_classes="pair"):
            plain = {"show_label": False, "interactive": False, "buttons": ["download"], "format": "png", "min_width": 240}
            self.picture = gr.Image(**plain, container=False, elem_id="look-picture")
            self.heat = gr.Image(**plain, container=False, elem_id="look-heat")
        self.caption = gr.HTML(elem_id="look-caption")
        self.second = gr.HTML(elem_id="look-second")
        self.strip = gr.HTML(elem_id="look-strip")
        self.predictions = gr.HTML(elem_id="look-predictions")
        with gr.Accordion("All layers and heads", open=True):
            self.sheet = gr.HTML(elem_id="look-sheet")
        with gr.Accordion("From picture to tokens", open=True):
            with gr.Column(elem_id="look-stages"):
                self.tokens = gr.HTML(elem_id="look-tokens")
                self.position = gr.HTML(elem_id="look-position")
                self.entering = gr.HTML(elem_id="look-entering")
            self.patch = gr.Slider(2, 32, 8, step=1, label="What if patches had this side", elem_id="look-patch", buttons=[])
            self.cost = gr.HTML(elem_id="look-cost")
        with gr.Accordion("Layer by layer", open=True):
            self.plots = gr.HTML(elem_id="look-plots")
        with gr.Accordion("Through the steps", open=True, visible=False) as self.steps_part:
            self.through = gr.Button("Draw this layer, head and place at every step", size="sm", elem_id="look-through")
            self.forming = gr.HTML(elem_id="look-forming")
        with gr.Accordion("Long skips", open=True, visible=False) as self.skips_part:
            with gr.Row():
                self.skip = gr.Slider(0, 2, 0, step=1, label="Skip, 0 is the innermost", elem_id="look-skip", buttons=[])
                self.factor = gr.Slider(0, 2, 0, step=0.1, label="Times what it carries", elem_id="look-factor", buttons=[])
            self.carried = gr.HTML(elem_id="look-carried")
        with gr.Row(elem_classes="actions"):
            self.pack = gr.Button("Arrays (.npz)", size="sm", elem_id="look-pack")
        self.file = gr.File(visible=False, show_label=False, elem_id="look-file")
