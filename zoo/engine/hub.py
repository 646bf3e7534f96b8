"""The one stateful object: which models are resident, on which device, who waits, and where results go."""

from __future__ import annotations

import platform
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.catalog import environment, sources
from zoo.catalog.card import Card
from zoo.catalog.mounts import store_in
from zoo.catalog.own_cards import delete
from zoo.catalog.store import LocalFiles
from zoo.engine.byte_cache import ByteCache
from zoo.engine.footprint import Memory
from zoo.engine.generation import Generation
from zoo.engine.job import Job
from zoo.engine.kernel_choice import KernelChoice
from zoo.engine.limits import Limits
from zoo.engine.linear_preview import LinearPreview
from zoo.engine.memory import budget_of, is_out_of_memory
from zoo.engine.model_cache import ModelCache, Resident, choose_device
from zoo.engine.offered_models import OfferedModels
from zoo.engine.request import Progress, Request, Result
from zoo.engine.results import Results
from zoo.engine.run_steps import RunSteps
from zoo.engine.scheduler import Scheduler
from zoo.engine.shared_pass import most_rows
from zoo.engine.step_timing import SHARE, Price, StepTiming, multiply_adds
from zoo.engine.steps_film import StepsFilm, steps_film
from zoo.engine.turn import computes_here
from zoo.engine.walk import predictor
from zoo.engine.warm_up import WarmUps
from zoo.engine.watcher import told
from zoo.errors import OutOfMemoryError, RequestError
from zoo.media import pictures
from zoo.networks import autoencoders, text_encoders
from zoo.sampling import Trace

if TYPE_CHECKING:
    from zoo.engine.elsewhere import Elsewhere

CLOSING = 30.0
"""Seconds that closing waits for what runs to be written."""
STEPS = 256 << 20
"""Bytes of the steps of all visitors' latest runs."""
SMALL = 10_000_000
"""Parameters below which a second CPU thread gains nothing, and waits for the first at every layer of a busy machine."""


