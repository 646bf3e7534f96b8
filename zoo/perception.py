"""Vision transformers from transformers behind one small interface: build one, classify pixels with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def build(arch: dict) -> nn.Module:
    """Build transformers' ViTForImageClassification, or with num_frames its VivitForVideoClassification, randomly initialised, from
    input_size patch_size in_channels hidden_size depth num_heads mlp_ratio num_classes, and for videos num_frames and tubelet_frames.

    It maps pixels (b, 3, h, w), or (b, f, 3, h, w), in [-1, 1] to `.logits` (b, num_classes).
    """
    from transformers import ViTConfig, ViTForImageClassification, VivitConfig, VivitForVideoClassification

    words = {
        "image_size": arch["input_size"],
        "num_channels": arch["in_channels"],
        "hidden_size": arch["hidden_size"],
        "num_hidden_layers": arch["depth"],
        "num_attention_heads": arch["num_heads"],
        "intermediate_size": int(arch["hidden_size"] * arch["mlp_ratio"]),
        "num_labels": arch["num_classes"],
    }
    if "num_frames" not in arch:
        return ViTForImageClassification(ViTConfig(patch_size=arch["patch_size"], **words))
    tubelet = [arch["tubelet_frames"], arch["patch_size"], arch["patch_size"]]
    return VivitForVideoClassification(VivitConfig(num_frames=arch["num_frames"], tubelet_size=tubelet, **words))
