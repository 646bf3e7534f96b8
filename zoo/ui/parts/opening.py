"""What an empty frame shows: a film that ships with the page, made by the bundled models (`python -m zoo.training.showcase`)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from zoo.ui.parts.film import Reel, film
from zoo.ui.server import page_files

STILLS = (
    "Noise becomes four pictures, step by step. The diffusion transformer that made them ships with this page "
    "and runs on this very machine: press Generate to make your own."
)
CLIPS = (
    "Four clips made from noise. The video diffusion transformer that made them ships with this page and runs on this very machine: "
    "press Generate to make your own."
)
MODELS = '<button type="button" data-tab="models" data-help="to-models">See the published models</button>'
HELP = {"to-models": "Opens the Models tab: the published models, where they come from and how to download them."}


def opening() -> str:
    """The empty frame of the Image tab: four known things forming from noise."""
    facts = shipped("opening")
    total = len(facts["noise"])
    labels = [f"step {k} of {total}, noise {noise:.2f}" for k, noise in enumerate(facts["noise"], 1)]
    return _film("opening", facts, labels, [f"{name}, forming from noise" for name in facts["subjects"]], STILLS)


def opening_clips() -> str:
    """The empty frame of the Video tab: four finished clips, playing."""
    facts = shipped("opening-clip")
    labels = [f"frame {k} of {facts['frames']}" for k in range(1, facts["frames"] + 1)]
    return _film("opening-clip", facts, labels, [f"{name}, a clip" for name in facts["subjects"]], CLIPS, facts["fps"], 0)


@cache
def shipped(name: str) -> dict[str, Any]:
    """What stands beside a sprite that ships: how it was made, and where its pictures are."""
    return json.loads(page_files.files()[f"{name}.json"].content)


def _film(name: str, facts: dict[str, Any], labels: list[str], names: list[str], words: str, *pace: float) -> str:
    reel = Reel(page_files.address(f"{name}.webp"), facts["across"], facts["width"], facts["height"], labels, *pace)
    screens = [(subject, [said]) for subject, said in zip(facts["subjects"], names, strict=True)]
    return film(reel, screens, f'<div class="film-words"><p>{words}</p><p>{MODELS}</p></div>', kind="empty")
