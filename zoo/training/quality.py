"""How good the bundled models are: the figures that their cards state, measured again."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zoo.catalog.card import Card
from zoo.compare.metrics import logits_and_features, moments
from zoo.engine.hub import Hub
from zoo.media import pictures, video
from zoo.networks import autoencoders
from zoo.networks.out_of_distribution import ACCEPTED, HeldOut
from zoo.sampling import Schedule, guided, sample, seeded
from zoo.training import clips, emoji
from zoo.training.recipes import HELD_OUT, levels, pixels, videos
from zoo.training.recipes import pictures as drawings

FEATURES = 24_576
"""Pictures (seed 3), or a third as many clips, whose features are what samples are compared with."""


@torch.no_grad()
def psnr(autoencoder: nn.Module, count: int = 1024) -> float:
    """Mean peak signal-to-noise ratio in dB of held-out pictures and their reconstructions from the latents' means."""
    x = pixels(drawings(count, 2)[0])
    errors = [
        (autoencoders.decode(autoencoder, autoencoders.encode(autoencoder, part, 1.0), 1.0) - part).square().mean((1, 2, 3))
        for part in x.split(64)
    ]
    return (10 * torch.log10(4 / torch.cat(errors))).mean().item()


@torch.no_grad()
def recognised(judge: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Share of pictures (b, 3, h, w), or videos (b, f, 3, h, w), in [-1, 1] that the judge puts into their class, over all and for
    the worst class."""
    right = torch.cat([judge(part).logits.argmax(-1) for part in images.split(256)]) == labels
    return {"all": right.float().mean().item(), "worst_class": min(right[labels == k].float().mean().item() for k in labels.unique())}


def drawn(hub: Hub, card: Card, solver: str, steps: int, guidance: float, count: int) -> tuple[Tensor, Tensor]:
    """`count` pictures or videos of a model, seeds 0.., classes in turn, as the hub would draw them, and the classes asked for."""
    return painted(hub.load(card).module, hub.load(hub.card(card.latent.vae)).module, card, solver, steps, guidance, count)


@torch.no_grad()
def painted(
    model: nn.Module, autoencoder: nn.Module, card: Card, solver: str, steps: int, guidance: float, count: int, batch: int = 50
) -> tuple[Tensor, Tensor]:
    """As `drawn`, of modules that may be on a GPU: (count, 3, h, w), or (count, f, 3, h, w), in [-1, 1], and labels (count,)."""
    device = next(model.parameters()).device
    labels = torch.arange(count, device=device) % card.arch["num_classes"]
    frames = (card.arch["num_frames"],) if card.video else ()
    shape = (*frames, card.arch["in_channels"], card.arch["input_size"], card.arch["input_size"])
    made = []
    for seeds in torch.arange(count).split(batch):
        noise = seeded(seeds, shape, device)
        predict = guided(model, labels[seeds], guidance, card.guidance.channels)
        *_, last = sample(predict, noise(-1), Schedule.from_card(card.schedule), solver, steps, noise=noise)
        made.append(autoencoders.decode(autoencoder, last.x, card.latent.scale))
    return torch.cat(made), labels


def sheet(hub: Hub, card: Card) -> Image.Image:
    """Two guided samples of every class, a column each, or every second frame of one video of every class, a row each: the picture
    in the card."""
    classes, rows = card.arch["num_classes"], 1 if card.video else 2
    images, _ = drawn(hub, card, card.sampling.solver, card.sampling.steps, card.guidance.default, rows * classes)
    if card.video:
        frames = images[:, ::2].flatten(0, 1)
        return pictures.grid(pictures.to_uint8(frames), len(frames) // classes)
    return pictures.grid(pictures.to_uint8(images), classes)


def flicker(frames: Tensor) -> float:
    """Mean flicker of videos (b, f, 3, h, w) in [-1, 1]."""
    return sum(video.flicker(one) for one in pictures.to_uint8(frames)) / len(frames)


def report(hub: Hub, card: Card, count: int) -> dict[str, float]:
    """The figures of one bundled card: PSNR, accuracy on held-out data, or how well its samples are recognised; for videos also
    their flicker as a multiple of that of as many held-out ones."""
    if card.task == "autoencoder":
        return {"psnr_db": psnr(hub.load(card).module)}
    film = card.video or card.task == "video-classification"
    if card.task.endswith("classification"):
        images, labels = videos(HELD_OUT // 4, 2) if film else drawings(HELD_OUT, 2)
        return recognised(hub.load(card).module, pixels(images), labels)
    judge = hub.load(hub.card("tiny-vivit" if film else "tiny-vit")).module
    settings = {
        "guided": (card.sampling.solver, card.sampling.steps, card.guidance.default),
        "unguided": (card.sampling.solver, card.sampling.steps, 1.0),
    }
    figures = {}
    for name, setting in list(settings.items())[: 1 if film else None]:
        images, labels = drawn(hub, card, *setting, count)
        figures |= {f"{name}_{key}": value for key, value in recognised(judge, images, labels).items()}
    if film:
        figures["flicker_ratio"] = flicker(images) / flicker(pixels(videos(count, 2)[0]))
    return figures


def features(hub: Hub, card: Card) -> dict[str, np.ndarray]:
    """Mean (classes, d) and covariance (classes, d, d) of a judge's features of each class, of data that nothing was trained on; and
    the limit of their distance, within which nearly all of other such data lie (out_of_distribution)."""
    every, y = _features(hub, card, 3, FEATURES)
    both = [moments(every[y == k]) for k in range(card.arch["num_classes"])]
    means, covariances = (torch.stack(parts).float() for parts in zip(*both, strict=True))
    distances = HeldOut(card.id, means, covariances, 0.0).distances(_features(hub, card, 4, FEATURES // 4)[0])
    limit = np.float64(distances.quantile(ACCEPTED).item())
    return {"means": means.numpy(), "covariances": covariances.numpy(), "limit": limit, "judge": np.array(card.id)}


def _features(hub: Hub, card: Card, seed: int, count: int) -> tuple[Tensor, Tensor]:
    """A judge's features (n, d) of `count` held-out pictures, or a third as many clips, and their classes."""
    judge, parts, labels = hub.load(card).module, [], []
    film = card.task == "video-classification"
    for index in range(count // (96 if film else 64)):
        x, y = clips.batch(32, seed, index) if film else emoji.batch(64, seed, index)
        parts.append(logits_and_features(judge, pixels(levels(x)))[1])  # in levels, as samples are
        labels.append(y)
    return torch.cat(parts), torch.cat(labels)
