"""A model that is not on this machine: what a tab offers then, in the place of Generate, and how the download goes; the result stays."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.context import Context

from zoo.catalog.card import Card, total_size
from zoo.catalog.sources import downloadable
from zoo.engine.request import Progress
from zoo.errors import CancelledError, RequestError, ZooError
from zoo.ui.parts import controls, markup, runs
from zoo.ui.parts.runs import HIDDEN, PRIVATE

if TYPE_CHECKING:
    from gradio.events import Dependency

    from zoo.catalog.sources import Transfer
    from zoo.engine.hub import Hub
    from zoo.engine.job import Job

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
"""Names of an address that nobody reaches from another machine."""


class Downloads:
    """Who may download and remove models: where the hub does not say, whoever has the page open, if only this machine can reach it."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.page = hub, Context.root_block

    @property
    def allowed(self) -> bool:
        """Whether visitors may."""
        return self.local if self.hub.downloads is None else self.hub.downloads

    @property
    def local(self) -> bool:
        """Whether only this machine can reach the page, no proxy brings others, and no login tells users apart."""
        others = ("share", "allowed_hosts", "root_path", "proxied", "guarded")  # ways in which they come
        return getattr(self.page, "server_name", "") in LOOPBACK and not any(getattr(self.page, way, False) for way in others)

    def missing(self, cards: Sequence[Card]) -> list[Card]:
        """Which of these are not on this machine."""
        return [card for card in cards if not self.hub.store.find(card)]

    def refusal(self, missing: Sequence[Card]) -> str:
        """Why these cannot be downloaded from the page, in one sentence; empty where they can."""
        names = sizes(missing)
        verb = "is" if len(missing) == 1 else "are"
        if self.hub.offline:
            return f"{names} {verb} not downloaded, and this hub is offline: choose a model that is downloaded."
        if not self.allowed:
            return f"{names} {verb} not downloaded: only the person who runs this hub can download it. Choose a model that is downloaded."
        if hand := next((card for card in missing if not downloadable(card)), None):
            source = hand.weights[0]
            return f"{hand.title} must be fetched by hand: the person who runs this hub finds {source.file} at {source.url} and imports it."
        return self.hub.store.budget.refusal(sum(card.bytes for card in missing), names)

    def label(self, cards: Sequence[Card], plain: str, then: str) -> dict[str, Any]:
        """What a button shows that needs these models: `plain`, or the size of what is missing and what follows its download."""
        missing = self.missing(cards)
        if not missing or self.refusal(missing):
            return {"value": plain, "interactive": not missing}
        return {"value": f"Download {total_size(missing)}{then}", "interactive": True}

    def words(self, cards: Sequence[Card]) -> str:
        """What is not downloaded, or why it cannot be, in one sentence; empty where nothing is missing."""
        missing = self.missing(cards)
        return self.refusal(missing) or f"Not downloaded: {sizes(missing)}." if missing else ""

    def check(self, missing: Sequence[Card]) -> None:
        """Raise RequestError where these cannot be downloaded from the page, whatever its buttons show."""
        if missing and (words := self.refusal(missing)):
            raise RequestError(words)

    def check_removal(self) -> None:
        """Raise RequestError where visitors may not remove a model."""
        if not self.allowed:
            raise RequestError("Only the person who runs this hub can remove a model.")


