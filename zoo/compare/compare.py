"""Several settings side by side: aligned to the same class and noise, run together step by step, and what each cost and reached."""

from __future__ import annotations

import dataclasses
import json
import re
import string
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from zoo.catalog.card import Card
from zoo.compare.metrics import quality_of
from zoo.compare.setting import Setting
from zoo.engine.hub import Hub
from zoo.engine.job import Job, merged
from zoo.engine.request import MAX_IMAGES, MAX_SEED, Progress, Request, Result, draws, find_label, first_seed, parse_seeds, short
from zoo.errors import RequestError, ZooError
from zoo.sampling import takes_eta

MOST, MOST_SAMPLES = 16, 1024
"""Columns of one comparison, and samples of one column."""
MOST_FRAMES = 4096
"""Pictures, or frames, of all columns together: what is kept until the end."""
EACH = "each"
"""The label that takes every class in turn."""
WORDS = tuple(sorted([*(field.name for field in dataclasses.fields(Request)), "count", "label", "seed"]))
"""What a setting may say: a request's own words, and those of one that is typed, `label`, `count` and `seed`."""


def aligned(hub: Hub, settings: Sequence[Mapping[str, Any]]) -> list[Setting]:
    """Columns from requests as JSON values, aligned with the first: its seeds where another names none, its class by name.

    A setting may name its class as `label`, a name, a number or "each" for all in turn, instead of labels; its seeds as `count` seeds
    from `seed` on, or as a text such as 0-15. Raises RequestError that names the column where it does not fit.
    """
    if not isinstance(settings, (list, tuple)) or not 1 <= len(settings) <= MOST:
        raise RequestError(
            f'A comparison is a list of 1 to {MOST} settings, each with a model: [{{"model": "tiny-dit", "label": "star"}}].'
        )
    columns: list[Setting] = []
    for name, words in zip(names(len(settings)), settings, strict=True):
        if not isinstance(words, Mapping) or not isinstance(words.get("model"), str):
            raise RequestError(f"Column {name} names no model: give a mapping such as {{model: tiny-dit, label: star}}.")
        try:
            columns.append(column(hub, words, columns[0] if columns else None, MAX_IMAGES // len(settings)))
        except RequestError as error:
            raise RequestError(f"Column {name}: {error}") from None
    _bounded(columns)
    return columns


def from_json(text: str) -> Any:
    """Settings from their JSON. Raises RequestError where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RequestError("The settings are not valid JSON: send a list of settings, each with a model.") from None


def _bounded(columns: Sequence[Setting]) -> None:
    """Raises RequestError where the columns together would hold more than a machine should keep."""
    whole = sum(len(one.seeds) * one.request.frames for one in columns)
    if whole > MOST_FRAMES or max(len(one.seeds) for one in columns) > MOST_SAMPLES:
        raise RequestError(
            f"{whole} {'frames' if columns[0].card.video else 'pictures'} are too many for one comparison: choose at most {MOST_SAMPLES} "
            f"a column and {MOST_FRAMES} together."
        )


def names(count: int) -> list[str]:
    """What columns are called: A, B, ..."""
    return list(string.ascii_uppercase[:count])


def column(hub: Hub, setting: Mapping[str, Any], first: Setting | None = None, at_once: int = MAX_IMAGES) -> Setting:
    """One column of a setting, aligned with the first, in rounds of so many samples. Raises RequestError."""
    words, card = dict(setting), hub.card(setting["model"])
    if unknown := [str(word) for word in words if word not in WORDS]:
        raise RequestError(f"{short(unknown[0])} is not a word of a setting: it may hold only the words {', '.join(WORDS)}.")
    each_class = not words.get("labels") and first is not None and first.each_class
    if words.get("label") is not None:
        each_class = words["label"] == EACH
    if first is not None and first.card.video != card.video:
        videos, pictures = f"{first.card.id} makes videos and {card.id} pictures", f"{first.card.id} makes pictures and {card.id} videos"
        both = videos if first.card.video else pictures
        raise RequestError(f"{both}: compare pictures with pictures, or videos with videos.")
    seeds = _seeds(*(words.pop(word, None) for word in ("seeds", "seed", "count")), first)
    labels = _labels(card, words, len(seeds), first)
    if first is not None:
        words.setdefault("fps", first.request.fps)
        if card.text and first.request.prompt:
            words.setdefault("prompt", first.request.prompt)
    rounds = [
        Request.from_dict(words | {"seeds": seeds[k : k + at_once], "labels": labels[k : k + at_once]}).resolved(card)
        for k in range(0, len(seeds), at_once)
    ]
    if rounds[0].eta and not takes_eta(rounds[0].solver):
        raise RequestError(f"{rounds[0].solver} takes no eta, so {rounds[0].eta:g} would change nothing: leave eta out, or choose ddim.")
    if rounds[0].vae:
        hub.autoencoder(card, rounds[0])
    if first is not None and card.text and first.card.text and rounds[0].prompt != first.request.prompt:
        raise RequestError("its prompt differs from that of column A: a comparison shows one prompt.")
    return Setting(card, rounds, each_class)


def _seeds(several: Any, seed: Any, count: Any, first: Setting | None) -> list[int]:
    """The seeds of a column from `seeds`, or `count` of them from `seed` on; those of the first column where it says nothing."""
    if several is not None and seed is not None:
        raise RequestError(f"Give seed or seeds, not both: seed is {short(seed)}, seeds {short(several)}.")
    if count is not None:
        count = whole_number("count", count, 1, MOST_SAMPLES)
    if isinstance(several, (list, tuple)) and len(several) == 1:
        [several] = several
    if first is not None and draws(several if seed is None else seed):
        several = seed = None  # what the first column drew
    if isinstance(seed, str) and re.fullmatch(r"[\d\s]*[-,][-,\d\s]*", seed) and not draws(seed):
        several, seed = seed, None  # a range such as 0-3
    if several is None and (seed is not None or count is not None):
        start = first.seeds[0] if first is not None and seed is None else 0 if seed is None else first_seed(seed, count or 1)
        count = count or (len(first.seeds) if first is not None else 1)
        start = whole_number("seed", start, 0, MAX_SEED + 1 - count)
        return list(range(start, start + count))
    if several is None:
        return first.seeds if first is not None else [0]
    seeds = list(parse_seeds(several, MOST_SAMPLES)) if isinstance(several, str) else several
    seeds = list(seeds) if isinstance(seeds, (list, tuple)) else [first_seed(seeds)]
    seeds = [first_seed(one) if draws(one) else one for one in seeds]
    if not 1 <= len(seeds) <= MOST_SAMPLES:
        raise RequestError(f"{len(seeds)} seeds were given: choose 1 to {MOST_SAMPLES}.")
    if count not in (None, len(seeds)):
        raise RequestError(f"count is {count}, but {len(seeds)} seeds were given: leave one of the two out.")
    return seeds


def whole_number(what: str, value: Any, low: int, high: int) -> int:
    """A whole number of a setting, which a program may send as 4.0. Raises RequestError that quotes what was given."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or value != int(value):
        raise RequestError(f"{what} must be a whole number from {low} to {high}, not {short(value)}.")
    return int(value)


def _labels(card: Card, words: dict[str, Any], count: int, first: Setting | None) -> list[Any]:
    """The class of each sample: as the setting says, or of the first column's names."""
    label, indices = words.pop("label", None), words.pop("labels", None)
    indices = [] if indices is None else list(indices) if isinstance(indices, (list, tuple)) else [indices]
    if label is not None and indices:
        raise RequestError("Give label or labels, not both.")
    if not card.label_names:
        return [find_label(card, label)] if label is not None else indices
    if label is not None:
        labels = [k % len(card.label_names) for k in range(count)] if label == EACH else [find_label(card, label)]
    elif not indices and first is not None and first.card.label_names:
        labels = [_same(card, first.card, other_label) for other_label in first.labels]
    else:
        labels = indices
    labels = labels * count if len(labels) == 1 else labels
    if len(labels) != count:
        raise RequestError(f"{len(labels)} labels for {count} samples of {card.id}: give one label, or one a sample.")
    if first is not None and first.card.label_names:
        for own, other in zip(labels, first.labels, strict=False):
            in_range = isinstance(own, int) and 0 <= own < len(card.label_names)  # else the request says what is wrong
            if in_range and own != _same(card, first.card, other):
                own_name, first_name = card.label_names[own], first.card.label_names[other]
                raise RequestError(
                    f"its class is {short(own_name)}, but that of column A is {short(first_name)}: a comparison shows one class."
                )
    return labels


def _same(card: Card, other: Card, label: int) -> int:
    """The class of the same name. Raises RequestError where there is none."""
    if card.labels == other.labels:
        return label
    name = other.label_names[label]
    for one in [name, *name.split(", ")]:
        try:
            return find_label(card, one)
        except RequestError:
            continue
    raise RequestError(
        f"{card.id} has no class {short(name)} as {other.id} has: its classes are {', '.join(card.label_names[:3])} ...; "
        "compare models that share the class."
    )


def noise(columns: Sequence[Setting]) -> str:
    """One sentence on which columns start from the same noise."""
    groups: dict[tuple, list[str]] = {}
    for name, one in zip(names(len(columns)), columns, strict=True):
        groups.setdefault((one.request.shape(one.card), tuple(one.seeds)), []).append(name)
    if len(groups) == 1:
        return "All start from the same noise." if len(columns) > 1 else ""
    same = [f"{' and '.join(group)} start from the same noise" for group in groups.values() if len(group) > 1]
    alone = [name for group in groups.values() if len(group) == 1 for name in group]
    verb = "starts" if len(alone) == 1 else "start"
    rest = f"{' and '.join(alone)} {verb} from noise of another shape or seed" if alone else ""
    return f"{'; '.join(filter(None, [*same, rest]))}."


def more(columns: Sequence[Setting]) -> None:
    """Add as many samples to every column as it has, of the seeds that follow and the classes in their order. Raises RequestError where
    that would be too many; the columns are then unchanged."""
    longer = []
    for one in columns:
        count, next_seed, classes = len(one.seeds), max(one.seeds) + 1, len(one.card.label_names)
        labels = [(count + k) % classes for k in range(count)] if one.each_class else one.labels
        if next_seed + count - 1 > MAX_SEED:
            raise RequestError(f"There are no {count} seeds after {next_seed - 1}: start another comparison.")
        at_once = len(one.request.seeds)
        seeds = list(range(next_seed, next_seed + count))
        words = [{"seeds": seeds[k : k + at_once], "labels": labels[k : k + at_once]} for k in range(0, count, at_once)]
        longer.append([*one.rounds, *(Request.from_dict(one.request.to_dict() | part).resolved(one.card) for part in words)])
    _bounded([Setting(one.card, rounds) for one, rounds in zip(columns, longer, strict=True)])
    for one, rounds in zip(columns, longer, strict=True):
        one.rounds = rounds


def core_seconds(hub: Hub, columns: Sequence[Setting]) -> float | None:
    """Seconds of one core that all columns will take, None where one of their models was never measured."""
    seconds = [hub.core_seconds(one) for column in columns for one in column.remaining]
    return None if None in seconds else sum(seconds)


def together(
    hub: Hub,
    columns: Sequence[Setting],
    stop: threading.Event | None = None,
    visitor: str | None = "",
    preview: bool = True,
    keep_steps: bool = True,
) -> Iterator[tuple[int, Progress | Result]]:
    """Run all columns, a step of each in turn: (column, Progress) as they come, and (column, Result) at the end of each round.

    Each column then holds its results and its figures; columns on the same model share its weights. Once stop is set, all end within one
    step with what is there. Raises a ZooError as Hub.generate does.
    """
    stop = stop or threading.Event()
    while not stop.is_set() and any(one.remaining for one in columns):
        before = {k: one.seconds for k, one in enumerate(columns) if one.remaining}
        jobs: dict[int, Job] = {}
        try:
            for k in before:
                request, own = columns[k].remaining[0], f"column {k} of {id(stop)}"  # else a visitor's own limit would count them
                options = {"preview": preview, "keep_steps": keep_steps, "trace": columns[k].trace, "measured": True}
                jobs[k] = hub.submit(request, visitor=visitor, stop=stop, account=own, **options)
        except ZooError:  # those that were taken run for nobody
            for job in jobs.values():
                job.cancel()
            raise
        for k, item in merged(jobs):
            one = columns[k]
            one.seconds = before[k] + jobs[k].compute_seconds
            if isinstance(item, Result):
                one.add(item)
                one.seconds = before[k] + item.compute_seconds
                one.memory = max(one.memory or 0, item.memory) if item.memory is not None else one.memory
            elif item.preview is not None and one.first_preview is None:
                one.first_preview = one.seconds
            yield k, item
        for one in columns:
            if one.results:
                one.quality = _quality(hub, one)


def _quality(hub: Hub, column: Setting) -> dict[str, Any]:
    """What the judge says; where it fails the samples are there all the same."""
    try:
        samples = column.samples
        return quality_of(hub, column.card, samples, column.labels[: len(samples)])
    except ZooError as error:
        return {"not_judged": str(error)}
