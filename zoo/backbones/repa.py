"""REPA (Yu et al., arXiv 2410.06940): a SiT whose training also matched features, as sihyun-yu/REPA models/sit.py computes it."""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo.backbones.dit import initialize
from zoo.backbones.layers import NormedAttention
from zoo.backbones.sit import SiT


class REPA(SiT):
    """The SiT of REPA: no variance, queries and keys normalised where qk_norm is set, and its time is 1 at the noise.

    The projectors in its files compare features with another network's during training; sampling never reads them.
    """

    beside = ("projectors.",)
    """Beginnings of the keys that a file holds for the training alone."""

    def __init__(self, *, learn_sigma: bool = False, qk_norm: bool = False, **words: Any) -> None:
        """words: those of DiT."""
        super().__init__(learn_sigma=learn_sigma, **words)
        if qk_norm:
            for block in self.blocks:
                hidden_size, num_heads = block.attn.proj.in_features, block.attn.num_heads
                block.attn = NormedAttention(hidden_size, num_heads, qkv_bias=True, norm=nn.LayerNorm)
            initialize(self)