class Offer:
    """What a tab's Generate button becomes while a model is not downloaded, and what stands under it: licence, progress, Cancel."""

    def __init__(self, hub: Hub, button: gr.Button, name: str, plain: str = "Generate", then: str = ", then generate") -> None:
        """name: what the elements' ids begin with; plain: what the button says where nothing is missing; then: what follows the
        download, as the button says it."""
        self.hub, self.button, self.plain, self.follows = hub, button, plain, then
        self.downloads = Downloads(hub)
        self.flags = runs.StopFlags()
        self.pending_ids = gr.State([])
        self.accept = gr.Button("Accept and download", variant="primary", elem_id=f"{name}accept", visible=HIDDEN)
        self.cancel = gr.Button("Cancel the download", variant="stop", elem_id=f"{name}cancel", elem_classes="halt", visible=HIDDEN)
        self.name, self.lists = name, {}

    def build_text(self, inputs: Sequence[Any] = (), lists: Mapping[Any, Callable[[], list]] | None = None) -> None:
        """Put here what is said of a download: licence, progress, ending. inputs: the components whose change takes an offer back;
        lists: lists of models, each with what makes its choices, which follow what is downloaded."""
        self.lists = dict(lists or {})
        self.text = gr.HTML(elem_id=f"{self.name}transfer", elem_classes=["download", *["first"] * bool(self.follows)])
        self.cancel.click(self.withdraw, self.pending_ids, self.outputs, queue=False, **PRIVATE)
        if inputs:
            gr.on([part.change for part in inputs], self.change, self.pending_ids, self.outputs, queue=False, **PRIVATE)

    @property
    def outputs(self) -> list[Any]:
        """The components that the offer sets."""
        return [self.button, self.text, self.accept, self.cancel, self.pending_ids, *self.lists]

    def label(self, cards: Sequence[Card]) -> dict[str, Any]:
        """What the button says for a model and what it needs."""
        return gr.update(**self.downloads.label(cards, self.plain, self.follows))

    def accepted_ids(self, event: gr.EventData, pending_ids: Sequence[str]) -> Sequence[str]:
        """Ids of the models whose licence was shown and has just been accepted."""
        return pending_ids if getattr(event.target, "elem_id", None) == self.accept.elem_id else ()

    def idle(self) -> dict:
        """Nothing on offer any more."""
        updates = {self.accept: gr.update(visible=HIDDEN), self.cancel: gr.update(visible=HIDDEN)}
        return updates | {self.button: gr.update(visible=True), self.text: "", self.pending_ids: []}

    def withdraw(self, session: gr.Request, pending_ids: list[str]) -> dict:
        """Cancel: stop the download, or take back the question whether a licence is accepted."""
        self.flags.stop(session)
        return self.idle() if pending_ids else gr.skip()

    def change(self, pending_ids: list[str]) -> dict:
        """Another model was chosen: the question about the former one's licence is taken back."""
        return self.idle() if pending_ids else gr.skip()

    def click(
        self,
        run: Callable[..., AsyncIterator[dict]],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        cards_for: Callable[..., Sequence[Card]],
    ) -> Dependency:
        """Let the button run a handler once everything that it needs is on this machine; cards_for(*values of inputs): the models."""

        async def press(event: gr.EventData, pending_ids: list[str], *values: Any) -> AsyncIterator[dict]:
            try:
                missing = await asyncio.to_thread(lambda: self.downloads.missing(cards_for(*values)))
            except ZooError:  # the handler says what is wrong, in its own place
                missing = []
            if missing:
                async for updates in self.download(missing, self.accepted_ids(event, pending_ids)):
                    yield updates
                if await asyncio.to_thread(self.downloads.missing, missing):
                    return
            async with aclosing(run(*values)) as items:
                async for updates in items:
                    yield updates

        everything = list(dict.fromkeys([*outputs, *self.outputs]))
        return gr.on([self.button.click, self.accept.click], press, [self.pending_ids, *inputs], everything, **PRIVATE)

    async def download(self, missing: Sequence[Card], accepted_ids: Sequence[str] = (), prefer: str = "") -> AsyncIterator[dict]:
        """Download models where the page may, after consent to licences that bind."""
        idle = self.idle()
        try:
            job = runs.new_job("download")
            with self.flags.running_job(job):
                async for item in runs.read(self.hub.engine.submit(job, lambda job: self._transfer(job, missing, accepted_ids, prefer))):
                    yield {self.text: markup.note(markup.waiting(item))} if isinstance(item, Progress) else item
                if not job.started:
                    yield idle
        except CancelledError as error:
            yield idle | {self.text: markup.note(str(error))}
        except Exception as error:
            yield idle | {self.text: markup.note(runs.sentence(error), "error")}

    def _transfer(self, job: Job, missing: Sequence[Card], accepted_ids: Sequence[str], prefer: str) -> Iterator[dict]:
        restrictive_cards = [card for card in missing if not card.free]
        self.downloads.check(missing)
        if {card.id for card in restrictive_cards} - set(accepted_ids):
            text = markup.note(f"To download: {sizes(missing)}.") + licences(missing)
            yield {
                self.text: text, self.accept: gr.update(visible=True), self.pending_ids: [card.id for card in restrictive_cards],
                self.button: gr.update(visible=HIDDEN), self.cancel: gr.update(value="Not now", variant="secondary", visible=True),
            }  # fmt: skip
            return
        terms, progress = licences(missing), Total(missing)
        yield {
            self.text: markup.bar(0.0, "asking where the files are") + terms, self.accept: gr.update(visible=HIDDEN),
            self.button: gr.update(visible=HIDDEN), self.pending_ids: [],
            self.cancel: gr.update(value="Cancel the download", variant="stop", visible=True),
        }  # fmt: skip
        for item in self.hub.download(missing, prefer, job.stop):
            yield {self.text: progress.line(item) + terms}
        choices = {part: gr.update(choices=make()) for part, make in self.lists.items()}
        ready = gr.update(value=self.plain, interactive=True, visible=HIDDEN)  # a run follows
        yield self.idle() | choices | {self.text: progress.notes, self.button: ready}


class Total:
    """How far several downloads have come together."""

    def __init__(self, missing: Sequence[Card]) -> None:
        self.sizes = {card.id: card.bytes or 4 * card.cost.params for card in missing}
        self.titles = {card.id: card.title for card in missing}
        self.notes = ""

    def line(self, item: Transfer) -> str:
        """A thin line with words under it."""
        self.sizes[item.model] = item.total
        self.notes = "".join(markup.note(note) for note in item.notes)
        order = list(self.sizes)
        done = sum(self.sizes[name] for name in order[: order.index(item.model)]) + item.done
        total = sum(self.sizes.values())
        left = f", {item.speed / 1e6:.1f} MB/s, {controls.duration((total - done) / item.speed)} left" if item.speed else ""
        words = f"{self.titles[item.model]} from {item.source}: {done / 1e6:.1f} of {total / 1e6:.1f} MB{left}"
        return markup.bar(done / total if total else 0.0, words) + self.notes


def sizes(cards: Sequence[Card]) -> str:
    """Models with the sizes of their files."""
    return " and ".join(f"{card.title} ({card.size})" for card in cards)


def licences(cards: Sequence[Card]) -> str:
    """The licence of each model, linked to its text."""
    return "".join(f'<p class="note">Licence of {html.escape(card.title)}: {licence_link(card)}</p>' for card in cards)


def licence_link(card: Card) -> str:
    """The licence of a model in words, linked to its text."""
    terms = html.escape(card.terms)
    return f'<a href="{html.escape(card.licence_url)}" target="_blank" rel="noopener">{terms}</a>' if card.licence_url else terms
