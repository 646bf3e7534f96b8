"""Of what a training keeps in one file, the averaged weights are taken, whatever they are called, and that is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from zoo import backbones
from zoo.catalog import checkpoint
from zoo.errors import CheckpointError
from zoo.networks import autoencoders

DIT = {"input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 48, "depth": 2, "num_heads": 4, "num_classes": 10}
RAW = {key: value.clone() for key, value in backbones.build("dit", DIT).state_dict().items()}
MEAN = {key: value + 1 for key, value in RAW.items()}
ONE, TWO = torch.zeros(3), torch.zeros(3, 3)


def behind(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def lit_ema(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As LitEma of CompVis keeps them: without dots, and only what is trained."""
    return {f"model_ema.{key.replace('.', '')}": value for key, value in state.items() if "pos_embed" not in key}


def loaded(source: object, tmp_path: Path, name: str = "") -> tuple[str, nn.Module]:
    torch.save(source, tmp_path / "t.pt")
    module = backbones.build("dit", DIT)
    return checkpoint.load_into(module, tmp_path / "t.pt", name=name).words, module


TRAINED = [value for key, value in MEAN.items() if key != "pos_embed"]
HOLDERS = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "ema_model", "params_ema", "model_ema1", "ema_0.9999", "emaModel")
AVERAGED = {
    holder: {"epoch": 3, "model": RAW, holder: MEAN, "optimizer": {"state": {0: {"exp_avg": ONE}}}}
    for holder in HOLDERS
} | {
    "swa": {"model": RAW, "swa": {"n_averaged": torch.tensor(3)} | behind("module.", MEAN)},
    "state_dict.model_ema": {
        "state_dict": behind("model.diffusion_model.", RAW)
        | lit_ema(behind("diffusion_model.", MEAN))
        | {"model_ema.decay": torch.tensor(0.9), "betas": ONE, "first_stage_model.a.b": ONE, "first_stage_model.c.d": ONE}
    },
    "ema_model at the top": {"initted": torch.tensor(True)} | behind("online_model.", RAW) | behind("ema_model.", MEAN),
    "ema.ema_model": {"model": RAW, "ema": {"step": torch.tensor(3)} | behind("online_model.", RAW) | behind("ema_model.", MEAN)},
    "teacher": {
        "student": behind("module.backbone.", RAW) | {"module.head.mlp.0.weight": TWO},
        "teacher": behind("backbone.", MEAN) | {"head.mlp.0.weight": TWO},
    },
    "model.teacher": {"model": behind("student.backbone.", RAW) | behind("teacher.backbone.", MEAN) | {"teacher.dino_head.0.weight": TWO}},
    "smoothed": {"model": RAW, "smoothed": MEAN},
    "modelema": {"model": RAW, "modelema": MEAN},
    "ema, a pair": {"model": RAW, "ema": (MEAN, 3)},
    "callbacks.EMA": {"state_dict": behind("model.", RAW), "callbacks": {"EMA": {"ema": MEAN}, "ModelCheckpoint": {"best": TWO}}},
    "ema.shadow": {"model": RAW, "ema": {"decay": 0.999, "shadow": MEAN}},
    "ema.shadow_params": {"model": RAW, "ema": {"shadow_params": [*MEAN.values()], "collected_params": [*RAW.values()]}},
    "ema.shadow_params, what is trained": {"model": behind("module.", RAW), "ema": {"shadow_params": TRAINED}},
    "optimizer_states.0.ema": {"state_dict": RAW, "optimizer_states": [{"ema": (*MEAN.values(),), "exp_avg": [ONE, TWO]}]},
    "state_dict.ema": {"state_dict": behind("model.", RAW) | behind("ema.", MEAN) | {"loss.perceptual.weight": TWO}},
}  # fmt: skip


@pytest.mark.parametrize("holder", AVERAGED)
def test_averaged_weights_are_taken_wherever_a_trainer_puts_them_and_that_is_said(holder: str, tmp_path: Path) -> None:
    words, module = loaded(AVERAGED[holder], tmp_path)
    state = module.state_dict()
    assert all(torch.equal(state[key], MEAN[key]) for key in RAW if key != "pos_embed")  # LitEma averages no table
    assert words.startswith(holder.split(" ")[0].rstrip(","))
    assert ", averaged; " in words
    other = words.split("; ")[1].split(" ")[0]
    again, module = loaded(AVERAGED[holder], tmp_path, other)  # the other is his who names it
    assert all(torch.equal(value, RAW[key]) for key, value in module.state_dict().items())
    assert again.startswith(other)


