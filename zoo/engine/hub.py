"""The one stateful object: which models are resident, on which device, who waits, and where results go."""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.catalog import sources
from zoo.catalog.card import Card, cards
from zoo.catalog.store import LocalFiles, Store
from zoo.engine.footprint import Memory
from zoo.engine.memory import budget_of, is_out_of_memory
from zoo.engine.model_cache import ModelCache, Resident, choose_device
from zoo.engine.request import Progress, Request, Result, nearest, short
from zoo.engine.results import Results, receipts_of
from zoo.engine.step_timing import StepTiming
from zoo.engine.turn_queue import TurnQueue
from zoo.errors import OutOfMemoryError, RequestError
from zoo.media import pictures
from zoo.networks import autoencoders, text_encoders
from zoo.sampling import Schedule, Step, Trace, guided, sample, seeded, solver_options

SHARE = 0.12
"""Of a video's run that may go into its previews."""
SMALL = 10_000_000
"""Parameters below which a second CPU thread gains nothing, and waits for the first at every layer of a busy machine."""


class Hub:
    """Loads models once, lets one request at a time onto the device, and writes every result to disk as it is made."""

    def __init__(
        self,
        device: str = "auto",
        dtype: str = "auto",
        cache_dir: str | Path | None = None,
        offline: bool | None = None,
        models: Sequence[str] | None = None,
        downloads: bool | None = None,
        memory: float | None = None,
        results_gb: float | None = None,
        results_days: float | None = None,
    ) -> None:
        """device: auto | cpu | cuda | mps; dtype: auto | float32 | bfloat16 (auto: bfloat16 above 100 M parameters);
        cache_dir: where results and measured speeds are kept (default: PATCHWORK_CACHE, else ~/.cache/patchwork);
        offline: never open the network (default: HF_HUB_OFFLINE); models: ids to offer (default: every card);
        downloads: whether visitors of the page may download and remove models (default: PATCHWORK_DOWNLOADS, 1 or 0, else where it
        listens on this machine only); memory: GB that weights and what runs may take (default: PATCHWORK_MEMORY, else a share of what
        is free); results_gb, results_days: what results may take on disk, and how old they may become (see zoo.engine.retention).
        """
        self.device = choose_device(device)
        self.offline = os.environ.get("HF_HUB_OFFLINE", "") in {"1", "ON", "YES", "TRUE"} if offline is None else offline
        self.downloads = {"1": True, "0": False}.get(os.environ.get("PATCHWORK_DOWNLOADS", "")) if downloads is None else downloads
        self.cache_dir = Path(cache_dir or os.environ.get("PATCHWORK_CACHE") or Path.home() / ".cache" / "patchwork")
        self.results = Results(self.cache_dir / "results", results_gb, results_days)
        self.store = Store(self.cache_dir / "models")
        self.contexts = text_encoders.Contexts(self.cache_dir / "prompts")
        self.models = ModelCache(self.store, self.device, dtype, budget_of(self.device, memory))
        self.memory = Memory(self.models, self.card, lambda: self.offers)
        self.cards = cards()
        self.offers = [card for card in self.cards.values() if models is None or self.card(card.id).id in models]
        for identity in models or ():
            self.card(identity)
        self.timing = StepTiming(self.cache_dir / "step-timing.json", f"{platform.node()} {self.device} {torch.get_num_threads()}")
        # OpenMP keeps a team of waiting threads for every thread that computes, and a page has dozens: one computes for all.
        self._worker = ThreadPoolExecutor(1, "compute")
        self._threads = torch.get_num_threads()
        self._warm_ups: dict[str, threading.Thread] = {}
        self.turns = TurnQueue()

    def card(self, identity: str) -> Card:
        """The card of this id. Raises RequestError that names the nearest ones."""
        if not isinstance(identity, str) or identity not in self.cards:
            near = nearest(short(identity), list(self.cards))
            raise RequestError(f"There is no model {short(identity)}: choose one of {', '.join(near)}.")
        return self.cards[identity]

    def describe(self) -> list[dict[str, Any]]:
        """What is offered, as JSON values: id, title, family, task, licence, bytes, local, labels."""
        return [
            {
                "id": card.id, "title": card.title, "family": card.family, "task": card.task, "licence": card.licence,
                "bytes": card.bytes, "local": self.local(card), "labels": list(card.label_names),
            }
            for card in self.offers
        ]  # fmt: skip

    def parts(self, card: Card) -> list[Card]:
        """A model and what it needs to run: its autoencoder and its text encoder."""
        return [card, *(self.card(part) for part in (card.latent and card.latent.vae, card.text) if part)]

    def local(self, card: Card) -> bool:
        """Whether a model can run without a download."""
        return all(self.store.find(part) for part in self.parts(card))

    def local_files(self, card: Card) -> list[tuple[Card, LocalFiles]]:
        """The files of a model and of what it needs, as far as they are here."""
        return [(part, files) for part in self.parts(card) if (files := self.store.find(part))]

    def fetch(self, identity: str, prefer: str = "", stop: threading.Event | None = None) -> Iterator[sources.Transfer]:
        """Download a model and what it needs, telling how far it is. Closing it, or stop, ends it; it goes on next time.

        prefer: huggingface | modelscope | url. Raises DownloadError, ChecksumError or CancelledError.
        """
        return self.download(self.parts(self.card(identity)), prefer, stop)

    def download(self, cards: Sequence[Card], prefer: str = "", stop: threading.Event | None = None) -> Iterator[sources.Transfer]:
        """Download those of these models that are not on this machine, as `fetch` does."""
        missing = [card for card in cards if not self.store.find(card)]
        return sources.stream(missing, self.store, prefer, self.offline, stop or threading.Event())

    def decodes(self, autoencoder: Card, card: Card) -> bool:
        """Whether an autoencoder is of the same shape as the own one of a latent model."""
        shape_words, own_autoencoder = ("latent_channels", "block_out_channels"), self.card(card.latent.vae)
        fits = autoencoder.task == "autoencoder" and all(autoencoder.arch[word] == own_autoencoder.arch[word] for word in shape_words)
        return fits and (card.video or autoencoder.family != "autoencoder-kl-temporal")

    def load(self, card: Card) -> Resident:
        """The model of a card, loaded once however many ask, on the hub's device and free of gradients."""
        return self.models.load(card)

    def generate(
        self,
        request: Request,
        *,
        preview: bool = True,
        stop: threading.Event | None = None,
        visitor: str | None = "",
        trace: Trace | None = None,
    ) -> Iterator[Progress | Result]:
        """Make the pictures of a request: Progress at every step, then one Result.

        preview: decode the clean prediction of each step. stop: once set, the run ends within one step with a Result that holds
        the last clean prediction, before the first step without any. Closing the generator ends the run as well, keeps that
        prediction on disk, and gives the device to the next in line. visitor: whose history the pictures enter; None is a rehearsal,
        of which nothing is kept. trace: is filled with what the network is asked. Raises a ZooError for anything that the user can mend.
        """
        card = self.card(request.model)
        request = request.resolved(card)
        self.memory.check(card, request)
        stop = stop or threading.Event()
        with self.turns.place(self.seconds(request)) as place:
            while count := place():
                yield Progress("waiting", request, ahead=count, seconds_left=place.seconds)
                if stop.is_set():
                    return
            yield Progress("loading", request)
            yield from self.run(card, request, preview, stop, visitor, trace)

    def compute(self, work: Callable, *arguments: Any) -> Any:
        """Do a piece of work in the one thread that computes."""
        return self._worker.submit(work, *arguments).result()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Stand in line for the device, and hold it meanwhile."""
        with self.turns.place() as ahead:
            while ahead():
                pass
            yield

    def run(
        self, card: Card, request: Request, preview: bool, stop: threading.Event, visitor: str | None, trace: Trace | None = None
    ) -> Iterator[Progress | Result]:
        """What `generate` does once its turn has come, for whoever holds the line; the time between two of its steps is not counted."""
        try:
            yield from self._run(card, request, preview, stop, visitor, trace)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"{len(request.seeds)} images of {card.id} do not fit into the memory of {self.device}: ask for fewer at a time."
            ) from None

    def _run(
        self, card: Card, request: Request, preview: bool, stop: threading.Event, visitor: str | None, trace: Trace | None
    ) -> Iterator[Progress | Result]:
        compute = self.compute
        decoder = self.autoencoder(card, request) if card.latent else None
        context, encoder = compute(self._context, card, request, decoder) if card.text else (None, None)
        model = self.load(card)
        autoencoder = self.load(decoder) if decoder else None
        if stop.is_set():
            return
        start = time.monotonic()

        def picture(x: Tensor, draft: bool) -> Any:
            return pictures.to_uint8(compute(autoencoders.decode, autoencoder.module, x, card.latent.scale, draft) if autoencoder else x)

        def finish(images: Any, stopped_at: int | None) -> Result:
            seconds = time.monotonic() - start
            part_files = {card.id: model.files, request.vae: autoencoder and autoencoder.files, card.text: encoder}
            conditions = {
                "weights": {name: files.digest for name, files in part_files.items() if files}, "threads": self.threads(card),
                "dtype": str(self.models.dtype(card)).removeprefix("torch."), "device": str(self.device), "stopped_at": stopped_at,
            }  # fmt: skip
            receipts = receipts_of(card, request, images, conditions, seconds)
            files = () if visitor is None else self.results.keep(images, receipts, visitor)
            return Result(request, images, files, tuple(receipts), seconds, stopped_at)

        noise = seeded(request.seeds, request.shape(card), self.device)
        predict = self.predict(card, request, model.module, context)
        if trace is not None:
            trace.context, predict = context, trace.watch(predict)
        schedule = Schedule.from_card(card.schedule)
        options = solver_options(schedule, request.solver, request.steps, request.eta, card.sampling.spacing)
        steps = sample(predict, noise(-1), schedule, request.solver, request.steps, noise=noise, **options)
        lap, laps, preview_seconds, preview_cost = start, [], 0.0, 0.0

        def advance() -> Step:
            torch.set_num_threads(self.threads(card))
            return next(steps)

        try:
            while step := compute(advance):
                step_number, last, halted = step.index + 1, step.index + 1 == step.total, stop.is_set()
                final = last or halted
                preview_due = preview and (not card.video or preview_seconds + preview_cost <= SHARE * (time.monotonic() - start))
                images = None
                if preview_due or final:
                    before = time.monotonic()
                    images = picture(step.x if last else step.x0, draft=not final)
                    preview_cost = time.monotonic() - before
                    preview_seconds += preview_cost
                now = time.monotonic()
                laps.append(now - lap)
                lap = now
                if final:
                    break
                speed = step_number / (now - start)
                yield Progress("sampling", request, step_number, step.total, (step.total - step_number) / speed, speed, preview=images)
                pause, lap = time.monotonic() - now, time.monotonic()
                start += pause
        except GeneratorExit:  # the visitor left: what was there is kept
            if visitor is not None:
                finish(picture(step.x0, draft=False), step_number)
            raise
        finally:
            if preview:
                self.timing.add(request, laps[1:])
        yield finish(images, None if last else step_number)

    def _context(self, card: Card, request: Request, decoder: Card | None) -> tuple[Tensor, LocalFiles]:
        """What the prompt and the negative one say to the model, (2, n, d); n: the first, the second cut to it. And the encoder's files.

        The encoder, which may be larger than the model, is in memory for this only, and only for prompts that are new.
        Source of the cut: diffusers, LattePipeline.encode_prompt.
        """
        encoder = self.card(card.text)
        files, *_ = [sources.local_files(part, self.store) for part in (encoder, card, decoder) if part]  # what is missing is said first
        torch.set_num_threads(self.threads(encoder))
        versions = (torch.__version__, version("transformers"), torch.get_num_threads())
        key = f"{encoder.id} {encoder.revision} {files.digest} {self.models.dtype(encoder)} {self.device.type} {versions}"

        def encode_prompt(prompt: str) -> tuple[Tensor, int]:
            return self.contexts.get(key, prompt, lambda: text_encoders.encode(self.load(encoder).module, encoder.arch, files.also, prompt))

        try:
            (context, length), (negative_context, _) = encode_prompt(request.prompt), encode_prompt(request.negative_prompt)
        finally:
            self.models.release(encoder.id)
        return torch.stack([context[:length], negative_context[:length]]).to(self.device), files

    def autoencoder(self, card: Card, request: Request) -> Card:
        """The card of the autoencoder asked for. Raises RequestError where its latents are not those of the model."""
        if not self.decodes(autoencoder := self.card(request.vae), card):
            raise RequestError(f"{autoencoder.id} does not decode the latents of {card.id}: leave the autoencoder at {card.latent.vae}.")
        return autoencoder

    def predict(self, card: Card, request: Request, module: nn.Module, context: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
        """The network as a solver of this request asks it: (x, t) -> raw output, guided."""
        count, null = len(request.seeds), None
        labels = torch.tensor(request.labels, device=self.device) if request.labels else None
        if context is not None:
            labels, null = context[:1].expand(count, -1, -1), context[1:]
        if self.device.type != "cpu":
            return guided(module, labels, request.guidance, card.guidance.channels, null)
        # Matrix products round differently with the number of rows: on a CPU, where batching gains little, pictures go one by one.
        rows = [
            guided(module, None if labels is None else labels[k : k + 1], request.guidance, card.guidance.channels, null)
            for k in range(count)
        ]
        return lambda x, t: torch.cat([row(x[k : k + 1], t[k : k + 1]) for k, row in enumerate(rows)])

    def seconds(self, request: Request) -> float | None:
        """What a request will take once its model is loaded, from measured steps; None before any was measured."""
        return self.timing.seconds(request.resolved(self.card(request.model)))

    def prepare(self, identity: str) -> bool:
        """Load a small model and measure a few of its steps in the background, once; whether that is still going on.

        So the first visitor does not wait, and is told the cost. What is wrong with a model is said to whoever runs it; a large one
        is measured as it runs, for its first steps would keep others waiting.
        """
        if self.card(identity).cost.params >= SMALL:
            return False
        if identity not in self._warm_ups:
            self._warm_ups[identity] = threading.Thread(target=self._warm_up, args=(identity,), daemon=True)
            self._warm_ups[identity].start()
        return self._warm_ups[identity].is_alive()

    def _warm_up(self, identity: str) -> None:
        card = self.card(identity)
        request = Request(identity, (0,) if card.arch.get("num_classes") else (), steps=10, prompt="a" if card.text else "")
        with contextlib.suppress(Exception), contextlib.closing(self.generate(request, visitor=None)) as items:
            next(item for item in items if item.step == 6)

    def threads(self, card: Card) -> int:
        """Threads of PyTorch's own that a model gains from."""
        return 1 if card.cost.params < SMALL else self._threads
