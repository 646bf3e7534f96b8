"""Autoencoders: latents (b, c, h, w) to pixels (b, 3, H, W) in [-1, 1] and back, a few at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

LARGE = 10_000_000
"""Parameters from which a draft is worth computing with less precision."""


def build(arch: dict) -> nn.Module:
    """Build diffusers' AutoencoderKL, randomly initialised, from its words: block_out_channels, layers_per_block,
    latent_channels, norm_num_groups, sample_size, mid_block_add_attention."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    stages = len(arch["block_out_channels"])
    return AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * stages, up_block_types=("UpDecoderBlock2D",) * stages, **arch)


@torch.no_grad()
def decode(autoencoder: nn.Module, z: Tensor, scale: float, draft: bool = False) -> Tensor:
    """Decode latents (b, 4, h, w) to RGB in [-1, 1], (b, 3, H, W), or videos (b, f, 4, h, w), one picture at a time: none depends
    on its neighbours, and the memory is that of one.

    The diffusion model's latents are the autoencoder's times `scale` (0.18215 for sd-vae: DiT, sample.py). draft: a large
    autoencoder computes in bfloat16, several times as fast and a grey level off.
    """
    if z.ndim == 5:
        return decode(autoencoder, z.flatten(0, 1), scale, draft).unflatten(0, z.shape[:2])
    dtype = next(autoencoder.parameters()).dtype
    large = sum(p.numel() for p in autoencoder.parameters()) > LARGE
    with torch.autocast(z.device.type, torch.bfloat16, enabled=draft and large):
        parts = [autoencoder.decode((part / scale).to(dtype)).sample for part in z.split(1)]
    return torch.cat(parts).float().clamp(-1, 1)


@torch.no_grad()
def encode(autoencoder: nn.Module, pixels: Tensor, scale: float) -> Tensor:
    """Encode RGB in [-1, 1], (b, 3, H, W), to the means of the latents (b, 4, h, w) times `scale`, one at a time."""
    dtype = next(autoencoder.parameters()).dtype
    return torch.cat([autoencoder.encode(part.to(dtype)).latent_dist.mean for part in pixels.split(1)]).float() * scale
