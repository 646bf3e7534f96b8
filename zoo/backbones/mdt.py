"""MDT, the masked diffusion transformer (Gao et al., arXiv 2303.14389), both versions, as sail-sg/MDT masked_diffusion/models.py computes
it when it samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.backbones.dit import AdaLN, DiTBlock, FinalLayer, LabelEmbedder, TimestepEmbedder, initialize
from zoo.backbones.layers import Attention, PatchEmbed, sincos_2d, unpatchify


class RelativePositionBias(nn.Module):
    """A learned number for every head and every way from one place of a square grid to another, added to the attention's scores."""

    def __init__(self, side: int, num_heads: int) -> None:
        super().__init__()
        ways = 2 * side - 1  # along one axis
        self.relative_position_bias_table = nn.Parameter(torch.zeros(ways**2 + 3, num_heads))  # the last three rows serve nothing here
        row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        down, right = (one.flatten()[:, None] - one.flatten()[None] + side - 1 for one in (row, column))
        self.register_buffer("relative_position_index", down * ways + right)

    def forward(self) -> Tensor:
        """(k, n, n)."""
        return self.relative_position_bias_table[self.relative_position_index].movedim(-1, 0)


class BiasedAttention(Attention):
    """Self-attention whose scores know how far two places are from each other."""

    def __init__(self, hidden_size: int, num_heads: int, side: int) -> None:
        super().__init__(hidden_size, num_heads, qkv_bias=True)
        self.rel_pos_bias = RelativePositionBias(side, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.merge(self.attend(q, k, v, self.rel_pos_bias()))


class MDTBlock(DiTBlock):
    """DiT's block with relative positions; where it has a skip, that is merged first: Linear over [x, skip]."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float, side: int, skip: bool = False) -> None:
        super().__init__(hidden_size, num_heads, mlp_ratio)
        self.attn = BiasedAttention(hidden_size, num_heads, side)
        self.skip_linear = nn.Linear(2 * hidden_size, hidden_size) if skip else None

    def forward(self, x: Tensor, modulation: Tensor, skip: Tensor | None = None) -> Tensor:
        if self.skip_linear is not None:
            x = self.skip_linear(torch.cat([x, skip], dim=-1))
        return super().forward(x, modulation)


class MDT(AdaLN):
    """DiT whose training also filled in masked patches, with a few blocks at the end as a decoder.

    Version 1 is a plain stack; version 2 has long skips between two halves, and gives the decoder's blocks the embedded patches again.
    The side blocks and the mask token serve the masked training only, but are in the file.
    """

    training_only = ("sideblocks",)
    """Names of modules that never run here."""

    def __init__(
        self,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        learn_sigma: bool = True,
        decode_layer: int = 4,
        version: int = 2,
    ) -> None:
        super().__init__()
        if version not in (1, 2) or not 0 < decode_layer < depth:
            raise TypeError(f"version {version} with {decode_layer} of {depth} blocks as decoder is none: version is 1 or 2")
        self.patch_size, self.decode_layer, self.version = patch_size, decode_layer, version
        side = input_size // patch_size
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size) if num_classes else None
        self.pos_embed = nn.Parameter(sincos_2d(hidden_size, side))  # where it begins: it is learned
        self.decoder_pos_embed = nn.Parameter(sincos_2d(hidden_size, side))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, hidden_size))

        def blocks(count: int, skip: bool = False) -> nn.ModuleList:
            return nn.ModuleList(MDTBlock(hidden_size, num_heads, mlp_ratio, side, skip) for _ in range(count))

        if version == 1:
            self.blocks = blocks(depth)
        else:
            self.en_inblocks = blocks((depth - decode_layer) // 2)
            self.en_outblocks = blocks((depth - decode_layer) // 2, skip=True)
            self.de_blocks = blocks(decode_layer, skip=True)
        self.sideblocks = blocks(1)
        self.final_layer = FinalLayer(hidden_size, patch_size, in_channels * (2 if learn_sigma else 1))
        initialize(self)

    @property
    def modulated(self) -> tuple[nn.Module, ...]:
        """The blocks that sampling runs, in their order, then the final layer."""
        stacks = (self.blocks,) if self.version == 1 else (self.en_inblocks, self.en_outblocks, self.de_blocks)
        return (*(block for stack in stacks for block in stack), self.final_layer)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, modulation: Tensor | None = None) -> Tensor:
        """Predict the noise, and the variance fraction after it where sigma is learned.

        x (b, c, h, w) of the trained size; t (b,), the index 0..999; y (b,) long, num_classes = null; modulation (b, m): what
        `modulation(t, y)` gives, where it is known already. Returns (b, c or 2c, h, w) in the dtype of the weights.
        """
        tokens = self.x_embedder(x.to(self.pos_embed.dtype)) + self.pos_embed
        *of_blocks, of_output = self.by_part(self.modulation(t, y) if modulation is None else modulation)
        tokens = (self._stack if self.version == 1 else self._two_halves)(tokens, of_blocks)
        return unpatchify(self.final_layer(tokens, of_output), self.patch_size)

    def _stack(self, tokens: Tensor, of_blocks: list[Tensor]) -> Tensor:
        for index, (block, vectors) in enumerate(zip(self.blocks, of_blocks, strict=True)):
            if index == len(self.blocks) - self.decode_layer:
                tokens = tokens + self.decoder_pos_embed
            tokens = block(tokens, vectors)
        return tokens

    def _two_halves(self, tokens: Tensor, of_blocks: list[Tensor]) -> Tensor:
        embedded, skips, vectors = tokens, [], iter(of_blocks)
        for block in self.en_inblocks:
            tokens = block(tokens, next(vectors))
            skips.append(tokens)
        for block in self.en_outblocks:
            tokens = block(tokens, next(vectors), skips.pop())
        tokens = tokens + self.decoder_pos_embed
        for block in self.de_blocks:
            tokens = block(tokens, next(vectors), embedded)
        return tokens
