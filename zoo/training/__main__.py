"""`python -m zoo.training NAME`: train one bundled model again, or go on where it stopped."""

from __future__ import annotations

import argparse
import json
import sys

import torch

from zoo.card import Card, cards
from zoo.checkpoint import load_into
from zoo.hub import Hub, build_module
from zoo.sampling.schedule import Schedule
from zoo.training import recipes
from zoo.training.quality import report
from zoo.training.recipes import RECIPES, weights_path
from zoo.training.trainer import fit


def loss_for(card: Card) -> recipes.Loss:
    """The loss of a card's task, its data drawn or encoded once."""
    if card.task == "autoencoder":
        return recipes.autoencoder_loss(RECIPES[card.id].seed)
    if card.task == "image-classification":
        return recipes.classifier_loss(RECIPES[card.id].seed)
    autoencoder = build_module(cards()[card.latent.vae])
    load_into(autoencoder, weights_path(card.latent.vae))
    print("encoding the training pictures", file=sys.stderr)
    z, labels = recipes.latents(autoencoder.eval(), card.latent.scale)
    return recipes.diffusion_loss(
        z, labels, Schedule.from_card(card.schedule), card.arch.get("learn_sigma", False), card.arch["num_classes"], RECIPES[card.id].seed
    )


def main() -> None:
    """Parse the name, train and leave the weights in zoo/weights; or measure them."""
    parser = argparse.ArgumentParser(prog="python -m zoo.training", description=__doc__)
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", action="store_true", help="measure the figures of its card instead, on stdout as JSON")
    parser.add_argument("--images", type=int, default=1000, help="samples to measure")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    card, recipe = cards()[arguments.name], RECIPES[arguments.name]
    if arguments.measure:
        print(json.dumps(report(Hub(device="cpu"), card, arguments.images), indent=1))
        return
    torch.manual_seed(recipe.seed)
    fit(build_module(card), loss_for(card), recipe.plan, weights_path(card.id))


if __name__ == "__main__":
    main()
