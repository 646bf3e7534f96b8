"""The module of any card, and the names that its published weights need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo import backbones
from zoo.networks import autoencoders, inception, text_encoders, vision

if TYPE_CHECKING:
    from torch import nn

    from zoo.catalog.card import Card
    from zoo.catalog.checkpoint import Rename


def build_module(card: Card) -> nn.Module:
    """The module of any card, randomly initialised: a backbone, an autoencoder, a vision transformer, a text encoder or a judge."""
    if card.family in vision.FAMILIES:
        return vision.build(card.family, card.arch)
    builders = {
        "autoencoder-kl": autoencoders.build, "autoencoder-kl-temporal": autoencoders.build_temporal, "clip-text": text_encoders.build_clip,
        "t5": text_encoders.build_t5, "inception": lambda arch: inception.Inception(**arch),
    }  # fmt: skip
    return builders[card.family](card.arch) if card.family in builders else backbones.build(card.family, card.arch)


def renaming(card: Card) -> Rename | None:
    """What gives the weights of a card the names that its module has, where they were published under others."""
    return inception.rename_state if card.family == "inception" else vision.rename_state if card.family in vision.FAMILIES else None
