"""Look inside: one exact pass of a model recorded, for somebody's picture or clip, or for any step of a generation."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalog.card import SEEING, Card
from zoo.catalog.store import sha256
from zoo.engine.byte_cache import ByteCache
from zoo.engine.hub import Hub
from zoo.engine.request import Progress, Request, Result, short
from zoo.engine.walk import passes
from zoo.errors import MediaError, RequestError
from zoo.inside import attention, modulation
from zoo.inside.attention import record_attention
from zoo.inside.forward_record import Layer, Recording, extra_of, layers_of
from zoo.inside.patch_tokens import Tokens, record_tokens
from zoo.media import clips, photographs, pictures, receipts
from zoo.networks import autoencoders
from zoo.networks.out_of_distribution import DataDistance, held_out, judge_of
from zoo.networks.preparation import prepare, prepared
from zoo.sampling import Schedule, Trace, read_clean, step_starts

BUDGET, RUNS = 1 << 30, 256 << 20
"""Bytes of recordings, and of runs, that are kept for all visitors together, the least recently used leaving first."""
DIFFUSION = ("dit", "u-vit", "latte", "sit", "repa", "lightning-dit", "mdt")
"""Families of generators into which one can look: all layers have the same tokens, which a convolution makes of patches."""
TOP = 5
"""Predictions that are named."""


@dataclass(frozen=True)
class Run:
    """A generation of one picture or video, and every question that the network was asked for it."""

    request: Request
    trace: Trace
    result: np.ndarray
    """(f, h, w, 3) uint8."""


class Looker:
    """Makes recordings on a hub's device and keeps the latest, by what they are of: the same question is answered once."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._recordings, self._runs = ByteCache(BUDGET), ByteCache(RUNS)

    def models(self) -> list[Card]:
        """The models that can be looked into: vision transformers, then generators."""
        return [card for card in self.hub.offers if card.task in SEEING] + [card for card in self.hub.offers if card.family in DIFFUSION]

    # ---- pictures and clips

    def picture(self, identity: str, path: str | Path, layer: int | None = None) -> Recording:
        """What a vision model does with a picture or clip, recorded; where all layers are too much to keep, of this one only, or the last.

        Raises MediaError for a file that cannot be read, RequestError for another kind of model, DownloadError where it is not here.
        """
        card = self._card(identity, seeing=True)
        layers = layers_of(card)
        layer = _checked_layer(layers, len(layers) - 1 if layer is None else layer)
        return self._recorded(self._key(card, path), layer, lambda: self._see(card, path, layers, layer))

    def _key(self, card: Card, path: str | Path) -> tuple[str, ...]:
        try:
            return card.id, card.revision, str(card.pixels), sha256(Path(path))
        except OSError as error:
            raise MediaError(f"{path} cannot be read ({error.strerror}): name a picture that is there.") from None

    def _see(self, card: Card, path: str | Path, layers: Sequence[Layer], layer: int) -> Recording:
        original, inputs, pixels = self._pixels(card, path)
        module, extra = self.hub.load(card).module, extra_of(card)
        judge = self._judge(card)
        judged = pixels if judge == card or judge is None else self._pixels(judge, path)[-1]

        @torch.no_grad()
        def run() -> Recording:
            torch.set_num_threads(self.hub.threads(card))
            with record_tokens(module) as tokens, record_attention(module, _layers_to_record(layers, len(extra), layer)) as maps:
                output = module(pixels[None].to(self.hub.device, next(module.parameters()).dtype))
            predictions = _predictions(card, getattr(output, "logits", None))
            distance = self._data_distance(judge, judged, tokens if judge == card else None) if judge else None
            return Recording(card, inputs, tokens, layers, maps, extra, predictions, original=original, data_distance=distance)

        return self._alone(run)

    def _judge(self, card: Card) -> Card | None:
        """The model whose features say how far a picture is from the data of a classifier, where there is one and it is here."""
        identity = judge_of(card)
        judge = self.hub.cards.get(identity or "")
        return judge if judge and self.hub.local(judge) else None

    def _data_distance(self, judge: Card, pixels: Tensor, tokens: Tokens | None) -> DataDistance:
        """How far what was prepared for a judge is from its data; tokens: those of its pass, where it was just recorded."""
        if tokens is None:
            module = self.hub.load(judge).module
            with record_tokens(module) as tokens:
                module(pixels[None].to(self.hub.device, next(module.parameters()).dtype))
        return held_out(judge.labels).measure(tokens.features[0])

    def _pixels(self, card: Card, path: str | Path) -> tuple[Image.Image, np.ndarray, Tensor]:
        frames = card.arch.get("num_frames")
        try:
            images = clips.open_clip(path, frames) if frames else [photographs.open_picture(path)]
        except MediaError:
            if frames or not clips.is_clip(path):
                raise
            able = next((one.id for one in self.models() if one.arch.get("num_frames") and one.task in SEEING), "")
            raise MediaError(f"This is a clip, and {card.id} looks at pictures: choose {able or 'a model of clips'}.") from None
        inputs, pixels = zip(*(prepare(picture, card.pixels, card.side) for picture in images), strict=True)
        images[0].thumbnail((256, 256))
        return images[0], np.stack(inputs), torch.stack(pixels) if frames else pixels[0]

    def relevance(self, identity: str, path: str | Path, label: int) -> Tensor:
        """What in a picture spoke for a class: frames x rows x columns, the class token's row of attention.relevance.

        Raises RequestError for a model without a class token and a head.
        """
        card = self._card(identity, seeing=True)
        if (relevance := self._recordings.find(key := ("relevance", *self._key(card, path), label))) is not None:
            return relevance
        extra = extra_of(card)
        if not card.task.endswith("classification") or not extra:
            raise RequestError(f"Relevance is traced from a class to the class token, which {card.id} does not have: choose a ViT or DeiT.")
        *_, pixels = self._pixels(card, path)
        module, grid = self.hub.load(card).module, layers_of(card)[0].grid

        def run() -> Tensor:
            torch.set_num_threads(self.hub.threads(card))
            given = pixels[None].to(self.hub.device, next(module.parameters()).dtype).requires_grad_()
            with record_attention(module) as maps:
                logits = module(given).logits
            every = list(maps.values())
            gradients = torch.autograd.grad(logits[0, label], every)
            flow = attention.relevance([one.detach().float().cpu() for one in every], [one.float().cpu() for one in gradients])
            return flow[0, 0, len(extra) :].reshape(grid).clone()  # not a view: that would keep the whole matrix

        return self._recordings.keep(key, self._alone(run))

    def file(self, identity: str, path: str | Path, layer: int | None = None, step: int | None = None) -> Recording:
        """Look into any file: with a vision model into a picture or clip, with a generator into the run that made a picture or video
        here, at a step of 1 to its number (None: the last). Raises a ZooError as `picture` and `request_of` do."""
        *_, recording = self.open(identity, path, layer, step)
        return recording

    def open(
        self, identity: str, path: str | Path, layer: int | None = None, step: int | None = None, stop: threading.Event | None = None
    ) -> Iterator[Progress | Recording]:
        """As `file`, telling how far a run is: Progress as from the hub, then the Recording. Closing it, or stop, ends the run."""
        if self.hub.card(identity).task in SEEING:
            yield self.picture(identity, path, layer)
            return
        card, request = self._card(identity, seeing=False), self.request_of(path)
        if request.model != card.id:
            raise RequestError(f"This file was made by {request.model}, not by {card.id}: choose {request.model}.")
        for item in self.generate(request, stop):
            if isinstance(item, Progress):
                yield item
            else:
                total = len(item.trace.inputs)
                if step is not None and not 1 <= step <= total:
                    raise RequestError(f"There is no step {short(step)} in a run of {total}: choose 1 to {total}.")
                yield self.step(item, (step or total) - 1, layer)

    # ---- generations

    def request_of(self, path: str | Path) -> Request:
        """The request that makes just this picture or video, from the receipt in its file. Raises MediaError where it has none,
        RequestError where the model cannot be looked into."""
        receipt = receipts.read(path)
        request = Request.from_dict(receipt["request"])
        request = request.resolved(self._card(request.model, seeing=False))
        place = receipt.get("index")
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(request.seeds):
            raise RequestError("The receipt in this file names an image that its request does not have: bring the original file.")
        return request.sample(place)

    def generate(self, request: Request, stop: threading.Event | None = None) -> Iterator[Progress | Run]:
        """Make the first picture of a request and keep every question of it: Progress as from the hub, then the Run.

        Its pixels are those that Hub.generate makes. Raises a ZooError as that does, and RequestError for a family that cannot be recorded.
        """
        card = self._card(request.model, seeing=False)
        request = request.resolved(card)
        request = request.sample(0)
        if (run := self._runs.find(key := (card.revision, request))) is None:
            trace = Trace()
            for item in self.hub.generate(request, preview=False, stop=stop, visitor=None, trace=trace):
                if isinstance(item, Result):
                    run = Run(request, trace, item.images[0] if card.video else item.images[:1])
                    if item.stopped_at is None:
                        self._runs.keep(key, run)
                else:
                    yield item
        if run:
            yield run

    def run(self, request: Request) -> Run:
        """The run of a request, made again where it is no longer kept."""
        *_, run = self.generate(request)
        return run

    def layers(self, run: Run) -> tuple[Layer, ...]:
        """The attention layers of the model of a run."""
        card = self._card(run.request.model, seeing=False)
        return layers_of(card, run.request.frames if card.video else None)

    def step(
        self, run: Run, index: int, layer: int | None = None, free: bool = False, scales: Mapping[int, float] | None = None
    ) -> Recording:
        """One pass of a run, made again exactly: step `index`, with the class or, where guided, free of it.

        scales: factors on what the long skips of a U-ViT carry; the clean prediction is then what would have come of it.
        Where the maps of all layers are too much to keep, those of this one, or of the one in the middle.
        """
        card, layers = self._card(run.request.model, seeing=False), self.layers(run)
        layer = _checked_layer(layers, len(layers) // 2 if layer is None else layer)
        index = min(max(index, 0), len(run.trace.inputs) - 1)
        scales = {skip: factor for skip, factor in (scales or {}).items() if factor != 1}
        key = ("step", card.revision, run.request, index, free, tuple(sorted(scales.items())))
        return self._recorded(key, layer, lambda: self._pass(card, run, index, layers, layer, free, scales))

    def _pass(
        self, card: Card, run: Run, index: int, layers: Sequence[Layer], layer: int, free: bool, scales: Mapping[int, float]
    ) -> Recording:
        trace, request = run.trace, run.request
        module = self.hub.load(card).module
        autoencoder = self.hub.load(self.hub.card(request.vae)).module if request.vae else None
        x, schedule = trace.inputs[index].to(self.hub.device), Schedule.from_card(card.schedule)
        began = step_starts(schedule, request.solver, trace.times)[index]
        extra, rows = extra_of(card), passes(card, request, trace.times)[index]
        row = 1 if free and rows == 2 else 0

        def run_pass() -> Recording:
            torch.set_num_threads(self.hub.threads(card))
            predict = self.hub.predict(card, request, module, trace.context)
            recorded = _layers_to_record(layers, len(extra), layer, rows)
            with (
                record_tokens(module, row) as tokens,
                modulation.record_skips(module, scales) as skips,
                record_attention(module, recorded) as maps,
            ):
                clean = read_clean(predict, x, schedule, trace.times[index], card.prediction or None, began)
            pixels = autoencoders.decode(autoencoder, clean, card.latent.scale) if autoencoder is not None else clean
            inputs = pictures.to_uint8(pixels[0] if card.video else pixels)
            own = {k: one.chunk(rows)[row].clone() for k, one in maps.items()}
            return Recording(card, inputs, tokens, layers, own, extra, skips=skips or None)

        return self._alone(run_pass)

    def levels(self, run: Run) -> list[float]:
        """Half the log of the signal-to-noise ratio at each step of a run: rising, unless its solver goes back and forth as dopri5."""
        schedule = Schedule.from_card(self.hub.card(run.request.model).schedule)
        return [schedule.told_half_log_snr(t) for t in run.trace.times]

    def nearest_level(self, run: Run, wanted: float) -> int:
        """The step of a run at which the noise is nearest to a level."""
        return min(enumerate(self.levels(run)), key=lambda one: abs(one[1] - wanted))[0]

    def modulations(self, run: Run, free: bool = False) -> Tensor | None:
        """How strongly each block is shifted, scaled and gated at every step (modulation.modulations); None for a model without adaLN."""
        card = self._card(run.request.model, seeing=False)
        module = self.hub.load(card).module
        label = run.request.labels[0] if run.request.labels else None
        label = card.arch["num_classes"] if free and label is not None and card.guidable else label
        times = torch.tensor(run.trace.times, device=self.hub.device)
        return self._alone(lambda: modulation.modulations(module, times, label))

    # ---- what is kept

    def _card(self, identity: str, seeing: bool) -> Card:
        card = self.hub.card(identity)
        if card.task in SEEING if seeing else card.family in DIFFUSION:
            files = self.hub.store.find(card) if seeing else None
            return prepared(card, files.also) if files else card
        known = ", ".join(one.id for one in self.models()[:6])
        if card.task in SEEING or card.family in DIFFUSION:
            raise RequestError(
                f"{card.id} looks at pictures: bring one." if not seeing else f"{card.id} makes pictures: look into a generation of it."
            )
        raise RequestError(f"{card.id} ({card.family}) has no attention that can be recorded here: choose one such as {known}.")

    def _alone(self, work: Callable[[], Any]) -> Any:
        """Do something with a module that is hooked meanwhile, so that nobody else's pass is recorded."""
        return self.hub.compute(work, whole=True)

    def _recorded(self, key: tuple, layer: int, make: Callable[[], Recording]) -> Recording:
        """The recording of a key that holds this layer."""
        recording = self._recordings.find(key)
        return recording if recording is not None and layer in recording.maps else self._recordings.keep(key, make())


def _checked_layer(layers: Sequence[Layer], layer: int) -> int:
    """A layer by its number. Raises RequestError where there is none such."""
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < len(layers):
        raise RequestError(f"There is no layer {short(layer)} in a model of {len(layers)} attention layers: choose 0 to {len(layers) - 1}.")
    return layer


def holds_all(layers: Sequence[Layer], extra: int, rows: int = 1) -> bool:
    """Whether a recording can hold the maps of all layers, of so many rows of a batch."""
    return rows * sum(layer.bytes(extra) for layer in layers) <= attention.BUDGET


def _layers_to_record(layers: Sequence[Layer], extra: int, chosen: int, rows: int = 1) -> list[int] | None:
    """All layers (None), where a recording can hold their maps, else the chosen one."""
    return None if holds_all(layers, extra, rows) else [chosen]


def _predictions(card: Card, logits: Tensor | None) -> tuple[tuple[str, float, int], ...]:
    """The likeliest classes: name, probability, index."""
    if logits is None:
        return ()
    likeliest = logits[0].float().softmax(-1).topk(min(TOP, logits.shape[-1]))
    names = card.label_names
    return tuple(
        (names[k] if names else f"class {k}", p, k) for p, k in zip(likeliest.values.tolist(), likeliest.indices.tolist(), strict=True)
    )
