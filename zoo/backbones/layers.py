"""Parts that DiT, U-ViT and Latte share. Attribute names equal the keys of the official checkpoints."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10_000.0) -> Tensor:
    """Embed times t (b,) as sinusoids (b, dim), cosines first, in float32.

    Frequencies exp(-ln(max_period) i / (dim // 2)); an odd dim ends with a zero. Source: DiT models.py, U-ViT libs/timm.py.
    Float32 libraries differ in the last bit of an exponential, which t = 999 turns into 1e-5 of the output; here the exponent is
    rounded to float32 as there, and its exponential is the nearest float32.
    """
    half = dim // 2
    exponents = -math.log(max_period) * torch.arange(half, dtype=torch.float32, device="cpu") / half
    frequencies = exponents.double().exp().float()
    angles = t.float()[:, None] * frequencies.to(t.device)[None]
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
    """softmax(q k^T / sqrt(d)) v for q, k, v (b, k, n, d): no parameters, so that a recorder can hook it."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Multi-head self-attention over (b, n, d) with one fused projection, rows ordered q, k, v, then heads."""

    def __init__(self, hidden_size: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=qkv_bias)
        self.attend = Attend()
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (qkv k d) -> qkv b k n d", qkv=3, k=self.num_heads)
        return self.proj(rearrange(self.attend(q, k, v), "b k n d -> b n (k d)"))


class Mlp(nn.Module):
    """Linear, GELU ("tanh" in DiT and Latte, "none" i.e. exact in U-ViT), Linear over (b, n, d)."""

    def __init__(self, hidden_size: int, mlp_ratio: float, approximate: str) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, int(hidden_size * mlp_ratio))
        self.act = nn.GELU(approximate=approximate)
        self.fc2 = nn.Linear(int(hidden_size * mlp_ratio), hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))
