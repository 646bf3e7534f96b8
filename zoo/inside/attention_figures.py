"""A recording in figures: where a place looks, in all layers, how far each layer does, what changes through a run; and all as files."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalog.card import Card
from zoo.engine.request import short
from zoo.errors import RequestError
from zoo.inside.forward_record import ONTO, Query, Recording
from zoo.inside.modulation import MODULATIONS
from zoo.inside.tokenization import position, stages
from zoo.media import figures
from zoo.media.figures import Figure

MEAN, MAXIMUM, ONE, CHOSEN, ROLLOUT, RELEVANCE = (
    "mean of all heads",
    "max of all heads",
    "one head",
    "mean of chosen heads",
    "rollout",
    "relevance",
)
COMBINATIONS = (MEAN, MAXIMUM, ONE, CHOSEN, ROLLOUT, RELEVANCE)
"""How heads, or layers, become one map."""


def chosen(
    recording: Recording, layer: int, query: Query, combination: str, heads: Sequence[int], traced: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One map (frames, rows, columns), and the extra tokens' share, of heads combined; traced: the relevance, where that is asked for.

    Raises RequestError for a combination, layer or head that there is not.
    """
    if combination == RELEVANCE and traced is not None:
        return traced, torch.zeros(0)
    if combination == ROLLOUT:
        return recording.rollout(query, layer + 1), torch.zeros(0)
    if combination not in COMBINATIONS or combination == RELEVANCE:
        words = f"{', '.join(COMBINATIONS[:-1])}, and {RELEVANCE} for a classifier"
        raise RequestError(f"Heads cannot be combined by {short(combination)}: choose one of {words}.")
    patches, rest = recording.looks(layer, query)
    return joined(patches, combination, heads), joined(rest, combination, heads)


def joined(maps: Tensor, combination: str, heads: Sequence[int]) -> Tensor:
    """Heads (k, ...) as one map: all of them, or the chosen ones. Raises RequestError for a head that there is not."""
    if combination in (MEAN, MAXIMUM):
        return maps.amax(0) if combination == MAXIMUM else maps.mean(0)
    if wrong := [head for head in heads if not 0 <= head < len(maps)]:
        raise RequestError(f"There is no head {wrong[0]} in a layer of {len(maps)}: choose 0 to {len(maps) - 1}.")
    if not heads:
        raise RequestError(f"No head is chosen: choose some of 0 to {len(maps) - 1}.")
    return maps[list(heads)].mean(0)


def contact(recording: Recording, query: Query, frame: int = 0) -> Image.Image:
    """All layers, a row each, by all heads, a column each: where the query looks, each on its own scale; through time a bar of frames."""
    columns = max(layer.heads for layer in recording.layers)
    tiles = []
    for index in sorted(recording.maps):
        layer = recording.layers[index]
        usable = query if not isinstance(query, str) or layer.kind == "full" else (0.0, 0.5, 0.5)
        heads, _ = recording.looks(index, usable)
        if layer.kind == "time":
            _, row, column = layer.token(usable)
            values = heads[:, :, row, column][:, None]
        else:
            values = heads[:, min(frame, heads.shape[1] - 1)]
        tiles += [figures.coloured(one.numpy()) for one in values]
        tiles += [np.full((1, 1, 3), 255, np.uint8)] * (columns - layer.heads)
    names = [recording.layers[k].name for k in sorted(recording.maps)]
    return figures.labelled(figures.sheet(tiles, columns, 72 if columns <= 12 else 56), names, [str(k) for k in range(columns)])


def plots(recording: Recording) -> list[Figure]:
    """Mean attention distance and entropy by layer, a dot a head."""
    named = {k: v.numpy() for k, v in recording.distances().items()}
    timed = [k for k in named if recording.layers[k].kind == "time"]
    spatial = {k: v for k, v in named.items() if k not in timed}
    drawings = [figures.by_layer("distance", "Mean attention distance", spatial, "patches")] if spatial else []
    if timed:
        drawings.append(figures.by_layer("distance-in-time", "Mean attention distance in time", {k: named[k] for k in timed}, "frames"))
    entropies = {k: v.numpy() for k, v in recording.entropies().items()}
    return [*drawings, figures.by_layer("entropy", "Attention entropy", entropies, "bits")]


def arrays(recording: Recording) -> bytes:
    """Everything as an .npz: maps by layer (as record_attention gives them), tokens, distances, entropies, the picture."""
    tokens = recording.tokens
    values = {f"attention_{k:02}": one.numpy() for k, one in recording.maps.items()}
    values |= {
        word: getattr(tokens, word).numpy() for word in ("patches", "filters", "projected", "positions", "times", "sequence", "features")
    }
    values |= {f"distance_{k:02}": one.numpy() for k, one in recording.distances().items()}
    values |= {f"entropy_{k:02}": one.numpy() for k, one in recording.entropies().items()}
    file = io.BytesIO()
    np.savez(file, picture=recording.pictures, grid=np.array(tokens.grid), **values)
    return file.getvalue()


