"""The network alone: a guided step and a loop of them, of ours and of the peers that compute the same."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from zoo.engine.bench.diffusers_peers import diffusers_peer
from zoo.engine.bench.peers import Peer, official_peer
from zoo.engine.bench.subject import Subject
from zoo.sampling import FlowSchedule, Schedule, sample, seeded

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""Largest difference of a peer's output from ours, as a share of its largest magnitude, up to which it is the same computation."""
LOOP = 10
"""Times that, for rounding adds up along a loop."""
OURS = "ours"


def networks(subject: Subject) -> tuple[dict[str, Any], dict[str, Any]]:
    """Contests of one guided step, and of a loop, not decoded. Who computes something else is not timed, and a note says so."""
    card, request, hub = subject.card, subject.request, subject.hub
    context = None
    if card.text:
        shape = (2, card.arch.get("num_context_tokens", 120), card.arch["context_dim"])
        context = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(subject.device)
    x = seeded(request.seeds, request.shape(card), subject.device)(-1)
    schedule = Schedule.from_card(card.schedule)
    flow = isinstance(schedule, FlowSchedule)
    t = schedule.model_time(0.5) if flow else float(round(schedule.model_time(0.5)))
    times = torch.full((1,), t, device=subject.device)
    module = hub.load(card).module
    predict = hub.predict(card, request, module, context)

    def loop(channels: int | None = card.guidance.channels, spacing: str = "even") -> Tensor:
        same = dataclasses.replace(card, guidance=dataclasses.replace(card.guidance, channels=channels))
        guided = predict if channels == card.guidance.channels else hub.predict(same, request, module, context)
        options = {"prediction": card.prediction or None} if flow else {"spacing": spacing}
        *_, last = sample(guided, x, schedule, "euler" if flow else "ddim", request.steps, **options)
        return last.x

    def step() -> Tensor:
        with torch.no_grad():
            return predict(x, times)

    step_differences, loop_differences = {OURS: 0.0}, {OURS: 0.0}
    steps, loops = {OURS: step}, {OURS: loop}
    subject.tell("a first step and loop")
    ours = step()
    others = _peers(subject, x, t, context) if subject.settings.peers else []
    if not others:
        loop()
    for peer in others:
        subject.tell(f"checking {peer.name}")
        with torch.no_grad():
            step_differences[peer.name] = difference(peer.step(), ours)
        if _agrees(subject, peer, "step", step_differences[peer.name]):
            steps[peer.name] = torch.no_grad()(peer.step)
            if peer.loop is None:
                continue
            loop_differences[peer.name] = difference(peer.loop(), loop(peer.channels, peer.spacing))
            if _agrees(subject, peer, "loop", loop_differences[peer.name]):
                loops[peer.name] = peer.loop
    return subject.contest(steps, step_differences), subject.contest(loops, loop_differences)


def _peers(subject: Subject, x: Tensor, t: float, context: Tensor | None) -> list[Peer]:
    task = subject.task(x, t, context, subject.dtype)
    others = [official_peer(task), diffusers_peer(task)]
    if subject.dtype == torch.bfloat16:
        subject.notes.append("Rounding to bfloat16 alone makes hundredths of difference: up to 0.1 counts as the same; float32 tells more.")
    for other in others:
        subject.notes += [other] if isinstance(other, str) else other.patches
    return [other for other in others if isinstance(other, Peer)]


def _agrees(subject: Subject, peer: Peer, what: str, gap: float) -> bool:
    tolerance = TOLERANCE[subject.dtype] * (LOOP if what == "loop" else 1)
    if subject.dtype != torch.float32 and what == "loop" and tolerance < gap < math.inf:
        subject.notes.append(
            f"In {str(subject.dtype)[6:]} the samples of {peer.name} end up {gap:.1e} from ours: rounding adds up along the loop."
        )
        return True
    if not gap <= tolerance:
        subject.notes.append(f"A {what} of {peer.name} was not timed: it differs from ours by {gap:.1e} of its largest value.")
    return gap <= tolerance


def difference(theirs: Tensor, ours: Tensor) -> float:
    """Largest difference as a share of the largest magnitude; infinite where the shapes differ or something is no number."""
    if theirs.shape != ours.shape or not torch.isfinite(theirs).all():
        return math.inf
    return ((theirs - ours).abs().max() / ours.abs().max()).item()
