"""Blind choices on the page: how often each setting was preferred, with confidence intervals; export and deletion."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.compare.votes import Rate, Votes, rates
from zoo.errors import VotesError
from zoo.ui.parts import markup, runs
from zoo.ui.parts.runs import PRIVATE

if TYPE_CHECKING:
    from zoo.engine.hub import Hub

MINE, ALL = "my choices", "all choices on this hub"
HEADS = ("preferred", "over", "wins", "share of wins, 95 % interval", "no difference")

HELP: dict[str, str] = {
    "votes-whose": "Count the choices of this browser only, or those of all visitors of this hub.",
    "votes-rates": "How often a setting won against another in blind tests, with Wilson's 95 % confidence interval.",
    "votes-export": "Makes files of the choices of this browser: CSV and JSON.",
    "votes-delete": "Deletes the choices of this browser, after asking.",
    "votes-sure": "Deletes them; they cannot be brought back.",
    "votes-cancel": "Deletes nothing.",
}


class VotesTab:
    """The components, and what they do; the choices themselves lie in the hub's folder."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState, tab: gr.Tab) -> None:
        self.hub, self.visitor, self.store = hub, visitor, Votes(hub.cache_dir / "choices.sqlite3")
        self.whose = gr.Radio([MINE, ALL], value=MINE, label="Count", elem_id="votes-whose")
        self.note = gr.HTML(elem_id="votes-note")
        self.rates = gr.HTML(elem_id="votes-rates")
        with gr.Row(elem_classes="actions"):
            self.export = gr.Button("Export my choices (CSV, JSON)", size="sm", elem_id="votes-export")
            self.delete = gr.Button("Delete my choices", size="sm", elem_id="votes-delete")
            self.sure = gr.Button("Yes, delete them", size="sm", variant="stop", visible=False, elem_id="votes-sure")
            self.cancel = gr.Button("Keep them", size="sm", visible=False, elem_id="votes-cancel")
        self.files = gr.File(visible=False, show_label=False, file_count="multiple", elem_id="votes-files")
        self.outputs = [self.rates, self.note, self.sure, self.cancel]
        for event in (tab.select, self.whose.input):
            event(self.show, [self.visitor, self.whose], self.outputs, **PRIVATE)
        self.export.click(self.give, self.visitor, [self.files, self.note], **PRIVATE)
        self.delete.click(self.ask, self.visitor, [self.sure, self.cancel, self.note], **PRIVATE)
        self.cancel.click(self.show, [self.visitor, self.whose], self.outputs, **PRIVATE)
        self.sure.click(self.forget, [self.visitor, self.whose], [*self.outputs, self.files], **PRIVATE)

    def idle(self) -> dict:
        """What the buttons show when nothing is asked."""
        return {self.sure: gr.update(visible=False), self.cancel: gr.update(visible=False)}

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence over the table."""
        return {self.note: markup.note(text, kind)}

    def keep(self, visitor: str, subject: str, seeds: Sequence[int], settings: Sequence[str], choice: int | None) -> None:
        """Keep one choice. Raises VotesError."""
        self.store.add(str(visitor), subject, seeds, settings, choice)

    @runs.answers
    def show(self, visitor: str, whose: str = MINE) -> dict:
        """The rates of one visitor's choices, or of everybody's."""
        votes = self.store.all(str(visitor) if whose == MINE else None)
        words = f"{_choices(len(votes))}. The interval is Wilson's; where it contains 50 %, nothing is decided yet." if votes else ""
        empty = "No choice yet: under Side by side tick Blind test, press Compare, and choose."
        return {self.rates: _table(rates(votes)) if votes else markup.note(empty)} | self.idle() | self.say(words)

    @runs.answers
    def give(self, visitor: str) -> dict[Any, Any]:
        """This visitor's choices as files."""
        if not self.store.all(str(visitor)):
            raise VotesError("There are no choices of this browser to export.")
        files = self.hub.results.bundle(self.store.export(str(visitor)))
        return {self.files: gr.update(value=[str(path) for path in files], visible=True), self.note: ""}

    @runs.answers
    def ask(self, visitor: str) -> dict[Any, Any]:
        """Say what would be deleted before it is."""
        count = len(self.store.all(str(visitor)))
        words = f"Delete {_choices(count)} of this browser? They cannot be brought back." if count else "There are no choices to delete."
        return {self.sure: gr.update(visible=count > 0), self.cancel: gr.update(visible=count > 0)} | self.say(words)

    @runs.answers
    def forget(self, visitor: str, whose: str) -> dict[Any, Any]:
        """Delete this visitor's choices."""
        count = self.store.delete(str(visitor))
        return self.show(visitor, whose) | {self.files: gr.update(visible=False)} | self.say(f"Deleted: {_choices(count)}.", "good")


def _choices(count: int) -> str:
    return "1 choice" if count == 1 else f"{count} choices"


def _table(rates: Sequence[Rate]) -> str:
    """Every pair of settings that was decided between, with its share and interval, as a bar and in numbers."""
    top = "".join(f'<th scope="col">{head}</th>' for head in HEADS)
    body = ""
    for rate in rates:
        low, high = rate.interval
        bar = f'<div class="interval"><i style="left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"></i></div>'
        share = f"{100 * rate.share:.0f} % ({100 * low:.0f} to {100 * high:.0f} %)" if rate.decisions else "undecided"
        cells = (html.escape(rate.other), f"{rate.wins} of {rate.decisions}", bar + share, str(rate.ties))
        body += f'<tr><th scope="row">{html.escape(rate.setting)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    table = f'<table class="compared"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide" role="region" aria-label="choices" tabindex="0">{table}</div>'
