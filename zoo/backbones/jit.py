"""JiT, "just image transformers" (Li and He, arXiv 2511.13720), as LTH14/JiT model_jit.py computes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from zoo.backbones.dit import AdaLN, FinalLayer, LabelEmbedder, TimestepEmbedder, initialize, modulate
from zoo.backbones.layers import NormedAttention, RMSNorm, SwiGLU, halves_by_axis, sincos_2d, turning, unpatchify


class BottleneckPatchEmbed(nn.Module):
    """Cut (b, c, h, w) into patches, project each to few numbers and these to tokens (b, n, d)."""

    def __init__(self, patch_size: int, in_channels: int, bottleneck_dim: int, hidden_size: int) -> None:
        super().__init__()
        self.proj1 = nn.Conv2d(in_channels, bottleneck_dim, kernel_size=patch_size, stride=patch_size, bias=False)
        self.proj2 = nn.Conv2d(bottleneck_dim, hidden_size, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(self.proj2(self.proj1(x)), "b d h w -> b (h w) d")


class JiTBlock(nn.Module):
    """DiT's block with RMSNorm, normalised and turned queries and keys, and SwiGLU."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = RMSNorm(hidden_size)
        self.attn = NormedAttention(hidden_size, num_heads, qkv_bias=True, norm=RMSNorm)
        self.norm2 = RMSNorm(hidden_size)
        self.mlp = SwiGLU(hidden_size, int(hidden_size * mlp_ratio * 2 / 3))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))

    def forward(self, x: Tensor, modulation: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)
        x = torch.addcmul(x, gate1.unsqueeze(1), self.attn(modulate(self.norm1(x), shift1, scale1), turn))
        return torch.addcmul(x, gate2.unsqueeze(1), self.mlp(modulate(self.norm2(x), shift2, scale2)))


class JiT(AdaLN):
    """Transformer over large patches of pixels that answers the clean picture; from one block on, tokens of the class stand before those
    of the patches."""

    def __init__(
        self,
        input_size: int = 256,
        patch_size: int = 16,
        in_channels: int = 3,
        hidden_size: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        bottleneck_dim: int = 128,
        in_context_len: int = 32,
        in_context_start: int = 4,
    ) -> None:
        super().__init__()
        self.patch_size, self.num_heads = patch_size, num_heads
        self.grid_size = input_size // patch_size
        self.in_context_len, self.in_context_start = in_context_len, in_context_start
        self.x_embedder = BottleneckPatchEmbed(patch_size, in_channels, bottleneck_dim, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size)
        self.pos_embed = nn.Parameter(sincos_2d(hidden_size, self.grid_size), requires_grad=False)
        if in_context_len:
            self.in_context_posemb = nn.Parameter(torch.zeros(1, in_context_len, hidden_size))
        self.blocks = nn.ModuleList(JiTBlock(hidden_size, num_heads, mlp_ratio) for _ in range(depth))
        self.final_layer = FinalLayer(hidden_size, patch_size, in_channels, RMSNorm(hidden_size))
        initialize(self)
        if in_context_len:
            nn.init.normal_(self.in_context_posemb, std=0.02)

    def forward(self, x: Tensor, t: Tensor, y: Tensor, modulation: Tensor | None = None) -> Tensor:
        """Predict the clean picture.

        x (b, c, h, w), pixels in [-1, 1] under noise; t (b,) in [0, 1], 1 at the data; y (b,) long, num_classes = null; modulation (b, m):
        what `modulation(t, y)` gives, where it is known already. Returns (b, c, h, w) in the dtype of the weights.
        """
        tokens = self.x_embedder(x.to(self.pos_embed.dtype)) + self.pos_embed
        patches = tokens.shape[1]
        cosines, sines = turning(halves_by_axis(tokens.shape[-1] // self.num_heads, self.grid_size, x.device))
        *of_blocks, of_output = self.by_part(self.modulation(t, y) if modulation is None else modulation)
        for index, (block, vectors) in enumerate(zip(self.blocks, of_blocks, strict=True)):
            if index == self.in_context_start and self.in_context_len:
                tokens = torch.cat([self.y_embedder(y).unsqueeze(1) + self.in_context_posemb, tokens], dim=1)
                room = (0, 0, self.in_context_len, 0)  # these tokens have no place, so they are not turned
                cosines, sines = F.pad(cosines, room, value=1.0), F.pad(sines, room)
            tokens = block(tokens, vectors, (cosines, sines))
        return unpatchify(self.final_layer(tokens[:, -patches:], of_output), self.patch_size)
