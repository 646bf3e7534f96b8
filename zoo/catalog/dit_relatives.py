"""The architectures of DiT's relatives, read off the keys and shapes of their authors' files: words by family, and what no shape tells."""

from __future__ import annotations

from typing import Any

from zoo.catalog.shape_words import Shapes, count, patches, ratio, side, swiglu_ratio

Read = tuple[str, dict[str, Any], tuple[str, ...]]
"""Family, words, and those of the words that are only usual, or that are left out because no shape tells them."""


def relative(shapes: Shapes) -> Read | None:
    """The family of a file that is a relative of DiT by its keys; None for others. Raises KeyError where keys only begin as such."""
    if "x_embedder.proj1.weight" in shapes:
        return _jit(shapes)
    if "s_embedder.proj.weight" in shapes:
        return _ddt(shapes)
    if "encoder_level_1.0.adaLN_modulation1.1.weight" in shapes:
        return _u_dit(shapes)
    if "sideblocks.0.attn.qkv.weight" in shapes:
        return _mdt(shapes)
    if "blocks.0.adaLN_modulation.1.weight" not in shapes or "x_embedder.proj.weight" not in shapes:
        return None
    if {"feat_rope.freqs_cos", "blocks.0.mlp.w12.weight", "blocks.0.norm1.weight"} & shapes.keys():
        return _lightning(shapes)
    if _chunks(shapes) == 4:  # without any of these only its normalised heads tell a LightningDiT from a DiT of adaLN blocks
        return _lightning(shapes) if "blocks.0.attn.q_norm.weight" in shapes else None
    if "projectors.0.0.weight" in shapes or "blocks.0.attn.q_norm.bias" in shapes:
        return _repa(shapes)
    return None


def _rows(shapes: Shapes, key: str = "y_embedder.embedding_table.weight") -> dict[str, int]:
    """Classes by the rows of their table: with these networks the last row is always the null label's."""
    return {"num_classes": shapes.get(key, (1,))[0] - 1}


def _ends(shapes: Shapes) -> dict[str, Any]:
    """What a convolution at the beginning, the position table and the last layer tell."""
    words = patches(shapes["x_embedder.proj.weight"])
    out = shapes["final_layer.linear.weight"][0] // words["patch_size"] ** 2
    more = {**_rows(shapes), "learn_sigma": out == 2 * words["in_channels"]}
    return {"input_size": side(shapes["pos_embed"][1]) * words["patch_size"]} | words | more


def _chunks(shapes: Shapes) -> int:
    """Vectors that the adaLN of a block makes."""
    out, hidden = shapes["blocks.0.adaLN_modulation.1.weight"]
    return out // hidden


