"""What is asked of the hub, what it says meanwhile, and what it answers. All three are small and picklable."""

from __future__ import annotations

import dataclasses
import difflib
import random
import re
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.catalog.card import Card
from zoo.catalog.labels import classes_by_word
from zoo.errors import RequestError
from zoo.sampling import FLOW_SOLVERS, Schedule, evaluations, solver_names
from zoo.sampling import NAMES as SOLVERS

if TYPE_CHECKING:
    import numpy as np

MAX_IMAGES = 64
"""Pictures that one request may ask for."""
MAX_FRAMES = 64
"""Frames of one video."""
MAX_PROMPT = 1000
"""Characters of a prompt; an encoder reads only as many as its tokens hold."""
MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Request:
    """Pictures, or videos, of one model: number k shows labels[k] and starts from the noise of seeds[k].

    labels: class indices, one a seed or one for all (empty where the model has no classes); prompt: what a text-to-image model
    or video model draws; negative_prompt: what guidance leads it away from; None in steps, solver, guidance or vae means the card's
    own. steps are network evaluations. guidance is w of eps = uncond + w (cond - uncond); 1 switches it off. eta is ddim's. vae: card id
    of another autoencoder for the same latents. frames: of a video, None for as many as its model was trained on, 1 for a picture; fps:
    at which it plays. interval: the noise shares, from 0 (clean) to 1 (noise), between which guidance is on; None means the card's own,
    which is always where it says none.
    """

    model: str
    labels: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    steps: int | None = None
    solver: str | None = None
    guidance: float | None = None
    frames: int | None = None
    eta: float = 0.0
    prompt: str = ""
    vae: str | None = None
    fps: int = 8
    negative_prompt: str = ""
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "seeds"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,))
        if isinstance(self.interval, list):
            object.__setattr__(self, "interval", tuple(self.interval))

    @classmethod
    def from_dict(cls, values: Any) -> Request:
        """Rebuild a request from JSON, such as a receipt's. Raises RequestError for anything that is not one."""
        fields = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or not isinstance(values.get("model"), str) or values.keys() - fields:
            raise RequestError(
                "This is not a request of Patchwork: it needs a model, and only the words " + ", ".join(sorted(fields)) + "."
            )
        lists = [values.get("labels", ()), values.get("seeds", ())]
        if not all(isinstance(v, int) or (isinstance(v, (list, tuple)) and len(v) <= MAX_IMAGES) for v in lists):
            raise RequestError(f"This request is malformed: labels and seeds must be lists of at most {MAX_IMAGES} whole numbers.")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The request as plain JSON values."""
        interval = None if self.interval is None else list(self.interval)
        return dataclasses.asdict(self) | {"labels": list(self.labels), "seeds": list(self.seeds), "interval": interval}

    def resolved(self, card: Card) -> Request:
        """Fill in what the card decides and check the rest against it: steps become those that the solver makes of them, one less where it
        makes two at a time and they are even, and of dopri5 about those that it will choose. Raises RequestError with the way out.
        """
        if not card.generates or card.sampling is None:
            raise RequestError(f"{card.id} does not make pictures (its task is {card.task}): choose one that does, such as tiny-dit.")
        count = len(self.seeds)
        if not 1 <= count <= MAX_IMAGES:
            raise RequestError(f"{count} images were asked for: choose 1 to {MAX_IMAGES} at a time.")
        for seed in self.seeds:
            _whole("A seed", seed, 0, MAX_SEED)
        steps = card.sampling.steps if self.steps is None else self.steps
        solver = card.sampling.solver if self.solver is None else self.solver
        schedule = Schedule.from_card(card.schedule)
        known = isinstance(solver, str) and (solver in (*SOLVERS, *FLOW_SOLVERS) or re.fullmatch(r"diffusers:\w{1,60}", solver))
        if not known:
            others = " or diffusers:<Scheduler>" if card.schedule["kind"] != "flow" else ""
            raise RequestError(f"Solver {short(solver)} is unknown: choose one of {', '.join(solver_names(schedule))}{others}.")
        _whole("Steps", steps, 1, schedule.steps)
        steps = evaluations(schedule, solver, steps)
        guidance = card.guidance.default if self.guidance is None else self.guidance
        _number("Guidance", guidance, 0, 50)
        if guidance != 1 and not card.guidable:
            raise RequestError(f"{card.id} was trained without a null label, so nothing can guide it: leave guidance at 1.")
        interval = self._interval(card)
        _number("Eta", self.eta, 0, 1)
        frames = self._frames(card)
        labels = self.labels * count if len(self.labels) == 1 else self.labels
        classes = int(card.arch.get("num_classes", 0))
        if len(labels) != (count if classes else 0):
            raise RequestError(
                f"{len(labels)} labels for {count} images of {card.id}: give {'one label, or one an image' if classes else 'none'}."
            )
        for label in labels:
            _whole("A label", label, 0, classes - 1)
        self._check_prompts(card, guidance)
        if self.vae is not None and not isinstance(self.vae, str):
            raise RequestError(f"An autoencoder is named by the id of its card, not by {short(self.vae)}.")
        vae = self.vae or (card.latent.vae if card.latent else None)
        if vae and not card.latent:
            raise RequestError(f"{card.id} draws pixels itself: leave the autoencoder out.")
        numbers = {"steps": steps, "guidance": float(guidance), "eta": float(self.eta), "interval": interval}
        return dataclasses.replace(self, labels=labels, solver=solver, vae=vae, frames=frames, **numbers)

    def sample(self, k: int) -> Request:
        """The request of its picture or video number k alone."""
        return dataclasses.replace(self, seeds=self.seeds[k : k + 1], labels=self.labels[k : k + 1])

    def shape(self, card: Card) -> tuple[int, ...]:
        """Shape of the noise that one picture or video of this resolved request starts from: the same seed and shape, the same noise."""
        arch = card.arch
        return ((self.frames,) if card.video else ()) + (arch["in_channels"], arch["input_size"], arch["input_size"])

    def _frames(self, card: Card) -> int:
        _whole("Frames a second", self.fps, 1, 60)
        if card.video:
            frames = card.arch["num_frames"] if self.frames is None else self.frames
            _whole("Frames", frames, 1, MAX_FRAMES)
            return frames
        if isinstance(self.frames, bool) or self.frames not in (None, 1):
            raise RequestError(f"{card.id} makes single pictures: leave frames at 1, not {short(self.frames)}.")
        return 1

    def _interval(self, card: Card) -> tuple[float, float] | None:
        if self.interval is None:
            return card.guidance.interval
        ends = self.interval if isinstance(self.interval, tuple) else ()
        numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in ends)
        if len(ends) != 2 or not numbers or not 0 <= ends[0] <= ends[1] <= 1:
            raise RequestError(f"The guidance interval must be two rising noise shares such as [0, 0.7], not {short(self.interval)}.")
        return float(ends[0]), float(ends[1])

    def _check_prompts(self, card: Card, guidance: float) -> None:
        for prompt in (self.prompt, self.negative_prompt):
            if not isinstance(prompt, str) or len(prompt) > MAX_PROMPT:
                raise RequestError(f"A prompt must be text of at most {MAX_PROMPT} characters, not {short(prompt)}.")
        if card.text and not self.prompt.strip():
            raise RequestError(f"{card.id} draws what a text says: give a prompt, such as 'a red bus in front of a green house'.")
        if self.negative_prompt and guidance == 1:
            raise RequestError("A negative prompt works through guidance, which 1 switches off: raise guidance, or leave that prompt out.")
        if (self.prompt or self.negative_prompt) and not card.text:
            raise RequestError(f"{card.id} reads no text: leave the prompt out{' and choose a class' if card.label_names else ''}.")

    def rounded(self, steps: int | None) -> str:
        """What to say where a solver makes fewer network evaluations of this resolved request than were asked for, else ""."""
        if steps in (None, self.steps):
            return ""
        if self.solver == "dopri5":
            return f"dopri5 chooses its own steps, about {self.steps} network evaluations, whatever number stands here"
        return f"{self.solver} makes {self.steps} network evaluations instead of {steps}, for it makes two at a time"


def solvers_of(card: Card) -> tuple[str, ...]:
    """The solvers with a name of their own that a model can be sampled with."""
    return solver_names(Schedule.from_card(card.schedule))


def _whole(what: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RequestError(f"{what} must be a whole number from {low} to {high}, not {short(value)}.")


def _number(what: str, value: Any, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise RequestError(f"{what} must be a number from {low} to {high}, not {short(value)}.")


def short(value: Any) -> str:
    """What was given, as an error may quote it: one line of at most 40 characters; (empty) where nothing was."""
    if value is None:
        return "(empty)"
    try:
        text = repr(value) if isinstance(value, (str, int, float)) else reprlib.repr(value)  # which looks only at a few things inside
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = "a number too long to write"
    return text if len(text) <= 40 else text[:37] + "..."


def find_label(card: Card, text: str | float) -> int:
    """The index of a class from its number, its name, one of the synonyms in its name, or another name of it, as the Chinese one.
    Raises RequestError that names the nearest."""
    names = card.label_names
    if not names:
        raise RequestError(f"{card.id} has no classes to choose from: leave the label out.")
    if isinstance(text, float) and text.is_integer():  # as programs write JSON whose numbers are all alike
        text = int(text)
    key = (text if isinstance(text, str) else short(text)).strip().lower()
    if key.isdecimal() and len(key) < 9 and int(key) < len(names):
        return int(key)
    steps = classes_by_word(card.labels)
    for step in steps:
        matches = step.get(key, ())
        if len(matches) == 1:
            return matches[0]
        if matches:
            several = " or ".join(f"{k} ({names[k]})" for k in matches)
            raise RequestError(f"{short(text)} is the name of {len(matches)} classes of {card.id}: choose {several}.")
    _, chinese, words, others = steps
    near = ", ".join(nearest(key, list(words if key.isascii() or not chinese else others)))
    raise RequestError(f"{card.id} has no class {short(text)}: choose 0 to {len(names) - 1} or a name such as {near}.")


def find_labels(card: Card, text: str) -> tuple[int, ...]:
    """One label, whose name may hold commas, or several between commas, as find_label says."""
    try:
        return (find_label(card, text),)
    except RequestError:
        if "," not in text:
            raise
    return tuple(find_label(card, name) for name in text.split(","))


def nearest(text: str, names: Sequence[str]) -> list[str]:
    """The three names most like a text, or the first few where none is."""
    return difflib.get_close_matches(text, names, 3, 0.4) or list(names[:5])


def random_seed() -> int:
    """A seed that nobody chose, short enough to be read out, with room for a batch after it."""
    return random.randint(0, 999_999)


def draws(seed: Any) -> bool:
    """Whether this asks for a seed that nobody chose, as people write that: nothing, random or -1."""
    return (seed.strip().lower() if isinstance(seed, str) else seed) in (None, "", "random", "-1", -1)


def first_seed(seed: Any, count: int = 1) -> int:
    """The first of `count` seeds in a row, from a whole number or a text of one, or drawn. Raises RequestError that names the range."""
    if draws(seed):
        return random_seed()
    if isinstance(seed, str) and re.fullmatch(r"\s*[+-]?\d{1,40}\s*", seed):
        seed = int(seed)
    if isinstance(seed, float) and seed.is_integer():
        seed = int(seed)
    if isinstance(seed, str):
        words = "".join(filter(str.isprintable, seed.strip()))[:40]
        raise RequestError(f"Seed must be a whole number from 0 to {MAX_SEED + 1 - count}, not {words}.")
    _whole("Seed", seed, 0, MAX_SEED + 1 - count)
    return seed


def parse_seeds(text: str, most: int = MAX_IMAGES) -> tuple[int, ...]:
    """Seeds from a text such as 7, 0-3 or 0-3,10; "random" or -1 draws one. Raises RequestError for anything else, or more than `most`."""
    if draws(text):
        return (random_seed(),)
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(first + last) > 80 or int(last or first) < int(first):
            raise RequestError(f"Seeds {text[:40]!r} are not understood: write 7, 0-3, 0-3,10 or random.")
        low, high = int(first), int(last or first)
        if high > MAX_SEED:
            raise RequestError(f"Seeds {text[:40]!r} are too large: a seed is a whole number from 0 to {MAX_SEED}.")
        if len(seeds) + high - low >= most:
            raise RequestError(f"Seeds {text[:40]!r} are {len(seeds) + high - low + 1} images: choose 1 to {most} at a time.")
        seeds.extend(range(low, high + 1))
    return tuple(seeds)


@dataclass(frozen=True)
class Progress:
    """One thing that happened on the way. `preview` holds the clean predictions, (b, h, w, 3) or (b, f, h, w, 3) uint8."""

    stage: str
    """waiting | asking (for a GPU that is lent) | loading | sampling"""
    request: Request
    step: int = 0
    total: int = 0
    seconds_left: float | None = None
    steps_per_second: float | None = None
    ahead: int = 0
    preview: np.ndarray | None = None
    preview_step: int = 0
    """The step that the preview shows, at most `step`."""


@dataclass(frozen=True)
class Result:
    """The pictures (b, h, w, 3), or videos (b, f, h, w, 3), uint8, each already on disk with its receipt inside and beside it."""

    request: Request
    images: np.ndarray
    files: tuple[Path, ...]
    receipts: tuple[dict[str, Any], ...]
    seconds: float
    stopped_at: int | None = None
    """The step after which the run was stopped, None for a finished one."""
    compute_seconds: float = 0.0
    """Of its steps alone, one core's or all cores' as the model computes, whatever ran beside it."""
    memory: int | None = None
    """Bytes of the weights, and the most that a step took besides, where that was measured."""
    run: str = ""
    """What Hub.step_images knows its steps by."""
