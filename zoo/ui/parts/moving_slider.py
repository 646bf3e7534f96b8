"""Sliders whose ends change with what stands on the page.

The page may send a value from before the ends moved: a step of the run of 25 after one of 2 came in. Gradio refuses that, in words about
its own bounds; here it is the nearest that there is now. Gradio makes the component anew at every update, so its class must know.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

MOVING = "moving"
"""The `elem_classes` of a slider whose ends change."""
_preprocess = gr.Slider.preprocess


def _nearest(self: gr.Slider, payload: Any) -> Any:
    if MOVING in (self.elem_classes or ()) and isinstance(payload, (int, float)):
        payload = min(max(payload, self.minimum), self.maximum)
    return _preprocess(self, payload)


gr.Slider.preprocess = _nearest


def moving_slider(minimum: float, maximum: float, value: float, **words: Any) -> gr.Slider:
    """A slider of whole numbers whose ends change with what stands on the page; words: as gr.Slider's."""
    return gr.Slider(minimum, maximum, value, step=1, buttons=[], **{"elem_classes": MOVING, **words})
