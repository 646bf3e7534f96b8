"""A trained model takes the place of the bundled one: weights and card together, for each is checked against the other."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from zoo.catalog.card import Card
from zoo.catalog.store import sha256
from zoo.engine.verify import fingerprint, load_module
from zoo.errors import CardError


def install(card: Card, trained: Path, weights: Path, page: Path) -> None:
    """Put trained weights, which stay where they are, in the place of `weights`, and what the card file `page` says of them in its own.

    Both are written beside their places first, then take them one right after the other. Raises CardError for a card that says nothing of
    its weights, CheckpointError where they do not fit it.
    """
    numbers = ", ".join(f"{number:.6g}" for number in fingerprint(card, load_module(card, [trained])[0]))
    text = page.read_text(encoding="utf-8")
    facts = {
        r"^(  fingerprint: )\[.*\]$": f"[{numbers}]",
        r"^(      bytes: )\d+$": str(trained.stat().st_size),
        r"^(      sha256: )[0-9a-f]{64}$": sha256(trained),
    }
    for pattern, value in facts.items():
        text, count = re.subn(pattern, lambda match, value=value: match[1] + value, text, flags=re.MULTILINE)
        if count != 1:
            raise CardError(f"{page} does not say bytes, sha256 and fingerprint of its weights, each once: mend it, then train again.")
    parts = [path.with_name(f".{path.name}.part") for path in (weights, page)]
    try:
        shutil.copyfile(trained, parts[0])
        parts[1].write_text(text, encoding="utf-8")
        for part, path in zip(parts, (weights, page), strict=True):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
