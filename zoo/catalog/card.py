"""Model cards: one Markdown file a model, its YAML front matter parsed and checked into frozen dataclasses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from zoo.catalog import expected, plain_yaml
from zoo.catalog.expected import Expected
from zoo.catalog.labels import label_names
from zoo.catalog.sampling_words import Guidance, Preset, Sampling, check_sampling
from zoo.errors import CardError

CARDS = Path(__file__).parent.parent.parent / "model_cards"

VIDEO = {"class-to-video", "text-to-video", "unconditional-video-generation"}
"""Tasks whose models make videos."""
GENERATORS = {"class-to-image", "text-to-image", "unconditional-image-generation"} | VIDEO
"""Tasks whose models make pictures or videos."""
SEEING = {"image-classification", "video-classification", "image-feature-extraction"}
"""Tasks whose models look at pictures or videos."""
TASKS = {
    "class-to-image": "class-conditional image generation",
    "text-to-image": "text-to-image generation",
    "unconditional-image-generation": "unconditional image generation",
    "class-to-video": "class-conditional video generation",
    "text-to-video": "text-to-video generation",
    "unconditional-video-generation": "unconditional video generation",
    "image-classification": "image classification",
    "video-classification": "video classification",
    "image-feature-extraction": "image feature extraction",
    "autoencoder": "autoencoder (latents to pixels)",
    "text-encoder": "text encoder",
    "judge": "features for the Frechet distance",
}
"""What a model can be for, in words."""
FIGURES = {
    "guided": "with guidance", "unguided": "without guidance",
}  # fmt: skip
"""Settings at which samples were counted that a classifier recognises, in words."""
KINDS = dict.fromkeys(("title", "family", "task", "text", "prediction"), str) | dict.fromkeys(("weights", "fingerprint", "expected"), list)
KINDS["labels"] = (str, list)
KINDS |= dict.fromkeys(("arch", "schedule", "guidance", "sampling", "presets", "latent", "cost", "measured", "pixels"), dict)
"""What may stand under `zoo:`, and as what."""
WORDS = {str: "text", list: "a list of at least one source", dict: "a mapping", (str, list): "text, the name of a list, or a list of names"}
ORIGINS = {"bundled": "file", "huggingface": "repo", "modelscope": "repo", "url": "url", "manual": "url", "own": "file"}
"""Where weights can come from, and what says where there; `manual` is a page on which a person finds the file, `own` a user's own file."""
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\..+)")
"""Name of one of several files that hold the weights together; a card names the first."""
PREPARATION = "preprocessor_config.json"
"""Name of the file that says how a picture is prepared: a source may lack it, for the card says that, too."""
LICENCES = {
    "apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0", "mit": "https://opensource.org/license/mit",
    "bsd-3-clause": "https://opensource.org/license/bsd-3-clause", "cc-by-nc-4.0": "https://creativecommons.org/licenses/by-nc/4.0/",
}  # fmt: skip
"""Where the text of a licence stands."""
FREE = ("apache-2.0", "mit", "bsd-3-clause")
"""Licences that allow any use."""


