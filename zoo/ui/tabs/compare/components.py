"""The components of the side-by-side view: the settings of each column, the columns, and what is laid under them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.catalog.card import Card
from zoo.compare import compare
from zoo.engine.request import MAX_IMAGES, solvers_of
from zoo.sampling import takes_eta
from zoo.ui.parts import controls, markup, runs
from zoo.ui.parts.class_list import class_list
from zoo.ui.parts.download import Offer
from zoo.ui.parts.model_dropdown import model_dropdown
from zoo.ui.parts.moving_slider import MOVING, moving_slider
from zoo.ui.parts.settings import autoencoders
from zoo.ui.tabs.compare.columns_html import PICKING

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

COLUMNS = 4
"""That stand side by side on the page."""
STATE_SECONDS = 7200
"""For which a visitor's comparison is held in memory after it was last touched."""
EMPTY = '<div class="frame empty"><p>Nothing compared yet. Choose two settings and press Compare.</p></div>'
LOCKSTEP = (
    '<button type="button">Pause</button><label>Frame <input type="range" min="0" max="15" value="0" aria-label="frame of all videos">'
    "</label> <output></output>"
)
AT_THE_END = "Equal noise in all columns: the results"
ETA = "DDIM eta: 0 deterministic, 1 like DDPM"

HELP: dict[str, str] = {
    "compare-link": "Copy an address that opens this page with the settings of these columns.",
    "compare-label": "The class y that every column draws, matched by its name; or every class in turn, one a sample.",
    "compare-prompt": "The text that every column draws.",
    "compare-count": "Samples of each column: sample k starts from the noise of seed + k, the same in every column.",
    "compare-seed": "Seed of the first sample; the same seed is the same noise x_T in every column. Empty draws one.",
    "compare-number": "How many settings stand side by side.",
    "compare-blind": "Hides which column is which, and shuffles them, until you have chosen: a blind preference test.",
    "compare-go": "Runs all columns on the same noise, a step of each in turn.",
    "compare-faster": "Writes fewer steps, and a solver that needs no more, into every column: each model's preset `fast`, or the usual.",
    "compare-stop": "Ends the run within one step and keeps what is there.",
    "compare-noise": "Shows the clean prediction x0 of every column where its sample was equally noisy, not at the equal step.",
    "lockstep": "One clock for the videos of all columns: pause it, or drag to a frame.",
    "compare-choice": "Your blind choice; the Votes tab counts how often each setting is preferred.",
    "compare-more": "Adds as many samples again to every column, of the seeds that follow.",
    "compare-report": "Makes an HTML page with all samples and tables, and the same as JSON.",
    "compare-left": "The column on the left of the line to drag.",
    "compare-right": "The column on the right of the line to drag.",
    "compare-which": "Which sample of both columns is shown; clicking a sample chooses it, too.",
    "compare-frame": "Which frame of both videos is shown.",
    "compare-slider": "The same sample of two columns: drag the line to see one or the other.",
    "compare-open": "Puts the settings of the left sample on the tab that made it.",
    "compare-inside": "Shows where the model of the left sample looks.",
}
HELP |= {
    f"compare-{word}-{name}": f"Column {name}: {text}"
    for name in compare.names(COLUMNS)
    for word, text in {
        "model": "the network that denoises.",
        "steps": "network evaluations from noise to sample (NFE).",
        "guidance": "w of eps = uncond + w (cond - uncond); 1 is off and halves the work.",
        "solver": "how the reverse process is integrated; dpm-solver++ needs about 20 steps, ddim 50, ddpm 250.",
        "eta": "share of fresh noise in each DDIM step, from 0, deterministic, to 1, as in DDPM.",
        "vae": "the autoencoder that turns latents into pixels.",
    }.items()
}


