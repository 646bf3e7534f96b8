"""The bundled models on the data set "emoji", begun: `python -m zoo.training.emoji_models NAME` goes on with one.

The architectures are those of the present cards with a hundred classes. `begun/` beside this file holds the best averaged weights
so far, from which the next training starts; its own state and weights lie in --state, outside the repository, and `--measure` and
`--sheet` look there first. What was reached (seed 0; one thread each on 2 CPU cores, AMD EPYC, bfloat16 autocast, beside other work):

tiny-vae  31.29 dB on 1,024 held-out pictures after 2,300 steps of 8 (28.44 after 726), from the weights of the shapes; 1,839 s.
          31.76 dB after 949 of the 2,000 steps of tiny-vae-decoder, at the full rate: this is in `begun/`. Its encoder is final:
          the latents of the diffusion models are its own.
tiny-vit  99.98 % of 4,096 held-out pictures, 97.3 % of the worst class, after 1,300 steps of 128; 1,993 s. This is in `begun/`.
tiny-dit  begun: after all 8,000 steps (260 of 64, then of 32) from the blocks of the shapes the judge knows 94.5 % of 200 samples (25
          steps of dpm-solver++, w = 3; 76 % after 5,019 at nearly the full rate); of fish and peach none of two. 0.5 s of one core a
          step of 32; this is in `begun/`. Go on from there until the judge knows 97 %.
the rest  nothing yet; tiny-uvit, tiny-unet and tiny-swin have their recipes here. `zoo/training/clips.py` draws the clips for
          tiny-latte and tiny-vivit, which have none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.catalog.card import Card, cards
from zoo.catalog.checkpoint import load_into, read
from zoo.catalog.environment import cache_folder
from zoo.media.pictures import grid, to_uint8
from zoo.networks.autoencoders import decode, encode
from zoo.networks.build import build_module
from zoo.sampling import Schedule, guided, sample, seeded
from zoo.training import emoji
from zoo.training.quality import recognised
from zoo.training.recipes import Loss, diffusion_loss, pixels, weights_path
from zoo.training.trainer import Plan, fit

BEGUN = Path(__file__).parent / "begun"
POOL, HELD_OUT = 24_576, 4_096
"""Training pictures drawn once (seed 1), and pictures never trained on (seed 2)."""
SCALE = 0.717
"""From the autoencoder's latents to the diffusion models': one over their standard deviation."""


@dataclass(frozen=True)
class Recipe:
    """What is done for one model, and which that is where the name of the recipe is not its id."""

    plan: Plan
    seed: int = 0
    model: str = ""
    frozen: tuple[str, ...] = ()
    """Beginnings of the names of parameters that stay as they are."""
    batch: int = 32
    """Latents a step of a diffusion model: more, smaller steps learn the drawings sooner than fewer, larger ones."""


RECIPES = {
    "tiny-vae": Recipe(Plan(steps=2300, rate=1e-3, ema=0.995)),
    "tiny-vae-decoder": Recipe(Plan(steps=2000, rate=1e-3, ema=0.998), model="tiny-vae", frozen=("encoder.", "quant_conv.")),
    "tiny-vit": Recipe(Plan(steps=1300, rate=1e-3, matrix_rate=3e-3, ema=0.998)),
    "tiny-dit": Recipe(Plan(steps=8000, rate=1e-3, matrix_rate=5e-3)),
    "tiny-uvit": Recipe(Plan(steps=6000, rate=1e-3, matrix_rate=5e-3)),
    "tiny-unet": Recipe(Plan(steps=6000, rate=1e-3)),
    "tiny-swin": Recipe(Plan(steps=2000, rate=1e-3, matrix_rate=3e-3, ema=0.998)),
}


def card_of(name: str) -> Card:
    """The present card of a model, for a hundred classes and the autoencoder's new scale."""
    card = cards()[name]
    if card.task == "autoencoder":
        return card
    latent = card.latent and replace(card.latent, scale=SCALE)
    return replace(card, arch={**card.arch, "num_classes": len(emoji.CLASSES)}, labels="emoji", latent=latent)


def where(name: str, state: Path) -> Path:
    """The newest weights of a model: those of a training in `state`, else those begun, else those that ship."""
    places = (state / f"{name}.safetensors", BEGUN / f"{name}.safetensors", weights_path(name))
    return next(path for path in places if path.is_file())


def trained(name: str, state: Path) -> nn.Module:
    """A model on emoji as it stands."""
    module = build_module(card_of(name))
    load_into(module, where(name, state))
    return module.eval()


