"""Several settings side by side: aligned to the same class and noise, run together step by step, and what each cost and reached."""

from __future__ import annotations

import string
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from zoo.anatomy import anatomy
from zoo.card import Card
from zoo.errors import RequestError
from zoo.hub import Hub
from zoo.request import Progress, Request, Result, find_label
from zoo.sampling import Trace

MOST = 4
"""Columns that stand side by side."""
NAMES = string.ascii_uppercase


@dataclass
class Column:
    """One setting of a comparison, and what came of it."""

    card: Card
    request: Request
    result: Result | None = None
    first_preview: float | None = None
    """Seconds of its own until the first picture of it could be seen."""
    seconds: float = 0.0
    """Its own time; that of the others beside it is not counted."""
    memory: int | None = None
    """Bytes: its weights, and the most that its steps took besides; None where this machine does not tell."""
    trace: Trace = field(default_factory=Trace)

    @property
    def passes(self) -> int:
        """Forward passes of one picture: one a step, or two where it is guided."""
        return len(self.trace.times) * (1 if self.request.guidance == 1 else 2)

    def figures(self) -> dict[str, Any]:
        """What the table says of it, as JSON values."""
        counted = anatomy(self.card)
        return {
            "seconds": round(self.seconds, 3),
            "first_preview": self.first_preview and round(self.first_preview, 3),
            "evaluations": len(self.trace.times),
            "passes": self.passes,
            "parameters": sum(counted.params.values()),
            "multiply_adds": round(self.passes * sum(counted.macs.values())),
            "memory": self.memory,
            "reported": dict(self.card.reported),
        }