def through(recordings: Mapping[int, Recording], layer: int, query: Query, combination: str, heads: Sequence[int]) -> list[Figure]:
    """What changes on the way from noise to picture, from recordings by step: one map over the steps, and entropy by step and layer;
    for a U-ViT what its long skips carry, and how much its patches look at its other tokens."""
    steps = sorted(recordings)
    ticks = [str(step + 1) for step in steps]
    some = [recordings[step] for step in steps]
    maps = [chosen(one, layer, query, combination, heads)[0] for one in some]
    middle = maps[0].shape[0] // 2 if isinstance(query, str) else some[0].layers[layer].token(query)[0]
    frames = [one.pictures[min(middle * len(one.pictures) // len(maps[0]), len(one.pictures) - 1)] for one in some]
    top = max(float(values[middle].max()) for values in maps)
    over = [np.asarray(figures.overlay(picture, v[middle].numpy(), 128, high=top)) for picture, v in zip(frames, maps, strict=True)]
    clean = [np.asarray(figures.enlarged(picture, 128, smooth=True)) for picture in frames]
    title = f"Clean prediction and attention at steps {', '.join(ticks)}, on one scale from 0 to {top:.2g}"
    drawings = [Figure("forming", title, figures.png(figures.sheet([*clean, *over], len(some), 128)))]
    layers = sorted(set.intersection(*(set(one.maps) for one in some)))
    entropies, names = [one.entropies() for one in some], [str(k) for k in layers]
    spread = np.array([[one[k].mean().item() for one in entropies] for k in layers])
    drawings.append(figures.matrix("entropy-in-time", "Attention entropy", spread, "step", "layer", "bits", ticks, names))
    if some[0].skips:
        lines = {f"skip {k}": [one.skips[k] for one in some] for k in some[0].skips}
        drawings.append(
            figures.curves("skips", "Share that the long skip connections carry", lines, [s + 1 for s in steps], "step", "share")
        )
    for name in some[0].extra[:2]:
        onto = np.array([[one.looks(k, ONTO + name)[0].mean().item() for one in some] for k in layers])
        title = f"Attention of the patches to the {name} token"
        drawings.append(figures.matrix(f"onto-{name}", title, onto, "step", "layer", "share", ticks, names, 0.0))
    return drawings


def modulated(values: Tensor) -> list[Figure]:
    """How class and time condition a DiT or Latte: scales and gates by block and step, (t, blocks, 6), see inside.modulations."""
    ticks, blocks = [str(k + 1) for k in range(len(values))], [str(k) for k in range(values.shape[1])]
    return [
        figures.matrix(name.replace(" ", "-"), f"Mean {name}", values[:, :, k].T.numpy(), "step", "block", "absolute", ticks, blocks, 0.0)
        for k, name in enumerate(MODULATIONS)
        if not name.startswith("shift")
    ]


def overlay(
    recording: Recording, layer: int, query: Query, combination: str, heads: Sequence[int], traced: Tensor | None = None
) -> Image.Image:
    """Where one place or token looks, drawn over the picture, the asking patch framed."""
    values, _ = chosen(recording, layer, query, combination, heads, traced)
    at = recording.layers[layer].token(query if not isinstance(query, str) else (0.0, 0.5, 0.5))
    picture = recording.pictures[at[0] * len(recording.pictures) // len(values)]
    heat = figures.overlay(picture, values[at[0]].numpy())
    return figures.marked(heat, tuple(values.shape[1:]), None if isinstance(query, str) else at[1:], lines=False)


def facts(recording: Recording) -> dict[str, Any]:
    """Shapes, predictions, how many classes the model knows, and how far the picture is from its data, as JSON values."""
    tokens, distance = recording.tokens, recording.data_distance
    return {
        "model": recording.card.id, "picture": list(recording.pictures.shape), "patch": list(tokens.size), "grid": list(tokens.grid),
        "tokens": len(recording.extra) + tokens.grid[0] * tokens.grid[1] * tokens.grid[2], "extra": list(recording.extra),
        "width": tokens.sequence.shape[-1],
        "layers": [{"name": one.name, "attends": one.kind, "grid": list(one.grid), "heads": one.heads} for one in recording.layers],
        "predictions": [{"label": name, "probability": round(share, 6)} for name, share, _ in recording.predictions],
        "classes": recording.card.arch.get("num_classes", 0),
        "data_distance": distance and distance.as_dict(), "remark": recording.remark,
    }  # fmt: skip


def everything(
    recording: Recording, layer: int, query: Query, combination: str, heads: Sequence[int], traced: Tensor | None = None
) -> dict[str, bytes]:
    """All figures of a recording, and its arrays, as files by name."""
    at = query if not isinstance(query, str) else (0.0, 0.5, 0.5)
    files = {"looks.png": figures.png(overlay(recording, layer, query, combination, heads, traced))}
    files["layers-by-heads.png"] = figures.png(contact(recording, query, recording.layers[layer].token(at)[0]))
    drawn = [stage.figure for stage in [*stages(recording), position(recording, at)]]
    for figure in [*drawn, *plots(recording)]:
        files[f"{figure.name}.png"] = figure.png
        if figure.svg:
            files[f"{figure.name}.svg"] = figure.svg.encode()
    return files | {"arrays.npz": arrays(recording), "look.json": json.dumps(facts(recording), indent=1).encode()}


def cost(card: Card, patch: int) -> tuple[int, float, float]:
    """What another patch size would make of a model: tokens, and multiply-adds in billions, of attention between tokens and in all.

    Counted over the blocks: 4 n d^2 for the projections, 2 n^2 d between tokens, 2 m n d^2 for an MLP of ratio m.
    """
    arch = card.arch
    frames = arch.get("num_frames", 1) // arch.get("tubelet_frames", 1)
    n = (card.side // patch) ** 2
    d, depth = arch["hidden_size"], arch["depth"] + (card.family == "u-vit")
    pairs = depth * (n * frames) ** 2
    projections = 4
    if card.family == "latte":  # half of the blocks attend within a frame, half through time, or each block in both ways
        both = arch.get("variant", 1) > 2
        projections = 8 if both else 4
        pairs = depth / (1 if both else 2) * (frames * n * n + n * frames * frames)
    rest = depth * n * frames * (projections + 2 * arch.get("mlp_ratio", 4)) * d * d
    return n * frames, 2 * pairs * d / 1e9, (2 * pairs * d + rest) / 1e9
