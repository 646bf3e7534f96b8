"""DiT with adaLN-Zero (Peebles and Xie, arXiv 2212.09748), as facebookresearch/DiT models.py computes it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from zoo.backbones.layers import Attention, Mlp, PatchEmbed, sincos_2d, timestep_embedding, unpatchify


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Scale and shift tokens (b, n, d) by one vector (b, d) each, as adaLN does: in float32 rounded twice as the authors' code does, for
    the sake of equal numbers, in a half precision at once."""
    if x.dtype == torch.float32:
        return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)
    return torch.addcmul(shift.unsqueeze(1), x, 1 + scale.unsqueeze(1))


def vectors_for(rows: int, modulation: Tensor, parts: int) -> tuple[Tensor, ...]:
    """`parts` vectors (rows, d) each from the modulation (b, parts d) of b samples, however many rows a sample has."""
    if rows != len(modulation):  # a video: the frames, or places, of a sample follow each other
        modulation = modulation.repeat_interleave(rows // len(modulation), dim=0)
    return modulation.chunk(parts, dim=1)


class TimestepEmbedder(nn.Module):
    """Times (b,) to conditioning vectors (b, d): 256 sinusoids, then an MLP."""

    def __init__(self, hidden_size: int, frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size))

    def forward(self, t: Tensor) -> Tensor:
        return self.mlp(timestep_embedding(t, self.frequencies).to(self.mlp[0].weight.dtype))


class LabelEmbedder(nn.Module):
    """Labels (b,) to vectors (b, d); with a null label the table has one row more, at index num_classes."""

    def __init__(self, num_classes: int, hidden_size: int, null_label: bool = True) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + null_label, hidden_size)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)


class DiTBlock(nn.Module):
    """Transformer block whose normalisations are shifted, scaled and gated by the conditioning (adaLN-Zero)."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.attn = Attention(hidden_size, num_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6)
        self.mlp = Mlp(hidden_size, mlp_ratio, approximate="tanh")
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 6 * hidden_size))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = vectors_for(len(x), modulation, 6)
        x = torch.addcmul(x, gate1.unsqueeze(1), self.attn(modulate(self.norm1(x), shift1, scale1)))
        return torch.addcmul(x, gate2.unsqueeze(1), self.mlp(modulate(self.norm2(x), shift2, scale2)))


class FinalLayer(nn.Module):
    """adaLN, then a linear map from tokens (b, n, d) to patches (b, n, p q c); norm: before it, LayerNorm without weights where None."""

    def __init__(self, hidden_size: int, patch_size: int, out_channels: int, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(hidden_size, elementwise_affine=False, eps=1e-6) if norm is None else norm
        self.linear = nn.Linear(hidden_size, patch_size * patch_size * out_channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden_size, 2 * hidden_size))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = vectors_for(len(x), modulation, 2)
        return self.linear(modulate(self.norm_final(x), shift, scale))


def initialize(model: nn.Module) -> None:
    """Initialise a DiT or a relative of it for training: Xavier linears, zeroed modulations and output (DiT models.py)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        elif isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for embedder in (m for m in model.modules() if isinstance(m, TimestepEmbedder)):
        nn.init.normal_(embedder.mlp[0].weight, std=0.02)
        nn.init.normal_(embedder.mlp[2].weight, std=0.02)
    for layer in (m for m in model.modules() if hasattr(m, "adaLN_modulation")):
        nn.init.zeros_(layer.adaLN_modulation[-1].weight)
    for layer in (m for m in model.modules() if isinstance(m, FinalLayer)):
        nn.init.zeros_(layer.linear.weight)


class AdaLN(nn.Module):
    """What DiT and its relatives share: the time and the class enter through the vectors of every block (adaLN)."""

    t_embedder: TimestepEmbedder
    y_embedder: LabelEmbedder | None
    blocks: nn.ModuleList
    final_layer: nn.Module

    @property
    def modulated(self) -> tuple[nn.Module, ...]:
        """Everything that has an adaLN_modulation, in the order in which it runs: the blocks, then the final layer."""
        return (*self.blocks, self.final_layer)

    def condition(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The time and the class as one vector: t (b,), y (b,) long -> (b, d)."""
        c = self.t_embedder(t)
        return c if self.y_embedder is None else c + self.y_embedder(y)

    def modulation(self, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The vectors of all blocks, then of the final layer, side by side: t (b,), y (b,) long -> (b, m), m = 6 d depth + 2 d in a DiT."""
        c = self.condition(t, y)
        return torch.cat([part.adaLN_modulation(c) for part in self.modulated], dim=1)

    def by_part(self, modulation: Tensor) -> tuple[Tensor, ...]:
        """The vectors of each block, (b, 6 d) in a DiT, and (b, 2 d) of the final layer, from those of all of them (b, m)."""
        return modulation.split([part.adaLN_modulation[1].out_features for part in self.modulated], dim=1)


class Tree(nn.Module):
    """The parts of a DiT, whatever its blocks are: patches, time, class, positions, blocks and the last layer."""

    block: Callable[[int, int, float], nn.Module] = DiTBlock
    """A block from its width, its heads and the ratio of its MLP."""
    last: Callable[[int, int, int], nn.Module] = FinalLayer
    """The last layer from its width, the side of a patch and the channels of the answer."""

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
        null_label: bool = True,
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.grid_size = input_size // patch_size
        self.x_embedder = PatchEmbed(patch_size, in_channels, hidden_size)
        self.t_embedder = TimestepEmbedder(hidden_size)
        self.y_embedder = LabelEmbedder(num_classes, hidden_size, null_label) if num_classes else None
        self.pos_embed = nn.Parameter(sincos_2d(hidden_size, self.grid_size), requires_grad=False)
        self.blocks = nn.ModuleList(self.block(hidden_size, num_heads, mlp_ratio) for _ in range(depth))
        self.final_layer = self.last(hidden_size, patch_size, in_channels * (2 if learn_sigma else 1))
        initialize(self)

    def tables(self) -> dict[str, Tensor]:
        """What is stored in official checkpoints but not learned: the position table."""
        return {"pos_embed": sincos_2d(self.pos_embed.shape[-1], self.grid_size)}

    def tokens(self, x: Tensor) -> Tensor:
        """The patches of x (b, c, h, w) with their positions, in the dtype of the weights: (b, n, d)."""
        return self.x_embedder(x.to(self.x_embedder.proj.weight.dtype)) + self.pos_embed


class DiT(Tree, AdaLN):
    """Diffusion transformer over a square picture or latent; the class and the time enter through adaLN only."""

    trained_as = "DiT"
    """How the settings of a training call it: a SiT's keys are the same."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, modulation: Tensor | None = None) -> Tensor:
        """Predict the noise, and the variance fraction after it where sigma is learned.

        x (b, c, h, w); t (b,), the index 0..999, fractions allowed; y (b,) long, num_classes = null; modulation (b, m): what
        `modulation(t, y)` gives, where it is known already. Returns (b, c or 2c, h, w) in the dtype of the weights.
        """
        x = self.tokens(x)
        *of_blocks, of_output = self.by_part(self.modulation(t, y) if modulation is None else modulation)
        for block, vectors in zip(self.blocks, of_blocks, strict=True):
            x = block(x, vectors)
        return unpatchify(self.final_layer(x, of_output), self.patch_size)
