"""Blind choices on the page: how often each setting was preferred, with confidence intervals; export and deletion."""

from __future__ import annotations

import html
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.compare.votes import Rate, Votes, rates
from zoo.engine.results import put
from zoo.errors import ZooError
from zoo.ui.parts import markup
from zoo.ui.parts.runs import PRIVATE

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

MINE, ALL = "mine", "everybody's on this hub"
HEADS = ("preferred", "to", "choices", "", "share, 95 % interval", "no difference")


class VotesTab:
    """The components, and what they do; the choices themselves lie in the hub's folder."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState, tab: gr.Tab) -> None:
        self.hub, self.visitor, self.store = hub, visitor, Votes(hub.cache_dir / "choices.sqlite3")
        self.whose = gr.Radio([MINE, ALL], value=MINE, label="Whose choices", elem_id="votes-whose")
        self.rates = gr.HTML(elem_id="votes-rates")
        self.note = gr.HTML(elem_id="votes-note")
        with gr.Row(elem_classes="actions"):
            self.export = gr.Button("Export mine (CSV, JSON)", size="sm", elem_id="votes-export")
            self.delete = gr.Button("Delete mine", size="sm", elem_id="votes-delete")
            self.sure = gr.Button("Delete them all, really", size="sm", variant="stop", visible=False, elem_id="votes-sure")
        self.files = gr.File(visible=False, show_label=False, file_count="multiple", elem_id="votes-files")
        self.outputs = [self.rates, self.note, self.sure, self.files]
        for event in (tab.select, self.whose.input):
            event(self.show, [self.visitor, self.whose], self.outputs, **PRIVATE)
        self.export.click(self.give, self.visitor, [self.files, self.note], **PRIVATE)
        self.delete.click(self.ask, self.visitor, [self.sure, self.note], **PRIVATE)
        self.sure.click(self.forget, [self.visitor, self.whose], self.outputs, **PRIVATE)

    def keep(self, visitor: str, subject: str, seeds: Sequence[int], settings: Sequence[str], chosen: int | None) -> None:
        """Keep one choice. Raises VotesError."""
        self.store.add(str(visitor), subject, seeds, settings, chosen)

    def show(self, visitor: str, whose: str = MINE) -> dict:
        """The rates of one visitor's choices, or of everybody's."""
        try:
            votes = self.store.all(str(visitor) if whose == MINE else None)
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        words = f"{_choices(len(votes))}. The interval is Wilson's; where it holds 50 %, nothing is decided yet." if votes else ""
        empty = "No choice yet: tick Blind under Side by side, compare, and choose."
        return {
            self.rates: _table(rates(votes)) if votes else markup.note(empty), self.note: markup.note(words),
            self.sure: gr.update(visible=False), self.files: gr.update(visible=False),
        }  # fmt: skip

    def give(self, visitor: str) -> dict[Any, Any]:
        """This visitor's choices as files."""
        try:
            if not self.store.all(str(visitor)):
                return {self.note: markup.note("There is nothing of yours to export.", "error")}
            files = put(self.store.export(str(visitor)), self.hub.results.folder / uuid.uuid4().hex)
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        return {self.files: gr.update(value=[str(path) for path in files], visible=True), self.note: ""}

    def ask(self, visitor: str) -> dict[Any, Any]:
        """Say what would be deleted before it is."""
        try:
            count = len(self.store.all(str(visitor)))
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        words = f"{_choices(count)} of this browser would be gone for good." if count else "There is nothing of yours to delete."
        return {self.sure: gr.update(visible=count > 0), self.note: markup.note(words)}

    def forget(self, visitor: str, whose: str) -> dict[Any, Any]:
        """Delete this visitor's choices."""
        try:
            count = self.store.delete(str(visitor))
        except ZooError as error:
            return {self.note: markup.note(str(error), "error")}
        return self.show(visitor, whose) | {self.note: markup.note(f"Deleted: {_choices(count)}.", "good")}


def _choices(count: int) -> str:
    return "1 choice" if count == 1 else f"{count} choices"


def _table(rates: Sequence[Rate]) -> str:
    """Every pair of settings that was decided between, with its share and interval, as a bar and in numbers."""
    top = "".join(f"<th>{head}</th>" for head in HEADS)
    body = ""
    for rate in rates:
        low, high = rate.interval
        bar = f'<div class="interval"><i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i></div>'
        share = f"{100 * rate.share:.0f} % ({100 * low:.0f} to {100 * high:.0f})" if rate.decisions else "undecided"
        cells = (html.escape(rate.setting), html.escape(rate.other), f"{rate.wins} of {rate.decisions}", bar, share, str(rate.ties))
        body += f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    return f'<div class="wide"><table class="compared"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