@dataclass(frozen=True)
class Source:
    """One place where the weights can come from."""

    origin: str
    """bundled | huggingface | modelscope | url | manual | own; `from` in the card."""
    file: str
    """Name of the weights file, with its folder in the repository where it has one; the first, where they are cut into shards."""
    repo: str = ""
    revision: str = ""
    """Branch, tag or commit of the repository; empty for its main one."""
    url: str = ""
    also: tuple[str, ...] = ()
    """Other files of the repository that the model needs, such as a tokenizer's."""
    layout: str = "official"
    sha256: str = ""
    bytes: int = 0

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that the model needs: the weights, their further shards, and the others."""
        match = SHARD.fullmatch(self.file)
        shards = [f"{match[1]}-{number:05}-of-{match[3]}{match[4]}" for number in range(2, int(match[3]) + 1)] if match else []
        return (self.file, *shards, *self.also)


@dataclass(frozen=True)
class Latent:
    """The autoencoder's card id, and the factor from its latents to the diffusion model's."""

    vae: str
    scale: float


@dataclass(frozen=True)
class Pixels:
    """How a picture is prepared: its shorter side resized to `resize`, or else both sides stretched to `stretch` (0: to what is cut
    out), the middle `crop` (0: input_size) cut out, its levels times `scale` less `offset`, then normalised by mean and deviation."""

    resize: int = 0
    stretch: int = 0
    crop: int = 0
    resample: str = "bilinear"
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    scale: float = 1 / 255
    offset: float = 0.0


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
    prediction: str = ""
    """What the network of a flow predicts: velocity or sample, the clean picture; empty: velocity, and of a diffusion model noise."""
    guidance: Guidance = field(default_factory=Guidance)
    sampling: Sampling | None = None
    presets: Mapping[str, Preset] = field(default_factory=dict)
    latent: Latent | None = None
    labels: str | tuple[str, ...] = ""
    """A list of names in zoo/catalog/data, or the names themselves."""
    text: str = ""
    """Card id of the encoder that turns prompts into context."""
    cost: Cost = Cost()
    pixels: Pixels = Pixels()
    measured: Mapping[str, float] = field(default_factory=dict)
    """Figures measured here, by name."""
    reported: Mapping[str, float] = field(default_factory=dict)
    """Figures of the authors, by name, from the front matter's model-index."""
    fingerprint: tuple[float, ...] = ()
    """Numbers of one fixed forward in float32, see zoo/engine/verify.py."""
    expected: tuple[Expected, ...] = ()
    """Numbers that others recorded with the published weights."""
    prose: str = ""
    licence_link: str = ""
    """Where the licence stands, or where it should; the front matter's `license_link`."""
    revision: str = ""
    """First twelve hex digits of the sha256 of the card file."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names by index; empty for a model without classes."""
        return label_names(self.labels) if self.labels and isinstance(self.labels, str) else tuple(self.labels)

    @property
    def generates(self) -> bool:
        """Whether this model makes pictures or videos."""
        return self.task in GENERATORS

    @property
    def video(self) -> bool:
        """Whether what it makes are videos."""
        return self.task in VIDEO

    def preset(self, name: str) -> Preset:
        """Settings by their name. Raises CardError that names those there are."""
        if name not in self.presets:
            raise CardError(
                f"{self.id} has no preset {name!r}: {'choose ' + ' or '.join(self.presets) if self.presets else 'leave it out'}."
            )
        return self.presets[name]

    @property
    def guidable(self) -> bool:
        """Whether the model knows a null label or a null text, without which there is no guidance."""
        return bool(self.text) or (bool(self.arch.get("num_classes")) and self.arch.get("null_label", True))

    @property
    def side(self) -> int:
        """Pixels, or latents, a side of what the network is given."""
        return self.pixels.crop or self.arch["input_size"]

    @property
    def bytes(self) -> int:
        """Size of the weights file, 0 where nobody confirmed it, or it is one of several."""
        return self.weights[0].bytes

    @property
    def size(self) -> str:
        """Size of the weights file in words; where it is not known, that of as many float32 numbers."""
        return total_size([self])

    @property
    def measured_words(self) -> str:
        """The figures measured here, in words."""
        words = []
        for name, value in self.measured.items():
            if name == "psnr_db":
                words.append(f"PSNR {value:.1f} dB")
            elif name == "flicker_ratio":
                words.append(f"flicker {value:.2f} times that of held-out clips")
            elif name.endswith("worst_class"):
                words[-1] += f", worst class {percent(value)}"
            elif name == "accuracy":
                words.append(f"accuracy {percent(value)}")
            else:
                words.append(f"{FIGURES[name.removesuffix('_all')]}: recognised {percent(value)}")
        return "; ".join(words)

    @property
    def free(self) -> bool:
        """Whether the licence allows any use; where none is named, it does not."""
        return self.licence in FREE

    @property
    def terms(self) -> str:
        """The licence in words."""
        if self.licence == "unknown":
            return "no licence named: ask the authors before you use it for more than study"
        return f"{self.licence}, no commercial use" if "-nc" in self.licence else self.licence

    @property
    def licence_url(self) -> str:
        """The page of the licence, or else that of the model; empty where there is none."""
        sites = {"huggingface": "https://huggingface.co/", "modelscope": "https://modelscope.cn/models/"}
        pages = [sites[source.origin] + source.repo for source in self.weights if source.origin in sites]
        return self.licence_link or LICENCES.get(self.licence) or next(iter(pages), "")


