"""The controls of a request: model, class or prompt, seeds, steps, solver, guidance; shared by every tab that generates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.engine.request import MAX_PROMPT, Request, short, solvers_of
from zoo.errors import RequestError, ZooError
from zoo.sampling import takes_eta
from zoo.ui.parts import controls, cost, markup
from zoo.ui.parts.class_list import class_list
from zoo.ui.parts.model_dropdown import model_dropdown

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub
    from zoo.ui.parts.download import Offer

OWN = "model default"
HELP = {
    "model": "The network that removes the noise: its family, size of its file, and licence.",
    "label": "Class condition y: what the picture shall show. Type to search.",
    "prompt": "Text condition: what the picture or video shall show, in one sentence.",
    "negative": "Negative prompt: it stands in for the unconditional output, which guidance leads away from.",
    "count": "Image k starts from the noise of seed + k: the same alone and in any batch.",
    "frames": "Number of frames; a model was trained on one number, others interpolate its frame table.",
    "fps": "Frames per second at which the video plays; the frames stay the same.",
    "seed": "Decides the noise x_T that sampling starts from; empty draws one.",
    "dice": "Write a random seed into the box.",
    "reuse": "Write the seed of the last run into the box.",
    "steps": "Sampling steps, each one evaluation of the network: dpm-solver++ needs about 20, ddim 50; DiT's paper uses ddpm with 250.",
    "solver": "How the sampler steps from noise to the picture: ddpm is the papers' sampler, dpm-solver++ the fastest.",
    "guidance": "Classifier-free guidance w: eps = uncond + w (cond - uncond); 1 is off and halves the work.",
    "interval-low": "Guidance is on from this share of noise, sigma / (alpha + sigma): 0 is the clean picture.",
    "interval-high": "Guidance is on up to this share of noise: below 1 the first steps run without it, which keeps samples diverse.",
    "preset": "Solver, steps and guidance of a published protocol, or of the model's card.",
    "eta": "DDIM eta: 0 is deterministic, 1 adds as much fresh noise at each step as DDPM.",
    "faster": "Writes fewer steps, and a solver that needs no more, into the controls: the model's preset `fast`, or the usual ones.",
    "vae": "The autoencoder that decodes latents to pixels: another one of the same shape changes fine detail.",
}
"""One sentence a control, by the end of its element id."""


NUMBERS = ("count", "steps", "guidance", "eta", "frames", "fps")
INTERVAL = ("interval_low", "interval_high")
"""Words of an address that are numbers; the noise shares between which guidance is on."""


class Settings:
    """The components, in the order that they stand, and what they show for a card, a preset or a request."""

    offer: Offer
    """What the button of the tab offers while a model is not downloaded; the tab builds it beside that button."""

    def __init__(self, hub: Hub, video: bool = False) -> None:
        self.hub, self.video = hub, video
        prefix = "video-" if video else ""
        card = controls.first_generator(hub, video)
        values = self._of(card, None)
        self.selection = gr.State((card.id, OWN))
        self.model = model_dropdown(controls.model_choices(hub, video), value=card.id, label="Model", elem_id=f"{prefix}model")
        self.label = gr.Dropdown(**values["label"], label="Class", elem_id=f"{prefix}label")
        self.prompt = gr.Textbox(**values["prompt"], label="Prompt", lines=2, max_length=MAX_PROMPT, elem_id=f"{prefix}prompt")
        self.negative = gr.Textbox(
            **values["negative"], label="Negative prompt", max_lines=1, max_length=MAX_PROMPT, elem_id=f"{prefix}negative",
            placeholder="what guidance leads away from",
        )  # fmt: skip
        self.count = gr.Slider(1, 16, 1 if video else 4, step=1, label="Images", elem_id=f"{prefix}count", buttons=[], visible=not video)
        with gr.Row(visible=video):
            self.frames = gr.Number(**values["frames"], precision=0, label="Frames", elem_id=f"{prefix}frames", min_width=100)
            self.fps = gr.Number(8, precision=0, label="Frames/s", elem_id=f"{prefix}fps", min_width=100)
        with gr.Row(elem_classes="seed"):
            self.seed = gr.Textbox("", label="Seed", placeholder="random", elem_id=f"{prefix}seed", min_width=120, max_lines=1)
            self.dice = gr.Button("Random", elem_id=f"{prefix}dice", size="sm", min_width=60)
            self.reuse = gr.Button("Reuse last", elem_id=f"{prefix}reuse", size="sm", min_width=60)
        self.steps = gr.Number(**values["steps"], precision=0, label="Steps", elem_id=f"{prefix}steps")
        self.solver = gr.Dropdown(**values["solver"], label="Solver", elem_id=f"{prefix}solver")
        self.guidance = gr.Slider(1, 10, **values["guidance"], step=0.1, label="Guidance w", elem_id=f"{prefix}guidance", buttons=[])

    def build_more(self) -> None:
        """Put the rarer controls here: presets, eta, the interval of guidance, autoencoder, and what the words mean."""
        prefix = "video-" if self.video else ""
        values = self._of(controls.first_generator(self.hub, self.video), None)
        self.preset = gr.Dropdown(**values["preset"], label="Preset", elem_id=f"{prefix}preset")
        self.eta = gr.Slider(0, 1, **values["eta"], step=0.05, label="DDIM eta", elem_id=f"{prefix}eta", buttons=[])
        with gr.Row():
            low, high = values["interval_low"], values["interval_high"]
            self.interval_low = gr.Slider(0, 1, **low, step=0.005, label="Guided from noise", elem_id=f"{prefix}interval-low", buttons=[])
            self.interval_high = gr.Slider(0, 1, **high, step=0.005, label="Guided to noise", elem_id=f"{prefix}interval-high", buttons=[])
        # a value that a change of model has just taken away may still arrive: the request says so, not gradio
        self.vae = gr.Dropdown(**values["vae"], label="Autoencoder", elem_id=f"{prefix}vae", allow_custom_value=True)

    @property
    def inputs(self) -> list[Any]:
        """The components whose values `request` takes."""
        return [
            self.model, self.label, self.prompt, self.negative, self.count, self.seed, self.steps, self.solver, self.guidance, self.eta,
            self.vae, self.frames, self.fps, self.interval_low, self.interval_high,
        ]  # fmt: skip

    @property
    def outputs(self) -> list[Any]:
        """The components that `choose` and `updates_for` set."""
        return [*self.inputs, self.preset, self.selection]

    def request(
        self, model, label, prompt, negative, count, seed, steps, solver, guidance, eta, vae, frames, fps, low, high
    ) -> tuple[Card, Request]:
        """The card and the checked request of these values. Raises RequestError."""
        card = self.hub.card(model)
        words = {"eta": eta if takes_eta(solver) else 0, "vae": vae or None, "negative_prompt": negative if card.text else ""} | (
            {"frames": frames, "fps": fps} if self.video else {}
        )
        if card.guidable and (low, high) != (card.guidance.interval or (0, 1)):
            words["interval"] = (low, high)
        return card, controls.make_request(card, prompt if card.text else label, count, seed, steps, solver, guidance, **words)

    def choose(self, model: str, preset: str | None = None) -> dict:
        """What the controls show for a model and one of its presets, None for its own defaults."""
        values = self._of(self.hub.card(model), None if preset == OWN else preset)
        return {getattr(self, name): gr.update(**words) for name, words in values.items()} | {self.selection: (model, preset or OWN)}

    def choose_anew(self, model: str, preset: str, selection: tuple[str, str]) -> tuple[str, dict]:
        """What to say and show once another model, or another preset of it, was chosen; nothing where it is the one that stands there."""
        if (model, preset) == tuple(selection):
            return "", {}
        title = self.hub.card(model).title
        if model != selection[0]:
            return f"Class, steps, solver and guidance are now {title}'s own defaults.", self.choose(model)
        words = f"{title}'s own defaults" if preset == OWN else f"those of the preset {preset}"
        updates = self.choose(model, preset)
        unchanged = {self.label, self.prompt}
        return f"Steps, solver and guidance are now {words}.", {part: new for part, new in updates.items() if part not in unchanged}

    @staticmethod
    def eta_for(solver: str) -> Any:
        """Eta stands where the solver has it."""
        return gr.update(visible=takes_eta(solver))

    @staticmethod
    def place(receipt: dict, request: Request) -> int:
        """Which of the results of a request a receipt is of. Raises RequestError where there is none such."""
        place = receipt.get("index")
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(request.seeds):
            raise RequestError("The receipt in this file names an image that its request does not have: drop the original file.")
        return place

    def updates_for(self, request: Request, place: int) -> dict:
        """What the controls show for picture `place` of a resolved request."""
        card = self.hub.card(request.model)
        first, count = controls.seed_range(request) or (request.seeds[place], 1)
        updates = self.choose(card.id) | {
            self.model: card.id, self.count: count, self.seed: str(first), self.guidance: request.guidance,
            self.eta: gr.update(value=request.eta, visible=takes_eta(request.solver)),
            self.frames: request.frames, self.fps: request.fps,
            self.steps: request.steps,
            self.solver: gr.update(choices=list(dict.fromkeys([*solvers_of(card), request.solver])), value=request.solver),
        }  # fmt: skip
        low, high = request.interval or (0, 1)
        updates |= {self.interval_low: gr.update(value=low), self.interval_high: gr.update(value=high)} if card.guidable else {}
        if request.labels:
            updates[self.label] = gr.update(**class_list(card), value=request.labels[place])
        if request.vae:
            updates[self.vae] = gr.update(choices=autoencoders(self.hub, card), value=request.vae)
        prompts = {self.prompt: request.prompt, self.negative: request.negative_prompt} if card.text else {}
        return updates | {box: gr.update(value=prompt, visible=True) for box, prompt in prompts.items()}

    def addressed(self, words: Mapping[str, str]) -> dict:
        """What the controls show for the words of an address, those of the API. Raises RequestError that names the wrong one."""
        names = (
            "model",
            "label",
            "prompt",
            "negative_prompt",
            "count",
            "seed",
            "steps",
            "solver",
            "guidance",
            "eta",
            "vae",
            "frames",
            "fps",
            "interval_low",
            "interval_high",
        )
        if unknown := sorted(words.keys() - set(names)):
            raise RequestError(f"This address has the unknown word {short(unknown[0])}: it may have tab, {', '.join(names)}.")
        card = self.hub.card(words.get("model", controls.first_generator(self.hub, self.video).id))
        if not card.generates or card.video != self.video:
            raise RequestError(
                f"{card.id} makes no {'videos' if self.video else 'pictures'}: leave tab out of the address, or choose its own."
            )
        numbers = {name: _number(name, words[name]) for name in (*NUMBERS, *INTERVAL) if name in words}
        subject = words.get("prompt", "a prompt") if card.text else words.get("label", 0)
        subject_values = (card, subject, numbers.get("count", 1 if self.video else 4), words.get("seed", ""))
        more = {name: numbers[name] for name in ("eta", "frames", "fps") if name in numbers}
        more |= {"vae": words.get("vae"), "negative_prompt": words.get("negative_prompt", "") if card.text else ""}
        if numbers.keys() & set(INTERVAL):
            own = dict(zip(INTERVAL, card.guidance.interval or (0.0, 1.0), strict=True))
            more["interval"] = tuple((own | numbers)[name] for name in INTERVAL)
        request = controls.make_request(*subject_values, numbers.get("steps"), words.get("solver"), numbers.get("guidance"), **more)
        return self.updates_for(request, 0) | {
            self.seed: words.get("seed", ""),
            self.prompt: gr.update(value=words.get("prompt", ""), visible=bool(card.text)),
        }

    def cards_for(self, *values: Any) -> list[Card]:
        """The models that a run of these values needs. Raises RequestError."""
        card, request = self.request(*values)
        return self._cards_for(card, request.vae)

    def _cards_for(self, card: Card, vae: str | None) -> list[Card]:
        return [card, *(self.hub.card(part) for part in ((vae or card.latent.vae) if card.latent else None, card.text) if part)]

    def build_cost(self) -> None:
        """Put here what says what a run will cost, and offers a faster one."""
        prefix = "video-" if self.video else ""
        self.cost = gr.HTML(elem_id=f"{prefix}cost")
        self.faster = gr.Button("Take fewer steps", size="sm", elem_id=f"{prefix}faster", visible=False)

    def hasten(self, model: str) -> dict:
        """Solver and steps of a model's fast preset; what else was chosen stays."""
        solver, steps = cost.fast(self.hub.card(model))
        return {self.solver: solver, self.steps: steps, self.eta: gr.update(value=0, visible=takes_eta(solver))}

    def price(self, model, count, frames, steps, solver, guidance, vae) -> tuple[str, Any, Any, Any]:
        """Say beforehand what a run will cost, or what is not downloaded, here and on the button, and offer a faster one; the timer ticks
        until that is known."""
        try:
            card = self.hub.card(model)
            cards = self._cards_for(card, vae)
            label = self.offer.label(cards)
            if words := self.offer.downloads.words(cards):
                return markup.note(words), gr.update(active=False), label, gr.update(visible=False)
            subject, guidance = "a" if card.text else 0, guidance if card.guidable else 1
            request = controls.make_request(card, subject, count, 0, steps, solver, guidance, frames=frames)
            words, faster, timer = cost.answer(self.hub, [request], request.rounded(int(steps)))
            return words, timer, cost.on_button(self.hub, [request], label), faster
        except ZooError as error:
            return markup.note(str(error), "error"), gr.skip(), gr.skip(), gr.update(visible=False)

    def _of(self, card: Card, preset: str | None) -> dict[str, dict[str, Any]]:
        defaults = card.preset(preset) if preset else card.sampling
        guidance = getattr(defaults, "guidance", None) or card.guidance.default
        vae = getattr(defaults, "vae", None) or (card.latent.vae if card.latent else None)
        others = autoencoders(self.hub, card)
        low, high = getattr(defaults, "interval", None) or card.guidance.interval or (0, 1)
        return {
            "label": class_list(card) | {"value": 0 if card.label_names else None},
            "prompt": {"visible": bool(card.text)},
            "negative": {"visible": bool(card.text)},
            "steps": {"value": defaults.steps},
            "solver": {"choices": list(solvers_of(card)), "value": defaults.solver},
            "guidance": {"value": guidance, "visible": card.guidable},
            "frames": {"value": card.arch.get("num_frames", 1)},
            "eta": {"value": 0, "visible": takes_eta(defaults.solver)},
            "interval_low": {"value": low, "visible": card.guidable},
            "interval_high": {"value": high, "visible": card.guidable},
            "preset": {"choices": [OWN, *card.presets], "value": preset or OWN, "visible": True},
            "vae": {"choices": others, "value": vae, "visible": len(others) > 1},
        }


def _number(name: str, text: str) -> float:
    """A number of an address. Raises RequestError."""
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"{name} must be a number, not {short(text)}.") from None


def autoencoders(hub: Hub, card: Card) -> list[str]:
    """Ids of the autoencoders that decode the latents of a model."""
    return [other.id for other in hub.reachable.values() if hub.decodes(other, card)] if card.latent else []
