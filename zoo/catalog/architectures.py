"""The architecture of a network read off the keys and shapes of its weights: family, sizes, classes, and what no shape tells."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from zoo.catalog.dit_relatives import relative
from zoo.catalog.key_maps import sources
from zoo.catalog.shape_words import Shapes, classes, count, patches, ratio, side
from zoo.catalog.vision_key_maps import transformers_names

CONTEXT_TOKENS = 77
"""Of CLIP's text encoder, for which every published text-to-image U-ViT was made."""

VARIANTS = {3: "then_temporal", 4: "temporal"}
"""What the attention of a Latte's block consists of beside the one within a frame, by the paper's number of the variant."""

DRAWING = ("dit", "latte", "u-vit", "sit", "repa", "lightning-dit", "mdt", "ddt", "jit", "u-dit")
"""Families that are read here and that make pictures or videos."""


@dataclass(frozen=True)
class Architecture:
    """What keys and shapes tell of a network. unknown: words of its architecture that they do not, such as num_heads, and "family" where
    a DiT and a SiT would have the same keys and nothing beside them says which it is."""

    family: str
    words: Mapping[str, Any]
    unknown: tuple[str, ...] = ("num_heads",)

    @property
    def task(self) -> str:
        """What such a network is for, a word of zoo.catalog.card.TASKS."""
        if self.family in DRAWING:
            video = self.family == "latte"
            if self.words.get("context_dim"):
                return "text-to-image"
            if self.words["num_classes"]:
                return "class-to-video" if video else "class-to-image"
            return "unconditional-video-generation" if video else "unconditional-image-generation"
        return "image-classification" if self.words["num_classes"] else "image-feature-extraction"


def recognise(state: Mapping[str, Tensor], trained_as: str = "") -> Architecture | None:
    """The architecture of a state dict: DiT and Latte (the authors' layout or diffusers'), U-ViT, the relatives of DiT (SiT, REPA,
    LightningDiT, MDT, DDT, JiT, U-DiT), and ViT, DeiT, DINO, DINOv2, Swin and CLIP's image tower (transformers', timm's or the authors'
    names); None where it is none of these. trained_as: DiT or SiT, where something beside the weights says so."""
    made_of = sources(state)
    shapes = {key: _joined([tuple(state[part].shape) for part in parts]) for key, parts in made_of.items()}
    try:
        if (found := relative(shapes)) is not None:
            return Architecture(*found)
        if {"x_embedder.proj.weight", "t_embedder.mlp.0.weight", "blocks.0.mlp.fc1.weight"} <= shapes.keys():
            return _dit(shapes, "pos_embed" in state, trained_as)
        if "in_blocks.0.attn.qkv.weight" in shapes and "decoder_pred.weight" in shapes:
            return _uvit(shapes)
        named = transformers_names(state) or {key: value for key, value in state.items() if not key.startswith("text_model.")}
        vision = {
            re.sub(r"^(vit|deit|dinov2|dinov2_with_registers|swin|vision_model)\.", "", key): tuple(v.shape) for key, v in named.items()
        }
        return _vision(vision)
    except (KeyError, IndexError, ValueError, ZeroDivisionError, StopIteration):  # keys that only begin as ours do
        return None


def _joined(parts: list[tuple[int, ...]]) -> tuple[int, ...]:
    return parts[0] if len(parts) == 1 else (sum(part[0] for part in parts), *parts[0][1:])


def _dit(shapes: Shapes, authors: bool, trained_as: str) -> Architecture:
    """DiT, SiT and Latte; authors: whether the layout is theirs, for SiT has no other. A Latte whose second half of blocks attends through
    time has the keys of the published one, and is taken for it."""
    words = patches(shapes["x_embedder.proj.weight"])
    rows = shapes.get("y_embedder.embedding_table.weight", (1,))[0]
    unknown = ["num_heads"]
    if "pos_embed" in shapes:
        words = {"input_size": side(shapes["pos_embed"][1]) * words["patch_size"]} | words
    else:  # diffusers' layout leaves out the table
        unknown.append("input_size")
    out = shapes["final_layer.linear.weight"][0] // words["patch_size"] ** 2
    more = {"num_frames": shapes["temp_embed"][1]} if "temp_embed" in shapes else {}
    words |= {
        "depth": count(shapes, "blocks"), "mlp_ratio": ratio(words["hidden_size"], shapes["blocks.0.mlp.fc1.weight"][0]),
        **classes(rows), "learn_sigma": out == 2 * words["in_channels"], **more,
    }  # fmt: skip
    if more:
        variant = next((number for number, part in VARIANTS.items() if f"blocks.0.attn.{part}.qkv.weight" in shapes), None)
        return Architecture("latte", words | ({"variant": variant} if variant else {}), tuple(unknown))
    if (conditioning := _conditioning(shapes)) != "adaln-zero":
        return Architecture("dit", words | {"conditioning": conditioning}, tuple(unknown))
    return Architecture("sit" if trained_as == "SiT" else "dit", words, (*unknown, *(["family"] if authors and not trained_as else [])))


