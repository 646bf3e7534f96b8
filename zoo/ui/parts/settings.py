"""The controls of a request: model, class or prompt, seeds, steps, solver, guidance; shared by every tab that generates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.engine.request import MAX_PROMPT, SOLVERS, Request
from zoo.errors import RequestError, ZooError
from zoo.ui.parts import controls, markup

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub

OWN = "this model's own"
HELP = """<dl class="help"><dt>Guidance w</dt><dd>eps = uncond + w (cond - uncond); 1 is off and halves the work.</dd>
<dt>Steps</dt><dd>Evaluations of the network from noise to picture.</dd>
<dt>Solver</dt><dd>dpm-solver++ needs about 20 steps, ddim 50; published are ddpm with 250, euler-maruyama with 1000.</dd>
<dt>Seed</dt><dd>Image k starts from seed + k: the same alone and in any batch.</dd>
<dt>Keys</dt><dd>Enter generates, Escape stops.</dd></dl>"""


class Settings:
    """The components, in the order that they stand, and what they show for a card, a preset or a request."""

    def __init__(self, hub: Hub, video: bool = False) -> None:
        self.hub, self.video = hub, video
        prefix = "video-" if video else ""
        card = controls.first_generator(hub, video)
        shown = self._of(card, None)
        self.model = gr.Dropdown(controls.model_choices(hub, video), value=card.id, label="Model", elem_id=f"{prefix}model")
        self.label = gr.Dropdown(**shown["label"], label="Class (type to search)", elem_id=f"{prefix}label")
        self.prompt = gr.Textbox(**shown["prompt"], label="Prompt", lines=2, max_length=MAX_PROMPT, elem_id=f"{prefix}prompt")
        self.negative = gr.Textbox(
            **shown["negative"], label="Negative prompt", max_lines=1, max_length=MAX_PROMPT, elem_id=f"{prefix}negative",
            placeholder="what guidance leads away from",
        )  # fmt: skip
        self.count = gr.Slider(1, 16, 1 if video else 4, step=1, label="Images", elem_id=f"{prefix}count", buttons=[], visible=not video)
        with gr.Row(visible=video):
            self.frames = gr.Number(**shown["frames"], precision=0, label="Frames", elem_id=f"{prefix}frames", min_width=100)
            self.fps = gr.Number(8, precision=0, label="fps", elem_id=f"{prefix}fps", min_width=100)
        with gr.Row(elem_classes="seed"):
            self.seed = gr.Textbox("", label="Seed", placeholder="random", elem_id=f"{prefix}seed", min_width=120, max_lines=1)
            self.dice = gr.Button("Dice", elem_id=f"{prefix}dice", size="sm", min_width=60)
            self.reuse = gr.Button("Reuse last", elem_id=f"{prefix}reuse", size="sm", min_width=60)
        self.steps = gr.Number(**shown["steps"], precision=0, label="Steps", elem_id=f"{prefix}steps")
        self.solver = gr.Dropdown(**shown["solver"], label="Solver", elem_id=f"{prefix}solver")
        self.guidance = gr.Slider(1, 10, **shown["guidance"], step=0.1, label="Guidance w", elem_id=f"{prefix}guidance", buttons=[])

    def build_more(self) -> None:
        """Put the rarer controls here: presets, eta, autoencoder, and what the words mean."""
        prefix = "video-" if self.video else ""
        shown = self._of(controls.first_generator(self.hub, self.video), None)
        self.preset = gr.Dropdown(**shown["preset"], label="Preset", elem_id=f"{prefix}preset")
        self.eta = gr.Slider(
            0, 1, 0, step=0.05, label="Eta", elem_id=f"{prefix}eta", info="Noise that ddim adds at each step; 1 is like ddpm."
        )
        # a value that a change of model has just taken away may still arrive: the request says so, not gradio
        self.vae = gr.Dropdown(**shown["vae"], label="Autoencoder", elem_id=f"{prefix}vae", allow_custom_value=True)
        gr.HTML(HELP)

    @property
    def asked(self) -> list[Any]:
        """The components whose values `request` takes."""
        return [
            self.model, self.label, self.prompt, self.negative, self.count, self.seed, self.steps, self.solver, self.guidance, self.eta,
            self.vae, self.frames, self.fps,
        ]  # fmt: skip

    @property
    def shown(self) -> list[Any]:
        """The components that `choose` and `restored` set."""
        return [*self.asked, self.preset]

    def request(self, model, label, prompt, negative, count, seed, steps, solver, guidance, eta, vae, frames, fps) -> tuple[Card, Request]:
        """The card and the checked request of these values. Raises RequestError."""
        card = self.hub.card(model)
        words = {"eta": eta, "vae": vae or None, "negative_prompt": negative if card.text else ""} | (
            {"frames": frames, "fps": fps} if self.video else {}
        )
        return card, controls.make_request(card, prompt if card.text else label, count, seed, steps, solver, guidance, **words)

    def choose(self, model: str, preset: str | None = None) -> dict:
        """What the controls show for a model and one of its presets, None for its own defaults."""
        shown = self._of(self.hub.card(model), None if preset == OWN else preset)
        return {getattr(self, name): gr.update(**words) for name, words in shown.items()} | {self.eta: 0}

    @staticmethod
    def place(receipt: dict, request: Request) -> int:
        """Which of the results of a request a receipt is of. Raises RequestError where there is none such."""
        place = receipt.get("index")
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(request.seeds):
            raise RequestError("The receipt in this file names an image that its request does not have: drop the original file.")
        return place

    def restored(self, request: Request, place: int) -> dict:
        """What the controls show for picture `place` of a resolved request."""
        card = self.hub.card(request.model)
        first, count = controls.repeated(request) or (request.seeds[place], 1)
        shown = self.choose(card.id) | {
            self.model: card.id, self.count: count, self.seed: str(first), self.guidance: request.guidance, self.eta: request.eta,
            self.frames: request.frames, self.fps: request.fps,
            self.steps: request.steps,
            self.solver: gr.update(choices=list(dict.fromkeys([*SOLVERS, request.solver])), value=request.solver),
        }  # fmt: skip
        if request.labels:
            shown[self.label] = gr.update(choices=labels(card), value=request.labels[place], visible=True)
        if request.vae:
            shown[self.vae] = gr.update(choices=autoencoders(self.hub, card), value=request.vae)
        prompts = {self.prompt: request.prompt, self.negative: request.negative_prompt} if card.text else {}
        return shown | {box: gr.update(value=prompt, visible=True) for box, prompt in prompts.items()}

    def price(self, model, count, frames, steps, solver, guidance, vae) -> tuple[str, Any]:
        """Say beforehand what a run will cost, or what for it is not here; the timer ticks until that is known."""
        idle = gr.Timer(active=False)
        try:
            card = self.hub.card(model)
            parts = [*self.hub.parts(card), *([self.hub.card(vae)] if vae and card.latent else [])]
            if words := controls.missing(self.hub, parts):
                return markup.note(words), idle
            subject, guidance = "a" if card.text else 0, guidance if card.guidable else 1
            seconds = self.hub.seconds(controls.make_request(card, subject, count, 0, steps, solver, guidance, frames=frames))
        except ZooError as error:
            return markup.note(str(error), "error"), gr.skip()
        if seconds is None and self.hub.prepare(card.id):
            return markup.note("measuring how fast this machine is ..."), gr.Timer(active=True)
        known = (
            f"about {controls.duration(seconds)} here, from measured steps" if seconds else "what a run costs is known after the first one"
        )
        return markup.note(known), idle

    def _of(self, card: Card, preset: str | None) -> dict[str, dict[str, Any]]:
        wanted = card.preset(preset) if preset else card.sampling
        guidance = getattr(wanted, "guidance", None) or card.guidance.default
        vae = getattr(wanted, "vae", None) or (card.latent.vae if card.latent else None)
        others = autoencoders(self.hub, card)
        return {
            "label": {"choices": labels(card), "value": 0 if card.label_names else None, "visible": bool(card.label_names)},
            "prompt": {"visible": bool(card.text)},
            "negative": {"visible": bool(card.text)},
            "steps": {"value": wanted.steps},
            "solver": {"choices": list(SOLVERS), "value": wanted.solver},
            "guidance": {"value": guidance, "visible": card.guidable},
            "frames": {"value": card.arch.get("num_frames", 1)},
            "preset": {"choices": [OWN, *card.presets], "value": preset or OWN, "visible": True},
            "vae": {"choices": others, "value": vae, "visible": len(others) > 1},
        }


def autoencoders(hub: Hub, card: Card) -> list[str]:
    """Ids of the autoencoders that decode the latents of a model."""
    return [other.id for other in hub.cards.values() if hub.decodes(other, card)] if card.latent else []


def labels(card: Card) -> list[tuple[str, int]]:
    """(name, index) of every class."""
    return [(name, index) for index, name in enumerate(card.label_names)]
