"""Through the Hub: loading, and a whole picture from its noise to the file, with and without previews."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from zoo.engine.bench import weights
from zoo.engine.bench.peers import official_peer
from zoo.engine.bench.subject import Subject
from zoo.engine.hub import Hub
from zoo.engine.request import Progress, Result
from zoo.media import pictures
from zoo.networks import autoencoders
from zoo.networks.build import build_module
from zoo.sampling import Schedule, sample, seeded, solver_options

BARE, HUB, PREVIEWS = "bare loop and decoding", "through the Hub", "through the Hub, with previews"


def loading(subject: Subject) -> dict[str, Any]:
    """Seconds of loading, the first time on this machine and again, and the memory of that and a first picture."""
    subject.tell("loading")
    for part in subject.hub.parts(subject.card)[: 2 if subject.whole else 1]:
        with torch.device("meta"):
            build_module(part)  # what only a program's start costs, such as imports, is no part of loading
    peak = subject.hub.models.peak()
    first = subject.watch.lap(lambda: _load(subject, subject.hub)).wall
    if subject.whole:
        _picture(subject, preview=True, steps=3)
    memory = peak()
    again = subject.watch.lap(lambda: _load(subject, subject.new_hub())).wall
    return {"first_seconds": first, "again_seconds": again, "peak_bytes": memory}


def _load(subject: Subject, hub: Hub) -> None:
    for part in (subject.card, *([hub.card(subject.request.vae)] if subject.request.vae else [])):
        hub.load(part)


def whole_picture(subject: Subject) -> dict[str, Any]:
    """A contest of the bare loop and its decoding, the same through the Hub, and with previews."""
    card, hub, request = subject.card, subject.hub, subject.request
    x = seeded(request.seeds, request.shape(card), subject.device)(-1)
    schedule, predict = Schedule.from_card(card.schedule), hub.predict(card, request, hub.load(card).module, None)
    autoencoder = hub.load(hub.card(request.vae)).module if card.latent else None
    options = solver_options(schedule, request.solver, request.steps, request.eta, card.sampling.spacing, card.sampling.last_step_size) | {
        "prediction": card.prediction or None
    }
    firsts: list[float] = []

    def bare() -> None:
        *_, last = sample(predict, x, schedule, request.solver, request.steps, **options)
        pictures.to_uint8(autoencoders.decode(autoencoder, last.x, card.latent.scale) if autoencoder else last.x)

    def watched() -> None:
        if (first := _picture(subject, preview=True)) is not None:
            firsts.append(first)

    contestants = {BARE: bare, HUB: lambda: _picture(subject, preview=False), PREVIEWS: watched}
    contestants |= _by_default(subject, x)
    contest = subject.contest(contestants)
    by_name = {row["name"]: row for row in contest["rows"]}
    ratios = {clock: by_name[PREVIEWS][f"ratio_{clock}"] / by_name[HUB][f"ratio_{clock}"] for clock in ("cpu", "wall")}
    return contest | {"previews_over_none": ratios, "first_preview_seconds": statistics.median(firsts) if firsts else None}


def _by_default(subject: Subject, x: Tensor) -> dict[str, Callable[[], Any]]:
    """The authors' picture in float32, where the Hub would choose bfloat16 by itself, as it does for large models."""
    if not subject.settings.peers or subject.settings.dtype != "auto" or subject.dtype == torch.float32:
        return {}
    task = subject.task(x, 0.0, None, torch.float32)
    peer = official_peer(task)
    if isinstance(peer, str) or peer.loop is None or not subject.card.latent:
        return {}
    vae = subject.hub.card(subject.request.vae)
    plain = weights.plain(vae, subject.hub.store.find(vae), torch.float32, subject.device)
    subject.notes.append("The authors' whole picture is in float32, as their programs make it; ours is in what the Hub chooses.")
    return {"official, restated, in float32": lambda: autoencoders.decode(plain, peer.loop(), subject.card.latent.scale)}


def _picture(subject: Subject, preview: bool, steps: int | None = None) -> float | None:
    """Ask the Hub for the picture; the seconds to its first preview."""
    start, first = time.perf_counter(), None
    request = subject.request if steps is None else dataclasses.replace(subject.request, steps=steps)
    for item in subject.hub.generate(request, preview=preview):
        if first is None and isinstance(item, Progress) and item.preview is not None:
            first = time.perf_counter() - start
        if isinstance(item, Result):
            return first
    return first
