"""Blind choices between settings, kept in a SQLite file of this machine, and how often each was preferred."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import combinations
from pathlib import Path
from typing import Any

from zoo.catalog.files import private_file
from zoo.errors import VotesError

Z = 1.959964
"""Standard deviations that hold 95 % of a normal distribution."""
MOST = 100_000
"""Choices that are kept, of all visitors together; the oldest leave first."""
TABLE = """create table if not exists votes (id integer primary key, made text not null, visitor text not null, subject text not null,
seeds text not null, settings text not null, chosen integer)"""


@dataclass(frozen=True)
class Vote:
    """One choice: between which settings, in words, shown on which class or prompt and seeds; `chosen` is None where none was better."""

    time: str
    subject: str
    seeds: tuple[int, ...]
    settings: tuple[str, ...]
    choice: int | None


@dataclass(frozen=True)
class Rate:
    """How often one setting was preferred: wins of `decided` choices, with the bounds of a 95 % confidence interval; ties besides."""

    setting: str
    other: str
    wins: int
    decisions: int
    ties: int

    @property
    def share(self) -> float:
        """Wins of the decided choices."""
        return self.wins / self.decisions if self.decisions else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the 95 % interval of `share` after Wilson (1927), which holds for few choices as well."""
        return wilson(self.wins, self.decisions)


def wilson(wins: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share; (0, 1) before the first. Source: Wilson, JASA 22 (1927), equation of the score interval."""
    if not count:
        return 0.0, 1.0
    share, z2 = wins / count, Z * Z
    middle, half = share + z2 / (2 * count), Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count * count))
    return max(0.0, (middle - half) / (1 + z2 / count)), min(1.0, (middle + half) / (1 + z2 / count))


class Votes:
    """The choices of all visitors of a hub; each sees and deletes their own, the rates may be of all."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """The file, made if it is not there. Raises VotesError where the disk refuses or the file is damaged."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            private_file(self.path)
            with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as file, file:
                file.execute(TABLE)
                yield file
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            raise VotesError(
                f"The choices in {self.path} cannot be read or written ({error}): free some space, or move the file away."
            ) from None

    def add(self, visitor: str, subject: str, seeds: Sequence[int], settings: Sequence[str], choice: int | None) -> None:
        """Keep one choice. Raises VotesError."""
        _check_visitor(visitor)
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        row = (time, visitor, subject, json.dumps(list(seeds)), json.dumps(list(settings)), choice)
        with self._open() as file:
            file.execute("insert into votes (made, visitor, subject, seeds, settings, chosen) values (?, ?, ?, ?, ?, ?)", row)
            file.execute("delete from votes where id <= (select max(id) from votes) - ?", (MOST,))

    def all(self, visitor: str | None = None) -> list[Vote]:
        """Choices in their order, of one visitor or of all. Raises VotesError."""
        if visitor is not None:
            _check_visitor(visitor)
        where, values = ("where visitor = ?", (visitor,)) if visitor is not None else ("", ())
        with self._open() as file:
            rows = file.execute(f"select made, subject, seeds, settings, chosen from votes {where} order by id", values).fetchall()
            return [
                Vote(time, subject, tuple(json.loads(s)), tuple(json.loads(settings)), choice)
                for time, subject, s, settings, choice in rows
            ]

    def delete(self, visitor: str) -> int:
        """Forget what a visitor chose; how many choices that were. Raises VotesError."""
        _check_visitor(visitor)
        with self._open() as file:
            return file.execute("delete from votes where visitor = ?", (visitor,)).rowcount

    def export(self, visitor: str) -> dict[str, bytes]:
        """A visitor's choices as CSV and as JSON."""
        rows: list[dict[str, Any]] = [
            {"made": one.time, "subject": one.subject, "seeds": list(one.seeds), "settings": list(one.settings), "chosen": one.choice}
            for one in self.all(visitor)
        ]
        text = io.StringIO()
        table = csv.writer(text)
        table.writerow(["made", "subject", "seeds", "settings", "chosen"])
        for row in rows:
            choice = "no difference" if row["chosen"] is None else row["settings"][row["chosen"]]
            table.writerow([row["made"], row["subject"], " ".join(map(str, row["seeds"])), " | ".join(row["settings"]), choice])
        return {"choices.csv": text.getvalue().encode(), "choices.json": json.dumps(rows, indent=1).encode()}


def _check_visitor(visitor: str) -> None:
    """Raises VotesError for what is no name that a browser was given: 32 hex digits."""
    if not re.fullmatch(r"[0-9a-f]{32}", str(visitor)):
        raise VotesError("This browser has no name here yet, so its choices cannot be told from others': reload the page.")


def rates(votes: Sequence[Vote]) -> list[Rate]:
    """Of every pair of settings that stood beside each other, how often each was preferred to the other, the surest first.

    A choice among three is one between the chosen and each of the others; between the others it says nothing.
    """
    counts: dict[tuple[str, str], list[int]] = {}
    for vote in votes:
        for a, b in combinations(range(len(vote.settings)), 2):
            pair = tuple(sorted((vote.settings[a], vote.settings[b])))
            wins = counts.setdefault(pair, [0, 0, 0])
            if vote.choice is None:
                wins[2] += 1
            elif vote.choice in (a, b):
                wins[vote.settings[vote.choice] != pair[0]] += 1
    result = []
    for (one, other), (first, second, ties) in counts.items():
        left, right = Rate(one, other, first, first + second, ties), Rate(other, one, second, first + second, ties)
        result.append(left if first >= second else right)
    return sorted(result, key=lambda rate: (-rate.interval[0], -rate.decisions))
