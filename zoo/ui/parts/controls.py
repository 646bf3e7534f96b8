"""Pieces of a page that every tab needs: choices from cards, values into requests, and the small pictures of HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo.backbones import FAMILIES
from zoo.catalog.card import Card, Source
from zoo.catalog.sources import HUBS
from zoo.engine.request import MAX_FRAMES, MAX_IMAGES, Request, find_label, first_seed, short
from zoo.errors import RequestError

if TYPE_CHECKING:
    from zoo.engine.hub import Hub


def model_choices(hub: Hub, video: bool = False) -> list[tuple[str, str]]:
    """(title with size, licence and whether it is downloaded, id) of every model that makes pictures, or videos, the ready ones first."""
    ready = [(card, hub.local(card)) for card in makers(hub, video)]
    return [(f"{card.title} · {card.size} · {card.licence}{'' if here else ' · not downloaded'}", card.id) for card, here in ready]


def makers(hub: Hub, video: bool) -> list[Card]:
    """Every model that makes pictures, or videos, the ready ones first, family by family."""
    cards = [card for card in hub.offers if card.generates and card.video == video]
    return sorted(cards, key=lambda card: (not hub.local(card), FAMILIES.index(card.family)))


def missing(hub: Hub, parts: Sequence[Card]) -> str:
    """Which of these models, or parts of one, must be downloaded first, in one sentence; empty where none."""
    names = {part.id: f"{part.title} ({part.size})" for part in parts if not hub.store.find(part)}
    verb, them = ("is", "it") if len(names) == 1 else ("are", "them")
    return f"{' and '.join(names.values())} {verb} not downloaded: download {them} on the Models tab." if names else ""


def first_generator(hub: Hub, video: bool = False) -> Card:
    """The model that a tab starts with; for videos also one that must be downloaded first. Raises RequestError where there is none."""
    cards = makers(hub, video)
    for card in [card for card in cards if hub.local(card)] or cards * video:
        return card
    able = ", ".join(card.id for card in hub.cards.values() if card.generates and card.video == video and hub.local(card))
    raise RequestError(f"None of the models on offer makes {'videos' if video else 'pictures'} here: add one of {able} to --models.")


def make_request(
    card: Card,
    label: Any,
    count: Any,
    seed: Any,
    steps: Any,
    solver: Any,
    guidance: Any,
    eta: Any = 0.0,
    vae: str | None = None,
    frames: Any = None,
    fps: Any = 8,
    negative_prompt: str = "",
    interval: tuple[Any, Any] | None = None,
) -> Request:
    """A checked request from the values of the controls; label is the prompt of a model that reads text; an empty seed draws one.
    Raises RequestError."""
    video = {"frames": None if frames is None else whole("Frames", frames, 1, MAX_FRAMES), "fps": whole("Frames a second", fps, 1, 60)}
    number = whole("Images", count, 1, MAX_IMAGES)
    first = first_seed(seed, number)
    labels = (find_label(card, label),) if card.label_names else ()
    if steps is not None:
        steps = whole("Steps", steps, 1, 1000)
    seeds = tuple(range(first, first + number))
    words = {"eta": eta or 0.0, "vae": vae, "prompt": label if card.text else "", "negative_prompt": negative_prompt or ""} | video
    words |= {} if interval is None else {"interval": tuple(interval)}
    return Request(card.id, labels, seeds, steps, solver or None, guidance, **words).resolved(card)


def duration(seconds: float) -> str:
    """Seconds in words: 41 s, 3 min, 2 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def place(source: Source) -> str:
    """Where weights come from, in words."""
    names = {
        "bundled": "ships with Patchwork",
        "url": source.url.split("/")[2] if source.url else "",
        "manual": f"by hand, from {source.url}",
        "own": f"{source.file}, added on this machine",
    }
    return names.get(source.origin) or f"{source.repo} on {HUBS[source.origin]}"


def whole(what: str, value: Any, low: int, high: int) -> int:
    """A whole number of a control, which may arrive as 4.0. Raises RequestError that names the range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or value != int(value):
        raise RequestError(
            f"{what} must be a whole number from {low} to {high}, not {value[:40] if isinstance(value, str) else short(value)}."
        )
    return int(value)


def seed_range(request: Request) -> tuple[int, int] | None:
    """(first seed, count) where a request has one label and seeds in a row, so that the controls can say it all; else None."""
    seeds: Sequence[int] = request.seeds
    in_row = tuple(range(seeds[0], seeds[0] + len(seeds))) == tuple(seeds) if seeds else False
    return (seeds[0], len(seeds)) if in_row and len(set(request.labels)) <= 1 else None
