"""Add a model: a checkpoint of the visitor's own is read, what its weights do not tell is asked once, and it stands in every list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from zoo.catalog import folders
from zoo.catalog.architectures import Architecture
from zoo.catalog.card import GENERATORS, TASKS, Card
from zoo.catalog.labels import names_in
from zoo.catalog.own_cards import NUMBERS, Answers, decoders, questions
from zoo.catalog.weight_choice import is_averaged
from zoo.engine.own_models import Recognised, adopt, look
from zoo.engine.turn import current_job
from zoo.errors import CancelledError, RequestError
from zoo.ui.parts import markup, runs
from zoo.ui.parts.download import Downloads
from zoo.ui.parts.runs import PRIVATE

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

HELP = {
    "add-path": "Where the checkpoint lies on the machine on which Patchwork runs; it is copied from there.",
    "add-read": "Find out which network the file holds; nothing is added yet, and nothing in it is executed.",
    "add-bring": "For a small checkpoint; a larger one is read from its path.",
    "add-name": "How the model is called in the lists.",
    "add-weights": "Which of several sets of weights in the file; averaged ones usually make the better pictures.",
    "add-like": "The model that tells what weights do not: its schedule, its autoencoder and how pictures are prepared.",
    "add-heads": "Attention heads, which no weight tells: the usual number stands here; with a wrong one a model makes noise.",
    "add-size": "Pixels to a side of the pictures that it was trained on, or of their latents.",
    "add-schedule": "How the noise grows with the time in its training; numbers may follow, between commas.",
    "add-vae": "What turns its latents into pictures.",
    "add-scale": "The factor from the autoencoder's latents to those that it was trained on.",
    "add-labels": "One name a line, in the order of the classes; empty for numbers.",
    "add-go": "Copy the weights into Patchwork's folder and write a card for them.",
    "add-stop": "Stop; what was copied so far is deleted.",
}
"""One sentence for each control, by its element id."""


class Known(NamedTuple):
    """What was read of a file, and what the answers on the page are for."""

    found: Architecture
    weights: str
    like: str


class AddModel(runs.RunButtons):
    """The part of the Models tab where a checkpoint becomes a model."""

    def __init__(self, hub: Hub, downloads: Downloads) -> None:
        self.hub, self.downloads, self.flags = hub, downloads, runs.StopFlags()
        self.file, self.known, self.added = gr.State(""), gr.State(None), gr.State("")
        with gr.Accordion("Add a model", open=False, elem_id="add", visible=False) as self.part:
            words = "A checkpoint of your own: a DiT, U-ViT or Latte, or a ViT, DeiT, DINO, DINOv2, Swin or CLIP image encoder."
            gr.HTML(markup.note(words))
            with gr.Row(elem_classes="seed"):
                self.path = gr.Textbox(label="Its path on this machine", max_lines=1, elem_id="add-path", visible=False)
                self.read = gr.Button("Read the file", elem_id="add-read", size="sm", visible=False)
                self.bring = gr.UploadButton("Upload a file, up to 50 MB", size="sm", elem_id="add-bring")
            self.facts = gr.HTML(elem_id="add-facts")
            self._build_form()
            self.go = gr.Button("Add this model", variant="primary", elem_id="add-go", visible=False)
            self.halt = gr.Button("Stop", variant="stop", elem_id="add-stop", elem_classes="halt", visible=runs.HIDDEN)
            self.note = gr.HTML(elem_id="add-note")
        self.outputs = [
            self.file, self.known, self.added, self.path, self.facts, self.go, self.halt, self.note, *self.fields,
        ]  # fmt: skip
        self.mine = [self.part, self.path, self.read]
        self._wire()

    def _build_form(self) -> None:
        unseen = {"visible": False}  # not the rows: what gradio is told of these, it sets in all fields as well
        with gr.Row():
            self.name = gr.Textbox(label="Name", max_lines=1, elem_id="add-name", **unseen)
            self.weights = gr.Dropdown([], label="Weights", elem_id="add-weights", **unseen)
            self.like = gr.Dropdown([], label="As on the card of", elem_id="add-like", **unseen)
        with gr.Row():
            self.heads = gr.Number(None, label="Attention heads", elem_id="add-heads", min_width=120, **unseen)
            self.size = gr.Number(None, label="Input size", elem_id="add-size", min_width=120, **unseen)
            schedules = [",".join(map(str, (kind, *numbers))) for kind, numbers in NUMBERS.items()]
            self.schedule = gr.Dropdown(
                schedules, value=None, label="Noise schedule", allow_custom_value=True, elem_id="add-schedule", scale=2, **unseen
            )
            self.vae = gr.Dropdown([], label="Autoencoder", elem_id="add-vae", **unseen)
            self.scale = gr.Number(None, label="Scale of latents", elem_id="add-scale", min_width=120, **unseen)
        self.labels = gr.Textbox(label="Class names", lines=3, max_lines=8, elem_id="add-labels", **unseen)
        self.fields = [
            self.name, self.weights, self.like, self.heads, self.size, self.schedule, self.vae, self.scale, self.labels,
        ]  # fmt: skip

    def _wire(self) -> None:
        gr.on([self.read.click, self.path.submit], self.open_path, self.path, self.outputs, **PRIVATE)
        self.bring.upload(self.open_upload, self.bring, self.outputs, **PRIVATE)
        self.weights.input(self.choose, [self.file, self.known, self.weights], self.outputs, **PRIVATE)
        self.like.input(self.change_like, [self.known, self.like], self.outputs, queue=False, **PRIVATE)
        self.adding = self.go.click(self.add, [self.file, self.known, *self.fields], self.outputs, **PRIVATE)
        self.halt.click(self.flags.stop, queue=False, **PRIVATE)

    # ---- what happens

    def shown(self) -> dict:
        """What of this part is here for whom this event is from: a path leads anywhere on the machine, so it is its user's alone.

        To be sent once, as the page opens: gradio says `visible` of a part that is built to all that it holds as well.
        """
        local = self.downloads.local
        return {
            self.part: gr.update(visible=self.downloads.allowed), self.path: gr.update(visible=local), self.read: gr.update(visible=local),
        }  # fmt: skip

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence under the buttons."""
        return {self.note: markup.note(text, kind)}

    def idle(self) -> dict:
        """What the buttons show when nothing runs."""
        return {self.halt: gr.update(visible=runs.HIDDEN), self.go: gr.update(interactive=True), self.added: ""}

    def busy(self) -> dict:
        """What they show while something does."""
        return {self.halt: gr.update(visible=True), self.go: gr.update(interactive=False), self.added: ""}

    @runs.stoppable()
    def open_path(self, text: str) -> Iterator[dict]:
        """Read a file of this machine, whose user alone may name any."""
        if not self.downloads.local:
            raise RequestError("A path is read where the page is open on the same machine only: upload the file instead.")
        if not (text := (text or "").strip().strip("\"'")):
            raise RequestError("No file is named: paste the path of a checkpoint, or upload one.")
        yield from self._open(Path(text).expanduser())

    @runs.stoppable()
    def open_upload(self, file: str | None) -> Iterator[dict]:
        """Read a file that was uploaded."""
        if not file:
            raise RequestError("No file arrived: upload a checkpoint.")
        yield from self._open(Path(file))

    def _open(self, file: Path) -> Iterator[dict]:
        yield self.busy() | self._unasked() | {self.facts: ""}
        yield from self._read(file, "")

    @runs.stoppable()
    def choose(self, file: str, known: Known | None, name: str) -> Iterator[dict]:
        """Read other weights of the same file."""
        if known is None or known.weights == name:  # gradio also calls when the list is only left
            yield self.idle()
            return
        yield self.busy()
        yield from self._read(Path(file), name)

    def _check(self) -> None:
        """Raise RequestError where visitors may not add a model, whatever the page shows them."""
        if not self.downloads.allowed:
            raise RequestError("Only the person who runs this hub can add a model.")

    def _unasked(self) -> dict:
        """No question stands here."""
        return dict.fromkeys([*self.fields, self.go], gr.update(visible=False))

    def _read(self, file: Path, name: str) -> Iterator[dict]:
        self._check()
        yield self.say(f"reading {file.name} ...")
        recognised = look(self.hub, file, "", name)
        yield self.idle() | self.say("") | self._form(file, recognised, fresh=not name)

    def _form(self, file: Path, recognised: Recognised, fresh: bool) -> dict:
        """What was recognised, and the questions with their usual answers."""
        found, base, choices, name = recognised.found, recognised.base, recognised.choices, recognised.weights.name
        generates = found.task in GENERATORS
        alike = ("dit", "sit") if "family" in found.unknown else (found.family,)
        same = [card.id for card in self.hub.cards.values() if card.family in alike]
        classes = found.words["num_classes"]
        updates = {
            self.file: str(file), self.known: Known(found, name, base.id), self.facts: _facts(found, name),
            self.go: gr.update(visible=True, interactive=True),
            self.weights: gr.update(choices=[*choices], value=name, visible=len(choices) > 1),
            self.name: gr.update(visible=True), self.like: gr.update(choices=same, value=base.id, visible=True),
            self.labels: gr.update(visible=bool(classes), label=f"Names of the {classes} classes"),
            self.vae: gr.update(visible=generates and found.words["in_channels"] != 3),
            self.scale: gr.update(visible=generates and found.words["in_channels"] != 3),
            self.schedule: gr.update(visible=generates),
        }  # fmt: skip
        if fresh:
            updates = runs.joined(updates, {self.name: {"value": folders.name_of(file)}, self.labels: {"value": ""}})
        return runs.joined(updates, self._usual(found, base))

    def _usual(self, found: Architecture, base: Card) -> dict:
        """The usual answers, as a card of the family gives them."""
        usual = questions(found, base, Answers())
        fitting = decoders(found, self.hub.cards)
        vae = base.latent.vae if base.latent and base.latent.vae in fitting else next(iter(fitting), None)
        size = found.words.get("input_size", base.arch["input_size"])
        return {
            self.heads: gr.update(value=usual.get("--heads", base.arch["num_heads"]), visible=True)
            if "num_heads" in found.unknown else gr.update(value=None, visible=False),
            self.size: gr.update(value=size, visible="input_size" in found.unknown),
            self.schedule: gr.update(value=",".join(map(str, base.schedule.values())) if base.schedule else None),
            self.vae: gr.update(choices=fitting, value=vae), self.scale: gr.update(value=base.latent.scale if base.latent else 1.0),
        }  # fmt: skip

    @runs.answers
    def change_like(self, known: Known | None, identity: str) -> dict:
        """Offer what another card of the family says."""
        if known is None or known.like == identity:
            return {}
        return self._usual(known.found, self.hub.card(identity)) | {self.known: known._replace(like=identity)}

    @runs.stoppable()
    def add(self, file: str, known: Known | None, *values: Any) -> Iterator[dict]:
        """Make a model of the file that was read."""
        self._check()
        path, fields = Path(file), dict(zip(self.fields, values, strict=True))
        if known is None:
            raise RequestError("No file was read yet: read one first.")
        yield self.busy() | self.say(f"checking {path.name} ...")
        answers = self._answers(known.found, fields)
        job, size = current_job(), path.stat().st_size if path.is_file() else 0

        def tell(done: int) -> None:
            job.put({self.note: markup.bar(done / max(done, size), f"copying {done / 1e6:.0f} of {size / 1e6:.0f} MB")})
            if job.stop.is_set():
                raise CancelledError("Stopped: nothing was added.")

        card = adopt(self.hub, path, answers, fields[self.weights] or "", tell)
        empty = {self.facts: "", self.path: "", self.file: "", self.known: None}
        said = self.say(f"{card.title} is added and stands in every list.", "good")
        yield self.idle() | self._unasked() | empty | {self.added: card.id} | said

    def _answers(self, found: Architecture, fields: dict) -> Answers:
        """What was asked, of what the weights do not tell. Raises RequestError for a number that is none."""
        latents = found.task in GENERATORS and found.words["in_channels"] != 3
        if latents and not fields[self.vae]:
            raise RequestError(f"No autoencoder here has {found.words['in_channels']} channels: this model's latents cannot be decoded.")
        for part, word in ((self.heads, "num_heads"), (self.size, "input_size")):
            if word in found.unknown and not (fields[part] and fields[part] > 0 and fields[part] % 1 == 0):
                raise RequestError(f"{part.label} must be a whole number above 0.")
        return Answers(
            name=(fields[self.name] or "").strip(), like=fields[self.like] or "",
            labels=tuple(names_in(fields[self.labels] or "", "the class names")),
            num_heads=int(fields[self.heads]) if "num_heads" in found.unknown else None,
            input_size=int(fields[self.size]) if "input_size" in found.unknown else None,
            schedule=(fields[self.schedule] or "") if found.task in GENERATORS else "",
            vae=fields[self.vae] if latents else "", scale=fields[self.scale] if latents else None,
        )  # fmt: skip


def _facts(found: Architecture, name: str) -> str:
    """What was read off the weights, in one line."""
    words = found.words
    side = f", {words['input_size']} to a side" if "input_size" in words else ""
    patch = [f"patch {words['patch_size']}"] if "patch_size" in words else []
    family = "dit, or a sit, whose keys are the same" if "family" in found.unknown else found.family
    facts = [
        family, TASKS[found.task], f"{words['in_channels']} channels{side}", *patch,
        f"width {words['hidden_size']:,}", f"depth {str(words['depth']).strip('[]')}", f"{words['num_classes'] or 'no'} classes",
        *([f"weights: {name}{', averaged over the training' if is_averaged(name) else ''}"] if name else []),
    ]  # fmt: skip
    return markup.note(" · ".join(facts), "good")
