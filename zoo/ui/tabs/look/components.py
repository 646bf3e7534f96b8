"""The components of the Look inside tab, where they stand and what they say; what they do is in tab.py."""

from __future__ import annotations

import gradio as gr

from zoo.inside.attention_figures import COMBINATIONS, MEAN
from zoo.inside.inspector import Looker
from zoo.ui.parts import runs
from zoo.ui.parts.download import Offer
from zoo.ui.parts.model_dropdown import model_dropdown
from zoo.ui.parts.moving_slider import moving_slider
from zoo.ui.tabs.look.views import PATCH, model_choices

HELP: dict[str, str] = {
    "look-link": "Copy an address that opens this page with this model, class, seed and steps.",
    "look-model": "A vision transformer looks at your picture; a diffusion transformer (DiT, U-ViT, Latte) is recorded while it generates.",
    "look-bring": "Any picture; for a video model a clip (MP4, GIF or WebP). It is resized and cropped as the model's paper says.",
    "look-example": "A picture or clip that ships with Patchwork.",
    "look-label": "The class that the generator is conditioned on.",
    "look-prompt": "The text that the generator is conditioned on.",
    "look-seed": "The noise that the run starts from: the same seed gives the same picture, bit by bit.",
    "look-steps": "Evaluations of the network from noise to picture; each of them can be opened afterwards.",
    "look-beside": "Run a second generator on the same class and the same noise, and show its attention at the same noise level.",
    "look-go": "Generate with this seed and keep the network's input of every step, so that any step can be opened.",
    "look-stop": "End the run within one step.",
    "look-way": "How attention heads become one map; rollout (Abnar, Zuidema 2020) and relevance (Chefer et al. 2021) chain layers.",
    "look-layer": "The transformer block, counted from 0.",
    "look-head": "The attention head of this layer, counted from 0.",
    "look-some": "The heads whose maps are averaged, counted from 0.",
    "look-target": "The class whose logit is traced back to the patches (class relevance, Chefer et al. 2021).",
    "look-query": "The token whose row of the attention matrix softmax(q k^T / sqrt(d)) is drawn.",
    "look-frame": "The frame of the clip, from 1.",
    "look-step": "The step of the run, from 1 (pure noise) to the last; the picture is the clean prediction x_0 of that step.",
    "look-free": "The second pass of classifier-free guidance, in which the label is the null label.",
    "look-picture": "Click a patch to make it the query, or walk there with the arrow keys.",
    "look-heat": "Attention from the query to every patch, bright where it is largest.",
    "look-patch": "Tokens and multiply-adds if patches had this many pixels a side.",
    "look-through": "Draw the same layer, heads and query at up to eight steps, and how entropy and conditioning change.",
    "look-skip": "The long skip connection of the U-ViT, 0 is the innermost.",
    "look-factor": "Multiplies what this skip connection adds: 0 removes it, 1 leaves it unchanged.",
    "look-pack": "All attention maps and tokens of this recording as NumPy arrays.",
}
"""One sentence a control, by its element id."""
NOTHING = "no second model"
EMPTY = "Choose a class and press Look inside: then any step of the run can be opened."
FOLDS = "() => Array(5).fill(window.matchMedia('(max-width: 760px)').matches ? {__type__: 'update', open: false} : {__type__: 'update'})"
"""On a phone what stands under the picture is folded when the page opens."""


