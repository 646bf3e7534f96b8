"""One recipe a bundled model: its architecture comes from its card, its loss and its plan stand here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.catalog.card import cards
from zoo.catalog.store import WEIGHTS
from zoo.sampling.schedule import Schedule
from zoo.training import clips, emoji
from zoo.training.trainer import Plan

Loss = Callable[[nn.Module, int], Tensor]

POOL, HELD_OUT = 24_576, 4_096
"""Training pictures drawn once (seed 1), and pictures never trained on (seed 2)."""
VIDEOS = 6_144
"""Training clips drawn once (seed 1)."""


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` pictures (count, 3, 64, 64) as uint8 and their labels, drawn in batches of 256."""
    images, labels = torch.empty(count, 3, emoji.SIZE, emoji.SIZE, dtype=torch.uint8), torch.empty(count, dtype=torch.long)
    for index, start in enumerate(range(0, count, 256)):
        x, y = emoji.batch(256, seed, index)
        images[start : start + 256] = levels(x)[: count - start]
        labels[start : start + 256] = y[: count - start]
    return images, labels


def levels(x: Tensor) -> Tensor:
    """Pictures in [-1, 1] as uint8."""
    return ((x + 1) * 127.5).round().to(torch.uint8)


def pixels(images: Tensor) -> Tensor:
    """uint8 pictures to float in [-1, 1]."""
    return images.float() / 127.5 - 1


def _draw(step: int, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def likeness(decoded: Tensor, x: Tensor) -> Tensor:
    """Absolute and (4 times) squared error of pictures (b, 3, h, w), and the absolute error of their slopes: edges count most."""
    slopes = sum(F.l1_loss(decoded.diff(dim=axis), x.diff(dim=axis)) for axis in (2, 3))
    return F.l1_loss(decoded, x) + 4 * F.mse_loss(decoded, x) + slopes


def autoencoder_loss(seed: int, batch: int = 8) -> Loss:
    """Unlikeness of the reconstruction from a sampled latent, and 5e-4 of the KL divergence a latent number."""
    images, _ = pictures(POOL, 1)

    def loss(model: nn.Module, step: int) -> Tensor:
        generator = _draw(step, seed)
        x = pixels(images[torch.randint(len(images), (batch,), generator=generator)])
        with torch.autocast("cpu", torch.bfloat16):
            posterior = model.encode(x).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            decoded = model.decode(mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=generator)).sample
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return likeness(decoded.float(), x) + 5e-4 * divergence

    return loss


