"""Names of vision transformers as their authors and timm write them, mapped onto those of transformers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

ENDS = {
    "cls_token": "embeddings.cls_token", "dist_token": "embeddings.distillation_token", "mask_token": "embeddings.mask_token",
    "register_tokens": "embeddings.register_tokens", "reg_token": "embeddings.register_tokens",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection", "patch_embed.norm": "embeddings.norm", "norm": "layernorm",
    "head": "classifier", "head.fc": "classifier", "head_dist": "distillation_classifier",
}  # fmt: skip
"""Outside the blocks: timm vision_transformer.py, DINO and DINOv2 vision_transformer.py, swin_transformer.py."""
BLOCK = {
    "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj", "attn.qkv": "attention.{}_proj",
    "attn.relative_position_bias_table": "attention.relative_position_bias.relative_position_bias_table",
}  # fmt: skip
BLOCK_DINOV2 = {key: BLOCK[key] for key in ("attn.proj", "attn.qkv")}
BLOCK_DINOV2 |= {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}
CLIP_ENDS = {
    "class_embedding": "embeddings.class_embedding", "positional_embedding": "embeddings.position_embedding.weight",
    "conv1": "embeddings.patch_embedding", "ln_pre": "pre_layrnorm", "ln_post": "post_layernorm",
}  # fmt: skip
CLIP_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj",
    "attn.in_proj": "self_attn.{}_proj",
}  # fmt: skip
"""OpenAI's CLIP/clip/model.py, class VisionTransformer."""
COMPUTED = re.compile(r".*\.(relative_position_index|attn_mask)|proj")
"""Tables that Swin's files hold though they follow from its sizes, and CLIP's map into the space of texts, which no family here has."""


def transformers_names(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The weights of a ViT, DeiT, DINO, DINOv2, Swin or CLIP image tower in the authors' or timm's layout, under the names that
    transformers has for them inside the model, and `classifier`; None where the keys are not of this layout.

    A fused projection of queries, keys and values becomes three, without a copy. What a MAE decodes with is left out.
    """
    if "transformer.resblocks.0.attn.in_proj_weight" in state and "class_embedding" in state:
        return _renamed(state, r"transformer\.resblocks\.(\d+)\.(.+)", "encoder.layers.{}", CLIP_ENDS, CLIP_BLOCK)
    if "layers.0.blocks.0.attn.relative_position_bias_table" in state:
        return _renamed(_at_the_end(state), r"layers\.(\d+\.blocks\.\d+)\.(.+)", "encoder.layers.{}", ENDS, BLOCK)
    if "blocks.0.0.attn.qkv.weight" in state:  # DINOv2 keeps its blocks in chunks where it was trained on many machines
        state = {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", key): value for key, value in state.items()}
    if "blocks.0.attn.qkv.weight" not in state or "cls_token" not in state:
        return None
    if "decoder_embed.weight" in state:
        state = {key: value for key, value in state.items() if not key.startswith("decoder_") and key != "mask_token"}
    state = _with_class_position(state)
    ends = ENDS | {"head": "cls_classifier"} if "dist_token" in state else ENDS
    if "blocks.0.ls1.gamma" in state:
        return _renamed(state, r"blocks\.(\d+)\.(.+)", "encoder.layer.{}", ends, BLOCK_DINOV2)
    return _renamed(state, r"blocks\.(\d+)\.(.+)", "layers.{}", ends, BLOCK)


def _with_class_position(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """timm's models with registers, and DeiT III, have no position for the class token: it has been added to that token."""
    positions = state.get("pos_embed")
    if positions is None or positions.ndim != 3 or math.isqrt(positions.shape[1]) ** 2 != positions.shape[1]:
        return state
    return dict(state) | {"pos_embed": torch.cat([torch.zeros_like(positions[:, :1]), positions], dim=1)}


def _at_the_end(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Swin's merging of patches belongs to the stage before it, as its authors write it; timm writes it to the one after."""
    if "layers.0.downsample.reduction.weight" in state:
        return dict(state)
    return {
        re.sub(r"^layers\.(\d+)\.downsample", lambda match: f"layers.{int(match[1]) - 1}.downsample", key): value
        for key, value in state.items()
    }


def _renamed(state: Mapping[str, Tensor], block: str, blocks: str, ends: Mapping[str, str], inner: Mapping[str, str]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if COMPUTED.fullmatch(key):
            continue
        stem, _, kind = key.rpartition(".") if key.endswith((".weight", ".bias")) else (key, "", "")
        if match := re.fullmatch(r"(.+\.in_proj)_(weight|bias)", key):
            stem, kind = match.groups()
        suffix = f".{kind}" if kind else ""
        if not (match := re.fullmatch(block, stem)):
            stem = f"encoder.{stem}" if re.match(r"layers\.\d+\.downsample", stem) else ends.get(stem, stem)
            renamed[stem + suffix] = value
            continue
        place, name = blocks.format(match[1]), inner.get(match[2], match[2])
        parts = dict(zip("qkv", value.chunk(3), strict=True)) if "{}" in name and len(value) % 3 == 0 else {"": value}
        renamed |= {f"{place}.{name.format(part)}{suffix}": piece for part, piece in parts.items()}
    return renamed
