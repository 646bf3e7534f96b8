"""What a wrong set of names and shapes probably is."""

from __future__ import annotations

import math
from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

KINDS = (
    ("temp_embed", "a Latte, the video model"),
    ("caption_projection.linear_1.weight", "a Latte-1, the text-to-video model"),
    ("context_embed.weight", "a text-to-image U-ViT"),
    ("label_emb.weight", "a class-conditional U-ViT"),
    ("mid_block.norm1.weight", "a U-ViT"),
    ("blocks.0.adaLN_modulation.1.weight", "a DiT"),
    ("decoder.time_conv_out.weight", "an autoencoder with a temporal decoder"),
    ("decoder.conv_in.weight", "an autoencoder"),
    ("vit.embeddings.cls_token", "a vision transformer"),
    ("embeddings.token_embedding.weight", "CLIP's text encoder"),
    ("block.0.layer.0.SelfAttention.q.weight", "T5's text encoder"),
)
"""A key that only this kind of model has; the first that is found decides."""


def likely_cause(theirs: Shapes, ours: Shapes) -> str:
    """Words for an error, such as ": this is the 512 px checkpoint", or nothing where the reason is not plain."""
    here, there = ((next((words for key, words in KINDS if key in keys), "")) for keys in (theirs, ours))
    if here and here != there:
        return f": this is {here}"
    both = {key: (theirs[key], ours[key]) for key in ours if key in theirs and theirs[key] != ours[key]}
    for key in ("blocks.0.attn.proj.bias", "mid_block.attn.proj.bias", "decoder.conv_in.bias", "vit.layernorm.bias"):
        if key in both:
            return f": this is another size, of width {both[key][0][0]} instead of {both[key][1][0]}"
    deep = [len({key.split(".")[1] for key in keys if key.startswith(("blocks.", "in_blocks."))}) for keys in (theirs, ours)]
    if deep[0] != deep[1]:
        return f": this is another size, of {deep[0]} blocks instead of {deep[1]}"
    for key in ("x_embedder.proj.weight", "patch_embed.proj.weight"):
        if key in both and both[key][0][2] != both[key][1][2]:
            return f": this is another size, of patch {both[key][0][2]} instead of {both[key][1][2]}"
        if key in both:
            return f": this one takes {both[key][0][1]} channels instead of {both[key][1][1]}"
    if "pos_embed" in both and (patch := theirs.get("x_embedder.proj.weight", theirs.get("patch_embed.proj.weight"))):
        side = math.isqrt(both["pos_embed"][0][1]) * patch[2] * (8 if patch[1] == 4 else 1)
        return f": this is the {side} px checkpoint"
    for key in ("y_embedder.embedding_table.weight", "label_emb.weight"):
        if key in both:
            return f": this one has {both[key][0][0]} rows of labels instead of {both[key][1][0]}"
    if "final_layer.linear.weight" in both:
        here, there = both["final_layer.linear.weight"]
        return f": this one was trained with{'' if here > there else 'out'} learned sigma"
    return ""
