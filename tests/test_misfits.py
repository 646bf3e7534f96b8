"""A network that is none of ours, or ours with parts that no family here has, is told what it is; so is one whose pictures are none."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
import transformers
from test_own_models import SIZES, weights
from test_vision_files import authors, module_of
from torch import Tensor

from zoo import backbones
from zoo.__main__ import main
from zoo.catalog import checkpoint
from zoo.catalog.own_cards import own_cards
from zoo.errors import CheckpointError

DIT = SIZES | {"num_classes": 10, "learn_sigma": True}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATCHWORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cards"


def with_keys(*keys: str) -> dict[str, Tensor]:
    return weights("dit", DIT) | dict.fromkeys(keys, torch.zeros(4, 4))


def with_names(**names: str) -> dict[str, Tensor]:
    return {key.replace(*names["old_new"].split(" ")): value for key, value in weights("dit", DIT).items()}


RELATIVES = {
    "a LoRA in place": (
        with_names(old_new="attn.qkv. attn.qkv.base_layer.") | with_keys("blocks.0.attn.qkv.lora_A.default.weight"),
        "merge it",
    ),
    "DINOv2 giant": (
        {key.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): value for key, value in authors("vit", module_of("vit")).items()},
        "SwiGLU",
    ),
    "queries normalised": (with_keys("blocks.0.attn.q_norm.weight"), "normalises its queries"),
    "a mean of patches": (authors("vit", module_of("vit")) | {"fc_norm.weight": torch.zeros(48)}, "averages its patches"),
    "BEiT": (authors("vit", module_of("vit")) | {"blocks.0.gamma_1": torch.zeros(48)}, "a BEiT"),
}


@pytest.mark.parametrize("kind", RELATIVES)
def test_a_relative_of_a_family_is_told_what_it_has_besides(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    state, words = RELATIVES[kind]
    torch.save({"ema": state}, tmp_path / "x.pt")
    assert main(["import", str(tmp_path / "x.pt"), "--heads", "4"]) == 1
    assert words in capsys.readouterr().err


FOREIGN = {
    "a ResNet": "layer1.0.conv1.weight",
    "a U-Net": "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight",
    "a language model": "transformer.h.0.attn.c_attn.weight",
    "a PixArt": "adaln_single.linear.weight",
    "a multimodal DiT": "transformer_blocks.0.attn.add_q_proj.weight",
    "a FLUX": "single_transformer_blocks.0.attn.to_q.weight",
    "a LoRA": "lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",
    "textual inversion": "<cat>",
    "a ControlNet": "controlnet_cond_embedding.conv_in.weight",
    "a SigLIP": "vision_model.embeddings.patch_embedding.bias",
    "its first key is some.thing": "some.thing",
}


@pytest.mark.parametrize("words", FOREIGN)
def test_a_foreign_network_has_no_blocks_of_ours(words: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({FOREIGN[words]: torch.zeros(4, 4)}, tmp_path / "x.pt")
    assert main(["import", str(tmp_path / "x.pt")]) == 1
    said = capsys.readouterr().err
    assert "no blocks of ours: " in said
    assert words in said


def test_what_a_card_describes_is_sent_to_it(tmp_path: Path, capsys: pytest.CaptureFixture, says) -> None:
    torch.save({"first_stage_model.decoder.conv_in.weight": torch.zeros(4, 4), "betas": torch.zeros(3)}, tmp_path / "x.ckpt")
    assert main(["import", str(tmp_path / "x.ckpt")]) == 1
    assert "this is an autoencoder: where a model here has such a card, name its id before the file" in capsys.readouterr().err
    with says(CheckpointError, "an autoencoder of tokens, a VQGAN"):
        checkpoint.load_into(backbones.build("dit", DIT), {"quantize.embedding.weight": torch.zeros(4, 4)})


@pytest.mark.parametrize("settings", [argparse.Namespace, dict], ids=["Namespace", "dictionary"])
def test_a_sit_whose_keys_are_those_of_a_dit_is_told_by_its_settings(settings: type, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    args = {"model": "SiT-S/2", "path_type": "Linear", "prediction": "velocity", "lr": 1e-4}
    torch.save({"ema": weights("dit", DIT), "args": settings(**args)}, tmp_path / "sit.pt")
    assert main(["import", str(tmp_path / "sit.pt"), "--heads", "4", "--like", "tiny-dit"]) == 1
    assert "no model 'tiny-dit' of the family sit" in capsys.readouterr().err
    args = {"model": "DiT-S/2", "lr": 1e-4}
    torch.save({"ema": weights("dit", DIT), "args": settings(**args)}, tmp_path / "dit.pt")
    assert main(["import", str(tmp_path / "dit.pt"), "--heads", "4"]) == 0


def test_pictures_have_three_channels(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save(authors("vit", module_of("vit", in_channels=6)), tmp_path / "six.pt")
    torch.save(weights("dit", DIT | {"in_channels": 1}), tmp_path / "grey.pt")
    for name, channels in (("six.pt", 6), ("grey.pt", 1)):
        assert main(["import", str(tmp_path / name), "--heads", "4"]) == 1
        assert f"takes {channels} channels, but pictures have 3" in capsys.readouterr().err


def test_the_image_tower_of_a_whole_clip_is_taken_whatever_its_text_tower_is(tmp_path: Path, own_folder: Path) -> None:
    tower = {"num_hidden_layers": 2, "num_attention_heads": 4, "bos_token_id": 0, "eos_token_id": 1}
    text = tower | {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 60}
    sight = tower | {"hidden_size": 48, "intermediate_size": 96, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(vision_config=sight, text_config=text, projection_dim=16)
    torch.save(transformers.CLIPModel(config).state_dict(), tmp_path / "clip.bin")
    assert main(["import", str(tmp_path / "clip.bin"), "--heads", "4"]) == 0
    assert own_cards(own_folder)["clip"].arch["mlp_ratio"] == 2
