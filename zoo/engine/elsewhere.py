"""Generations in another process, as on ZeroGPU, where a GPU is lent for a request: what is put in place, what they take, what they say.

All else of the hub stays here, on the CPU: the passes that Look inside records, the judges of Compare, steps decoded after a run.
"""

from __future__ import annotations

import math
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from zoo.engine import plain_run
from zoo.engine.footprint import Memory
from zoo.engine.generation import result_of
from zoo.engine.model_cache import ModelCache
from zoo.engine.plain_run import Outcome, Work
from zoo.engine.request import Progress, Request, Result
from zoo.engine.step_timing import StepTiming, multiply_adds
from zoo.errors import RequestError, ZooError
from zoo.sampling import Trace

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub
    from zoo.engine.job import Job

MEMORY = {"large": 48e9, "xlarge": 96e9}
"""Bytes of a GPU by its size on ZeroGPU; xlarge counts twice against a visitor's quota (Hugging Face, spaces-zerogpu.md, August 2026)."""
SHARE = 0.9
"""Of it that may be used."""
ROOM = 5e9
"""Bytes that the models must leave free for what is computed with them, else the larger size is taken."""
SPEED = {torch.bfloat16: 15_000.0, torch.float32: 5_000.0}
"""Billions of multiply-adds a second of half an RTX Pro 6000: reckoned, until a run of the model was measured."""
LAUNCH = 0.03
"""Seconds that a step takes at least: reckoned, too."""
START, MOVED = 4.0, 2e9
"""Seconds until a new process has CUDA, and bytes of weights that come onto the GPU in one: reckoned."""
MARGIN = 1.3
"""On what a run is expected to take: one that takes longer than it asked for is ended from outside, and what asks for less waits less."""
QUOTAS = (120, 300, 2400)
"""Seconds a day of visitors without an account, with one, and with PRO: a margin does not put a run beyond what its visitor has."""
PATIENCE = 20.0
"""Seconds for which a run that was stopped may still say how far it came."""


