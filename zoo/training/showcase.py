"""`python -m zoo.training.showcase NAME`: make a picture that ships with the page again, by the bundled models: opening, examples.

Each is a sprite in zoo/ui/files with a JSON file beside it that says how it was made and where its pictures are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.catalog.card import Card
from zoo.compare.metrics import JUDGES, logits_and_features
from zoo.engine.hub import Hub
from zoo.engine.request import Request, Result, find_label
from zoo.engine.steps_film import noise_left
from zoo.errors import ZooError
from zoo.media import sprites

FILES = Path(__file__).parent.parent / "ui" / "files"
OPENING = ("rocket", "fox", "pizza", "rainbow")
OPENING_CLIPS = ("rocket flies up", "fish swims left", "car drives right", "balloon floats up")
EXAMPLES = ("dog", "rocket", "pizza", "sailboat", "guitar", "owl")
EXAMPLE_CLIPS = ("rocket flies up", "fish swims left", "star spins", "balloon grows", "car drives right", "ghost floats down")
SETTINGS: tuple[dict[str, Any], ...] = (
    {"model": "tiny-dit"},
    {"model": "tiny-uvit"},
    {"model": "tiny-unet"},
    {"model": "tiny-dit", "solver": "ddim", "steps": 50},
    {"model": "tiny-uvit", "solver": "unipc", "steps": 15},
    {"model": "tiny-dit", "guidance": 5.0},
)
"""Of the examples, in turn; what is not said is the card's own."""

Command = Callable[[Hub, argparse.Namespace], None]
COMMANDS: dict[str, Command] = {}


def command(make: Command) -> Command:
    """Let a function be called by its name from the command line."""
    COMMANDS[make.__name__.replace("_", "-")] = make
    return make


@command
def opening(hub: Hub, arguments: argparse.Namespace) -> None:
    """Four things forming from noise through all steps, and four finished clips."""
    words = {"model": "tiny-dit", "steps": 25, "guidance": arguments.guidance}
    result = sampled(hub, words, arguments.classes or OPENING, arguments.tries)
    last = hub.last_step(result.run)
    frames = np.stack([hub.step_images(result.run, k, noisy=True)[1] for k in range(1, last + 1)], 1)
    noise = [round(share, 4) for share in noise_left(hub.card("tiny-dit"), result.request)]
    write("opening", np.concatenate([*frames]), facts_of(hub, result) | {"noise": noise})
    clips = sampled(hub, {"model": "tiny-latte"}, arguments.clips or OPENING_CLIPS, arguments.tries)
    facts = facts_of(hub, clips) | {"frames": clips.images.shape[1], "fps": clips.request.fps}
    write("opening-clip", np.concatenate([*clips.images]), facts)


@command
def examples(hub: Hub, arguments: argparse.Namespace) -> None:
    """Six pictures, each with the words of an address that make it again, and six clips, shown by the frame in their middle."""
    names = arguments.classes or EXAMPLES
    stills = [sampled(hub, SETTINGS[k % len(SETTINGS)], [name], arguments.tries) for k, name in enumerate(names)]
    listed = [words_of(hub, one) | {"count": 1} for one in stills]
    write("examples", np.concatenate([one.images for one in stills]), {"examples": listed}, lossless=True)
    clips = [sampled(hub, {"model": "tiny-latte"}, [name], arguments.tries) for name in arguments.clips or EXAMPLE_CLIPS]
    frame = clips[0].images.shape[1] // 2
    listed = [words_of(hub, one) | {"frames": one.images.shape[1], "fps": one.request.fps} for one in clips]
    pictures = np.concatenate([one.images[:, frame] for one in clips])
    write("example-clips", pictures, {"examples": listed, "shown": frame}, lossless=True)


def sampled(hub: Hub, words: dict[str, Any], names: Any, tries: int) -> Result:
    """One picture, or video, of each class in one run, from the seed of `tries` whose result the judge is surest of."""
    card = hub.card(words["model"])
    labels = [find_label(card, name) for name in names]
    seeds = [surest(hub, card, words, label, tries) for label in labels]
    return made(hub, Request(**words, labels=labels, seeds=seeds))


def surest(hub: Hub, card: Card, words: dict[str, Any], label: int, tries: int) -> int:
    """The seed of 0..tries-1 whose result the judge of the model's classes takes for its class most surely."""
    judge = hub.load(hub.cards[JUDGES[card.labels].model]).module
    shares = []
    for seed in range(tries):
        images = made(hub, Request(**words, labels=label, seeds=seed)).images
        logits, _ = logits_and_features(judge, torch.from_numpy(images).movedim(-1, -3).float() / 127.5 - 1)
        shares.append(logits.softmax(-1)[0, label].item())
    best = int(np.argmax(shares))
    print(f"{card.id}, {card.label_names[label]}: seed {best}, the judge is sure to {100 * shares[best]:.2f} %", file=sys.stderr)
    return best


def made(hub: Hub, request: Request) -> Result:
    """What a request comes to."""
    *_, result = hub.generate(request, preview=False)
    return result


def words_of(hub: Hub, result: Result) -> dict[str, Any]:
    """The words of an address that make the first picture of a result again."""
    request = result.request
    label = hub.card(request.model).label_names[request.labels[0]]
    return {
        "model": request.model, "label": label, "seed": request.seeds[0], "steps": request.steps, "solver": request.solver,
        "guidance": request.guidance,
    }  # fmt: skip


def facts_of(hub: Hub, result: Result) -> dict[str, Any]:
    """What a film of several pictures says of itself."""
    names = hub.card(result.request.model).label_names
    return {"subjects": [names[label] for label in result.request.labels], "request": result.request.to_dict()}


def write(name: str, pictures: np.ndarray, facts: dict[str, Any], lossless: bool = False) -> None:
    """A sprite of pictures (n, h, w, 3) uint8, and what is to be known of it, into the files of the page."""
    sprite = sprites.sprite(pictures, lossless)
    facts |= {"across": sprite.across, "width": sprite.width, "height": sprite.height}
    (FILES / f"{name}.webp").write_bytes(sprite.content)
    (FILES / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"{name}.webp: {len(pictures)} pictures, {len(sprite.content):,} bytes", file=sys.stderr)


def main() -> None:
    """Parse what to make, and make it with a hub whose other results go nowhere."""
    parser = argparse.ArgumentParser(prog="python -m zoo.training.showcase", description=__doc__)
    parser.add_argument("name", choices=sorted(COMMANDS))
    names = {"type": lambda text: [one.strip() for one in text.split(",")], "metavar": "NAME,NAME"}
    parser.add_argument("--classes", help="classes of the pictures, in the place of the usual ones", **names)
    parser.add_argument("--clips", help="classes of the clips, in the place of the usual ones", **names)
    parser.add_argument("--guidance", type=float, default=3.0, help="of the opening pictures")
    parser.add_argument("--tries", type=int, default=16, help="seeds of each, of which the judge's surest is taken")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(device="cpu", cache_dir=folder, offline=True)
        COMMANDS[arguments.name](hub, arguments)
        hub.close()


if __name__ == "__main__":
    try:
        main()
    except ZooError as error:
        sys.exit(f"showcase: {error}")
