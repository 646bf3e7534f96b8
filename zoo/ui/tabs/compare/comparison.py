"""A comparison as one visitor sees it: which column stands where, what stands over each, and two of its samples at full size."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.compare import compare, report
from zoo.compare.setting import Setting
from zoo.errors import RequestError
from zoo.media import figures, pictures
from zoo.ui.parts import markup
from zoo.ui.tabs.compare import columns_html

if TYPE_CHECKING:
    from zoo.engine.hub import Hub


@dataclass
class Comparison:
    """A comparison as a visitor sees it; `order` says which column stands at each place."""

    columns: list[Setting]
    order: list[int]
    blind: bool
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    def name(self, place: int) -> str:
        """What stands over a place: the setting, or only a number while nobody may know."""
        k = self.order[place]
        return str(place + 1) if self.blind else report.heading(compare.names(len(self.columns))[k], self.columns[k])

    def empty(self, place: int) -> str:
        """A column before anything of it is there."""
        return columns_html.forming_column(place, self.run_id, self.name(place), None, self.columns[self.order[place]], "", 1.0)

    def finished(self, place: int) -> str:
        """A column at its end."""
        column = self.columns[self.order[place]]
        words = "" if self.blind else f"{column.seconds:.1f} s"
        words = f"stopped after step {column.stopped_at}" if column.stopped_at else words
        return columns_html.finished_column(place, self.run_id, self.name(place), column, markup.note(words), self.blind)

    def noise_at(self, share: float) -> float:
        """The share of noise at a place from the noisiest step of all columns (0) to the least noisy (1), evenly in the log of signal to
        noise, as solvers step."""
        levels = [math.log(1 / noise - 1) for one in self.columns for noise in one.levels]
        low, high = min(levels), max(levels)
        return 1 / (1 + math.exp(low + (high - low) * share))

    def at_noise(self, hub: Hub, place: int, noise: float) -> str:
        """A column at the step whose noise was nearest. Raises RequestError where its steps are no longer kept."""
        column = self.columns[self.order[place]]
        levels = column.levels
        step = min(range(len(levels)), key=lambda k: abs(levels[k] - noise)) + 1
        images = np.concatenate([hub.step_images(one.run, step)[1] for one in column.results])
        words = markup.note(f"step {step} of {len(levels)}")
        return columns_html.forming_column(place, self.run_id, self.name(place), images, column, words, levels[step - 1])


def pair(comparison: Comparison | None, left: str, right: str, sample: int, frame: int) -> tuple[tuple[Any, Any], str, str]:
    """The same sample of two columns, enlarged, and their difference as HTML; the left one's file. Raises RequestError."""
    names = compare.names(len(comparison.columns)) if comparison is not None else []
    if left not in names or right not in names:
        raise RequestError("There are no two results to compare in detail yet: press Compare and let it finish.")
    columns = [comparison.columns[names.index(name)] for name in (left, right)]
    k = max(0, min(sample, *(len(column.samples) - 1 for column in columns)))
    one, other = (column.samples[k] for column in columns)
    if one.ndim == 4:
        one, other = (film[max(0, min(frame, len(film) - 1))] for film in (one, other))
    if one.shape != other.shape:
        raise RequestError(f"{left} and {right} make pictures of different sizes: choose two columns with the same size.")
    gap = np.abs(one.astype(np.int16) - other).mean(-1)
    heat = figures.enlarged(figures.coloured(gap, 0, max(gap.max(), 1)), 256)
    words = f"{pictures.compare(one, other)}{' Bright where most.' if gap.any() else ''}"
    path = columns[0].files[k]
    difference = markup.picture(heat, "difference", f"{left} and {right}, sample {k + 1}", words)
    enlarged = tuple(figures.enlarged(image, 384, smooth=True) for image in (one, other))
    return enlarged, difference, str(path.with_suffix(".webp") if columns[0].card.video else path)
