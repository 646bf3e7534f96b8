"""diffusers' networks and pipelines as peers: what is changed in them so that they compute the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from zoo.catalog.key_maps import DIT_BLOCK, DIT_ENDS, DIT_SHARED
from zoo.engine.bench.peers import Peer, Task

if TYPE_CHECKING:
    from zoo.catalog.card import Card


def diffusers_peer(task: Task) -> Peer | str:
    """diffusers' network and pipeline for a task, or a sentence why there is none."""
    card = task.card
    if card.family == "unet":
        return f"{card.id} is diffusers' own UNet2DModel here, so there is nothing to compare it with."
    official = card.arch.get("conditioning", "adaln-zero") == "adaln-zero"
    if card.family == "dit" and official and card.arch.get("mlp_ratio", 4.0) == 4.0:  # which is all that diffusers' DiT knows
        return _dit(task)
    if card.family == "latte-t2v":
        return _latte(task)
    return f"diffusers has no {'class-conditional Latte' if card.family == 'latte' else card.family} to compare {card.id} with."


def _dit(task: Task) -> Peer:
    from diffusers import DDIMScheduler, DiTPipeline

    card, arch = task.card, task.card.arch
    network = dit_of_diffusers(arch, task.state)
    null, count = arch["num_classes"], len(task.x)
    labels = torch.cat([task.labels, torch.full_like(task.labels, null)])
    t = torch.full((2 * count,), task.t, device=task.x.device)

    def step() -> Tensor:
        with torch.no_grad():
            out = network(torch.cat([task.x, task.x]).to(task.dtype), t, labels).sample.to(task.x.dtype)
        cond, uncond = out.chunk(2)
        eps, rest = cond.tensor_split([card.guidance.channels or task.x.shape[1]], dim=1)
        base = uncond[:, : eps.shape[1]]
        return torch.cat([base + task.guidance * (eps - base), rest], dim=1)

    peer = Peer("diffusers", step, channels=None, spacing="stride")
    peer.patches.append("In diffusers' DiT downscale_freq_shift is 0 instead of 1, norm_eps 1e-6 instead of 1e-5: as in the authors' code.")
    if not _takes_strides(card, task.steps) or task.guidance <= 1:
        peer.patches.append(f"diffusers' DDIM does not take {task.steps} even steps, so its pipeline is not compared: try --steps 50.")
        return peer
    if null != 1000:  # the null label stands in the pipeline as a number
        network.register_forward_pre_hook(_renumber(null), with_kwargs=True)
        peer.patches.append(f"diffusers' pipeline says 1000 for no class, which is read as {null}.")
    peer.patches.append(
        "diffusers' pipeline guides all four channels; where samples are compared, ours does, too. Neither decodes in the loop."
    )
    latents: list[Tensor] = []
    pipeline = DiTPipeline(network, _Nothing(latents), DDIMScheduler(**_chain(card)))
    pipeline.set_progress_bar_config(disable=True)
    picked = task.labels.tolist()

    def loop() -> Tensor:
        latents.clear()
        generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
        pipeline(picked, task.guidance, generators, task.steps, output_type="pt")
        return latents[0].to(task.x.dtype)

    peer.loop = loop
    return peer


