"""The blocks that the DiT paper compares with adaLN-Zero: adaLN, in-context and cross-attention, and the networks made of them.

Source: Peebles and Xie, arXiv 2212.09748, section 3.2 and figure 3. Neither weights nor code of these were published: names and what
the paper leaves open (where the two tokens stand, which linears start at zero) are ours.
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from zoo.backbones.dit import DiT, Tree, modulate, vectors_for
from zoo.backbones.layers import Attend, Attention, Mlp, unpatchify


class AdaLNBlock(nn.Module):
    """Transformer block whose normalisations are shifted and scaled by the conditioning; what it computes is added without a gate."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(hidden_size, num_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(hidden_size, mlp_ratio, approximate="tanh")
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 4 * hidden_size))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift1, scale1, shift2, scale2 = vectors_for(len(x), modulation, 4)
        x = x + self.attn(modulate(self.norm1(x), shift1, scale1))
        return x + self.mlp(modulate(self.norm2(x), shift2, scale2))


class PlainBlock(nn.Module):
    """The block of a vision transformer: nothing but the tokens themselves enters it."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.attn = Attention(hidden_size, num_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.mlp = Mlp(hidden_size, mlp_ratio, approximate="tanh")

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class CrossAttention(nn.Module):
    """Multi-head attention of tokens (b, n, d) to the conditioning (b, m, d), which gives keys and values."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(hidden_size, hidden_size)
        self.kv = nn.Linear(hidden_size, 2 * hidden_size)
        self.attend = Attend()
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        q = rearrange(self.q(x), "b n (k d) -> b k n d", k=self.num_heads)
        k, v = rearrange(self.kv(conditions), "b m (kv k d) -> kv b k m d", kv=2, k=self.num_heads)
        return self.proj(rearrange(self.attend(q, k, v), "b k n d -> b n (k d)"))


class CrossAttentionBlock(nn.Module):
    """The block of a vision transformer with cross-attention to the conditioning between self-attention and MLP."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.attn = Attention(hidden_size, num_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.cross_attn = CrossAttention(hidden_size, num_heads)
        self.norm3 = nn.LayerNorm(hidden_size, eps=1e-6)
        self.mlp = Mlp(hidden_size, mlp_ratio, approximate="tanh")

    def forward(self, x: Tensor, conditions: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        x = x + self.cross_attn(self.norm2(x), conditions)
        return x + self.mlp(self.norm3(x))


class PlainFinalLayer(nn.Module):
    """LayerNorm, then a linear map from tokens (b, n, d) to patches (b, n, p q c)."""

    def __init__(self, hidden_size: int, patch_size: int, out_channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(hidden_size, eps=1e-6)
        self.linear = nn.Linear(hidden_size, patch_size * patch_size * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm_final(x))


class AdaLNDiT(DiT):
    """DiT whose blocks are shifted and scaled, not gated: they compute something from the start, so their linears start as all others."""

    block = AdaLNBlock

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        for block in self.blocks:
            nn.init.xavier_uniform_(block.adaLN_modulation[-1].weight)


class TokensDiT(Tree):
    """What the two have in common to which time and class are tokens: the last layer, which starts at zero, and those tokens."""

    last = PlainFinalLayer

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        nn.init.zeros_(self.final_layer.linear.weight)

    def conditions(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The time and the class as tokens: t (b,), y (b,) long -> (b, 2, d), (b, 1, d) where there are no classes."""
        vectors = [self.t_embedder(t)] if self.y_embedder is None else [self.t_embedder(t), self.y_embedder(y)]
        return torch.stack(vectors, dim=1)


class InContextDiT(TokensDiT):
    """DiT of plain blocks; the time and the class are tokens before the patches and treated like them."""

    block = PlainBlock

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """As DiT.forward, without modulation."""
        conditions = self.conditions(t, y)
        x = torch.cat([conditions, self.tokens(x)], dim=1)
        for block in self.blocks:
            x = block(x)
        return unpatchify(self.final_layer(x[:, conditions.shape[1] :]), self.patch_size)


class CrossAttentionDiT(TokensDiT):
    """DiT whose patches look in every block at the time and the class, a sequence of two tokens of their own."""

    block = CrossAttentionBlock

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """As DiT.forward, without modulation."""
        x, conditions = self.tokens(x), self.conditions(t, y)
        for block in self.blocks:
            x = block(x, conditions)
        return unpatchify(self.final_layer(x), self.patch_size)


CONDITIONINGS = {"adaln-zero": DiT, "adaln": AdaLNDiT, "in-context": InContextDiT, "cross-attention": CrossAttentionDiT}
"""Ways in which the time and the class enter a DiT, and its class; the published weights are adaLN-Zero's."""


def build(conditioning: str = "adaln-zero", **words: Any) -> nn.Module:
    """A DiT whose time and class enter in one of CONDITIONINGS; words: those of DiT. Raises TypeError for another."""
    if conditioning not in CONDITIONINGS:
        raise TypeError(f"conditioning is {conditioning!r}, but must be one of {', '.join(CONDITIONINGS)}")
    return CONDITIONINGS[conditioning](**words)