def _repa(shapes: Shapes) -> Read:
    words = _ends(shapes)
    hidden, normed = words["hidden_size"], shapes.get("blocks.0.attn.q_norm.weight")
    words |= {"depth": count(shapes, "blocks"), "mlp_ratio": ratio(hidden, shapes["blocks.0.mlp.fc1.weight"][0])}
    words |= {"qk_norm": bool(normed)} | ({"num_heads": hidden // normed[0]} if normed else {})
    return "repa", words, () if normed else ("num_heads",)


def _lightning(shapes: Shapes) -> Read:
    words = _ends(shapes)
    hidden, swiglu = words["hidden_size"], "blocks.0.mlp.w12.weight" in shapes
    width = shapes["blocks.0.mlp.w3.weight"][1] if swiglu else shapes["blocks.0.mlp.fc1.weight"][0]
    each = shapes.get("feat_rope.freqs_cos", shapes.get("blocks.0.attn.q_norm.weight", (0,)))[-1]
    words |= {
        "depth": count(shapes, "blocks"), "mlp_ratio": (swiglu_ratio if swiglu else ratio)(hidden, width), "swiglu": swiglu,
        "rope": "feat_rope.freqs_cos" in shapes, "rms_norm": "blocks.0.norm1.weight" in shapes,
        "qk_norm": "blocks.0.attn.q_norm.weight" in shapes, "adaln_shift": _chunks(shapes) == 6,
    }  # fmt: skip
    return "lightning-dit", words | ({"num_heads": hidden // each} if each else {}), () if each else ("num_heads",)


def _mdt(shapes: Shapes) -> Read:
    """Version 1 does not tell which of its blocks are the decoder: of the published one, two."""
    words, first = _ends(shapes), "blocks" if "blocks.0.attn.qkv.weight" in shapes else "en_inblocks"
    words |= {
        "mlp_ratio": ratio(words["hidden_size"], shapes[f"{first}.0.mlp.fc1.weight"][0]),
        "num_heads": shapes[f"{first}.0.attn.rel_pos_bias.relative_position_bias_table"][1],
    }
    if first == "blocks":
        return "mdt", words | {"depth": count(shapes, "blocks"), "decode_layer": 2, "version": 1}, ("decode_layer",)
    decoder = count(shapes, "de_blocks")
    return "mdt", words | {"depth": 2 * count(shapes, "en_inblocks") + decoder, "decode_layer": decoder, "version": 2}, ()


def _ddt(shapes: Shapes) -> Read:
    """A linear does not tell patches from channels, and there is no position table: the published ones have patches of 2, a quarter of a
    side of 128 pixels, and give their last six blocks, or as large a part, to the decoder."""
    hidden, numbers = shapes["x_embedder.proj.weight"]
    depth = count(shapes, "blocks")
    words = {
        "patch_size": 2, "in_channels": numbers // 4, "hidden_size": hidden, "depth": depth, "encoder_depth": depth - round(depth * 6 / 28),
        "num_heads": hidden // shapes["blocks.0.attn.q_norm.weight"][0], **_rows(shapes),
        "mlp_ratio": swiglu_ratio(hidden, shapes["blocks.0.mlp.w1.weight"][0]),
    }  # fmt: skip
    return "ddt", words, ("input_size", "encoder_depth")


def _jit(shapes: Shapes) -> Read:
    """The class's tokens come in at a third of the depth in every published one."""
    bottleneck, channels, patch, _ = shapes["x_embedder.proj1.weight"]
    hidden, depth = shapes["x_embedder.proj2.weight"][0], count(shapes, "blocks")
    words = {
        "input_size": side(shapes["pos_embed"][1]) * patch, "patch_size": patch, "in_channels": channels, "hidden_size": hidden,
        "depth": depth, "num_heads": hidden // shapes["blocks.0.attn.q_norm.weight"][0], **_rows(shapes), "bottleneck_dim": bottleneck,
        "mlp_ratio": swiglu_ratio(hidden, shapes["blocks.0.mlp.w3.weight"][1]),
        "in_context_len": shapes.get("in_context_posemb", (1, 0))[1], "in_context_start": depth // 3,
    }  # fmt: skip
    return "jit", words, ("in_context_start",)


def _u_dit(shapes: Shapes) -> Read:
    """Convolutions alone: neither the side nor the number of interleaved grids shows."""
    hidden, channels = shapes["x_embedder.proj.weight"][:2]
    stacks = ("encoder_level_1", "encoder_level_2", "latent", "decoder_level_2", "decoder_level_1")
    words = {
        "in_channels": channels, "hidden_size": hidden, "depth": [count(shapes, stack) for stack in stacks],
        "num_heads": shapes["encoder_level_1.0.attn1.logit_scale"][0], **_rows(shapes, "y_embedder_1.embedding_table.weight"),
        "mlp_ratio": ratio(hidden, shapes["encoder_level_1.0.mlp1.project_in.1.weight"][0]),
        "learn_sigma": shapes["final_layer.out_proj.weight"][0] == 2 * channels, "down_factor": 2,
    }  # fmt: skip
    return "u-dit", words, ("input_size", "down_factor")
