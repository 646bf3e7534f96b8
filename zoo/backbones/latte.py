"""Latte (Ma et al., arXiv 2401.03048), the published variant of interleaved blocks, as Vchitect/Latte models/latte.py computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from zoo.backbones.dit import AdaLN, DiTBlock, FinalLayer, LabelEmbedder, TimestepEmbedder, initialize
from zoo.backbones.layers import PatchEmbed, frame_table, sincos_1d, sincos_2d, unpatchify


def by_place(tokens: Tensor, frames: int) -> Tensor:
    """The tokens of each frame (b f, n, d) as those of each place through all frames (b n, f, d)."""
    return rearrange(tokens, "(b f) n d -> (b n) f d", f=frames)


def by_frame(tokens: Tensor, places: int) -> Tensor:
    """The way back: the tokens of each place (b n, f, d) as those of each frame (b f, n, d)."""
    return rearrange(tokens, "(b n) f d -> (b f) n d", n=places)


class Latte(AdaLN):
    """DiT for videos: blocks attend in turn to the tokens of one frame and to one place through all frames."""

    variant = 1
    """The number that the paper gives this way of attending in space and time."""
    block: Callable[[int, int, float], nn.Module] = DiTBlock
    """A block from its width, its heads and the ratio of its MLP."""

    def __init__(
        self,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_frames: int = 16,
        num_classes: int = 0,
        learn_sigma: bool = True,
        null_label: bool = True,
    ) -> None:
        super().__init__()
        if depth % 2 and self.block is DiTBlock:
            raise TypeError(f"depth is {depth}, but spatial and temporal blocks come in pairs")
        self.patch_size = patch_size
        self.grid_size = input_size // patch_size
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size, null_label) if num_classes else None
        self.pos_embed = nn.Parameter(sincos_2d(hidden_size, self.grid_size), requires_grad=False)
        self.temp_embed = nn.Parameter(sincos_1d(hidden_size, torch.arange(num_frames)).float()[None], requires_grad=False)
        self.blocks = nn.ModuleList(self.block(hidden_size, num_heads, mlp_ratio) for _ in range(depth))
        self.final_layer = FinalLayer(hidden_size, patch_size, in_channels * (2 if learn_sigma else 1))
        initialize(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, modulation: Tensor | None = None) -> Tensor:
        """Predict the noise, and the variance fraction after it where sigma is learned.

        x (b, f, c, h, w); t (b,), the index 0..999; y (b,) long, num_classes = null; modulation (b, m): what `modulation(t, y)`
        gives, where it is known already. Returns (b, f, c or 2c, h, w) in the dtype of the weights.
        """
        frames = x.shape[1]
        tokens = self.x_embedder(rearrange(x, "b f c h w -> (b f) c h w").to(self.pos_embed.dtype)) + self.pos_embed
        *of_blocks, of_output = self.by_part(self.modulation(t, y) if modulation is None else modulation)
        tokens = self.through_blocks(tokens, of_blocks, frames)
        return rearrange(unpatchify(self.final_layer(tokens, of_output), self.patch_size), "(b f) c h w -> b f c h w", f=frames)

    def through_blocks(self, tokens: Tensor, vectors: Sequence[Tensor], frames: int) -> Tensor:
        """What the blocks make of the tokens (b f, n, d) of videos of so many frames, vectors being the (b, 6 d) of each block."""
        for index in range(0, len(self.blocks), 2):
            tokens = self.blocks[index](tokens, vectors[index])
            tokens = by_place(tokens, frames)
            if index == 0:
                tokens = tokens + frame_table(self.temp_embed, frames)
            tokens = self.blocks[index + 1](tokens, vectors[index + 1])
            tokens = by_frame(tokens, len(self.pos_embed[0]))
        return tokens
