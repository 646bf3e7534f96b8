"""The variants that the Latte paper compares with interleaved blocks: late fusion, and two that attend both ways inside a block.

Source: Ma et al., arXiv 2401.03048, section 3. Neither weights nor code of these were published: names and what the paper leaves open
(that a block has DiT's six vectors, that the frames' positions are added before tokens first attend through time) are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.dit import modulate, vectors_for
from zoo.backbones.latte import Latte, by_frame, by_place
from zoo.backbones.layers import Attention, Mlp, frame_table


class ThenTemporal(nn.Module):
    """Attention over the tokens of a frame, then over one place through all frames: (b f, n, d) to the same."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.spatial = Attention(hidden_size, num_heads, qkv_bias=True)
        self.then_temporal = Attention(hidden_size, num_heads, qkv_bias=True)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return by_frame(self.then_temporal(by_place(self.spatial(x), frames)), x.shape[1])


class BesideTemporal(nn.Module):
    """Half of the heads attend within a frame, the other half through time, and what they found is added: (b f, n, d) to the same."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        if num_heads % 2:
            raise TypeError(f"num_heads is {num_heads}, but half of the heads attend in space and half in time")
        self.num_heads = num_heads
        self.spatial = Attention(hidden_size, num_heads // 2, qkv_bias=True)
        self.temporal = Attention(hidden_size, num_heads // 2, qkv_bias=True)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        return self.spatial(x) + by_frame(self.temporal(by_place(x, frames)), x.shape[1])


class SpaceTimeBlock(nn.Module):
    """DiT's adaLN-Zero block whose attention looks within a frame and through time."""

    attention: type[ThenTemporal | BesideTemporal]

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.attn = self.attention(hidden_size, num_heads)
        self.norm2 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(hidden_size, mlp_ratio, approximate="tanh")
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))

    def forward(self, x: Tensor, modulation: Tensor, frames: int) -> Tensor:
        """x (b f, n, d), modulation (b, 6 d) -> (b f, n, d)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = vectors_for(len(x), modulation, 6)
        x = torch.addcmul(x, gate1.unsqueeze(1), self.attn(modulate(self.norm1(x), shift1, scale1), frames))
        return torch.addcmul(x, gate2.unsqueeze(1), self.mlp(modulate(self.norm2(x), shift2, scale2)))


class ThenTemporalBlock(SpaceTimeBlock):
    """A block in which every token looks first within its frame, then through time."""

    attention = ThenTemporal


class BesideTemporalBlock(SpaceTimeBlock):
    """A block half of whose heads look within a frame, and half through time."""

    attention = BesideTemporal


class LateFusionLatte(Latte):
    """Variant 2: the first half of the blocks attends within a frame, the second half through time."""

    variant = 2

    def through_blocks(self, tokens: Tensor, vectors: Sequence[Tensor], frames: int) -> Tensor:
        """As Latte.through_blocks, the positions of the frames added between the halves."""
        half = len(self.blocks) // 2
        for block, of_block in zip(self.blocks[:half], vectors[:half], strict=True):
            tokens = block(tokens, of_block)
        places = tokens.shape[1]
        tokens = by_place(tokens, frames) + frame_table(self.temp_embed, frames)
        for block, of_block in zip(self.blocks[half:], vectors[half:], strict=True):
            tokens = block(tokens, of_block)
        return by_frame(tokens, places)


class SpaceTimeLatte(Latte):
    """Variant 3: every block attends within a frame, then through time."""

    variant = 3
    block = ThenTemporalBlock

    def through_blocks(self, tokens: Tensor, vectors: Sequence[Tensor], frames: int) -> Tensor:
        """As Latte.through_blocks, the positions of the frames added before the first block."""
        places = tokens.shape[1]
        tokens = by_frame(by_place(tokens, frames) + frame_table(self.temp_embed, frames), places)
        for block, of_block in zip(self.blocks, vectors, strict=True):
            tokens = block(tokens, of_block, frames)
        return tokens


class SplitHeadsLatte(SpaceTimeLatte):
    """Variant 4: half of the heads of every block attend within a frame, half through time."""

    variant = 4
    block = BesideTemporalBlock


VARIANTS = {one.variant: one for one in (Latte, LateFusionLatte, SpaceTimeLatte, SplitHeadsLatte)}
"""The paper's numbers and their classes; the published weights are variant 1's."""


def build(variant: int = 1, **words: Any) -> nn.Module:
    """A Latte of one of VARIANTS; words: those of Latte. Raises TypeError for another."""
    if variant not in VARIANTS:
        raise TypeError(f"variant is {variant!r}, but must be one of {', '.join(map(str, VARIANTS))}")
    return VARIANTS[variant](**words)
