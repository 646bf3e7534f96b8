"""A row of small pictures under the controls: a click on one puts its settings there, and Generate makes the same picture."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.ui.parts import markup, runs
from zoo.ui.parts.opening import shipped
from zoo.ui.parts.runs import PRIVATE
from zoo.ui.server import page_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.engine.hub import Hub
    from zoo.ui.parts.settings import Settings

PICKING = """element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-example]");
  if (button) { trigger("click", { index: Number(button.dataset.example) }); }
});"""


class Examples:
    """The row of one tab; each example is what an address would say."""

    def __init__(self, hub: Hub, settings: Settings, video: bool = False) -> None:
        self.settings = settings
        self.name = "example-clips" if video else "examples"
        self.all: list[dict[str, Any]] = shipped(self.name)["examples"]
        offered = {card.id for card in hub.offers}
        cells = "".join(_cell(k, one, self._place(k)) for k, one in enumerate(self.all) if one["model"] in offered)
        row = f'<p class="examples-title">Examples</p><div class="examples" role="group" aria-label="Examples">{cells}</div>'
        self.row = gr.HTML(row if cells else "", js_on_load=PICKING, elem_id=self.name)

    def wire(self, outputs: Sequence[Any], verdict: gr.HTML) -> None:
        """outputs: the controls that an example sets; verdict: where it says so."""
        self.verdict = verdict
        self.row.click(self.choose, None, [*outputs, verdict], queue=False, **PRIVATE)

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence under the frame."""
        return {self.verdict: markup.note(text, kind)}

    @runs.answers
    def choose(self, event: gr.EventData) -> dict:
        """Put the settings of an example on the controls."""
        index = int(event.index)
        if not 0 <= index < len(self.all):
            return self.say("There is no such example: reload the page.", "error")
        words = {name: str(value) for name, value in self.all[index].items()}
        thing = "clip" if self.settings.video else "picture"
        said = f"The settings of this example are on the controls: press Generate, and the same {thing} comes."
        return self.settings.addressed(words) | self.say(said, "good")

    def _place(self, k: int) -> str:
        """Of an example in the sprite, as CSS."""
        facts, count = shipped(self.name), len(self.all)
        across = facts["across"]
        down = -(-count // across)
        column, row = (k % across) / max(1, across - 1), (k // across) / max(1, down - 1)
        url = page_files.address(f"{self.name}.webp")
        place = f"background-position:{100 * column:g}% {100 * row:g}%"
        return f"background-image:url({url});background-size:{100 * across}% {100 * down}%;{place}"


def _cell(k: int, one: dict[str, Any], place: str) -> str:
    label = html.escape(one["label"])
    how = html.escape(f"{one['model']}, seed {one['seed']}, {one['steps']} steps {one['solver']}, guidance {one['guidance']:g}")
    return f'<button type="button" data-example="{k}" title="{how}"><i style="{place}"></i><span>{label}</span></button>'
