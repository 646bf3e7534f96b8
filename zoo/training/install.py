"""A trained model takes the place of the bundled one: weights and card together, for each is checked against the other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from zoo.catalog.card import Card
from zoo.catalog.files import atomic_write
from zoo.catalog.store import sha256
from zoo.engine.verify import fingerprint, load_module
from zoo.errors import CardError


def install(card: Card, trained: Path, weights: Path, page: Path) -> None:
    """Put trained weights, which stay where they are, in the place of `weights`, and what the card file `page` says of them in its own.

    The card names the file that is meant, and changes by one rename, when what it will name is whole: wherever this is interrupted, the
    hub has the old model or the new one. Raises CardError for a card that says nothing of its weights, CheckpointError where they do not
    fit it.
    """
    numbers = ", ".join(f"{number:.6g}" for number in fingerprint(card, load_module(card, [trained])[0]))
    text = page.read_text(encoding="utf-8")
    facts = {
        "  fingerprint: ": f"[{numbers}]", "      bytes: ": str(trained.stat().st_size), "      sha256: ": sha256(trained),
        "      file: ": weights.name,
    }  # fmt: skip
    lines = {key: re.findall(rf"^{key}(.+)$", text, re.MULTILINE) for key in facts}
    if any(len(values) != 1 for values in lines.values()):
        raise CardError(f"{page} does not say file, bytes, sha256 and fingerprint of its weights, each once: mend it, then train again.")
    beside = weights.with_name(f"{weights.stem}.new{weights.suffix}")
    places = (beside, weights) if lines["      file: "] == [weights.name] else (weights,)  # never over what the card names
    for place in places:
        with atomic_write(place) as part:
            shutil.copyfile(trained, part)
        for key, value in (facts | {"      file: ": place.name}).items():
            text = re.sub(rf"^{key}.+$", f"{key}{value}", text, flags=re.MULTILINE)
        with atomic_write(page) as part:
            part.write_text(text, encoding="utf-8")
    beside.unlink(missing_ok=True)
