"""The sources of a card -> verified local files. Models that ship with the repository need no network at all."""

from __future__ import annotations

import hashlib
from pathlib import Path

from zoo.card import Card, Source
from zoo.errors import ChecksumError, DownloadError

WEIGHTS = Path(__file__).parent / "weights"


def local_file(card: Card) -> Path | None:
    """Where this card's weights lie on this machine, None where they do not."""
    return next((path for source in card.weights if (path := _bundled(source)) and path.is_file()), None)


def fetch(card: Card) -> tuple[Path, str]:
    """Return the verified weights file of a card and its sha256.

    Raises DownloadError where the file is missing, ChecksumError where it is not what the card promises.
    """
    path = local_file(card)
    if path is None:
        names = ", ".join(source.file for source in card.weights)
        raise DownloadError(f"The weights of {card.id} ({names}) are missing from zoo/weights: restore them with git checkout zoo/weights.")
    digest = sha256(path)
    promised = next((source.sha256 for source in card.weights if _bundled(source) == path), "")
    if promised and digest != promised:
        raise ChecksumError(
            f"{path.name} ({path.stat().st_size} bytes) is damaged: its sha256 is {digest[:12]}..., not {promised[:12]}... as the card "
            f"of {card.id} says. Restore it with git checkout zoo/weights/{path.name}."
        )
    return path, digest


def sha256(path: Path) -> str:
    """Digest of a file in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _bundled(source: Source) -> Path | None:
    return WEIGHTS / source.file if source.origin == "bundled" else None
