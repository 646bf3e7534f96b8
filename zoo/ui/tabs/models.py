"""The Models tab: every card, where its files can come from and whether they are downloaded; download, cancel, remove, use."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from zoo.catalog.card import CARDS, SEEING, TASKS, Card, total_size
from zoo.catalog.twins import CHINESE, prose_in
from zoo.engine.published_numbers import verified
from zoo.errors import ZooError
from zoo.inside.inspector import DIFFUSION
from zoo.ui.parts import controls, markup, runs
from zoo.ui.parts.download import Downloads, Offer, licence_link
from zoo.ui.parts.runs import HIDDEN, PRIVATE
from zoo.ui.tabs.add_model import AddModel

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.ui.tabs.image import ImageTab
    from zoo.ui.tabs.video import VideoTab

EVERYTHING, LOCAL, ORDER = "all", "local", "order"
COMMANDS = ("**Import.**", "**导入。**")
"""How a paragraph of a card begins that says which command to type."""
HELP = {
    "filter": "Show only the models of one task, or those whose weights are on this machine.",
    "models": "Each model with the size of its weights; choose one to read its card.",
    "get": "Download the weights of this model and of what it needs; each file's sha256 is checked.",
    "cancel": "Do not download, or stop it: the next download goes on from there.",
    "accept": "Agree to the licences above and start the download.",
    "use": "Open the tab that generates with this model, at its card's defaults.",
    "models-inside": "See attention and tokens of this model.",
    "remove": "Delete the downloaded weights of this model; files that another model needs stay.",
    "source": "Which server is asked first for the weights.",
}
"""One sentence for each control, by its element id."""


class ModelsTab:
    """The components of the tab and what they do; of a visitor only the flag that stops a download is kept."""

    def __init__(
        self,
        hub: Hub,
        page: gr.Blocks,
        tabs: gr.Tabs,
        tab: gr.Tab,
        image: ImageTab,
        video: VideoTab | None,
        lists: Mapping[Any, Callable[[], list]],
    ) -> None:
        """lists: of models on the other tabs, each with what makes its choices."""
        self.hub, self.tabs, self.tab, self.image, self.video, self.lists = hub, tabs, tab, image, video, lists
        self.downloads = Downloads(hub)
        first = controls.first_generator(hub)
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                tasks = [(words[:1].upper() + words[1:], task) for task, words in TASKS.items() if any(c.task == task for c in hub.offers)]
                filters = [("All models", EVERYTHING), ("On this machine", LOCAL), *tasks]
                self.filter = gr.Dropdown(filters, value=EVERYTHING, label="Show", elem_id="filter")
                self.list = gr.Radio(self._choices(EVERYTHING), value=first.id, label="Models", elem_id="models")
            with gr.Column(elem_classes="result"):
                self.facts = gr.HTML(self._facts(first), elem_id="card")
                buttons = self._buttons(first)
                with gr.Row(elem_classes="actions"):
                    self.get = gr.Button(variant="primary", elem_id="get", size="sm", **buttons["get"])
                    self.offer = Offer(hub, self.get, "", plain="Download", then="")
                    self.use = gr.Button("Generate with this model", variant="primary", elem_id="use", size="sm", **buttons["use"])
                    self.inside = gr.Button("Look inside", elem_id="models-inside", size="sm", **buttons["inside"])
                    self.remove = gr.Button("Remove", elem_id="remove", size="sm", **buttons["remove"])
                    self.sure = gr.Button("Remove the files", variant="stop", elem_id="remove-sure", size="sm", visible=HIDDEN)
                    self.spare = gr.Button("Keep them", elem_id="remove-not", size="sm", visible=HIDDEN)
                    self.source = gr.Dropdown(label="Download from", elem_id="source", scale=0, min_width=220, **buttons["source"])
                self.offer.build_text()
                with gr.Accordion("Card", open=False):
                    self.prose = gr.Markdown(_prose(first), elem_id="prose")
                self.add = AddModel(hub, self.downloads)
        self._wire(page)

    def _wire(self, page: gr.Blocks) -> None:
        offer, lists = self.offer, [self.list, *self.lists]
        self.card = [self.facts, self.prose, self.use, self.inside, self.remove, self.sure, self.spare, self.source, *offer.outputs]
        every = list(dict.fromkeys([*self.card, *lists, self.filter]))
        arrive_inputs = [self.list, self.filter, self.offer.pending_ids]
        self.list.input(self.show, self.list, self.card, queue=False, **PRIVATE)
        self.filter.input(self.narrow, [self.filter, self.list], self.list, queue=False, **PRIVATE)
        run = gr.on([self.get.click, offer.accept.click], self.download, [offer.pending_ids, self.list, self.source], every, **PRIVATE)
        run.then(self.arrive, arrive_inputs, every, **PRIVATE)
        self.remove.click(self.ask, self.list, self.card, queue=False, **PRIVATE)
        self.spare.click(self.show, self.list, self.card, queue=False, **PRIVATE)
        self.sure.click(self.forget, self.list, every, **PRIVATE).then(self.arrive, arrive_inputs, every, **PRIVATE)
        tab = self.image
        video_outputs = self.video.settings.outputs if self.video else []
        self.use.click(self.choose, self.list, [self.tabs, *tab.settings.outputs, tab.verdict, *video_outputs, offer.text], **PRIVATE)
        self.add.adding.then(self.present, [self.add.added, self.filter], every, **PRIVATE)
        page.load(self._first, self.filter, [*every, *self.add.mine], **PRIVATE)  # the card is the address's to choose
        self.tab.select(self.arrive, arrive_inputs, every, **PRIVATE)

        self.outputs = [*self.card, self.list, self.filter]

    # ---- what happens

    def idle(self) -> dict:
        """What the buttons show when nothing runs."""
        return {self.offer.cancel: gr.update(visible=HIDDEN), self.sure: gr.update(visible=HIDDEN), self.spare: gr.update(visible=HIDDEN)}

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence under the buttons."""
        return {self.offer.text: markup.note(text, kind)}

    def addressed(self, session: gr.Request, identity: str) -> dict:
        """What the tab shows for a model that an address names. Raises RequestError where there is none such."""
        self.hub.card(identity)
        return self.show(session, identity) | {
            self.filter: EVERYTHING,
            self.list: gr.update(choices=self._choices(EVERYTHING), value=identity),
        }

    @runs.answers
    def show(self, session: gr.Request, identity: str) -> dict:
        """Show one model's card and what can be done with it; a download that goes on keeps its line."""
        return ({} if self.offer.flags.running(session) else self.offer.idle()) | self._model_updates(identity, session)

    @runs.answers
    def arrive(self, session: gr.Request, identity: str | None, task: str, pending_ids: list[str]) -> dict:
        """Show what is on this machine now; what was said last stays."""
        updates = self._model_updates(identity, session) if identity else {}
        if pending_ids:  # the licence is to be accepted first
            updates |= {self.get: gr.update(visible=HIDDEN)}
        return self._lists(task) | updates

    @runs.answers
    def present(self, session: gr.Request, added: str, task: str) -> dict:
        """Show a model that was just added."""
        return self._lists(task) | self.addressed(session, added) if added else {}

    def narrow(self, task: str, identity: str | None) -> Any:
        """Show only some of the models; the card that is open stays open."""
        choices = self._choices(task)
        return gr.update(choices=choices, value=identity if identity in {value for _, value in choices} else None)

    async def download(self, event: gr.EventData, pending_ids: list[str], identity: str | None, source: str) -> AsyncIterator[dict]:
        """Download a model and what it needs, after consent where a licence binds."""
        try:
            card = self.hub.card(identity or "")
            missing = await asyncio.to_thread(self.downloads.missing, self.hub.parts(card))
            if missing:
                async for updates in self.offer.download(
                    missing, self.offer.accepted_ids(event, pending_ids), "" if source == ORDER else source
                ):
                    yield updates
                if await asyncio.to_thread(self.downloads.missing, missing):
                    return
            yield self.say(f"{card.title} is downloaded and checked.", "good")
        except ZooError as error:
            yield self.say(str(error), "error")

    @runs.answers
    def ask(self, identity: str) -> dict:
        """Ask before files are deleted."""
        card = self.hub.card(identity)
        sure = {self.sure: gr.update(visible=True), self.spare: gr.update(visible=True), self.remove: gr.update(visible=HIDDEN)}
        what, again = f"the files of {card.title} ({total_size([card])})", "they must be downloaded"
        if card.weights[0].origin == "own":
            what, again = f"{card.title}, its card and its weights ({self._on_disk(card).split(',')[0]})", "it must be added"
        return sure | self.say(f"Remove {what}? To use it again {again} again.")

    @runs.answers
    def forget(self, identity: str) -> dict:
        """Delete a model's files, unless another model needs them."""
        self.downloads.check_removal()
        card = self.hub.card(identity)
        freed_bytes = self.hub.remove(card.id)
        gone = {} if card in self.hub.offers else {self.list: self.hub.offers[0].id}  # one of the user's own
        shared = "" if freed_bytes else ", for another model needs its file"
        return self.idle() | gone | self.say(f"{card.title} is removed: {freed_bytes / 1e6:.1f} MB are free again{shared}.")

    @runs.answers
    def choose(self, identity: str) -> dict:
        """Go to the Image or the Video tab with this model."""
        if self.video and self.hub.card(identity).video:
            settings = self.video.settings
            return settings.choose(identity) | {self.tabs: gr.Tabs(selected="video"), settings.model: identity}
        settings = self.image.settings
        return settings.choose(identity) | {self.tabs: gr.Tabs(selected="image"), settings.model: identity}

    # ---- what it looks like

    def _lists(self, task: str) -> dict:
        """Every list of models on the page as things are now: a tab that is opened for the first time loses what it is sent meanwhile."""
        lists = {part: gr.update(choices=choices()) for part, choices in self.lists.items()}
        return {self.list: gr.update(choices=self._choices(task))} | lists

    def _first(self, task: str) -> dict:
        """What is not on the page as it is built, for it depends on who asks."""
        return self._lists(task) | self.add.shown()

    def _model_updates(self, identity: str, session: gr.Request) -> dict:
        card = self.hub.card(identity)
        buttons = {getattr(self, name): gr.update(**words) for name, words in self._buttons(card).items()}
        if self.offer.flags.running(session):
            buttons[self.get] = gr.update(visible=HIDDEN)
        asking = {self.sure: gr.update(visible=HIDDEN), self.spare: gr.update(visible=HIDDEN)}
        return {self.facts: self._facts(card), self.prose: _prose(card)} | buttons | asking

    def _choices(self, task: str) -> list[tuple[str, str]]:
        cards = [c for c in self.hub.offers if task in (EVERYTHING, c.task) or (task == LOCAL and self.hub.store.find(c))]
        return [(f"{card.title} · {card.size} · {self._state(card)}", card.id) for card in cards]

    def _state(self, card: Card) -> str:
        files = self.hub.store.find(card)
        missing = self.downloads.missing(self.hub.parts(card))
        if files is None:
            return "not downloaded"
        if missing:
            return f"{missing[0].title} not downloaded"
        if card.id in self.hub.models.sizes():
            return "in memory"
        return "included" if files.origin == "bundled" else files.origin if files.folder else "downloaded"

    def _buttons(self, card: Card) -> dict[str, dict[str, Any]]:
        files, missing = self.hub.store.find(card), self.downloads.missing(self.hub.parts(card))
        origins = list(dict.fromkeys(source.origin for source in card.weights if source.origin in controls.HUBS))
        sources = [("The card's order", ORDER), *((controls.HUBS[origin], origin) for origin in origins)]
        allowed = self.downloads.allowed
        return {
            "get": self.downloads.label(missing, "Download", "") | {"visible": bool(missing) or HIDDEN},
            "use": {"visible": (not missing and card.generates) or HIDDEN},
            "inside": {"visible": (not missing and (card.task in SEEING or card.family in DIFFUSION)) or HIDDEN},
            "remove": {"visible": (allowed and files is not None and files.origin != "bundled" and not files.folder) or HIDDEN},
            "source": {"choices": sources, "value": ORDER, "visible": (allowed and bool(missing) and len(origins) > 1) or HIDDEN},
        }

    def _facts(self, card: Card) -> str:
        size, files = self.hub.models.sizes().get(card.id), self.hub.store.find(card)
        rows = {
            "Task": TASKS[card.task], "Licence": licence_link(card), "Size of its file": card.size,
            "Parameters": f"{card.cost.params / 1e6:.1f} M",
            "One forward pass": f"{card.cost.gmacs:g} billion multiply-adds" if card.cost.gmacs else "",
            "Needs": ", ".join(part.title for part in self.hub.parts(card)[1:]),
            "Reported by the authors": ", ".join(f"{name.removesuffix(' (reported)')} {value:g}" for name, value in card.reported.items()),
            "Measured here": card.measured_words, "Proof": self._proof(card),
            "Source": ", ".join(dict.fromkeys(controls.place(source) for source in card.weights)),
            "Weights": files.taken if files else "", "On disk": self._on_disk(card),
            "In memory": f"{size / 1e6:.1f} MB" if size else "no",
        }  # fmt: skip
        table = "".join(
            f"<dt>{name}</dt><dd>{value if name == 'Licence' else html.escape(value)}</dd>" for name, value in rows.items() if value
        )
        words = self.downloads.words(self.hub.parts(card))
        sample = CARDS / f"{card.id}.png"
        picture = f'<img alt="samples of {html.escape(card.title)}" src="{_picture(str(sample))}">' if sample.is_file() else ""
        return f'<h2>{html.escape(card.title)}</h2>{picture}<dl class="facts">{table}</dl>{markup.note(words) if words else ""}'

    def _proof(self, card: Card) -> str:
        count = verified(self.hub.store, card)
        return f"verified against {count} published numbers" if count else ""

    def _on_disk(self, card: Card) -> str:
        files = self.hub.store.find(card)
        if files is None:
            return "not downloaded"
        size = f"{files.bytes / 1e9:.1f} GB" if files.bytes >= 1e9 else f"{files.bytes / 1e6:.1f} MB"
        if files.origin == "bundled":
            return f"{size}, included in Patchwork"
        try:
            day = date.fromisoformat(self.hub.store.pin(card.id).get("fetched", ""))
        except (ValueError, TypeError):
            return f"{size}, {files.origin}"
        return f"{size}, downloaded {day.day} {day:%b %Y} {files.origin}"


def _picture(path: str) -> str:
    import numpy as np

    with Image.open(path) as picture:
        return markup.picture_url(np.asarray(picture.convert("RGB")))


def _prose(card: Card) -> str:
    """The card's text; where it has a Chinese twin both, of which the page shows the one in its language (browser/twins.css)."""
    english, chinese = _shown(card.prose), _shown(prose_in(card, CHINESE))
    if chinese == english:
        return english
    return f'<div class="twin">\n<div lang="en">\n\n{english}\n\n</div>\n<div lang="{CHINESE}">\n\n{chinese}\n\n</div>\n</div>'


def _shown(prose: str) -> str:
    """A text without its pictures, which stand above, and without commands, for which a page has buttons."""
    paragraphs = [part for part in prose.split("\n\n") if not part.startswith(COMMANDS)]
    return "\n\n".join("\n".join(line for line in part.splitlines() if not line.startswith("![")) for part in paragraphs)