@pytest.mark.parametrize(
    "source",
    [
        {"model": RAW, "ema": {}},
        {"model": RAW, "ema": None},
        {"a": {"b": {"net": RAW}}},
        {"net_params": RAW, "ema_decay": 0.9},
        RAW,
        (RAW, 3),
        [RAW, {"step": 3}],
        {"model": RAW, "other": {"w.x": TWO.to_sparse(), "w.y": ONE}, "rng_state": {"cpu": torch.get_rng_state()}},
    ],
    ids=["empty holder", "none", "nested", "another name", "bare", "a pair", "a list", "beside other tensors"],
)
def test_without_averaged_weights_the_models_own_are_taken(source: dict, tmp_path: Path) -> None:
    _, module = loaded(source, tmp_path)
    assert all(torch.equal(value, RAW[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    "prefix", ["_orig_mod.module.", "module._orig_mod.module.", "model.net.", "_orig_mod.model._fsdp_wrapped_module.net.", "my_dit.module."]
)
@pytest.mark.parametrize("inside", ["", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module._checkpoint_wrapped_module."])
def test_what_wrappers_add_to_a_key_is_taken_away_in_any_order_and_place(prefix: str, inside: str, tmp_path: Path) -> None:
    state = {prefix + key.replace("blocks.1.", f"blocks.1.{inside}"): value for key, value in MEAN.items()}
    _, module = loaded({"state_dict": state}, tmp_path)
    assert all(torch.equal(value, MEAN[key]) for key, value in module.state_dict().items())


SPARSE = {key: value.to_sparse() if value.ndim == 2 else value for key, value in MEAN.items()}
QUANTIZED = {key: value.to(torch.int8) if value.ndim == 2 else value for key, value in MEAN.items()}


@pytest.mark.parametrize(
    ("source", "remark"),
    [
        ({"model": RAW, "ema": nn.Sequential(nn.Linear(2, 2))}, "ema is a whole object of torch.nn.modules.container.Sequential"),
        ({"model": RAW, "ema": {"shadow_params": list(MEAN.values())[3:]}}, "ema.shadow_params holds averages without names"),
        ({"model": RAW, "ema": SPARSE}, "ema holds sparse or quantized tensors"),
        ({"model": RAW, "ema": QUANTIZED}, "ema holds quantized or complex numbers"),
        ({"model": RAW, "ema": {key: value.to("meta") for key, value in MEAN.items()}}, "ema holds tensors without numbers"),
    ],
    ids=["a whole object", "without names", "sparse", "quantized", "meta"],
)
def test_averaged_weights_that_cannot_be_read_are_said_to_be_passed_over(source: dict, remark: str, tmp_path: Path) -> None:
    words, module = loaded(source, tmp_path)
    assert words.startswith(f"model; {remark}")
    assert all(torch.equal(value, RAW[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (
            {"epoch": 3, "model": nn.Sequential(nn.Linear(2, 2))},
            "holds under model a whole object of torch.nn.modules.container.Sequential",
        ),
        ({"ema": {"shadow_params": list(MEAN.values())}}, "holds averages without names (ema.shadow_params)"),
        ({"model": {key: value.numpy() for key, value in RAW.items()}}, "arrays of NumPy instead of tensors"),
        ({"model": SPARSE}, "save them dense"),
        (QUANTIZED, "quantized or complex numbers"),
        (RAW | {"blocks.0.attn.qkv.SCB": ONE}, "quantized or complex numbers"),
        ({key: value.to(torch.complex64) for key, value in RAW.items()}, "quantized or complex numbers"),
        ({"module": {key: torch.zeros(0) for key in RAW}}, "names without numbers"),
        ({key: value.to("meta") for key, value in RAW.items()}, "on the device meta"),
    ],
    ids=["a whole object", "without names", "numpy", "sparse", "int8", "bitsandbytes", "complex", "one part of many", "meta"],
)
def test_what_no_weights_can_be_taken_from_is_told_why(source: dict, cause: str, tmp_path: Path, says) -> None:
    with says(CheckpointError, cause):
        loaded(source, tmp_path)


def test_a_name_that_the_file_does_not_hold_is_refused_with_those_that_it_does(says, tmp_path: Path) -> None:
    with says(CheckpointError, "no weights named 'emma'", "ema", "model"):
        loaded({"model": RAW, "ema": MEAN}, tmp_path, "emma")


def test_averaged_weights_that_do_not_fit_leave_the_models_own(tmp_path: Path) -> None:
    words, module = loaded({"model": RAW, "ema": {"disc.weight": TWO, "disc.bias": ONE}}, tmp_path)
    assert words == "model"
    assert torch.equal(module.state_dict()["pos_embed"], RAW["pos_embed"])


WIDTHS = {"block_out_channels": (8, 16), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4, "sample_size": 16}
LOSS = {"loss.logvar": torch.tensor(0.0), "loss.discriminator.main.0.weight": TWO, "loss.perceptual_loss.lin0.model.1.weight": TWO}


@pytest.mark.parametrize("kind", ["loss beside", "discriminator beside", "whole pipeline", "averaged", "nested"])
def test_an_autoencoders_original_file_is_read_with_its_loss_or_its_pipeline_beside_it(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = autoencoders.build(WIDTHS).state_dict()
    mean = {key: value + 1 for key, value in state.items()}
    content = {
        "loss beside": state | LOSS,
        "discriminator beside": behind("vae.", state) | {"discriminator.0.weight": TWO},
        "whole pipeline": {"state_dict": behind("first_stage_model.", state) | behind("model.diffusion_model.", RAW) | {"betas": ONE}},
        "averaged": {"state_dict": state | LOSS | lit_ema(mean)},
        "nested": {"state_dict": behind("module.first_stage_model.", state | LOSS), "optimizer_states": [{"state": {}}]},
    }[kind]
    torch.save(content, tmp_path / "vae.ckpt")
    module = autoencoders.build(WIDTHS)
    checkpoint.load_into(module, tmp_path / "vae.ckpt")
    wanted = mean if kind == "averaged" else state
    assert all(torch.equal(value, wanted[key]) for key, value in module.state_dict().items())
