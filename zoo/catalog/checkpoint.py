"""Checkpoint file -> state dict -> strict load. Nothing is unpickled with code execution allowed."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.catalog.key_maps import likely_cause, sources
from zoo.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

HOLDERS = ("ema", "nnet_ema", "model", "nnet", "state_dict")
"""Keys under which training checkpoints keep the weights, the averaged ones first (DiT and Latte: ema; U-ViT: nnet_ema)."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every key."""
HARMLESS = re.compile(r"(argparse\.Namespace|(ml_collections|omegaconf|numpy|collections|typing)\..*)")
"""Names in pickles that only describe a training; they become inert stand-ins, whatever they are."""


BROKEN = (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError, zipfile.BadZipFile)
"""What reading a damaged pickle may raise."""


class Inert:
    """Stands for an object of a training's configuration: takes whatever the pickle gives it, and does nothing."""

    def __new__(cls, *_: object, **__: object) -> Inert:
        """Ignore the arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


def read(path: Path) -> dict[str, Tensor]:
    """Read weights, mapped from the file rather than copied where its format allows: safetensors, or a pickle of torch.save.

    A training checkpoint gives its averaged weights. Raises CheckpointError where the file is missing, damaged, something else,
    or a pickle that would run code.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else error.strerror
        raise CheckpointError(f"{path} cannot be read ({reason}): fetch the model again, or restore the file.") from None
    size = path.stat().st_size
    label = f"{path} ({size} bytes)"
    if not head:
        raise CheckpointError(f"{label} is empty: fetch the model again.")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{label} is a git-lfs pointer, not the weights: run git lfs pull, or fetch the model again.")
    if re.match(rb"\s*<(!doctype|html|\?xml)", head, re.IGNORECASE):
        raise CheckpointError(f"{label} is a web page, not weights: the download was answered by an error or login page, fetch it again.")
    if head[8:9] == b"{":
        return _safetensors(path, label)
    if head[:2] != b"PK" and head[:1] != b"\x80":
        raise CheckpointError(f"{label} is neither a safetensors file nor a PyTorch checkpoint: fetch the model again.")
    return weights_in(_unpickle(path, label), label)


def _safetensors(path: Path, label: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{label} is not a whole safetensors file ({error}): fetch the model again, or restore the file.") from None


def _unpickle(path: Path, label: str, inert: tuple[str, ...] = ()) -> Any:
    """What torch.load makes of a pickle with weights_only, the named objects replaced by inert ones."""
    try:
        with torch.serialization.safe_globals([(Inert, name) for name in inert]):
            if zipfile.is_zipfile(path):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        name = match.group(1) if match else ""
    except (*BROKEN, SafetensorError) as error:
        reason = str(error).split("\n")[0].split(". ")[0].rstrip(".")
        raise CheckpointError(f"{label} is a damaged or truncated PyTorch checkpoint ({reason}): fetch the model again.") from None
    if HARMLESS.fullmatch(name) and name not in inert:
        return _unpickle(path, label, (*inert, name))
    what = f"asks for {name}, which weights never need" if name else "is damaged, or no plain dictionary of weights"
    raise CheckpointError(f"{label} is a pickle that {what}: it was not opened, and should not be trusted.")


def weights_in(content: Any, label: str) -> dict[str, Tensor]:
    """The state dict in what a checkpoint holds: itself, or the averaged one under its usual names, without wrappers' prefixes."""
    for holder in HOLDERS:
        if isinstance(content, Mapping) and isinstance(content.get(holder), Mapping):
            content = content[holder]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        keys = (
            f"it holds {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else f"it holds a {type(content).__name__}"
        )
        raise CheckpointError(f"{label} holds no weights where they usually are ({', '.join(HOLDERS)}): {keys}.")
    state = {str(key): value for key, value in content.items()}
    for prefix in WRAPPERS:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


Rename = Callable[["nn.Module", Mapping[str, Tensor]], Mapping[str, Tensor]]
"""(module, state dict) -> the same under the module's own names."""


def load_into(module: nn.Module, source: Path | str | Sequence[Path] | Mapping[str, Tensor], rename: Rename | None = None) -> None:
    """Load a file, all its shards, or a state dict strictly into `module`, in the module's own dtype; it may still be on meta.

    The layout (official, diffusers, CompVis) is recognised by its keys; others are the business of `rename`. Raises CheckpointError
    that names what is missing, unexpected or of another shape, the first five and how many, with the likely cause; the module is then
    unchanged.
    """
    files = [] if isinstance(source, Mapping) else [Path(source)] if isinstance(source, (Path, str)) else source
    state = {key: value for file in files for key, value in read(file).items()} if files else source
    state, module_state = rename(module, state) if rename else state, module.state_dict()
    made_of, tables = sources(state), {}
    if any(len(parts) > 1 for parts in made_of.values()):  # this layout leaves out what can be computed
        tables = {key: value for key, value in getattr(module, "tables", dict)().items() if key not in made_of}
    shapes = {key: _shape(state, parts) for key, parts in made_of.items()} | {key: tuple(value.shape) for key, value in tables.items()}
    faults = [f"{key} is missing" for key in module_state if key not in shapes]
    faults += [f"{key} is unexpected" for key in shapes if key not in module_state]
    faults += [
        f"{key} is {shapes[key]}, not {tuple(value.shape)}"
        for key, value in module_state.items()
        if key in shapes and shapes[key] not in (tuple(value.shape), (*value.shape, 1, 1))
    ]
    if faults:
        name = " with ".join(map(str, files)) or "This state dict"
        cause = likely_cause(shapes, {key: tuple(value.shape) for key, value in module_state.items()})
        count = f"{len(faults)} fault{'s' * (len(faults) > 1)} in all"
        raise CheckpointError(f"{name} does not fit this {type(module).__name__}{cause}: {'; '.join(faults[:5])} ({count}).")
    with torch.no_grad():
        values = {}
        for key, target in module_state.items():
            parts = [tables[key]] if key in tables else [state[part] for part in made_of[key]]
            parts = [part.to(target.dtype) for part in parts]  # joined after, and only if several: a copy in float32 costs memory
            values[key] = (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(target.shape)
        module.load_state_dict(values, assign=any(value.is_meta for value in module_state.values()))


def _shape(state: Mapping[str, Tensor], parts: tuple[str, ...]) -> tuple[int, ...]:
    first = tuple(state[parts[0]].shape)
    return first if len(parts) == 1 else (sum(len(state[part]) for part in parts), *first[1:])
