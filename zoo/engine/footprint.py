"""What a request needs of a device's memory, reckoned from cards before anything is loaded, and whether it fits.

The factors are measured on a CPU: peaks of a pass of DiT-XL/2, U-ViT-H/2, Latte-XL/2 and Latte-1 in float32 and bfloat16, and of
decoding by sd-vae and the temporal decoder. On CUDA and MPS they are the same by reasoning, not by measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from zoo.engine import run_steps
from zoo.engine.memory import gigabytes
from zoo.engine.model_cache import MORE
from zoo.errors import OutOfMemoryError
from zoo.networks import autoencoders

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.model_cache import ModelCache
    from zoo.engine.request import Request

WARM = 160 << 20
"""Bytes that a first pass brings in, once in a process: code, kernels, buffers of the threads, and what loading leaves behind."""
LATENTS = 12
"""Float32 arrays like the latents that guidance, the solver and its noise hold at once."""
DEFAULTS = {"input_size": 32, "in_channels": 4, "hidden_size": 1152, "depth": 28}
"""What the backbones take where a card does not say it."""
PIXELS = 20
"""Bytes per channel of each pixel that is made: decoded, joined and clamped in float32, as uint8 now and of the last preview, in files."""


@dataclass(frozen=True)
class Need:
    """Bytes that a request takes: the weights of what must be resident together, what is computed with them, and before that, for
    prompts, the text encoder with all that it computes."""

    weights: Mapping[str, int]
    work: int
    encoder: int = 0

    @property
    def total(self) -> int:
        """Bytes at the worst moment; the encoder has gone before the model comes."""
        return max(sum(self.weights.values()) + self.work, self.encoder) + WARM


def pass_bytes(arch: Mapping[str, Any], family: str, rows: int, frames: int, itemsize: int) -> int:
    """Bytes of one forward pass of a backbone, or of a text encoder, beside its weights; rows: of the batch, those of guidance included."""
    arch = DEFAULTS | dict(arch)
    if family == "unet":
        return 50 * rows * arch["hidden_size"] * arch["input_size"] ** 2 * itemsize
    patches = (arch["input_size"] // arch.get("patch_size", 1)) ** 2 if "patch_size" in arch or family == "u-dit" else 0
    beside = 1 + arch.get("num_context_tokens", 0) + arch.get("in_context_len", 0)
    unit = rows * frames * (patches + beside) * arch["hidden_size"] * itemsize
    kept = arch["depth"] // 2 if family in ("u-vit", "mdt") and arch.get("version", 2) == 2 else 0  # the long skips
    # An MLP holds its input, four times that before and after its activation; then what the allocator has not given back. A DDT makes
    # vectors for every token, and a U-DiT has features at every place.
    width = {"latte-t2v": 13, "t5": 16, "lightning-dit": 14, "mdt": 12.5, "jit": 16.5, "ddt": 23, "u-dit": 34}.get(family, 11.5)
    return int((width + kept) * unit + min(10.5 * unit, 150 << 20))


def attention_bytes(arch: Mapping[str, Any], rows: int, frames: int, itemsize: int) -> int:
    """Bytes of the scores of one layer, twice, where a device has no fused attention."""
    tokens = (arch["input_size"] // arch["patch_size"]) ** 2 if "patch_size" in arch else 0
    return 2 * rows * frames * arch.get("num_heads", 0) * tokens**2 * itemsize


def decode_bytes(autoencoder: Card, side: int, frames: int, itemsize: int) -> int:
    """Bytes of decoding one picture of so many pixels a side beside the weights, or as many frames as a temporal decoder takes together."""
    unit = autoencoder.arch["block_out_channels"][0] * side**2 * itemsize
    if autoencoder.family == "autoencoder-kl-temporal":
        together = min(frames, autoencoders.at_once(autoencoder.arch["block_out_channels"], side, itemsize))
        return int(8.5 * unit * together + min(6 * unit, 200 << 20))
    return int(7 * unit + min(6 * unit, 200 << 20))


class Memory:
    """Says before a request starts whether it fits into the budget, and holds its share while it runs."""

    def __init__(self, models: ModelCache, card: Callable[[str], Card], offers: Callable[[], Sequence[Card]]) -> None:
        self.models, self._card, self._offers = models, card, offers

    def need(self, card: Card, request: Request, dtype: torch.dtype | None = None) -> Need:
        """What a resolved request takes; dtype: another one for the model than it has here. Its pictures go through the model one by one
        on a CPU, elsewhere together, and with those of other requests, which hold what theirs take."""
        cpu, dtype = self.models.device.type == "cpu", dtype or self.models.dtype(card)
        frames, count = request.frames if card.video else 1, len(request.seeds)
        rows = (1 if cpu else count) * (1 if request.guidance == 1 else 2)
        work = pass_bytes(card.arch, card.family, rows, frames, dtype.itemsize)
        if self.models.device.type == "mps":
            work += attention_bytes(card.arch, rows, frames, dtype.itemsize)
        arch = DEFAULTS | dict(card.arch)
        weights, side = {card.id: self._weights(card, dtype)}, self.side(card, request)
        if card.latent:
            autoencoder = self._card(request.vae or card.latent.vae)
            weights[autoencoder.id] = self.models.weights(autoencoder)
            work += decode_bytes(autoencoder, side, frames, self.models.dtype(autoencoder).itemsize)  # the allocator keeps pieces of a pass
        latents = 4 * arch["in_channels"] * arch["input_size"] ** 2
        work += count * frames * (LATENTS * latents + 3 * PIXELS * side**2)
        if cpu:  # elsewhere they are no memory of the device
            work += min(run_steps.MOST, 2 * request.steps * count * frames * latents)
        return Need(weights, work, self._encoder(card))

    def side(self, card: Card, request: Request) -> int:
        """Pixels a side of what a request makes."""
        latents = (DEFAULTS | dict(card.arch))["input_size"]
        if not card.latent:
            return latents
        autoencoder = self._card(request.vae or card.latent.vae)
        return latents * 2 ** (len(autoencoder.arch["block_out_channels"]) - 1)

    def _weights(self, card: Card, dtype: torch.dtype) -> int:
        here = self.models.dtype(card)
        return self.models.weights(card) * dtype.itemsize // here.itemsize

    def _encoder(self, card: Card) -> int:
        if not card.text:
            return 0
        encoder = self._card(card.text)
        return self.models.weights(encoder) + pass_bytes(encoder.arch, encoder.family, 1, 1, self.models.dtype(encoder).itemsize)

    def check(self, card: Card, request: Request) -> None:
        """Raises OutOfMemoryError, with the numbers and what would fit, where a resolved request goes beyond the budget even alone."""
        need, budget = self.need(card, request), self.models.budget
        if need.total <= budget:
            return
        together = sum(need.weights.values())
        parts = (
            f"weights {gigabytes(together)}, what is computed {gigabytes(need.work)}"
            if together + need.work >= need.encoder
            else f"its text encoder {card.text} alone"
        )
        raise OutOfMemoryError(
            f"{_what(card, request)} would take {gigabytes(need.total)} of {self.models.device.type} memory ({parts}), more than the "
            f"{gigabytes(budget)} that this hub may take: {self._advice(card, request)}.",
            command=MORE,
        )

    def _advice(self, card: Card, request: Request) -> str:
        """What would fit: fewer pictures, fewer frames, less precision, or another model."""

        def fits(**changes: Any) -> bool:
            return self.need(card, replace(request, **changes)).total <= self.models.budget

        count, frames = len(request.seeds), request.frames if card.video else 1
        if most := _most(count, lambda n: fits(seeds=request.seeds[:n], labels=request.labels[:n])):
            return f"ask for at most {most} at a time"
        one = {"seeds": request.seeds[:1], "labels": request.labels[:1]}
        if most := _most(frames, lambda n: fits(**one, frames=n)):
            return f"ask for one video of at most {most} frame{'s' * (most > 1)}"
        half = self.need(card, replace(request, **one), dtype=torch.bfloat16)
        if self.models.dtype(card) == torch.float32 and half.total <= self.models.budget:
            return f"in bfloat16 one would fit, with {gigabytes(half.total)} (--dtype bfloat16)"
        rest = [other for other in self._offers() if other.task == card.task and other.id != card.id]
        sizes = {other.id: self.need(other, _plain(other)).total for other in rest}
        if fitting := [identity for identity in sizes if sizes[identity] <= self.models.budget]:
            return f"choose a smaller model, such as {max(fitting, key=sizes.get)}"
        return "choose a smaller model, or a machine with more memory"

    def fits(self, card: Card, request: Request) -> bool:
        """Whether a resolved request fits now beside what runs; where nothing runs, whatever `check` lets through does."""
        need = self.need(card, request)
        new = sum(size for identity, size in need.weights.items() if not self.models.held(identity))
        return max(new + need.work, need.encoder) + WARM <= self.models.free()

    def hold(self, card: Card, request: Request) -> AbstractContextManager[None]:
        """Hold the models of a resolved request, and room for what it computes, while the block runs."""
        need = self.need(card, request)
        return self.models.hold(need.weights, need.work)


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """The largest number below `count` that fits, 0 where none does."""
    return next((n for n in range(count - 1, 0, -1) if fits(n)), 0)


def _what(card: Card, request: Request) -> str:
    """What was asked for, in words."""
    count = len(request.seeds)
    if not card.video:
        return f"{count} picture{'s' * (count > 1)} of {card.id}"
    return f"{count} video{'s' * (count > 1)} of {request.frames} frame{'s' * (request.frames > 1)} of {card.id}"


def _plain(card: Card) -> Request:
    """One picture or video of a model as its card says."""
    from zoo.engine.request import Request

    return Request(card.id, (0,) if card.arch.get("num_classes") else (), prompt="a" if card.text else "").resolved(card)
