"""Checkpoint file -> state dict -> strict load. Nothing is unpickled with code execution allowed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from zoo.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn


def read(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file into a state dict. Raises CheckpointError where the file is missing, truncated or no weights."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist: fetch the model again, or restore the file from git.") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} ({_size(path)} bytes) is not a whole safetensors file ({error}): restore it, e.g. with git checkout."
        ) from None


def load_into(module: nn.Module, source: Path | str | dict[str, Tensor]) -> None:
    """Load a file or state dict strictly into `module`, in the module's own dtype.

    Raises CheckpointError that names what is missing, unexpected or of another shape: the first five, and how many.
    """
    state = source if isinstance(source, dict) else read(Path(source))
    own = module.state_dict()
    faults = [f"{key} is missing" for key in own if key not in state]
    faults += [f"{key} is unexpected" for key in state if key not in own]
    faults += [
        f"{key} is {tuple(state[key].shape)}, not {tuple(value.shape)}"
        for key, value in own.items()
        if key in state and state[key].shape != value.shape
    ]
    if faults:
        name = "The weights" if isinstance(source, dict) else str(source)
        raise CheckpointError(f"{name} does not fit this {type(module).__name__}: {'; '.join(faults[:5])} ({len(faults)} faults in all).")
    with torch.no_grad():
        module.load_state_dict(
            {key: value.to(own[key].dtype) for key, value in state.items()}, assign=own and next(iter(own.values())).is_meta
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
