"""Files of vision transformers as timm and their authors write them are read; one that does not fit is told what it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from zoo import backbones
from zoo.catalog import checkpoint
from zoo.errors import CheckpointError
from zoo.networks import vision

VIT = {"input_size": 32, "patch_size": 8, "in_channels": 3, "hidden_size": 48, "depth": 2, "num_heads": 4, "mlp_ratio": 2, "num_classes": 5}
ARCHES = {
    "vit": VIT, "deit": VIT, "dinov2": VIT | {"num_classes": 0}, "dinov2-registers": VIT | {"num_classes": 0, "num_registers": 4},
    "clip-vision": VIT | {"num_classes": 0},
    "swin": VIT | {"patch_size": 4, "depth": [2, 2, 2], "num_heads": [2, 4, 8], "window_size": 2},
}  # fmt: skip
TIMM = {
    "embeddings.patch_embeddings.projection": "patch_embed.proj", "embeddings.norm": "patch_embed.norm", "layernorm_before": "norm1",
    "layernorm_after": "norm2", "layernorm": "norm", "embeddings.position_embeddings": "pos_embed", "encoder.layers": "layers",
    "embeddings.distillation_token": "dist_token", "attention.o_proj": "attn.proj", "encoder.layer.": "blocks.", "embeddings.": "",
    "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma", "attention.relative_position_bias.": "attn.",
    "distillation_classifier": "head_dist", "cls_classifier": "head", "classifier": "head",
}  # fmt: skip
CLIP = {
    "embeddings.class_embedding": "class_embedding", "embeddings.position_embedding.weight": "positional_embedding",
    "embeddings.patch_embedding": "conv1", "pre_layrnorm": "ln_pre", "post_layernorm": "ln_post", "layer_norm": "ln_",
    "encoder.layers": "transformer.resblocks", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def module_of(family: str, **words: object) -> nn.Module:
    return vision.build(family, ARCHES[family] | words)


def authors(family: str, module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module under the names that timm and the authors gave them, queries, keys and values in one."""
    state = {key.removeprefix(f"{module.base_model_prefix}."): value for key, value in module.state_dict().items()}
    renamed = {}
    for key, value in state.items():
        name = key
        for new, old in (CLIP if family == "clip-vision" else TIMM).items():
            name = name.replace(new, old)
        name = name if family in ("swin", "clip-vision") else name.replace("layers.", "blocks.")
        whole = value
        if ".q_proj." in name:
            whole = torch.cat([state[key.replace(".q_proj.", f".{part}_proj.")] for part in "qkv"])
            name = name.replace("self_attn.q_proj.", "attn.in_proj_").replace("attention.q_proj", "attn.qkv")
        if ".k_proj." not in name and ".v_proj." not in name:
            renamed[name] = whole
    return renamed


@pytest.mark.parametrize("wrapped", ["bare", "training"])
@pytest.mark.parametrize("family", ARCHES)
def test_the_authors_names_are_read(family: str, wrapped: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = module_of(family)
    state = authors(family, module)
    if family == "swin":
        state |= {"layers.0.blocks.1.attn_mask": torch.zeros(4, 4), "layers.0.blocks.0.attn.relative_position_index": torch.zeros(4, 4)}
    if wrapped == "training" and family == "clip-vision":
        state = {f"visual.{key}": value for key, value in state.items()} | {
            "visual.proj": torch.zeros(48, 8),
            "logit_scale": torch.ones(()),
        }
    elif wrapped == "training":
        teacher = {f"module.backbone.{key}": value for key, value in state.items()} | {"module.head.mlp.0.weight": torch.zeros(2, 2)}
        state = {"student": {key: value + 1 for key, value in teacher.items()}, "teacher": teacher, "optimizer": {}, "args": None}
    torch.save(state, tmp_path / "w.pth")
    with torch.device("meta"):
        fresh = module_of(family)
    checkpoint.load_into(fresh, tmp_path / "w.pth", vision.rename_state)
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in fresh.state_dict().items())


def test_timms_swin_merges_patches_in_the_stage_after(tmp_path: Path) -> None:
    module = module_of("swin")
    state = authors("swin", module)
    theirs = {}
    for key, value in state.items():
        name = key.replace("layers.1.downsample", "layers.2.downsample").replace("layers.0.downsample", "layers.1.downsample")
        theirs[name.replace("head.", "head.fc.")] = value
    fresh = module_of("swin")
    checkpoint.load_into(fresh, theirs, vision.rename_state)
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in fresh.state_dict().items())


