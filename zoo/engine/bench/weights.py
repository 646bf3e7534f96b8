"""The weights that a bench runs on: those on this machine, else random ones of the same architecture, in a store of its own."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo.catalog import checkpoint, sources
from zoo.catalog.store import LocalFiles, Store
from zoo.errors import RequestError
from zoo.networks.build import build_module, renaming

if TYPE_CHECKING:
    from zoo.catalog.card import Card

RANDOM = "random weights"


def random_state(card: Card, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random weights of a card's module, the same every time: uniform of deviation 1 / sqrt(fan-in), norms 1, biases small, position tables
    as they are. Nothing is zero, so that every layer counts in the output."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        module = build_module(card)
    fixed = {name for name, parameter in module.named_parameters() if not parameter.requires_grad}
    state = {}
    if fixed:  # of a shallow twin, which has the same tables
        twin = build_module(dataclasses.replace(card, arch=dict(card.arch) | {"depth": 2}))
        state = {name: value.detach().to(dtype) for name, value in twin.named_parameters() if name in fixed}
    for name, value in module.state_dict().items():
        if name in state:
            continue
        if value.ndim < 2:
            edge, middle = 0.02, float(name.endswith("weight"))
        else:
            edge, middle = math.sqrt(3 / math.prod(value.shape[1:])), 0.0
        state[name] = torch.empty(value.shape, dtype=dtype).uniform_(middle - edge, middle + edge, generator=generator)
    return state


def provide(card: Card, own: Store, bench: Store, dtype: torch.dtype) -> bool:
    """Pin a card in the bench's store to the files of the user's own, or to random weights of this dtype written for it.

    Whether they are the model's own. Raises RequestError where the disk has no room for random ones.
    """
    if own.find(card):
        files = sources.local_files(card, own)
        if files.origin != "bundled":
            bench.keep(card, _entries(files), files.origin, chosen=files.chosen)
        return True
    path, size = bench.folder / f"{card.id}.safetensors", card.cost.params * dtype.itemsize
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < size + (1 << 30):
            raise RequestError(
                f"Random weights of {card.id} need {size / 1e9:.1f} GB of disk, and {free / 1e9:.1f} are free in {path.parent}: "
                "free some, or set TMPDIR to a larger folder."
            )
        save_file(random_state(card, dtype), path)
    except OSError as error:
        raise RequestError(f"Random weights of {card.id} cannot be written to {path.parent} ({error.strerror}): set TMPDIR.") from None
    bench.keep(card, {path.name: {"sha256": "0" * 64, "bytes": path.stat().st_size, "path": str(path)}}, RANDOM)
    return False


def _entries(files: LocalFiles) -> dict[str, dict]:
    names = {files.path: files.path.name} | {path: name for name, path in files.also.items()}
    return {
        name: {"sha256": files.digests.get(path) or files.sha256, "bytes": path.stat().st_size, "path": str(path)}
        for path, name in names.items()
    }


def plain(card: Card, files: LocalFiles, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The module of a card as its file gives it, loaded apart from the hub's, which may do to its weights what it likes."""
    with torch.device("meta"):
        module = nn.Module.to(build_module(card), dtype)
    checkpoint.load_into(module, [Path(path) for path in files.weights], renaming(card), files.chosen)
    return nn.Module.to(module, device).eval().requires_grad_(False)
