"""Model cards: one Markdown file a model, its YAML front matter parsed and checked into frozen dataclasses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from zoo.errors import CardError

CARDS = Path(__file__).parent.parent / "model_cards"
DATA = Path(__file__).parent / "data"

GENERATORS = {"class-to-image"}
"""Tasks whose models make pictures."""
TASKS = GENERATORS | {"autoencoder", "image-classification"}
KINDS = dict.fromkeys(("title", "family", "task", "labels"), str) | {"weights": list}
KINDS |= dict.fromkeys(("arch", "schedule", "guidance", "sampling", "latent", "cost", "measured"), dict)
"""What may stand under `zoo:`, and as what."""
SCHEDULES = {"linear": ("start", "end", "steps"), "scaled-linear": ("start", "end", "steps"), "vp-sde": ("beta_min", "beta_max")}


@dataclass(frozen=True)
class Source:
    """One place where the weights can come from."""

    origin: str
    """bundled | huggingface | modelscope | url; `from` in the card."""
    file: str = ""
    repo: str = ""
    url: str = ""
    layout: str = "official"
    sha256: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Guidance:
    """The published guidance: w of eps = uncond + w (cond - uncond), on the first `channels` channels (None: all)."""

    default: float = 1.0
    channels: int | None = None


@dataclass(frozen=True)
class Sampling:
    """A solver by name and its number of steps."""

    solver: str
    steps: int


@dataclass(frozen=True)
class Latent:
    """The autoencoder's card id, and the factor from its latents to the diffusion model's."""

    vae: str
    scale: float


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-adds of one forward pass in billions."""

    params: int = 0
    gmacs: float = 0.0


@dataclass(frozen=True)
class Card:
    """Everything that is known of one model without loading it."""

    id: str
    title: str
    family: str
    task: str
    licence: str
    arch: Mapping[str, Any]
    weights: tuple[Source, ...]
    schedule: Mapping[str, Any] = field(default_factory=dict)
    guidance: Guidance = Guidance()
    sampling: Sampling | None = None
    latent: Latent | None = None
    labels: str = ""
    cost: Cost = Cost()
    measured: Mapping[str, float] = field(default_factory=dict)
    """Figures measured here, by name; reported ones stand in the front matter's model-index."""
    text: str = ""
    revision: str = ""
    """First twelve hex digits of the sha256 of the card file."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names by index; empty for a model without classes."""
        return label_names(self.labels) if self.labels else ()

    @property
    def generates(self) -> bool:
        """Whether this model makes pictures."""
        return self.task in GENERATORS

    @property
    def bytes(self) -> int:
        """Size of the weights file, 0 where it is not known."""
        return self.weights[0].bytes


@cache
def label_names(name: str) -> tuple[str, ...]:
    """The class names of a label list in zoo/data, by index."""
    path = DATA / f"{name}.txt"
    if not re.fullmatch(r"[a-z0-9-]+", name) or not path.is_file():
        raise CardError(f"there is no label list {name!r} in zoo/data.")
    return tuple(path.read_text(encoding="utf-8").splitlines())


def parse(identity: str, content: str) -> Card:
    """Parse and check one card file. Raises CardError that names the card and the key at fault."""
    front = re.match(r"---\n(.*?)\n---\n?(.*)", content, re.DOTALL)
    try:
        head = yaml.safe_load(front.group(1)) if front else None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise CardError(f"Card {identity}: its front matter is not YAML ({reason}).") from None
    if not isinstance(head, dict) or not isinstance(head.get("zoo"), dict):
        raise CardError(f"Card {identity}: it must start with front matter between --- lines that holds a `zoo:` mapping.")
    zoo = dict(head["zoo"])
    if unknown := sorted(zoo.keys() - KINDS.keys(), key=str):
        raise CardError(f"Card {identity}: unknown key {unknown[0]!r} under zoo; known are {', '.join(sorted(KINDS))}.")
    if missing := sorted({"title", "family", "task", "arch", "weights"} - zoo.keys()):
        raise CardError(f"Card {identity}: `{missing[0]}` is missing under zoo.")
    if wrong := [key for key, value in zoo.items() if not isinstance(value, KINDS[key]) or (key == "weights" and not value)]:
        kind = {str: "text", list: "a list of at least one source", dict: "a mapping"}[KINDS[wrong[0]]]
        raise CardError(f"Card {identity}: `{wrong[0]}` must be {kind}, not {zoo[wrong[0]]!r}.")
    if zoo["task"] not in TASKS:
        raise CardError(f"Card {identity}: task {zoo['task']!r} is unknown; known are {', '.join(sorted(TASKS))}.")
    if zoo["task"] in GENERATORS and not zoo.keys() >= {"schedule", "sampling"}:
        raise CardError(f"Card {identity}: a model that generates needs `schedule` and `sampling`.")
    parts = {"guidance": Guidance, "sampling": Sampling, "latent": Latent, "cost": Cost}
    try:
        zoo |= {key: part(**zoo[key]) for key, part in parts.items() if key in zoo}
        zoo["weights"] = tuple(_source(item) for item in zoo["weights"])
        card = Card(
            id=identity,
            licence=str(head.get("license", "unknown")),
            text=front.group(2).strip(),
            revision=hashlib.sha256(content.encode()).hexdigest()[:12],
            **zoo,
        )
        classes = len(card.label_names)
    except (TypeError, AttributeError, CardError) as error:
        raise CardError(f"Card {identity}: {str(error).rstrip('.')}.") from None
    numbers = {key: value for key, value in card.schedule.items() if key != "kind"}
    if card.schedule and set(SCHEDULES.get(str(card.schedule.get("kind")), ())) != numbers.keys():
        raise CardError(f"Card {identity}: the schedule must be one of {SCHEDULES}.")
    if wrong := [key for key, value in numbers.items() if not isinstance(value, (int, float))]:
        raise CardError(f"Card {identity}: `{wrong[0]}` of the schedule must be a number such as 0.0001, not {numbers[wrong[0]]!r}.")
    if card.labels and classes != card.arch.get("num_classes"):
        raise CardError(f"Card {identity}: {classes} labels for {card.arch.get('num_classes')} classes.")
    return card


def _source(item: dict) -> Source:
    if not isinstance(item, dict):
        raise TypeError(f"weights must hold mappings such as {{from: bundled, file: NAME}}, not {item!r}")
    values = {key if key != "from" else "origin": value for key, value in item.items()}
    file = values.get("file", "")
    if values.get("origin") == "bundled" and not (isinstance(file, str) and re.fullmatch(r"\w[\w.-]*", file)):
        raise TypeError(f"a bundled file must be a plain name, not {file!r}")
    return Source(**values)


@cache
def cards() -> dict[str, Card]:
    """Every card of model_cards/, by id: generators first, then by title."""
    found = [parse(path.stem, path.read_text(encoding="utf-8")) for path in CARDS.glob("*.md")]
    return {card.id: card for card in sorted(found, key=lambda c: (not c.generates, c.title))}
