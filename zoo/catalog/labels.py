"""The lists of class names, one a line, by index; and the other data that ships: examples to look at, features of held-out pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

from zoo.errors import CardError, RequestError

DATA = Path(__file__).parent / "data"
CHINESE = "zh-CN"
LONGEST = 100_000
"""Bytes of a user's file of class names, and more than any model has classes."""


@cache
def label_names(name: str) -> tuple[str, ...]:
    """The class names of a label list in zoo/catalog/data, by index. Raises CardError where there is none."""
    path = DATA / f"{name}.txt"
    if not re.fullmatch(r"[a-z0-9-]+", name) or not path.is_file():
        raise CardError(f"there is no label list {name!r} in zoo/catalog/data.")
    return tuple(path.read_text(encoding="utf-8").splitlines())


def label_lists() -> dict[str, tuple[str, ...]]:
    """The class names of every label list in zoo/catalog/data, by its name."""
    return {path.stem: label_names(path.stem) for path in sorted(DATA.glob("*.txt")) if "." not in path.stem}


@cache
def chinese_names(name: str) -> tuple[str, ...]:
    """The best Chinese name of each class of a label list, by index; none at all where it has no Chinese names."""
    return tuple(words[0] for words in _further(DATA / f"{name}.{CHINESE}.txt"))


@cache
def other_names(name: str) -> tuple[tuple[str, ...], ...]:
    """What else each class of a label list is called, by index: its Chinese names, the best one first, and then its further English ones.
    None at all of a list that has no such names, as a user's own."""
    languages = [found for one in (CHINESE, "en") if (found := _further(DATA / f"{name}.{one}.txt"))]
    return tuple(tuple(dict.fromkeys(word for words in every for word in words)) for every in zip(*languages, strict=True))


@lru_cache(64)
def classes_by_word(labels: str | tuple[str, ...]) -> tuple[dict[str, tuple[int, ...]], ...]:
    """The classes that a word in small letters names, in the order in which to look: their whole names, their best Chinese names, the
    synonyms in their names, which stand between commas, and whatever else they are called. labels: as a card's."""
    names = label_names(labels) if isinstance(labels, str) else labels
    others = other_names(labels) if isinstance(labels, str) else ()
    steps = ([[name] for name in names], [more[:1] for more in others], [name.split(", ") for name in names], others)
    return tuple(_by_word(words) for words in steps)


def _by_word(words: Sequence[Sequence[str]]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for k, several in enumerate(words):
        for word in {one.lower(): None for one in several}:
            found[word] = (*found.get(word, ()), k)
    return found


def _further(file: Path) -> list[list[str]]:
    """The words of each line of a file, which stand between bars."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [[word for word in line.split("|") if word] for line in lines]


def read_names(file: Path | None) -> list[str]:
    """The class names of a user's file, as `names_in` takes them; none of no file. Raises RequestError that says why it cannot be read."""
    if file is None:
        return []
    try:
        long = file.stat().st_size > LONGEST
        text = "" if long else file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else getattr(error, "strerror", "") or "no such name"
        raise RequestError(f"{file} cannot be read as class names, one a line ({reason}): give another file.") from None
    if long:
        raise RequestError(f"{file} ({file.stat().st_size:,} bytes) is too long for class names, one a line: give another file.")
    if names := names_in(text, str(file)):
        return names
    raise RequestError(f"{file} holds no class names: give one a line.")


def names_in(text: str, place: str) -> list[str]:
    """The class names in a text, one a line; empty lines do not count, and blanks in a row are one. place: where it stands, in words.

    Raises RequestError that says which line is none.
    """
    names = [" ".join(line.split()) for line in text.split("\n")]
    for number, name in enumerate(names):
        if not name.isprintable():
            raise RequestError(f"Line {number + 1} of {place} holds characters that cannot be shown: give one name a line, as text.")
    return [name for name in names if name]
