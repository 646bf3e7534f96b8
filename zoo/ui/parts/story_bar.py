"""The stories on the page: cards under the banner, and over the tabs a panel that says what is seen (stories.js does the rest)."""

from __future__ import annotations

import html
import json
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import gradio as gr

from zoo.ui import stories

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.ui.stories import Story

OPENING = 'story.open = (id) => trigger("click", { index: id });'
"""Lets stories.js open any story by its id."""
DRAWINGS = {
    "noise": '<path class="faint" d="M4 5h3v3H4zM12 3h3v3h-3zM5 14h3v3H5zM11 11h3v3h-3zM4 23h3v3H4zM12 20h3v3h-3zM9 27h3v3H9z"/>'
    '<path d="M25 4c4 3 5 8 4 14l3 5-4 1-3-2-3 2-4-1 3-5c-1-6 0-11 4-14zM23 26h4l-2 5z"/>',
    "three": '<path class="faint" d="M3 4h8v8H3zM14 4h8v8h-8zM25 4h8v8h-8z"/>'
    '<path d="M4 16h6v3H4zM4 21h6v3H4zM4 26h6v3H4zM14 16h8v3h-8zM14 26h8v3h-8zM17 21h2v3h-2zM25 16h8v3h-8zM27 21h4v3h-4zM25 26h8v3h-8z"/>',
    "attention": '<path class="faint" d="M3 3h9v9H3zM13 3h9v9h-9zM23 3h9v9h-9zM3 13h9v9H3zM3 23h9v9H3zM23 13h9v9h-9zM13 23h9v9h-9z"/>'
    '<path d="M23 23h9v9h-9zM13 13h9v9h-9zM15 15v5h5v-5z" fill-rule="evenodd"/>',
    "guidance": '<path class="faint" d="M7 18m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0"/><circle cx="17" cy="18" r="5" opacity=".6"/>'
    '<circle cx="29" cy="18" r="6"/>',
    "clip": '<path class="faint" d="M2 6h32v24H2zM5 8v3h4V8zM13 8v3h4V8zM21 8v3h4V8zM5 25v3h4v-3zM13 25v3h4v-3zM21 25v3h4v-3z" '
    'fill-rule="evenodd"/><path d="M14 13l10 5-10 5z"/>',
    "steps": '<path class="faint" d="M3 32V22h10V12h10V3h10v29z"/><path d="M3 32v-4h5v-5h5v-5h5v-5h5V8h5V3h5v4h-3v5h-5v5h-5v5h-5v5H8v5z"/>',
}
"""Small drawings for the cards, as SVG on 36 x 36."""


class StoryBar:
    """The components: the cards and the panel. Nothing of a visitor is kept."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        told = stories.told(hub)
        self.cards = gr.HTML(_bar(told) if told else "", js_on_load=OPENING, elem_id="stories", visible=bool(told))
        self.panel = gr.HTML(elem_id="story")

    def opened(self, identity: str) -> tuple[Story, dict]:
        """A story by its id, and the panel that tells it. Raises RequestError that names those there are."""
        story, place, course = stories.find(self.hub, identity)
        return story, {self.panel: panel(story, place, course)}


def _bar(told: Sequence[Story]) -> str:
    """The cards in a row, under a line that folds them and one that starts the course."""
    by_id = {story.id: story for story in told}
    cards = "".join(_card(by_id[identity]) for identity in stories.CARDS if identity in by_id)
    fold = '<button type="button" id="stories-fold" aria-expanded="true" aria-controls="story-cards">Stories</button>'
    course = f'<button type="button" class="course" data-story="{told[0].id}">The course: {len(told)} stories, ten minutes</button>'
    return f'<div class="stories-head">{fold}{course}</div><ul id="story-cards">{cards}</ul>'


def _card(story: Story) -> str:
    line, drawing = story.card
    words = f"<b>{html.escape(story.title)}</b><span>{html.escape(line)}</span>"
    picture = f'<svg viewBox="0 0 36 36" aria-hidden="true">{DRAWINGS[drawing]}</svg>'
    return f'<li><button type="button" data-story="{story.id}">{picture}<span class="words">{words}</span></button></li>'


def panel(story: Story, place: int, course: Sequence[Story]) -> str:
    """What is said over the tabs while a story is told, and what stories.js needs to run it; place: in the course, from 0."""
    paper = story.paper
    source = f"{paper.authors}: {paper.title} (arXiv {paper.arxiv})"
    link = f'<a href="https://arxiv.org/abs/{paper.arxiv}" target="_blank" rel="noopener" translate="no">{html.escape(source)}</a>'
    label, where = story.jump
    buttons = f'<button type="button" data-jump="{html.escape(where)}">{html.escape(label)}</button>' if label else ""
    buttons += '<button type="button" id="story-link">Copy link</button><button type="button" id="story-close">Close</button>'
    if place + 1 < len(course):
        buttons += f'<button type="button" class="next" data-story="{course[place + 1].id}">Next</button>'
    data = {"id": story.id, "turn": uuid.uuid4().hex, "go": story.go, "then": json.dumps(story.then)}
    data |= {"mark": story.mark[0], "value": story.mark[1]}
    attributes = " ".join(f'data-{name}="{html.escape(value, quote=True)}"' for name, value in data.items())
    return (
        f'<section aria-labelledby="story-title" {attributes}><div><h2 id="story-title" tabindex="-1">{html.escape(story.title)}</h2>'
        f'<p>{html.escape(story.text)}</p><p class="paper"><span>Paper:</span> {link}</p></div>'
        f'<div class="story-buttons"><span class="place">Story {place + 1} of {len(course)}</span>{buttons}</div>'
        '<p role="status"></p></section>'
    )
