"""How far a picture or clip is from the data that a classifier knows: a distance of its features to those of held-out data."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from zoo.catalog.card import Card
from zoo.catalog.labels import DATA

ACCEPTED = 0.995
"""Share of held-out data that lies within the limit."""
SHRINKAGE = 0.1
"""How much of each class's covariance is that of all classes together, so that it can be inverted where few samples made it."""


class DataDistance(NamedTuple):
    """How far one picture or clip is from the data, and from where on it counts as far."""

    value: float
    limit: float
    judge: str
    """Id of the model whose features say so."""
    accepted: float = ACCEPTED
    """Share of held-out data within the limit."""

    @property
    def far(self) -> bool:
        """Whether it is farther than nearly all held-out data are."""
        return self.value > self.limit

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"value": round(self.value, 3), "limit": round(self.limit, 3), "judge": self.judge, "far": self.far}


class HeldOut:
    """Features of held-out data: mean (classes, d) and covariance (classes, d, d) of each class, and the limit of the distance.

    The rule: a picture is far from the data where the Mahalanobis distance of its features (the class token after the last block) to
    the nearest class is beyond the limit, within which `ACCEPTED` of other held-out data lie; each class has its own covariance,
    `SHRINKAGE` of it that of all classes. Measured for tiny-vit, limit 18.8: of 4,096 drawings with other seeds (median 7.2) 0.4 % are
    far; all of 13 photographs and 67 crops of them (22.3 and more), of 128 pictures of noise (25.4), 8 pages of text (27.8) and 15
    screenshots (24.7), and 62 of 64 pictures of one colour (17.1) are. For tiny-vivit, limit 19.7, all of 9 photographs and films, none
    of 64 held-out videos.
    Source: Lee et al., arXiv 1807.03888, section 2.1, with the covariance of Friedman's regularised discriminant analysis (1989).
    """

    def __init__(self, judge: str, means: Tensor, covariances: Tensor, limit: float) -> None:
        self.judge, self.means, self.limit = judge, means.double(), limit
        class_covariances = covariances.double()
        self.precisions = torch.linalg.inv((1 - SHRINKAGE) * class_covariances + SHRINKAGE * class_covariances.mean(0))

    def distances(self, features: Tensor) -> Tensor:
        """Distances (n,) of features (n, d) to the nearest class."""
        offsets = features.double()[:, None] - self.means
        return torch.einsum("nki,kij,nkj->nk", offsets, self.precisions, offsets).clamp(min=0).sqrt().amin(1)

    def measure(self, feature: Tensor) -> DataDistance:
        """The distance of one picture or clip, from its features (d,)."""
        return DataDistance(float(self.distances(feature[None])[0]), self.limit, self.judge)


@cache
def held_out(labels: str) -> HeldOut | None:
    """The held-out data of a list of labels, as far as their features ship; None for others, such as ImageNet's."""
    file = DATA / f"{labels}-features.npz"
    if not labels or not file.is_file():
        return None
    with np.load(file) as values:
        if "limit" not in values:
            return None
        means, covariances = (torch.from_numpy(values[name]) for name in ("means", "covariances"))
        return HeldOut(str(values["judge"]), means, covariances, float(values["limit"]))


def judge_of(card: Card) -> str | None:
    """The id of the model whose features say how far a picture is from the data of a classifier, None where there are none."""
    shipped = isinstance(card.labels, str) and card.task.endswith("classification")  # of names that a user gave there are none
    data = held_out(card.labels) if shipped else None
    return data.judge if data else None