class LookComponents(runs.RunButtons):
    """The components, by what they are for."""

    def __init__(self, looker: Looker) -> None:
        self.looker = looker
        self.subject, self.place = gr.State({}), gr.State((0.5, 0.5))
        self.chosen = gr.State({})  # what model and example were last chosen: a list that is only opened and left changes nothing
        self.coming = gr.State(False)  # somebody comes from another tab with something to look into
        self.origin = gr.State(None)  # the request of the picture that came from another tab
        self.last_view = gr.State(None)
        with gr.Row(elem_classes="tab", elem_id="look"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()

    def _build_controls(self) -> None:
        choices = model_choices(self.looker)
        self.model = model_dropdown(choices, value=choices[0][1] if choices else None, label="Model", elem_id="look-model")
        self.bring = gr.UploadButton("Upload a picture", size="sm", elem_id="look-bring")
        self.example = gr.Dropdown([], label="Example", elem_id="look-example")
        self.label = gr.Dropdown([], label="Class (type to search)", elem_id="look-label", visible=False)
        self.prompt = gr.Textbox(label="Prompt", elem_id="look-prompt", visible=False)
        with gr.Row(visible=False) as self.numbers:
            self.seed = gr.Textbox("0", label="Seed", max_lines=1, elem_id="look-seed", min_width=100)
            self.steps = gr.Number(25, precision=0, label="Steps", elem_id="look-steps", min_width=100)
        self.rival = gr.Dropdown([NOTHING], value=NOTHING, label="Compare with, same seed", elem_id="look-beside", visible=False)
        with gr.Row(elem_classes="bar"):
            self.go = gr.Button("Look inside", variant="primary", elem_id="look-go", elem_classes=["go", runs.NEEDLESS])
            self.halt = gr.Button("Stop", variant="stop", elem_id="look-stop", elem_classes="halt", visible=runs.HIDDEN)
            self.offer = Offer(self.looker.hub, self.go, "look-", "Look inside", ", then look inside")
        self.price_words = gr.HTML(elem_id="look-price")
        self.settings = gr.HTML(elem_id="look-settings")
        self.combination = gr.Dropdown(list(COMBINATIONS), value=MEAN, label="Combine heads", elem_id="look-way")
        self.layer = moving_slider(0, 3, 0, label="Layer", elem_id="look-layer")
        self.head = moving_slider(0, 3, 0, label="Head", elem_id="look-head")
        self.some = gr.Dropdown([], label="Heads to average", multiselect=True, elem_id="look-some", visible=False)
        self.target = gr.Dropdown([], label="Class to explain", elem_id="look-target", visible=False)
        self.query = gr.Dropdown([PATCH], value=PATCH, label="Query", elem_id="look-query")
        self.frame = moving_slider(1, 16, 1, label="Frame", elem_id="look-frame", visible=False)
        self.step = moving_slider(1, 25, 25, label="Step, 1 is pure noise", elem_id="look-step", visible=False)
        self.free = gr.Checkbox(False, label="Without the class (null label)", elem_id="look-free", visible=False)

    def _build_result(self) -> None:
        with gr.Column(elem_id="look-view", elem_classes="first"):
            self.note = gr.HTML(elem_id="look-note")
            self.offer.build_text([self.model], {self.model: lambda: model_choices(self.looker)})
            with gr.Row(elem_classes="pair"):
                plain = {"show_label": False, "interactive": False, "buttons": ["download"], "format": "png", "min_width": 120}
                self.picture = gr.Image(**plain, container=False, elem_id="look-picture")
                self.heat = gr.Image(**plain, container=False, elem_id="look-heat")
            self.caption = gr.HTML(elem_id="look-caption")
        self.predictions = gr.HTML(elem_id="look-predictions")
        self.second = gr.HTML(elem_id="look-second")
        self.strip = gr.HTML(elem_id="look-strip")
        with gr.Accordion("All layers and heads", open=True, elem_id="look-sheet-part") as self.sheet_part:
            self.sheet = gr.HTML(elem_id="look-sheet")
        with gr.Accordion("From picture to tokens", open=True, elem_id="look-tokens-part") as self.tokens_part:
            with gr.Column(elem_id="look-stages"):
                self.tokens = gr.HTML(elem_id="look-tokens")
                self.position = gr.HTML(elem_id="look-position")
                self.entering = gr.HTML(elem_id="look-entering")
            self.patch = moving_slider(2, 32, 8, label="Try another patch size", elem_id="look-patch")
            self.cost = gr.HTML(elem_id="look-cost")
        with gr.Accordion("Layer by layer", open=True) as self.plots_part:
            self.plots = gr.HTML(elem_id="look-plots")
        with gr.Accordion("Over the steps", open=True, elem_id="look-steps-part", visible=False) as self.steps_part:
            self.through = gr.Button("Show this view at up to 8 steps", size="sm", elem_id="look-through")
            self.forming = gr.HTML(elem_id="look-forming")
        with gr.Accordion("Long skip connections", open=True, elem_id="look-skips-part", visible=False) as self.skips_part:
            with gr.Row():
                self.skip = moving_slider(0, 2, 0, label="Skip connection, 0 is the innermost", elem_id="look-skip")
                self.factor = gr.Slider(0, 2, 0, step=0.1, label="Scale of this skip", elem_id="look-factor", buttons=[])
            self.carried = gr.HTML(elem_id="look-carried")
        with gr.Row(elem_classes="actions"):
            self.pack = gr.Button("Arrays (.npz)", size="sm", elem_id="look-pack")
            self.link = gr.Button("Copy link", size="sm", elem_id="look-link")
        self.file = gr.File(visible=False, show_label=False, elem_id="look-file")
