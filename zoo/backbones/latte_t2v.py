"""Latte-1, the text-to-video Latte: diffusers' LatteTransformer3DModel behind our axes and argument names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from einops import rearrange

from zoo.backbones.layers import frame_table

if TYPE_CHECKING:
    from torch import Tensor, nn


def build(
    input_size: int = 64,
    patch_size: int = 2,
    in_channels: int = 4,
    hidden_size: int = 1152,
    depth: int = 28,
    num_heads: int = 16,
    num_frames: int = 16,
    context_dim: int = 4096,
    num_context_tokens: int = 120,  # noqa: ARG001 - a word of the card; the text encoder needs it
    norm_eps: float = 1e-6,
) -> nn.Module:
    """Build the transformer, randomly initialised, as its published config.json says (28 layers of 16 heads of 72).

    num_context_tokens is the longest context; a shorter one is taken as it is. Attribute names are those of the checkpoint.
    """
    from diffusers.models.transformers.latte_transformer_3d import LatteTransformer3DModel

    class LatteT2V(LatteTransformer3DModel):
        """The text-to-video Latte; forward(x, t, y) as all backbones have it."""

        def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
            """Predict noise and variance: x (b, f, c, h, w), t (b,), y (b, n, d) context -> (b, f, 2c, h, w). One frame is a picture,
            made without the temporal blocks; other numbers than the model's interpolate its frame table."""
            dtype = self.proj_out.weight.dtype
            frames = rearrange(x, "b f c h w -> b c f h w").to(dtype)
            table = self.temp_pos_embed
            try:
                self.temp_pos_embed = frame_table(table, x.shape[1])
                out = super().forward(frames, t, y.to(dtype), enable_temporal_attentions=x.shape[1] > 1, return_dict=False)[0]
            finally:
                self.temp_pos_embed = table
            return rearrange(out, "b c f h w -> b f c h w")

    words = {
        "num_attention_heads": num_heads,
        "attention_head_dim": hidden_size // num_heads,
        "in_channels": in_channels,
        "out_channels": 2 * in_channels,
        "sample_size": input_size,
        "patch_size": patch_size,
        "attention_bias": True,
        "caption_channels": context_dim,
        "cross_attention_dim": hidden_size,
        "activation_fn": "gelu-approximate",
        "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False,
        "norm_eps": norm_eps,
        "video_length": num_frames,
    }
    model = LatteT2V(num_layers=depth, **words)
    with torch.device("cpu"):  # the position tables are in no file, so they are never left on meta
        tables = LatteTransformer3DModel(num_layers=1, **words)
    model.temp_pos_embed, model.pos_embed.pos_embed = tables.temp_pos_embed, tables.pos_embed.pos_embed
    return model
