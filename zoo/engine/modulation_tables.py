"""adaLN before the loop: how a DiT or Latte is scaled, shifted and gated at every step of a request, computed for many steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zoo.backbones.dit import AdaLN
from zoo.sampling import Schedule, solver_options, told_times

if TYPE_CHECKING:
    from torch import nn

    from zoo.catalog.card import Card
    from zoo.engine.request import Request

BUDGET = 8 << 20
"""Bytes of vectors that one label of a request has at a time: 221 steps of tiny-dit, 10 of DiT-XL/2."""


class ModulationTables:
    """A DiT or Latte that is asked like the module itself, (x, t, y) -> prediction, at the times of one run.

    A third of DiT-XL/2's weights make these vectors, from the time and the label alone; read once for a chunk of steps instead of at
    every step, they cost next to nothing. A chunk belongs to one label and is the same whatever other labels the request has, because
    a product's rounding depends on its number of rows: so a picture is the same to the bit alone and in company. At any other time
    the module computes the vectors itself.
    """

    def __init__(self, module: AdaLN, times: Sequence[float], forward: Callable[..., Tensor] | None = None) -> None:
        """times: what the network will be told, in order (sampling.told_times); forward: what to ask in place of the module's own."""
        self.module, self.forward = module, forward or module
        known = list(dict.fromkeys(times))
        weights = [part.adaLN_modulation[1].weight for part in module.modulated]
        steps = max(1, BUDGET // sum(len(weight) * weight.element_size() for weight in weights))
        self._chunks = [known[start : start + steps] for start in range(0, len(known), steps)]
        self._places = {time: (number, row) for number, chunk in enumerate(self._chunks) for row, time in enumerate(chunk)}
        self._tables: dict[int | None, tuple[int, Tensor]] = {}

    def __call__(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """As the module's forward."""
        return self.forward(x, t, y, modulation=self.rows(t, y))

    def rows(self, t: Tensor, y: Tensor | None) -> Tensor | None:
        """The vectors (b, m) of rows at times t (b,) with labels y (b,), None where a time is not one of the run."""
        times, labels = t.tolist(), [None] * len(t) if y is None else y.tolist()
        if not self._places.keys() >= set(times):
            return None
        return torch.stack([self._row(time, label, t.device) for time, label in zip(times, labels, strict=True)])

    @torch.no_grad()
    def _row(self, time: float, label: int | None, device: torch.device) -> Tensor:
        chunk, row = self._places[time]
        number, table = self._tables.get(label, (-1, None))
        if number != chunk:
            t = torch.tensor(self._chunks[chunk], device=device)
            table = self.module.modulation(t, None if label is None else torch.full((len(t),), label, device=device))
            self._tables[label] = chunk, table
        return table[row]


def with_tables(card: Card, request: Request, module: nn.Module, forward: Callable[..., Tensor] | None = None) -> Any:
    """A module as a request asks it: with tables where it has adaLN, else as it is; forward: what to ask in place of its own."""
    if not isinstance(module, AdaLN):
        return forward or module
    schedule = Schedule.from_card(card.schedule)
    options = solver_options(schedule, request.solver, request.steps, request.eta, card.sampling.spacing, card.sampling.last_step_size)
    return ModulationTables(module, told_times(schedule, request.solver, request.steps, **options), forward)
