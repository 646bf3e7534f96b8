"""One block of a denoising network as a drawing: its branches from input to sum, with the sizes that its modules have."""

from __future__ import annotations

import html
import textwrap
from dataclasses import dataclass

from torch import nn

from zoo.catalog.card import Card
from zoo.compare.complexity import skeleton

WIDTH, BOX, GAP = 330, 28, 10
"""Units of the drawing: its width, the height of a box and the space under it."""


@dataclass(frozen=True)
class Branch:
    """What is computed from the stream and added to it again; not added where `residual` is False."""

    boxes: tuple[str, ...]
    residual: bool = True


@dataclass(frozen=True)
class Block:
    """One block: how many there are, its branches in their order, and what comes in from the side."""

    title: str
    branches: tuple[Branch, ...]
    side_input: str = ""


def block(card: Card) -> Block:
    """The block that a network consists of, its sizes read from the modules."""
    kind = card.arch.get("conditioning", card.family)
    drawn = {"latte-t2v": _text, "u-vit": _uvit, "unet": _unet, "u-dit": _u_dit}
    drawn |= {"in-context": _plain, "cross-attention": _plain, "adaln": _adaln}
    return drawn.get(kind, _dit)(skeleton(card))


def _dit(module: nn.Module) -> Block:
    """DiT, Latte and those relatives of DiT that have patches."""
    blocks = module.modulated[:-1] if hasattr(module, "modulated") else tuple(module.blocks)
    one, linear = blocks[-1], blocks[-1].adaLN_modulation[-1]
    width, shifted = linear.in_features, linear.out_features == 6 * linear.in_features
    norm = f"{type(one.norm1).__name__} · scale{', shift' if shifted else ''}"
    skip = getattr(one, "skip_linear", None)
    first = (Branch((f"with the skip: linear {skip.in_features} → {skip.out_features}",), residual=False),) if skip is not None else ()
    of_each = "time + class, in the decoder what the encoder says of each token" if hasattr(module, "s_embedder") else "time + class"
    return Block(
        f"{len(blocks)} blocks{_parts(module)}",
        (
            *first,
            Branch((norm, *_attention(one.attn, _places(module)), "x gate")),
            Branch((norm, _gated(one.mlp) if hasattr(one.mlp, "w3") else _mlp(one.mlp.fc1), "x gate")),
        ),
        f"{of_each} → SiLU → linear {width} → {linear.out_features}: {'shift, ' if shifted else ''}scale and gate of both",
    )


def _attention(attn: nn.Module, places: str = "") -> tuple[str, ...]:
    """The boxes of an attention: of two where it looks within a frame and through time."""
    if hasattr(attn, "then_temporal"):
        return f"within a frame, {attn.num_heads} heads", f"through time, {attn.num_heads} heads"
    if hasattr(attn, "temporal"):
        return (f"{attn.num_heads // 2} heads within a frame + {attn.num_heads // 2} in time",)
    return (f"self-attention, {attn.num_heads} heads{places}",)


def _adaln(module: nn.Module) -> Block:
    """A DiT without gates."""
    one, linear = module.blocks[0], module.blocks[0].adaLN_modulation[-1]
    norm = "LayerNorm · scale, shift"
    return Block(
        f"{len(module.blocks)} blocks",
        (Branch((norm, *_attention(one.attn))), Branch((norm, _mlp(one.mlp.fc1)))),
        f"time + class → SiLU → linear {linear.in_features} → {linear.out_features}: shift and scale of both",
    )


def _plain(module: nn.Module) -> Block:
    """A DiT to which time and class are tokens, among the patches or apart from them."""
    one = module.blocks[0]
    cross = getattr(one, "cross_attn", None)
    look = (Branch(("LayerNorm", f"cross-attention, {cross.num_heads} heads")),) if cross is not None else ()
    return Block(
        f"{len(module.blocks)} blocks",
        (Branch(("LayerNorm", *_attention(one.attn))), *look, Branch(("LayerNorm", _mlp(one.mlp.fc1)))),
        "time and class are two tokens apart, keys and values of the cross-attention"
        if look
        else "time and class are tokens beside the patches in every block",
    )


def _parts(module: nn.Module) -> str:
    """How blocks differ from each other."""
    if hasattr(module, "variant"):  # of a Latte
        fusion = {1: ", alternately within a frame and through time", 2: ": the first half within a frame, the second through time"}
        return fusion.get(module.variant, "")
    if hasattr(module, "de_blocks"):
        return f": {len(module.en_inblocks)} in without the skip, {len(module.en_outblocks)} out, {len(module.de_blocks)} that decode"
    if hasattr(module, "encoder_depth"):
        return f": {module.encoder_depth} of the encoder, {len(module.blocks) - module.encoder_depth} of the decoder"
    return f"; from number {module.in_context_start} on tokens of the class stand before" if hasattr(module, "in_context_start") else ""


def _places(module: nn.Module) -> str:
    """How the attention knows where tokens are."""
    turned = getattr(module, "feat_rope", None) is not None or hasattr(module, "encoder_depth") or hasattr(module, "in_context_len")
    return ", RoPE" if turned else ", relative bias" if hasattr(module, "decoder_pos_embed") else ""


