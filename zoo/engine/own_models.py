"""A checkpoint that no card describes becomes a model: its architecture read, its card written, its weights in the store."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from zoo.catalog import checkpoint
from zoo.catalog.architectures import Architecture, recognise
from zoo.catalog.card import SEEING, Card, parse
from zoo.catalog.folders import name_of, preparation_beside, told_beside, weights_in
from zoo.catalog.misfits import what_it_is
from zoo.catalog.own_cards import Answers, check_autoencoder, compose, nearest, questions, slug
from zoo.catalog.weight_choice import Candidate, named
from zoo.engine.verify import admit
from zoo.errors import CheckpointError, RequestError
from zoo.networks.build import build_module

if TYPE_CHECKING:
    from zoo.engine.hub import Hub


@dataclass(frozen=True)
class Recognised:
    """What a file turned out to hold: the weights meant, their architecture, the card that tells the rest, and the files they are in."""

    weights: Candidate
    found: Architecture
    base: Card
    files: list[Path]
    choices: tuple[str, ...]
    """Names of all weights in the file that are a network of ours."""


def of_its_name(found: Architecture, name: str, like: Card | None) -> Architecture:
    """Where a DiT and a SiT would have the same keys: what the card says that it is to be like, else what the file is called."""
    called = re.search(r"(?<![a-z])(dit|sit)(?![a-z])", name.lower())
    family = like.family if like is not None and like.family in ("dit", "sit") else called[1] if called else ""
    if "family" not in found.unknown or not family:
        return found
    return replace(found, family=family, unknown=tuple(word for word in found.unknown if word != "family"))


def look(hub: Hub, file: Path, like: str = "", name: str = "") -> Recognised:
    """Read what a file holds; name: the weights that somebody chose. Raises CheckpointError where no part of it is a network of ours."""
    files = weights_in(file)
    every = checkpoint.every_candidate(files)
    recognised = {id(weights): found for weights in every if (found := recognise(weights.state, weights.trained_as))}
    for weights in named(every, name, str(file)) if name else every:
        if id(weights) in recognised:
            found = told_beside(files[0], of_its_name(recognised[id(weights)], file.name, hub.cards.get(like)))
            choices = tuple(dict.fromkeys(one.name for one in every if id(one) in recognised))
            return Recognised(weights, found, nearest(found, hub.cards, like), files, choices)
    what = what_it_is({key: tuple(value.shape) for key, value in every[0].state.items()})
    raise CheckpointError(f"{file} is no diffusion transformer and no vision transformer that can be read: {what}.")


def adopt(hub: Hub, file: Path, answers: Answers, name: str = "", progress: Callable[[int], None] = lambda _: None) -> Card:
    """Make a model of a file: read its architecture, write its card into the user's folder, and take its weights into the store.

    Raises RequestError that names what nobody said and what is usual, and for a name that is taken; CheckpointError, CardError and
    DownloadError as reading, parsing and copying do. Nothing is left behind then.
    """
    recognised = look(hub, file, answers.like, name)
    found, base = recognised.found, recognised.base
    identity = slug(answers.name or name_of(file))
    if identity in hub.cards:
        raise RequestError(
            f"There is a model {identity} already: give another name, or import the file as its weights.",
            command=f"python -m zoo import {identity} {file.name}",
        )
    if asked := questions(found, base, answers):
        usual = ", ".join(f"{flag} (usually {value})" for flag, value in asked.items())
        also = "; --schedule, --vae and --scale too where they are not those of" if base.schedule else "; the rest is as on"
        raise RequestError(
            f"{file.name} is a {found.family} of width {found.words['hidden_size']}, and its weights do not tell everything: "
            f"say {usual}{also} {base.id}."
        )
    if answers.vae:
        check_autoencoder(hub.card(answers.vae), found, hub.cards)
    with torch.device("meta"):
        params = sum(value.numel() for value in recognised.weights.state.values())
    also = preparation_beside(recognised.files[0]) if found.task in SEEING else []
    text = compose(identity, recognised.files[0].name, found, base, answers, params, [path.name for path in also])
    card = parse(identity, text)
    with torch.device("meta"):
        build_module(card)
    admit(hub.store, card, [*recognised.files, *also], progress, recognised.weights.name)
    try:
        hub.adopt(identity, text)
    except Exception:
        hub.store.remove(identity)
        raise
    return card
