"""What a wrong set of names and shapes probably is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

Shapes = Mapping[str, tuple[int, ...]]

RELATIVES = (
    ("projectors.0.0.weight", "a SiT that REPA trained, whose time runs the other way"),
    ("feat_rope.freqs_cos", "a LightningDiT"),
    ("x_embedder.proj1.weight", "a JiT, which draws pixels"),
    ("s_embedder.proj.weight", "a DDT, of an encoder and a decoder"),
    ("en_inblocks.0.attn.qkv.weight", "an MDT of version 2, a masked DiT"),
    ("sideblocks.0.attn.qkv.weight", "an MDT of version 1, a masked DiT"),
    ("encoder_level_1.0.adaLN_modulation1.1.weight", "a U-DiT"),
)
"""The end of a key that only this relative of DiT has; the first that is found decides."""
KINDS = (
    *RELATIVES,
    ("temp_embed", "a Latte, the video model"),
    ("temporal_transformer_blocks.0.attn1.to_q.weight", "a Latte-1, the text-to-video model"),
    ("context_embed.weight", "a text-to-image U-ViT"),
    ("label_emb.weight", "a class-conditional U-ViT"),
    ("mid_block.norm1.weight", "a U-ViT"),
    ("blocks.0.adaLN_modulation.1.weight", "a DiT"),
    ("decoder.time_conv_out.weight", "an autoencoder with a temporal decoder"),
    ("decoder.conv_in.weight", "an autoencoder"),
    ("embeddings.distillation_token", "a DeiT, with a distillation token"),
    ("embeddings.register_tokens", "a DINOv2 with registers"),
    ("encoder.layer.0.layer_scale1.lambda1", "a DINOv2"),
    ("encoder.layers.0.blocks.0.attention.relative_position_bias.relative_position_bias_table", "a Swin"),
    ("embeddings.class_embedding", "CLIP's image encoder"),
    ("embeddings.patch_embeddings.projection.weight", "a vision transformer"),
    ("Mixed_7c.branch_pool.conv.weight", "the Inception of the Frechet distance"),
    ("cls_token", "a vision transformer, in timm's or its authors' layout"),
    ("embeddings.token_embedding.weight", "CLIP's text encoder"),
    ("block.0.layer.0.SelfAttention.q.weight", "T5's text encoder"),
)
"""The end of a key that only this kind of model has; the first that is found decides."""
ADDED = (
    (
        r"\.base_layer\.|\.lora_[AB]\.default\.",
        "a network which a LoRA still wraps: merge it into the weights first, as peft's merge_and_unload()",
    ),
    (r"blocks\.\d+\.mlp\.(w12|w3|w1)\.", "a network with SwiGLU, as DINOv2 giant has it, which is no vision transformer here"),
    (r"blocks\.\d+\.attn\.[qk]_norm", "a network that normalises its queries and keys, which no vision transformer here does"),
    (r"(^|\.)fc_norm\.", "a network that averages its patches (fc_norm) instead of reading a class token, which is no family here"),
    (r"(layers|blocks)\.\d+\.(gamma_1|attn\.q_bias)", "a BEiT, which is no family here"),
    (r"quantize\.embedding", "an autoencoder of tokens, a VQGAN, which is no family here"),
)
"""Keys beside those of a network of ours, and what it is with them."""
FOREIGN = (
    (r"lora_(A|B|down|up|a|b)\b|\.lora\.|\.hada_w1|\.lokr_", "a LoRA, which changes a model and is none: merge it into its model first"),
    (r"string_to_param|^\*$|^<.+>$|emb_params", "a word that textual inversion learned, which is no model"),
    (r"controlnet_cond_embedding|zero_convs|input_hint_block", "a ControlNet, which steers a model and is none"),
    (r"layer1\.0\.conv1\.weight|resnet\.|layer4\.\d+\.conv", "a ResNet"),
    (r"input_blocks\.\d|down_blocks\.\d+\.(resnets|attentions)", "a U-Net, as Stable Diffusion has it"),
    (r"double_blocks\.0|single_transformer_blocks\.0", "a FLUX"),
    (
        r"joint_(transformer_)?blocks\.0|transformer_blocks\.0\.attn\.add_q_proj|joint_attn",
        "a multimodal DiT, as Stable Diffusion 3 has it",
    ),
    (r"y_embedder\.y_embedding|adaln_single\.|scale_shift_table", "a PixArt"),
    (r"patch_embed\.text_proj", "a CogVideoX"),
    (r"blocks\.\d+\.attn1\.Wqkv|text_embedding_padding", "a HunyuanDiT"),
    (r"blocks\.\d+\.(self|cross)_attn\.q\.|mlp\.inverted_conv", "a transformer of texts and pictures, such as Wan or Sana"),
    (r"diffloss\.|encoder_blocks\.\d+\.attn", "a masked autoregressive model, MAR or MAE"),
    (r"x_block_out|\.enc\.\d+x\d+_", "a U-Net of EDM"),
    (r"self_attn\.q_proj\.weight.*|model\.embed_tokens\.weight|h\.0\.attn\.c_attn\.weight", "a language model"),
    (r"embeddings\.word_embeddings\.weight", "BERT or a relative of it"),
    (r"vision_model\.embeddings\.patch_embedding\.bias", "a SigLIP"),
    (r"transformer\.resblocks\.0|visual\.conv1", "a whole CLIP"),
    (r"cpb_mlp|attn\.logit_scale", "a Swin of version 2"),
    (r"stages\.0\.(blocks\.)?0\.|downsample_layers\.0", "a ConvNeXt"),
    (r"features\.0\.weight", "a VGG or AlexNet"),
    (r"conv_stem\.weight|blocks\.0\.0\.conv_pw", "an EfficientNet or MobileNet"),
    (r"(encoder|decoder)\.(down|mid|up)", "an autoencoder in another layout"),
    (r"cls_token|patch_embed\.proj", "a vision transformer in another layout, such as timm's"),
)
"""Keys of networks that are none of ours, and what they belong to."""
WIDTHS = ("blocks.0.attn.proj.bias", "mid_block.attn.proj.bias", "decoder.conv_in.bias", "layernorm.bias", "pre_layrnorm.bias")
"""Ends of keys whose length is the width of the network."""
PATCHES = (
    "x_embedder.proj.weight",
    "x_embedder.proj1.weight",
    "patch_embed.proj.weight",
    "patch_embeddings.projection.weight",
    "patch_embedding.weight",
)
"""Ends of the key of the convolution that makes tokens of patches."""

LATENTS = {4: 8, 32: 16}
"""Pixels to a side of a latent, by the channels of the latents that are usual."""


def what_it_is(theirs: Shapes) -> str:
    """Words for an error about keys of which nothing of ours could be made, such as "no blocks of ours: it looks like a ResNet"."""
    if not _among(RELATIVES, theirs) and (added := _matching(ADDED, theirs)):
        return f"this is {added}"
    if kind := _kind(theirs):
        return f"this is {kind}: where a model here has such a card, name its id before the file, else write one by hand"
    return f"no blocks of ours{_foreign(theirs)}".replace("ours, ", "ours: ", 1)


def likely_cause(theirs: Shapes, ours: Shapes) -> str:
    """Words for an error, such as "this is the 512 px checkpoint", or nothing where the reason is not plain."""
    if (relative := _among(RELATIVES, theirs)) and relative != _among(RELATIVES, ours):
        return f"this is {relative}"
    if added := _matching(ADDED, theirs.keys() - ours.keys()):
        return f"this is {added}"
    here, there = _kind(theirs), _kind(ours)
    if here and here != there:
        return f"this is {here}"
    if not here and 4 * len(theirs.keys() & ours.keys()) < len(ours):
        return f"it holds no blocks of this network{_foreign(theirs)}"
    both = {key: (theirs[key], ours[key]) for key in ours if key in theirs and theirs[key] != ours[key]}
    for key in (key for end in WIDTHS for key in both if key.endswith(end)):
        return f"this is another size, of width {both[key][0][0]} instead of {both[key][1][0]}"
    deep = [_blocks(theirs), _blocks(ours)]
    if deep[0] != deep[1]:
        return f"this is another size, of {deep[0]} blocks instead of {deep[1]}"
    return _ends(theirs, both)


def _ends(theirs: Shapes, both: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    """What differs before and after blocks that are the same."""
    for key in (key for end in PATCHES for key in both if key.endswith(end)):
        if both[key][0][2:] != both[key][1][2:]:
            return f"this is another size, of patch {both[key][0][2]} instead of {both[key][1][2]}"
        return f"this one takes {both[key][0][1]} channels instead of {both[key][1][1]}"
    patch = next((shape for key, shape in theirs.items() if key.endswith(PATCHES) and len(shape) > 2), ())
    for key in (key for key in both if re.search(r"pos_embed$|position_embeddings?(\.weight)?$", key)):
        if patch and both[key][0][-1] == both[key][1][-1]:
            side = math.isqrt(both[key][0][-2]) * patch[2] * LATENTS.get(patch[1], 1)
            return f"this is the {side} px checkpoint"
    for key in ("y_embedder.embedding_table.weight", "label_emb.weight"):
        if key in both:
            return f"this one has {both[key][0][0]} rows of labels instead of {both[key][1][0]}"
    for key in (key for key in both if key.endswith("classifier.weight")):
        return f"this one knows {both[key][0][0]} classes instead of {both[key][1][0]}"
    if "final_layer.linear.weight" in both:
        here, there = both["final_layer.linear.weight"]
        return f"this one was trained with{'' if here > there else 'out'} learned sigma"
    return ""


def _kind(shapes: Shapes) -> str:
    return _among(KINDS, shapes)


def _among(table: tuple[tuple[str, str], ...], shapes: Shapes) -> str:
    return next((words for end, words in table if any(key == end or key.endswith(f".{end}") for key in shapes)), "")


def _matching(table: tuple[tuple[str, str], ...], keys: Iterable[str]) -> str:
    """The words of the first row that a key matches, or nothing."""
    return next((words for pattern, words in table if any(re.search(pattern, key) for key in keys)), "")


def _foreign(shapes: Shapes) -> str:
    """What keys that are none of ours look like."""
    words = _matching(FOREIGN, shapes)
    return f", it looks like {words}" if words else f", its first key is {next(iter(shapes), 'none')[:80]}"


def _blocks(shapes: Shapes) -> int:
    """How many transformer blocks keys name, in whatever stages."""
    place = (
        r"(?:^|\.)((?:layers\.\d+\.)?(?:in_blocks|out_blocks|en_inblocks|en_outblocks|de_blocks|blocks|layers?|transformer_blocks)\.\d+)\."
    )
    return len({match[1] for key in shapes if (match := re.search(place, key))})
