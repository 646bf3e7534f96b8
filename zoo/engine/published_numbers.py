"""The numbers that others recorded with the published weights, compared with what the files here compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalog.card import Card
from zoo.catalog.expected import Expected
from zoo.catalog.store import LocalFiles, Store
from zoo.errors import CheckpointError, MediaError, RequestError
from zoo.media import photographs
from zoo.networks import text_encoders
from zoo.networks.preparation import prepare, prepared

if TYPE_CHECKING:
    from torch import nn

MAX_VALUES = 1 << 28
"""Of an array that somebody brings; the clip has 32 frames of a few hundred pixels a side."""


@dataclass(frozen=True)
class Gap:
    """How far what was computed is from what was recorded."""

    entry: Expected
    computed: tuple[float, ...]
    value: float

    @property
    def holds(self) -> bool:
        """Whether it is within the tolerance; what is not a number is not."""
        return self.value <= self.entry.tolerance


def compare(store: Store, card: Card, module: nn.Module, files: LocalFiles, paths: Mapping[str, Path]) -> str:
    """Compare a model in float32 with the numbers on its card, and note how many held; one sentence about it.

    paths: the files of inputs that are not ours to ship, see inputs_by_key. Raises CheckpointError where numbers differ, MediaError for
    a file that cannot be read.
    """
    own = prepared(card, files.also)
    gaps = [_gap(own, module, files, entry, paths.get(entry.key)) for entry in card.expected if entry.key in paths or not entry.brought]
    wrong = [gap for gap in gaps if not gap.holds and not gap.entry.inferred]
    if wrong:
        store.annotate(card, verified=[])
        raise CheckpointError(_difference(card, wrong[0]))
    compared = {gap.entry.key for gap in gaps}
    held = {gap.entry.key for gap in gaps if gap.holds} | (_noted(store, card) - compared)
    store.annotate(card, verified=sorted(held))
    return _sentence(gaps, [entry for entry in card.expected if entry.key not in compared])


def verified(store: Store, card: Card) -> int:
    """How many published numbers were seen to hold for the files of a card that are here."""
    held = _noted(store, card)
    return sum(len(entry.numbers) for entry in card.expected if entry.key in held)


def _noted(store: Store, card: Card) -> set[str]:
    keys = store.notes(card).get("verified", ())
    return {key for key in keys if isinstance(key, str)} if isinstance(keys, list) else set()


def inputs_by_key(card: Card, brought: Sequence[Path]) -> dict[str, Path]:
    """The file of which numbers were recorded, by their key: an array under the name that the card says, any other file is the picture.

    Raises RequestError for a file of which none were, MediaError for one that is not there.
    """
    paths: dict[str, Path] = {}
    for path in brought:
        array = path.suffix.lower() == ".npy"
        mine = [entry.key for entry in card.expected if entry.brought and (entry.given == path.name if array else entry.kind == "picture")]
        if not mine:
            names = dict.fromkeys(f"the {entry.kind} {entry.given}" for entry in card.expected if entry.brought)
            raise RequestError(f"No numbers of {card.id} were recorded of {path.name}: bring {' or '.join(names) or 'no file'}.")
        if any(key in paths for key in mine):
            raise RequestError(f"{path.name} is a second file for the same numbers: bring one.")
        if not path.is_file():
            raise MediaError(f"{path} is not there: name a file that is.")
        paths |= dict.fromkeys(mine, path)
    return paths


def _gap(card: Card, module: nn.Module, files: LocalFiles, entry: Expected, path: Path | None) -> Gap:
    _, index = entry.place
    output = _output(card, module, files, entry, path)
    try:
        output = output[index].flatten()
    except (IndexError, TypeError):  # no such place, or None for an output that it does not have
        raise CheckpointError(f"{card.id} has no {entry.output}: the numbers on its card are of another model.") from None
    computed = tuple(float(value) for value in output)
    if len(computed) != len(entry.numbers):
        raise CheckpointError(f"{entry.output} of {card.id} are {len(computed)} numbers, and its card has {len(entry.numbers)}.")
    recorded = torch.tensor([numbers for numbers in (entry.numbers, entry.otherwise) if numbers], dtype=torch.float64)
    return Gap(entry, computed, float((output.double() - recorded).abs().amax(1).min()))


@torch.no_grad()
def _output(card: Card, module: nn.Module, files: LocalFiles, entry: Expected, path: Path | None) -> Tensor | None:
    """What a model makes of an input, None where it makes nothing of that name."""
    name, _ = entry.place
    if name == "tokens":
        return torch.tensor(text_encoders.piece_numbers(files.also, entry.given))
    if entry.kind == "text":
        if card.task != "text-encoder" or name != "last_hidden_state":
            return None
        return text_encoders.encode(module, card.arch, files.also, entry.given)[0][None]
    values = _input(card, entry, path)
    if name == "sample":
        return torch.cat([module.decode(part).sample for part in values.split(1)]) if hasattr(module, "decode") else None
    words = {"interpolate_pos_encoding": True} if entry.side else {}
    return getattr((module if name == "logits" else module.base_model)(values, **words), name, None)


def _input(card: Card, entry: Expected, path: Path | None) -> Tensor:
    arch = card.arch
    if entry.kind == "latents":
        array = _array(path, np.floating, 4)
        if array.shape[1] != arch["latent_channels"] or not np.isfinite(array).all():
            raise MediaError(
                f"{path.name} holds {array.shape}, and {card.id} decodes {arch['latent_channels']} channels: bring those latents."
            )
        return torch.from_numpy(array.astype(np.float32))
    if entry.kind == "clip":
        array = _array(path, np.uint8, 4)
        if array.shape[0] != arch["num_frames"] or array.shape[3] != 3:
            raise MediaError(f"{path.name} holds {array.shape}, and {card.id} takes {arch['num_frames']} frames of RGB: bring that clip.")
        return torch.stack([prepare(Image.fromarray(frame), card.pixels, card.side)[1] for frame in array])[None]
    if entry.kind == "picture":
        pixels = replace(card.pixels, resize=0, stretch=entry.side, crop=0) if entry.side else card.pixels
        return prepare(photographs.open_picture(path), pixels, entry.side or card.side)[1][None]
    frames = (arch["num_frames"],) if arch.get("num_frames") else ()
    return torch.full((1, *frames, arch["in_channels"], card.side, card.side), entry.given)


def _array(path: Path, kind: type, dimensions: int) -> np.ndarray:
    """An array of a .npy file, of which nothing is unpickled. Raises MediaError."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # maps what is there: nothing is read for a shape that the file has not
    except (OSError, ValueError, EOFError) as error:
        raise MediaError(f"{path} cannot be read as an array ({' '.join(str(error).split())[:100]}): bring the .npy file.") from None
    if not np.issubdtype(array.dtype, kind) or array.ndim != dimensions or not 0 < array.size <= MAX_VALUES:
        raise MediaError(f"{path.name} holds {array.dtype} of shape {array.shape}: bring the file of which the numbers were recorded.")
    return np.array(array)


