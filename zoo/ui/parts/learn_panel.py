"""The Learn panel: its entries and formulas come when somebody opens it for the first time (browser/learn.js shows them)."""

from __future__ import annotations

import gradio as gr

from zoo.ui import learn
from zoo.ui.parts.runs import HIDDEN, PRIVATE


def build_learn_panel() -> None:
    """Put here what is not seen: the place of the entries, that of the formulas, which gradio's KaTeX sets, and the button that asks."""
    pages = gr.HTML(visible=HIDDEN, elem_id="learn-pages")
    display = [{"left": "$$", "right": "$$", "display": True}]
    formulas = gr.Markdown(visible=HIDDEN, elem_id="learn-formulas", latex_delimiters=display)
    fetch = gr.Button("Learn", visible=HIDDEN, elem_id="learn-fetch")
    fetch.click(lambda: (learn.pages(), learn.formulas()), None, [pages, formulas], queue=False, **PRIVATE)
