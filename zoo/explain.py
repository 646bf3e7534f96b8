"""A recording in figures and words: from picture to tokens step by step, where a place looks, how far each layer does, and all arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo import figures
from zoo.card import Card
from zoo.errors import RequestError
from zoo.figures import Figure
from zoo.inside import MODULATIONS
from zoo.recording import ONTO, Query, Recording
from zoo.tokens import Tokens, filter_components, principal, similarity

WAYS = ("mean of all heads", "max of all heads", "one head", "rollout", "relevance")
"""How heads, or layers, become one map."""


@dataclass(frozen=True)
class Stage:
    """One step on the way from picture to tokens: what happens, with the numbers of this model, and how it looks."""

    title: str
    words: str
    figure: Figure


def stages(recording: Recording, frame: int = 0) -> list[Stage]:
    """From the picture, or the latents, to the sequence that enters the first block, and what leaves the last one."""
    tokens, card = recording.tokens, recording.card
    (f, rows, columns), (r, p, q) = tokens.grid, tokens.size
    channels, width, n = tokens.filters.shape[1], tokens.filters.shape[0], f * rows * columns
    flat, place = tokens.patches.shape[1], rows * columns
    unit, what = "latents" if card.generates and card.latent else "pixels", "tubelets" if r > 1 else "patches"
    picture = figures.enlarged(recording.shown[frame], 256, smooth=recording.shown.shape[1] > 128)
    whole = f"{f * r} frames of {columns * q} x {rows * p} {unit}" if f * r > 1 else f"{columns * q} x {rows * p} {unit}"
    piece = f"{r} frames of {q} x {p} {unit}" if r > 1 else f"{q} x {p} {unit}"
    count = f"{f} x {rows} x {columns} = {n}" if f > 1 else f"{rows} x {columns} = {n}"
    shown = "here decoded, as far as they are clean at this step" if unit == "latents" else _prepared(recording)
    colours = "" if channels == 3 else ", three of the channels as colours"
    vector = f"{channels} x {r} x {p} x {q} = {flat}" if r > 1 else f"{channels} x {p} x {q} = {flat}"
    made = [_stage("picture", "The picture as the model takes it", f"{whole}, {channels} channels; {shown}.", picture)]
    made.append(_stage("grid", f"Cut into {what}", f"{count} {what} of {piece}.", figures.marked(picture, (rows, columns), None)))
    words = f"{place} patches, read row by row{f', here those of the first of {f} times' if f > 1 else ''}{colours}."
    made.append(_stage("sequence", "One after the other", words, figures.sheet(_tiles(recording), 2 * columns, 20)))
    words = f"Each is a vector of {vector} numbers. All of them: {n} x {flat}, a row each."
    made.append(_stage("vectors", "Flattened", words, _rows(tokens.patches)))
    words = f"One learned matrix, {flat} x {width}, makes each {width} wide. Its main directions, as patches:"
    made.append(_stage("filters", "Projected", words, _filters(tokens)))
    words = f"{n} x {width}. The three main directions among them as colours:"
    made.append(_stage("projected", "What was projected", words, _map(tokens.projected[:place], rows)))
    if len(tokens.times):
        words = f"After the first spatial block each of the {f} frames is told its time. How alike these embeddings are:"
        alike = figures.enlarged(figures.coloured(similarity(tokens.times).numpy(), -1, 1), 256)
        made.append(_stage("time", "Told when it is", words, alike))
    made.append(_stage("tokens", "What enters the first block", _entering(recording, n), _rows(tokens.sequence)))
    _, rows, columns = recording.layers[-1].grid
    left = tokens.features[len(tokens.features) % (rows * columns) :][: rows * columns]
    sides = list(dict.fromkeys(f"{one.grid[1]} x {one.grid[2]}" for one in recording.layers))
    merged = f" Between the stages four patches became one: {', then '.join(sides)}." if len(sides) > 1 else ""
    words = f"{len(tokens.features)} tokens of {tokens.features.shape[1]} numbers.{merged} What is alike to the model is of one colour:"
    made.append(_stage("features", "What leaves the last block", words, _map(left, rows)))
    return made


def _stage(name: str, title: str, words: str, picture: Image.Image) -> Stage:
    return Stage(title, words, Figure(name, title, figures.png(picture)))


def position(recording: Recording, query: tuple[float, float, float]) -> Stage:
    """How the model tells one place from the others."""
    tokens, title = recording.tokens, "Told where it stands"
    rows, columns = tokens.grid[1:]
    row, column = (min(int(at * side), side - 1) for at, side in zip(query[1:], (rows, columns), strict=True))
    if not len(tokens.positions):
        words = "There is no position embedding: a learned bias between any two places of a window is added to their attention."
        return _stage("position", title, words, _rows(tokens.projected))
    kind = "fixed sines and cosines" if recording.card.family in ("dit", "latte") else "learned"
    words = f"A position embedding, {kind}, {tokens.positions.shape[1]} wide, is added to each."
    words += f" How like that of row {row + 1}, column {column + 1} the others are, from dark (-1) to bright (1, itself):"
    return _stage("position", title, words, _alike(tokens, row * columns + column))


def _prepared(recording: Recording) -> str:
    pixels = recording.card.pixels
    how = f"its shorter side resized to {pixels.resize}, the middle cut out" if pixels.resize else "resized"
    return f"yours, {how} and normalised"


def _entering(recording: Recording, n: int) -> str:
    """How many tokens, and how time and class come in."""
    extra, (frames, width) = recording.extra, (recording.tokens.grid[0], recording.tokens.sequence.shape[1])
    count = str(n)
    if len(recording.tokens.times):
        count = f"{frames} x {n // frames}, frame by frame,"
    elif extra:
        count = f"{len(extra)} + {n} = {len(extra) + n}"
    first = f", first {', '.join(extra[:3])}{', ...' if len(extra) > 3 else ''}" if extra else ""
    words = dict.fromkeys(("dit", "latte"), " None is a class token: time and class come in through scales and gates in every block.")
    words["u-vit"] = " Time and class, or words, are tokens like the others."
    return f"{count} tokens of {width} numbers{first}.{words.get(recording.card.family, '')}"


def _map(rows: Tensor, side: int) -> Image.Image:
    """The three main directions of vectors on a square grid as colours."""
    return figures.enlarged(figures.scaled(principal(rows, 3).numpy()).reshape(side, -1, 3), 256)


def _tiles(recording: Recording) -> list[np.ndarray]:
    """The patches of the first frame as small pictures: of pixels as they are, of latents three channels as colours."""
    tokens = recording.tokens
    (_, rows, columns), (c, r, p, q) = tokens.grid, tokens.filters.shape[1:]
    if c == 3 and recording.shown.shape[1:3] == (rows * p, columns * q):
        return [recording.shown[0, y * p : y * p + p, x * q : x * q + q] for y in range(rows) for x in range(columns)]
    return list(figures.scaled(tokens.patches[: rows * columns].unflatten(1, (c, r, p, q))[:, :3, 0].movedim(1, -1).numpy()))


def _rows(values: Tensor, most: int = 196) -> Image.Image:
    """Vectors (n, d) as rows of colours."""
    some = values[:most].numpy()
    low, high = np.percentile(some, (1, 99))
    resample = Image.Resampling.BOX if some.shape[1] > 512 else Image.Resampling.NEAREST
    return Image.fromarray(figures.coloured(some, low, high)).resize((512, 256), resample)


def _filters(tokens: Tokens) -> Image.Image:
    kept = filter_components(tokens.filters)[:, :3, 0].movedim(1, -1).numpy()
    each = [figures.scaled(one[None])[0] for one in kept]
    return figures.sheet(each, 7, 34)


def _alike(tokens: Tokens, place: int) -> Image.Image:
    rows, columns = tokens.grid[1:]
    row = similarity(tokens.positions)[place][: rows * columns] if len(tokens.positions) == rows * columns else None
    if row is None:  # tubelets: the places of the same time
        row = similarity(tokens.positions)[place].view(-1, rows, columns)[0].flatten()
    alike = figures.enlarged(figures.coloured(row.view(rows, columns).numpy(), -1, 1), 256)
    return figures.marked(alike, (rows, columns), divmod(place, columns), lines=False)


def chosen(recording: Recording, layer: int, query: Query, way: str, head: int, traced: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One map (frames, rows, columns), and the extra tokens' share, of one way to look; traced: the relevance, where that is the way.

    Raises RequestError for a way, layer or head that there is not.
    """
    if way == "relevance" and traced is not None:
        return traced, torch.zeros(0)
    if way == "rollout":
        return recording.rollout(query, layer + 1), torch.zeros(0)
    if way not in WAYS or way == "relevance":
        raise RequestError(f"There is no way {way!r} to look: choose one of {', '.join(WAYS)}.")
    heads, rest = recording.looks(layer, query)
    return joined(heads, way, head), joined(rest, way, head)