class Hub(OfferedModels):
    """Loads models once, lets requests take turns on the device, and writes every result to disk as it is made."""

    def __init__(
        self,
        device: str = "auto",
        dtype: str = "auto",
        cache_dir: str | Path | None = None,
        offline: bool | None = None,
        models: Sequence[str] | None = None,
        models_dir: Sequence[str | Path] | None = None,
        downloads: bool | None = None,
        memory: float | None = None,
        results_gb: float | None = None,
        results_days: float | None = None,
        max_seconds: float | None = None,
        models_gb: float | None = None,
        queue: int = Limits.waiting,
        requests_minute: int | None = None,
        pictures_day: int | None = None,
        limit_loopback: bool = False,
        limits: Limits | None = None,
    ) -> None:
        """device: auto | cpu | cuda | mps; dtype: auto | float32 | bfloat16 (auto: bfloat16 above 100 M parameters);
        cache_dir: where results and measured speeds are kept (default: PATCHWORK_CACHE, else ~/.cache/patchwork);
        offline: never open the network (default: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE); models: ids to offer (default: every card);
        models_dir: folders that are searched for weights, and only read (default: PATCHWORK_MODELS);
        downloads: whether visitors of the page may download and remove models (default: PATCHWORK_DOWNLOADS, 1 or 0, else where it
        listens on this machine only); memory: GB that weights and what runs may take (default: PATCHWORK_MEMORY, else a share of what
        is free); results_gb, results_days: what results may take on disk, and how old they may become (see zoo.engine.retention);
        models_gb: what downloaded weights may take on disk (default: PATCHWORK_MODELS_GB, else as much as there is); max_seconds: of one
        core that a request may need; queue, requests_minute, pictures_day, limit_loopback: see Limits; limits: in place of those five.
        """
        environment.endpoint("HF_ENDPOINT")  # libraries that are imported later break on what is no address
        self.device = choose_device(device)
        self.offline = environment.offline() if offline is None else offline
        self.downloads = environment.switch("PATCHWORK_DOWNLOADS") if downloads is None else downloads
        self.cache_dir = Path(cache_dir).expanduser() if cache_dir else environment.cache_folder()
        for folder in ("", "models/pins", "models/blobs", "cards"):
            environment.check_readable(self.cache_dir / folder, "PATCHWORK_CACHE")
        super().__init__(self.cache_dir / "cards", models)
        self._checked = False
        self.results = Results(self.cache_dir / "results", results_gb, results_days)
        self.store = store_in(self.cache_dir, lambda: [*self.cards.values()], models_dir, models_gb)
        self.contexts = text_encoders.Contexts(self.cache_dir / "prompts")
        self.models = ModelCache(
            self.store, self.device, dtype, budget_of(self.device, memory), KernelChoice(self.cache_dir / "kernels.json"), self.threads
        )
        self._memory_lock = threading.Lock()
        self.memory = Memory(self.models, self.card, lambda: self.offers)
        self.timing = StepTiming(self.cache_dir / "step-timing.json", f"{platform.node()} {self.device} {torch.get_num_threads()} cores")
        limits = limits or Limits(
            waiting=queue, seconds=max_seconds, requests_minute=requests_minute, pictures_day=pictures_day, loopback=limit_loopback
        )
        self.engine = Scheduler(torch.get_num_threads() if self.device.type == "cpu" else 1, limits)
        self._steps = ByteCache(STEPS)
        self.linear_previews = LinearPreview(self.cache_dir / "linear-previews.json")
        self.decode_seconds: dict[str, float] = {}
        """That one picture took last, by autoencoder."""
        self.elsewhere: Elsewhere | None = None
        """What generates in the place of this process, where something does."""
        self._warm_ups = WarmUps(self)
        self._rows_together: dict[str, int] = {}

    def remove(self, identity: str) -> int:
        """Delete a model's files, unless others need them, and of a model of the user's own its card as well; the bytes freed on disk.

        Raises RequestError where there is nothing to remove, or the files are somebody else's.
        """
        card = self.card(identity)
        if (files := self.store.find(card)) and files.folder:
            raise RequestError(
                f"The files of {card.title} lie in {files.folder}, which this hub only reads: whoever keeps that folder removes them there."
            )
        own = card.weights[0].origin == "own"
        freed_bytes = self.models.remove(card.id) if self.store.find(card) or not own else 0
        if own:
            delete(self.own_folder, card.id)
            self._read_cards()
        return freed_bytes

    def describe(self) -> list[dict[str, Any]]:
        """What is offered, as JSON values: id, title, family, task, licence, bytes, local, labels."""
        return [
            {
                "id": card.id, "title": card.title, "family": card.family, "task": card.task, "licence": card.licence,
                "bytes": card.bytes, "local": self.local(card), "labels": list(card.label_names),
            }
            for card in self.offers
        ]  # fmt: skip

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
        transfers = sources.stream(missing, self.store, prefer, self.offline, stop or threading.Event())
        return told(transfers, [card.id for card in missing], self.engine.watchers)

    def load(self, card: Card) -> Resident:
        """The model of a card, loaded once however many ask, on the hub's device and free of gradients."""
        return self.models.load(card)

    def submit(
        self,
        request: Request,
        *,
        visitor: str | None = "",
        preview: bool = True,
        stop: threading.Event | None = None,
        trace: Trace | None = None,
        account: str = "",
        address: str = "",
        measured: bool = False,
        keep_steps: bool = True,
        kind: str = "",
    ) -> Job:
        """Make the pictures of a request: a job whose events are Progress at every step, previews as they come, then one Result.

        Cancelled, it ends within one step with a Result that holds the last clean prediction, before the first step without any; who
        stops reading cancels it, and that prediction is on disk as well. visitor: whose history the pictures enter; None is a rehearsal,
        of which nothing is kept. preview: whether to decode clean predictions on the way. stop: a flag that cancels it, too. trace: is
        filled with what the network is asked of the first sample. account, address: who shares the machine with others, see Limits; a
        job that asks for another shares its own. measured: whether the result tells the memory of a step. keep_steps: whether
        `step_images` can show its steps afterwards. kind: as what it is counted, one of few words. Raises RequestError at once for what
        cannot be asked; reading the job raises a ZooError for anything else that the user can mend.
        """
        card = self.card(request.model)
        request = request.resolved(card)
        if card.latent:
            self.autoencoder(card, request)
        elsewhere = self.elsewhere if self.elsewhere and self.elsewhere.takes(card, request) else None
        (elsewhere or self.memory).check(card, request)
        self.check_folder()
        kind = kind or ("video" if card.video else "image")
        job = Job(account or visitor or "", address, self.core_seconds(request), stop, request, kind=kind)

        def work(job: Job) -> Iterator[Progress | Result]:
            if elsewhere:
                yield from elsewhere.events(job, card, request, visitor, preview, trace, measured, keep_steps)
                return
            try:
                with ExitStack() as held:
                    while not self._hold(held, card, request):  # others compute with what it needs
                        if job.stop.wait(0.2):
                            return
                    yield from Generation(self, job, card, request, visitor, preview, trace, measured, keep_steps).events()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise OutOfMemoryError(
                    f"{len(request.seeds)} images of {card.id} do not fit into the memory of {self.device}: ask for fewer at a time."
                ) from None

        return self.engine.submit(job, work)

    def check_folder(self) -> None:
        """Raise VariableError, once and before any work, where nothing can be written to the folder of results."""
        if not self._checked:
            environment.check_writable(self.results.folder, "PATCHWORK_CACHE")
            self._checked = True

    def generate(
        self,
        request: Request,
        *,
        preview: bool = True,
        stop: threading.Event | None = None,
        visitor: str | None = "",
        trace: Trace | None = None,
        keep_steps: bool = True,
    ) -> Iterator[Progress | Result]:
        """What `submit` says, for a plain `for`; closing it waits until what was there is on disk."""
        job = self.submit(request, visitor=visitor, preview=preview, stop=stop, trace=trace, keep_steps=keep_steps)
        try:
            yield from job
        finally:
            job.cancel()
            if not computes_here():
                job.wait(CLOSING)

    def keep_steps(self, steps: RunSteps) -> str:
        """Keep the steps of a run, within a budget of all runs; what they are asked for by."""
        run = uuid.uuid4().hex
        self._steps.keep((run,), steps)
        return run

    def last_step(self, run: str) -> int:
        """The number of the last step of a run that is over, 0 where its steps are gone."""
        steps: RunSteps | None = self._steps.find((run,))
        return steps.last if steps else 0

    def step_images(self, run: str, number: int, noisy: bool = False) -> tuple[int, np.ndarray]:
        """Of a run that is over, at step `number` from 1: the number of the step that is kept and nearest, and its clean predictions, or
        its samples with their noise, as pictures (b, h, w, 3) or videos (b, f, h, w, 3) uint8. Raises RequestError where it is gone.
        """
        steps = self._steps_of(run)
        request = steps.request
        number, x = steps.at(number, noisy)
        vae = self.card(request.vae) if request.vae else None
        if vae is None:
            return number, pictures.to_uint8(x)
        module, scale = self.load(vae).module, self.card(request.model).latent.scale
        works = [lambda part=part: pictures.to_uint8(autoencoders.decode(module, part.to(self.device), scale)) for part in x.split(1)]
        return number, np.concatenate(self.engine.all(works, self.whole(vae)))

    def steps_film(self, run: str) -> StepsFilm:
        """All kept steps of a run that is over, decoded. Raises RequestError where it is gone."""
        return steps_film(self, self._steps_of(run))

    def _steps_of(self, run: str) -> RunSteps:
        if (steps := self._steps.find((run,))) is None:
            raise RequestError("The steps of this run are no longer kept: generate it again to look at them.")
        return steps

    def compute(self, work: Callable[..., Any], *arguments: Any, whole: bool = False) -> Any:
        """Do a piece of work on a thread that computes, in its turn; whole: with all cores, and nothing beside it."""
        return self.engine.compute(work, *arguments, whole=whole)

    def _hold(self, held: ExitStack, card: Card, request: Request) -> bool:
        """Take the memory that a request needs, until `held` is closed, where it is free; whether it was."""
        with self._memory_lock:
            if fits := self.memory.fits(card, request):
                held.enter_context(self.memory.hold(card, request))
            return fits

    def close(self, seconds: float = CLOSING) -> None:
        """End all that runs, what is there being written, within so many seconds."""
        self.engine.close(seconds)
        if self.elsewhere:
            self.elsewhere.close()

    def context(self, card: Card, request: Request, decoder: Card | None) -> tuple[Tensor, LocalFiles]:
        """What the prompts of a request say to its model, and the encoder's files, in its turn."""
        return self.compute(self._context, card, request, decoder, whole=self.whole(self.card(card.text)))

    def _context(self, card: Card, request: Request, decoder: Card | None) -> tuple[Tensor, LocalFiles]:
        """What the prompt and the negative one say to the model, (2, n, d); n: the first, the second cut to it. And the encoder's files.

        The encoder, which may be larger than the model, is in memory for this only, and only for prompts that are new.
        Source of the cut: diffusers, LattePipeline.encode_prompt.
        """
        encoder = self.card(card.text)
        files, *_ = [sources.local_files(part, self.store) for part in (encoder, card, decoder) if part]  # what is missing is said first
        versions = (torch.__version__, version("transformers"), version("ftfy"), self.threads(encoder))
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
        return predictor(card, request, module, context, self.device)

    def price(self, request: Request) -> Price | None:
        """What a request will take here alone, once its model is loaded: by measured steps, or, of a large model that never ran here, by
        its multiply-adds; None before anything was measured."""
        request = request.resolved(card := self.card(request.model))
        if self.elsewhere and self.elsewhere.takes(card, request):
            return Price(self.elsewhere.quota(card, request), "quota")
        if (seconds := self.timing.seconds(request)) is not None:
            return Price(seconds if self.whole(card) else seconds / min(self.engine.cores, len(request.seeds)), "measured")
        if not self.large(card) or (speed := self.timing.speed(self.models.dtype(card))) is None:
            return None
        decoder = self.autoencoder(card, request) if card.latent else None
        adds = multiply_adds(card, request) + (multiply_adds(card, request, decoder) if decoder else 0.0)
        return Price(adds / (SHARE * speed), "reckoned")

    def seconds(self, request: Request) -> float | None:
        """The seconds of `price`."""
        price = self.price(request)
        return price and price.seconds

    def core_seconds(self, request: Request) -> float | None:
        """What it takes of one core, or of a GPU that is lent."""
        if (price := self.price(request)) is None or price.basis == "quota":
            return price and price.seconds
        whole = self.whole(self.card(request.model))
        return price.seconds * (self.engine.cores if whole else min(self.engine.cores, len(request.seeds)))

    def prepare(self, identity: str) -> bool:
        """Measure in the background what a model takes here, once; whether that is still going on (see WarmUps)."""
        return not self.elsewhere and self._warm_ups.begin(self.card(identity))

    def large(self, card: Card) -> bool:
        """Whether its first steps would keep others waiting."""
        return card.cost.params >= SMALL

    def whole(self, card: Card) -> bool:
        """Whether a model computes with all cores at once, and nothing beside it: large ones do; and one whose module two threads may not
        share, for it holds what belongs to one pass."""
        return self.large(card) or card.family == "latte-t2v"

    def rows_together(self, card: Card) -> int:
        """Rows of a model that share a pass, whoever asked for them, as measured when it is first asked here; 0 where they take turns.

        On a CPU they do, for there a row gains little and every sample shall be the same to the bit alone and in company; and so does a
        model whose module two may not share.
        """
        if self.device.type == "cpu" or card.family == "latte-t2v":
            return 0
        if card.id not in self._rows_together:
            self._rows_together[card.id] = self.compute(most_rows, card, self.load(card).module)
        return self._rows_together[card.id]

    def threads(self, card: Card) -> int:
        """Threads of PyTorch's own that a model computes with."""
        return self.engine.cores if self.whole(card) else 1
