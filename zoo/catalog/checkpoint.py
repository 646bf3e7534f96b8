"""Checkpoint file -> state dict -> strict load. Nothing is unpickled with code execution allowed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from zoo.catalog.key_maps import sources
from zoo.catalog.misfits import likely_cause
from zoo.catalog.other_formats import HEAD, described, is_page
from zoo.catalog.pickles import unpickle
from zoo.catalog.weight_choice import Candidate, Taken, candidates, named
from zoo.errors import CheckpointError

if TYPE_CHECKING:
    from torch import nn

TENSORS = 20_000
"""In one file; the largest model here has about 1,200."""
NO_WEIGHTS = (torch.int8, torch.uint8, torch.complex64, torch.complex128)
"""Types of numbers of matrices that are not read as weights; whole numbers of more bits are tables."""
QUANTIZED = re.compile(r"\.(SCB|absmax|qweight|qzeros|_packed_params(\._packed_params)?|weight_scale|quant_map|zero_point)$")
"""Ends of keys that libraries of quantisation add."""
HEADER = 4 << 20
"""Bytes that a safetensors file may take to name its tensors."""


def contents(path: Path) -> Any:
    """What a file holds, mapped from it rather than copied where its format allows: safetensors, or a pickle of torch.save.

    Raises CheckpointError where the file is missing, damaged, something else, a pickle that would run code, or larger inside than outside.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else error.strerror
        raise CheckpointError(f"{path} cannot be read ({reason}): fetch the model again, or restore the file.") from None
    size = path.stat().st_size
    label = f"{path} ({size} bytes)"
    if not head:
        raise CheckpointError(f"{label} is empty: fetch the model again.")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{label} is a git-lfs pointer, not the weights: run git lfs pull, or fetch the model again.")
    if is_page(head):
        raise CheckpointError(f"{label} is a web page, not weights: the download was answered by an error or login page, fetch it again.")
    if head[8:9] == b"{":
        return _safetensors(path, label)
    if head[:2] != b"PK" and head[:1] != b"\x80":
        raise CheckpointError(f"{label} is neither a safetensors file nor a PyTorch checkpoint{described(head, path.name)}.")
    return unpickle(path, label)


