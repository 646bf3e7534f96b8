"""A result of another tab, taken over as column A: what stands in column B beside it, and what is said of that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from zoo.catalog.card import Card
from zoo.engine.request import Request
from zoo.errors import RequestError
from zoo.ui.parts.settings import autoencoders

if TYPE_CHECKING:
    from zoo.engine.hub import Hub


def defaults(card: Card) -> Request:
    """The setting that a card recommends."""
    own = card.sampling
    return Request(card.id, steps=own.steps, solver=own.solver, guidance=card.guidance.default, vae=card.latent and card.latent.vae)


def on_another(hub: Hub, request: Request, card: Card) -> tuple[Request, list[str]]:
    """A resolved request on another model, and the words of it that this one does not allow: they are its defaults then."""
    words = {word: getattr(request, word) for word in ("solver", "steps", "guidance", "eta", "vae")}
    refused = []
    if words["vae"] not in autoencoders(hub, card):
        words["vae"] = None
    if not card.guidable and request.guidance != 1:
        words["guidance"], refused = 1.0, ["guidance"]
    for more in ([], ["steps"], ["solver", "steps"]):
        left_out = dict.fromkeys(more) | ({"eta": 0.0} if "solver" in more else {})
        try:
            return replace(request, model=card.id, **words | left_out).resolved(card), [*more, *refused]
        except RequestError:
            continue
    return defaults(card), ["solver", "steps", "guidance"]


def difference(card: Card, rival: Card, refused: list[str]) -> str:
    """What A and B are after a result was taken over."""
    words = f"A is the setting of that result. B is {rival.title} with the same solver, steps and guidance, so only the model differs."
    if refused:
        words = (
            f"A is the setting of that result. B is {rival.title}, with its own default {' and '.join(refused)}, for it cannot take A's."
        )
    if rival is card:
        words = "A and B are both the setting of that result, because no other model here draws the same: change one of them."
    return f"{words} Then press Compare."
