"""Numbers that others recorded with the published weights of a model, as a card holds them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INPUTS = {
    "constant": "a constant input of {}", "text": "the text {!r}", "picture": "the picture {}", "clip": "the clip {}",
    "latents": "the latents {}",
}  # fmt: skip
"""What numbers can be recorded of, in words; a picture is called by what it is, a clip and latents by the name of their .npy file."""
MAX_SIDE = 1024
"""Pixels a side of a picture of which numbers were recorded."""
OUTPUTS = ("logits", "last_hidden_state", "pooler_output", "sample", "tokens")
"""What can be recorded: as transformers and diffusers call it, and the numbers of a prompt's pieces."""


@dataclass(frozen=True)
class Expected:
    """Some numbers of what a model makes of one input, and who recorded them."""

    input: Mapping[str, Any]
    """One of INPUTS and what it is: {constant: 0.5}, which is given to the network as it is; {picture: COCO val2017 000000039769}."""
    output: str
    """What was recorded, and where in it: logits[0, :3]."""
    numbers: tuple[float, ...]
    source: str
    tolerance: float = 1e-4
    """How far a number may be off."""
    otherwise: tuple[float, ...] = ()
    """Other numbers that were recorded of the same, with another preparation."""
    side: int = 0
    """Pixels a side to which the picture is stretched, and the position table interpolated, where it is not the model's own size."""
    inferred: str = ""
    """Why it is not certain that the numbers are of these weights, if it is not: others are then no fault."""

    @property
    def kind(self) -> str:
        """Which of INPUTS it is."""
        return next(iter(self.input))

    @property
    def given(self) -> Any:
        """The constant, the text, or what the picture, clip or latents are called."""
        return self.input[self.kind]

    @property
    def words(self) -> str:
        """What was recorded of what: logits[0, :3] of a constant input of 0.5."""
        size = f" at {self.side} x {self.side}" if self.side else ""
        return f"{self.output} of {INPUTS[self.kind].format(self.given)}{size}"

    @property
    def brought(self) -> bool:
        """Whether its input is not ours to ship, so that somebody must bring it."""
        return self.kind in ("picture", "clip", "latents")

    @property
    def place(self) -> tuple[str, tuple[int | slice, ...]]:
        """The name of the output and the index into it."""
        name, _, places = self.output.rstrip("]").partition("[")
        return name, tuple(_index(part.strip()) for part in places.split(",") if part.strip())

    @property
    def key(self) -> str:
        """What tells it from any other, in twelve hex digits."""
        facts = [dict(self.input), self.output, self.numbers, self.tolerance, self.otherwise, *([self.side] if self.side else [])]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def parse(item: Any) -> Expected:
    """One entry of a card's `expected`. Raises TypeError that names what is wrong."""
    if not isinstance(item, dict):
        raise TypeError(f"expected must hold mappings such as {{input: {{constant: 0.5}}, output: 'logits[0, :3]', ...}}, not {item!r}")
    entry = Expected(**item | {key: tuple(item[key]) for key in ("numbers", "otherwise") if key in item})
    if not isinstance(entry.input, dict) or len(entry.input) != 1 or entry.kind not in INPUTS:
        raise TypeError(f"the input of expected numbers must be one of {', '.join(INPUTS)}, not {entry.input!r}")
    if (entry.kind == "constant") != isinstance(entry.given, float) or (entry.kind != "constant") != isinstance(entry.given, str):
        raise TypeError(f"the {entry.kind} of expected numbers cannot be {entry.given!r}")
    if type(entry.side) is not int or not 0 <= entry.side <= MAX_SIDE or (entry.side and entry.kind != "picture"):
        raise TypeError(f"the side of expected numbers must be pixels of a picture, at most {MAX_SIDE}, not {entry.side!r}")
    if not re.fullmatch(rf"({'|'.join(OUTPUTS)})(\[[-\d:, ]+\])?", str(entry.output)):
        raise TypeError(f"the output of expected numbers must be one of {', '.join(OUTPUTS)} with its place, not {entry.output!r}")
    _ = entry.place
    numbers = [*entry.numbers, *entry.otherwise, entry.tolerance]
    if not entry.numbers or not all(type(value) in (int, float) and math.isfinite(value) for value in numbers):
        raise TypeError(f"expected numbers must be numbers, not {numbers!r}")
    if len(entry.otherwise) not in (0, len(entry.numbers)) or entry.tolerance < 0 or not isinstance(entry.source, str):
        raise TypeError(f"expected numbers of {entry.output} need a source, a tolerance, and as many numbers otherwise")
    return entry


def _index(part: str) -> int | slice:
    try:
        bounds = [int(bound) if bound else None for bound in part.split(":")]
    except ValueError:
        raise TypeError(f"{part!r} is no place in an output") from None
    if len(bounds) > 2 or (len(bounds) == 1 and bounds[0] is None):
        raise TypeError(f"{part!r} is no place in an output")
    return slice(*bounds) if len(bounds) == 2 else bounds[0]
