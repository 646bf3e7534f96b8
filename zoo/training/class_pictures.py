"""`python -m zoo.training.class_pictures`: make the small pictures of the lists of classes again, one a class, by the bundled models.

One sprite a label list, in zoo/ui/files: ten pictures in a row, of 48 by 48 pixels, in the order of the classes.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zoo.catalog.card import Card
from zoo.compare.metrics import JUDGES, logits_and_features
from zoo.engine.hub import Hub
from zoo.errors import ZooError
from zoo.media.pictures import to_uint8
from zoo.training.quality import drawn

FILES = Path(__file__).parent.parent / "ui" / "files"
SIDE, ACROSS, STEPS = 48, 10, 25
"""Pixels of a picture, and pictures in a row, which the page knows as well (classes.js, classes.css); steps of a sample."""


def painters(hub: Hub) -> dict[str, Card]:
    """The first bundled model of each label list that ships, by the list."""
    cards = [card for card in hub.cards.values() if card.generates and card.labels in JUDGES and card.weights[0].origin == "bundled"]
    return {card.labels: card for card in reversed(cards)}


@torch.no_grad()
def surest(hub: Hub, card: Card, tries: int) -> np.ndarray:
    """One picture of each class (classes, h, w, 3), uint8: that of the seed whose result the judge takes for its class most surely; of a
    video, the frame in its middle."""
    images, labels = drawn(hub, card, card.sampling.solver, STEPS, card.guidance.default, tries * len(card.label_names))
    judge = hub.load(hub.card(JUDGES[card.labels].model)).module
    shares = torch.cat([logits_and_features(judge, part)[0].softmax(-1) for part in images.split(64)])
    sure = shares.gather(1, labels[:, None]).view(tries, -1)  # (tries, classes)
    best = images.unflatten(0, (tries, -1))[sure.argmax(0), torch.arange(sure.shape[1])]
    print(f"{card.id}: the judge is least sure of {card.label_names[sure.amax(0).argmin()]} ({sure.amax(0).min():.1%})", file=sys.stderr)
    return to_uint8(best[:, best.shape[1] // 2] if card.video else best)


def sprite(pictures: np.ndarray) -> Image.Image:
    """Pictures (n, h, w, 3), uint8, made small and laid on one, row by row, with nothing between them."""
    sheet = Image.new("RGB", (ACROSS * SIDE, math.ceil(len(pictures) / ACROSS) * SIDE), "white")
    for index, picture in enumerate(pictures):
        tile = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        sheet.paste(tile, (index % ACROSS * SIDE, index // ACROSS * SIDE))
    return sheet


def webp(sheet: Image.Image) -> bytes:
    """A sprite as a file."""
    file = io.BytesIO()
    sheet.save(file, "WEBP", quality=88, method=6)
    return file.getvalue()


def main() -> None:
    """Make the sprites of all lists, or of some."""
    parser = argparse.ArgumentParser(prog="python -m zoo.training.class_pictures", description=__doc__)
    parser.add_argument("lists", nargs="*", help="label lists; all of the bundled models where none is named")
    parser.add_argument("--tries", type=int, default=4, help="samples of each class, of which the judge's surest is taken")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(device="cpu", cache_dir=folder, offline=True)
        known = painters(hub)
        if unknown := set(arguments.lists) - set(known):
            parser.error(f"no bundled model paints the classes of {', '.join(sorted(unknown))}: choose of {', '.join(known)}")
        for name in arguments.lists or known:
            content = webp(sprite(surest(hub, known[name], arguments.tries)))
            (FILES / f"classes-{name}.webp").write_bytes(content)
            print(f"classes-{name}.webp: {len(content):,} bytes", file=sys.stderr)
        hub.close()


if __name__ == "__main__":
    try:
        main()
    except ZooError as error:
        sys.exit(f"class pictures: {error}")
