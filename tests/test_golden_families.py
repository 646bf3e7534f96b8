"""SiT, REPA, LightningDiT, MDT, DDT, JiT, U-DiT and VA-VAE give the numbers of their authors' code, and their published files fit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from golden_cases import away
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo import backbones
from zoo.backbones.ddt import KeptEncoder
from zoo.catalog.architectures import recognise
from zoo.catalog.checkpoint import load_into
from zoo.catalog.key_maps import sources
from zoo.errors import CheckpointError
from zoo.inside.attention import record_attention
from zoo.inside.modulation import modulations
from zoo.networks import autoencoders
from zoo.sampling import Schedule, guided, sample

FOLDER = Path(__file__).parent / "golden" / "flow"
FORWARD = json.loads((FOLDER / "forward.json").read_text())
AUTOENCODER = FORWARD["cases"].pop("vavae")
CASES: dict[str, dict] = FORWARD["cases"]
MANIFESTS: dict[str, dict] = json.loads(gzip.decompress((FOLDER / "manifests.json.gz").read_bytes()))
"""Every key, shape and type of the published files, and their words."""


def numbers(name: str) -> dict[str, Tensor]:
    return load_file(FOLDER / f"{name}.safetensors")


def model(name: str) -> nn.Module:
    case = CASES[name]
    module = backbones.build(case["family"], case["config"])
    load_into(module, FOLDER / f"{case['model']}.safetensors")
    return module.eval()


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_a_forward_equals_the_authors(name: str) -> None:
    theirs = numbers(name)
    ours = model(name)(theirs["x"], theirs["t"], theirs["y"])
    torch.testing.assert_close(ours, theirs["out"], atol=2e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_a_guided_forward_equals_the_authors(name: str) -> None:
    theirs, cfg, module = numbers(name), CASES[name]["cfg"], model(name)
    scale = cfg.get("weight", cfg["scale"])  # an MDT's rises during a run, this is what it is at the time of the case
    x, t, labels = theirs["cfg_x"], theirs["cfg_t"].float(), theirs["cfg_labels"]
    for null_label in (cfg["null_label"], None) if hasattr(module, "y_embedder") else (cfg["null_label"],):
        ours = guided(module, labels, scale, cfg["channels"], null_label)(x, t)
        torch.testing.assert_close(ours, theirs["cfg_out"], atol=5e-5, rtol=0)
    if "cfg_out_outside" in theirs:
        torch.testing.assert_close(guided(module, labels, 1.0)(x, t), theirs["cfg_out_outside"], atol=5e-5, rtol=0)


@torch.no_grad()
def test_the_half_that_a_sit_never_trained_is_left_out() -> None:
    theirs, module = numbers("sit_p2"), model("sit_p2")
    dit = backbones.build("dit", CASES["sit_p2"]["config"]).eval()
    dit.load_state_dict(module.state_dict())
    raw = dit(theirs["x"], theirs["t"], theirs["y"])
    torch.testing.assert_close(raw, theirs["raw"], atol=2e-5, rtol=0)
    assert torch.equal(module(theirs["x"], theirs["t"], theirs["y"]), raw[:, :4])


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_recording_attention_changes_no_bit_and_every_row_sums_to_one(name: str) -> None:
    theirs, module = numbers(name), model(name)
    given = theirs["x"], theirs["t"], theirs["y"]
    before = module(*given)
    with record_attention(module) as maps:
        during = module(*given)
    assert torch.equal(during, before)
    words = CASES[name]["config"]
    depth = 2 * sum(words["depth"]) if isinstance(words["depth"], list) else words["depth"]
    assert list(maps) == list(range(depth))
    for one in maps.values():
        assert one.min() >= 0
        assert (one.sum(-1) - 1).abs().max() < 1e-5
    if name == "jit":  # the tokens of the class are there from the second block on
        assert [one.shape[-1] for one in maps.values()] == [16, 19, 19]
    if name.startswith("mdt"):
        with record_attention(module, [0], heads=[1]) as some:
            module(*given)
        assert torch.equal(some[0], maps[0][:, 1:])


@torch.no_grad()
@pytest.mark.parametrize("name", ["mdt", "udit"])
def test_a_map_holds_the_relative_positions_and_the_temperature(name: str) -> None:
    theirs, module = numbers(name), model(name)
    seen = []
    attend = next(part for part in module.modules() if type(part).__name__ == "Attend")
    hook = attend.register_forward_hook(lambda _, inputs, output: seen.append((inputs[2], output)) and None)
    with record_attention(module, [0]) as maps:
        module(theirs["x"], theirs["t"], theirs["y"])
    hook.remove()
    values, output = seen[0]
    torch.testing.assert_close(maps[0] @ values, output, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["family"] not in ("ddt", "u-dit")])
def test_modulation_that_is_known_already_gives_the_same_and_can_be_looked_at(name: str) -> None:
    theirs, module = numbers(name), model(name)
    given = theirs["x"], theirs["t"], theirs["y"]
    known = module(*given, modulation=module.modulation(theirs["t"], theirs["y"]))
    assert torch.equal(known, module(*given))
    looked_at = modulations(module, theirs["t"].float(), 1)
    assert looked_at.shape == (len(theirs["t"]), CASES[name]["config"]["depth"], 6)
    without_shift = name == "lightning_options"
    assert bool((looked_at[:, :, [0, 3]] == 0).all()) == without_shift
    assert (looked_at[:, :, [1, 2, 4, 5]] > 0).all()


@torch.no_grad()
def test_what_a_ddts_encoder_said_can_be_kept() -> None:
    theirs, module = numbers("ddt"), model("ddt")
    state = module.encode(theirs["x"], theirs["t"], theirs["y"])
    torch.testing.assert_close(state, theirs["state"], atol=2e-5, rtol=0)
    for later in (0.05, 0.3):  # the decoder knows the time from the state alone
        ours = module(theirs["x"], theirs["t"] + later, theirs["y"], state)
        torch.testing.assert_close(ours, theirs["out_with_state"], atol=2e-5, rtol=0)


@torch.no_grad()
def test_a_run_whose_encoder_works_at_every_third_step_is_the_authors() -> None:
    case, theirs, module = FORWARD["kept_encoder"], numbers("ddt_euler_8"), model("ddt")
    encoded: list[float] = []

    def encode(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        encoded.append(t[0].item())
        return module.encode(x, t, y)

    schedule, interval = Schedule.from_card(case["schedule"]), tuple(case["guidance_interval"])
    kept = KeptEncoder(module, case["encoder_every"], encode)
    how = (case["guidance_channels"], case["null_label"], interval, schedule, case["guidance_interval_open"])
    predict = guided(kept, theirs["labels"], case["guidance"], *how)
    options = {"prediction": case["prediction"], "last_step_size": case["last_step_size"]}
    walked = sample(predict, theirs["x"], schedule, "euler", case["steps"], **options)
    for step, x, x0 in zip(walked, theirs["samples"], theirs["x0s"], strict=True):
        assert max(away(step.x, x), away(step.x0, x0)) < 1e-5
    assert encoded == pytest.approx([t for t, ran in zip(case["times"], case["encoder_ran"], strict=True) if ran])


@torch.no_grad()
def test_a_half_that_begins_between_two_runs_of_the_encoder_is_as_if_it_had_been_there() -> None:
    theirs, module = numbers("ddt"), model("ddt")
    x, t, labels = theirs["x"][:2], torch.full((2,), 0.2), torch.tensor([1, 2])
    later, null = (x + 0.1, t + 0.1), torch.full((2,), 10)
    kept = KeptEncoder(module, every=2)
    kept(x, t, labels)
    ours = kept(*(one.repeat(2, *[1] * (one.ndim - 1)) for one in later), torch.cat([labels, null]))
    for half, y in zip(ours.chunk(2), (labels, null), strict=True):
        torch.testing.assert_close(half, module(*later, y, module.encode(x, t, y)), atol=1e-5, rtol=0)
    assert torch.equal(kept(*later, null), module(*later, null))  # the third step encodes again


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_half_precision_stays_near(name: str, dtype: torch.dtype) -> None:
    theirs = numbers(name)
    ours = model(name).to(dtype)(theirs["x"], theirs["t"], theirs["y"])
    assert ours.dtype == dtype
    assert away(ours.float(), theirs["out"]) < (0.1 if dtype == torch.bfloat16 else 0.02)


@torch.no_grad()
def test_a_u_dit_may_be_put_into_eval_mode_twice_and_saved_after_it() -> None:
    theirs, module = numbers("udit"), model("udit")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    first = module.eval()(theirs["x"], theirs["t"], theirs["y"])
    assert torch.equal(module.train().eval()(theirs["x"], theirs["t"], theirs["y"]), first)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", MANIFESTS)
def test_every_published_file_fits_by_name_shape_and_type(name: str) -> None:
    manifest = MANIFESTS[name]
    with torch.device("meta"):
        built = autoencoders.build if name.startswith("vavae") else lambda words: backbones.build(manifest["family"], words)
        module = built(manifest["words"])
        state = {key: torch.empty(shape, dtype=getattr(torch, kind)) for key, (shape, kind) in manifest["keys"].items()}
    own = module.state_dict()
    served = {key: value for key, value in state.items() if not key.startswith(tuple(manifest.get("dropped", ["\0"])))}
    if not name.startswith("vavae"):
        beginning = manifest.get("dropped", "\0")
        served = {key: value for key, value in state.items() if not key.startswith(beginning)}
        assert {key: (value.shape, value.dtype) for key, value in own.items()} == {key: (v.shape, v.dtype) for key, v in served.items()}
    load_into(module, state)
    for lost in (min(served), max(served)):
        with pytest.raises(Exception, match="1 fault in all"):
            load_into(module, {key: value for key, value in state.items() if key != lost})


@pytest.mark.parametrize("name", [name for name in MANIFESTS if not name.startswith("vavae")])
def test_the_architecture_of_a_published_file_is_read_off_its_keys_and_shapes(name: str) -> None:
    manifest = MANIFESTS[name]
    state = {key: torch.empty(shape, device="meta") for key, (shape, _) in manifest["keys"].items()}
    found = recognise(state, "SiT" if manifest["family"] == "sit" else "")
    assert found.family == manifest["family"]
    assert found.task == "class-to-image"
    told = {key: value for key, value in manifest["words"].items() if key not in {"num_heads", "input_size"} & {*found.unknown}}
    assert {key: found.words.get(key) for key in told if key in found.words} == {key: told[key] for key in told if key in found.words}
    left_out = told.keys() - found.words.keys()
    assert left_out <= {"learn_sigma", "version"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_off_a_small_model_builds_it_again(name: str) -> None:
    case = CASES[name]
    found = recognise(model(name).state_dict(), "SiT" if case["family"] == "sit" else "")
    told = {word: case["config"][word] for word in found.unknown if word in case["config"]}
    if name == "repa":  # without the projectors it cannot be told from a DiT without sigma
        assert (found.family, "family" in found.unknown) == ("dit", True)
        found = recognise(numbers(case["model"]))
    assert found.family == case["family"]
    rebuilt = backbones.build(found.family, dict(found.words) | told)
    load_into(rebuilt, FOLDER / f"{case['model']}.safetensors")


@torch.no_grad()
def test_va_vae_is_an_autoencoder_of_diffusers_by_its_keys(tmp_path: Path) -> None:
    theirs, case = numbers("vavae"), AUTOENCODER
    keys = {ours: parts[0] for ours, parts in sources(numbers(case["model"])).items()}
    assert {theirs: ours for ours, theirs in keys.items()} == FORWARD["ldm_autoencoder"]
    autoencoder = autoencoders.build(case["diffusers_config"]).eval()
    beside = {"loss.logvar": torch.zeros(()), "foundation_model.blocks.0.attn.qkv.weight": torch.zeros(4, 4)}
    load_into(autoencoder, {"state_dict": numbers(case["model"]) | beside | {"linear_proj.weight": torch.zeros(4, 4, 1, 1)}})
    posterior = autoencoder.encode(theirs["image"]).latent_dist
    torch.testing.assert_close(posterior.mean, theirs["mean"], atol=2e-5, rtol=0)
    torch.testing.assert_close(posterior.logvar, theirs["logvar"], atol=2e-5, rtol=0)
    torch.testing.assert_close(autoencoder.decode(theirs["z"]).sample, theirs["decoded"], atol=2e-5, rtol=0)
    torch.save({"mean": theirs["stats_mean"], "std": theirs["stats_std"]}, tmp_path / "latents_stats.pt")
    autoencoders.attach_statistics(autoencoder, tmp_path / "latents_stats.pt")
    ours = autoencoders.decode(autoencoder, theirs["z"], 1.0)
    torch.testing.assert_close(ours, theirs["decoded_of_normalised"].clamp(-1, 1), atol=2e-5, rtol=0)
    noise = theirs["noise"] * (0.5 * theirs["logvar"]).exp() / theirs["stats_std"]
    torch.testing.assert_close(autoencoders.encode(autoencoder, theirs["image"], 1.0) + noise, theirs["normalised"], atol=5e-5, rtol=0)
    again = autoencoders.encode(autoencoder, autoencoders.decode(autoencoder, theirs["z"], 2.0), 2.0)
    assert again.shape == theirs["z"].shape
    assert "latent_mean" not in autoencoder.state_dict()


@pytest.mark.parametrize(
    "content",
    [{"mean": torch.zeros(3), "std": torch.ones(3)}, {"mean": torch.zeros(8)}, {"mean": torch.zeros(8), "std": torch.zeros(8)}, [1]],
)
def test_statistics_that_are_none_are_refused(content: object, says, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "latents_stats.pt")
    with says(CheckpointError, "latents_stats.pt", "fetch it again"):
        autoencoders.attach_statistics(autoencoders.build(AUTOENCODER["diffusers_config"]), tmp_path / "latents_stats.pt")
