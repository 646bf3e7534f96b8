"""What a card says, as `python -m zoo show` prints it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from zoo.catalog.card import Card, Source


def facts_of(card: Card) -> dict[str, Any]:
    """The facts of a card by their names, in the order in which they are read."""
    return {
        "title": card.title, "task": card.task, "family": card.family, "licence": card.licence, "architecture": dict(card.arch),
        "schedule": dict(card.schedule), "guidance": card.guidance.default if card.generates else None,
        "sampling": f"{card.sampling.solver}, {card.sampling.steps} steps" if card.sampling else None,
        "presets": {name: asdict(preset) for name, preset in card.presets.items()},
        "autoencoder": card.latent.vae if card.latent else None, "text encoder": card.text, "parameters": card.cost.params,
        "bytes": card.bytes, "size": card.size, "labels": "; ".join(card.label_names), "measured": dict(card.measured),
        "reported": dict(card.reported), "published": [entry.words for entry in card.expected],
        "sources": [_place(source) for source in card.weights],
    }  # fmt: skip


def _place(source: Source) -> str:
    return f"{source.origin}: {source.url or '/'.join(filter(None, (source.repo, source.revision, source.file)))}"
