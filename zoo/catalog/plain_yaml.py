"""YAML as people write cards and studies: bounded before a small file becomes a large value."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_CHARACTERS = 1_000_000
"""Of a text."""
MAX_VALUES = 50_000
"""Of a text, everything counted as often as an alias (*) or a merge (<<) repeats it."""
MAX_DEPTH = 50
"""Of lists and mappings inside each other."""
ENDLESS = re.compile(r"[0-9_.:+-]{400}")
"""A number that nobody writes: Python and YAML take quadratic time to read it."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(text: str) -> Any:
    """What a YAML or JSON text says. Raises yaml.YAMLError, with its mark where there is one, for all that is none or too much."""
    if len(text) > MAX_CHARACTERS or ENDLESS.search(text):
        raise yaml.YAMLError("it is longer than people write, or has an endless number")
    _check_depth(text)
    loader = LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}) > MAX_VALUES:
            raise yaml.YAMLError(f"it says more than {MAX_VALUES:,} values once its aliases and merges are written out")
        return loader.construct_document(node)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:  # a day 99, a list as a key, ...
        raise yaml.YAMLError(f"it says what cannot be ({type(error).__name__})") from None
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    """Raise YAMLError before anything recurs: at a few thousand levels the C library takes the whole process with it."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, LOADER)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or number > 2 * MAX_VALUES:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply, or says too much", problem_mark=event.start_mark)


def _values(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; known: those of nodes that were counted, 0 for one that is being counted."""
    if id(node) not in known:
        known[id(node)] = 0
        parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))] if node.id != "scalar" else []
        known[id(node)] = 1 + sum(_values(part, known) for part in parts)
    elif not known[id(node)]:
        raise yaml.YAMLError("a value holds itself")
    return known[id(node)]