def first(name: str, recipe: Recipe, state: Path) -> nn.Module:
    """What a training begins with: the newest weights where names and shapes agree, else random ones."""
    torch.manual_seed(recipe.seed)
    model = build_module(card_of(name))
    other, own = read(where(name, state)), model.state_dict()
    model.load_state_dict({key: value for key, value in other.items() if key in own and value.shape == own[key].shape}, strict=False)
    return model


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`count` pictures (count, 3, 64, 64) as uint8 and their labels, drawn in batches of 256."""
    images, labels = torch.empty(count, 3, emoji.SIZE, emoji.SIZE, dtype=torch.uint8), torch.empty(count, dtype=torch.long)
    for index, start in enumerate(range(0, count, 256)):
        x, y = emoji.batch(256, seed, index)
        images[start : start + 256] = ((x + 1) * 127.5).round().to(torch.uint8)[: count - start]
        labels[start : start + 256] = y[: count - start]
    return images, labels


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
    images, z, _ = encoded(autoencoder, 1.0)

    def loss(model: nn.Module, step: int) -> Tensor:
        generator = _draw(step, seed)
        chosen = torch.randint(len(images), (batch,), generator=generator)
        level = noise * torch.rand(batch, 1, 1, 1, generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            decoded = model.decode(z[chosen] + level * torch.randn(z[chosen].shape, generator=generator)).sample.float()
        return likeness(decoded, pixels(images[chosen]))

    return loss


@torch.no_grad()
def encoded(autoencoder: nn.Module, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """The training pictures (n, 3, 64, 64) as uint8, the means of their latents times scale (n, 4, 16, 16), and their labels."""
    images, labels = pictures(POOL, 1)
    with torch.autocast("cpu", torch.bfloat16):
        parts = [autoencoder.encode(pixels(part)).latent_dist.mean.float() for part in images.split(64)]
    return images, torch.cat(parts) * scale, labels


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


def loss_for(name: str, recipe: Recipe, state: Path) -> Loss:
    """The loss of a recipe, its data drawn or encoded once."""
    card = card_of(recipe.model or name)
    print("drawing the training pictures", file=sys.stderr, flush=True)
    if card.task == "autoencoder":
        return decoder_loss(trained(card.id, state), recipe.seed) if recipe.frozen else autoencoder_loss(recipe.seed)
    if card.task == "image-classification":
        return classifier_loss(recipe.seed)
    _, z, labels = encoded(trained(card.latent.vae, state), SCALE)
    print(f"latents: mean {z.mean():.3f}, standard deviation {z.std():.3f}", file=sys.stderr, flush=True)
    schedule, learn_sigma = Schedule.from_card(card.schedule), card.arch.get("learn_sigma", False)
    return diffusion_loss(z, labels, schedule, learn_sigma, len(emoji.CLASSES), recipe.seed, recipe.batch)


@torch.no_grad()
def drawn(name: str, state: Path, labels: Tensor, guidance: float, steps: int = 25) -> Tensor:
    """One picture a label, seeds 0.., by dpm-solver++: (b, 3, 64, 64) in [-1, 1]."""
    card = card_of(name)
    model, autoencoder = trained(name, state), trained(card.latent.vae, state)
    shape = (card.arch["in_channels"], card.arch["input_size"], card.arch["input_size"])
    made = []
    for seeds in torch.arange(len(labels)).split(50):
        noise = seeded(seeds, shape)
        predict = guided(model, labels[seeds], guidance, card.guidance.channels)
        *_, last = sample(predict, noise(-1), Schedule.from_card(card.schedule), "dpm-solver++", steps, noise=noise)
        made.append(decode(autoencoder, last.x, SCALE))
    return torch.cat(made)


@torch.no_grad()
def measured(name: str, state: Path, images: int, guidance: float) -> Mapping[str, object]:
    """PSNR on held-out pictures; or accuracy on them, over all and of the worst classes; or the share of samples that the judge knows."""
    card, classes = card_of(name), list(emoji.CLASSES)
    if card.task == "autoencoder":
        module, x = trained(name, state), pixels(pictures(HELD_OUT // 4, 2)[0])
        errors = [(decode(module, encode(module, part, 1.0), 1.0) - part).square().mean((1, 2, 3)) for part in x.split(64)]
        return {"psnr_db": (10 * torch.log10(4 / torch.cat(errors))).mean().item()}
    if card.task == "image-classification":
        judge, (shown, labels) = trained(name, state), pictures(HELD_OUT, 2)
        x = pixels(shown)
    else:
        judge, labels = trained("tiny-vit", state), torch.arange(images) % len(classes)
        x = ((drawn(name, state, labels, guidance) + 1) * 127.5).round() / 127.5 - 1
    said = torch.cat([judge(part).logits.argmax(-1) for part in x.split(256)])
    shares = {word: (said[labels == k] == k).float().mean().item() for k, word in enumerate(classes) if (labels == k).any()}
    worst = sorted(shares, key=shares.__getitem__)[:10]
    return recognised(judge, x, labels) | {"worst": {word: round(shares[word], 3) for word in worst}}


def main() -> None:
    """Parse the name and go on training it; or measure it, or draw a sheet of it."""
    parser = argparse.ArgumentParser(prog="python -m zoo.training.emoji_models", description=__doc__)
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--state", type=Path, default=cache_folder() / "begun", help="where the training keeps its state and weights")
    parser.add_argument("--measure", action="store_true", help="measure instead, on stdout as JSON")
    parser.add_argument("--images", type=int, default=2000, help="samples to measure")
    parser.add_argument("--guidance", type=float, default=2.0)
    parser.add_argument("--sheet", metavar="PNG", help="write a picture of samples, one of every class, or of reconstructions instead")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = RECIPES[arguments.name]
    name = recipe.model or arguments.name
    if arguments.measure:
        print(json.dumps(measured(name, arguments.state, arguments.images, arguments.guidance), indent=1))
    elif arguments.sheet and card_of(name).task == "autoencoder":
        module, x = trained(name, arguments.state), pixels(pictures(50, 2)[0])
        with torch.no_grad():
            back = decode(module, encode(module, x, 1.0), 1.0)
        grid(to_uint8(torch.stack([x, back], 1).flatten(0, 1)), 10).save(arguments.sheet)
    elif arguments.sheet:
        x = drawn(name, arguments.state, torch.arange(len(emoji.CLASSES)), arguments.guidance)
        grid(to_uint8(x), 10).save(arguments.sheet)
    else:
        model = first(name, recipe, arguments.state)
        for key, parameter in model.named_parameters():
            parameter.requires_grad_(not key.startswith(recipe.frozen))
        fit(model, loss_for(arguments.name, recipe, arguments.state), recipe.plan, arguments.state / f"{name}.safetensors")


if __name__ == "__main__":
    main()
