"""Other people's code on the same weights: what they compute, and the plain restatement of the authors' computation."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.sampling import Schedule

if TYPE_CHECKING:
    from zoo.catalog.card import Card

OFFICIAL = Path(__file__).parents[3] / "tests" / "official.py"
"""The restatement, in a checkout of the repository; who has only the package `zoo` has none."""


@dataclass(frozen=True)
class Task:
    """What everybody computes: one model's guided samples from the noise x (b, c, h, w) or (b, f, c, h, w)."""

    card: Card
    state: Mapping[str, Tensor]
    """The weights under the authors' names."""
    dtype: torch.dtype
    x: Tensor
    t: float
    """The time of the single step, as the network is told it."""
    labels: Tensor | None
    """(b,) long; None for a model without classes."""
    context: Tensor | None
    """(2, n, d), of the prompt and of the negative one, for a model that reads text."""
    guidance: float
    steps: int


@dataclass
class Peer:
    """Somebody else's code for a task; a loop is None where there is none that could be compared."""

    name: str
    step: Callable[[], Tensor]
    loop: Callable[[], Tensor] | None = None
    channels: int | None = None
    """Channels that its loop guides (None: all), and the spacing of its steps: ours does the same where the two are checked."""
    spacing: str = "even"
    patches: list[str] = field(default_factory=list)
    """What was changed in it so that it computes the same, or what else is to be known, a sentence each."""


def restatement() -> ModuleType | None:
    """The module tests/official.py, None where there is no such file."""
    if not OFFICIAL.is_file():
        return None
    spec = importlib.util.spec_from_file_location("patchwork_official", OFFICIAL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def official_peer(task: Task) -> Peer | str:
    """The authors' computation as tests/official.py restates it, or a sentence why there is none."""
    official, card = restatement(), task.card
    if official is None:
        return "The authors' computation is restated in tests/official.py, which is not here: run this from a checkout of the repository."
    unpublished = card.arch.get("conditioning", "adaln-zero") != "adaln-zero" or card.arch.get("variant", 1) != 1
    if card.family not in official.FAMILIES or task.context is not None or unpublished:
        return f"The authors' computation of {card.id} is not restated in tests/official.py, so it is not compared."
    network = official.build(card.family, card.arch, task.state)
    x = task.x
    if task.guidance == 1:

        def predict(x: Tensor, t: Tensor, _: Tensor | None = None) -> Tensor:
            return network(x, t, task.labels).to(x.dtype)

    elif card.family == "u-vit":
        predict = official.guided(network, task.labels, card.arch["num_classes"], task.guidance, None, calls=2)
    else:
        predict, x = (
            official.guided(network, task.labels, card.arch["num_classes"], task.guidance, card.guidance.channels),
            torch.cat([x, x]),
        )
    t = torch.full((len(x),), task.t, device=x.device)
    peer = Peer("official, restated", lambda: predict(x, t)[: len(task.x)], channels=card.guidance.channels)
    if card.schedule["kind"] != "linear":
        peer.patches.append("The loop of U-ViT's authors is not restated, so only a step of theirs is compared.")
        return peer
    words = card.schedule
    betas = torch.linspace(words["start"], words["end"], int(words["steps"]), dtype=torch.float64)
    indices = Schedule.from_card(words).respaced(task.steps)
    peer.loop = lambda: official.ddim(predict, x, betas, indices)[: len(task.x)]
    return peer
