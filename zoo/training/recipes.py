"""One recipe a bundled model: its architecture comes from its card, its loss and its plan stand here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from zoo.catalog.card import Card, cards
from zoo.catalog.store import WEIGHTS
from zoo.sampling.schedule import Schedule
from zoo.training import clips, emoji
from zoo.training.trainer import Loss, Plan

POOL, HELD_OUT = 49_152, 4_096
"""Training pictures drawn once (seed 1), and pictures never trained on (seed 2)."""
VIDEOS = 4_096
"""Training clips drawn once (seed 1)."""


def pictures(count: int, seed: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """`count` pictures (count, 3, 64, 64) as uint8 and their labels, drawn in batches of 256."""
    images = torch.empty(count, 3, emoji.SIZE, emoji.SIZE, dtype=torch.uint8, device=device)
    labels = torch.empty(count, dtype=torch.long, device=device)
    for index, start in enumerate(range(0, count, 256)):
        x, y = emoji.batch(256, seed, index, device)
        images[start : start + 256] = levels(x)[: count - start]
        labels[start : start + 256] = y[: count - start]
    return images, labels


def videos(count: int, seed: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """The first `count` clips of a seed, uint8 (count, 16, 3, 64, 64), and their labels (count,)."""
    frames = torch.empty(count, clips.FRAMES, 3, emoji.SIZE, emoji.SIZE, dtype=torch.uint8, device=device)
    labels = torch.empty(count, dtype=torch.long, device=device)
    for index, start in enumerate(range(0, count, 32)):
        x, y = clips.batch(32, seed, index, device)
        frames[start : start + 32] = levels(x)[: count - start]
        labels[start : start + 32] = y[: count - start]
    return frames, labels


def levels(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] as uint8."""
    return ((x + 1) * 127.5).round().to(torch.uint8)


def pixels(images: Tensor) -> Tensor:
    """uint8 pictures to float in [-1, 1]."""
    return images.float() / 127.5 - 1


@torch.no_grad()
def latents(autoencoder: nn.Module, images: Tensor, scale: float) -> Tensor:
    """Means of the latents of uint8 pictures (n, 3, h, w), or videos (n, f, 3, h, w), times scale: (n, 4, h / 4, w / 4), or
    (n, f, 4, ...)."""
    frames = images.flatten(0, -4)
    with torch.autocast(images.device.type, torch.bfloat16):
        parts = [autoencoder.encode(pixels(part)).latent_dist.mean.float() for part in frames.split(512)]
    return torch.cat(parts).unflatten(0, images.shape[:-3]) * scale


def _chosen(count: int, batch: int, generator: Generator) -> Tensor:
    return torch.randint(count, (batch,), generator=generator, device=generator.device)


