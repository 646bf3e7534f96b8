"""One recorded pass of a model, and what can be asked of it: where a place looks, in any layer, on the picture's own grid. No colours."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalog.card import Card
from zoo.engine.request import short
from zoo.errors import RequestError
from zoo.inside import attention
from zoo.inside.patch_tokens import Tokens
from zoo.networks.out_of_distribution import DataDistance

Query = str | tuple[float, float, float]
"""Who looks: a place (time, down, across), each in [0, 1) of the picture or clip, or a token that is no patch by its name; "onto" and
its name asks instead how much each patch looks at that token."""
ONTO = "onto "


@dataclass(frozen=True)
class Layer:
    """One attention layer: who attends to whom in it, on which grid."""

    name: str
    kind: str
    """full: all tokens; window: patches of a window; space: patches of a frame; time: one place through all frames; cross: only tokens
    that are no patches, those of `beside`."""
    grid: tuple[int, int, int]
    """Frames, rows and columns of patches at this depth."""
    heads: int
    places: Tensor | None = None
    """Of windows: which patch each of their tokens is, see attention.window_places."""
    beside: tuple[str, ...] = ()
    """Of cross-attention: names of the tokens that the patches look at."""

    def token(self, query: tuple[float, float, float]) -> tuple[int, int, int]:
        """Frame, row and column of the patch at a place."""
        return tuple(min(max(int(q * n), 0), n - 1) for q, n in zip(query, self.grid, strict=True))

    def bytes(self, extra: int) -> int:
        """What its maps need in float32."""
        f, n = self.grid[0], self.grid[1] * self.grid[2]
        pairs = {"full": (f * n + extra) ** 2, "space": f * n * n, "time": n * f * f, "cross": f * n * len(self.beside)}
        return 4 * self.heads * (pairs[self.kind] if self.places is None else self.places.numel() * self.places.shape[1])


EXTRA = {"vit": ("class",), "deit": ("class", "distillation"), "dinov2": ("class",), "clip-vision": ("class",), "vivit": ("class",)}
"""Tokens before the patches, by family."""


def extra_of(card: Card) -> tuple[str, ...]:
    """Names of the tokens before the patches."""
    arch = card.arch
    if card.family == "u-vit":
        words = tuple(f"word {k + 1}" for k in range(arch.get("num_context_tokens", 0)))
        return ("time", *words) if words else ("class", "time") if arch.get("num_classes") else ("time",)
    if arch.get("conditioning") == "in-context":
        return _conditions(arch)
    registers = tuple(f"register {k + 1}" for k in range(arch.get("num_registers", 0)))
    return ("class", *registers) if registers else EXTRA.get(card.family, ())


def layers_of(card: Card, frames: int | None = None) -> tuple[Layer, ...]:
    """The attention layers of a model in the order in which they run; frames: of a video, None for as many as it was trained on."""
    arch = card.arch
    side = card.side // arch["patch_size"]
    grid = ((frames or arch.get("num_frames", 1)) // arch.get("tubelet_frames", 1), side, side)
    if card.family == "swin":
        return tuple(_windows(arch, *grid[1:]))
    depth, heads = arch["depth"], arch["num_heads"]
    if card.family == "latte":
        return _of_latte(depth, heads, grid, arch.get("variant", 1))
    if arch.get("conditioning") == "cross-attention":
        pairs = ((f"{k}", f"{k}, time and class") for k in range(depth))
        return tuple(
            layer
            for own, cross in pairs
            for layer in (Layer(own, "full", grid, heads), Layer(cross, "cross", grid, heads, beside=_conditions(arch)))
        )
    half = depth // 2
    names = [str(k) for k in range(depth)]
    if card.family == "mdt":
        names = _of_mdt(depth, arch.get("decode_layer", 4), arch.get("version", 2))
    if card.family == "u-vit":
        names = [f"{k}, in" for k in range(half)] + [f"{half}, middle"] + [f"{k}, out" for k in range(half + 1, 2 * half + 1)]
    return tuple(Layer(name, "full", grid, heads) for name in names)


def _conditions(arch: Mapping) -> tuple[str, ...]:
    """The tokens that a DiT without adaLN makes of what it is told."""
    return ("time", "class") if arch.get("num_classes", 1000) else ("time",)


def _of_latte(depth: int, heads: int, grid: tuple[int, int, int], variant: int) -> tuple[Layer, ...]:
    """Blocks within a frame and through time in turn, first the ones and then the others, or blocks that look both ways."""
    numbers = [number for number in range(depth) for _ in range(2 if variant > 2 else 1)]
    timed = [place >= depth // 2 if variant == 2 else place % 2 for place in range(len(numbers))]
    kinds = (("in a frame", "space"), ("through time", "time"))
    heads = heads // 2 if variant == 4 else heads
    return tuple(Layer(f"{number}, {kinds[late][0]}", kinds[late][1], grid, heads) for number, late in zip(numbers, timed, strict=True))


def _of_mdt(depth: int, decoder: int, version: int) -> list[str]:
    """An MDT of version 2 has two halves, and one block less where the decoder leaves an odd number."""
    half = (depth - decoder) // 2
    kinds = ["encoder"] * (depth - decoder) if version == 1 else ["in"] * half + ["out"] * half
    return [f"{number}, {kind}" for number, kind in enumerate([*kinds, *["decoder"] * decoder])]


def _windows(arch: Mapping, rows: int, columns: int) -> list[Layer]:
    layers = []
    for stage, (depth, heads) in enumerate(zip(arch["depth"], arch["num_heads"], strict=True)):
        size = min(arch["window_size"], rows, columns)
        for block in range(depth):
            shift = size // 2 if block % 2 and min(rows, columns) > arch["window_size"] else 0
            name = f"{len(layers)}, stage {stage + 1}, {'shifted windows' if shift else 'windows'}"
            places = attention.window_places(rows, columns, size, shift)
            layers.append(Layer(name, "window", (1, rows, columns), heads, places))
        rows, columns = math.ceil(rows / 2), math.ceil(columns / 2)  # patch merging
    return layers


@dataclass(frozen=True, eq=False)
class Recording:
    """What one pass showed of one picture, clip or step of a generation."""

    card: Card
    pictures: np.ndarray
    """What the model looked at (f, h, w, 3) uint8; of a generation, its clean prediction at this step."""
    tokens: Tokens
    layers: tuple[Layer, ...]
    maps: Mapping[int, Tensor]
    """The layers that were kept, each as record_attention gives it."""
    extra: tuple[str, ...] = ()
    """Names of the tokens before the patches."""
    predictions: tuple[tuple[str, float, int], ...] = ()
    """The likeliest classes: name, probability, index."""
    skips: Mapping[int, float] | None = None
    """Of a U-ViT: the share of each long skip, see inside.record_skips."""
    original: Image.Image | None = None
    """What somebody uploaded, small, before it was cropped."""
    data_distance: DataDistance | None = None
    """How far it is from the data of a classifier, where features of held-out data are at hand."""

    def label(self, name: str | None) -> int:
        """Index of a class that was predicted, the likeliest where None. Raises RequestError for another."""
        names = [one for one, *_ in self.predictions]
        if not names or (name is not None and name not in names):
            raise RequestError(f"{self.card.id} did not name {name}: choose one of {', '.join(names) or 'a classifier'}.")
        return self.predictions[names.index(name) if name is not None else 0][2]

    @property
    def remark(self) -> str:
        """What there is to say about the file that somebody brought, in one sentence; empty where nothing is."""
        return str(self.original.info.get("remark", "")) if self.original else ""

    @property
    def whole(self) -> bool:
        """Whether every token may attend to every other in every layer, all of them kept, so that layers can be chained."""
        return len(self.maps) == len(self.layers) and all(layer.kind == "full" for layer in self.layers)

    def query(self, patch: Any = None) -> Query:
        """Who looks, from the number of a patch, row by row and frame by frame, or the name of a token; from nothing the class token,
        where there is one, else the patch in the middle. Raises RequestError for what there is not."""
        f, rows, columns = self.tokens.grid
        if patch in (None, ""):
            return self.extra[0] if self.extra and not self.card.generates else (0.5, 0.5, 0.5)
        text = str(patch).strip()
        if text.removeprefix(ONTO) in self.extra:
            return text
        number = int(float(text)) if re.fullmatch(r"\d{1,9}(\.0)?", text) else -1
        if not 0 <= number < f * rows * columns:
            others = f", or {', '.join(self.extra[:3])}" if self.extra else ""
            raise RequestError(f"{self.card.id} has no patch {short(patch)} here: choose 0 to {f * rows * columns - 1}{others}.")
        frame, place = divmod(number, rows * columns)
        return (frame + 0.5) / f, (place // columns + 0.5) / rows, (place % columns + 0.5) / columns

    def _layer(self, index: int) -> tuple[Layer, Tensor]:
        if index not in self.maps:
            raise RequestError(f"Layer {index} was not recorded: choose one of {', '.join(map(str, self.maps))}.")
        return self.layers[index], self.maps[index]

    def _row(self, query: Query, layer: Layer) -> int:
        """Number of a token in the sequence of a layer in which all attend to all."""
        if isinstance(query, str):
            if query not in self.extra or layer.kind != "full":
                raise RequestError(f"{self.card.id} has no {query} token in layer {layer.name}: choose a patch instead.")
            return self.extra.index(query)
        frame, row, column = layer.token(query)
        return len(self.extra) + (frame * layer.grid[1] + row) * layer.grid[2] + column

    def looks(self, index: int, query: Query) -> tuple[Tensor, Tensor]:
        """Where one place or token looks in a layer: heads x frames x rows x columns, and heads x extra tokens; together they sum to 1."""
        layer, maps = self._layer(index)
        if isinstance(query, str) and query.startswith(ONTO):
            onto = maps[0][:, :, self._row(query.removeprefix(ONTO), layer)]
            return self._split(onto, layer)[0], torch.zeros(layer.heads, 0)
        f, r, c = layer.grid
        if layer.kind == "full":
            return self._split(maps[0][:, self._row(query, layer)], layer)
        if isinstance(query, str):
            self._row(query, layer)  # says that there is none
        frame, row, column = layer.token(query)
        patches = torch.zeros(layer.heads, f, r, c)
        if layer.kind == "space":
            patches[:, frame] = maps[frame][:, row * c + column].unflatten(-1, (r, c))
        elif layer.kind == "time":
            patches[:, :, row, column] = maps[row * c + column][:, frame]
        elif layer.kind == "cross":
            return patches, maps[0][:, row * c + column]
        else:
            patches = attention.look_from(maps, layer.places, row * c + column).view(-1, f, r, c)
        return patches, torch.zeros(layer.heads, 0)

    def rollout(self, query: Query, depth: int | None = None) -> Tensor:
        """Attention rollout from one token through the first `depth` layers (None: all): frames x rows x columns.

        Raises RequestError where not all tokens attend to all, or not all layers were kept.
        """
        if not self.whole:
            raise RequestError(f"Rollout multiplies layers in which all tokens attend to all, which {self.card.id} has not recorded.")
        flow = attention.rollout([self.maps[k] for k in range(depth or len(self.maps))])[0]
        return self._split(flow[self._row(query, self.layers[0])], self.layers[0])[0][0]

    def _split(self, row: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
        """(k, e + n) or (e + n,) as the patches on their grid, and the others."""
        row = row if row.ndim == 2 else row[None]
        patches = row[:, len(self.extra) :]
        if layer.kind == "full" and patches.shape[1] != math.prod(layer.grid):
            raise RequestError(f"{self.card.id} has tokens that no name is known for; its card's family is {self.card.family}.")
        return patches.unflatten(1, layer.grid), row[:, : len(self.extra)]

    def frames(self, index: int, place: tuple[float, float]) -> Tensor:
        """How one place, (down, across) in [0, 1), attends through time in a layer that does: heads x frames x frames, rows sum to 1."""
        layer, maps = self._layer(index)
        if layer.kind != "time":
            raise RequestError(f"Layer {layer.name} does not attend through time: choose one that does.")
        _, row, column = layer.token((0.0, *place))
        return maps[row * layer.grid[2] + column]

    def distances(self) -> dict[int, Tensor]:
        """Mean attention distance of every head of each kept layer that looks at patches: in patches of the first layer, or in frames
        where it is through time."""
        distances = {}
        for index, maps in self.maps.items():
            layer = self.layers[index]
            if layer.kind == "cross":
                continue
            side = layer.places is not None and math.isqrt(layer.places.shape[1])
            if layer.kind == "full" and layer.grid[0] > 1:
                distances[index] = _spatial(maps, layer.grid, len(self.extra))
                continue
            grid = {"time": (1, layer.grid[0]), "window": (side, side)}.get(layer.kind, layer.grid[1:])
            wide = self.layers[0].grid[1] / layer.grid[1]  # a merged patch is as wide as several of the first
            distances[index] = wide * attention.mean_distance(maps, grid, len(self.extra) if layer.kind == "full" else 0)
        return distances

    def entropies(self) -> dict[int, Tensor]:
        """Mean entropy in bits of every head of each kept layer."""
        return {index: attention.entropy(maps) for index, maps in self.maps.items()}


def _spatial(maps: Tensor, grid: tuple[int, int, int], extra: int) -> Tensor:
    """Mean distance within the picture of space-time attention, (1, k, n, n) to (k,), whatever the time between."""
    frames = grid[0]
    n = grid[1] * grid[2]
    patches = maps[..., extra:, extra:].unflatten(-1, (frames, n)).sum(-2).unflatten(2, (frames, n))  # b k f n n
    return torch.stack([attention.mean_distance(patches[:, :, k], grid[1:]) for k in range(frames)]).mean(0)