def _safetensors(path: Path, label: str) -> dict[str, Tensor]:
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if HEADER < header < path.stat().st_size:
        raise CheckpointError(f"{label} takes {header:,} bytes to name its tensors, more than any model here: cut it down.")
    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
            if len(keys) > TENSORS:
                raise CheckpointError(f"{label} holds {len(keys):,} tensors, more than the {TENSORS:,} of any model here: cut it down.")
            return {key: file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        reason = "".join(filter(str.isprintable, str(error).split("\n")[0][:120]))
        raise CheckpointError(f"{label} is not a whole safetensors file ({reason}): fetch the model again, or restore the file.") from None


def every_candidate(paths: Sequence[Path]) -> list[Candidate]:
    """What a file, or its shards, may hold the weights in, the likeliest first. Raises CheckpointError."""
    parts = [contents(path) for path in paths]
    label = " with ".join(f"{path} ({path.stat().st_size} bytes)" for path in paths)
    content = parts[0] if len(parts) == 1 else {key: value for part in parts if isinstance(part, Mapping) for key, value in part.items()}
    every, room = candidates(content, label), 4 * sum(path.stat().st_size for path in paths)
    judged = [(one, _unreadable(one.state, room)) for one in every]
    readable, bad = [one for one, reason in judged if not reason], [(one, reason) for one, reason in judged if reason]
    if bad and not any(3 * len(one.state) > len(bad[0][0].state) for one in readable):
        raise CheckpointError(f"{label} {bad[0][1]}.")
    passed = next((f"{one.name} {reason.partition(':')[0]}" for one, reason in bad if one.averaged), "")
    return [one if one.averaged or not passed else replace(one, remark=passed) for one in readable]


def _unreadable(state: Mapping[str, Tensor], room: int) -> str:
    """Why tensors cannot be the weights of a model, though their names may be, and what to do; room: bytes that they may take."""
    values = state.values()
    if any(value.is_meta for value in values):
        return "holds tensors without numbers, on the device meta: save them after they were loaded"
    if 2 * sum(not value.numel() for value in values) > len(state):
        return "holds names without numbers, as one part of a sharded training does: gather the weights into one file first"
    if any(value.layout != torch.strided or value.is_quantized for value in values):
        return "holds sparse or quantized tensors, which no model here has: save them dense"
    if any(value.ndim > 1 and value.dtype in NO_WEIGHTS for value in values) or any(QUANTIZED.search(key) for key in state):
        return "holds quantized or complex numbers, which no model here computes with: save the weights in float16, bfloat16 or float32"
    if sum(value.numel() * value.element_size() for value in values) > room:
        return "holds views that repeat a few numbers many times: save contiguous tensors"
    return ""


def read(path: Path, name: str = "") -> dict[str, Tensor]:
    """The weights that a file most likely means: of a training's, the averaged ones; name: those that somebody chose instead.

    Raises CheckpointError as `contents` does, and where it holds no weights.
    """
    every = every_candidate([path])
    return dict((named(every, name, str(path)) if name else every)[0].state)


Rename = Callable[["nn.Module", Mapping[str, Tensor]], Mapping[str, Tensor]]
"""(module, state dict) -> the same under the module's own names."""


def load_into(
    module: nn.Module, source: Path | str | Sequence[Path] | Mapping[str, Tensor], rename: Rename | None = None, name: str = ""
) -> Taken:
    """Load a file, all its shards, or a state dict strictly into `module`, in the module's own dtype; it may still be on meta.

    The layout (official, diffusers, CompVis) is recognised by its keys; others are the business of `rename`. Of several sets of weights
    the first that fits is taken, averaged ones before others; name: the one that somebody chose. Returns which was taken. Raises
    CheckpointError that names what is missing, unexpected or of another shape, the first five and how many, with the likely cause; the
    module is then unchanged.
    """
    files = [] if isinstance(source, Mapping) else [Path(source)] if isinstance(source, (Path, str)) else source
    label = " with ".join(map(str, files)) or "This state dict"
    every = every_candidate(files) if files else candidates(source, label)
    _same_meaning(module, every[0].trained_as, label)
    module_state, nearest = module.state_dict(), None
    some = [one for one in every if len(one.state) * 3 > len(module_state)] or every[:1]
    for one in named(some, name, label) if name else some:
        fit = Fit(module, module_state, rename(module, one.state) if rename else one.state)
        if not fit.faults:
            fit.load(module, module_state)
            keys = {key: value.shape for key, value in one.state.items()}
            alike = (other for other in some if {key: value.shape for key, value in other.state.items()} == keys)
            return Taken(one.name, tuple(dict.fromkeys(other.name for other in alike if other.name != one.name)), one.remark)
        if nearest is None or len(fit.shapes.keys() & module_state.keys()) > len(nearest.shapes.keys() & module_state.keys()):
            nearest = fit
    raise nearest.error(label, type(module).__name__, module_state)


def _same_meaning(module: nn.Module, trained_as: str, label: str) -> None:
    """Raise CheckpointError where a DiT and a SiT would be taken for each other: every key fits, and the answers mean other things."""
    own = getattr(module, "trained_as", "")
    if own and trained_as and own != trained_as:
        raise CheckpointError(
            f"{label} does not fit this {type(module).__name__}: it was trained as a {trained_as} by the settings beside its weights. The "
            f"keys of a DiT and a SiT are the same, but one answers the noise and the other a velocity: load it as a {trained_as}."
        )


class Fit:
    """How a state dict lies on a module: what each of its tensors is made of, and what is at fault."""

    def __init__(self, module: nn.Module, module_state: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        self.state, self.made_of, self.tables = state, _without(sources(state), getattr(module, "beside", ())), {}
        if any(len(parts) > 1 for parts in self.made_of.values()):  # this layout leaves out what can be computed
            self.tables = {key: value for key, value in getattr(module, "tables", dict)().items() if key not in self.made_of}
        self.shapes = {key: _shape(state, parts) for key, parts in self.made_of.items()}
        self.shapes |= {key: tuple(value.shape) for key, value in self.tables.items()}
        self.faults = [f"{key} is missing" for key in module_state if key not in self.shapes]
        self.faults += [f"{key} is unexpected" for key in self.shapes if key not in module_state]
        self.faults += [
            f"{key} is {self.shapes[key]}, not {tuple(value.shape)}"
            for key, value in module_state.items()
            if key in self.shapes and self.shapes[key] not in (tuple(value.shape), (*value.shape, 1, 1))
        ]

    def error(self, label: str, kind: str, module_state: Mapping[str, Tensor]) -> CheckpointError:
        """What is at fault, in a sentence."""
        cause = likely_cause(self.shapes, {key: tuple(value.shape) for key, value in module_state.items()})
        faults, count = "; ".join(fault[:160] for fault in self.faults[:5]), len(self.faults)
        what = f"{faults} ({count} fault{'s' * (count > 1)} in all)."
        return CheckpointError(f"{label} does not fit this {kind}: {f'{cause}: ' if cause else ''}{what}")

    @torch.no_grad()
    def load(self, module: nn.Module, module_state: Mapping[str, Tensor]) -> None:
        """Give the module its weights."""
        values = {}
        for key, target in module_state.items():
            parts = [self.tables[key]] if key in self.tables else [self.state[part] for part in self.made_of[key]]
            parts = [part.to(target.dtype) for part in parts]  # joined after, and only if several: a copy in float32 costs memory
            values[key] = (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(target.shape)
        module.load_state_dict(values, assign=any(value.is_meta for value in module_state.values()))


def _without(made_of: dict[str, tuple[str, ...]], beside: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Leave out what a family's files hold for its training alone, by the beginnings of the keys."""
    return {key: parts for key, parts in made_of.items() if not key.startswith(beside)}


def _shape(state: Mapping[str, Tensor], parts: tuple[str, ...]) -> tuple[int, ...]:
    first = tuple(state[parts[0]].shape)
    return first if len(parts) == 1 else (sum(len(state[part]) for part in parts), *first[1:])
