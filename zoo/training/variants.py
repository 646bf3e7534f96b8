"""The variants that the papers compare, each trained small on the same budget: how well they draw as they learn.

DiT's four ways to bring in time and class (Peebles and Xie, arXiv 2212.09748, figure 5) and Latte's four ways to attend in space and
time (Ma et al., arXiv 2401.03048, section 3), both with the bundled data and judges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.catalog.card import Card, cards
from zoo.networks.build import build_module
from zoo.training.quality import painted
from zoo.training.recipes import generator_loss
from zoo.training.trainer import Plan, Training

PICTURES = Plan(steps=5000, rate=1e-3, matrix_rate=5e-3)
"""Of a DiT, of 64 latents a step: about an hour on a core of a CPU."""
CLIPS = Plan(steps=2500, rate=1e-3, matrix_rate=5e-3)
"""Of a Latte, of 16 clips a step: about an hour on a core of a CPU."""
LOOKS = 7
"""Times at which a model draws on its way."""


def variants() -> dict[str, tuple[Card, Plan, int]]:
    """By name the card, the plan and the batch of each: tiny-dit's and tiny-latte's, smaller, all of a kind alike but for the variant."""
    dit, latte = cards()["tiny-dit"], cards()["tiny-latte"]
    found = {}
    for kind in ("adaln-zero", "adaln", "cross-attention", "in-context"):
        name = f"tiny-dit-{kind}"
        found[name] = (replace(dit, id=name, arch=dit.arch | {"hidden_size": 128, "num_heads": 4, "conditioning": kind}), PICTURES, 64)
    for number in (1, 2, 3, 4):
        name = f"tiny-latte-{number}"
        found[name] = (replace(latte, id=name, arch=latte.arch | {"hidden_size": 96, "num_heads": 4, "variant": number}), CLIPS, 16)
    return found


def curve(
    card: Card, z: Tensor, labels: Tensor, plan: Plan, batch: int, autoencoder: nn.Module, judge: nn.Module, samples: int
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """Train one variant from random weights on latents z, where they are; the averaged model, and at LOOKS times the step, the loss and
    the share of guided samples that the judge recognises (of clips also what is seen and how it moves, each alone)."""
    torch.manual_seed(0)
    training = Training(build_module(card).to(z.device), generator_loss(card, z, labels, batch), plan, 0)
    points = []
    for look in range(1, LOOKS + 1):
        while training.step < plan.steps * look // LOOKS:
            training.advance()
        with torch.cuda.stream(training.stream):
            shares = recognised(training.average, card, autoencoder, judge, samples)
            points.append({"step": training.step, "loss": round(training.smooth.item(), 5)} | shares)
    return training.average.eval(), points


@torch.no_grad()
def recognised(model: nn.Module, card: Card, autoencoder: nn.Module, judge: nn.Module, samples: int) -> dict[str, float]:
    """The shares of samples, drawn as the card says, in which a judge recognises the class."""
    images, labels = painted(model, autoencoder, card, card.sampling.solver, card.sampling.steps, card.guidance.default, samples, samples)
    found = torch.cat([judge(part).logits.argmax(-1) for part in images.split(100)])
    shares = {"recognised": found == labels}
    if card.video:
        shares |= {"thing": found // 6 == labels // 6, "motion": found % 6 == labels % 6}
    return {name: round(right.float().mean().item(), 4) for name, right in shares.items()}
