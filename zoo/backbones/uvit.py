"""U-ViT (Bao et al., arXiv 2209.12152), as baofff/U-ViT libs/uvit.py and libs/uvit_t2i.py compute it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.backbones.layers import Attention, Mlp, PatchEmbed, timestep_embedding, unpatchify


class UViTBlock(nn.Module):
    """Pre-norm transformer block; the later half first merges the long skip: Linear over [x, skip]."""

    def __init__(self, hidden_size: int, num_heads: int, mlp_ratio: float, qkv_bias: bool, skip: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden_size)
        self.attn = Attention(hidden_size, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(hidden_size)
        self.mlp = Mlp(hidden_size, mlp_ratio, approximate="none")
        self.skip_linear = nn.Linear(2 * hidden_size, hidden_size) if skip else None

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        if self.skip_linear is not None:
            x = self.skip_linear(torch.cat([x, skip], dim=-1))
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class UViT(nn.Module):
    """Diffusion transformer that treats time, class or text, and patches alike as tokens, with long skip connections."""

    def __init__(
        self,
        input_size: int = 32,
        patch_size: int = 2,
        in_channels: int = 4,
        hidden_size: int = 1152,
        depth: int = 28,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        mlp_time_embed: bool = False,
        num_classes: int = 0,
        null_label: bool = True,
        context_dim: int = 0,
        num_context_tokens: int = 0,
        conv: bool = True,
        skip: bool = True,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.patch_size = patch_size
        self.num_patches = (input_size // patch_size) ** 2
        extras = 1 + (num_context_tokens if context_dim else int(num_classes > 0))
        self.patch_embed = PatchEmbed(patch_size, in_channels, hidden_size)
        width = int(hidden_size * mlp_ratio)
        self.time_embed = (
            nn.Sequential(nn.Linear(hidden_size, width), nn.SiLU(), nn.Linear(width, hidden_size)) if mlp_time_embed else nn.Identity()
        )
        self.label_emb = nn.Embedding(num_classes + null_label, hidden_size) if num_classes and not context_dim else None
        self.context_embed = nn.Linear(context_dim, hidden_size) if context_dim else None
        self.pos_embed = nn.Parameter(torch.zeros(1, extras + self.num_patches, hidden_size))

        def block(merge: bool = False) -> UViTBlock:
            return UViTBlock(hidden_size, num_heads, mlp_ratio, qkv_bias, merge)

        self.in_blocks = nn.ModuleList(block() for _ in range(depth // 2))
        self.mid_block = block()
        self.out_blocks = nn.ModuleList(block(merge=skip) for _ in range(depth // 2))
        self.norm = nn.LayerNorm(hidden_size)
        self.decoder_pred = nn.Linear(hidden_size, patch_size**2 * in_channels)
        self.final_layer = nn.Conv2d(in_channels, in_channels, 3, padding=1) if conv else nn.Identity()
        self.initialize()

    def initialize(self) -> None:
        """Initialise for training: truncated normals of deviation 0.02, zero biases (U-ViT libs/uvit.py)."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Predict the noise.

        x (b, c, h, w); t (b,) as the schedule tells it (1000 tau, or 999 tau on the VP-SDE); y (b,) long,
        num_classes = null, or text context (b, n, context_dim). Returns (b, c, h, w) in the dtype of the weights.
        """
        dtype = self.pos_embed.dtype
        tokens = self.patch_embed(x.to(dtype))
        time = self.time_embed(timestep_embedding(t, self.hidden_size).to(dtype)).unsqueeze(1)
        if self.context_embed is not None:
            tokens = torch.cat([time, self.context_embed(y.to(dtype)), tokens], dim=1)
        elif self.label_emb is not None:
            tokens = torch.cat([self.label_emb(y).unsqueeze(1), time, tokens], dim=1)
        else:
            tokens = torch.cat([time, tokens], dim=1)
        tokens = tokens + self.pos_embed

        skips = []
        for block in self.in_blocks:
            tokens = block(tokens)
            skips.append(tokens)
        tokens = self.mid_block(tokens)
        for block in self.out_blocks:
            tokens = block(tokens, skips.pop())
        patches = self.decoder_pred(self.norm(tokens))[:, -self.num_patches :]
        return self.final_layer(unpatchify(patches, self.patch_size))
