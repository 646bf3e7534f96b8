"""A generation as one plain generator, for another process: what it takes and yields can be pickled, and it needs no thread of ours.

The other process is a fork of this one, made while our threads run: there they are gone, and a lock that one of them held stays locked for
ever. So nothing here asks the hub, its cache of models or its scheduler: the models were put in place before, and one loop does the rest.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from zoo.engine.memory import is_out_of_memory
from zoo.engine.model_cache import Resident
from zoo.engine.modulation_tables import with_tables
from zoo.engine.request import Progress, Request
from zoo.engine.run_steps import RunSteps
from zoo.engine.shared_pass import Network
from zoo.engine.walk import parts_of, progress_of, result_so_far, walk
from zoo.errors import OutOfMemoryError, ZooError
from zoo.media import pictures
from zoo.networks import autoencoders, text_encoders
from zoo.sampling import Step, Trace

if TYPE_CHECKING:
    from zoo.catalog.card import Card

EVERY = 0.25
"""Seconds between two previews, at least."""
SHARE = 0.1
"""Of the time so far that previews may have taken."""
MOST = 1024
"""Runs at a time that can be stopped."""


@dataclass(frozen=True)
class Work:
    """What one run is asked: a resolved request, and what is wanted of it beside its pictures; those are as of Hub.submit."""

    request: Request
    preview: bool = True
    trace: bool = False
    keep_steps: bool = False
    measured: bool = False
    place: int = 0
    """Of the flag that stops it."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: its pictures (b, h, w, 3), or videos (b, f, h, w, 3), uint8, and what its receipts say of the machine."""

    images: np.ndarray
    conditions: dict[str, Any]
    seconds: float
    laps: tuple[float, ...]
    """Of each step."""
    memory: int | None
    tensors: bytes
    """Of steps and trace, as safetensors: PyTorch would share them between the processes, and one of the two ends."""
    times: tuple[float, ...] = ()
    """Of a trace."""

    def run_steps(self, request: Request) -> RunSteps | None:
        """The steps, where they were to be kept."""
        tensors = load(self.tensors)
        return RunSteps.of(request, tensors) if any(name.startswith("x0 ") for name in tensors) else None

    def fill(self, trace: Trace) -> None:
        """Put into a trace what the network was asked."""
        tensors = load(self.tensors)
        trace.inputs[:] = [tensors[f"input {k}"] for k in range(len(self.times))]
        trace.times[:] = self.times
        trace.context = tensors.get("context")


class _Here:
    """What a fork finds in place."""

    models: Mapping[str, tuple[Card, Resident]] = {}
    stops: mmap.mmap | None = None
    """One byte a run, in memory that forks share: 1 stops it. A lock or an event of multiprocessing could stay locked with its holder."""


def put(models: Mapping[str, tuple[Card, Resident]]) -> None:
    """Put models in place, by id, before the first fork."""
    _Here.models, _Here.stops = dict(models), _Here.stops or mmap.mmap(-1, MOST)


def stop(place: int, value: bool = True) -> None:
    """Set the flag of a run, or take it back, in every process."""
    _Here.stops[place] = int(value)


def generate(work: Work) -> Iterator[Progress | Outcome | ZooError]:
    """Make the pictures of a request: Progress at every step, then the Outcome, or the error that the asker can mend.

    Stopped, it ends within one step with the last clean prediction, before the first step with nothing.
    """
    torch.set_num_threads(1)  # the threads of OpenMP did not come along, and a team of them would be waited for in vain
    try:
        yield from _events(work)
    except ZooError as error:
        yield error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        count = len(work.request.seeds)
        yield OutOfMemoryError(f"{count} images of {work.request.model} do not fit into the memory of the GPU: ask for fewer at a time.")


