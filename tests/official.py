"""What the authors' code computes, restated plainly: DiT, U-ViT and Latte, their guidance, and the DDIM loop of DiT and Latte.

Written from the papers (arXiv 2212.09748, 2209.12152, 2401.03048, 2010.02502) and from what the official code was seen to do, nothing of it
copied, and nothing shared with zoo: the tests hold both against each other, and `python -m zoo bench --peers` times both. So it keeps what
costs time there: modulations are computed again at every step, for every frame and token of a Latte as often as they are repeated, Latte
writes its attention out, U-ViT computes its own in float32 and asks twice for guidance, and the loop works out a variance that DDIM does
not use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Network = Callable[[Tensor, Tensor, "Tensor | None"], Tensor]


def sinusoids(t: Tensor, count: int) -> Tensor:
    """Times (b,) as (b, count): cosines, then sines, of frequencies from 1 down to 1/10,000."""
    half = count // 2
    angles = t.float()[:, None] * torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32) / half).to(t.device)
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=1)


def picture(tokens: Tensor, patch_size: int) -> Tensor:
    """Tokens (b, n, p q c), row by row, as (b, c, h, w)."""
    b, n, numbers = tokens.shape
    side, channels = math.isqrt(n), numbers // patch_size**2
    grid = tokens.reshape(b, side, side, patch_size, patch_size, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(b, channels, side * patch_size, side * patch_size)


class Patches(nn.Module):
    """Pictures (b, c, h, w) to tokens (b, n, d)."""

    def __init__(self, patch_size: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention; way: "fused" (DiT), "float32" (U-ViT) or "written out" (Latte)."""

    def __init__(self, width: int, heads: int, bias: bool, way: str) -> None:
        super().__init__()
        self.heads, self.way = heads, way
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=bias), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).contiguous()
        if self.way == "written out":
            out = (q @ k.transpose(2, 3) * (d // self.heads) ** -0.5).softmax(dim=3) @ v
        elif self.way == "float32":
            out = F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(x.dtype)
        else:
            out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(b, n, d))


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, ratio: float, approximate: str) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, int(ratio * width)), nn.Linear(int(ratio * width), width)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised tokens, scaled and shifted."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale[:, None]) + shift[:, None]


class AdaptiveBlock(nn.Module):
    """The block of DiT and Latte."""

    def __init__(self, width: int, heads: int, ratio: float, way: str) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(width, heads, True, way), Mlp(width, ratio, "tanh")
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.adaLN_modulation(c).chunk(6, dim=1)
        x = x + gate[:, None] * self.attn(modulated(x, shift, scale))
        return x + gate_mlp[:, None] * self.mlp(modulated(x, shift_mlp, scale_mlp))


class Last(nn.Module):
    """The last layer of DiT and Latte: tokens to patches."""

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, numbers)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return self.linear(modulated(x, *self.adaLN_modulation(c).chunk(2, dim=1)))


class Times(nn.Module):
    """Times (b,) to vectors (b, d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(sinusoids(t, 256).to(self.mlp[0].weight.dtype))


class Labels(nn.Module):
    """Labels (b,) to vectors (b, d)."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(rows, width)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)