def dit_of_diffusers(arch: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """diffusers' DiTTransformer2DModel with the authors' sinusoids and epsilon, on weights under the authors' names, which it shares."""
    from diffusers import DiTTransformer2DModel

    heads, channels = arch["num_heads"], arch["in_channels"]
    words = {
        "num_attention_heads": heads, "attention_head_dim": arch["hidden_size"] // heads, "in_channels": channels,
        "out_channels": channels * (2 if arch.get("learn_sigma", True) else 1), "sample_size": arch["input_size"],
        "patch_size": arch["patch_size"], "num_embeds_ada_norm": arch["num_classes"], "norm_eps": 1e-6,
    }  # fmt: skip
    with torch.device("meta"):
        network = DiTTransformer2DModel(num_layers=arch["depth"], **words)
    network.pos_embed.pos_embed = state["pos_embed"]  # diffusers works it out, in float32 even where the stored one is rounded
    answer = network.load_state_dict(_diffusers_names(state, arch["depth"]), assign=True, strict=False)
    assert not answer.unexpected_keys, answer
    assert not any(value.is_meta for value in network.state_dict().values())
    for block in network.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    return network.eval().requires_grad_(False)


def _diffusers_names(state: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """The authors' weights under diffusers' names: q, k and v apart, the embedders in every block."""
    names = {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for theirs, ours in DIT_ENDS.items() for kind in ("weight", "bias")}
    for index in range(depth):
        theirs, ours = f"transformer_blocks.{index}", f"blocks.{index}"
        for kind in ("weight", "bias"):
            names |= {f"{theirs}.{name}.{kind}": state[f"{ours}.{other}.{kind}"] for name, other in DIT_BLOCK.items()}
            q, k, v = state[f"{ours}.attn.qkv.{kind}"].chunk(3)
            names |= {f"{theirs}.attn1.to_{name}.{kind}": part for name, part in zip("qkv", (q, k, v), strict=True)}
        for name, other in DIT_SHARED.items():
            kinds = [kind for kind in ("weight", "bias") if f"{other}.{kind}" in state]
            names |= {f"{theirs}.norm1.emb.{name}.{kind}": state[f"{other}.{kind}"] for kind in kinds}
    return names


def _latte(task: Task) -> Peer:
    from diffusers import DDIMScheduler, LattePipeline
    from diffusers.models.transformers.latte_transformer_3d import LatteTransformer3DModel

    from zoo import backbones

    with torch.device("meta"):
        config = backbones.build(task.card.family, dict(task.card.arch)).config
        network = LatteTransformer3DModel(**{word: value for word, value in config.items() if not word.startswith("_")})
    words = {word: value for word, value in config.items() if not word.startswith("_")} | {"num_layers": 1}
    tables = LatteTransformer3DModel(**words)  # the position tables are in no file
    network.load_state_dict(task.state, assign=True)
    network.temp_pos_embed, network.pos_embed.pos_embed = tables.temp_pos_embed, tables.pos_embed.pos_embed
    network = network.to(task.x.device).eval().requires_grad_(False)
    x, count, context = task.x.transpose(1, 2), len(task.x), task.context.to(task.dtype)
    texts = torch.cat([context[:1].expand(count, -1, -1), context[1:].expand(count, -1, -1)])
    t = torch.full((2 * count,), task.t, device=x.device)

    def step() -> Tensor:
        with torch.no_grad():
            out = network(torch.cat([x, x]).to(task.dtype), t, texts, return_dict=False)[0].to(x.dtype).transpose(1, 2)
        cond, uncond = out.chunk(2)
        eps, rest = cond.chunk(2, dim=2)
        base = uncond[:, :, : eps.shape[2]]
        return torch.cat([base + task.guidance * (eps - base), rest], dim=2)

    peer = Peer("diffusers", step, channels=None, spacing="stride")
    if not _takes_strides(task.card, task.steps) or task.guidance <= 1:
        peer.patches.append(f"diffusers' DDIM does not take {task.steps} even steps, so its pipeline is not compared: try --steps 50.")
        return peer
    pipeline = LattePipeline(None, None, _Nothing([]), network, DDIMScheduler(**_chain(task.card)))
    pipeline.set_progress_bar_config(disable=True)
    side = task.x.shape[-1] * pipeline.vae_scale_factor
    peer.patches.append("diffusers' pipeline is given the embedded prompt, and neither decodes in the loop.")

    def loop() -> Tensor:
        embedded = {"prompt_embeds": texts[:count], "negative_prompt_embeds": texts[count:]}
        sizes = {"video_length": x.shape[2], "height": side, "width": side}
        words = {"num_inference_steps": task.steps, "guidance_scale": task.guidance, "output_type": "latent", "clean_caption": False}
        latents = pipeline(None, None, latents=x.to(task.dtype), **embedded, **sizes, **words).frames
        return latents.transpose(1, 2).to(task.x.dtype)

    peer.loop = loop
    return peer


class _Nothing:
    """Stands where a pipeline has its autoencoder, and notes the latents that it would decode."""

    def __init__(self, notes: list[Tensor]) -> None:
        self.notes = notes
        self.config = SimpleNamespace(scaling_factor=1.0, block_out_channels=(1, 1, 1, 1))

    def decode(self, latents: Tensor) -> SimpleNamespace:
        """Take latents; give them back as the sample."""
        self.notes.append(latents)
        return SimpleNamespace(sample=latents)


def _renumber(null: int) -> Callable[..., Any]:
    def hook(_: nn.Module, inputs: tuple, words: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        if "class_labels" in words:
            labels = words["class_labels"]
            words = words | {"class_labels": torch.where(labels == 1000, null, labels)}
        return inputs, words

    return hook


def _chain(card: Card) -> dict[str, Any]:
    """Words of diffusers' DDIMScheduler for the chain of a card, in whole strides, as its pipelines are published."""
    words = card.schedule
    return {
        "num_train_timesteps": int(words["steps"]), "beta_start": words["start"], "beta_end": words["end"], "beta_schedule": "linear",
        "clip_sample": False, "set_alpha_to_one": True, "steps_offset": 0, "timestep_spacing": "leading",
    }  # fmt: skip


def _takes_strides(card: Card, steps: int) -> bool:
    """Whether diffusers' whole strides are those of the official ones: only where they cut the chain evenly."""
    return card.schedule["kind"] == "linear" and int(card.schedule["steps"]) % steps == 0
