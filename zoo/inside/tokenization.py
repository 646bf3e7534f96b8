"""From picture to tokens in figures and words, step by step, with the numbers of the very model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from zoo.inside.forward_record import Recording
from zoo.inside.patch_tokens import Tokens, filter_components, principal, similarity
from zoo.media import figures
from zoo.media.figures import Figure
from zoo.networks.preparation import resized

FIXED = ("dit", "latte", "sit", "repa", "lightning-dit")
"""Families whose position table is computed, not learned."""


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
    picture = figures.enlarged(recording.pictures[frame], 256, smooth=recording.pictures.shape[1] > 128)
    whole = f"{f * r} frames of {columns * q} x {rows * p} {unit}" if f * r > 1 else f"{columns * q} x {rows * p} {unit}"
    piece = f"{r} frames of {q} x {p} {unit}" if r > 1 else f"{q} x {p} {unit}"
    count = f"{f} x {rows} x {columns} = {n}" if f > 1 else f"{rows} x {columns} = {n}"
    state = "here as clean as it is at this step" if card.generates else "resized and normalised"
    colours = "" if channels == 3 else ", three of the channels as colours"
    vector = f"{channels} x {r} x {p} x {q} = {flat}" if r > 1 else f"{channels} x {p} x {q} = {flat}"
    steps = [] if recording.original is None else [_original(recording)]
    steps.append(_stage("picture", "Model input", f"{whole}, {channels} channels; {state}.", picture))
    steps.append(_stage("grid", f"Divided into {what}", f"{count} {what} of {piece}.", figures.marked(picture, (rows, columns), None)))
    words = f"{place} patches, row by row{f', here those of the first of {f} times' if f > 1 else ''}{colours}."
    steps.append(_stage("sequence", "Sequence of patches", words, figures.sheet(_tiles(recording), 2 * columns, 20)))
    words = f"Each is a vector of {vector} numbers. All of them: {n} x {flat}, one row per patch."
    steps.append(_stage("vectors", "Flattened patches", words, _rows(tokens.patches)))
    words = f"One learned matrix, {flat} x {width}, projects each to {width} numbers. Its principal components, drawn as patches:"
    steps.append(_stage("filters", "Linear projection", words, _filters(tokens)))
    words = f"{n} x {width}. Their first three principal components as colours:"
    steps.append(_stage("projected", "Projected patches", words, _map(tokens.projected[:place], rows)))
    if len(tokens.times):
        words = f"After the first spatial block a temporal embedding is added to each of {f} frames. Their cosine similarity:"
        alike = figures.enlarged(figures.coloured(similarity(tokens.times).numpy(), -1, 1), 256)
        steps.append(_stage("time", "Temporal embedding", words, alike))
    steps.append(_stage("tokens", "Input of the first block", _entering(recording, n), _rows(tokens.sequence)))
    _, rows, columns = recording.layers[-1].grid
    left = tokens.features[len(tokens.features) % (rows * columns) :][: rows * columns]
    sides = list(dict.fromkeys(f"{one.grid[1]} x {one.grid[2]}" for one in recording.layers))
    merged = f" Between stages four patches are merged into one: {', then '.join(sides)}." if len(sides) > 1 else ""
    words = f"{len(tokens.features)} tokens of {tokens.features.shape[1]} numbers.{merged} Similar tokens have similar colours:"
    steps.append(_stage("features", "Output of the last block", words, _map(left, rows)))
    return steps


def _stage(name: str, title: str, words: str, picture: Image.Image) -> Stage:
    return Stage(title, words, Figure(name, title, figures.png(picture)))


def position(recording: Recording, query: tuple[float, float, float]) -> Stage:
    """The position embedding of one place, compared with the others."""
    tokens, title = recording.tokens, "Position embedding"
    rows, columns = tokens.grid[1:]
    row, column = (min(int(at * side), side - 1) for at, side in zip(query[1:], (rows, columns), strict=True))
    if not len(tokens.positions):
        words = "This model has none: a learned bias for each pair of places in a window is added to their attention instead."
        return _stage("position", title, words, _rows(tokens.projected))
    kind = "fixed sines and cosines" if recording.card.family in FIXED else "learned"
    words = f"A vector of {tokens.positions.shape[1]} numbers ({kind}) is added to each patch."
    words += f" Cosine similarity to that of row {row}, column {column}: dark is -1, bright is 1."
    return _stage("position", title, words, _alike(tokens, row * columns + column))


def _original(recording: Recording) -> Stage:
    """The picture before it was resized and cropped, the part that is taken framed."""
    pixels, (width, height) = recording.card.pixels, recording.original.size
    size = recording.pictures.shape[1]
    columns, rows = resized(pixels, size, width, height)
    words = f"It is resized to {columns} x {rows} pixels, whatever its shape"
    if (columns, rows) == (size, size) and not pixels.resize:
        return _stage("original", "Uploaded picture", f"{words}.", recording.original)
    across, down = size / columns * width, size / rows * height
    box = [(width - across) / 2, (height - down) / 2, (width + across) / 2, (height + down) / 2]
    words = f"Its shorter side is resized to {pixels.resize} pixels" if pixels.resize else words
    words += f", and {size} x {size} in the middle are taken."
    return _stage("original", "Uploaded picture", words, figures.framed(recording.original, box))


def _entering(recording: Recording, n: int) -> str:
    """How many tokens, and how time and class come in."""
    extra, (frames, width) = recording.extra, (recording.tokens.grid[0], recording.tokens.sequence.shape[1])
    count = str(n)
    if len(recording.tokens.times):
        count = f"{frames} x {n // frames}, frame by frame,"
    elif extra:
        count = f"{len(extra)} + {n} = {len(extra) + n}"
    first = f", first {', '.join(extra[:3])}{', ...' if len(extra) > 3 else ''}" if extra else ""
    words = dict.fromkeys((*FIXED, "mdt"), " There is no class token: time and class act through scales and gates in every block (adaLN).")
    words["u-vit"] = " Time and class, or words, are tokens like the others."
    words["in-context"] = words["u-vit"]
    words["cross-attention"] = " There is no class token: every block looks at time and class by cross-attention."
    kind = recording.card.arch.get("conditioning", "")
    return f"{count} tokens of {width} numbers{first}.{words.get(kind, words.get(recording.card.family, ''))}"


def _map(rows: Tensor, side: int) -> Image.Image:
    """The three main directions of vectors on a square grid as colours."""
    return figures.enlarged(figures.scaled(principal(rows, 3).numpy()).reshape(side, -1, 3), 256)


def _tiles(recording: Recording) -> list[np.ndarray]:
    """The patches of the first frame as small pictures: of pixels as they are, of latents three channels as colours."""
    tokens = recording.tokens
    (_, rows, columns), (c, r, p, q) = tokens.grid, tokens.filters.shape[1:]
    if not recording.card.generates and recording.pictures.shape[1:3] == (rows * p, columns * q):
        return [recording.pictures[0, y * p : y * p + p, x * q : x * q + q] for y in range(rows) for x in range(columns)]
    return list(figures.scaled(tokens.patches[: rows * columns].unflatten(1, (c, r, p, q))[:, :3, 0].movedim(1, -1).numpy()))


def _rows(values: Tensor, most: int = 196) -> Image.Image:
    """Vectors (n, d) as rows of colours."""
    some = values[:most].numpy()
    low, high = np.percentile(some, (1, 99))
    resample = Image.Resampling.BOX if some.shape[1] > 512 else Image.Resampling.NEAREST
    return Image.fromarray(figures.coloured(some, low, high)).resize((512, 256), resample)


def _filters(tokens: Tokens) -> Image.Image:
    components = filter_components(tokens.filters)[:, :3, 0].movedim(1, -1).numpy()
    each = [figures.scaled(one[None])[0] for one in components]
    return figures.sheet(each, 7, 34)


def _alike(tokens: Tokens, place: int) -> Image.Image:
    rows, columns = tokens.grid[1:]
    row = similarity(tokens.positions)[place][: rows * columns] if len(tokens.positions) == rows * columns else None
    if row is None:  # tubelets: the places of the same time
        row = similarity(tokens.positions)[place].view(-1, rows, columns)[0].flatten()
    alike = figures.enlarged(figures.coloured(row.view(rows, columns).numpy(), -1, 1), 256)
    return figures.marked(alike, (rows, columns), divmod(place, columns), lines=False)
