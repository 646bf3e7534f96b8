"""From pixels or latents to the sequence that enters the first block, recorded while a model runs. No colours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from zoo.backbones.layers import frame_table
from zoo.inside.attention import attentions

POSITIONS = ("pos_embed", "position_embeddings", "position_embedding.weight")
"""How position tables are called, in our backbones and in transformers."""


@dataclass
class Tokens:
    """What one pass showed, of its first picture or video, float32 on the CPU; empty before the pass."""

    grid: tuple[int, int, int] = (0, 0, 0)
    """Frames (or tubelets), rows and columns of patches."""
    size: tuple[int, int, int] = (0, 0, 0)
    """Frames, rows and columns of one patch, in pixels or latents."""
    patches: Tensor = field(default_factory=lambda: torch.empty(0))
    """Flattened vectors (n, c r p q), r the frames of a tubelet."""
    filters: Tensor = field(default_factory=lambda: torch.empty(0))
    """The learned projection (d, c, r, p, q)."""
    projected: Tensor = field(default_factory=lambda: torch.empty(0))
    """(n, d) without positions."""
    positions: Tensor = field(default_factory=lambda: torch.empty(0))
    """What says where each patch of one frame, or each tubelet, is: (places, d); empty where a model has no such table, as Swin."""
    times: Tensor = field(default_factory=lambda: torch.empty(0))
    """What says when each frame is, (f, d); a Latte's only."""
    sequence: Tensor = field(default_factory=lambda: torch.empty(0))
    """(e + n, d) as it enters the first block, e tokens that are no patches before the others; of a Latte the first frame's."""
    features: Tensor = field(default_factory=lambda: torch.empty(0))
    """The same places after the last block."""

    @property
    def extra(self) -> int:
        """Tokens that stand before the patches."""
        return max(0, len(self.sequence) - self.grid[1] * self.grid[2] * (1 if len(self.times) else self.grid[0]))


@contextmanager
def record_tokens(module: nn.Module, row: int = 0) -> Iterator[Tokens]:
    """Record how `module`, a backbone or a vision model of transformers, makes tokens of one row of what it is given; its output stays
    the same."""
    tokens, rows = Tokens(), 1
    projection = next(part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Conv3d)))
    idle = [getattr(module, name) for name in getattr(module, "training_only", ())]
    stacks = [part for part in module.modules() if isinstance(part, nn.ModuleList) and part not in idle and len(part) and attentions(part)]
    outer = [one for one in stacks if not any(one is not other and one in set(other.modules()) for other in stacks)]
    kernel = (1, *projection.kernel_size)[-3:]
    timed = hasattr(module, "temp_embed")

    def begin(_: nn.Module, inputs: tuple, words: dict[str, Any]) -> None:
        nonlocal rows
        rows = len(inputs[0] if inputs else words["pixel_values"])

    def cut(_: nn.Module, inputs: tuple, output: Tensor) -> None:
        x, vectors = (_frames(one.chunk(rows)[row]) for one in (inputs[0], output))
        tokens.grid, tokens.size = tuple(vectors.shape[2:]), kernel
        f, h, w = (count * side for count, side in zip(tokens.grid, kernel, strict=True))
        r, p, q = kernel
        tokens.patches = rearrange(x[:, :, :f, :h, :w], "1 c (f r) (h p) (w q) -> (f h w) (c r p q)", r=r, p=p, q=q).clone()
        tokens.projected = rearrange(vectors, "1 d f h w -> (f h w) d").clone()
        tokens.filters = _own(projection.weight).view(len(projection.weight), -1, *kernel)

    def enter(_: nn.Module, inputs: tuple, words: dict[str, Any]) -> None:
        tokens.sequence = _own((inputs[0] if inputs else words["hidden_states"]).chunk(rows)[row][0])
        tokens.positions, tokens.times = _positions(module, tokens, timed)

    def leave(_: nn.Module, __: tuple, output: Any) -> None:
        last = _own((output[0] if isinstance(output, tuple) else output).chunk(rows)[row])
        frame_by_frame = "(f n) d" if getattr(module, "variant", 0) in (1, 2) else "(n f) d"
        tokens.features = rearrange(last, f"n f d -> {frame_by_frame}") if timed else last[0]

    hooks = [
        module.register_forward_pre_hook(begin, with_kwargs=True),
        projection.register_forward_hook(cut),
        outer[0][0].register_forward_pre_hook(enter, with_kwargs=True),
        outer[-1][-1].register_forward_hook(leave),
    ]
    try:
        yield tokens
    finally:
        for hook in hooks:
            hook.remove()


def _own(x: Tensor) -> Tensor:
    """The same numbers, float32 on the CPU, in a storage of their own: a view would keep the whole batch, or a model, in memory."""
    return x.detach().to("cpu", torch.float32, copy=True).contiguous()


def _frames(x: Tensor) -> Tensor:
    """(f, c, h, w), a row a frame, or (1, c, f, h, w), to the latter, float32 on the CPU."""
    x = x.detach().float().cpu()
    return x if x.ndim == 5 else rearrange(x, "f c h w -> 1 c f h w")


def _positions(module: nn.Module, tokens: Tokens, timed: bool) -> tuple[Tensor, Tensor]:
    """The rows of the position table that belong to patches, or what was added to them where the table was interpolated; and times."""
    table = next((value for name, value in module.named_parameters() if name.endswith(POSITIONS)), None)
    if table is None:
        return torch.empty(0), torch.empty(0)
    places = tokens.grid[1] * tokens.grid[2] * (1 if timed else tokens.grid[0])
    extra, table = len(tokens.sequence) - places, _own(table).flatten(0, -2)
    fits = 0 <= len(table) - places <= extra
    times = frame_table(_own(module.temp_embed), tokens.grid[0])[0] if timed else torch.empty(0)
    return table[-places:].clone() if fits else tokens.sequence[-places:] - tokens.projected[:places], times


def principal(rows: Tensor, count: int) -> Tensor:
    """Coordinates of rows (n, d) along their first `count` principal directions, (n, count), the largest of each direction positive.

    So the sign, which is free, is the same for the same rows in any order.
    """
    centred = (rows - rows.mean(0)).double()
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    coordinates = (u * s)[:, :count]
    if coordinates.shape[1] < count:
        coordinates = torch.nn.functional.pad(coordinates, (0, count - coordinates.shape[1]))
    peak = coordinates.gather(0, coordinates.abs().argmax(0, keepdim=True))
    return (coordinates * torch.where(peak < 0, -1.0, 1.0)).float()


def similarity(positions: Tensor) -> Tensor:
    """Cosine similarity of positions (n, d) to each other, (n, n) in [-1, 1]. Source: Dosovitskiy et al., arXiv 2010.11929, figure 7."""
    unit = nn.functional.normalize(positions, dim=-1)
    return (unit @ unit.T).clamp(-1, 1)


def filter_components(filters: Tensor, count: int = 28) -> Tensor:
    """Principal components of learned patch filters (d, c, r, p, q): (count, c, r, p, q), each of length one, its largest entry positive.

    Source: Dosovitskiy et al., arXiv 2010.11929, figure 7 (28 of them).
    """
    rows = filters.flatten(1).double()
    _, _, directions = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    components = directions[:count]
    peak = components.gather(1, components.abs().argmax(1, keepdim=True))
    return (components * torch.where(peak < 0, -1.0, 1.0)).float().unflatten(1, filters.shape[1:])
