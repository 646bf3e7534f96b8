"""Weights are loaded strictly, onto modules that hold none yet, and nothing is ever unpickled with code execution allowed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from zoo import checkpoint
from zoo.errors import CheckpointError


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


@pytest.fixture
def file(module: nn.Module, tmp_path: Path) -> Path:
    save_file(module.state_dict(), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_a_module_without_memory_gets_the_numbers_of_the_file(module: nn.Module, file: Path) -> None:
    with torch.device("meta"):
        empty = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)).to(torch.bfloat16)
    checkpoint.load_into(empty, file)
    for name, value in empty.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, module.state_dict()[name].to(torch.bfloat16))


def test_what_does_not_fit_is_named_and_counted_and_changes_nothing(says, module: nn.Module) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = {"0.weight": torch.zeros(4, 5), "0.bias": torch.zeros(4), "1.weight": torch.zeros(4), "extra": torch.zeros(1)}
    with says(CheckpointError, "1.bias is missing", "extra is unexpected", "0.weight is (4, 5), not (4, 3)", "3 faults"):
        checkpoint.load_into(module, state)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_of_many_faults_five_are_named(module: nn.Module) -> None:
    with pytest.raises(CheckpointError, match="24 faults in all") as caught:
        checkpoint.load_into(module, {f"key{k}": torch.zeros(1) for k in range(20)})
    assert str(caught.value).count(" is missing") + str(caught.value).count(" is unexpected") == 5


class Bomb:
    """A pickle that would leave a file behind if it were ever executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickle_in_disguise_is_refused_unexecuted(says, module: nn.Module, file: Path, tmp_path: Path) -> None:
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with says(CheckpointError, "m.safetensors", "safetensors file"):
        checkpoint.load_into(module, file)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", None], ids=["empty", "html", "truncated"])
def test_a_broken_file_says_what_it_is(says, module: nn.Module, file: Path, content: bytes | None) -> None:
    file.write_bytes(file.read_bytes()[:-8] if content is None else content)
    with says(CheckpointError, "m.safetensors", f"{file.stat().st_size} bytes"):
        checkpoint.load_into(module, file)


def test_a_missing_file_is_named(says, module: nn.Module, tmp_path: Path) -> None:
    with says(CheckpointError, "nowhere.safetensors", "does not exist"):
        checkpoint.load_into(module, tmp_path / "nowhere.safetensors")
