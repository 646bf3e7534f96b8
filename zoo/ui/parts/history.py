"""The history of this browser on a tab: small pictures of its results, the newest first, and the way to clear them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.ui.parts import markup
from zoo.ui.parts.runs import PRIVATE

if TYPE_CHECKING:
    from zoo.engine.hub import Hub


class History:
    """The strip of results of one kind; which they are, a file of the visitor in the hub's folder says."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState, prefix: str = "") -> None:
        self.hub, self.video = hub, bool(prefix)
        with gr.Accordion("History of this browser", open=True) as self.title:
            self.empty = gr.HTML(
                markup.note(f"The {'videos' if self.video else 'pictures'} that are made here stay here, also after a reload.")
            )
            self.strip = gr.Gallery(
                format="webp" if self.video else "png", show_label=False, columns=10, rows=1, height="auto", object_fit="contain",
                allow_preview=False, interactive=False, elem_id=f"{prefix}history", elem_classes="history", buttons=[], visible=False,
            )  # fmt: skip
            self.clear = gr.Button("Clear the history", size="sm", elem_id=f"{prefix}clear", visible=False)
            with gr.Row(visible=False) as self.asking:
                self.question = gr.HTML()
                self.sure = gr.Button("Clear", size="sm", variant="stop", elem_id=f"{prefix}clear-sure")
                self.keep = gr.Button("Keep", size="sm", elem_id=f"{prefix}clear-keep")
        self.outputs = [self.empty, self.strip, self.clear, self.asking]
        self.clear.click(self.ask, visitor, [self.asking, self.question, self.clear], queue=False, **PRIVATE)
        self.keep.click(self.update, visitor, self.outputs, queue=False, **PRIVATE)
        self.sure.click(self.forget, visitor, self.outputs, queue=False, **PRIVATE)

    def files(self, visitor: str) -> list[Path]:
        """The visitor's pictures (PNG), or videos (MP4)."""
        return self.hub.results.history(visitor or "", ".mp4" if self.video else ".png")

    def update(self, visitor: str) -> dict[Any, Any]:
        """Show what is there now."""
        pictures = [str(path.with_suffix(".webp") if self.video else path) for path in self.files(visitor)]
        some = bool(pictures)
        return {
            self.strip: gr.update(value=pictures, visible=some), self.clear: gr.update(visible=some),
            self.empty: gr.update(visible=not some), self.asking: gr.update(visible=False),
        }  # fmt: skip

    def ask(self, visitor: str) -> dict[Any, Any]:
        """Say what would leave the list before it does."""
        everything = len(self.hub.results.history(visitor or "", ""))
        words = (
            f"Clear {everything} result{'s' if everything > 1 else ''}, pictures and videos, from this list? Their files are deleted as "
            "well, except those that another browser made too."
        )
        return {self.asking: gr.update(visible=True), self.question: markup.note(words), self.clear: gr.update(visible=False)}

    def forget(self, visitor: str) -> dict[Any, Any]:
        """Empty the history of this browser, and delete what only it made."""
        self.hub.results.forget(visitor)
        return self.update(visitor)