def _uniform(shape: Sequence[int], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _noise(shape: Sequence[int], generator: Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)


def _half(generator: Generator) -> torch.autocast:
    """bfloat16 for what is large."""
    return torch.autocast(generator.device.type, torch.bfloat16)


def likeness(decoded: Tensor, x: Tensor) -> Tensor:
    """Absolute and (4 times) squared error of pictures (b, 3, h, w), and the absolute error of their slopes: edges count most."""
    slopes = sum(F.l1_loss(decoded.diff(dim=axis), x.diff(dim=axis)) for axis in (2, 3))
    return F.l1_loss(decoded, x) + 4 * F.mse_loss(decoded, x) + slopes


def autoencoder_loss(images: Tensor, batch: int) -> Loss:
    """Unlikeness of the reconstruction of uint8 pictures from a sampled latent, and 5e-4 of the KL divergence a latent number."""

    def loss(model: nn.Module, generator: Generator) -> Tensor:
        x = pixels(images[_chosen(len(images), batch, generator)])
        with _half(generator):
            posterior = model.encode(x).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            decoded = model.decode(mean + (0.5 * logvar).exp() * _noise(mean.shape, generator)).sample
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return likeness(decoded.float(), x) + 5e-4 * divergence

    return loss


def decoder_loss(images: Tensor, z: Tensor, batch: int, noise: float = 0.1) -> Loss:
    """Unlikeness of what is decoded from latents z of the pictures, noised a little (up to `noise`): a generator's are not quite the
    encoder's."""

    def loss(model: nn.Module, generator: Generator) -> Tensor:
        chosen = _chosen(len(images), batch, generator)
        level = noise * _uniform((batch, 1, 1, 1), generator)
        with _half(generator):
            decoded = model.decode(z[chosen] + level * _noise((batch, *z.shape[1:]), generator)).sample.float()
        return likeness(decoded, pixels(images[chosen]))

    return loss


def classifier_loss(images: Tensor, labels: Tensor, batch: int) -> Loss:
    """Cross-entropy with label smoothing 0.05 of uint8 pictures, or clips; half of each batch is noised a little, and a quarter of
    pictures blurred, as decoded samples can be."""

    def loss(model: nn.Module, generator: Generator) -> Tensor:
        chosen = _chosen(len(images), batch, generator)
        x, half = pixels(images[chosen]), batch // 2
        level = 0.15 * _uniform((half, *[1] * (x.ndim - 1)), generator)
        noised = x[:half] + level * _noise(x[:half].shape, generator)
        blurred = F.avg_pool2d(x[-half // 2 :], 3, 1, 1, count_include_pad=False) if x.ndim == 4 else x[-half // 2 :]
        x = torch.cat([noised, x[half : -half // 2], blurred])
        with _half(generator):
            logits = model(x).logits
        return F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.05)

    return loss


def _asked(labels: Tensor, num_classes: int, generator: Generator) -> Tensor:
    """Labels (b,), 10 % of them the null label."""
    return torch.where(_uniform(labels.shape, generator) < 0.1, num_classes, labels)


def _strata(batch: int, generator: Generator) -> Tensor:
    """Numbers (b,) in [0, 1), one in each of b equal parts."""
    return (torch.arange(batch, device=generator.device) + _uniform((batch,), generator)) / batch


def flow_loss(z: Tensor, labels: Tensor, num_classes: int, batch: int) -> Loss:
    """Squared error of the velocity on the straight path from noise to latents z, the time even in [0, 1] and 1 at the data (SiT,
    arXiv 2401.08740), 10 % of the labels dropped."""

    def loss(model: nn.Module, generator: Generator) -> Tensor:
        chosen, time = _chosen(len(z), batch, generator), _strata(batch, generator)
        x0, noise = z[chosen], _noise((batch, *z.shape[1:]), generator)
        y = _asked(labels[chosen], num_classes, generator)
        with _half(generator):
            velocity = model(torch.lerp(noise, x0, _like(x0, time)), time, y).float()
        return F.mse_loss(velocity, x0 - noise)

    return loss


def diffusion_loss(
    z: Tensor, labels: Tensor, schedule: Schedule, learn_sigma: bool, num_classes: int, batch: int, lift: float = 1.0
) -> Loss:
    """Noise-prediction error with min-SNR-5 weights (Hang et al., arXiv 2303.09556), 10 % of the labels dropped.

    `lift` is the largest weight of high noise, which is else 1: it grows as the noise-to-signal amplitude ratio up to there. The
    frames of a video say the same thing many times, so that what is shown and how it moves is settled at higher noise than in a picture.

    Where sigma is learned, the variational bound of the variance is added as in improved DDPM (Nichol and Dhariwal,
    arXiv 2102.09672), the noise detached; the last step of the chain, which draws no noise, counts like the others.
    """
    alpha_bar = torch.from_numpy(schedule.alphas_cumprod).to(z.device)
    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    beta = 1 - alpha_bar / before
    posterior = beta * (1 - before) / (1 - alpha_bar)
    low, high = torch.cat([posterior[1:2], posterior[1:]]).log().float(), beta.log().float()
    times = torch.tensor([schedule.model_time((i + 1) / schedule.steps) for i in range(schedule.steps)], device=z.device).float()
    snr = alpha_bar / (1 - alpha_bar)
    weight = torch.minimum(5 / snr, snr.rsqrt().clamp(1, lift)).float()

    def loss(model: nn.Module, generator: Generator) -> Tensor:
        chosen = _chosen(len(z), batch, generator)
        index = (_strata(batch, generator) * schedule.steps).long().clamp(max=schedule.steps - 1)  # a number below 1 can round to it
        x0, noise = z[chosen], _noise((batch, *z.shape[1:]), generator)
        y = _asked(labels[chosen], num_classes, generator)
        level = _like(x0, alpha_bar[index])
        x = level.sqrt() * x0 + (1 - level).sqrt() * noise
        with _half(generator):
            out = model(x, times[index], y)
        eps = out.narrow(-3, 0, 4).float()
        value = (weight[index] * (eps - noise).square().flatten(1).mean(1)).mean()
        if learn_sigma:
            share = ((out.narrow(-3, 4, 4).float() + 1) / 2).clamp(-1, 2)
            small, large = _like(x0, low[index]), _like(x0, high[index])
            logvar = share * large + (1 - share) * small
            step_size = _like(x0, beta[index])
            off = (step_size.square() / ((1 - step_size) * (1 - level))) * (eps.detach() - noise).square()
            value = value + 0.5 * (logvar - small - 1 + (small.exp() + off) * (-logvar).exp()).mean() / math.log(2)
        return value

    return loss


def _like(x: Tensor, values: Tensor) -> Tensor:
    """One float32 number a sample, to be multiplied with x."""
    return values.float().view(-1, *[1] * (x.ndim - 1))


def generator_loss(card: Card, z: Tensor, labels: Tensor, batch: int) -> Loss:
    """The loss of a generator's card on latents z, times its scale: of a flow, or of the noise on its schedule."""
    schedule, classes = Schedule.from_card(card.schedule), card.arch["num_classes"]
    if schedule.kind == "flow":
        return flow_loss(z, labels, classes, batch)
    return diffusion_loss(z, labels, schedule, card.arch.get("learn_sigma", False), classes, batch, 100.0 if card.video else 1.0)


@dataclass(frozen=True)
class Recipe:
    """What `python -m zoo.training NAME` does for one bundled model."""

    plan: Plan
    seed: int = 0
    card: str = ""
    """The model that this recipe goes on with, from its weights as they are; empty: the one of the recipe's own name."""
    frozen: tuple[str, ...] = ()
    """Beginnings of the names of parameters that stay as they are."""
    start: str = ""
    """The bundled model whose weights, where names and shapes agree, are the first values."""
    batch: int = 64
    """Pictures, latents or clips a step."""


RECIPES = {
    "tiny-vae": Recipe(Plan(steps=4000, rate=1e-3, ema=0.998)),
    "tiny-vae-decoder": Recipe(Plan(steps=1400, rate=1e-3, ema=0.998), card="tiny-vae", frozen=("encoder.", "quant_conv.")),
    "tiny-vit": Recipe(Plan(steps=1300, rate=1e-3, matrix_rate=3e-3, ema=0.998), batch=128),
    "tiny-swin": Recipe(Plan(steps=1200, rate=1e-3, matrix_rate=3e-3, ema=0.998), batch=128),
    "tiny-vivit": Recipe(Plan(steps=1500, rate=1e-3, matrix_rate=3e-3, ema=0.998)),
    "tiny-dit": Recipe(Plan(steps=12000, rate=1e-3, matrix_rate=5e-3), batch=128),
    "tiny-sit": Recipe(Plan(steps=12000, rate=1e-3, matrix_rate=5e-3), batch=128),
    "tiny-uvit": Recipe(Plan(steps=12000, rate=1e-3, matrix_rate=5e-3), batch=128),
    "tiny-unet": Recipe(Plan(steps=5500, rate=1e-3), batch=128),
    "tiny-latte": Recipe(Plan(steps=1400, rate=1e-3, matrix_rate=5e-3), start="tiny-dit", batch=16),
    "tiny-latte-more": Recipe(Plan(steps=2800, rate=5e-4, matrix_rate=2e-3), seed=1, card="tiny-latte", batch=4),
}


def weights_path(name: str) -> Path:
    """Where the bundled weights of a model stand, as its card says."""
    return WEIGHTS / cards()[name].weights[0].file