def percent(share: float) -> str:
    """A share as a percentage with at most one decimal."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def total_size(cards: Sequence[Card]) -> str:
    """Size of the weights of several models in words; "about" where a part of it is reckoned from parameters."""
    size = sum(card.bytes or 4 * card.cost.params for card in cards)
    words = f"{size / 1e9:.1f} GB" if size >= 999_500_000 else f"{size / 1e6:.1f} MB"
    return words if all(card.bytes for card in cards) else f"about {words}"


def parse(identity: str, content: str) -> Card:
    """Parse and check one card file. Raises CardError that names the card and the key at fault."""
    front = re.match(r"---\n(.*?)\n---\n?(.*)", content, re.DOTALL)
    try:
        head = plain_yaml.load(front.group(1)) if front else None
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise CardError(f"Card {identity}: its front matter is not YAML ({reason}).") from None
    if not isinstance(head, dict) or not isinstance(head.get("zoo"), dict):
        raise CardError(f"Card {identity}: it must start with front matter between --- lines that holds a `zoo:` mapping.")
    zoo = dict(head["zoo"])
    if unknown := sorted(zoo.keys() - KINDS.keys(), key=str):
        raise CardError(f"Card {identity}: unknown key {unknown[0]!r} under zoo; known are {', '.join(sorted(KINDS))}.")
    if missing := sorted({"title", "family", "task", "arch", "weights"} - zoo.keys()):
        raise CardError(f"Card {identity}: `{missing[0]}` is missing under zoo.")
    if wrong := [key for key, value in zoo.items() if not isinstance(value, KINDS[key]) or (key == "weights" and not value)]:
        kind = WORDS[KINDS[wrong[0]]]
        raise CardError(f"Card {identity}: `{wrong[0]}` must be {kind}, not {zoo[wrong[0]]!r}.")
    if zoo["task"] not in TASKS:
        raise CardError(f"Card {identity}: task {zoo['task']!r} is unknown; known are {', '.join(sorted(TASKS))}.")
    if zoo["task"] in GENERATORS and not zoo.keys() >= {"schedule", "sampling"}:
        raise CardError(f"Card {identity}: a model that generates needs `schedule` and `sampling`.")
    parts = {"guidance": Guidance, "sampling": Sampling, "latent": Latent, "cost": Cost, "pixels": Pixels}
    try:
        zoo |= {key: part(**zoo[key]) for key, part in parts.items() if key in zoo}
        zoo["presets"] = {name: Preset(**words) for name, words in zoo.get("presets", {}).items()}
        zoo["weights"] = tuple(_source(item) for item in zoo["weights"])
        zoo["fingerprint"] = tuple(zoo.get("fingerprint", ()))
        zoo["expected"] = tuple(expected.parse(item) for item in zoo.get("expected", ()))
        zoo["labels"] = _names(zoo.get("labels", ""))
        card = Card(
            id=identity,
            licence=str(head.get("license", "unknown")),
            licence_link=_link(head.get("license_link", "")),
            prose=front.group(2).strip(),
            reported=_reported_metrics(head.get("model-index")),
            revision=hashlib.sha256(content.encode()).hexdigest()[:12],
            **zoo,
        )
        classes = len(card.label_names)
    except (TypeError, AttributeError, CardError) as error:
        raise CardError(f"Card {identity}: {str(error).rstrip('.')}.") from None
    _check(card, classes)
    return card


def _check(card: Card, classes: int) -> None:
    """What must hold between the parts of a card. Raises CardError."""
    check_sampling(card)
    if card.generates and not card.latent and card.arch.get("in_channels", 3) != 3:
        raise CardError(f"Card {card.id}: a model of {card.arch['in_channels']} in_channels draws latents: say whose under `latent`.")
    if card.sampling and card.sampling.spacing not in ("even", "stride"):
        raise CardError(f"Card {card.id}: the spacing of its sampling must be even or stride, not {card.sampling.spacing!r}.")
    if card.labels and classes != card.arch.get("num_classes"):
        raise CardError(f"Card {card.id}: {classes} labels for {card.arch.get('num_classes')} classes.")
    if (whole := card.pixels.resize or card.pixels.stretch) and card.side > whole:
        raise CardError(f"Card {card.id}: {card.side} pixels a side cannot be cut out of {whole}.")


def _source(item: dict) -> Source:
    if not isinstance(item, dict):
        raise TypeError(f"weights must hold mappings such as {{from: bundled, file: NAME}}, not {item!r}")
    values = {key if key != "from" else "origin": value for key, value in item.items()}
    source = Source(**values | {"also": tuple(values.get("also", ()))})
    if source.origin not in ORIGINS:
        raise TypeError(f"weights cannot come from {source.origin!r}: choose one of {', '.join(ORIGINS)}")
    if not getattr(source, ORIGINS[source.origin]):
        raise TypeError(f"a source from {source.origin} needs `{ORIGINS[source.origin]}`")
    for name in (source.file, *source.also):
        parts = name.split("/") if isinstance(name, str) else [""]
        if not all(re.fullmatch(r"\w[\w.-]*", part) for part in parts) or (source.origin == "bundled" and len(parts) > 1):
            raise TypeError(f"file {name!r} must be a plain name{'' if source.origin == 'bundled' else ' or folder/name'}")
    if source.repo and not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(source.repo)):
        raise TypeError(f"repo {source.repo!r} must be owner/name")
    if source.revision and not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", str(source.revision)):
        raise TypeError(f"revision {source.revision!r} must be a branch, a tag or a commit")
    if source.url and not re.match(r"https://|http://(127\.0\.0\.1|localhost)[:/]", str(source.url)):
        raise TypeError(f"url {source.url!r} must start with https://")
    if source.sha256 and not re.fullmatch(r"[0-9a-f]{64}", str(source.sha256)):
        raise TypeError(f"sha256 {source.sha256!r} must be 64 hex digits")
    if not isinstance(source.bytes, int) or source.bytes < 0:
        raise TypeError(f"bytes must be a whole number, not {source.bytes!r}")
    return source


def _names(labels: str | list) -> str | tuple[str, ...]:
    if isinstance(labels, list) and not all(isinstance(name, str) and name.isprintable() for name in labels):
        raise TypeError("labels must be names, each a line of text")
    return tuple(labels) if isinstance(labels, list) else labels


def _link(url: Any) -> str:
    if url and not re.match(r"https://", str(url)):
        raise TypeError(f"license_link {url!r} must start with https://")
    return str(url)


def _reported_metrics(index: Any) -> dict[str, float]:
    """Name and value of every metric in a Hugging Face model-index."""
    try:
        return {
            metric["name"]: metric["value"]
            for entry in (() if index is None else index)
            for result in entry["results"]
            for metric in result["metrics"]
        }
    except (TypeError, KeyError):
        raise TypeError("the model-index must be a list of {name, results: [{metrics: [{name, value}]}]}") from None


@cache
def cards() -> dict[str, Card]:
    """Every card of model_cards/, by id: generators first, those that ship with the repository before others, then by title."""
    all_cards = [parse(path.stem, path.read_text(encoding="utf-8")) for path in CARDS.glob("*.md")]
    return {card.id: card for card in sorted(all_cards, key=lambda c: (not c.generates, c.weights[0].origin != "bundled", c.title))}
