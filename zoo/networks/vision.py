"""Vision transformers of transformers behind one small interface: build one, read its published files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.catalog.vision_key_maps import transformers_names

if TYPE_CHECKING:
    from torch import nn

FAMILIES = {
    "vit": "ViT", "deit": "DeiT", "dinov2": "Dinov2", "dinov2-registers": "Dinov2WithRegisters", "clip-vision": "CLIPVision",
    "swin": "Swin", "vivit": "Vivit",
}  # fmt: skip
"""Families of vision transformers, and what transformers calls them."""


def build(family: str, arch: Mapping) -> nn.Module:
    """Build a vision transformer, randomly initialised, from input_size patch_size in_channels hidden_size depth num_heads mlp_ratio
    num_classes (0: no head), for ViViT num_frames and tubelet_frames, for Swin window_size and a depth and num_heads a stage, for
    DINOv2 with registers num_registers.

    It maps pixels (b, 3, h, w), or (b, f, 3, h, w), to `.logits` (b, num_classes) or `.last_hidden_state`.
    """
    import transformers

    name, classes = FAMILIES[family], arch["num_classes"]
    words = {"image_size": arch["input_size"], "num_channels": arch["in_channels"], "patch_size": arch["patch_size"]}
    words |= {"num_labels": classes} if classes else {}
    if family == "swin":
        words |= {"embed_dim": arch["hidden_size"], "depths": arch["depth"], "window_size": arch["window_size"]}
        words |= {"num_heads": arch["num_heads"], "mlp_ratio": arch["mlp_ratio"]}
    else:
        words |= {"hidden_size": arch["hidden_size"], "num_hidden_layers": arch["depth"], "num_attention_heads": arch["num_heads"]}
        wide = {"mlp_ratio": arch["mlp_ratio"]} if family.startswith("dinov2") else {}
        words |= wide or {"intermediate_size": int(arch["hidden_size"] * arch["mlp_ratio"])}
    if family == "vivit":
        words |= {"num_frames": arch["num_frames"], "tubelet_size": [arch["tubelet_frames"], *[words.pop("patch_size")] * 2]}
    if family == "dinov2-registers":
        words["num_register_tokens"] = arch["num_registers"]
    ending = {"deit": "ForImageClassificationWithTeacher", "vivit": "ForVideoClassification"}.get(family, "ForImageClassification")
    config = getattr(transformers, f"{name}Config")(**words)
    options = {} if family.startswith(("dinov2", "clip")) else {"add_pooling_layer": False}
    with torch.device("cpu"):  # never on meta: they compute tables that no file holds
        return getattr(transformers, name + ending)(config) if classes else getattr(transformers, f"{name}Model")(config, **options)


def rename_state(module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A state dict with the names of `module`, a model of transformers, from those of any version that published it, of timm, or of the
    authors.

    transformers knows the older names; what it finds nothing for, or has no place for, keeps its name, so that a strict load says so.
    """
    module_state = module.state_dict()
    if type(module).__name__ == "CLIPVisionModel":  # published with its text tower
        state = {key: value for key, value in state.items() if not key.startswith("text_") and key not in CLIP_ONLY}
    state = {key: value for key, value in state.items() if "pooler." not in key}  # a layer of which no family here makes use
    if (theirs := transformers_names(state)) is not None:
        headed = hasattr(module, "classifier") or hasattr(module, "cls_classifier")
        prefix = f"{module.base_model_prefix}." if headed else ""
        state = {key if "classifier." in key else prefix + key: value for key, value in theirs.items()}
        if mask := next((key for key in module_state if key.endswith("mask_token") and key not in state), ""):
            state[mask] = torch.zeros_like(module_state[mask])  # what only a pretraining reads; timm leaves it out
        return state
    if state.keys() == module_state.keys():
        return state
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with torch.device("cpu"):
            model, report = type(module).from_pretrained(
                None, config=module.config, state_dict=dict(state), output_loading_info=True, ignore_mismatched_sizes=True
            )
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    other_shapes = {name: torch.empty(shape, device="meta") for name, shape, _ in report["mismatched_keys"]}  # so that an error tells them
    weights = {key: value for key, value in model.state_dict().items() if key not in report["missing_keys"]} | other_shapes
    return weights | {key: state.get(key, torch.empty(0)) for key in report["unexpected_keys"]}


CLIP_ONLY = ("logit_scale", "visual_projection.weight", "vision_model.embeddings.position_ids")
"""What a published CLIP holds besides its two towers."""
