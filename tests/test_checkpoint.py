"""Weights are loaded strictly, onto modules that hold none yet, and nothing is ever unpickled with code execution allowed."""

from __future__ import annotations

import argparse
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from golden_cases import CASES, FOLDER, MANIFESTS, model, numbers
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo import backbones
from zoo.catalog import checkpoint
from zoo.catalog.card import cards
from zoo.errors import CheckpointError
from zoo.networks import autoencoders

DIT = {"input_size": 32, "patch_size": 2, "in_channels": 4, "hidden_size": 48, "depth": 2, "num_heads": 4, "num_classes": 10}
UVIT = {key: value for key, value in DIT.items() if key != "num_classes"}


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


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", ["bare", "with weights"])
def test_a_hostile_pickle_is_refused_unexecuted(says, module: nn.Module, tmp_path: Path, legacy: bool, wrap: str) -> None:
    bomb, path = Bomb(tmp_path / "executed"), tmp_path / "m.pt"
    torch.save(bomb if wrap == "bare" else {"ema": module.state_dict(), "x": bomb}, path, _use_new_zipfile_serialization=not legacy)
    with says(CheckpointError, "m.pt", "asks for ", "not opened"):
        checkpoint.load_into(module, path)
    assert not (tmp_path / "executed").exists()


def test_a_pickle_in_disguise_is_refused_unexecuted(says, module: nn.Module, file: Path, tmp_path: Path) -> None:
    file.write_bytes(pickle.dumps(Bomb(tmp_path / "executed"), protocol=2))
    with says(CheckpointError, "m.safetensors", "not be trusted"):
        checkpoint.load_into(module, file)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page"),
        (b"\n<html>login</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"hello world, this is text", "neither a safetensors file nor a PyTorch checkpoint"),
        ("safetensors", "is not a whole safetensors file"),
        ("zip", "damaged or truncated PyTorch checkpoint"),
        ("legacy", "damaged or truncated PyTorch checkpoint"),
    ],
    ids=str,
)
def test_a_broken_file_says_what_it_is(says, module: nn.Module, tmp_path: Path, content: bytes | str, words: str) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        if content == "safetensors":
            save_file(module.state_dict(), path)
        else:
            torch.save(module.state_dict(), path, _use_new_zipfile_serialization=content == "zip")
        path.write_bytes(path.read_bytes()[:-100])
    with says(CheckpointError, f"weights.pt ({path.stat().st_size} bytes)", words):
        checkpoint.load_into(module, path)


def test_a_missing_file_is_named(says, module: nn.Module, tmp_path: Path) -> None:
    with says(CheckpointError, "nowhere.safetensors", "it does not exist"):
        checkpoint.load_into(module, tmp_path / "nowhere.safetensors")


@pytest.fixture
def configuration(monkeypatch: pytest.MonkeyPatch) -> object:
    """An object of a package that is not installed where the checkpoint is read."""
    package = types.ModuleType("ml_collections.config_dict")
    package.ConfigDict = type("ConfigDict", (), {"__module__": "ml_collections.config_dict"})
    for name in ("ml_collections", "ml_collections.config_dict"):
        monkeypatch.setitem(sys.modules, name, package)
    made = package.ConfigDict()
    made.fields = {"lr": 1e-4}
    return made


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("holder", ["", "ema", "nnet_ema", "model", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_training_checkpoints_give_their_averaged_weights(
    module: nn.Module, tmp_path: Path, configuration: object, monkeypatch: pytest.MonkeyPatch, legacy: bool, holder: str, prefix: str
) -> None:
    wanted = module.state_dict()
    kept: dict = {prefix + key: value for key, value in wanted.items()}
    if holder:
        other = {"model": {key: value + 1 for key, value in kept.items()}} if "ema" in holder else {}
        kept = other | {"args": argparse.Namespace(lr=1), "config": configuration, holder: kept}
        kept["opt"] = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    torch.save(kept, tmp_path / "t.pt", _use_new_zipfile_serialization=not legacy)
    for name in ("ml_collections", "ml_collections.config_dict"):
        monkeypatch.delitem(sys.modules, name)
    read = checkpoint.read(tmp_path / "t.pt")
    assert list(read) == list(wanted)
    assert all(torch.equal(read[key], value) for key, value in wanted.items())


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, {"ema": {"epoch": 3}}], ids=str)
def test_a_checkpoint_without_weights_says_what_it_holds(says, module: nn.Module, tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "t.pt")
    with says(CheckpointError, "t.pt", "holds no weights", "nnet_ema"):
        checkpoint.load_into(module, tmp_path / "t.pt")


