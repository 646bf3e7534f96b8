"""Weights lie in shards, in folders of diffusers, transformers and trainers, or are none at all: each is read, or told what it is."""

from __future__ import annotations

import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from test_own_models import SIZES, weights

from zoo.__main__ import main
from zoo.catalog.own_cards import own_cards
from zoo.engine.hub import Hub

RAW = weights("dit", SIZES | {"num_classes": 10, "learn_sigma": True})
HALF = len(RAW) // 2
CONFIG = {"num_attention_heads": 4, "attention_head_dim": 12, "sample_size": 8}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATCHWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cards"


def shards(folder: Path) -> Path:
    keys = list(RAW)
    for number, part in enumerate((keys[:HALF], keys[HALF:]), 1):
        save_file({key: RAW[key] for key in part}, folder / f"model-{number:05}-of-00002.safetensors")
    index = {key: f"model-{1 if key in keys[:HALF] else 2:05}-of-00002.safetensors" for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


def accelerate(folder: Path) -> Path:
    """As accelerate's save_state leaves a training, with averaged weights in a folder of their own."""
    for name, shift in (("transformer", 1), ("transformer_ema", 0)):
        (folder / "checkpoint-500" / name).mkdir(parents=True)
        save_file({key: value + shift for key, value in RAW.items()}, folder / "checkpoint-500" / name / "model.safetensors")
    for name in ("optimizer.bin", "scheduler.bin", "random_states_0.pkl"):
        torch.save({"state": {}}, folder / "checkpoint-500" / name)
    return folder / "checkpoint-500"


def one_run(folder: Path) -> Path:
    (folder / "000-DiT" / "checkpoints").mkdir(parents=True)
    torch.save({"ema": RAW, "opt": {}}, folder / "000-DiT" / "checkpoints" / "0050000.pt")
    return folder / "000-DiT"


def formats(folder: Path) -> Path:
    """As diffusers saves a model with a variant and for older versions."""
    save_file(RAW, folder / "model.safetensors")
    torch.save(RAW, folder / "model.bin")
    save_file({key: value.half() for key, value in RAW.items()}, folder / "model.fp16.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


TAKEN: dict[str, Callable[[Path], Path]] = {
    "the first shard": lambda folder: shards(folder) / "model-00001-of-00002.safetensors",
    "another shard": lambda folder: shards(folder) / "model-00002-of-00002.safetensors",
    "the index": lambda folder: shards(folder) / "model.safetensors.index.json",
    "a folder of shards": shards,
    "a folder of accelerate": accelerate,
    "the folder of a run": one_run,
    "a folder of several formats": formats,
}


@pytest.mark.parametrize("kind", TAKEN)
def test_weights_are_taken_from_where_trainers_put_them(kind: str, tmp_path: Path, own_folder: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["import", str(TAKEN[kind](tmp_path / "mine")), "--heads", "4", "--name", "taken"]) == 0
    hub = Hub(device="cpu")
    state = hub.load(hub.card("taken")).module.state_dict()
    assert all(torch.equal(value, RAW[key]) for key, value in state.items())
    assert list(own_cards(own_folder)) == ["taken"]


def test_a_configuration_beside_the_weights_tells_what_they_do_not(tmp_path: Path, own_folder: Path) -> None:
    words = {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 96,
        "image_size": 32,
        "patch_size": 8,
    }
    transformers.ViTForImageClassification(transformers.ViTConfig(**words, num_labels=5)).save_pretrained(tmp_path / "seer")
    mean = {"do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.5]}
    (tmp_path / "seer" / "preprocessor_config.json").write_text(json.dumps(mean | {"size": {"height": 32, "width": 32}}))
    assert main(["import", str(tmp_path / "seer")]) == 0
    card = own_cards(own_folder)["seer"]
    assert (card.arch["num_heads"], card.weights[0].also) == (3, ("preprocessor_config.json",))
    picture = next(Path(__file__).parent.parent.joinpath("zoo/catalog/data").glob("example-star.png"))
    assert main(["look", str(picture), "--model", "seer", "--out", str(tmp_path / "inside")]) == 0


def test_a_configuration_of_another_model_tells_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (formats(tmp_path) / "config.json").write_text(json.dumps(CONFIG | {"attention_head_dim": 16}))
    assert main(["import", str(tmp_path / "model.safetensors")]) == 1
    assert "--heads" in capsys.readouterr().err


def several(folder: Path) -> Path:
    one_run(folder)
    torch.save({"ema": RAW}, folder / "000-DiT" / "checkpoints" / "0100000.pt")
    return folder / "000-DiT"


def missing(folder: Path) -> Path:
    (shards(folder) / "model-00002-of-00002.safetensors").unlink()
    return folder / "model-00001-of-00002.safetensors"


def written(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        return folder / name.partition("/")[0]

    return write


def exported(folder: Path) -> Path:
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), folder / "m.pt2")
    return folder / "m.pt2"


def packed(folder: Path) -> Path:
    (folder / "a.pt").write_bytes(b"x" * 600)
    with tarfile.open(folder / "m.tar", "w") as archive:
        archive.add(folder / "a.pt", "a.pt")
    return folder / "m.tar"


def arrays(folder: Path) -> Path:
    np.savez(folder / "m.npz", a=np.ones(3))
    return folder / "m.npz"


def keras(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.writestr("model.weights.h5", "x")
    return folder / "m.keras"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "several in a folder": (several, "2 files of weights: name one of them, such as checkpoints/0050000.pt"),
    "a missing shard": (missing, "lacks model-00002-of-00002.safetensors, 1 of 2 shards"),
    "an index of elsewhere": (written("m.index.json", b'{"weight_map": {"a": "../x.safetensors"}}'), "is not an index of shards"),
    "an empty folder": (lambda folder: folder, "is a folder without weights"),
    "pieces of a distributed training": (written("dcp/.metadata", b"x"), "is a folder without weights"),
    "pieces of DeepSpeed": (written("ds/zero_to_fp32.py", b"x"), "DeepSpeed left in pieces"),
    "no file": (lambda folder: folder / "nowhere.pt", "There is no file"),
    "an address": (lambda _: Path("https://huggingface.co/a/b/resolve/main/x.bin"), "is an address, and only files are imported"),
    "a repository": (lambda _: Path("facebook/DiT-XL-2-256"), "downloaded with fetch"),
    "GGUF": (written("m.gguf", b"GGUF\3" + bytes(90)), "a GGUF file"),
    "ONNX": (written("m.onnx", b"\x08\x08\x12\x07pytorch"), "an ONNX program"),
    "HDF5": (written("m.h5", b"\x89HDF\r\n\x1a\n"), "an HDF5 file"),
    "TensorFlow": (written("model.ckpt-9.data-00000-of-00001", b"\x3f\x80" * 40), "a file of TensorFlow"),
    "JAX": (written("flax_model.msgpack", b"\x82\xa6params"), "a file of JAX"),
    "an archive of NumPy": (arrays, "an archive of NumPy arrays"),
    "an array": (written("m.npy", b"\x93NUMPY\1"), "an array of NumPy"),
    "Keras": (keras, "a model of Keras"),
    "an exported program": (exported, "an exported program"),
    "a tar archive": (packed, "a packed archive: unpack it"),
    "a zipped one": (written("m.pt.gz", b"\x1f\x8b\x08"), "a packed archive"),
    "an error in JSON": (written("m.pt", b'{"error": "Invalid username"}'), 'text, which begins with \'{"error"'),
    "an error in XML": (written("m.pt", b"\xef\xbb\xbf<?xml version='1.0'?><Error/>"), "is a web page"),
    "a readme": (written("README.md", b"# A model\n"), "text, which begins with '# A model'"),
    "a pointer": (written("m.pt", b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "a download that stopped": (written("m.pt.part", bytes(200)), "did not finish"),
    "another pickle": (written("m.pkl", pickle.dumps({"a": [1.0]})), "none of torch.save"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_weights_is_told_what_it_is(kind: str, tmp_path: Path, own_folder: Path, capsys: pytest.CaptureFixture) -> None:
    make, words = REFUSED[kind]
    (tmp_path / "mine").mkdir()
    assert main(["import", str(make(tmp_path / "mine"))]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1
    assert not list(own_folder.glob("*"))
