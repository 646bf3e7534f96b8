"""The steps of a run, kept after it: what each sample was and what the network saw in it, to be decoded when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.engine.request import Request
    from zoo.sampling import Step

MOST = 64 << 20
"""Bytes of one run; of a longer one every second step is kept, or every fourth, and so on."""


@dataclass
class RunSteps:
    """Of the steps of one run: the samples x after each and the clean predictions x0, before any decoding."""

    request: Request
    bytes: int = 0
    _every: int = 1
    _steps: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, number: int, steps: Sequence[Step], last: bool) -> None:
        """Keep step `number`, from 1, of all walks; the last one in any case."""
        if number % self._every and not last:
            return
        self._steps[number] = tuple(
            torch.cat(parts).to("cpu", copy=True) for parts in zip(*((one.x, one.x0) for one in steps), strict=True)
        )
        self.bytes += sum(part.nbytes for part in self._steps[number])
        if self.bytes > MOST:
            self._every *= 2
            self._steps = {k: pair for k, pair in self._steps.items() if not k % self._every or k == number}
            self.bytes = sum(part.nbytes for pair in self._steps.values() for part in pair)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the steps that are kept, in order."""
        return sorted(self._steps)

    @property
    def last(self) -> int:
        """The number of the last step."""
        return max(self._steps)

    def at(self, number: int, noisy: bool = False) -> tuple[int, Tensor]:
        """The step that is kept and nearest to `number`, and its clean predictions (b, ...), or its samples with their noise."""
        nearest = min(self._steps, key=lambda k: abs(k - number))
        return nearest, self._steps[nearest][0 if noisy else 1]

    def tensors(self) -> dict[str, Tensor]:
        """All that is kept, by name, for another process."""
        return {f"{kind} {k}": part for k, pair in self._steps.items() for kind, part in zip(("x", "x0"), pair, strict=True)}

    @classmethod
    def of(cls, request: Request, tensors: Mapping[str, Tensor]) -> RunSteps:
        """What `tensors` gave in another process; those of other names are left out."""
        numbers = sorted(int(name.split()[1]) for name in tensors if name.startswith("x0 "))
        steps = {k: (tensors[f"x {k}"], tensors[f"x0 {k}"]) for k in numbers}
        return cls(request, sum(part.nbytes for pair in steps.values() for part in pair), _steps=steps)