def joined(heads: Tensor, way: str, head: int) -> Tensor:
    """Heads (k, ...) as one map. Raises RequestError for a head that there is not."""
    if way != "one head":
        return heads.amax(0) if way.startswith("max") else heads.mean(0)
    if not 0 <= head < len(heads):
        raise RequestError(f"There is no head {head} in a layer of {len(heads)}: choose 0 to {len(heads) - 1}.")
    return heads[head]


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
    made = [figures.by_layer("distance", "Mean attention distance", spatial, "patches")] if spatial else []
    if timed:
        made.append(figures.by_layer("distance-in-time", "Mean attention distance in time", {k: named[k] for k in timed}, "frames"))
    entropies = {k: v.numpy() for k, v in recording.entropies().items()}
    return [*made, figures.by_layer("entropy", "Attention entropy", entropies, "bits")]


def arrays(recording: Recording) -> bytes:
    """Everything as an .npz: maps by layer (as record_attention gives them), tokens, distances, entropies, the picture."""
    tokens = recording.tokens
    values = {f"attention_{k:02}": one.numpy() for k, one in recording.maps.items()}
    values |= {word: getattr(tokens, word).numpy() for word in ("patches", "filters", "projected", "positions", "sequence", "features")}
    values |= {f"distance_{k:02}": one.numpy() for k, one in recording.distances().items()}
    values |= {f"entropy_{k:02}": one.numpy() for k, one in recording.entropies().items()}
    file = io.BytesIO()
    np.savez(file, picture=recording.shown, grid=np.array(tokens.grid), **values)
    return file.getvalue()