def _difference(card: Card, gap: Gap) -> str:
    entry = gap.entry
    recorded = " or ".join(_numbers(numbers) for numbers in (entry.numbers, entry.otherwise) if numbers)
    also = f", or what was brought is not {entry.given}" if entry.brought else ""
    return (
        f"{card.id} computes {_numbers(gap.computed)} as {entry.words}, not {recorded} as {entry.source} recorded with the published "
        f"weights ({gap.value:.1e} apart, {entry.tolerance:g} allowed): these are other weights, or the code has changed{also}."
    )


def _sentence(gaps: Sequence[Gap], left: Sequence[Expected]) -> str:
    held, others = [gap for gap in gaps if gap.holds], [gap for gap in gaps if not gap.holds]
    words = "published numbers: none compared"
    if held:
        count, sources = sum(len(gap.entry.numbers) for gap in held), "; ".join(dict.fromkeys(gap.entry.source for gap in held))
        what = ", ".join(gap.entry.words for gap in held)
        words = f"published numbers: verified against {count}, the farthest {max(gap.value for gap in held):.0e} away: {what} ({sources})"
    for gap in others:
        words += f"; {gap.entry.words} is {gap.value:.1e} away, which is no proof against these weights: {gap.entry.inferred}"
    if left:
        names = " and ".join(dict.fromkeys(f"the {entry.kind} {entry.given}" for entry in left))
        words += f"; {sum(len(entry.numbers) for entry in left)} more are of {names}: bring it with --input FILE"
    return f"{words}."


def _numbers(numbers: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in numbers)
