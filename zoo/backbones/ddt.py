"""DDT, the decoupled diffusion transformer (Wang et al., arXiv 2504.05741), as MCG-NJU/DDT decoupled_improved_dit.py computes it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from zoo.backbones.dit import LabelEmbedder
from zoo.backbones.layers import NormedAttention, RMSNorm, pairs_by_axis, timestep_embedding, turning

SPAN = 16.0
"""Places of a grid of any size go from 0 to this, both ends included."""


class TimeEmbedder(nn.Module):
    """Times (b,) in [0, 1] to vectors (b, d): 256 sinusoids of periods up to 10 in place of 10,000, then an MLP."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(timestep_embedding(t, 256, max_period=10.0).to(self.mlp[0].weight.dtype))


class Embed(nn.Module):
    """Patches (b, n, c p q) to tokens (b, n, d)."""

    def __init__(self, inputs: int, hidden_size: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, hidden_size)

    def forward(self, patches: Tensor) -> Tensor:
        return self.proj(patches)


class FeedForward(nn.Module):
    """SwiGLU of three linears without biases over (b, n, d)."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(hidden_size, width, bias=False)
        self.w3 = nn.Linear(hidden_size, width, bias=False)
        self.w2 = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class DDTBlock(nn.Module):
    """Transformer block whose normalisations are shifted, scaled and gated by a condition (b, 1 or n, d), one for all tokens or each."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = RMSNorm(hidden_size)
        self.attn = NormedAttention(hidden_size, num_heads, qkv_bias=False, norm=RMSNorm)
        self.norm2 = RMSNorm(hidden_size)
        self.mlp = FeedForward(hidden_size, int(2 * mlp_ratio * hidden_size / 3))
        self.adaLN_modulation = nn.Sequential(nn.Linear(hidden_size, 6 * hidden_size))

    def forward(self, x: Tensor, condition: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, dim=-1)
        x = x + gate1 * self.attn(self.norm1(x) * (1 + scale1) + shift1, turn)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class LastLayer(nn.Module):
    """adaLN with a condition for each token, then a linear map from tokens (b, n, d) to patches (b, n, c p q)."""

    def __init__(self, hidden_size: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.linear = nn.Linear(hidden_size, outputs)
        self.adaLN_modulation = nn.Sequential(nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        return self.linear(self.norm(x) * (1 + scale) + shift)


class DDT(nn.Module):
    """Two transformers in one: an encoder that makes a condition for every token, and a small decoder that draws with it."""

    def __init__(
        self,
        input_size: int = 32,  # noqa: ARG002 - a word of the card: a square of any size will do
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        depth: int = 28,
        encoder_depth: int = 22,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        if not 0 < encoder_depth < depth:
            raise TypeError(f"an encoder of {encoder_depth} of {depth} blocks leaves none to one side")
        self.patch_size, self.num_heads, self.encoder_depth = patch_size, num_heads, encoder_depth
        numbers = in_channels * patch_size**2
        self.s_embedder = Embed(numbers, hidden_size)
        self.x_embedder = Embed(numbers, hidden_size)
        self.t_embedder = TimeEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size)
        self.blocks = nn.ModuleList(DDTBlock(hidden_size, num_heads, mlp_ratio) for _ in range(depth))
        self.final_layer = LastLayer(hidden_size, numbers)
        self.initialize()

    def initialize(self) -> None:
        """Initialise for training: Xavier embedders, normals of deviation 0.02 for time and class, zeroed modulations and output."""
        for linear in (self.s_embedder.proj, self.x_embedder.proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        for table in (self.y_embedder.embedding_table, self.t_embedder.mlp[0], self.t_embedder.mlp[2]):
            nn.init.normal_(table.weight, std=0.02)
        for linear in (*(part.adaLN_modulation[0] for part in (*self.blocks, self.final_layer)), self.final_layer.linear):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def encode(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """What the encoder hands to the decoder: x (b, c, h, w), t (b,) in [0, 1], y (b,) long -> (b, n, d), a condition for each token."""
        patches, turn = self._patches(x)
        time = self.t_embedder(t).unsqueeze(1)
        state, condition = self.s_embedder(patches), F.silu(time + self.y_embedder(y).unsqueeze(1))
        for block in self.blocks[: self.encoder_depth]:
            state = block(state, condition, turn)
        return F.silu(time + state)

    def forward(self, x: Tensor, t: Tensor, y: Tensor, state: Tensor | None = None) -> Tensor:
        """Predict the velocity dx/dt, t being 1 at the data.

        x (b, c, h, w); t (b,) in [0, 1]; y (b,) long, num_classes = null; state (b, n, d): what `encode` gave at an earlier time, with
        which the decoder alone runs, and t and y are not looked at. Returns (b, c, h, w) in the dtype of the weights.
        """
        state = self.encode(x, t, y) if state is None else state
        patches, turn = self._patches(x)
        tokens = self.x_embedder(patches)
        for block in self.blocks[self.encoder_depth :]:
            tokens = block(tokens, state, turn)
        side, p = x.shape[-1] // self.patch_size, self.patch_size
        return rearrange(self.final_layer(tokens, state), "b (h w) (c p q) -> b c (h p) (w q)", w=side, p=p, q=p)

    def _patches(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Patches (b, n, c p q), and how queries and keys are turned at their places."""
        weight, p = self.x_embedder.proj.weight, self.patch_size
        patches = rearrange(x.to(weight.dtype), "b c (h p) (w q) -> b (h w) (c p q)", p=p, q=p)
        places = torch.linspace(0, SPAN, math.isqrt(patches.shape[1]), device=x.device)
        return patches, turning(pairs_by_axis(len(weight) // self.num_heads, places))


class KeptEncoder:
    """A DDT asked like any network, (x, t, y) -> velocity, whose encoder runs at every k-th step only (the authors' state_refresh_rate).

    What the encoder said of a step serves the steps after it. Rows that were not asked for then, as the unconditional half where
    guidance begins later, are encoded from that step's x and t when they are needed, so that the numbers are as if they had been.
    """

    def __init__(self, module: DDT, every: int, encode: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None) -> None:
        """every: steps, 1 or more, each of them one call; encode: what to ask in place of the module's own."""
        self.module, self.every, self.encode = module, every, encode or module.encode
        self._calls = 0
        self._kept: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """As the module's forward."""
        if self._calls % self.every == 0:
            self._at, self._kept = (x, t), []
        self._calls += 1
        return self.module(x, t, y, self._state(y))

    def _state(self, y: Tensor) -> Tensor:
        state = next((state for labels, state in self._kept if torch.equal(labels, y)), None)
        if state is None:
            x, t = self._at
            again = -(-len(y) // len(x))  # both halves of a guided pass see the same x and t
            state = self.encode(x.repeat(again, 1, 1, 1)[: len(y)], t.repeat(again)[: len(y)], y)
            self._kept.append((y, state))
        return state
