"""Where weights lie that were not saved as one file: shards, the index that names them, folders of diffusers, transformers and trainers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.catalog.architectures import Architecture
from zoo.catalog.card import PREPARATION, SHARD
from zoo.catalog.weight_choice import is_averaged
from zoo.errors import CheckpointError

ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
"""Of files of weights, the likeliest first."""
BESIDE = re.compile(r"optim|sched|scaler|random_state|rng|training_args|tokenizer|latent_dist|(^|\W)(fp16|bf16|non_ema)\W", re.IGNORECASE)
"""Names of files of a training, and of halves, that lie beside the weights."""
PARTS = re.compile(r"vae|encoder|tokenizer|scheduler|safety|feature|logs?|samples?|wandb", re.IGNORECASE)
"""Folders beside that of the network."""
LARGEST = 4 << 20
"""Bytes of an index or a configuration."""


def weights_in(path: Path) -> list[Path]:
    """The files that hold the weights which a path means: itself, every shard of it, what an index names, what a folder holds.

    Raises CheckpointError where there is none, or one is missing, or nothing tells which of several is meant.
    """
    if path.is_dir():
        return _in_folder(path)
    if path.name.endswith(".index.json"):
        names = _json(path).get("weight_map")
        names = sorted(set(names.values())) if isinstance(names, dict) and all(isinstance(name, str) for name in names.values()) else []
        if not names or any(Path(name).name != name for name in names):
            raise CheckpointError(f"{path} is not an index of shards: name the file with the weights.")
        return _whole([path.with_name(name) for name in names])
    if match := SHARD.fullmatch(path.name):
        return _whole(
            [path.with_name(f"{match[1]}-{number:05}-of-{match[3]}{match[4]}") for number in range(1, min(int(match[3]), 999) + 1)]
        )
    if not path.exists():
        if re.match(r"[a-z]+:/", str(path)):
            raise CheckpointError(
                f"{str(path)[:200]} is an address, and only files are imported: download it first; what has a card is downloaded with "
                "fetch.",
                command="python -m zoo fetch ID",
            )
        hub = "; what a hub has and a card here describes is downloaded with fetch" if re.fullmatch(r"[\w.-]+/[\w.-]+", str(path)) else ""
        raise CheckpointError(f"There is no file {str(path)[:200]}: name the file with the weights{hub}.")
    return [path]


def name_of(path: Path) -> str:
    """What a model is called after the path of its weights, where nobody says: the folder, or the file without what is of its format."""
    name = path.resolve().name if path.is_dir() else path.name.removesuffix(".index.json")
    match = SHARD.fullmatch(name)
    return match[1] if match else name if path.is_dir() else Path(name).stem


def told_beside(file: Path, found: Architecture) -> Architecture:
    """What weights do not tell, read off the config.json of diffusers or transformers beside them where that is of the same width."""
    words = _json(file.with_name("config.json"))
    heads, each = (words.get(word) for word in ("num_attention_heads", "attention_head_dim"))
    width = words.get("hidden_size") or words.get("embed_dim") or (heads * each if type(heads) is type(each) is int else None)
    if width != found.words["hidden_size"]:
        return found
    side = words.get("image_size") or words.get("sample_size")
    told = {"num_heads": heads, "input_size": side}
    told = {word: value for word, value in told.items() if word in found.unknown and type(value) is int}
    return replace(found, words=dict(found.words) | told, unknown=tuple(word for word in found.unknown if word not in told))


def preparation_beside(file: Path) -> list[Path]:
    """The file beside weights that says how a picture is prepared for them, if there is one."""
    return [path for path in [file.with_name(PREPARATION)] if path.is_file()]


def _json(path: Path) -> Mapping[str, Any]:
    """What a file of JSON holds; empty where there is none, or it is no mapping."""
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _whole(shards: list[Path]) -> list[Path]:
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise CheckpointError(
            f"{shards[0].parent} lacks {', '.join(missing[:3])}, {len(missing)} of {len(shards)} shards of these weights: bring them all."
        )
    return shards


def _in_folder(folder: Path) -> list[Path]:
    names = {path.name for path in folder.iterdir()}
    if ".metadata" in names and any(name.endswith(".distcp") for name in names):
        how = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} weights.pt"
        raise CheckpointError(
            f"{folder} is a checkpoint that a distributed training left in pieces: make one file of it first.", command=how
        )
    if "zero_to_fp32.py" in names:
        how = f"python {folder / 'zero_to_fp32.py'} {folder} weights.pt"
        raise CheckpointError(f"{folder} is a checkpoint that DeepSpeed left in pieces: make one file of it first.", command=how)
    here = _sets(folder)
    if not here:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        here = [one for path in inside if not PARTS.search(path.name) for one in _sets(path)]
        here = [one for one in here if is_averaged(one.parent.name)] or here
    if len(here) == 1:
        return weights_in(here[0])
    if not here:
        raise CheckpointError(f"{folder} is a folder without weights (files that end in {', '.join(ENDINGS)}): name the file with them.")
    raise CheckpointError(
        f"{folder} is a folder of {len(here)} files of weights: name one of them, such as "
        f"{' or '.join(str(path.relative_to(folder)) for path in here[-3:])}."
    )


def _sets(folder: Path) -> list[Path]:
    """A file for each set of weights in a folder: the first shard of those that have several, and one of those in several formats."""
    files = [path for path in sorted(folder.iterdir()) if path.suffix in ENDINGS and path.is_file() and not BESIDE.search(path.name)]
    firsts = [path for path in files if not (match := SHARD.fullmatch(path.name)) or int(match[2]) == 1]
    if (folder / "config.json").is_file():  # of diffusers or transformers, which write the same weights in several formats
        return sorted(firsts, key=lambda path: ENDINGS.index(path.suffix))[:1]
    return firsts
