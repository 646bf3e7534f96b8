"""What a card says of how its model is sampled: schedule, prediction, guidance, solver and presets, and what must hold among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import CardError

if TYPE_CHECKING:
    from zoo.catalog.card import Card

SCHEDULES = {"linear": ("start", "end", "steps"), "scaled-linear": ("start", "end", "steps"), "vp-sde": ("beta_min", "beta_max")}
"""Kinds of diffusion schedules, and the numbers that each needs; a flow is checked by itself."""
FLOW = ("time", "shift", "noise_scale")
"""What a card may say of a flow: time is data or noise, the others are numbers above 0."""


@dataclass(frozen=True)
class Guidance:
    """The published guidance: w of eps = uncond + w (cond - uncond), on the first `channels` channels (None: all)."""

    default: float = 1.0
    channels: int | None = None
    interval: tuple[float, float] | None = None
    """The noise shares from which to which it is on; None: always."""
    interval_open: bool = False
    """Whether it is off at both ends of the interval."""
    decided_at: str = "evaluation"
    """Whether it is on is decided at each evaluation, or once a step."""
    power: float | None = None
    """w grows from 1 at the noise to `default` at the picture, later for a larger power (MDT's power cosine); None: it is constant."""

    def __post_init__(self) -> None:
        if self.interval is not None:
            object.__setattr__(self, "interval", tuple(self.interval))


@dataclass(frozen=True)
class Sampling:
    """A solver by name, its number of steps, and for ddim and ddpm which of the steps: even (the official "N") or stride ("ddimN")."""

    solver: str
    steps: int
    spacing: str = "even"
    last_step_size: float | None = None
    """Of euler and euler-maruyama on a flow, in noise share; None: the solver's own."""


@dataclass(frozen=True)
class Preset:
    """Settings with a name, such as `paper`: the published protocol; the guidance and vae of the card where none is said."""

    solver: str
    steps: int
    guidance: float | None = None
    vae: str | None = None
    interval: tuple[float, float] | None = None
    """Noise shares between which guidance is on; None: the card's."""

    def __post_init__(self) -> None:
        if self.interval is not None:
            object.__setattr__(self, "interval", tuple(self.interval))


def check_sampling(card: Card) -> None:
    """What schedule, prediction and guidance must be. Raises CardError."""
    values = {key: value for key, value in card.schedule.items() if key != "kind"}
    flow = card.schedule.get("kind") == "flow"
    if flow and (values.keys() - set(FLOW) or values.pop("time", "data") not in ("data", "noise")):
        raise CardError(f"Card {card.id}: the schedule of a flow has time (data or noise), and where they are not 1 shift and noise_scale.")
    if card.schedule and not flow and set(SCHEDULES.get(str(card.schedule.get("kind")), ())) != values.keys():
        raise CardError(f"Card {card.id}: the schedule must be one of {SCHEDULES}, or a flow with {FLOW}.")
    if wrong := [key for key, value in values.items() if not isinstance(value, (int, float))]:
        raise CardError(f"Card {card.id}: `{wrong[0]}` of the schedule must be a number such as 0.0001, not {values[wrong[0]]!r}.")
    if card.prediction not in (("", "velocity", "sample") if flow else ("", "noise")):
        raise CardError(f"Card {card.id}: the prediction of a flow is velocity or sample, that of a diffusion model noise.")
    intervals = [card.guidance.interval, *(preset.interval for preset in card.presets.values())]
    if not all(one is None or (len(one) == 2 and 0 <= one[0] <= one[1] <= 1) for one in intervals):
        raise CardError(f"Card {card.id}: a guidance interval is two rising noise shares, such as [0, 0.7].")
    if card.guidance.decided_at not in ("evaluation", "step"):
        raise CardError(f"Card {card.id}: guidance is decided at each evaluation, or once a step.")
