"""The denoising networks, plain modules named as the official checkpoints name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import CardError

if TYPE_CHECKING:
    from torch import nn

FAMILIES = ("dit", "u-vit", "latte", "latte-t2v", "unet")
"""Families that `build` knows."""


def build(family: str, arch: dict) -> nn.Module:
    """Build a backbone, randomly initialised, from its family and the architecture words of its card.

    family: dit | u-vit | latte | latte-t2v | unet; arch:
    input_size patch_size in_channels hidden_size depth num_heads mlp_ratio num_classes
    learn_sigma null_label, for latte num_frames, and for u-vit mlp_time_embed conv qkv_bias skip context_dim num_context_tokens.
    Raises CardError for an unknown family or word.
    """
    from zoo.backbones.dit import DiT
    from zoo.backbones.latte import Latte
    from zoo.backbones.latte_t2v import build as t2v
    from zoo.backbones.unet import build as unet
    from zoo.backbones.uvit import UViT

    classes = {"dit": DiT, "u-vit": UViT, "latte": Latte, "latte-t2v": t2v, "unet": unet}
    if family not in classes:
        raise CardError(f"Family {family!r} is unknown: choose one of {', '.join(FAMILIES)}.")
    try:
        return classes[family](**arch)
    except TypeError as error:
        raise CardError(f"The architecture of this {family} cannot be built: {error}.") from None
