"""The Models tab: every card, where its files can come from and whether they are here; download, cancel, remove, use."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from zoo.catalog.card import CARDS, SEEING, Card
from zoo.errors import CancelledError, ZooError
from zoo.inside.inspector import DIFFUSION
from zoo.ui.parts import controls, markup, runs
from zoo.ui.parts.runs import PRIVATE
from zoo.ui.tabs.image import ImageTab

if TYPE_CHECKING:
    from zoo.catalog.sources import Transfer
    from zoo.engine.hub import Hub
    from zoo.ui.tabs.video import VideoTab

ANY = "the card's order"
EVERYTHING = "all models"
FREE = ("apache-2.0", "mit", "bsd-3-clause")
"""Licences that need no word before a download."""


class ModelsTab:
    """The components of the tab; of a visitor only the switch that stops a download is kept."""

    def __init__(self, hub: Hub, page: gr.Blocks, tabs: gr.Tabs, tab: gr.Tab, image: ImageTab, video: VideoTab | None) -> None:
        self.hub, self.tabs, self.tab, self.image, self.video = hub, tabs, tab, image, video
        self.switches = runs.StopFlags()
        first = controls.first_generator(hub)
        with gr.Row(elem_classes="tab"):
            with gr.Column(elem_classes="controls", scale=0, min_width=300):
                tasks = sorted({card.task for card in hub.offered})
                self.filter = gr.Dropdown([EVERYTHING, "on this machine", *tasks], value=EVERYTHING, label="Show", elem_id="filter")
                self.list = gr.Radio(self._choices(EVERYTHING), value=first.id, label="Models", elem_id="models")
            with gr.Column(elem_classes="result"):
                self.facts = gr.HTML(self._facts(first), elem_id="card")
                with gr.Row(elem_classes="actions"):
                    shown = self._buttons(first)
                    self.get = gr.Button("Download", variant="primary", elem_id="get", size="sm", **shown["get"])
                    self.cancel = gr.Button("Cancel", variant="stop", elem_id="cancel", size="sm", visible=False)
                    self.use = gr.Button("Use", variant="primary", elem_id="use", size="sm", **shown["use"])
                    self.inside = gr.Button("Look inside", elem_id="models-inside", size="sm", **shown["inside"])
                    self.remove = gr.Button("Remove", elem_id="remove", size="sm", **shown["remove"])
                    self.source = gr.Dropdown(label="From", elem_id="source", scale=0, min_width=200, **shown["source"])
                self.licence = gr.HTML(elem_id="licence")
                self.accept = gr.Button("Accept the licence and download", elem_id="accept", size="sm", visible=False)
                self.progress = gr.HTML(elem_id="transfer")
                with gr.Accordion("Card", open=False):
                    self.prose = gr.Markdown(_prose(first), elem_id="prose")
        self._wire(page)

    def _wire(self, page: gr.Blocks) -> None:
        card = [self.facts, self.prose, self.get, self.use, self.inside, self.remove, self.source, self.licence, self.accept, self.progress]
        after = [*card, self.cancel, self.list, self.image.settings.model, *([self.video.settings.model] if self.video else [])]
        asked = [self.list, self.source]
        self.list.input(self.show, self.list, card, queue=False, **PRIVATE)
        self.filter.input(self.narrow, [self.filter, self.list], self.list, queue=False, **PRIVATE)
        self.get.click(self.ask, asked, after, **PRIVATE)
        self.accept.click(self.download, asked, after, **PRIVATE)
        self.cancel.click(self.switches.stop, None, None, queue=False, **PRIVATE)
        self.remove.click(self.forget, self.list, after, **PRIVATE)
        tab = self.image
        there = self.video.settings.shown if self.video else []
        self.use.click(self.choose, self.list, [self.tabs, *tab.settings.shown, tab.verdict, *there], **PRIVATE)
        tab.get.click(self.come, tab.settings.model, [self.tabs, self.list, self.filter, *card], **PRIVATE)
        page.load(self._lists, None, [self.list, tab.settings.model], **PRIVATE)
        self.tab.select(self.arrive, [self.list, self.filter], [*card, self.list], **PRIVATE)

        self.outputs = [*card, self.list, self.filter]

    # ---- what happens

    def addressed(self, identity: str) -> dict:
        """What the tab shows for a model that an address names. Raises RequestError where there is none such."""
        return self.show(identity) | {self.filter: EVERYTHING, self.list: gr.update(choices=self._choices(EVERYTHING), value=identity)}

    def show(self, identity: str, quiet: bool = False) -> dict:
        """Show one model's card and what can be done with it; quiet: what was said of it stays."""
        card = self.hub.card(identity)
        shown = {self.facts: self._facts(card), self.prose: _prose(card)}
        if quiet:
            return shown
        buttons = {getattr(self, name): gr.update(**words) for name, words in self._buttons(card).items()}
        return shown | buttons | {self.licence: "", self.progress: "", self.accept: gr.update(visible=False)}

    def arrive(self, identity: str | None, shown: str) -> dict:
        """Show what is here now; a download that goes on keeps its line."""
        return self.show(identity or controls.first_generator(self.hub).id, quiet=True) | {
            self.list: gr.update(choices=self._choices(shown))
        }

    def narrow(self, shown: str, identity: str) -> Any:
        """Show only some of the models."""
        choices = self._choices(shown)
        return gr.update(choices=choices, value=identity if identity in {value for _, value in choices} else None)

    def ask(self, identity: str, source: str, session: gr.Request) -> Iterator[dict]:
        """Say the licence first where it restricts the use or is not known; download at once where it is free."""
        try:
            card = self.hub.card(identity)
        except ZooError as error:
            yield {self.progress: markup.note(str(error), "error")}
            return
        bound = [part for part in self.hub.parts(card) if not self.hub.store.find(part) and part.licence not in FREE]
        if not bound:
            yield from self.download(identity, source, session)
            return
        words = "; ".join(f"{part.title}: {_terms(part)}" for part in bound)
        yield {self.licence: markup.note(words, "good"), self.accept: gr.update(visible=True), self.get: gr.update(visible=False)}

    def download(self, identity: str, source: str, session: gr.Request) -> Iterator[dict]:
        """Bring a model here and show how far it is; every ending shows what is here now."""
        said = ""
        with self.switches.held(session) as stop:
            yield {
                self.get: gr.update(visible=False), self.accept: gr.update(visible=False), self.cancel: gr.update(visible=True),
                self.progress: markup.note("asking where the files are ..."),
            }  # fmt: skip
            try:
                for item in self.hub.fetch(identity, "" if source == ANY else source, stop):
                    yield {self.progress: _line(item)}
                    said = "; ".join(item.notes)
                ending = markup.note(f"{self.hub.card(identity).title} is here and checked. {said}", "good")
            except CancelledError as stopped:
                ending = markup.note(str(stopped))
            except ZooError as error:
                ending = markup.note(str(error), "error")
        yield self._after(identity) | {self.progress: ending}

    def forget(self, identity: str) -> dict:
        """Delete a model's files, unless another model needs them."""
        try:
            said = markup.note(f"{self.hub.models.remove(self.hub.card(identity).id) / 1e6:.1f} MB freed")
        except ZooError as error:
            said = markup.note(str(error), "error")
        return self._after(identity) | {self.progress: said}

    def choose(self, identity: str) -> dict:
        """Go to the Image or the Video tab with this model."""
        if self.video and self.hub.card(identity).video:
            settings = self.video.settings
            return settings.choose(identity) | {self.tabs: gr.Tabs(selected="video"), settings.model: identity}
        settings = self.image.settings
        return settings.choose(identity) | {self.tabs: gr.Tabs(selected="image"), settings.model: identity}

    def come(self, identity: str) -> dict:
        """Come here from the Image tab with a model that is not on this machine."""
        shown = {self.tabs: gr.Tabs(selected="models"), self.filter: EVERYTHING}
        return self.show(identity) | shown | {self.list: gr.update(choices=self._choices(EVERYTHING), value=identity)}

    # ---- what it looks like

    def _after(self, identity: str) -> dict:
        choices, models = self._lists()
        films = {self.video.settings.model: gr.update(choices=controls.model_choices(self.hub, True))} if self.video else {}
        shown = {self.cancel: gr.update(visible=False), self.list: choices, self.image.settings.model: models}
        return self.show(identity) | shown | films

    def _lists(self) -> tuple[Any, Any]:
        return gr.update(choices=self._choices(EVERYTHING)), gr.update(choices=controls.model_choices(self.hub))

    def _choices(self, shown: str) -> list[tuple[str, str]]:
        here = shown == "on this machine"
        cards = [c for c in self.hub.offered if shown == EVERYTHING or c.task == shown or (here and self.hub.store.find(c))]
        return [(f"{card.title} · {card.size.removeprefix('about ')} · {self._state(card)}", card.id) for card in cards]

    def _state(self, card: Card) -> str:
        if card.id in self.hub.models.sizes():
            return "in memory"
        kept = self.hub.store.find(card)
        if kept and not self.hub.local(card):
            missing = next(part for part in self.hub.parts(card) if not self.hub.store.find(part))
            return f"here, {missing.title} is not"
        return "here" if kept else "not here"

    def _buttons(self, card: Card) -> dict[str, dict[str, Any]]:
        kept, local = self.hub.store.find(card), self.hub.local(card)
        origins = [source.origin for source in card.weights if source.origin in controls.HUBS]
        missing = [part for part in self.hub.parts(card) if not self.hub.store.find(part)]
        words = (
            f"Download {' and '.join(part.size.removeprefix('about ') for part in missing)}{' (this hub is offline)' * self.hub.offline}"
        )
        return {
            "get": {"visible": not local, "interactive": not self.hub.offline, "value": words},
            "use": {"visible": local and card.generates},
            "inside": {"visible": local and (card.task in SEEING or card.family in DIFFUSION)},
            "remove": {"visible": bool(kept) and kept.origin != "bundled"},
            "source": {"choices": [ANY, *dict.fromkeys(origins)], "value": ANY, "visible": not local and len(set(origins)) > 1},
        }

    def _facts(self, card: Card) -> str:
        kept, size = self.hub.store.find(card), self.hub.models.sizes().get(card.id)
        needs = ", ".join(part.title for part in self.hub.parts(card)[1:])
        rows = {
            "Task": card.task, "Licence": _terms(card), "Size": card.size, "Parameters": f"{card.cost.params / 1e6:.1f} M",
            "One forward": f"{card.cost.gmacs:g} billion multiply-adds" if card.cost.gmacs else "", "Needs": needs,
            "Reported": ", ".join(f"{name} {value:g}" for name, value in card.reported.items()),
            "Measured here": ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in card.measured.items()),
            "Comes from": ", ".join(dict.fromkeys(controls.place(source) for source in card.weights)),
            "On disk": f"{kept.bytes / 1e6:.1f} MB, {kept.origin.replace('bundled', 'ships with Patchwork')}" if kept else "no",
            "In memory": f"{size / 1e6:.1f} MB" if size else "no",
        }  # fmt: skip
        table = "".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in rows.items() if value)
        sample = CARDS / f"{card.id}.png"
        picture = f'<img alt="samples of {html.escape(card.title)}" src="{_picture(str(sample))}">' if sample.is_file() else ""
        return f'<h2>{html.escape(card.title)}</h2>{picture}<dl class="facts">{table}</dl>'


def _picture(path: str) -> str:
    import numpy as np

    with Image.open(path) as picture:
        return markup.picture_url(np.asarray(picture.convert("RGB")))


def _terms(card: Card) -> str:
    if card.licence == "unknown":
        return "not named by the authors: ask them before any use beyond looking"
    return f"{card.licence}, no commercial use" if "-nc" in card.licence else card.licence


def _prose(card: Card) -> str:
    return "\n".join(line for line in card.prose.splitlines() if not line.startswith("!["))


def _line(item: Transfer) -> str:
    left = f", {item.speed / 1e6:.1f} MB/s, {controls.duration(item.seconds_left)} left" if item.speed else ""
    words = f"{item.file} from {item.source}: {item.done / 1e6:.1f} of {item.total / 1e6:.1f} MB{left}"
    return markup.bar(item.done / item.total if item.total else 0.0, words) + "".join(markup.note(note) for note in item.notes)


def models_tab(hub: Hub, page: gr.Blocks, tabs: gr.Tabs, tab: gr.Tab, image: ImageTab, video: VideoTab | None) -> ModelsTab:
    """Put the Models tab here, beside those that its models are used on."""
    return ModelsTab(hub, page, tabs, tab, image, video)
