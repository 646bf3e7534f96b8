"""Attention maps of a model while it runs, and what the literature computes from them. No colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor

from zoo.backbones.layers import Attend
from zoo.errors import RequestError

if TYPE_CHECKING:
    from torch import nn

BUDGET = 512 << 20
"""Bytes of maps that one recording may hold."""


def attentions(module: nn.Module) -> list[nn.Module]:
    """The attention modules of a backbone, or of a vision model of transformers, in the order in which they run; in a Latte
    as published even ones are spatial, odd ones temporal. What serves training only, as an MDT's side blocks, is left out."""
    idle = {part for name in getattr(module, "training_only", ()) for part in getattr(module, name).modules()}
    return [
        part
        for part in module.modules()
        if (isinstance(part, Attend) and part not in idle)
        or (type(part).__module__.startswith("transformers.") and type(part).__name__.endswith("Attention"))
    ]


@contextmanager
def record_attention(
    module: nn.Module, layers: Sequence[int] | None = None, heads: Sequence[int] | None = None, budget: int = BUDGET
) -> Iterator[dict[int, Tensor]]:
    """Record who attends to whom while `module` runs: layer -> map (b, k, n, n) float32 on the CPU, rows sum to 1, of the last pass;
    of cross-attention (b, k, n, m), m what is looked at.

    layers, heads: only these (all where None). Latte's spatial layers have b f rows, its temporal ones b n, as they run. The output
    of a backbone of ours is the same to the bit, for the fused attention still makes it; without this it pays nothing. A model of
    transformers computes its attention openly (eager) meanwhile, and differs by rounding; with gradients on, its maps stay in the
    graph. A Swin's are of windows, (b w, k, m, m). Raises RequestError for a layer or head that there is not, and where a map would go
    beyond `budget` bytes.
    """
    parts = attentions(module)
    if not parts:
        raise RequestError(
            f"The attention of a {type(module).__name__} cannot be recorded: choose a diffusion transformer or a vision transformer."
        )
    chosen = range(len(parts)) if layers is None else layers
    if wrong := [layer for layer in chosen if not 0 <= layer < len(parts)]:
        raise RequestError(f"There is no layer {wrong[0]} in a model of {len(parts)} attention layers: choose 0 to {len(parts) - 1}.")
    maps: dict[int, Tensor] = {}

    def keep(layer: int, part: nn.Module, inputs: tuple, output: Any) -> None:
        q, k = inputs[:2] if isinstance(part, Attend) else (output[1], output[1])
        bias = inputs[3] if len(inputs) > 3 else None
        if heads is not None:
            if wrong := [head for head in heads if not 0 <= head < q.shape[1]]:
                raise RequestError(f"There is no head {wrong[0]} in a layer of {q.shape[1]}: choose 0 to {q.shape[1] - 1}.")
            q, k = q[:, list(heads)], k[:, list(heads)]
            bias = bias if bias is None else bias[list(heads)]
        held = sum(known.nbytes for index, known in maps.items() if index != layer)
        if (needed := held + 4 * q.shape[:-1].numel() * k.shape[-2]) > budget:
            raise RequestError(
                f"These maps need {needed / 1e6:.0f} MB, more than the {budget / 1e6:.0f} MB of a recording: choose fewer layers or heads."
            )
        maps[layer] = weights(q, k, bias).cpu() if isinstance(part, Attend) else q if q.requires_grad else q.float().cpu()

    hooks = [parts[layer].register_forward_hook(partial(keep, layer)) for layer in chosen]
    fused = module.config._attn_implementation if hasattr(module, "set_attn_implementation") else ""
    try:
        if fused:
            module.set_attn_implementation("eager")
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
        if fused:
            module.set_attn_implementation(fused)


@torch.no_grad()
def weights(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) in float32: (b, k, n, d) twice and (k, n, n) or nothing to (b, k, n, n)."""
    scores = q.float() @ k.float().mT * q.shape[-1] ** -0.5
    return (scores if bias is None else scores + bias.float()).softmax(-1)


def rollout(maps: Sequence[Tensor]) -> Tensor:
    """Attention rollout: (b, k, n, n) a layer to one (b, n, n), rows sum to 1.

    Heads are averaged, half of each layer passes straight through the skip connection, and layers are multiplied from the first
    to the last. Source: Abnar and Zuidema, arXiv 2005.00928, section 3.
    """
    return _through([layer.mean(1) for layer in maps], normalised=True)


def relevance(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Class relevance of transformers: maps and the gradients of a class's logit with respect to them, (b, k, n, n) a layer, to one
    (b, n, n), whose row of the class token says what spoke for the class.

    Source: Chefer et al., arXiv 2103.15679, equations 5 and 6, for self-attention.
    """
    return _through([(one * gradient).clamp(min=0).mean(1) for one, gradient in zip(maps, gradients, strict=True)], normalised=False)


def _through(layers: Sequence[Tensor], normalised: bool) -> Tensor:
    identity = torch.eye(layers[0].shape[-1])
    flow = identity.expand_as(layers[0])
    for layer in layers:
        flow = (layer + identity) @ flow * (0.5 if normalised else 1.0)
    return flow


def mean_distance(one: Tensor, grid: tuple[int, int], extra: int = 0) -> Tensor:
    """How far each head of a layer looks, in patches: (b, k, n, n) to (k,), averaged over the queries and weighted by attention.

    grid: rows and columns of patches; extra: tokens before them, such as a class token, which are left out and the rest
    normalised. Source: Dosovitskiy et al., arXiv 2010.11929, figure 7.
    """
    rows, columns = grid
    place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    patches = one[..., extra:, extra:]
    patches = patches / patches.sum(-1, keepdim=True).clamp(min=1e-12)
    return (patches * torch.cdist(place, place)).sum(-1).mean((0, 2))


def entropy(one: Tensor) -> Tensor:
    """How widely each head of a layer looks, in bits: (b, k, n, n) to (k,), 0 for one token, log2 n for all alike."""
    return -torch.special.xlogy(one, one).sum(-1).mean((0, 2)) / torch.log(torch.tensor(2.0))


def window_places(height: int, width: int, size: int, shift: int) -> Tensor:
    """Which patch of a grid each token of each window is, (windows, size * size) long, row by row; -1 for padding.

    A Swin pads the grid to whole windows, rolls it by `shift` up and to the left, and cuts it into windows: this is the way back.
    Source: Liu et al., arXiv 2103.14030, figure 4.
    """
    places = torch.full((-(-height // size) * size, -(-width // size) * size), -1)
    places[:height, :width] = torch.arange(height * width).view(height, width)
    return rearrange(places.roll((-shift, -shift), (0, 1)), "(h p) (w q) -> (h w) (p q)", p=size, q=size)


def look_from(windows: Tensor, places: Tensor, patch: int) -> Tensor:
    """Where one patch looks in the whole grid: maps of the windows of one picture (w, k, m, m) and their places (w, m) to (k, n)."""
    window, token = (places == patch).nonzero()[0].tolist()
    inside = places[window] >= 0
    grid = torch.zeros(windows.shape[1], int(places.max()) + 1)
    grid[:, places[window][inside]] = windows[window, :, token][:, inside]
    return grid
