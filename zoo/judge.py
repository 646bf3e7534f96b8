"""How good samples are, by the bundled judges: the share that they recognise, and the Frechet distance of features to held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.card import DATA, Card
from zoo.hub import Hub

JUDGES = {"shapes": "tiny-vit", "motions": "tiny-vivit"}
"""Who judges samples, by the label list of what they show."""
ENOUGH = 128
"""Samples from which a Frechet distance is told; the features have 96 dimensions."""


@torch.no_grad()
def looked_at(judge: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (b, classes) and features (b, d), the class token after the last block, of pixels in [-1, 1]."""
    device = next(judge.parameters()).device
    parts = [judge(part.to(device), output_hidden_states=True) for part in pixels.split(64)]
    return torch.cat([part.logits for part in parts]), torch.cat([part.hidden_states[-1][:, 0] for part in parts])


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
    with np.load(file) as kept:
        means, covariances = (torch.from_numpy(kept[name]).double() for name in ("means", "covariances"))
    share = torch.bincount(torch.tensor(labels), minlength=len(means)).double() / len(labels)
    mean = share @ means
    apart = means - mean
    return mean, torch.einsum("k,kij->ij", share, covariances) + torch.einsum("k,ki,kj->ij", share, apart, apart)


def judged(hub: Hub, card: Card, images: np.ndarray, labels: Sequence[int]) -> dict[str, Any]:
    """What a judge says of samples (b, h, w, 3) or (b, f, h, w, 3) uint8: how many show their class, and once there are ENOUGH their
    Frechet distance to held-out data of these classes; empty where nobody judges such samples."""
    if card.labels not in JUDGES or not hub.local(judge := hub.card(JUDGES[card.labels])):
        return {}
    pixels = torch.from_numpy(images).movedim(-1, -3).float() / 127.5 - 1
    if tuple(pixels.shape[-2:]) != (judge.arch["input_size"],) * 2 or pixels.shape[1] != judge.arch.get("num_frames", pixels.shape[1]):
        return {}
    logits, features = hub.compute(looked_at, hub.load(judge).module, pixels)
    right = int((logits.argmax(-1).cpu() == torch.tensor(labels)).sum())
    known = reference(DATA / f"{card.labels}-features.npz", labels) if len(images) >= ENOUGH else None
    return {
        "recognised": right, "judged": len(images), "judge": judge.id,
        "frechet": round(frechet(moments(features.cpu()), known), 3) if known else None,
    }  # fmt: skip