def _conditioning(shapes: Shapes) -> str:
    """How the time and the class enter a DiT."""
    if "blocks.0.cross_attn.q.weight" in shapes:
        return "cross-attention"
    out, hidden = shapes.get("blocks.0.adaLN_modulation.1.weight", (0, 1))
    return {4: "adaln", 0: "in-context"}.get(out // hidden, "adaln-zero")


def _uvit(shapes: Shapes) -> Architecture:
    words = patches(shapes["patch_embed.proj.weight"])
    tokens, labels, context = shapes["pos_embed"][1], shapes.get("label_emb.weight"), shapes.get("context_embed.weight")
    extras = 1 + (CONTEXT_TOKENS if context else int(labels is not None))
    words = {"input_size": side(tokens - extras) * words["patch_size"]} | words
    words |= {
        "depth": 2 * count(shapes, "in_blocks"), "mlp_ratio": ratio(words["hidden_size"], shapes["in_blocks.0.mlp.fc1.weight"][0]),
        **classes(labels[0] if labels else 1), "conv": "final_layer.weight" in shapes,
        "qkv_bias": "in_blocks.0.attn.qkv.bias" in shapes, "mlp_time_embed": "time_embed.0.weight" in shapes,
        "skip": "out_blocks.0.skip_linear.weight" in shapes,
    }  # fmt: skip
    words |= {"context_dim": context[1], "num_context_tokens": CONTEXT_TOKENS} if context else {}
    return Architecture("u-vit", words)


def _vision(shapes: Shapes) -> Architecture | None:
    patch = shapes.get("embeddings.patch_embeddings.projection.weight", shapes.get("embeddings.patch_embedding.weight"))
    if patch is None or len(patch) != 4:
        return None
    words = patches(patch)
    head = shapes.get("classifier.weight", shapes.get("cls_classifier.weight", (0,)))
    words["num_classes"] = head[0]
    tables = {key: shape for key, shape in shapes.items() if key.endswith("relative_position_bias_table")}
    if tables:
        return _swin(shapes, words, tables)
    positions = shapes.get("embeddings.position_embeddings", shapes.get("embeddings.position_embedding.weight"))
    special = 2 if "embeddings.distillation_token" in shapes else 1
    words = {"input_size": side(positions[-2] - special) * words["patch_size"]} | words
    words |= {"depth": count(shapes, r"(?:encoder\.)?layers?"), "mlp_ratio": ratio(words["hidden_size"], _first_mlp(shapes))}
    family = "deit" if special == 2 else "clip-vision" if "embeddings.class_embedding" in shapes else "vit"
    if any(key.endswith("layer_scale1.lambda1") for key in shapes):
        family = "dinov2"
    if "embeddings.register_tokens" in shapes:
        family, words["num_registers"] = "dinov2-registers", shapes["embeddings.register_tokens"][1]
    return Architecture(family, words)


def _swin(shapes: Shapes, words: dict[str, Any], tables: Shapes) -> Architecture:
    """Swin tells its heads and its window, but not the size of its pictures."""
    stages = count(shapes, r"encoder\.layers")
    first = {int(re.search(r"layers\.(\d+)\.blocks\.0\.", key)[1]): shape for key, shape in tables.items() if ".blocks.0." in key}
    words["depth"] = [count(shapes, rf"encoder\.layers\.{stage}\.blocks") for stage in range(stages)]
    words |= {"num_heads": [first[stage][1] for stage in range(stages)], "window_size": (math.isqrt(first[0][0]) + 1) // 2}
    words["mlp_ratio"] = ratio(words["hidden_size"], _first_mlp(shapes))
    return Architecture("swin", words, ("input_size",))


def _first_mlp(shapes: Shapes) -> int:
    """The width inside the first block. Raises KeyError where there is none."""
    for key, shape in shapes.items():
        if re.search(r"(layers?|blocks)\.0\.(mlp\.fc1|intermediate\.dense)\.weight$", key):
            return shape[0]
    raise KeyError("mlp.fc1")
