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
    return {"dit": _dit, "latte": _dit, "latte-t2v": _text, "u-vit": _uvit, "unet": _unet}[card.family](skeleton(card))


def _dit(module: nn.Module) -> Block:
    one, count = module.blocks[0], len(module.blocks)
    turn = ", alternately within a frame and through time" if hasattr(module, "temp_embed") else ""
    width, six = one.adaLN_modulation[-1].in_features, one.adaLN_modulation[-1].out_features
    return Block(
        f"{count} blocks{turn}",
        (
            Branch(("LayerNorm · scale, shift", f"self-attention, {one.attn.num_heads} heads", "x gate")),
            Branch(("LayerNorm · scale, shift", _mlp(one.mlp.fc1), "x gate")),
        ),
        f"time + class → SiLU → linear {width} → {six}: shift, scale and gate of both",
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
