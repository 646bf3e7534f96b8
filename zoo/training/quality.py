"""How good the bundled models are: the figures that their cards state, measured again."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor, nn

from zoo import latents, media
from zoo.card import Card
from zoo.hub import Hub
from zoo.sampling import Schedule, guided, sample
from zoo.training.recipes import HELD_OUT, pictures, pixels


@torch.no_grad()
def psnr(autoencoder: nn.Module, count: int = 1024) -> float:
    """Mean peak signal-to-noise ratio in dB of held-out pictures and their reconstructions from the latents' means."""
    x = pixels(pictures(count, 2)[0])
    errors = [
        (latents.decode(autoencoder, latents.encode(autoencoder, part, 1.0), 1.0) - part).square().mean((1, 2, 3)) for part in x.split(64)
    ]
    return (10 * torch.log10(4 / torch.cat(errors))).mean().item()


@torch.no_grad()
def recognised(judge: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Share of pictures (b, 3, 64, 64) in [-1, 1] that the judge puts into their class, over all and for the worst class."""
    right = torch.cat([judge(part).logits.argmax(-1) for part in images.split(256)]) == labels
    return {"all": right.float().mean().item(), "worst_class": min(right[labels == k].float().mean().item() for k in labels.unique())}


def drawn(hub: Hub, card: Card, solver: str, steps: int, guidance: float, count: int) -> tuple[Tensor, Tensor]:
    """`count` pictures of a model, seeds 0.., classes in turn, as the hub would draw them, and the classes asked for."""
    model, autoencoder = hub.load(card).module, hub.load(hub.card(card.latent.vae)).module
    labels = torch.arange(count) % card.arch["num_classes"]
    shape = (card.arch["in_channels"], card.arch["input_size"], card.arch["input_size"])
    made = []
    for seeds in torch.arange(count).split(50):
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

        def noise(_: int, generators: list = generators) -> Tensor:
            return torch.stack([torch.randn(shape, generator=g) for g in generators])

        predict = guided(model, labels[seeds], guidance, card.guidance.channels)
        *_, last = sample(predict, noise(-1), Schedule.from_card(card.schedule), solver, steps, noise=noise)
        made.append(latents.decode(autoencoder, last.x, card.latent.scale))
    return torch.cat(made), labels


def sheet(hub: Hub, card: Card) -> Image.Image:
    """Two guided samples of every class, a column each: the picture in the card."""
    images, _ = drawn(hub, card, card.sampling.solver, card.sampling.steps, card.guidance.default, 2 * card.arch["num_classes"])
    return media.grid(media.to_uint8(images), card.arch["num_classes"])


def report(hub: Hub, card: Card, count: int) -> dict[str, float]:
    """The figures of one bundled card: PSNR, accuracy on held-out pictures, or how well its samples are recognised."""
    if card.task == "autoencoder":
        return {"psnr_db": psnr(hub.load(card).module)}
    judge = hub.load(hub.card("tiny-vit")).module
    if card.task == "image-classification":
        images, labels = pictures(HELD_OUT, 2)
        return recognised(judge, pixels(images), labels)
    settings = {
        "guided": (card.sampling.solver, card.sampling.steps, card.guidance.default),
        "unguided": (card.sampling.solver, card.sampling.steps, 1.0),
        "ddpm_250": ("ddpm", 250, card.guidance.default),
    }
    figures = {}
    for name, setting in settings.items():
        found = recognised(judge, *drawn(hub, card, *setting, count))
        figures |= {f"{name}_{key}": value for key, value in found.items()}
    return figures
