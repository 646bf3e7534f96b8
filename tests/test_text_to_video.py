"""Latte-1: the published file fits, and the sampler around it gives what diffusers' own pipeline gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from zoo import backbones
from zoo.checkpoint import load_into
from zoo.errors import CheckpointError
from zoo.sampling import Schedule, guided, sample

TINY = {
    "input_size": 8, "patch_size": 2, "in_channels": 4, "hidden_size": 32, "depth": 2, "num_heads": 4, "num_frames": 4, "context_dim": 16,
}  # fmt: skip


@pytest.fixture
def ours() -> nn.Module:
    torch.manual_seed(0)
    with torch.device("meta"):
        module = backbones.build("latte-t2v", TINY)
    load_into(module, {key: torch.randn(value.shape) / 5 for key, value in module.state_dict().items()})
    return module.eval()


@pytest.fixture
def theirs(ours: nn.Module) -> nn.Module:
    from diffusers.models.transformers.latte_transformer_3d import LatteTransformer3DModel

    module = LatteTransformer3DModel(**{key: value for key, value in ours.config.items() if not key.startswith("_")})
    module.load_state_dict(ours.state_dict())
    return module.eval()


def test_the_published_configuration_has_the_published_number_of_weights(says) -> None:
    with torch.device("meta"):
        module = backbones.build("latte-t2v", {})
    state = module.state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (967, 1_057_246_880)
    null = {"caption_projection.y_embedding": torch.empty(120, 4096, device="meta")}  # in the file, unknown to the class
    load_into(module, state | null)
    with torch.device("meta"):
        dit = backbones.build("dit", {"depth": 2})
    with says(CheckpointError, "this is a Latte-1, the text-to-video model"):
        load_into(dit, state)


@torch.no_grad()
@pytest.mark.parametrize("frames", [4, 1])
def test_our_axes_change_nothing(ours: nn.Module, theirs: nn.Module, frames: int) -> None:
    x, t, y = torch.randn(2, frames, 4, 8, 8), torch.tensor([999.0, 3.0]), torch.randn(2, 6, 16)
    wanted = theirs(x.transpose(1, 2), t, y, enable_temporal_attentions=frames > 1, return_dict=False)[0]
    assert torch.equal(ours(x, t, y), wanted.transpose(1, 2))


def test_the_loop_is_that_of_the_pipeline_of_diffusers(ours: nn.Module, theirs: nn.Module) -> None:
    from diffusers import AutoencoderKL, DDIMScheduler, LattePipeline

    pipeline = LattePipeline(
        tokenizer=None, text_encoder=None, vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4), transformer=theirs,
        scheduler=DDIMScheduler(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", clip_sample=False),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    x, prompt, negative = torch.randn(1, 4, 4, 8, 8), torch.randn(1, 6, 16), torch.randn(1, 6, 16)
    wanted = pipeline(
        prompt=None, negative_prompt=None, prompt_embeds=prompt, negative_prompt_embeds=negative, latents=x.transpose(1, 2).clone(),
        num_inference_steps=10, guidance_scale=7.5, video_length=4, height=8, width=8, output_type="latent",
    ).frames  # fmt: skip
    steps = sample(guided(ours, prompt, 7.5, null_label=negative), x, Schedule.linear(1e-4, 0.02, 1000), "ddim", 10, spacing="stride")
    *_, last = steps
    assert ((last.x - wanted.transpose(1, 2)).abs().max() / wanted.abs().max()).item() < 1e-4
