"""The sources of a card -> verified local files. Models that ship with the repository need no network at all."""

from __future__ import annotations

from zoo.card import Card
from zoo.errors import ChecksumError, DownloadError
from zoo.store import Kept, Store, sha256


def fetch(card: Card, store: Store) -> Kept:
    """Return the verified files of a card.

    Raises DownloadError where they are not on this machine, ChecksumError where a bundled one is not what the card promises.
    """
    kept = store.find(card)
    if kept is None:
        source = card.weights[0]
        if source.origin == "bundled":
            raise DownloadError(
                f"The weights of {card.id} ({source.file}) are missing from zoo/weights: restore them with git checkout zoo/weights."
            )
        where = source.url or f"{source.repo} on {source.origin}"
        raise DownloadError(
            f"{card.id} is not on this machine: get {source.file} from {where}, then python -m zoo import {card.id} {source.file}."
        )
    if kept.origin == "bundled" and (digest := sha256(kept.path)) != kept.sha256:
        raise ChecksumError(
            f"{kept.path.name} ({kept.path.stat().st_size} bytes) is damaged: its sha256 is {digest[:12]}..., not {kept.sha256[:12]}... as "
            f"the card of {card.id} says. Restore it with git checkout zoo/weights/{kept.path.name}."
        )
    return kept