@torch.no_grad()
def test_diffusers_layout_of_dit_computes_what_the_official_code_does() -> None:
    theirs, ours = numbers("diffusers_dit"), model(CASES["diffusers_dit"])
    torch.testing.assert_close(ours(theirs["x"], theirs["t"], theirs["y"]), theirs["official_out"], atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("renamed", [False, True], ids=["now", "before 0.18"])
def test_an_autoencoder_of_diffusers_is_loaded_under_both_namings(renamed: bool) -> None:
    torch.manual_seed(0)
    wanted = autoencoders.build(CASES["uvit_vae"]["vae"])
    state = wanted.state_dict()
    if renamed:
        for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
            state = {key.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): value for key, value in state.items()}
        assert any("proj_attn" in key for key in state)
    autoencoder = autoencoders.build(CASES["uvit_vae"]["vae"])
    checkpoint.load_into(autoencoder, state)
    z = torch.randn(1, 4, 4, 4)
    assert torch.equal(autoencoder.decode(z).sample, wanted.decode(z).sample)


@torch.no_grad()
def test_the_compvis_autoencoder_of_u_vit_computes_what_its_code_does() -> None:
    theirs, case = numbers("uvit_vae"), CASES["uvit_vae"]
    with torch.device("meta"):
        autoencoder = autoencoders.build(case["vae"])
    checkpoint.load_into(autoencoder, FOLDER / "model_uvit_vae.safetensors")
    torch.testing.assert_close(autoencoder.encode(theirs["x"]).latent_dist.parameters, theirs["moments"], atol=1e-5, rtol=0)
    for scale, name in ((case["scale"], "decoded"), (0.18215, "decoded_018215")):
        ours = autoencoder.decode(theirs["z"] / scale).sample
        torch.testing.assert_close(ours, theirs[name], atol=1e-5, rtol=0)


def empty(shape: list[int]) -> Tensor:
    return torch.empty(shape, device="meta")


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_published_checkpoint_fits_by_name_and_shape(name: str) -> None:
    manifest = MANIFESTS[name]
    family = "latte-t2v" if name == "diffusers-latte-1" else next(family for family in ("u-vit", "latte", "dit") if family in name)
    other = name.removeprefix("diffusers-")
    words = manifest["words"] or (cards()[other].arch if family == "latte-t2v" else MANIFESTS[other]["words"])
    with torch.device("meta"):
        module = backbones.build(family, words)
    state = {key: empty(shape) for key, shape in manifest["keys"].items()}
    assert sum(value.numel() for value in state.values()) == manifest["elements"]
    checkpoint.load_into(module, state)
    some = next(iter(state))
    with pytest.raises(CheckpointError, match=r"[12] faults? in all"):
        checkpoint.load_into(module, {key: value for key, value in state.items() if key != some})


def state_of(family: str, **words: object) -> dict[str, Tensor]:
    with torch.device("meta"):
        return backbones.build(family, words).state_dict()


@pytest.mark.parametrize(
    ("family", "found", "cause"),
    [
        ("dit", DIT | {"input_size": 64}, "this is the 512 px checkpoint"),
        ("dit", DIT | {"hidden_size": 96}, "this is another size, of width 96 instead of 48"),
        ("dit", DIT | {"depth": 4}, "this is another size, of 4 blocks instead of 2"),
        ("dit", DIT | {"patch_size": 4}, "this is another size, of patch 4 instead of 2"),
        ("dit", DIT | {"in_channels": 3}, "this one takes 3 channels instead of 4"),
        ("dit", DIT | {"num_classes": 1000}, "this one has 1001 rows of labels instead of 11"),
        ("dit", DIT | {"learn_sigma": False}, "this one was trained without learned sigma"),
        ("u-vit", UVIT | {"context_dim": 8, "num_context_tokens": 7}, "this is a text-to-image U-ViT"),
        ("u-vit", UVIT | {"num_classes": 10}, "this is a class-conditional U-ViT"),
        ("u-vit", UVIT, "this is a U-ViT"),
    ],
)
def test_a_wrong_checkpoint_is_named_for_what_it_is(says, family: str, found: dict, cause: str) -> None:
    with torch.device("meta"):
        wanted = backbones.build("dit", DIT)
    with says(CheckpointError, f"does not fit this DiT: {cause}: "):
        checkpoint.load_into(wanted, state_of(family, **found))


def test_a_latte_or_a_dit_in_the_place_of_another_is_named(says) -> None:
    with torch.device("meta"):
        uvit, dit = backbones.build("u-vit", UVIT), backbones.build("dit", DIT)
    with says(CheckpointError, "this is a DiT"):
        checkpoint.load_into(uvit, state_of("dit", **DIT))
    with says(CheckpointError, "this is a Latte, the video model"):
        checkpoint.load_into(dit, state_of("dit", **DIT) | {"temp_embed": empty([1, 16, 48])})
