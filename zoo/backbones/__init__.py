"""The denoising networks, plain modules named as the official checkpoints name them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.errors import CardError

if TYPE_CHECKING:
    from torch import nn

FAMILIES = ("dit", "u-vit", "latte", "latte-t2v", "unet", "sit", "repa", "lightning-dit", "mdt", "ddt", "jit", "u-dit")
"""Families that `build` knows."""


def build(family: str, arch: dict) -> nn.Module:
    """Build a backbone, randomly initialised, from its family and the architecture words of its card.

    family: one of FAMILIES; arch: input_size patch_size in_channels hidden_size depth num_heads mlp_ratio num_classes learn_sigma
    null_label, and what a family knows beside or instead of these, as the words of its class say.
    Raises CardError for an unknown family or word.
    """
    from zoo.backbones.ddt import DDT
    from zoo.backbones.dit_blocks import build as dit
    from zoo.backbones.jit import JiT
    from zoo.backbones.latte_t2v import build as t2v
    from zoo.backbones.latte_variants import build as latte
    from zoo.backbones.lightning_dit import LightningDiT
    from zoo.backbones.mdt import MDT
    from zoo.backbones.repa import REPA
    from zoo.backbones.sit import SiT
    from zoo.backbones.u_dit import UDiT
    from zoo.backbones.unet import build as unet
    from zoo.backbones.uvit import UViT

    classes = dict(zip(FAMILIES, (dit, UViT, latte, t2v, unet, SiT, REPA, LightningDiT, MDT, DDT, JiT, UDiT), strict=True))
    if family not in classes:
        raise CardError(f"Family {family!r} is unknown: choose one of {', '.join(FAMILIES)}.")
    try:
        return classes[family](**arch)
    except TypeError as error:
        raise CardError(f"The architecture of this {family} cannot be built: {error}.") from None