def _gated(mlp: nn.Module) -> str:
    width, inner = (mlp.w3.out_features, mlp.w3.in_features) if hasattr(mlp, "w12") else (mlp.w1.in_features, mlp.w1.out_features)
    return f"SwiGLU {width} → {inner} → {width}"


def _u_dit(module: nn.Module) -> Block:
    one, stacks = module.encoder_level_1[0], (module.encoder_level_1, module.encoder_level_2, module.latent)
    width = one.adaLN_modulation1[-1].in_features
    sizes = " → ".join(str(stack[0].adaLN_modulation1[-1].in_features) for stack in stacks)
    wide = one.mlp1.project_in[-1].out_channels
    norm = "LayerNorm · scale, shift"
    attention, mlp = f"attention in {one.attn1.factor**2} grids, {one.attn1.num_heads} heads", f"convolutions {width} → {wide} → {width}"
    return Block(
        f"3 levels down ({sizes} channels) and up again; each block is two such pairs",
        (Branch((norm, "+ 5 x 5 convolution", attention, "x gate")), Branch((norm, mlp, "x gate"))),
        f"time + class → SiLU → linear {width} → {6 * width}: shift, scale and gate of both",
    )


def _uvit(module: nn.Module) -> Block:
    one, inner = module.out_blocks[0], len(module.in_blocks)
    skip = one.skip_linear
    sizes = f"{skip.in_features} → {skip.out_features}" if skip is not None else ""
    skip_branch = (Branch((f"with the skip: linear {sizes}",), residual=False),) if sizes else ()
    return Block(
        f"{inner} blocks in, 1 in the middle, {len(module.out_blocks)} out",
        (*skip_branch, Branch(("LayerNorm", f"self-attention, {one.attn.num_heads} heads")), Branch(("LayerNorm", _mlp(one.mlp.fc1)))),
        "time and class, or words, are tokens beside the patches; only the out blocks have the skip",
    )


def _text(module: nn.Module) -> Block:
    one = module.transformer_blocks[0]
    hidden, width = one.ff.net[0].proj.out_features, one.ff.net[0].proj.in_features
    return Block(
        f"{len(module.transformer_blocks)} of these within a frame, each followed by one through time without text",
        (
            Branch(("LayerNorm · scale, shift", f"self-attention, {one.attn1.heads} heads", "x gate")),
            Branch((f"cross-attention to the text, {one.attn2.heads} heads",)),
            Branch(("LayerNorm · scale, shift", f"MLP {width} → {hidden} → {width}", "x gate")),
        ),
        "time → shift, scale and gate of both, plus each block's own table",
    )


def _unet(module: nn.Module) -> Block:
    first, inner = module.down_blocks[0].resnets[0], module.down_blocks[-1]
    sizes = " → ".join(str(level.resnets[0].out_channels) for level in module.down_blocks)
    return Block(
        f"{len(module.down_blocks)} levels down ({sizes} channels), a middle, as many up; no attention on the first",
        (
            Branch(("GroupNorm, SiLU", "3 x 3 convolution", "+ time and class", "GroupNorm, SiLU", "3 x 3 convolution")),
            Branch(("GroupNorm", f"self-attention, {inner.attentions[0].heads} heads")),
        ),
        f"time + class → linear {first.time_emb_proj.in_features} → channels; each up level also gets the matching down level",
    )


def _mlp(first: nn.Linear) -> str:
    return f"MLP {first.in_features} → {first.out_features} → {first.in_features}"


def drawing(card: Card) -> str:
    """The block of a network as SVG that takes the colour of the text around it: the stream runs down, residual ways on the left."""
    one = block(card)
    heads, tails = textwrap.wrap(one.title, 46), textwrap.wrap(one.side_input, 50)
    parts = [_words(WIDTH / 2, 14 + 16 * k, line) for k, line in enumerate(heads)]
    top = 16 * len(heads) + 28
    for branch in one.branches:
        start = top - GAP / 2
        for words in branch.boxes:
            parts += [_line(f"M165 {top - GAP} V{top}"), _box(top), _words(165, top + BOX / 2 + 4, words)]
            top += BOX + GAP
        if branch.residual:
            middle = top + 9
            plus = f'<circle cx="165" cy="{middle}" r="9"/>' + _line(f"M160 {middle} H170 M165 {middle - 5} V{middle + 5}")
            parts += [_line(f"M165 {top - GAP} V{top}"), _line(f"M165 {start} H30 V{middle} H156"), plus]
            top += 18 + GAP
    parts.append(_line(f"M165 {top - GAP} V{top + 2} M161 {top - 4} L165 {top + 2} L169 {top - 4}"))
    parts += [_words(WIDTH / 2, top + 22 + 16 * k, line) for k, line in enumerate(tails)]
    height = top + 26 + 16 * len(tails)
    label = html.escape(f"One block of {card.title}: {'; '.join(', '.join(branch.boxes) for branch in one.branches)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
        f'height="{height:g}" fill="none" stroke="currentColor" font-family="system-ui, sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def _box(top: float) -> str:
    return f'<rect x="60" y="{top}" width="210" height="{BOX}" rx="4"/>'


def _line(path: str) -> str:
    return f'<path d="{path}"/>'


def _words(across: float, down: float, text: str) -> str:
    return f'<text x="{across}" y="{down:g}" text-anchor="middle" fill="currentColor" stroke="none">{html.escape(text)}</text>'
