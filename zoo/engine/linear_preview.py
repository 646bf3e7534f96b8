"""Pictures of latents by a linear map to colours, learned from what an autoencoder decoded: nearly free where decoding is dear."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from zoo.catalog.files import atomic_write
from zoo.media import pictures

if TYPE_CHECKING:
    from torch import Tensor

OLD = 0.9
"""Weight of what was learned before, whenever something is learned."""


class LinearPreview:
    """The maps of all autoencoders, kept between starts: least squares from the channels of a latent place to its mean colour."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            sums = {str(name): tuple(torch.tensor(one, dtype=torch.float64) for one in pair) for name, pair in values.items()}
            self._sums = {name: pair for name, pair in sums.items() if _sound(pair)}
        except (OSError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError, RecursionError):
            pass  # nothing was learned yet, or not by this version

    def learn(self, name: str, latents: Tensor, images: np.ndarray) -> None:
        """Take in latents (..., c, h, w) and what the autoencoder made of them, (..., H, W, 3) uint8."""
        z = latents.detach().cpu().double().flatten(0, -4)
        colours = torch.from_numpy(images.reshape(-1, *images.shape[-3:])).movedim(-1, 1).double() / 127.5 - 1
        colours = F.adaptive_avg_pool2d(colours, z.shape[-2:]).movedim(1, -1).reshape(-1, 3)
        places = _places(z)
        old = self._sums.get(name, (0.0, 0.0))
        self._sums[name] = OLD * old[0] + places.T @ places / len(places), OLD * old[1] + places.T @ colours / len(places)
        with suppress(OSError), atomic_write(self.path) as part:
            part.write_text(json.dumps({key: [one.tolist() for one in pair] for key, pair in self._sums.items()}), encoding="utf-8")

    def pictures(self, name: str, latents: Tensor, factor: int) -> np.ndarray | None:
        """Latents (..., c, h, w) as pictures (..., factor h, factor w, 3) uint8; None where nothing was learned of this autoencoder."""
        if name not in self._sums:
            return None
        products, targets = self._sums[name]
        weights = torch.linalg.solve(products + 1e-3 * torch.eye(len(products), dtype=torch.float64), targets)
        z = latents.detach().cpu().double().flatten(0, -4)
        small = (_places(z) @ weights).view(len(z), *z.shape[-2:], 3).movedim(-1, 1).float()
        large = F.interpolate(small, scale_factor=factor, mode="bilinear", align_corners=False)
        return pictures.to_uint8(large).reshape(*latents.shape[:-3], *large.shape[-2:], 3)


def _places(z: Tensor) -> Tensor:
    """The channels of every place and a one: (b, c, h, w) to (b h w, c + 1)."""
    channels = z.movedim(1, -1).reshape(-1, z.shape[1])
    return torch.cat([channels, torch.ones(len(channels), 1, dtype=channels.dtype)], 1)


def _sound(pair: tuple[Tensor, ...]) -> bool:
    """Whether what a file says of an autoencoder are sums as they are learned here, not NaN nor of other shapes."""
    n = len(pair[0])
    return [tuple(one.shape) for one in pair] == [(n, n), (n, 3)] and all(bool(one.isfinite().all()) for one in pair)
