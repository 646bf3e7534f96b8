"""Numbers that the authors' own code computed (DiT ed81ce2, U-ViT ce55170, Latte b27c24a), and the small models they belong to."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from zoo import backbones
from zoo.catalog.checkpoint import load_into
from zoo.sampling import Schedule

FOLDER = Path(__file__).parent / "golden"
CASES: dict[str, dict] = json.loads((FOLDER / "cases.json").read_text())
MANIFESTS: dict[str, dict] = json.loads(gzip.decompress((FOLDER / "manifests.json.gz").read_bytes()))
"""Every key and shape of the published checkpoints, and their configuration in our words."""


def numbers(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def model(case: dict) -> nn.Module:
    module = backbones.build(case["family"], case["arch"])
    load_into(module, FOLDER / f"{case['model']}.safetensors")
    return module.eval()


def schedule(case: dict) -> Schedule:
    return Schedule.from_card(case["schedule"] | {"kind": case["schedule"]["kind"].replace("_", "-")})


def away(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, as a share of the largest magnitude of theirs."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()
