"""The endpoints of the API as tools for language models: what each is called, what it takes, said so that a model understands it.

The words are those of zoo.ui.api. Pictures come as pictures; files that a later call may need, as names that nobody can guess.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, Field

from zoo.engine.request import Progress, short
from zoo.errors import RequestError
from zoo.media import clips, figures, pictures
from zoo.ui import api

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.inside.inspector import Looker
    from zoo.ui.server.file_tickets import FileTickets

Answer = tuple[dict[str, Any], list[str]]
"""What a model reads, as JSON values, and what it sees, as PNG files in base64."""
SEEN = 8
"""Pictures of one answer, or frames of one sheet, that a model sees; the others have addresses."""
KINDS = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif", "video/mp4": ".mp4"}
SEED = "The first seed, a whole number from 0 to 4294967295; the same seed gives the same picture. Left out: drawn at random."
STEPS = "Network evaluations, 1 to 1000: more cost more time. Left out: the model's own, usually best."
SOLVER = (
    "ddpm, ddim, dpm-solver++, euler, heun, unipc or diffusers:<SchedulerClass>; of a model that follows a flow euler, heun, dopri5 or "
    "euler-maruyama. Left out: the model's own."
)
GUIDANCE = "Strength of the class or text, 0 to 50; 1 switches it off. Left out: the model's own."


class ListModels(BaseModel):
    """List the models of this hub: id, title, family, task, licence, bytes, local (whether it is ready without a download) and labels (the
    classes that it knows, in the order of their numbers). Call this first: the other tools take these ids and labels. Models whose task is
    image or video generation make pictures or clips; the others can only be looked into with look_inside.
    """


class GenerateImage(BaseModel):
    """Generate pictures of one class (or, with a text-to-image model, of a text), and see them. The answer says for every picture its seed,
    an address (url), and a name (picture) that look_inside takes.
    """

    model: str = Field(description="The id of an image model of list_models.", examples=["tiny-dit"])
    label: str | int = Field(description="A class, by name or number, one of the model's labels; or the text.", examples=["star", 4])
    count: int = Field(1, ge=1, le=64, description=f"How many pictures, with seeds in a row; the first {SEEN} are seen.")
    seed: int | None = Field(None, description=SEED)
    steps: int | None = Field(None, description=STEPS)
    solver: str | None = Field(None, description=SOLVER)
    guidance: float | None = Field(None, description=GUIDANCE)


class GenerateVideo(BaseModel):
    """Generate a short video of one class, or of a text, and see frames of it on one sheet, row by row. The answer holds the address of the
    MP4 (url) and a name (picture) that look_inside takes.
    """

    model: str = Field(description="The id of a video model of list_models.", examples=["tiny-latte"])
    label: str | int = Field("", description="A class, by name or number, where the model has classes.", examples=["rocket flies up"])
    prompt: str = Field("", description="What to show, for a text-to-video model.", examples=["Sunset over the sea."])
    frames: int | None = Field(None, ge=1, le=64, description="How many frames. Left out: as many as the model was trained on.")
    fps: int = Field(8, ge=1, le=60, description="Frames a second.")
    seed: int | None = Field(None, description=SEED)
    steps: int | None = Field(None, description=STEPS)
    solver: str | None = Field(None, description=SOLVER)
    guidance: float | None = Field(None, description=GUIDANCE)
    negative_prompt: str = Field("", description="What to lead away from, for a text-to-video model.")


class Compare(BaseModel):
    """Compare settings on the same class and the same noise, side by side: of each, in their order, its figures (time, network evaluations,
    parameters, and for the included models the share of samples that a classifier recognises) and one sheet of its samples. Use few
    samples: every column makes as many.
    """

    settings: list[dict[str, Any]] = Field(
        description="One setting a column, 1 to 16, each with a model and the words of generate_image: label, count, seed, steps, solver, "
        'guidance; label may be "each" for all classes in turn. What a later one leaves out of label, seed and count is the first one\'s.',
        examples=[[{"model": "tiny-dit", "label": "star", "count": 2, "seed": 7}, {"model": "tiny-unet"}]],
    )


class LookInside(BaseModel):
    """Look inside a model: see where one patch of a picture attends to, and read shapes, layers and, of a classifier, its predictions. Give
    any picture to a vision model such as tiny-vit; give a generator such as tiny-dit a picture that it made here.
    """

    image: str = Field(
        description="The name (picture) that generate_image or generate_video told, or a data: URL with the file in base64. Nothing is "
        "fetched from other addresses.",
        examples=["data:image/png;base64,..."],
    )
    model: str = Field(description="The id of a model of list_models.", examples=["tiny-vit"])
    layer: int | None = Field(None, ge=0, description="Which attention layer, from 0. Left out: the last.")
    head: int | None = Field(None, ge=0, description="Which head, from 0. Left out: the mean of all.")
    patch: str | int | None = Field(
        None,
        description="Whose attention: a patch by its number, row by row from 0, or a token such as class. Left out: class, or the middle.",
    )


TOOLS: dict[str, type[BaseModel]] = {
    "list_models": ListModels, "generate_image": GenerateImage, "generate_video": GenerateVideo, "compare": Compare,
    "look_inside": LookInside,
}  # fmt: skip
"""The tools by name: what each takes."""


class Tools:
    """Calls the endpoints for a model, and shows it what they answer; its generators are the work of a job."""

    def __init__(self, hub: Hub, looker: Looker, tickets: FileTickets) -> None:
        self.hub, self.tickets, self._handlers = hub, tickets, api.handlers(hub, looker, preview=False)

    def call(self, name: str, words: Mapping[str, Any], address: Callable[[str], str]) -> Iterator[Progress | Answer]:
        """How far a call is, then its answer; address: of a ticket, for whom this is. Raises a ZooError."""
        if name not in TOOLS:
            raise RequestError(f"There is no tool {short(name)}: choose one of {', '.join(TOOLS)}.")
        fields = TOOLS[name].model_fields
        if unknown := [word for word in words if word not in fields]:
            raise RequestError(f"{name} takes no {short(unknown[0])}: it takes {', '.join(fields) or 'nothing'}.")
        if missing := [word for word, field in fields.items() if field.is_required() and words.get(word) is None]:
            raise RequestError(f"{name} needs {missing[0]}: {fields[missing[0]].description}")
        values = {word: words.get(word, None if field.is_required() else field.default) for word, field in fields.items()}
        if name == "list_models":
            yield {"models": self.hub.describe()}, []
            return
        with tempfile.TemporaryDirectory(prefix="patchwork-") as folder:
            if name == "look_inside":
                values["image"] = str(self._file(values["image"], Path(folder)))
            answer: Any = None
            for answer in self._handlers[name](*values.values()):
                if isinstance(answer, tuple) and isinstance(answer[1], dict) and "total" in answer[1]:
                    yield Progress(answer[1]["stage"], None, answer[1]["step"], answer[1]["total"])
            yield getattr(self, f"_{name}")(answer, address)

    def _generate_image(self, answer: Any, address: Callable[[str], str]) -> Answer:
        gallery, receipts = answer
        paths = [Path(entry["image"]["path"]) for entry in gallery]
        told = [self._told(path, receipt, address) for path, receipt in zip(paths, receipts, strict=True)]
        return {"pictures": told, "request": receipts[0]["request"]}, [_base64(path.read_bytes()) for path in paths[:SEEN]]

    def _generate_video(self, answer: Any, address: Callable[[str], str]) -> Answer:
        file, receipt = answer
        path = Path(file["path"])
        return self._told(path, receipt, address) | {"request": receipt["request"]}, [_sheet([path])]

    def _compare(self, answer: Any, address: Callable[[str], str]) -> Answer:
        columns, seen = [], []
        for column in answer:
            paths = [Path(file["path"]) for file in column["files"]]
            told = [self._told(path, receipt, address) for path, receipt in zip(paths, column["receipt"], strict=True)]
            columns.append({"request": column["receipt"][0]["request"], "figures": column["figures"], "pictures": told})
            seen.append(_sheet(paths))
        return {"columns": columns}, seen

    def _look_inside(self, answer: Any, address: Callable[[str], str]) -> Answer:
        path, facts = answer
        return {"facts": facts, "url": address(self.tickets.give(Path(path)))}, [_base64(Path(path).read_bytes())]

    def _told(self, path: Path, receipt: Mapping[str, Any], address: Callable[[str], str]) -> dict[str, Any]:
        ticket = self.tickets.give(path)
        return {word: receipt[word] for word in ("label", "seed", "pixels")} | {"picture": ticket, "url": address(ticket)}

    def _file(self, image: Any, folder: Path) -> Path:
        """The file that a call brings, written into a folder, or names. Raises RequestError."""
        if isinstance(image, str) and image.startswith("data:"):
            head, _, content = image[5:].partition(",")
            if head.endswith(";base64") and (suffix := KINDS.get(head.removesuffix(";base64").lower())):
                try:
                    path = folder / f"brought{suffix}"
                    path.write_bytes(base64.b64decode(content, validate=True))
                except ValueError:
                    pass
                else:
                    return path
            raise RequestError(f"This is no picture in base64: it begins like data:image/png;base64, with one of {', '.join(KINDS)}.")
        if (path := self.tickets.find(str(image))) is None:
            raise RequestError(
                f"There is no picture {short(image)}: give the name (picture) of one that was made here lately, or a data: URL; "
                "nothing is fetched."
            )
        return path


def _sheet(paths: list[Path]) -> str:
    """The first pictures, or frames of the first video, on one picture."""
    if paths[0].suffix == ".mp4":
        images = [np.asarray(frame) for frame in clips.open_clip(paths[0], SEEN)]
    else:
        images = [pictures.read_png(path)[0] for path in paths[: 2 * SEEN]]
    return _base64(figures.png(pictures.grid(np.stack(images), columns=min(4, len(images)))))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