def aligned(hub: Hub, settings: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Columns from requests as JSON values, aligned with the first: its seeds where another names none, its class by name.

    A setting may name its class as `label` instead of labels. Raises RequestError that names the column where it does not fit.
    """
    if not isinstance(settings, Sequence) or isinstance(settings, str) or not 1 <= len(settings) <= 64:
        raise RequestError('A comparison is a list of 1 to 64 settings, each with a model: {"model": "tiny-dit", "label": "star"}.')
    columns: list[Column] = []
    for name, words in zip(names(len(settings)), settings, strict=True):
        if not isinstance(words, Mapping) or not isinstance(words.get("model"), str):
            raise RequestError(f"Column {name} names no model: give a mapping such as {{model: tiny-dit, label: star}}.")
        try:
            columns.append(_column(hub, dict(words), columns[0] if columns else None))
        except RequestError as error:
            raise RequestError(f"Column {name}: {error}") from None
    return columns


def names(count: int) -> list[str]:
    """What columns are called: A, B, ...; numbers where they are many."""
    return list(NAMES[:count]) if count <= len(NAMES) else [str(k + 1) for k in range(count)]


def _column(hub: Hub, words: dict[str, Any], first: Column | None) -> Column:
    card = hub.card(words["model"])
    name = words.pop("label", None)
    if card.label_names and "labels" not in words:
        if name is None and first is not None and first.request.labels and first.card.label_names:
            words["labels"] = [_same_label(card, first, label) for label in first.request.labels]
        elif name is not None:
            words["labels"] = [find_label(card, name)]
    if first is not None:
        words.setdefault("seeds", list(first.request.seeds))
        if card.text:
            words.setdefault("prompt", first.request.prompt)
    return Column(card, Request.from_dict(words).resolved(card))


def _same_label(card: Card, first: Column, label: int) -> int:
    """The class of the same name."""
    if card.labels == first.card.labels:
        return label
    name = first.card.label_names[label]
    try:
        return find_label(card, name)
    except RequestError:
        raise RequestError(
            f"{card.id} has no class {name!r} as {first.card.id} has: its classes are those of {card.labels}; "
            "compare models that share the class, or give this column a label of its own."
        ) from None


def noise(columns: Sequence[Column]) -> str:
    """One sentence on which columns start from the same noise."""
    groups: dict[tuple, list[str]] = {}
    for name, column in zip(names(len(columns)), columns, strict=True):
        groups.setdefault((column.request.shape(column.card), column.request.seeds), []).append(name)
    if len(groups) == 1:
        return "All start from the same noise." if len(columns) > 1 else ""
    same = [f"{' and '.join(group)} start from the same noise" for group in groups.values() if len(group) > 1]
    alone = ", ".join(name for group in groups.values() if len(group) == 1 for name in group)
    rest = f"{alone} from noise of another shape or seed" if alone else ""
    return f"{'; '.join(filter(None, [*same, rest]))}."


def together(
    hub: Hub, columns: Sequence[Column], stop: threading.Event | None = None, visitor: str | None = "", preview: bool = True
) -> Iterator[tuple[int, Progress | Result]]:
    """Run all columns, a step of each in turn: (column, Progress) as they come, and (column, Result) at the end of each.

    Each column then holds its result and its figures. Once stop is set, all end within one step with what is there; columns on
    the same model share its weights. Raises a ZooError as Hub.generate does.
    """
    stop = stop or threading.Event()
    with hub.line.place() as ahead:
        while count := ahead():
            yield 0, Progress("waiting", columns[0].request, ahead=count)
            if stop.is_set():
                return
        runs = {}
        for k, column in enumerate(columns):
            yield k, Progress("loading", column.request)
            for needed in filter(None, (column.card.id, column.request.vae)):
                hub.load(hub.card(needed))  # before anything is timed
            runs[k] = hub.run(column.card, column.request, preview, stop, visitor, column.trace)
        try:
            while runs:
                for k in list(runs):
                    if (item := _next(hub, columns[k], runs[k])) is None:
                        del runs[k]
                        continue
                    yield k, item
        finally:
            for run in runs.values():
                run.close()


def _next(hub: Hub, column: Column, run: Iterator[Progress | Result]) -> Progress | Result | None:
    """The next thing of one column, its time and memory noted."""
    begun, peak = time.monotonic(), hub.residents.peak()
    item = next(run, None)
    column.seconds += time.monotonic() - begun
    used = peak()
    if used is not None:
        kept = hub.residents.sizes().get(column.card.id, 0)
        column.memory = max(column.memory or 0, kept + used)
    if isinstance(item, Result):
        column.result = item
    elif item is not None and item.preview is not None and column.first_preview is None:
        column.first_preview = column.seconds
    return item


def grid(hub: Hub, setting: Mapping[str, Any], across: tuple[str, Sequence[Any]], down: tuple[str, Sequence[Any]]) -> list[list[Column]]:
    """Columns for a grid, row by row: one setting with two of its words varied.

    A word is one of model, solver, steps, guidance, seed, label, eta. Raises RequestError that names the cell that does not fit.
    """
    rows = []
    for y in down[1]:
        row = []
        for x in across[1]:
            words = dict(setting)
            for word, value in ((across[0], x), (down[0], y)):
                words |= {"seeds": [value]} if word == "seed" else {word: value}
                if word == "label":
                    words.pop("labels", None)
            try:
                row.append(_column(hub, words, None))
            except RequestError as error:
                raise RequestError(f"{across[0]} {x}, {down[0]} {y}: {error}") from None
        rows.append(row)
    return rows


def batches(cells: Sequence[Column]) -> list[tuple[Request, list[int]]]:
    """Requests that make several cells at once: those that differ in seed and class only go in one batch."""
    found: dict[Request, list[int]] = {}
    for k, cell in enumerate(cells):
        found.setdefault(replace(cell.request, seeds=(), labels=()), []).append(k)
    return [
        (
            replace(
                cells[members[0]].request,
                seeds=tuple(seed for k in members for seed in cells[k].request.seeds),
                labels=tuple(label for k in members for label in cells[k].request.labels),
            ),
            members,
        )
        for members in found.values()
    ]
