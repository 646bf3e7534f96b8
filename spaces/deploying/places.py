"""The flavours: which place each is for, what hardware it gets, and how weights come there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.catalog.card import Card, Source, cards
from zoo.errors import ZooError


class DeployError(ZooError):
    """A hub cannot be hosted as asked; nothing is left half done where the text does not say so."""


@dataclass(frozen=True)
class Flavour:
    """One way to host: `hub` is huggingface or modelscope, `weights` preload, mount or none."""

    hub: str
    sdk: str
    hardware: str
    weights: str


FLAVOURS = {
    "cpu": Flavour("huggingface", "gradio", "cpu-basic", "preload"),
    "zerogpu": Flavour("huggingface", "gradio", "zero-a10g", "preload"),
    "gpu": Flavour("huggingface", "gradio", "t4-small", "mount"),
    "docker": Flavour("huggingface", "docker", "cpu-basic", "mount"),
    "studio": Flavour("modelscope", "gradio", "platform/2v-cpu-16g-mem", "none"),
}
"""By the name of their folder in spaces/. Preloaded weights are part of the image; mounted ones are read from their repository."""
CPU = {"cpu-basic": 16, "cpu-upgrade": 32}
GPU = {"t4-small": 15, "t4-medium": 16, "a10g-small": 15, "l4x1": 24, "a10g-large": 24, "l40sx1": 48, "a100-large": 80}
STUDIO = {"platform/2v-cpu-16g-mem": 16, "xgpu/8v-cpu-32g-mem-16g": 16, "xgpu/8v-cpu-64g-mem-48g": 48}
HARDWARE = {"cpu": CPU, "zerogpu": {"zero-a10g": 48}, "gpu": GPU, "docker": CPU | GPU, "studio": STUDIO}
"""Flavour -> hardware -> GB of its memory, or of its GPU's where that is smaller; cheaper hardware first."""
OVERHEAD, DISK = 2e9, 50e9
"""Bytes that the server itself takes, and the disk of a Space, on which preloaded weights lie."""
FREE_OF_CHARGE = "zerogpu"


def chosen(models: Sequence[str]) -> list[Card]:
    """The cards of these ids, without repeats. Raises DeployError for one that there is not."""
    if unknown := [identity for identity in models if identity not in cards()]:
        raise DeployError(f"There is no model {unknown[0][:60]!r}: `python -m zoo list` names them all.")
    return [cards()[identity] for identity in dict.fromkeys(models)]


def parts(card: Card) -> list[Card]:
    """A model and what it needs to run: its autoencoder and its text encoder."""
    return [card, *(cards()[part] for part in (card.latent and card.latent.vae, card.text) if part)]


def missing(models: Sequence[Card]) -> dict[str, Card]:
    """By id, the parts of these models that are not included in the repository."""
    return {part.id: part for card in models for part in parts(card) if part.weights[0].origin != "bundled"}


def weights(flavour: str, models: Sequence[Card]) -> dict[str, Source]:
    """Where the parts that are not included come from, by id. Raises DeployError for one that this flavour cannot bring."""
    found = {}
    for part in missing(models).values():
        source = next((source for source in part.weights if source.origin == "huggingface"), None)
        if FLAVOURS[flavour].weights == "none":
            raise DeployError(
                f"{part.title} is not included, and a ModelScope studio brings no weights: choose included models, or leave --models out "
                "and let visitors download with --variable PATCHWORK_DOWNLOADS=1."
            )
        if source is None:
            raise DeployError(
                f"{part.title} has no repository on Hugging Face from which a Space could take it: leave out what needs it, or host "
                "it yourself with the weights in a folder (PATCHWORK_MODELS)."
            )
        found[part.id] = source
    return found


def size(card: Card) -> float:
    """Bytes of a model as it lies in memory, in float32."""
    return card.cost.params * 4 if card.cost else card.bytes


def needed(card: Card) -> float:
    """Bytes of memory in which a model runs; its text encoder is gone while it does."""
    encoder = size(cards()[card.text]) if card.text else 0
    return max(sum(size(part) for part in parts(card) if part.id != card.text), encoder) + OVERHEAD


def check_sizes(flavour: str, hardware: str, models: Sequence[Card]) -> None:
    """Raise DeployError for hardware that the flavour cannot have, and for models that are too large for the place."""
    memory = HARDWARE[flavour].get(hardware)
    if memory is None:
        raise DeployError(f"The flavour {flavour} runs on {' or '.join(HARDWARE[flavour])}, not on {hardware[:40]!r}: choose one of them.")
    for card in models:
        if needed(card) > memory * 1e9:
            raise DeployError(
                f"{card.title} needs about {needed(card) / 1e9:.0f} GB of memory and {hardware} has {memory}: "
                f"choose {_larger(flavour, needed(card))}."
            )
    total = sum(size(part) for part in missing(models).values())
    if FLAVOURS[flavour].weights == "preload" and total > DISK:
        raise DeployError(
            f"The weights of these models take {total / 1e9:.0f} GB and the disk of a Space holds {DISK / 1e9:.0f}: choose fewer models, "
            "or --flavour gpu, which reads them from their repositories."
        )


def _larger(flavour: str, amount: float) -> str:
    """What holds this many bytes, in words: other hardware of the flavour, and other flavours of its hub."""
    found = []
    for other in dict.fromkeys((flavour, *(("zerogpu", "gpu") if FLAVOURS[flavour].hub == "huggingface" else ()))):
        if names := [name for name, memory in HARDWARE[other].items() if memory * 1e9 >= amount]:
            words = [f"--flavour {other}"] * (other != flavour) + [f"--hardware {names[0]}"] * (names[0] != FLAVOURS[other].hardware)
            found.append(" ".join(words))
    return ", or ".join(found) or "a smaller model"


def preloads(sources: dict[str, Source]) -> list[str]:
    """Lines of `preload_from_hub`: a repository, its files, each once, and the revision where it is not the main one."""
    files: dict[tuple[str, str], list[str]] = {}
    for source in sources.values():
        files.setdefault((source.repo, source.revision), []).extend(source.files)
    return [f"{repo} {','.join(dict.fromkeys(names))} {revision}".strip() for (repo, revision), names in files.items()]


def mounts(sources: dict[str, Source]) -> dict[str, str]:
    """Mount point -> repository, each repository once."""
    return {f"/models/{source.repo.replace('/', '--')}": source.repo for source in sources.values()}
