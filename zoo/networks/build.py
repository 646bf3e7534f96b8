"""The module of any card, and the names that its published weights need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from zoo import backbones
from zoo.catalog.card import SEEING
from zoo.networks import autoencoders, inception, text_encoders, vision

if TYPE_CHECKING:
    from torch import Tensor, nn

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


def example_pass(card: Card, module: nn.Module, noise: Callable[..., Tensor], rows: int = 1) -> Tensor:
    """One forward of the module of a card, of inputs of its usual size; of an autoencoder, of latents (1, c, 8, 8).

    noise: (*shape) -> a tensor of that shape, on the module's device; the network is told time 500 and class 0; rows: of what a model
    that generates is asked.
    """
    arch = card.arch
    if card.task == "autoencoder":
        words = {"num_frames": 1} if card.family == "autoencoder-kl-temporal" else {}
        return module.decode(noise(1, arch["latent_channels"], 8, 8), **words).sample
    if card.task == "text-encoder":
        ids = torch.arange(arch["num_context_tokens"])[None] % arch["vocab_size"]
        return module(input_ids=ids.to(next(module.parameters()).device)).last_hidden_state
    if card.task == "judge":
        return module(noise(1, 3, 64, 64))[0]
    frames = (arch["num_frames"],) if card.video or card.task == "video-classification" else ()
    x = noise(rows, *frames, arch["in_channels"], arch["input_size"], arch["input_size"])
    if card.task in SEEING:
        output = module(x)
        return output.logits if card.task.endswith("classification") else output.last_hidden_state
    y = torch.zeros(rows, dtype=torch.long, device=x.device) if arch.get("num_classes") else None
    if card.text:
        y = noise(rows, arch.get("num_context_tokens", 120), arch["context_dim"])
    return module(x, torch.full((rows,), 500.0, device=x.device), y)
