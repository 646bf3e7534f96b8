"""Names of the same weights in other code bases, mapped onto ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

DIT_BLOCK = {
    "attn1.to_out.0": "attn.proj",
    "ff.net.0.proj": "mlp.fc1",
    "ff.net.2": "mlp.fc2",
    "norm1.linear": "adaLN_modulation.1",
}
DIT_SHARED = {
    "timestep_embedder.linear_1": "t_embedder.mlp.0",
    "timestep_embedder.linear_2": "t_embedder.mlp.2",
    "class_embedder.embedding_table": "y_embedder.embedding_table",
}
DIT_ENDS = {"pos_embed.proj": "x_embedder.proj", "proj_out_1": "final_layer.adaLN_modulation.1", "proj_out_2": "final_layer.linear"}
ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm"}
BESIDE_AUTOENCODER = ("loss.", "foundation_model.", "linear_proj.")
"""Beginnings of the keys that VA-VAE's file holds for its training alone."""
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def sources(keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Our name of each weight, and the names in the file that it is made of, to be joined along their first axis.

    Known are our own (the authors') layout, diffusers' DiTTransformer2DModel, for the autoencoder that of CompVis and that of
    diffusers before 0.18, and a whole CLIP or T5, of which the text encoder is taken.
    Sources: diffusers scripts/convert_dit_to_diffusers.py; the names in U-ViT libs/autoencoder.py.
    """
    keys = list(keys)
    if "transformer_blocks.0.norm1.linear.weight" in keys:
        return _from_diffusers_dit(keys)
    if "encoder.mid.block_1.norm1.weight" in keys:
        levels = 1 + max(int(match.group(1)) for key in keys if (match := re.match(r"decoder\.up\.(\d+)\.", key)))
        return {_from_compvis(key, levels): (key,) for key in keys if not key.startswith(BESIDE_AUTOENCODER)}
    if "text_model.embeddings.token_embedding.weight" in keys:
        text = [key for key in keys if key.startswith("text_model.") and not key.endswith("position_ids")]
        return {key.removeprefix("text_model."): (key,) for key in text}
    if "encoder.block.0.layer.0.SelfAttention.q.weight" in keys:  # T5, whose embedding is shared with the decoder, left out
        inner = {key.removeprefix("encoder."): (key,) for key in keys if key.startswith("encoder.")}
        return inner | ({"embed_tokens.weight": ("shared.weight",)} if "shared.weight" in keys else {})
    if "caption_projection.linear_1.weight" in keys:  # Latte-1, whose file holds a null caption that diffusers' class does not know
        return {key: (key,) for key in keys if key != "caption_projection.y_embedding"}
    old = re.compile(r"(mid_block\.attentions\.0\.)(query|key|value|proj_attn)\.")
    return {old.sub(lambda match: f"{match[1]}{OLD_ATTENTION[match[2]]}.", key): (key,) for key in keys}


def _from_diffusers_dit(keys: list[str]) -> dict[str, tuple[str, ...]]:
    """Every block holds a copy of the embedders, of which the first is taken; q, k and v become one."""
    made_of: dict[str, tuple[str, ...]] = {}
    for key in keys:
        stem, _, kind = key.rpartition(".")
        block = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", stem)
        if not block:
            made_of[f"{DIT_ENDS.get(stem, stem)}.{kind}"] = (key,)
            continue
        index, inner = block.groups()
        embedder = inner.removeprefix("norm1.emb.")
        if embedder in DIT_SHARED:
            made_of.setdefault(f"{DIT_SHARED[embedder]}.{kind}", (key,))
        elif inner in DIT_BLOCK:
            made_of[f"blocks.{index}.{DIT_BLOCK[inner]}.{kind}"] = (key,)
        elif inner == "attn1.to_q":
            made_of[f"blocks.{index}.attn.qkv.{kind}"] = tuple(f"transformer_blocks.{index}.attn1.to_{part}.{kind}" for part in "qkv")
        elif inner not in ("attn1.to_k", "attn1.to_v"):
            made_of[key] = (key,)
    names = set(keys)
    return {ours: parts for ours, parts in made_of.items() if set(parts) <= names}


def _from_compvis(key: str, levels: int) -> str:
    """CompVis numbers the decoder's levels from the finest, diffusers in the order of execution."""
    key = re.sub(r"\.block\.(\d+)\.", r".resnets.\1.", key)
    key = re.sub(r"\.attn\.(\d+)\.(\w+)\.", lambda match: f".attentions.{match[1]}.{ATTENTION[match[2]]}.", key)
    key = re.sub(r"^encoder\.down\.(\d+)\.(resnets|attentions)\.", r"encoder.down_blocks.\1.\2.", key)
    key = re.sub(r"^encoder\.down\.(\d+)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0.", key)
    key = re.sub(
        r"^decoder\.up\.(\d+)\.(resnets|attentions)\.", lambda match: f"decoder.up_blocks.{levels - 1 - int(match[1])}.{match[2]}.", key
    )
    key = re.sub(r"^decoder\.up\.(\d+)\.upsample\.", lambda match: f"decoder.up_blocks.{levels - 1 - int(match[1])}.upsamplers.0.", key)
    key = re.sub(r"\.mid\.block_([12])\.", lambda match: f".mid_block.resnets.{int(match[1]) - 1}.", key)
    key = re.sub(r"\.mid\.attn_1\.(\w+)\.", lambda match: f".mid_block.attentions.0.{ATTENTION[match[1]]}.", key)
    return key.replace(".norm_out.", ".conv_norm_out.").replace(".nin_shortcut.", ".conv_shortcut.")
