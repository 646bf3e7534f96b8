"""Which models a hub offers: the cards that ship, those in the user's own folder, and what each needs to run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo.catalog.card import Card
from zoo.catalog.own_cards import with_own, write
from zoo.engine.request import nearest, short
from zoo.errors import RequestError

TICK = 100_000_000
"""Nanoseconds within which two changes of a folder may bear the same time."""


class OfferedModels:
    """The cards that may be asked for; the folder of the user's own is read again whenever it has changed, whoever changed it."""

    def __init__(self, own_folder: Path, models: Sequence[str] | None) -> None:
        """models: ids to offer, None for every card. Raises RequestError for one that there is not."""
        self.own_folder = own_folder
        self._own_cards_time, self._chosen = -1, None if models is None else [identity.strip() for identity in models]
        self._read_cards()
        for identity in self._chosen or ():
            self._named(identity, self.cards)

    @property
    def offers(self) -> list[Card]:
        """The models on offer, among them those of the user's own that are in his folder now, whoever put them there."""
        self._read_cards()
        return self._offers

    def _read_cards(self) -> None:
        """Take in what changed in the folder of the user's own cards since it was read."""
        changed = self.own_folder.stat().st_mtime_ns if self.own_folder.is_dir() else 0
        if changed != self._own_cards_time:
            self.cards = with_own(self.own_folder)
            self._offers = [card for card in self.cards.values() if self._chosen is None or card.id in self._chosen]
            self.reachable = {part.id: part for card in self._offers for part in self.parts(card)}
            """What may be asked for: the models on offer, and what they need to run."""
            settled = time.time_ns() - changed > TICK
            self._own_cards_time = changed if settled else -1

    def card(self, identity: str) -> Card:
        """The card of a model on offer, or of what one needs to run. Raises RequestError that names the nearest ones."""
        self._read_cards()
        return self._named(identity, self.reachable)

    def _named(self, identity: str, among: Mapping[str, Card]) -> Card:
        if isinstance(identity, str) and identity.strip() in among:
            return among[identity.strip()]
        near = ", ".join(nearest(short(identity), list(among)))
        if isinstance(identity, str) and identity in self.cards:
            raise RequestError(f"This hub does not offer {identity}: choose one of {near}.")
        raise RequestError(f"There is no model {short(identity)}: choose one of {near}.")

    def adopt(self, identity: str, text: str) -> None:
        """Keep the card of a model of the user's own, and offer it. Raises CardError where the disk refuses."""
        if self._chosen is not None:
            self._chosen.append(identity)
        write(self.own_folder, identity, text)
        self._read_cards()

    def parts(self, card: Card) -> list[Card]:
        """A model and what it needs to run: its autoencoder and its text encoder."""
        return [card, *(self._named(part, self.cards) for part in (card.latent and card.latent.vae, card.text) if part)]

    def decodes(self, autoencoder: Card, card: Card) -> bool:
        """Whether an autoencoder is of the same shape as the own one of a latent model."""
        shape_words, own_autoencoder = ("latent_channels", "block_out_channels"), self._named(card.latent.vae, self.cards)
        fits = autoencoder.task == "autoencoder" and all(autoencoder.arch[word] == own_autoencoder.arch[word] for word in shape_words)
        return fits and (card.video or autoencoder.family != "autoencoder-kl-temporal")