def decoder_loss(autoencoder: nn.Module, seed: int, batch: int = 8, noise: float = 0.1) -> Loss:
    """Unlikeness of what is decoded from the means of latents, noised a little (up to `noise`): a generator's are not quite the
    encoder's."""
    images, _ = pictures(POOL, 1)
    z, _ = latents(autoencoder, 1.0)

    def loss(model: nn.Module, step: int) -> Tensor:
        generator = _draw(step, seed)
        chosen = torch.randint(len(images), (batch,), generator=generator)
        level = noise * torch.rand(batch, 1, 1, 1, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = model.decode(z[chosen] + level * torch.randn(z[chosen].shape, generator=generator)).sample.float()
        return likeness(decoded, pixels(images[chosen]))

    return loss


def classifier_loss(seed: int, batch: int = 128) -> Loss:
    """Cross-entropy with label smoothing 0.05; half of each batch is noised a little, a quarter blurred, as decoded samples can be."""
    images, labels = pictures(2 * POOL, 1)

    def loss(model: nn.Module, step: int) -> Tensor:
        generator = _draw(step, seed)
        chosen = torch.randint(len(images), (batch,), generator=generator)
        x, half = pixels(images[chosen]), batch // 2
        x[:half] += 0.15 * torch.rand(half, 1, 1, 1, generator=generator) * torch.randn(x[:half].shape, generator=generator)
        x[-half // 2 :] = F.avg_pool2d(x[-half // 2 :], 3, 1, 1, count_include_pad=False)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x).logits
        return F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.05)

    return loss


def videos(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first `count` clips of a seed, uint8 (count, 16, 3, 64, 64), and their labels (count,)."""
    frames = torch.empty(count, clips.FRAMES, 3, emoji.SIZE, emoji.SIZE, dtype=torch.uint8)
    labels = torch.empty(count, dtype=torch.long)
    for index, start in enumerate(range(0, count, 32)):
        x, y = clips.batch(32, seed, index)
        frames[start : start + 32] = levels(x)[: count - start]
        labels[start : start + 32] = y[: count - start]
    return frames, labels


@torch.no_grad()
def video_latents(autoencoder: nn.Module, scale: float) -> tuple[Tensor, Tensor]:
    """Means of the training clips' latents times scale (n, 16, 4, 16, 16), and their labels."""
    found, labels = [], []
    for index in range(VIDEOS // 32):
        frames, label = clips.batch(32, 1, index)
        with torch.autocast("cpu", torch.bfloat16):
            mean = autoencoder.encode(frames.flatten(0, 1)).latent_dist.mean.float()
        found.append(mean.unflatten(0, frames.shape[:2]) * scale)
        labels.append(label)
    return torch.cat(found), torch.cat(labels)


def video_classifier_loss(seed: int, batch: int = 32) -> Loss:
    """Cross-entropy with label smoothing 0.05 on clips, half of them noised a little."""
    kept, labels = videos(VIDEOS, 1)

    def loss(model: nn.Module, step: int) -> Tensor:
        generator = _draw(step, seed)
        chosen = torch.randint(len(kept), (batch,), generator=generator)
        x, half = pixels(kept[chosen]), batch // 2
        x[:half] += 0.1 * torch.rand(half, 1, 1, 1, 1, generator=generator) * torch.randn(x[:half].shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x).logits
        return F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.05)

    return loss


@torch.no_grad()
def latents(autoencoder: nn.Module, scale: float) -> tuple[Tensor, Tensor]:
    """Means of the training pictures' latents times scale (n, 4, 16, 16), and their labels."""
    images, labels = pictures(POOL, 1)
    with torch.autocast("cpu", torch.bfloat16):
        parts = [autoencoder.encode(pixels(part)).latent_dist.mean.float() for part in images.split(128)]
    return torch.cat(parts) * scale, labels


def diffusion_loss(
    z: Tensor, labels: Tensor, schedule: Schedule, learn_sigma: bool, num_classes: int, seed: int, batch: int = 64, lift: float = 1.0
) -> Loss:
    """Noise-prediction error with min-SNR-5 weights (Hang et al., arXiv 2303.09556), 10 % of the labels dropped.

    `lift` is the largest weight of high noise, which is else 1: it grows as the noise-to-signal amplitude ratio up to there. The
    frames of a video say the same thing many times, so that what is shown and how it moves is settled at higher noise than in a picture.

    Where sigma is learned, the variational bound of the variance is added as in improved DDPM (Nichol and Dhariwal,
    arXiv 2102.09672), the noise detached; the last step of the chain, which draws no noise, counts like the others.
    """
    alpha_bar = torch.from_numpy(schedule.alphas_cumprod)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar[:-1]])
    beta = 1 - alpha_bar / before
    posterior = beta * (1 - before) / (1 - alpha_bar)
    low, high = torch.cat([posterior[1:2], posterior[1:]]).log().float(), beta.log().float()
    times = torch.tensor([schedule.model_time((i + 1) / schedule.steps) for i in range(schedule.steps)]).float()
    snr = alpha_bar / (1 - alpha_bar)
    weight = torch.minimum(5 / snr, snr.rsqrt().clamp(1, lift)).float()

    def loss(model: nn.Module, step: int) -> Tensor:
        generator = _draw(step, seed)
        chosen = torch.randint(len(z), (batch,), generator=generator)
        strata = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
        index = (strata * schedule.steps).long()
        x0, y = z[chosen], labels[chosen]
        y = torch.where(torch.rand(batch, generator=generator) < 0.1, num_classes, y)
        noise = torch.randn(x0.shape, generator=generator)
        level = _like(x0, alpha_bar[index])
        x = level.sqrt() * x0 + (1 - level).sqrt() * noise
        with torch.autocast("cpu", torch.bfloat16):
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
    batch: int = 32
    """Latents, or clips, a step of a diffusion model: more, smaller steps learn the drawings sooner than fewer, larger ones."""


RECIPES = {
    "tiny-vae": Recipe(Plan(steps=2300, rate=1e-3, ema=0.995)),
    "tiny-vae-decoder": Recipe(Plan(steps=2000, rate=1e-3, ema=0.998), card="tiny-vae", frozen=("encoder.", "quant_conv.")),
    "tiny-vit": Recipe(Plan(steps=1300, rate=1e-3, matrix_rate=3e-3, ema=0.998)),
    "tiny-swin": Recipe(Plan(steps=2000, rate=1e-3, matrix_rate=3e-3, ema=0.998)),
    "tiny-dit": Recipe(Plan(steps=8000, rate=1e-3, matrix_rate=5e-3)),
    "tiny-dit-more": Recipe(Plan(steps=4000, rate=1e-3, matrix_rate=5e-3), seed=1, card="tiny-dit"),
    "tiny-uvit": Recipe(Plan(steps=4500, rate=1e-3, matrix_rate=5e-3)),
    "tiny-unet": Recipe(Plan(steps=4500, rate=1e-3)),
    "tiny-latte": Recipe(Plan(steps=7000, rate=1e-3, matrix_rate=5e-3), start="tiny-dit", batch=4),
    "tiny-vivit": Recipe(Plan(steps=2400, rate=1e-3, ema=0.99)),
}


def weights_path(name: str) -> Path:
    """Where the bundled weights of a model stand, as its card says."""
    return WEIGHTS / cards()[name].weights[0].file
