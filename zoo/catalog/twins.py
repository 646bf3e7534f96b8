"""The prose of cards in other languages: model_cards/LANGUAGE/ID.md, without front matter, is the twin of that of model_cards/ID.md."""

from __future__ import annotations

from zoo.catalog.card import CARDS, Card, cards

CHINESE = "zh-CN"


def prose_in(card: Card, language: str) -> str:
    """A card's prose in a language such as zh-CN; its own prose where it has no twin, as a user's card never has."""
    file = CARDS / language / f"{card.id}.md"
    if card.id not in cards() or not file.is_file():
        return card.prose
    return file.read_text(encoding="utf-8").strip()
