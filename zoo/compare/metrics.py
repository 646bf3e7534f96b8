"""How good samples are, by the bundled judges: the share that they recognise, and the Frechet distance of features to held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.catalog.card import Card
from zoo.catalog.labels import DATA
from zoo.engine.hub import Hub
from zoo.networks.inception import statistics

STATISTICS = "imagenet-1k-statistics.npz"
"""The file beside Inception's weights that holds the mean and the covariance of ImageNet's features."""


@dataclass(frozen=True)
class Judge:
    """Who judges samples: the id of its card, from how many samples on a Frechet distance is told, and whether every class must be among
    them."""

    model: str
    enough: int
    all_classes: bool = False


JUDGES = {
    "emoji": Judge("tiny-vit", 128),
    "clips": Judge("tiny-vivit", 128),
    "imagenet-1k": Judge("inception-v3", 1024, all_classes=True),
}
"""By the label list of what is judged. The bundled ones have features of 96 numbers and know their reference by class; Inception's
2,048 are compared with the statistics that a user brought with its weights."""


@torch.no_grad()
def logits_and_features(judge: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (b, classes) and features (b, d), the class token after the last block, of pixels in [-1, 1]."""
    part = judge(pixels.to(next(judge.parameters()).device), output_hidden_states=True)
    return part.logits.cpu(), part.hidden_states[-1][:, 0].cpu()


@torch.no_grad()
def _inception(judge: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    features, logits = judge(pixels.to(next(judge.parameters()).device))
    return logits.cpu(), features.cpu()


def _over(hub: Hub, own: Card, images: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """What a judge makes of all samples, some at a time."""
    look, module = _inception if own.family == "inception" else logits_and_features, hub.load(own).module
    outputs = []
    for first in range(0, len(images), 16):
        part = np.stack([images[k] for k in range(first, min(first + 16, len(images)))])
        outputs.append(hub.compute(look, module, torch.from_numpy(part).movedim(-1, -3).float() / 127.5 - 1))
    return torch.cat([logits for logits, _ in outputs]), torch.cat([features for _, features in outputs])


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of features (n, d), in float64."""
    x = features.double()
    return x.mean(0), torch.cov(x.T)


def frechet(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> float:
    """Frechet distance of two Gaussians, |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Source: Heusel et al., arXiv 1706.08500."""
    (m1, c1), (m2, c2) = one, other
    values, vectors = torch.linalg.eigh(c1)
    root = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    both = torch.linalg.eigvalsh(root @ c2 @ root).clamp(min=0).sqrt().sum()
    return float((m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * both)


def reference(file: Path, labels: Sequence[int]) -> tuple[Tensor, Tensor] | None:
    """Mean and covariance of a judge's features of held-out data with the same share of each class as `labels`; None without the file.

    The file holds a mean (classes, d) and a covariance (classes, d, d) of each class.
    """
    if not file.is_file():
        return None
    with np.load(file) as arrays:
        means, covariances = (torch.from_numpy(arrays[name]).double() for name in ("means", "covariances"))
    share = torch.bincount(torch.tensor(labels), minlength=len(means)).double() / len(labels)
    mean = share @ means
    apart = means - mean
    return mean, torch.einsum("k,kij->ij", share, covariances) + torch.einsum("k,ki,kj->ij", share, apart, apart)


def quality_of(hub: Hub, card: Card, images: Sequence[np.ndarray], labels: Sequence[int]) -> dict[str, Any]:
    """What a judge says of samples (h, w, 3) or (f, h, w, 3) uint8: how many show their class, where it knows classes, and once
    there are enough their Frechet distance to held-out data; empty where nobody judges such samples."""
    if card.labels not in JUDGES or not hub.local(own := hub.cards[JUDGES[card.labels].model]):
        return {}
    judge = JUDGES[card.labels]
    whole = len(images) >= judge.enough and (not judge.all_classes or len(set(labels)) == len(card.label_names))
    figures = {"judge": own.id, "judged": len(images), "enough": judge.enough, "frechet": None}
    if own.family == "inception":
        if whole:
            reference_moments = statistics(hub.store.find(own).also[STATISTICS])
            figures["frechet"] = round(frechet(moments(_over(hub, own, images)[1]), reference_moments), 3)
        return figures
    if images[0].shape[:-1] != ((own.arch["num_frames"],) if card.video else ()) + (own.arch["input_size"],) * 2:
        return {}
    logits, features = _over(hub, own, images)
    figures["recognised"] = int((logits.argmax(-1) == torch.tensor(labels)).sum())
    if whole and (reference_moments := reference(DATA / f"{card.labels}-features.npz", labels)):
        figures["frechet"] = round(frechet(moments(features), reference_moments), 3)
    return figures
