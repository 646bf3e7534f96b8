"""`python -m zoo.training NAME`: train one bundled model again, or go on where it stopped; the hub keeps the old one until it is done."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from zoo.catalog.card import CARDS, Card, cards
from zoo.catalog.checkpoint import load_into, read
from zoo.catalog.environment import cache_folder
from zoo.catalog.labels import DATA
from zoo.catalog.store import WEIGHTS
from zoo.compare import nearest
from zoo.compare.metrics import JUDGES
from zoo.engine.hub import Hub
from zoo.engine.results import check_file, check_folder
from zoo.errors import ZooError
from zoo.networks.build import build_module
from zoo.training import clips, emoji, nearest_data, recipes
from zoo.training.install import install
from zoo.training.quality import features, report, sheet
from zoo.training.recipes import RECIPES, Recipe, weights_path
from zoo.training.trainer import Loss, fit


def trained(card: Card) -> nn.Module:
    """A bundled model as it stands in zoo/catalog/weights."""
    module = build_module(card)
    load_into(module, weights_path(card.id))
    return module.eval()


def first(card: Card, recipe: Recipe) -> nn.Module:
    """What a training begins with: the weights as they are, random ones, or those of another model where names and shapes agree."""
    if recipe.card:
        return trained(card).train()
    torch.manual_seed(recipe.seed)
    model = build_module(card)
    if recipe.start:
        begin(model, read(weights_path(recipe.start)))
    return model


def begin(model: nn.Module, other: Mapping[str, Tensor]) -> None:
    """Give a model of clips the weights of one of pictures where names and shapes agree, and to each of its labels the vector of its
    thing."""
    table = "y_embedder.embedding_table.weight"
    own, words = model.state_dict(), list(emoji.CLASSES)
    rows = [words.index(thing) for thing in clips.ACTS for _ in range(len(clips.LABELS) // len(clips.ACTS))]
    found = {key: value for key, value in other.items() if key in own and value.shape == own[key].shape}
    model.load_state_dict(found | {table: other[table][[*rows, len(words)]]}, strict=False)


def loss_for(card: Card, recipe: Recipe, device: str = "cpu") -> Loss:
    """The loss of a recipe, its data drawn or encoded once, on the device."""
    print("drawing the training data", file=sys.stderr, flush=True)
    judge, film = card.task.endswith("classification"), card.video or card.task == "video-classification"
    images, labels = recipes.videos(recipes.VIDEOS, 1, device) if film else recipes.pictures(recipes.POOL, 1, device)
    if judge:
        return recipes.classifier_loss(images, labels, recipe.batch)
    if card.task == "autoencoder":
        if not recipe.frozen:
            return recipes.autoencoder_loss(images, recipe.batch)
        return recipes.decoder_loss(images, recipes.latents(trained(card).to(device), images, 1.0), recipe.batch)
    z = recipes.latents(trained(cards()[card.latent.vae]).to(device), images, card.latent.scale)
    return recipes.generator_loss(card, z, labels, recipe.batch)


def main() -> None:
    """Parse the name, train in a folder of its own, and install weights and card at the end; or measure them."""
    parser = argparse.ArgumentParser(prog="python -m zoo.training", description=__doc__)
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to train: minutes on a large GPU, else hours")
    parser.add_argument("--measure", action="store_true", help="measure the figures of its card instead, on stdout as JSON")
    parser.add_argument("--images", type=int, default=1000, help="samples to measure")
    parser.add_argument("--sheet", metavar="PNG", help="write two samples of every class into one picture instead")
    parser.add_argument("--features", action="store_true", help="write a judge's features of held-out data to zoo/catalog/data instead")
    parser.add_argument("--drawings", action="store_true", help="write what samples are likened to (zoo/compare/nearest.py) instead")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = RECIPES[arguments.name]
    card = cards()[recipe.card or arguments.name]
    if arguments.measure:
        print(json.dumps(report(Hub(device="cpu"), card, arguments.images), indent=1))
        return
    if arguments.drawings:
        if card.id != nearest.JUDGE:
            parser.error(f"the features are those of {nearest.JUDGE}: choose it")
        nearest_data.write(Hub(device="cpu"))
        return
    if arguments.features:
        if card.labels not in JUDGES or JUDGES[card.labels].model != card.id:
            parser.error(f"{card.id} judges nothing: choose tiny-vit or tiny-vivit")
        np.savez_compressed(DATA / f"{card.labels}-features.npz", **features(Hub(device="cpu"), card))
        return
    if arguments.sheet:
        check_file(Path(arguments.sheet))
        sheet(Hub(device="cpu"), card).save(arguments.sheet, optimize=True)
        return
    model = first(card, recipe)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(recipe.frozen))
    weights = cache_folder() / "training" / f"{arguments.name}.safetensors"
    for folder in (weights.parent, WEIGHTS, CARDS):
        check_folder(folder)  # before hours of work
    fit(model.to(arguments.device), loss_for(card, recipe, arguments.device), recipe.plan, weights, recipe.seed)
    install(card, weights, WEIGHTS / f"{card.id}.safetensors", CARDS / f"{card.id}.md")
    print(f"installed {card.id}: measure it with --measure, and write the figures on its card", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except ZooError as error:
        sys.exit(f"training: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
