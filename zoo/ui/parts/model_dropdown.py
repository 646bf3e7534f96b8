"""Lists of models whose choices change while a page is open: somebody adds a model, here or in another process.

Gradio refuses a value that it has not sent itself, as from an address that names a model which was added after the start; here the hub says
which models there are. Gradio makes the component anew at every update, so its class must know.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

OF_MODELS = "of-models"
"""The `elem_classes` of such a list."""
_preprocess = gr.Dropdown.preprocess


def _any_name(self: gr.Dropdown, payload: Any) -> Any:
    return payload if OF_MODELS in (self.elem_classes or ()) and isinstance(payload, str) else _preprocess(self, payload)


gr.Dropdown.preprocess = _any_name


def model_dropdown(choices: list[tuple[str, str]], **words: Any) -> gr.Dropdown:
    """A list of models; words: as gr.Dropdown's."""
    return gr.Dropdown(choices, elem_classes=OF_MODELS, **words)
