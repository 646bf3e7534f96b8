"""What an architecture consists of: parameters and multiply-adds by part, counted on the module itself, and its facts in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.catalog.card import Card
from zoo.networks.build import build_module

PARTS = {
    "masked training only": r"(sideblocks|mask_token)\b",
    "patch embedding": r"(x_embedder|s_embedder|patch_embed|conv_in|pos_embed\.proj)\b",
    "position embedding": r"(pos_embed|decoder_pos_embed|in_context_posemb|temp_embed|temp_pos_embed)\b",
    "time embedding": r"(t_embedder(_\d)?|time_embed|time_embedding|time_proj|adaln_single)\b",
    "class or text": r"(y_embedder(_\d)?|label_emb|context_embed|class_embedding|caption_projection)\b",
    "modulation": r".*\b(adaLN_modulation[12]?|scale_shift_table)\b",
    "long skips": r".*\bskip_linear\b",
    "attention": r".*\b(attn|attn1|attn2|cross_attn|attentions)\b",
    "MLP": r".*\b(mlp|mlp1|mlp2|ff)\b",
    "convolutions": r"((down_blocks|mid_block|up_blocks)\b.*\b(resnets|downsamplers|upsamplers)|down\d_\d|up\d_\d|reduce_chan_level\d)\b",
    "norms in blocks": r"(\w*blocks|mid_block)\b.*\bnorm",
}
"""Parts of a denoising network, by the names of its modules; the first that fits; what fits none is the output layer."""


@dataclass(frozen=True)
class Complexity:
    """One network: its parts, their parameters and multiply-adds of one forward pass of one picture or video, and facts."""

    params: Mapping[str, int]
    macs: Mapping[str, float]
    facts: Mapping[str, str]


_CACHE: dict[tuple[str, str, int], Complexity] = {}


def complexity(card: Card, frames: int | None = None) -> Complexity:
    """Count a generator, built from its card without memory for its weights: one pass, no guidance, of one picture or video.

    frames: of the video, None for as many as the model was trained on. Parameters are the numbers that a checkpoint holds, fixed
    position tables included.
    """
    key = card.id, card.revision, frames or card.arch.get("num_frames", 1)
    if key not in _CACHE:
        _CACHE[key] = _count(card, key[-1])
    return _CACHE[key]


def skeleton(card: Card) -> nn.Module:
    """The network of a card without memory for its weights."""
    with torch.device("meta"):
        return build_module(card).eval().to("meta")


def _count(card: Card, frames: int) -> Complexity:
    module = skeleton(card)
    params: dict[str, int] = {}
    for name, value in module.named_parameters():
        params[_part(name)] = params.get(_part(name), 0) + value.numel()
    by_module = _macs_by_module(module, card, frames)
    macs: dict[str, float] = {}
    for name, part in module.named_modules():
        if (name and not list(part.children())) or isinstance(part, nn.MultiheadAttention):
            macs[_part(name)] = macs.get(_part(name), 0) + by_module.get(name, 0)
    whole = by_module[""]
    between = whole - sum(macs.values())  # products of queries, keys and values: functions, no modules
    macs["attention"] = macs.get("attention", 0) + between
    return Complexity(params, {name: value for name, value in macs.items() if value}, _facts(card, frames))


def _part(name: str) -> str:
    return next((part for part, pattern in PARTS.items() if re.match(pattern, name)), "output layer")


class _Nowhere:
    """In place of FlopCounterMode's own tracker, whose hooks see the modules of all threads: everything counts as the whole."""

    parents = ("Global",)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@torch.no_grad()
def _macs_by_module(module: nn.Module, card: Card, frames: int) -> dict[str, float]:
    """Multiply-adds of every module by its name, "" for the whole."""
    arch = card.arch
    x = torch.empty(1, *(frames,) * card.video, arch["in_channels"], arch["input_size"], arch["input_size"], device="meta")
    y = torch.zeros(1, dtype=torch.long, device="meta") if arch.get("num_classes") else None
    if card.text:
        y = torch.empty(1, arch["num_context_tokens"], arch["context_dim"], device="meta")
    counter, macs = FlopCounterMode(display=False), {}
    counter.mod_tracker = _Nowhere()
    for name, part in module.named_modules():

        def before(*_: object, name: str = name) -> None:
            macs[name] = macs.get(name, 0) - counter.get_total_flops() / 2

        def after(*_: object, name: str = name) -> None:
            macs[name] += counter.get_total_flops() / 2

        part.register_forward_pre_hook(before)
        part.register_forward_hook(after)
    with counter:
        module(x, torch.zeros(1, device="meta"), y)
    return macs


def _facts(card: Card, frames: int) -> dict[str, str]:
    """What the table of architectures says of a card in words."""
    arch = card.arch
    side, stages = arch["input_size"] // arch.get("patch_size", 1), arch.get("depth", 0)
    grid = f"{frames} x {side} x {side}" if frames > 1 else f"{side} x {side}"
    patches = f"{grid} = {frames * side * side}"
    beside = arch.get("num_context_tokens", 1 if arch.get("num_classes") else 0) + 1
    adaln = "scale, shift and gate in every block (adaLN-Zero)"
    as_tokens = (f"{patches}, and {beside}", "as tokens beside the patches")
    inner = (stages - arch.get("decode_layer", 0)) // 2 if isinstance(stages, int) else 0
    two_halves = arch.get("version", 2) == 2
    tokens, enters, skips = {
        **dict.fromkeys(("sit", "repa", "lightning-dit", "latte"), (patches, adaln, "none")),
        "dit": {
            "in-context": (*as_tokens, "none"),
            "cross-attention": (patches, "as two tokens, at which every block looks by cross-attention", "none"),
            "adaln": (patches, "scale and shift in every block (adaLN)", "none"),
        }.get(arch.get("conditioning"), (patches, adaln, "none")),
        "mdt": (patches, adaln, f"{inner} long skips, and the patches into every block of the decoder" if two_halves else "none"),
        "ddt": (patches, f"{adaln}: of the decoder's for each token, as the encoder says", "the patches into the decoder"),
        "jit": (f"{patches}, then {arch.get('in_context_len')} of the class", f"{adaln}, and the class as tokens", "none"),
        "u-dit": (f"none: {grid} grid of features, in interleaved grids", adaln, "from both levels down to those up"),
        "latte-t2v": (patches, "time: scale, shift, gate; text: cross-attention in the blocks within a frame", "none"),
        "u-vit": (*as_tokens, f"{inner} long skips"),
        "unet": (f"none: {grid} grid of features", "added in every residual block", "from every down level to the matching up level"),
    }[card.family]
    kind, *numbers = card.schedule.values()
    heads = arch.get("num_heads") or f"of {arch['head_dim']} channels"
    depth = str(stages or "").strip("[]")
    depth = f"{depth} per level, {len(arch['channel_mult'])} levels" if card.family == "unet" else depth
    return {
        "tokens": tokens, "depth": depth, "width": str(arch["hidden_size"]), "heads": str(heads), "time and class": enters, "skips": skips,
        "schedule": f"{kind} {', '.join(word if isinstance(word, str) else f'{word:g}' for word in numbers)}",
        "variance": "none" if kind == "flow" else "learned" if arch.get("learn_sigma") or card.family == "latte-t2v" else "fixed",
    }  # fmt: skip
