"""Parts that the backbones share. Attribute names equal the keys of the official checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@cache
def _frequencies(half: int, max_period: float, device: torch.device) -> Tensor:
    """Frequencies (half,) on a device, where they are kept: a network asks for the same ones at every step."""
    exponents = -math.log(max_period) * torch.arange(half, dtype=torch.float32, device="cpu") / half
    return exponents.double().exp().float().to(device)


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Embed times t (b,) as sinusoids (b, dim), cosines first, in float32.

    Frequencies exp(-ln(max_period) i / (dim // 2)); an odd dim ends with a zero. Source: DiT models.py, U-ViT libs/timm.py.
    Float32 libraries differ in the last bit of an exponential, which t = 999 turns into 1e-5 of the output; here the exponent is
    rounded to float32 as there, and its exponential is the nearest float32.
    """
    angles = t.float()[:, None] * _frequencies(dim // 2, max_period, t.device)[None]
    return F.pad(torch.cat([angles.cos(), angles.sin()], dim=-1), (0, dim % 2))


def sincos_1d(dim: int, positions: Tensor) -> Tensor:
    """Embed positions (n,) as (n, dim) float64, sines first (DiT models.py, Latte models/latte.py)."""
    frequencies = 10_000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = positions.double()[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def sincos_2d(dim: int, size: int) -> Tensor:
    """Fixed position table (1, size * size, dim) in float32: first half of the width for w, second for h (DiT models.py)."""
    h, w = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    table = torch.cat([sincos_1d(dim // 2, w.flatten()), sincos_1d(dim // 2, h.flatten())], dim=-1)
    return table.float()[None]


def frame_table(table: Tensor, frames: int) -> Tensor:
    """The positions of frames (1, f, d): the table as it is, or evenly interpolated for another number, which nobody published."""
    if frames == table.shape[1]:
        return table
    return F.interpolate(table.mT.float(), size=frames, mode="linear", align_corners=True).mT.to(table.dtype)


def unpatchify(x: Tensor, patch_size: int) -> Tensor:
    """Put tokens (b, n, p q c) of a square grid back as (b, c, h p, w q)."""
    side = math.isqrt(x.shape[1])
    return rearrange(x, "b (h w) (p q c) -> b c (h p) (w q)", h=side, p=patch_size, q=patch_size)


class PatchEmbed(nn.Module):
    """Cut (b, c, h, w) into patches and project each: (b, n, d), tokens row by row."""

    def __init__(self, patch_size: int, in_channels: int, hidden_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, hidden_size, kernel_size=patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(self.proj(x), "b d h w -> b (h w) d")


class Attend(nn.Module):
    """softmax(q k^T / sqrt(d) + bias) v for q, k, v (b, k, n, d), bias (k, n, n) or none: no parameters, so that a recorder can hook it."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias[None])  # of four axes: so it is fused


class Attention(nn.Module):
    """Multi-head self-attention over (b, n, d) with one fused projection, rows ordered q, k, v, then heads."""

    def __init__(self, hidden_size: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=qkv_bias)
        self.attend = Attend()
        self.proj = nn.Linear(hidden_size, hidden_size)

    def split(self, x: Tensor) -> Tensor:
        """Queries, keys and values of every head: (b, n, d) to (3, b, k, n, d / k)."""
        return rearrange(self.qkv(x), "b n (qkv k d) -> qkv b k n d", qkv=3, k=self.num_heads)

    def merge(self, heads: Tensor) -> Tensor:
        """What the heads found, side by side and projected: (b, k, n, d / k) to (b, n, d)."""
        return self.proj(rearrange(heads, "b k n d -> b n (k d)"))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.merge(self.attend(q, k, v))


class NormedAttention(Attention):
    """Attention whose queries and keys are normalised in each head, then turned where angles are given; norm: width of a head -> module."""

    def __init__(self, hidden_size: int, num_heads: int, qkv_bias: bool, norm: Callable[[int], nn.Module]) -> None:
        super().__init__(hidden_size, num_heads, qkv_bias)
        self.q_norm, self.k_norm = (norm(hidden_size // num_heads) for _ in range(2))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor] | None = None) -> Tensor:
        q, k, v = self.split(x)
        q, k = self.q_norm(q), self.k_norm(k)
        if turn is not None:
            q, k = rotate(q, *turn), rotate(k, *turn)
        return self.merge(self.attend(q.to(v.dtype), k.to(v.dtype), v))


class Mlp(nn.Module):
    """Linear, GELU ("tanh" in DiT and Latte, "none" i.e. exact in U-ViT), Linear over (b, n, d)."""

    def __init__(self, hidden_size: int, mlp_ratio: float, approximate: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, int(hidden_size * mlp_ratio))
        self.act = nn.GELU(approximate=approximate)
        self.fc2 = nn.Linear(int(hidden_size * mlp_ratio), hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class SwiGLU(nn.Module):
    """silu(a) * b through a last Linear, a and b the halves of the first Linear's answer, over (b, n, d)."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(hidden_size, 2 * width)
        self.w3 = nn.Linear(width, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + 1e-6) along the last axis, in float32, times a learned weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * self.weight


def axis_frequencies(width: int) -> Tensor:
    """Turns a place along one axis for each pair of numbers of which it has `width`: 10000^(-2i / width), (width / 2,) float32."""
    return 10_000.0 ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)


def halves_by_axis(head_dim: int, side: int, device: torch.device | str | None = None) -> Tensor:
    """Angles (side * side, head_dim / 2) of a square grid, row by row: the first half turns by the row, the second by the column."""
    angles = torch.outer(torch.arange(side, dtype=torch.float32), axis_frequencies(head_dim // 2)).to(device)
    rows, columns = angles[:, None].expand(-1, side, -1), angles[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def pairs_by_axis(head_dim: int, places: Tensor) -> Tensor:
    """Angles (side * side, head_dim / 2) of a square grid whose rows and columns stand at `places` (side,): each frequency turns one
    pair by the column, and the next by the row."""
    side = len(places)
    angles = torch.outer(places.float(), axis_frequencies(head_dim // 2).to(places.device))
    columns, rows = angles[None].expand(side, -1, -1), angles[:, None].expand(-1, side, -1)
    return torch.stack([columns, rows], dim=-1).flatten(2).flatten(0, 1)


def turning(angles: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of angles (n, d / 2), each twice in a row: two (n, d), as `rotate` takes them."""
    return angles.cos().repeat_interleave(2, dim=-1), angles.sin().repeat_interleave(2, dim=-1)


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn the pairs (x0, x1) of x (..., n, d) by their angles, (n, d) cosines and sines: RoPE (Su et al., arXiv 2104.09864)."""
    across = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * cosines + across * sines
