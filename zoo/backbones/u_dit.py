"""U-DiT (Tian et al., arXiv 2405.02730), as YuchuanTian/U-DiT udit_models.py computes it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from zoo.backbones.dit import LabelEmbedder, TimestepEmbedder, initialize
from zoo.backbones.layers import Attend, pairs_by_axis, rotate, turning

STEEPEST = 4.6052
"""Logarithm of the largest factor of the cosines in the attention, about 100."""


class MapNorm(nn.Module):
    """LayerNorm without weights over the channels of (b, c, h, w), then scaled and shifted by one vector (b, c) each."""

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        normed = F.layer_norm(x.movedim(1, -1), (x.shape[1],), eps=1e-6).movedim(-1, 1)
        return torch.addcmul(shift[:, :, None, None], normed, 1 + scale[:, :, None, None])


class Downsampler(nn.Module):
    """A depthwise 5 x 5 convolution beside the stream (b, c, h, w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(width, width, 5, padding=2, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


class SubgridAttention(nn.Module):
    """Attention over (b, c, h, w) within each of factor x factor interleaved grids, by the cosine of turned queries and keys."""

    def __init__(self, width: int, num_heads: int, factor: int) -> None:
        super().__init__()
        self.num_heads, self.factor = num_heads, factor
        self.downsampler = Downsampler(width)
        self.to_qkv = nn.Linear(width, 3 * width)
        self.logit_scale = nn.Parameter(torch.full((num_heads, 1, 1), math.log(10.0)))
        self.attend = Attend()
        self.to_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        side, f = x.shape[-1] // self.factor, self.factor
        grids = rearrange(self.downsampler(x), "b d (h p) (w q) -> (b p q) (h w) d", p=f, q=f)
        q, k, v = rearrange(self.to_qkv(grids), "g n (qkv k d) -> qkv g k n d", qkv=3, k=self.num_heads)
        turn = turning(pairs_by_axis(q.shape[-1], torch.arange(side, device=x.device)))
        q, k = (F.normalize(rotate(one, *turn), dim=-1) for one in (q, k))
        factor = self.logit_scale.clamp(max=STEEPEST).exp() * q.shape[-1] ** 0.5  # by whose inverse the scores are multiplied
        found = self.attend((factor * q).to(v.dtype), k.to(v.dtype), v)
        return self.to_out(rearrange(found, "(b p q) k (h w) d -> b (k d) (h p) (w q)", p=f, q=f, w=side))


class FeedForward(nn.Module):
    """Two 1 x 1 convolutions, GELU, depthwise convolutions of three sizes beside the stream, two 1 x 1 convolutions, over (b, c, h, w).

    The authors' eval() adds the three into the weights of the first, again at every call; this is the plain sum.
    """

    def __init__(self, width: int, mlp_ratio: float) -> None:
        super().__init__()
        wide = int(width * mlp_ratio)
        self.project_in = nn.Sequential(nn.Conv2d(width, wide // 2, 1), nn.Conv2d(wide // 2, wide, 1))
        self.dwconv = nn.ModuleList(nn.Conv2d(wide, wide, size, padding=size // 2, groups=wide) for size in (5, 3, 1))
        self.project_out = nn.Sequential(nn.Conv2d(wide, wide // 2, 1), nn.Conv2d(wide // 2, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.project_in(x))
        return self.project_out(x + sum(branch(x) for branch in self.dwconv))


class UDiTBlock(nn.Module):
    """Two pairs of attention and feed-forward over (b, c, h, w), each pair with its own adaLN from the condition (b, c)."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: float, factor: int) -> None:
        super().__init__()
        self.norm = MapNorm()
        self.attn1, self.attn2 = (SubgridAttention(width, num_heads, factor) for _ in range(2))
        self.mlp1, self.mlp2 = (FeedForward(width, mlp_ratio) for _ in range(2))
        self.adaLN_modulation1, self.adaLN_modulation2 = (nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width)) for _ in range(2))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        pairs = ((self.attn1, self.mlp1, self.adaLN_modulation1), (self.attn2, self.mlp2, self.adaLN_modulation2))
        for attn, mlp, modulation in pairs:
            shift1, scale1, gate1, shift2, scale2, gate2 = modulation(condition).chunk(6, dim=1)
            x = torch.addcmul(x, gate1[:, :, None, None], attn(self.norm(x, shift1, scale1)))
            x = torch.addcmul(x, gate2[:, :, None, None], mlp(self.norm(x, shift2, scale2)))
        return x


class LastLayer(nn.Module):
    """adaLN, then a 3 x 3 convolution from the features (b, c, h, w) to the answer."""

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__()
        self.norm = MapNorm()
        self.out_proj = nn.Conv2d(width, out_channels, 3, padding=1)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.out_proj(self.norm(x, *self.adaLN_modulation(condition).chunk(2, dim=1)))


class Resample(nn.Module):
    """A 3 x 3 convolution, then half the side with twice the channels (down), or twice the side with half of them."""

    def __init__(self, width: int, down: bool) -> None:
        super().__init__()
        convolution = nn.Conv2d(width, width // 2 if down else 2 * width, 3, padding=1, bias=False)
        self.body = nn.Sequential(convolution, nn.PixelUnshuffle(2) if down else nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Stem(nn.Module):
    """Latents (b, c, h, w) to features at every place, by a 3 x 3 convolution: there are no patches."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class UDiT(nn.Module):
    """U-shaped diffusion transformer: three levels of half the side each, blocks that attend within interleaved grids, skips between."""

    def __init__(
        self,
        input_size: int = 32,  # noqa: ARG002 - a word of the card: any size that three levels and the grids divide will do
        in_channels: int = 4,
        hidden_size: int = 96,
        depth: Sequence[int] = (2, 5, 8, 5, 2),
        num_heads: int = 4,
        mlp_ratio: float = 2,
        num_classes: int = 1000,
        learn_sigma: bool = True,
        down_factor: int = 2,
    ) -> None:
        super().__init__()
        if len(depth) != 5:
            raise TypeError(f"depth is {depth!r}, but there are five stacks of blocks")
        h = hidden_size

        def stack(level: int, width: int) -> nn.ModuleList:
            return nn.ModuleList(UDiTBlock(width, num_heads, mlp_ratio, down_factor) for _ in range(depth[level]))

        self.x_embedder = Stem(in_channels, h)
        self.t_embedder_1, self.t_embedder_2, self.t_embedder_3 = (TimestepEmbedder(width) for width in (h, 2 * h, 4 * h))
        self.y_embedder_1, self.y_embedder_2, self.y_embedder_3 = (LabelEmbedder(num_classes, width) for width in (h, 2 * h, 4 * h))
        self.encoder_level_1, self.down1_2 = stack(0, h), Resample(h, down=True)
        self.encoder_level_2, self.down2_3 = stack(1, 2 * h), Resample(2 * h, down=True)
        self.latent, self.up3_2 = stack(2, 4 * h), Resample(4 * h, down=False)
        self.reduce_chan_level2, self.decoder_level_2 = nn.Conv2d(4 * h, 2 * h, 1), stack(3, 2 * h)
        self.up2_1, self.reduce_chan_level1 = Resample(2 * h, down=False), nn.Conv2d(2 * h, 2 * h, 1)
        self.decoder_level_1 = stack(4, 2 * h)
        self.output = nn.Conv2d(2 * h, 2 * h, 3, padding=1)
        self.final_layer = LastLayer(2 * h, in_channels * (2 if learn_sigma else 1))
        self.initialize()

    def initialize(self) -> None:
        """Initialise for training: as DiT, modulations and output zeroed."""
        initialize(self)
        for block in (part for part in self.modules() if isinstance(part, UDiTBlock)):
            nn.init.zeros_(block.adaLN_modulation1[-1].weight)
            nn.init.zeros_(block.adaLN_modulation2[-1].weight)
        nn.init.zeros_(self.final_layer.out_proj.weight)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Predict the noise, and the variance fraction after it where sigma is learned.

        x (b, c, h, w), sides multiples of 4 down_factor; t (b,), the index 0..999; y (b,) long, num_classes = null. Returns
        (b, c or 2c, h, w) in the dtype of the weights.
        """
        x = x.to(self.output.weight.dtype)
        c1, c2, c3 = (
            time(t) + label(y)
            for time, label in (
                (self.t_embedder_1, self.y_embedder_1), (self.t_embedder_2, self.y_embedder_2), (self.t_embedder_3, self.y_embedder_3),
            )
        )  # fmt: skip
        outer = _through(self.encoder_level_1, self.x_embedder(x), c1)
        middle = _through(self.encoder_level_2, self.down1_2(outer), c2)
        inner = _through(self.latent, self.down2_3(middle), c3)
        joined = self.reduce_chan_level2(torch.cat([self.up3_2(inner), middle], dim=1))
        middle = _through(self.decoder_level_2, joined, c2)
        joined = self.reduce_chan_level1(torch.cat([self.up2_1(middle), outer], dim=1))
        return self.final_layer(self.output(_through(self.decoder_level_1, joined, c2)), c2)


def _through(blocks: nn.ModuleList, x: Tensor, condition: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, condition)
    return x