@torch.no_grad()
def test_timms_registers_stand_without_a_position_of_the_class_token() -> None:
    torch.manual_seed(0)
    module, fresh = module_of("dinov2-registers"), module_of("dinov2-registers")
    theirs = authors("dinov2-registers", module)
    positions = theirs.pop("pos_embed")
    theirs |= {
        "reg_token": theirs.pop("register_tokens"),
        "pos_embed": positions[:, 1:],
        "cls_token": theirs["cls_token"] + positions[:, :1],
    }
    checkpoint.load_into(fresh, theirs, vision.rename_state)
    pixels = torch.randn(2, 3, 32, 32)
    module, fresh = module.eval(), fresh.eval()
    torch.testing.assert_close(fresh(pixels).last_hidden_state, module(pixels).last_hidden_state)


def test_blocks_in_chunks_and_what_a_mae_decodes_with_are_understood() -> None:
    module, fresh = module_of("dinov2"), module_of("dinov2")
    chunks = {
        key.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): v for key, v in authors("dinov2", module).items()
    }
    checkpoint.load_into(fresh, chunks, vision.rename_state)
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in fresh.state_dict().items())
    module, fresh = module_of("vit", num_classes=0), module_of("vit", num_classes=0)
    decoder = dict.fromkeys(
        ("mask_token", "decoder_embed.weight", "decoder_blocks.0.attn.qkv.weight", "decoder_pos_embed"), torch.zeros(1, 1, 8)
    )
    checkpoint.load_into(fresh, authors("vit", module) | decoder, vision.rename_state)
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in fresh.state_dict().items())


RESNET = {"conv1.weight": torch.zeros(8, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(8, 8, 3, 3), "fc.weight": torch.zeros(5, 8)}
CAUSES = {
    "384 px": ("vit", lambda: module_of("vit", input_size=48).state_dict(), "this is the 48 px checkpoint"),
    "384 px, timm's names": ("vit", lambda: authors("vit", module_of("vit", input_size=48)), "this is the 48 px checkpoint"),
    "S for B": ("vit", lambda: module_of("vit", hidden_size=24).state_dict(), "another size, of width 24 instead of 48"),
    "S for B, timm's names": ("vit", lambda: authors("vit", module_of("vit", hidden_size=24)), "of width 24 instead of 48"),
    "deeper": ("vit", lambda: module_of("vit", depth=4).state_dict(), "another size, of 4 blocks instead of 2"),
    "other classes": ("vit", lambda: module_of("vit", num_classes=7).state_dict(), "knows 7 classes instead of 5"),
    "other patches": ("vit", lambda: authors("vit", module_of("vit", patch_size=16)), "of patch 16 instead of 8"),
    "DeiT for ViT": ("vit", lambda: authors("deit", module_of("deit")), "this is a DeiT"),
    "Swin for ViT": ("vit", lambda: authors("swin", module_of("swin")), "this is a Swin"),
    "ResNet for ViT": ("vit", lambda: RESNET, "it looks like a ResNet"),
    "ResNet for DiT": ("dit", lambda: RESNET, "it looks like a ResNet"),
    "timm's ViT for DiT": ("dit", lambda: authors("vit", module_of("vit")), "this is a vision transformer, in timm's"),
    "LoRA for DiT": ("dit", lambda: {"blocks.0.attn.qkv.lora_A.weight": torch.zeros(4, 8)}, "it looks like a LoRA"),
    "language model for DiT": ("dit", lambda: {"model.layers.0.self_attn.q_proj.weight": torch.zeros(8, 8)}, "a language model"),
    "unknown": ("dit", lambda: {"some.thing": torch.zeros(2)}, "no blocks of this network, its first key is some.thing"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_what_does_not_fit_is_told_what_it_is(case: str, says) -> None:
    family, state, cause = CAUSES[case]
    if family == "dit":
        module = backbones.build("dit", {"input_size": 8, "hidden_size": 48, "depth": 2, "num_heads": 4, "num_classes": 10})
    else:
        module = module_of(family)
    with says(CheckpointError, "does not fit", cause):
        checkpoint.load_into(module, state(), vision.rename_state if family != "dit" else None)