class Adaptive(nn.Module):
    """DiT, and Latte where num_frames is given; the words are those of a card."""

    def __init__(
        self, input_size, patch_size, in_channels, hidden_size, depth, num_heads, mlp_ratio=4.0, num_classes=0, learn_sigma=True,
        null_label=True, num_frames=0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch_size, self.num_frames, tokens = patch_size, num_frames, (input_size // patch_size) ** 2
        self.x_embedder, self.t_embedder = Patches(patch_size, in_channels, hidden_size), Times(hidden_size)
        self.y_embedder = Labels(num_classes + null_label, hidden_size) if num_classes else None
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, hidden_size), requires_grad=False)
        if num_frames:
            self.temp_embed = nn.Parameter(torch.zeros(1, num_frames, hidden_size), requires_grad=False)
        way = "written out" if num_frames else "fused"
        self.blocks = nn.ModuleList(AdaptiveBlock(hidden_size, num_heads, mlp_ratio, way) for _ in range(depth))
        self.final_layer = Last(hidden_size, patch_size**2 * in_channels * (1 + learn_sigma))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.clip(x, t, y) if self.num_frames else self.still(x, t, y)

    def still(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        tokens, c = self.x_embedder(x.to(self.pos_embed.dtype)) + self.pos_embed, self.t_embedder(t)
        if self.y_embedder is not None:
            c = c + self.y_embedder(y)
        for block in self.blocks:
            tokens = block(tokens, c)
        return picture(self.final_layer(tokens, c), self.patch_size)

    def clip(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        b, f = x.shape[:2]
        tokens = self.x_embedder(x.flatten(0, 1).to(self.pos_embed.dtype)) + self.pos_embed
        n, d = tokens.shape[1:]
        time, label = self.t_embedder(t), None if self.y_embedder is None else self.y_embedder(y)
        # one row of conditioning a frame, and one a place: every copy goes through every modulation
        times = time.repeat_interleave(f, dim=0), time.repeat_interleave(n, dim=0)
        labels = None if label is None else (label.repeat_interleave(f, dim=0), label.repeat_interleave(n, dim=0))
        for index, block in enumerate(self.blocks):
            temporal = index % 2
            c = times[temporal] if labels is None else times[temporal] + labels[temporal]
            if temporal:
                tokens = tokens.reshape(b, f, n, d).transpose(1, 2).reshape(b * n, f, d)
                tokens = block(tokens + self.temp_embed if index == 1 else tokens, c)
                tokens = tokens.reshape(b, n, f, d).transpose(1, 2).reshape(b * f, n, d)
            else:
                tokens = block(tokens, c)
        c = times[0] if labels is None else times[0] + labels[0]
        return picture(self.final_layer(tokens, c), self.patch_size).unflatten(0, (b, f))


class SkipBlock(nn.Module):
    """The block of U-ViT."""

    def __init__(self, width: int, heads: int, ratio: float, bias: bool, skip: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = Attention(width, heads, bias, "float32"), Mlp(width, ratio, "none")
        if skip:
            self.skip_linear = nn.Linear(2 * width, width)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        if hasattr(self, "skip_linear"):
            x = self.skip_linear(torch.cat([x, other], dim=2))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class UViT(nn.Module):
    """U-ViT of classes, or of none; the words are those of a card."""

    def __init__(
        self, input_size, patch_size, in_channels, hidden_size, depth, num_heads, mlp_ratio=4.0, qkv_bias=False, mlp_time_embed=False,
        num_classes=0, null_label=True, conv=True, skip=True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch_size, self.width, self.tokens = patch_size, hidden_size, (input_size // patch_size) ** 2
        wide = int(mlp_ratio * hidden_size)
        block = (hidden_size, num_heads, mlp_ratio, qkv_bias)
        self.patch_embed = Patches(patch_size, in_channels, hidden_size)
        self.time_embed = nn.Sequential(nn.Linear(hidden_size, wide), nn.SiLU(), nn.Linear(wide, hidden_size)) if mlp_time_embed else None
        self.label_emb = nn.Embedding(num_classes + null_label, hidden_size) if num_classes else None
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (num_classes > 0) + self.tokens, hidden_size))
        self.in_blocks = nn.ModuleList(SkipBlock(*block, False) for _ in range(depth // 2))
        self.mid_block = SkipBlock(*block, False)
        self.out_blocks = nn.ModuleList(SkipBlock(*block, skip) for _ in range(depth // 2))
        self.norm, self.decoder_pred = nn.LayerNorm(hidden_size), nn.Linear(hidden_size, patch_size**2 * in_channels)
        self.final_layer = nn.Conv2d(in_channels, in_channels, 3, padding=1) if conv else None

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        dtype = self.pos_embed.dtype
        time = sinusoids(t, self.width).to(dtype)
        sequence = [(time if self.time_embed is None else self.time_embed(time))[:, None], self.patch_embed(x.to(dtype))]
        if self.label_emb is not None:
            sequence.insert(0, self.label_emb(y)[:, None])
        tokens, others = torch.cat(sequence, dim=1) + self.pos_embed, []
        for block in self.in_blocks:
            tokens = block(tokens)
            others.append(tokens)
        tokens = self.mid_block(tokens)
        for block in self.out_blocks:
            tokens = block(tokens, others.pop())
        out = picture(self.decoder_pred(self.norm(tokens))[:, -self.tokens :], self.patch_size)
        return out if self.final_layer is None else self.final_layer(out)


FAMILIES = {"dit": Adaptive, "latte": Adaptive, "u-vit": UViT}


def build(family: str, arch: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """A network of these words with these weights, under the official names, which it takes as they are and copies not."""
    with torch.device("meta"):
        network = FAMILIES[family](**arch)
    network.load_state_dict(state, assign=True)
    return network.eval().requires_grad_(False)


def guided(network: Network, labels: Tensor, null: int, scale: float, channels: int | None, calls: int = 1) -> Network:
    """(x, t, _) -> what the solver gets for x (2b, ...), whose halves are the same: the guided halves on `channels`, or all.

    calls 1: both in one pass, as DiT and Latte do; 2: one after the other on x (b, ...), as U-ViT does.
    """
    nulls = torch.full_like(labels, null)

    def one_pass(x: Tensor, t: Tensor, _: Tensor | None = None) -> Tensor:
        half, axis = x[: len(x) // 2], x.ndim - 3
        out = network(torch.cat([half, half]), t, torch.cat([labels, nulls])).to(x.dtype)
        count = x.shape[axis] if channels is None else channels
        eps, rest = out.split([count, out.shape[axis] - count], dim=axis)
        cond, uncond = eps.chunk(2)
        eps = uncond + scale * (cond - uncond)
        return torch.cat([torch.cat([eps, eps]), rest], dim=axis)

    def two_passes(x: Tensor, t: Tensor, _: Tensor | None = None) -> Tensor:
        cond, uncond = network(x, t, labels).to(x.dtype), network(x, t, nulls).to(x.dtype)
        return cond + (scale - 1) * (cond - uncond)

    return one_pass if calls == 1 else two_passes


@torch.no_grad()
def ddim(network: Network, x: Tensor, betas: Tensor, indices: Sequence[int], eta: float = 0.0, noise: Tensor | None = None) -> Tensor:
    """Walk from x down the `indices` (ascending) of a chain of float64 betas; network(x, t, None) as `guided` gives it.

    noise: (steps, ...) to be used instead of fresh draws. A learned variance is worked out and not used.
    """
    alphas = torch.cumprod(1 - betas, dim=0)[list(indices)]
    before = torch.cat([torch.ones(1, dtype=alphas.dtype), alphas[:-1]])
    beta = 1 - alphas / before
    posterior = beta * (1 - before) / (1 - alphas)
    tables = {
        "alphas": alphas, "before": before, "of x": alphas.rsqrt(), "of eps": (1 / alphas - 1).sqrt(), "most": beta.log(),
        "least": torch.cat([posterior[1:2], posterior[1:]]).log(), "mean of x0": beta * before.sqrt() / (1 - alphas),
        "mean of x": (1 - before) * (1 - beta).sqrt() / (1 - alphas),
    }  # fmt: skip
    times, axis = torch.tensor(list(indices)), x.ndim - 3
    for index in reversed(range(len(times))):
        place = torch.full((len(x),), index)

        def at(name: str, place: Tensor = place) -> Tensor:
            numbers = tables[name][place].float().to(x.device)
            return numbers.reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape)

        out = network(x, times[place].to(x.device), None)
        eps = out
        if out.shape != x.shape:
            eps, fraction = out.chunk(2, dim=axis)
            share = (fraction + 1) / 2
            (share * at("most") + (1 - share) * at("least")).exp()
        x0 = at("of x") * x - at("of eps") * eps
        at("mean of x0") * x0 + at("mean of x") * x  # the mean of the ancestral step comes with the variance
        eps = (at("of x") * x - x0) / at("of eps")
        now, to = at("alphas"), at("before")
        sigma = eta * ((1 - to) / (1 - now)).sqrt() * (1 - now / to).sqrt()
        fresh = torch.randn_like(x) if noise is None else noise[len(times) - 1 - index]
        x = x0 * to.sqrt() + (1 - to - sigma**2).sqrt() * eps + (index > 0) * sigma * fresh
    return x
