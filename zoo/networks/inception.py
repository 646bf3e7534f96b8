"""The Inception v3 of the Frechet Inception Distance (arXiv 1706.08500): TensorFlow's graph of 2015-12-05, not the one of the paper."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import CheckpointError

SIDE = 299
"""Pixels to a side of what the network sees; every picture is resized to it."""

STEM = (
    ("Conv2d_1a_3x3", 32, "3x3", 2, 0),
    ("Conv2d_2a_3x3", 32, "3x3", 1, 0),
    ("Conv2d_2b_3x3", 64, "3x3", 1, 1),
    None,
    ("Conv2d_3b_1x1", 80, "1x1", 1, 0),
    ("Conv2d_4a_3x3", 192, "3x3", 1, 0),
    None,
)
"""The first convolutions: name, channels, kernel, stride, padding; None is a max pooling, 3x3 with stride 2."""

Branches = Mapping[str, Sequence[tuple]]
"""The branches of a block by the rest of their name: steps of channels and a kernel, or two kernels side by side."""


def at_35(pool_channels: int) -> Branches:
    """The branches of a block at 35x35 (block A), with so many channels after its pooling."""
    return {
        "1x1": [(64, "1x1")],
        "5x5": [(48, "1x1"), (64, "5x5")],
        "3x3dbl": [(64, "1x1"), (96, "3x3"), (96, "3x3")],
        "_pool": [(pool_channels, "1x1")],
    }


def at_17(inner: int) -> Branches:
    """The branches of a block at 17x17 (block C), with so many channels inside the factorised 7x7 convolutions."""
    return {
        "1x1": [(192, "1x1")],
        "7x7": [(inner, "1x1"), (inner, "1x7"), (192, "7x1")],
        "7x7dbl": [(inner, "1x1"), (inner, "7x1"), (inner, "1x7"), (inner, "7x1"), (192, "1x7")],
        "_pool": [(192, "1x1")],
    }


AT_8: Branches = {
    "1x1": [(320, "1x1")],
    "3x3": [(384, "1x1"), (384, "1x3", "3x1")],
    "3x3dbl": [(448, "1x1"), (384, "3x3"), (384, "1x3", "3x1")],
    "_pool": [(192, "1x1")],
}
"""The branches of a block at 8x8 (block E)."""
TO_17: Branches = {"3x3": [(384, "3x3")], "3x3dbl": [(64, "1x1"), (96, "3x3"), (96, "3x3")], "_pool": []}
"""The branches of the block from 35x35 to 17x17 (block B)."""
TO_8: Branches = {
    "3x3": [(192, "1x1"), (320, "3x3")],
    "7x7x3": [(192, "1x1"), (192, "1x7"), (192, "7x1"), (192, "3x3")],
    "_pool": [],
}
"""The branches of the block from 17x17 to 8x8 (block D)."""

mean_pool = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
max_pool = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
halving_pool = partial(F.max_pool2d, kernel_size=3, stride=2)

BLOCKS: Mapping[str, tuple[Branches, Callable[[Tensor], Tensor]]] = {
    "Mixed_5b": (at_35(32), mean_pool),
    "Mixed_5c": (at_35(64), mean_pool),
    "Mixed_5d": (at_35(64), mean_pool),
    "Mixed_6a": (TO_17, halving_pool),
    "Mixed_6b": (at_17(128), mean_pool),
    "Mixed_6c": (at_17(160), mean_pool),
    "Mixed_6d": (at_17(160), mean_pool),
    "Mixed_6e": (at_17(192), mean_pool),
    "Mixed_7a": (TO_8, halving_pool),
    "Mixed_7b": (AT_8, mean_pool),
    "Mixed_7c": (AT_8, max_pool),  # so it is in that graph, and nowhere else
}
"""The blocks in their order, and how each pools."""


def resize(x: Tensor, side: int = SIDE) -> Tensor:
    """Resize (b, c, h, w) bilinearly to (b, c, side, side) as TensorFlow 1 does: pixel i is read at i * in / side, past the last
    pixel the last again, and nothing is averaged on the way down."""
    for dim in (3, 2):
        size = x.shape[dim]
        at = torch.arange(side, dtype=torch.float32, device=x.device) * (size / side)
        low = at.long()
        part = (at - low).view(-1, *[1] * (3 - dim))
        first, second = x.index_select(dim, low), x.index_select(dim, (low + 1).clamp(max=size - 1))
        x = first + (second - first) * part
    return x


class Unit(nn.Module):
    """A convolution without bias, batch normalisation and ReLU."""

    def __init__(self, channels: int, out: int, kernel: str, stride: int = 1, padding: int | None = None) -> None:
        super().__init__()
        sides = tuple(map(int, kernel.split("x")))
        around = tuple(side // 2 for side in sides) if padding is None else padding
        self.conv = nn.Conv2d(channels, out, sides, stride, around, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Block(nn.Module):
    """Branches side by side, their channels concatenated; where the pooling halves, so does each branch's last convolution."""

    def __init__(self, channels: int, branches: Branches, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.pool, self.paths, self.channels = pool, {}, 0
        halving = {"stride": 2, "padding": 0} if pool is halving_pool else {}
        for branch, steps in branches.items():
            width, path = channels, []
            for number, (out, *kernels) in enumerate(steps, 1):
                name = f"branch{branch}" + (f"_{number}" if len(steps) > 1 else "")
                names = [name] if len(kernels) == 1 else [f"{name}a", f"{name}b"]
                for unit, kernel in zip(names, kernels, strict=True):
                    self.add_module(unit, Unit(width, out, kernel, **(halving if number == len(steps) else {})))
                width = out * len(kernels)
                path.append(names)
            self.paths[branch] = path
            self.channels += width

    def forward(self, x: Tensor) -> Tensor:
        ends = []
        for branch, path in self.paths.items():
            ends.append(self.pool(x) if branch == "_pool" else x)
            for names in path:
                outputs = [self.get_submodule(name)(ends[-1]) for name in names]
                ends[-1] = torch.cat(outputs, 1) if len(outputs) > 1 else outputs[0]
        return torch.cat(ends, 1)


class Inception(nn.Module):
    """Inception v3 with the 1008 outputs of 2015, in evaluation mode from the start, since nothing here trains it.

    Its keys are those of weights-inception-2015-12-05-6726825d.pth (torch-fidelity v0.2.0; pytorch-fid offers the same 95,628,359 bytes
    as pt_inception-2015-12-05-6726825d.pth), named after the first digits of its SHA-256.
    """

    def __init__(self, num_classes: int = 1008) -> None:
        super().__init__()
        channels = 3
        for name, out, kernel, stride, padding in filter(None, STEM):
            self.add_module(name, Unit(channels, out, kernel, stride, padding))
            channels = out
        for name, (branches, pool) in BLOCKS.items():
            block = Block(channels, branches, pool)
            self.add_module(name, block)
            channels = block.channels
        self.fc = nn.Linear(channels, num_classes)
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (b, 2048), the mean over the places after the last block, and logits (b, 1008), with the bias, of RGB (b, 3, h, w).

        x is in [-1, 1] and is taken to the 256 levels of a picture first: pixel p of uint8 is p / 127.5 - 1. torch-fidelity calls these
        `2048` and `logits`; the Inception Score takes its `logits_unbiased`, which are these less fc.bias.
        """
        levels = ((x.float() + 1) * 127.5).round().clamp(0, 255)
        x = ((resize(levels) - 128) / 128).to(self.fc.weight.dtype)
        for step in STEM:
            x = self.get_submodule(step[0])(x) if step else halving_pool(x)
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
        features = x.mean((2, 3))
        return features, self.fc(features)


def rename_state(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the counters of its batch norms, which some copies of the file leave out."""
    counters = {key: value for key, value in module.state_dict().items() if key.endswith("num_batches_tracked") and key not in state}
    return {**state, **{key: torch.zeros((), dtype=value.dtype) for key, value in counters.items()}}


def statistics(file: Path) -> tuple[Tensor, Tensor]:
    """Mean (2048,) and covariance (2048, 2048) from a file that holds them as `mu` and `sigma`. Raises CheckpointError for another."""
    try:
        with np.load(file, allow_pickle=False) as values:
            mean, covariance = (torch.from_numpy(values[name]).double() for name in ("mu", "sigma"))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{file} holds no mu and sigma ({type(error).__name__}): take the statistics of FID instead.") from None
    if mean.shape != (2048,) or covariance.shape != (2048, 2048):
        raise CheckpointError(f"{file} holds mu {tuple(mean.shape)} and sigma {tuple(covariance.shape)}, not of 2048 numbers: take others.")
    return mean, covariance