def _events(work: Work) -> Iterator[Progress | Outcome]:
    request = work.request
    yield Progress("loading", request)
    card, model = _Here.models[request.model]
    autoencoder = _Here.models[request.vae][1] if request.vae else None
    device = next(model.module.parameters()).device
    context = _context(card, request, device)
    network, trace, run_steps = Network(model.module), Trace() if work.trace else None, RunSteps(request) if work.keep_steps else None
    module = with_tables(card, request, model.module, network)
    walks = [walk(card, part, module, context, device, trace if k == 0 else None) for k, part in enumerate(parts_of(request, device))]
    decode = _Decoder(card, autoencoder)
    started, laps, steps = time.monotonic(), [], []
    while not _Here.stops[work.place]:
        begun = time.perf_counter()
        steps = [next(one) for one in walks]
        if device.type == "cuda":
            torch.cuda.synchronize()
        laps.append(time.perf_counter() - begun)
        number, total = progress_of(steps)
        if run_steps is not None:
            run_steps.add(number, steps, number == total)
        if number == total:
            break
        images = decode.preview(steps) if work.preview else None
        speed = number / max(time.monotonic() - started, 1e-9)
        yield Progress("sampling", request, number, total, (total - number) / speed, speed, preview=images, preview_step=number)
    if not steps:
        return
    number, total = progress_of(steps)
    images = decode([result_so_far(step) for step in steps])
    seconds = time.monotonic() - started
    encoder = _Here.models[card.text][1] if card.text else None
    used = {card.id: model, request.vae: autoencoder, card.text: encoder}
    conditions: dict[str, Any] = {
        "weights": {name: part.files.digest for name, part in used.items() if part}, "threads": 1,
        "dtype": str(next(model.module.parameters()).dtype).removeprefix("torch."), "device": str(device),
        "kernels": ", ".join(part.kernels for part in (model, autoencoder) if part),
        "stopped_at": None if number == total else number, "shared_passes": False,
    }  # fmt: skip
    taken = {name: part.taken for name, part in used.items() if part and part.taken}
    conditions |= {"weights_taken_from": taken} if taken else {}
    memory = torch.cuda.max_memory_allocated() if work.measured and device.type == "cuda" else None
    times = tuple(trace.times) if trace else ()
    yield Outcome(images, conditions, seconds, tuple(laps), memory, _packed(run_steps, trace), times)


def _context(card: Card, request: Request, device: torch.device) -> Tensor | None:
    """What prompt and negative prompt say to the model (2, n, d), the second cut to the first's length, as Hub.context."""
    if not card.text:
        return None
    encoder, resident = _Here.models[card.text]
    prompts = [
        text_encoders.encode(resident.module, encoder.arch, resident.files.also, text) for text in (request.prompt, request.negative_prompt)
    ]
    length = prompts[0][1]
    return torch.stack([context[:length] for context, _ in prompts]).to(device)


def _packed(run_steps: RunSteps | None, trace: Trace | None) -> bytes:
    tensors = run_steps.tensors() if run_steps is not None else {}
    if trace is not None:
        tensors |= {f"input {k}": x for k, x in enumerate(trace.inputs)}
        tensors |= {} if trace.context is None else {"context": trace.context.cpu()}
    return save({name: part.contiguous().clone() for name, part in tensors.items()})


class _Decoder:
    """Samples as pictures, uint8, and as previews as often as a run can afford it."""

    def __init__(self, card: Card, autoencoder: Resident | None) -> None:
        self.module, self.scale = autoencoder and autoencoder.module, card.latent.scale if card.latent else 1.0
        self._begun, self._shown, self._seconds = time.perf_counter(), 0.0, 0.0

    def __call__(self, samples: Sequence[Tensor], draft: bool = False) -> np.ndarray:
        one_by_one = [part for x in samples for part in x.split(1)]
        made = [x if self.module is None else autoencoders.decode(self.module, x, self.scale, draft) for x in one_by_one]
        return np.concatenate([pictures.to_uint8(x) for x in made])

    def preview(self, steps: Sequence[Step]) -> np.ndarray | None:
        """The clean predictions, where it is time for them."""
        now = time.perf_counter()
        if now - self._shown < EVERY or self._seconds > SHARE * (now - self._begun):
            return None
        images = self([one.x0 for one in steps], draft=True)
        self._shown = time.perf_counter()
        self._seconds += self._shown - now
        return images