def through(recordings: Mapping[int, Recording], layer: int, query: Query, way: str, head: int) -> list[Figure]:
    """What changes on the way from noise to picture, from recordings by step: one map over the steps, and entropy by step and layer;
    for a U-ViT what its long skips carry, and how much its patches look at its other tokens."""
    steps = sorted(recordings)
    ticks = [str(step + 1) for step in steps]
    some = [recordings[step] for step in steps]
    maps = [chosen(one, layer, query, way, head)[0] for one in some]
    middle = maps[0].shape[0] // 2 if isinstance(query, str) else some[0].layers[layer].token(query)[0]
    frames = [one.shown[min(middle * len(one.shown) // len(maps[0]), len(one.shown) - 1)] for one in some]
    over = [np.asarray(figures.overlay(picture, values[middle].numpy(), 128)) for picture, values in zip(frames, maps, strict=True)]
    clean = [np.asarray(figures.enlarged(picture, 128, smooth=True)) for picture in frames]
    title = f"Steps {', '.join(ticks)}: the clean prediction, and where is looked"
    made = [Figure("forming", title, figures.png(figures.sheet([*clean, *over], len(some), 128)))]
    layers = sorted(set.intersection(*(set(one.maps) for one in some)))
    spread = np.array([[one.entropies()[k].mean().item() for one in some] for k in layers])
    made.append(figures.matrix("entropy-in-time", "Attention entropy", spread, "step", "layer", "bits", ticks))
    if some[0].skips:
        lines = {f"skip {k}": [one.skips[k] for one in some] for k in some[0].skips}
        made.append(figures.curves("skips", "Share of what the long skips carry", lines, [s + 1 for s in steps], "step", "share"))
    for name in some[0].extra[:2]:
        onto = np.array([[one.looks(k, ONTO + name)[0].mean().item() for one in some] for k in layers])
        title = f"Attention of the patches to the {name} token"
        made.append(figures.matrix(f"onto-{name}", title, onto, "step", "layer", "share", ticks, 0.0))
    return made


def modulated(values: Tensor) -> list[Figure]:
    """How the class and the time enter a DiT or Latte: scales and gates by block and step, (t, blocks, 6), see inside.modulations."""
    ticks = [str(k + 1) for k in range(len(values))]
    return [
        figures.matrix(name.replace(" ", "-"), f"Mean {name}", values[:, :, k].T.numpy(), "step", "block", "absolute value", ticks, 0.0)
        for k, name in enumerate(MODULATIONS)
        if not name.startswith("shift")
    ]


def overlay(recording: Recording, layer: int, query: Query, way: str, head: int, traced: Tensor | None = None) -> Image.Image:
    """Where one place or token looks, drawn over the picture, the asking patch framed."""
    values, _ = chosen(recording, layer, query, way, head, traced)
    at = recording.layers[layer].token(query if not isinstance(query, str) else (0.0, 0.5, 0.5))
    shown = recording.shown[at[0] * len(recording.shown) // len(values)]
    made = figures.overlay(shown, values[at[0]].numpy())
    return figures.marked(made, tuple(values.shape[1:]), None if isinstance(query, str) else at[1:], lines=False)


def facts(recording: Recording) -> dict[str, Any]:
    """Shapes and predictions as JSON values."""
    tokens = recording.tokens
    return {
        "model": recording.card.id, "picture": list(recording.shown.shape), "patch": list(tokens.size), "grid": list(tokens.grid),
        "tokens": len(recording.extra) + tokens.grid[0] * tokens.grid[1] * tokens.grid[2], "extra": list(recording.extra),
        "width": tokens.sequence.shape[-1],
        "layers": [{"name": one.name, "attends": one.kind, "grid": list(one.grid), "heads": one.heads} for one in recording.layers],
        "predictions": [{"label": name, "probability": round(share, 6)} for name, share, _ in recording.predictions],
    }  # fmt: skip


def everything(recording: Recording, layer: int, query: Query, way: str, head: int, traced: Tensor | None = None) -> dict[str, bytes]:
    """All figures of a recording, and its arrays, as files by name."""
    at = query if not isinstance(query, str) else (0.0, 0.5, 0.5)
    files = {"looks.png": figures.png(overlay(recording, layer, query, way, head, traced))}
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
    n = ((card.pixels.crop or arch["input_size"]) // patch) ** 2
    d, depth = arch["hidden_size"], arch["depth"] + (card.family == "u-vit")
    pairs = depth * (n * frames) ** 2
    if card.family == "latte":  # half of the blocks attend within a frame, half through time
        pairs = depth / 2 * (frames * n * n + n * frames * frames)
    rest = depth * n * frames * (4 + 2 * arch.get("mlp_ratio", 4)) * d * d
    return n * frames, 2 * pairs * d / 1e9, (2 * pairs * d + rest) / 1e9
