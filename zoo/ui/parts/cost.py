"""What a run will cost, in words, before it starts; and of one that takes minutes, how it would take fewer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.engine.request import solvers_of
from zoo.errors import RequestError
from zoo.ui.parts import controls, markup

if TYPE_CHECKING:
    from zoo.catalog.card import Card
    from zoo.engine.hub import Hub
    from zoo.engine.request import Request

SLOW, WORTH = 60.0, 0.7
"""Seconds from which a faster way is offered, and the share of them that it may take at most."""
FAST, FAST_FLOW = ("dpm-solver++", 25), ("heun", 25)
"""Solver and steps of a model whose card has no preset `fast`; of one that follows a flow."""
MEASURING, UNKNOWN = "measuring how fast this machine is ...", "what a run costs is known after the first one"
NOTHING = ("", gr.update(visible=False), gr.update(active=False))
"""What stands where nothing can run yet: no words, no button, and a timer at rest."""
BASES = {
    "measured": "here, from measured steps",
    "reckoned": "here, reckoned from the speed of this machine",
    "quota": "of your ZeroGPU quota",
}


def words(hub: Hub, requests: Sequence[Request]) -> str:
    """What resolved requests will take together: seconds or minutes, and how that is known; empty where it is not."""
    prices = [hub.price(request) for request in requests]
    if not prices or None in prices:
        return ""
    seconds, bases = sum(price.seconds for price in prices), {price.basis for price in prices}
    basis = next(basis for basis in ("quota", "reckoned", "measured") if basis in bases)
    return f"about {controls.duration(seconds)} {BASES[basis]}"


def prepare(hub: Hub, requests: Sequence[Request]) -> bool:
    """Find out in the background what is not known yet of these; whether that is going on."""
    unknown = {request.model for request in requests if hub.price(request) is None}
    return True in [hub.prepare(model) for model in sorted(unknown)]


def answer(hub: Hub, requests: Sequence[Request], more: str = "") -> tuple[str, Any, Any]:
    """What resolved requests will cost, as HTML, the button that offers a faster way, and the timer, which ticks until that is known.

    more: what else is to be said of them.
    """
    if prepare(hub, requests):
        return markup.note(MEASURING), gr.update(visible=False), gr.update(active=True)
    text = "; ".join(filter(None, [words(hub, requests) or UNKNOWN, more]))
    return markup.note(text), offer(hub, requests), gr.update(active=False)


def fast(card: Card) -> tuple[str, int]:
    """Solver and steps of the preset `fast` of a model, or the usual ones."""
    preset = card.presets.get("fast")
    if preset:
        return preset.solver, preset.steps
    return FAST if FAST[0] in solvers_of(card) else FAST_FLOW


def faster(hub: Hub, requests: Sequence[Request]) -> list[Request] | None:
    """The same resolved requests with fewer steps, where they take long and that would be worth it; else None."""
    prices = [hub.price(request) for request in requests]
    if None in prices or sum(price.seconds for price in prices) < SLOW:
        return None
    others = [_faster(hub, request) for request in requests]
    seconds = sum(hub.price(other).seconds for other in others)
    return others if seconds <= WORTH * sum(price.seconds for price in prices) else None


def _faster(hub: Hub, request: Request) -> Request:
    card = hub.card(request.model)
    solver, steps = fast(card)
    try:
        other = replace(request, solver=solver, steps=steps, eta=0.0).resolved(card)
    except RequestError:  # its schedule has not as many, or the solver cannot take it
        return request
    return other if other.steps < request.steps else request


def on_button(hub: Hub, requests: Sequence[Request], label: dict) -> dict:
    """What the button shows that starts them: how long they take, too, where that is long, for on a phone nothing else is seen then."""
    prices = [hub.price(request) for request in requests]
    if None in prices or not label["interactive"] or (seconds := sum(price.seconds for price in prices)) < SLOW:
        return label
    return label | {"value": f"{label['value']} · about {controls.duration(seconds)}"}


def offer(hub: Hub, requests: Sequence[Request]) -> Any:
    """What the button shows that makes these requests faster: with which steps, and what they take then; nothing where they are fast."""
    others = faster(hub, requests)
    if others is None:
        return gr.update(visible=False)
    solvers = {(other.solver, other.steps) for other in others}
    how = " ".join(map(str, (next(iter(solvers))[1], "steps of", next(iter(solvers))[0]))) if len(solvers) == 1 else "fewer steps"
    seconds = sum(hub.price(other).seconds for other in others)
    return gr.update(visible=True, value=f"Take {how}: about {controls.duration(seconds)}")
