"""The list of a model's classes, in two languages; what the browser needs to search it by other words, and to show pictures in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from zoo.catalog.labels import chinese_names, label_lists, other_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.catalog.card import Card

BETWEEN = " | "
"""What stands between the English and the Chinese name; the browser takes it apart again."""


def class_names(card: Card) -> list[str]:
    """What the list calls each class: its own name and the Chinese one, where there is one, as `dog | 狗`."""
    chinese = chinese_names(card.labels) if isinstance(card.labels, str) else ()
    return [f"{name}{BETWEEN}{twin}" for name, twin in zip(card.label_names, chinese, strict=True)] if chinese else list(card.label_names)


def class_list(card: Card, values: Sequence[Any] | None = None) -> dict[str, Any]:
    """Arguments of gr.Dropdown, or of its update, that list the classes of a model. values: of each class, None for its index."""
    names = class_names(card)
    choices = list(zip(names, range(len(names)) if values is None else values, strict=True))
    return {"choices": choices, "visible": bool(names), "elem_classes": marks(card)}


def marks(card: Card) -> list[str]:
    """The `elem_classes` by which the browser knows the label list of such a component; none of a user's own list."""
    return [f"classes-{card.labels}"] if card.labels and isinstance(card.labels, str) and other_names(card.labels) else []


def in_chinese() -> dict[str, str]:
    """The Chinese name of every class by its own name, of all label lists that have such: for captions, predictions and facts."""
    return {own: twin for name, names in label_lists().items() for own, twin in zip(names, chinese_names(name), strict=False)}


def tables() -> dict[str, bytes]:
    """Files for the browser by name, JSON, one a label list that has other names: the name that each class is listed by, and the others."""
    found = {}
    for name, names in label_lists().items():
        if others := other_names(name):
            rows = [[f"{own}{BETWEEN}{more[0]}", *more[1:]] for own, more in zip(names, others, strict=True)]
            found[f"classes-{name}.json"] = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
    return found