class Elsewhere:
    """Runs generations by a callable that takes a Work and yields the events of plain_run.generate, wherever it computes them."""

    def __init__(self, hub: Hub, device: str = "cuda", dtype: str = "auto") -> None:
        """Put every model on offer that is on this machine, and what it needs, onto the device: in the main thread, before the first run.

        dtype: as of Hub."""
        self.hub = hub
        self._cache = ModelCache(hub.store, torch.device(device), dtype, budget=1 << 60)
        parts = {part.id: part for card in hub.offers if card.generates and hub.local(card) for part in hub.parts(card)}
        self._models = {identity: (card, self._cache.load(card)) for identity, card in parts.items()}
        self.bytes = sum(resident.bytes for _, resident in self._models.values())
        self.size = "large" if self.bytes + ROOM <= SHARE * MEMORY["large"] else "xlarge"
        self._cache.budget = max(1, int(SHARE * MEMORY[self.size] - self.bytes))
        self._memory = Memory(self._cache, hub.card, lambda: [card for card in hub.offers if card.id in self._models])
        self._timing = StepTiming(hub.cache_dir / "lent-gpu-timing.json", f"lent GPU, {self.size}")
        self._places, self._lock = set(range(plain_run.MOST)), threading.Lock()
        self._run: Callable[[Work], Iterator[Progress | Outcome | ZooError]] = plain_run.generate
        plain_run.put(self._models)

    def use(self, run: Callable[[Work], Iterator[Progress | Outcome | ZooError]]) -> None:
        """From now on the hub's generations run by this."""
        self._run, self.hub.elsewhere = run, self

    def takes(self, card: Card, request: Request) -> bool:
        """Whether all that a resolved request needs is in place; what came later runs here."""
        return {part for part in (card.id, request.vae, card.text) if part} <= self._models.keys()

    # ---- what it will take

    def seconds(self, card: Card, request: Request) -> float:
        """Of a GPU, that a resolved request takes: by measured steps of its model, else reckoned."""
        steps = self._timing.seconds(request)
        speed = SPEED[self._cache.dtype(card)]
        if steps is None:
            steps = max(request.steps * LAUNCH, multiply_adds(card, request) / speed)
        decoder = self._models[request.vae][0] if request.vae in self._models else None
        decoding = multiply_adds(card, request, decoder) / speed if decoder else 0.0
        return START + self.bytes / MOVED + steps + decoding

    def quota(self, card: Card, request: Request) -> float:
        """Seconds of a visitor's quota that a resolved request takes."""
        return self.seconds(card, request) * (2 if self.size == "xlarge" else 1)

    def duration(self, work: Work) -> int:
        """Whole seconds for which a GPU is asked for."""
        seconds = self.seconds(self._models[work.request.model][0], work.request)
        most = next((quota for quota in QUOTAS if seconds <= quota), QUOTAS[-1])
        return min(math.ceil(MARGIN * seconds), most)

    def check(self, card: Card, request: Request) -> None:
        """Raise OutOfMemoryError, or RequestError, where a resolved request is too large for any GPU or quota."""
        self._memory.check(card, request)
        if (seconds := self.seconds(card, request)) > QUOTAS[-1]:
            raise RequestError(
                f"This would take about {seconds / 60:.0f} minutes of a GPU, and nobody's quota has more than {QUOTAS[-1] // 60} a day: "
                "choose fewer images, frames or steps."
            )

    # ---- running

    def events(
        self,
        job: Job,
        card: Card,
        request: Request,
        visitor: str | None,
        preview: bool,
        trace: Trace | None,
        measured: bool,
        keep_steps: bool,
    ) -> Iterator[Progress | Result]:
        """What a job says, as Generation.events; what it takes is as of Hub.submit."""
        yield Progress("asking", request)
        outcome: Outcome | None = None
        for event in self._told(job, Work(request, preview, trace is not None, keep_steps and visitor is not None, measured)):
            if isinstance(event, ZooError):
                raise event
            if isinstance(event, Outcome):
                outcome = event
            else:
                yield event
        if outcome is None:
            return
        self._timing.add(request, list(outcome.laps[1:]))
        if trace is not None:
            outcome.fill(trace)
        how = {"compute_seconds": sum(outcome.laps), "memory": outcome.memory}
        steps = outcome.run_steps(request)
        yield result_of(self.hub, card, request, outcome.images, outcome.conditions, outcome.seconds, visitor, steps, **how)

    def _told(self, job: Job, work: Work) -> Iterator[Progress | Outcome | ZooError]:
        """The events of a run, and its end soon after the job was cancelled, wherever it is then: a GPU may still be waited for.

        Another thread reads them, in the context of this one, for who the visitor is stands there.
        """
        place = self._take_place()
        box: queue.SimpleQueue = queue.SimpleQueue()
        work = replace(work, place=place)

        def read() -> None:
            end: BaseException | None = None
            try:
                for event in self._run(work):
                    box.put(event)
            except BaseException as error:
                end = error
            finally:
                self._give_place(place)
                box.put((end,))

        threading.Thread(target=copy_context().run, args=(read,), name="elsewhere", daemon=True).start()
        begun, stopped_at = False, None
        while True:
            if job.stop.is_set() and stopped_at is None:
                stopped_at = time.monotonic()
                plain_run.stop(place)
            if stopped_at and (not begun or time.monotonic() - stopped_at > PATIENCE):
                return
            try:
                event = box.get(timeout=0.1)
            except queue.Empty:
                continue
            if isinstance(event, tuple):
                if event[0] is not None:
                    raise event[0]
                return
            begun = True
            yield event

    def close(self) -> None:
        """End the processes that are left: they wait for the next run, and would outlive this one."""
        processes = multiprocessing.active_children()
        for process in processes:
            process.kill()
        for process in processes:
            process.join(1.0)

    def _take_place(self) -> int:
        with self._lock:
            if not self._places:
                raise RequestError(f"{plain_run.MOST} runs wait for a GPU already: try again in a minute.")
            place = self._places.pop()
        plain_run.stop(place, False)
        return place

    def _give_place(self, place: int) -> None:
        with self._lock:
            self._places.add(place)
