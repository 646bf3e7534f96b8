"""The bench: everything asked for about one model, measured in turn and said as JSON values."""

from __future__ import annotations

import dataclasses
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.engine.bench import machine
from zoo.engine.bench.network import networks
from zoo.engine.bench.subject import Settings, Subject, Tell
from zoo.engine.bench.visitors import visits
from zoo.engine.bench.whole import loading, whole_picture
from zoo.errors import RequestError

MOST_VISITORS = 256


def run(settings: Settings, tell: Tell = lambda _: None) -> dict[str, Any]:
    """Measure, and say it as JSON values; tell is told how far it is.

    Nothing is left behind: results and random weights lie in a temporary folder. Raises RequestError for a model that makes no pictures
    or a number out of range, OutOfMemoryError for one that does not fit.
    """
    before, threads = machine.load(), torch.get_num_threads()
    for word, value, low, high in (("visitors", settings.visitors, 0, MOST_VISITORS), ("threads", settings.threads, 1, machine.cores())):
        if not low <= value <= high:
            raise RequestError(f"{value} {word} cannot be measured here: choose {low} to {high}.")
    if settings.rounds is not None and not 1 <= settings.rounds <= 1000:
        raise RequestError(f"{settings.rounds} rounds cannot be measured: choose 1 to 1000.")
    torch.set_num_threads(settings.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="patchwork-bench-") as folder:
            return _report(Subject(settings, Path(folder), tell), before)
    finally:
        torch.set_num_threads(threads)


def _report(subject: Subject, before: float | None) -> dict[str, Any]:
    card, settings = subject.card, subject.settings
    loads = loading(subject)
    step, loop = networks(subject)
    whole = whole_picture(subject) if subject.whole else None
    crowd = None
    if settings.visitors and subject.whole:
        steps = settings.steps or (10 if subject.small else 2)
        crowd = visits(subject.hub, dataclasses.replace(subject.request, steps=steps, solver=None), settings.visitors, subject.tell)
    measured = [*step["rows"], *(loop["rows"] if loop else ()), *(whole["rows"] if whole else ())]
    return {
        "patchwork": zoo.__version__, "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine.describe(subject.device, settings.threads) | {"load_before": before, "load_after": machine.load()},
        "model": {"id": card.id, "title": card.title, "parameters": card.cost.params, "own_weights": subject.own_weights},
        "dtype": str(subject.dtype).removeprefix("torch."), "request": subject.request.to_dict(), "rounds": subject.round_count,
        "clock": "cpu" if subject.device.type == "cpu" and settings.threads == 1 else "wall",
        "loading": loads, "step": step, "loop": loop, "whole": whole, "visitors": crowd, "notes": subject.notes,
        "doubt": machine.doubt(before, measured, settings.threads, subject.device.type == "cpu"),
    }  # fmt: skip
