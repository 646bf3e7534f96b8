"""LightningDiT (Yao and Wang, arXiv 2501.01423), as hustvl/LightningDiT models/lightningdit.py computes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.backbones.dit import AdaLN, FinalLayer, LabelEmbedder, TimestepEmbedder, initialize, modulate
from zoo.backbones.layers import Mlp, NormedAttention, PatchEmbed, RMSNorm, SwiGLU, halves_by_axis, sincos_2d, turning, unpatchify


def plain_norm(width: int) -> nn.Module:
    """DiT's LayerNorm, without weights."""
    return nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)


class LightningBlock(nn.Module):
    """DiT's block with turned queries and keys; with adaln_shift its normalisations are shifted, scaled and gated, else only the latter."""

    def __init__(
        self, hidden_size: int, num_heads: int, norm: Callable[[int], nn.Module], head_norm: Callable[[int], nn.Module], mlp: nn.Module,
        adaln_shift: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = norm(hidden_size)
        self.attn = NormedAttention(hidden_size, num_heads, qkv_bias=True, norm=head_norm)
        self.norm2 = norm(hidden_size)
        self.mlp = mlp
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, (6 if adaln_shift else 4) * hidden_size))

    def forward(self, x: Tensor, modulation: Tensor, turn: tuple[Tensor, Tensor] | None) -> Tensor:
        """x (b, n, d); modulation (b, 6 d or 4 d); turn: cosines and sines of the places -> (b, n, d)."""
        vectors = modulation.unflatten(1, (-1, x.shape[-1])).unbind(1)
        if len(vectors) == 4:
            scale1, gate1, scale2, gate2 = vectors
            shift1 = shift2 = torch.zeros_like(scale1)
        else:
            shift1, scale1, gate1, shift2, scale2, gate2 = vectors
        x = torch.addcmul(x, gate1.unsqueeze(1), self.attn(modulate(self.norm1(x), shift1, scale1), turn))
        return torch.addcmul(x, gate2.unsqueeze(1), self.mlp(modulate(self.norm2(x), shift2, scale2)))


class AxialRoPE(nn.Module):
    """Cosines and sines of the places of a square grid, which official checkpoints hold: half of a head turns by the row, half by the
    column."""

    def __init__(self, head_dim: int, side: int) -> None:
        super().__init__()
        cosines, sines = turning(halves_by_axis(head_dim, side))
        self.register_buffer("freqs_cos", cosines)
        self.register_buffer("freqs_sin", sines)

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.freqs_cos, self.freqs_sin


class LightningDiT(AdaLN):
    """DiT over the wide latents of VA-VAE with what later transformers have: RMSNorm, SwiGLU and RoPE, each of which can be left out."""

    def __init__(
        self,
        input_size: int = 16,
        patch_size: int = 1,
        in_channels: int = 32,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        learn_sigma: bool = False,
        qk_norm: bool = False,
        swiglu: bool = True,
        rope: bool = True,
        rms_norm: bool = True,
        adaln_shift: bool = True,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.grid_size = input_size // patch_size
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size) if num_classes else None
        self.pos_embed = nn.Parameter(sincos_2d(hidden_size, self.grid_size), requires_grad=False)
        self.feat_rope = AxialRoPE(hidden_size // num_heads, self.grid_size) if rope else None
        norm = RMSNorm if rms_norm else plain_norm
        head_norm = nn.Identity if not qk_norm else RMSNorm if rms_norm else nn.LayerNorm

        def block() -> LightningBlock:
            width = int(hidden_size * mlp_ratio)
            mlp = SwiGLU(hidden_size, int(2 / 3 * width)) if swiglu else Mlp(hidden_size, mlp_ratio, approximate="tanh")
            return LightningBlock(hidden_size, num_heads, norm, head_norm, mlp, adaln_shift)

        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.final_layer = FinalLayer(hidden_size, patch_size, in_channels * (2 if learn_sigma else 1), norm(hidden_size))
        initialize(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, modulation: Tensor | None = None) -> Tensor:
        """Predict the velocity dx/dt, t being 1 at the data.

        x (b, c, h, w), normalised latents; t (b,) in [0, 1]; y (b,) long, num_classes = null; modulation (b, m): what `modulation(t, y)`
        gives, where it is known already. Returns (b, c, h, w) in the dtype of the weights.
        """
        tokens = self.x_embedder(x.to(self.x_embedder.proj.weight.dtype)) + self.pos_embed
        turn = self.feat_rope() if self.feat_rope is not None else None
        *of_blocks, of_output = self.by_part(self.modulation(t, y) if modulation is None else modulation)
        for block, vectors in zip(self.blocks, of_blocks, strict=True):
            tokens = block(tokens, vectors, turn)
        return unpatchify(self.final_layer(tokens, of_output), self.patch_size)[:, : x.shape[1]]
