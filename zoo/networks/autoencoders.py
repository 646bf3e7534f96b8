"""Autoencoders: latents (b, c, h, w) to pixels (b, 3, H, W) in [-1, 1] and back, a few at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.catalog import checkpoint
from zoo.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

CHUNK = 4 << 30
"""Bytes that decoding several frames together may take."""
LARGE = 10_000_000
"""Parameters from which a draft is worth computing with less precision."""
STATISTICS = "latents_stats.pt"
"""Name of the file beside an autoencoder that holds mean and deviation of each channel of its latents, as VA-VAE's has them."""


def build(arch: dict) -> nn.Module:
    """Build diffusers' AutoencoderKL, randomly initialised, from its words: block_out_channels, layers_per_block, latent_channels,
    norm_num_groups, sample_size, mid_block_add_attention; down_block_types and up_block_types where a level attends, as VA-VAE's last."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    stages = len(arch["block_out_channels"])
    plain = {"down_block_types": ("DownEncoderBlock2D",) * stages, "up_block_types": ("UpDecoderBlock2D",) * stages}
    return AutoencoderKL(**plain | dict(arch))


def build_temporal(arch: dict) -> nn.Module:
    """Build diffusers' AutoencoderKLTemporalDecoder, randomly initialised, whose decoder looks at neighbouring frames, from its
    words: block_out_channels, layers_per_block, latent_channels, sample_size."""
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder

    return AutoencoderKLTemporalDecoder(down_block_types=("DownEncoderBlock2D",) * len(arch["block_out_channels"]), **arch)


def attach_statistics(autoencoder: nn.Module, path: Path) -> None:
    """Give an autoencoder mean and deviation of each channel of its latents, which `decode` and `encode` then follow.

    path: what torch.save made of {mean, std}, each of as many numbers as there are channels. Raises CheckpointError for anything else.
    """
    content, channels = checkpoint.contents(path), autoencoder.config.latent_channels
    values = [content.get(word) for word in ("mean", "std")] if isinstance(content, Mapping) else []
    if not values or not all(isinstance(value, Tensor) and value.numel() == channels for value in values):
        raise CheckpointError(f"{path} must hold mean and std of {channels} channels of latents: fetch it again from beside the weights.")
    mean, std = (value.float().view(-1, 1, 1) for value in values)
    if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        raise CheckpointError(f"{path} holds deviations that are not above 0, or no numbers: fetch it again from beside the weights.")
    autoencoder.register_buffer("latent_mean", mean, persistent=False)
    autoencoder.register_buffer("latent_std", std, persistent=False)


@torch.no_grad()
def decode(autoencoder: nn.Module, z: Tensor, scale: float, draft: bool = False) -> Tensor:
    """Decode latents (b, c, h, w) to RGB in [-1, 1], (b, 3, H, W), or videos (b, f, c, h, w), one picture at a time: none depends
    on its neighbours, and the memory is that of one.

    A temporal decoder takes as many frames of a video together as CHUNK allows; across the seam of two chunks it sees nothing.
    The diffusion model's latents are the autoencoder's times `scale` (0.18215 for sd-vae: DiT, sample.py), normalised before where
    it has statistics. draft: a large autoencoder computes in bfloat16, several times as fast and a grey level off.
    """
    temporal = hasattr(autoencoder.decoder, "time_conv_out")
    if z.ndim == 5 and not temporal:
        return decode(autoencoder, z.flatten(0, 1), scale, draft).unflatten(0, z.shape[:2])
    dtype = next(autoencoder.parameters()).dtype
    large = sum(p.numel() for p in autoencoder.parameters()) > LARGE
    mean, std = _statistics(autoencoder)
    pieces = [piece for video in z for piece in video.split(together(autoencoder, z))] if temporal else z.split(1)
    with torch.autocast(z.device.type, torch.bfloat16, enabled=draft and large):
        words = [{"num_frames": len(piece)} if temporal else {} for piece in pieces]
        parts = [
            autoencoder.decode((piece / scale * std + mean).to(dtype), **word).sample for piece, word in zip(pieces, words, strict=True)
        ]
    pixels = torch.cat(parts).float().clamp(-1, 1)
    return pixels.unflatten(0, z.shape[:2]) if temporal else pixels


def together(autoencoder: nn.Module, z: Tensor) -> int:
    """How many frames of latents (..., h, w) a temporal decoder takes at once."""
    widths = autoencoder.config.block_out_channels
    return at_once(widths, max(z.shape[-2:]) * 2 ** (len(widths) - 1), z.element_size())


def at_once(widths: Sequence[int], side: int, itemsize: int) -> int:
    """How many frames of so many pixels a side a temporal decoder of these widths takes at once: one needs about eight arrays of the
    last width."""
    return max(1, CHUNK // (8 * widths[0] * side**2 * itemsize))


@torch.no_grad()
def encode(autoencoder: nn.Module, pixels: Tensor, scale: float) -> Tensor:
    """Encode RGB in [-1, 1], (b, 3, H, W), to the means of the latents (b, c, h, w), normalised where there are statistics, times
    `scale`, one at a time."""
    dtype, (mean, std) = next(autoencoder.parameters()).dtype, _statistics(autoencoder)
    z = torch.cat([autoencoder.encode(part.to(dtype)).latent_dist.mean for part in pixels.split(1)]).float()
    return (z - mean) / std * scale


def _statistics(autoencoder: nn.Module) -> tuple[Tensor | float, Tensor | float]:
    return getattr(autoencoder, "latent_mean", 0.0), getattr(autoencoder, "latent_std", 1.0)