class CompareComponents(runs.RunButtons):
    """The components of the side-by-side view."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.comparison, self.path = gr.State(None, time_to_live=STATE_SECONDS), gr.State("")
        self.detail_shown = gr.State([])
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                self._build_controls()
            with gr.Column(elem_classes="result"):
                self._build_result()

    def _build_controls(self) -> None:
        first = controls.first_generator(self.hub)
        rivals = [card for card in controls.makers(self.hub, False) if self.hub.local(card)] or [first]
        self.label = gr.Dropdown(
            **classes(first), value=0 if first.label_names else None, label="Class for all columns (type to search)",
            elem_id="compare-label",
        )  # fmt: skip
        self.prompt = gr.Textbox(label="Prompt for all columns", visible=bool(first.text), elem_id="compare-prompt")
        with gr.Row(elem_classes="pairs"):
            self.count = gr.Number(4, precision=0, label="Samples", elem_id="compare-count", min_width=90)
            self.seed = gr.Textbox("0", label="First seed", placeholder="random", max_lines=1, elem_id="compare-seed", min_width=90)
        self.other_settings, self.other_settings_note = gr.State({}), gr.HTML(visible=False, elem_id="compare-also")
        self.number = gr.Radio([2, 3, 4], value=2, label="Columns", elem_id="compare-number")
        self.settings, self.chosen = [], []
        for k, name in enumerate(compare.names(COLUMNS)):
            card = rivals[k % len(rivals)]
            solver = card.sampling.solver if k < len(rivals) else _other_solver(card)  # a different setting, where models run out
            self._build_setting(name, card, solver, f"setting-{k + 1}")
        self.blind = gr.Checkbox(False, label="Blind test: hide names and shuffle columns until you choose", elem_id="compare-blind")
        self.cost = gr.HTML(elem_id="compare-cost")
        self.faster = gr.Button("Take fewer steps", size="sm", elem_id="compare-faster", visible=False)
        self.timer = gr.Timer(2, active=False)
        with gr.Row(elem_classes=["bar", "at-hand"]):
            self.go = gr.Button("Compare", variant="primary", elem_id="compare-go", elem_classes="go")
            self.halt = gr.Button("Stop", variant="stop", elem_id="compare-stop", elem_classes="halt", visible=runs.HIDDEN)
            self.download = Offer(self.hub, self.go, "compare-", "Compare", ", then compare")

    def _build_setting(self, name: str, card: Card, solver: str, place: str) -> None:
        with gr.Group(elem_classes=["setting", place]):  # seen as page.css says, by the number of columns that is chosen
            model = model_dropdown(choices(self.hub), value=card.id, label=f"{name}: model", elem_id=f"compare-model-{name}")
            with gr.Row(elem_classes="pairs"):
                steps = gr.Number(card.sampling.steps, precision=0, label="Steps", elem_id=f"compare-steps-{name}", min_width=70)
                guidance = gr.Number(
                    card.guidance.default, label="Guidance", elem_id=f"compare-guidance-{name}", min_width=70, visible=card.guidable
                )
            solvers = gr.Dropdown(
                list(solvers_of(card)), value=solver, label="Solver", elem_id=f"compare-solver-{name}", allow_custom_value=True
            )
            with gr.Row(elem_classes="pairs"):
                eta = gr.Number(0, label=ETA, elem_id=f"compare-eta-{name}", min_width=70, visible=takes_eta(solver))
            others, own = autoencoders(self.hub, card), card.latent and card.latent.vae
            vae = gr.Dropdown(
                others, value=own, label="Autoencoder", elem_id=f"compare-vae-{name}", visible=len(others) > 1, allow_custom_value=True
            )
        self.settings.append((model, steps, solvers, guidance, eta, vae))
        self.chosen.append(gr.State(card.id))

    def _build_result(self) -> None:
        self.note = gr.HTML(elem_id="compare-note", elem_classes="first")
        self.download.build_text(lists={setting[0]: lambda: choices(self.hub) for setting in self.settings})
        with gr.Row(elem_id="compare-columns", elem_classes="first"):
            self.cells = [
                gr.HTML(EMPTY if k == 0 else "", js_on_load=PICKING, visible=k == 0, elem_classes="column") for k in range(COLUMNS)
            ]
        gr.HTML(LOCKSTEP, elem_id="lockstep", elem_classes="first")
        self.noise = gr.Slider(
            0, 100, 100, step=1, label=AT_THE_END, elem_id="compare-noise", elem_classes="first", buttons=[], visible=False
        )
        self.choice = gr.Radio([], label="Which is better?", visible=False, elem_id="compare-choice", elem_classes="first")
        with gr.Column(visible=False) as self.details:
            with gr.Row(elem_classes="actions"):
                self.again = gr.Button(more_samples(4), size="sm", elem_id="compare-more")
                self.report = gr.Button("Report (HTML, JSON)", size="sm", elem_id="compare-report")
                self.link = gr.Button("Copy link", size="sm", elem_id="compare-link")
            self.files = gr.File(show_label=False, file_count="multiple", elem_id="compare-saved", elem_classes=runs.NEEDLESS)
            self.table = gr.HTML(elem_id="compare-table")
            with gr.Accordion("Compare two samples in detail", open=True):
                with gr.Row():
                    self.left = gr.Dropdown(["A", "B"], value="A", label="Left", elem_id="compare-left", min_width=80)
                    self.right = gr.Dropdown(["A", "B"], value="B", label="Right", elem_id="compare-right", min_width=80)
                    self.which = moving_slider(1, MAX_IMAGES, 1, label="Sample (or click one)", elem_id="compare-which")
                    self.frame = moving_slider(1, 16, 1, label="Frame", elem_id="compare-frame", elem_classes=[MOVING, runs.NEEDLESS])
                with gr.Row(elem_classes="pair"):
                    self.slider = gr.ImageSlider(
                        label="Drag the line", elem_id="compare-slider", interactive=False, max_height=420, buttons=[]
                    )
                    self.difference = gr.HTML(elem_id="compare-difference", min_width=280)
                with gr.Row(elem_classes="actions"):
                    self.open = gr.Button("Open the left sample on its tab", size="sm", elem_id="compare-open")
                    self.inside = gr.Button("Look inside the left sample", size="sm", elem_id="compare-inside")
            with gr.Accordion("Architectures", open=False):
                self.architectures = gr.HTML(elem_id="compare-architectures")

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence over the columns."""
        return {self.note: markup.note(text, kind)}


def more_samples(count: int) -> str:
    """What the button that adds samples says."""
    return f"Add {count} more sample{'s' if count > 1 else ''}"


def _other_solver(card: Card) -> str:
    """A solver that a model can be compared with itself by."""
    names = [name for name in solvers_of(card) if name != card.sampling.solver]
    return "ddim" if "ddim" in names else names[0]


def choices(hub: Hub) -> list[tuple[str, str]]:
    """Every generator, those of pictures first."""
    return controls.model_choices(hub) + controls.model_choices(hub, True)


def classes(card: Card) -> dict[str, Any]:
    """Arguments of the list of classes, with all of them in turn as its last choice."""
    words = class_list(card)
    return words | {"choices": [*words["choices"], ("every class in turn", compare.EACH)] if card.label_names else []}
