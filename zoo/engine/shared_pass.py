"""One pass of a network for the rows of several walks at once, where a device is quicker so; each row keeps its time, label and guidance.

A product of more rows rounds differently: a sample that was made so differs from the same one alone by rounding, and its receipt says it.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.engine.memory import is_out_of_memory
from zoo.networks.build import example_pass

if TYPE_CHECKING:
    from zoo.catalog.card import Card

MEMBERS = 32
"""Walks that one pass may be for."""
LARGEST = 64
"""Rows up to which it is measured whether more of them together are cheaper."""
GAIN = 0.9
"""Of the seconds a row, what twice the rows must at most take: else they take turns."""
_current = threading.local()


class Rows(NamedTuple):
    """Of the pass that a turn makes: the model, how many rows it has, and how many may go through the model together."""

    model: str
    count: int
    most: int


@dataclass(eq=False)
class _Demand:
    """What one member asks of a network (b rows), and what became of it."""

    module: nn.Module
    inputs: tuple[Tensor | None, ...]
    answer: Tensor | None = None
    error: Exception | None = None
    seconds: float = 0.0
    """Its share of the pass."""
    joined: bool = False
    """Whether other members' rows were in the same pass."""
    done: bool = False

    def kind(self) -> tuple[Any, ...]:
        """What must be equal for two to go together."""
        return self.module, *(None if one is None else (one.shape[1:], one.dtype) for one in self.inputs)


class Network:
    """A network as the walks of one request ask it: (x, t, y, modulation) -> raw output, with others in a shared pass."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.joined = False
        """Whether any pass so far had rows of other walks in it."""

    def __call__(self, x: Tensor, t: Tensor, y: Tensor | None = None, modulation: Tensor | None = None) -> Tensor:
        """As the module's forward."""
        shared: SharedPass | None = getattr(_current, "shared", None)
        if shared is None:
            return _forward(self.module, (x, t, y, modulation))
        demand = shared.ask(_Demand(self.module, (x, t, y, modulation)))
        self.joined |= demand.joined
        if demand.error:
            raise demand.error
        return demand.answer


class SharedPass:
    """Where the members of a pass meet: each does its own work in a thread of its own, and all that ask meanwhile are answered at once."""

    def __init__(self, members: int) -> None:
        self._members = members
        """Those that have not ended."""
        self._demands: list[_Demand] = []
        self._changed = threading.Condition()

    def take_part(self, work: Callable[[], None]) -> None:
        """Do the work of a member."""
        _current.shared = self
        try:
            work()
        finally:
            _current.shared = None
            with self._changed:
                self._members -= 1
                self._changed.notify_all()

    def ask(self, demand: _Demand) -> _Demand:
        """Wait until it is answered."""
        begun = time.perf_counter()
        with self._changed:
            self._demands.append(demand)
            self._changed.notify_all()
            self._changed.wait_for(lambda: demand.done)
        _current.others = seconds_of_others() + time.perf_counter() - begun - demand.seconds
        return demand

    def lead(self) -> None:
        """Answer whenever all members that have not ended ask, until all have ended."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._demands) == self._members)
                if not self._members:
                    return
                demands, self._demands = self._demands, []
            alike = defaultdict(list)
            for demand in demands:
                alike[demand.kind()].append(demand)
            for group in alike.values():
                _answer(group)
            with self._changed:
                for demand in demands:
                    demand.done = True
                self._changed.notify_all()


def together(works: Sequence[Callable[[], None]], threads: Executor) -> None:
    """Do pieces of work side by side, which must not raise, their passes joined; threads: as many as there are works, at least."""
    shared = SharedPass(len(works))
    members = [threads.submit(shared.take_part, work) for work in works]
    shared.lead()
    for member in members:
        member.result()


def seconds_of_others() -> float:
    """What this thread has waited so far in shared passes for the rows of others."""
    return getattr(_current, "others", 0.0)


def _answer(demands: Sequence[_Demand]) -> None:
    """Ask the network once for all rows; where that fails, for instance for want of memory, for each member's alone."""
    begun = time.perf_counter()
    counts = [len(demand.inputs[0]) for demand in demands]
    try:
        joined = [None if parts[0] is None else torch.cat(parts) for parts in zip(*(demand.inputs for demand in demands), strict=True)]
        answers = _forward(demands[0].module, joined).split(counts)
    except Exception as error:
        if len(demands) == 1:
            demands[0].error = error
        else:
            for demand in demands:
                _answer([demand])
        return
    seconds = time.perf_counter() - begun
    for demand, answer, count in zip(demands, answers, counts, strict=True):
        demand.answer, demand.seconds, demand.joined = answer, seconds * count / sum(counts), len(demands) > 1


@torch.no_grad()
def _forward(module: nn.Module, inputs: Sequence[Tensor | None]) -> Tensor:
    *arguments, modulation = inputs
    return module(*arguments) if modulation is None else module(*arguments, modulation=modulation)


def most_rows(card: Card, module: nn.Module) -> int:
    """Rows up to which a model is cheaper a row the more of them go through it together, measured here: 2, 4, ... or 64.

    Time is taken on the model's device, which must have nothing else to do.
    """
    seconds_a_row, rows = _seconds(card, module, 2) / 2, 2
    while rows < LARGEST:
        try:
            of_more = _seconds(card, module, 2 * rows) / (2 * rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if of_more > GAIN * seconds_a_row:
            break
        seconds_a_row, rows = of_more, 2 * rows
    return rows


@torch.no_grad()
def _seconds(card: Card, module: nn.Module, rows: int) -> float:
    """Of one pass of so many rows: the middle of three, after one that does not count."""
    weight = next(module.parameters())
    laps = []
    for _ in range(4):
        begun = time.perf_counter()
        example_pass(card, module, lambda *shape: torch.zeros(shape, dtype=weight.dtype, device=weight.device), rows).sum().item()
        laps.append(time.perf_counter() - begun)
    return statistics.median(laps[1:])
