"""The results of this browser on a tab: a gallery that is searched, opened large, downloaded and cleared (browser/gallery.js draws it)."""

from __future__ import annotations

import html
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.engine.results import THUMBNAIL
from zoo.errors import ZooError
from zoo.media import receipts
from zoo.ui.parts import markup, runs
from zoo.ui.parts.runs import HIDDEN, PRIVATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zoo.engine.hub import Hub

GALLERY = """
<div class="gallery-row gallery-tools">
  <input type="search" aria-label="Search by class, model or seed" placeholder="Search by class, model or seed" autocomplete="off">
  <span class="gallery-count" role="status"></span>
  <button type="button" data-do="all" class="gallery-key">Select all shown</button>
</div>
<div class="gallery-row gallery-chosen" hidden>
  <span class="gallery-number" role="status"></span>
  <button type="button" data-do="pack" class="gallery-key">Download as ZIP</button>
  <button type="button" data-do="doubt" class="gallery-key">Delete</button>
  <button type="button" data-do="none" class="gallery-key">Select none</button>
</div>
<div class="gallery-row gallery-doubt" role="alert" hidden>
  <p>Delete what is selected? The files are deleted as well, except those that another browser made too.</p>
  <button type="button" data-do="delete" class="gallery-key gallery-danger">Delete them</button>
  <button type="button" data-do="keep" class="gallery-key">Keep them</button>
</div>
<ul class="gallery-grid" aria-label="Results of this browser"></ul>
<p class="gallery-none note" hidden>No result matches this search.</p>
"""
"""What stands around the small pictures; the browser puts these in from the list that an update brings."""
DEEDS = {"use": "Use its settings", "inside": "Look inside", "pack": "Download as ZIP", "delete": "Delete them"}
"""The buttons that are not seen, which the browser presses: by the end of their ids, what they do."""


class History:
    """The gallery of results of one kind; which they are, a file of the visitor in the hub's folder says."""

    def __init__(self, hub: Hub, visitor: gr.BrowserState, prefix: str = "") -> None:
        self.hub, self.video, self.prefix = hub, bool(prefix), prefix
        with gr.Accordion("History of this browser", open=True) as self.title:
            self.empty = gr.HTML(
                markup.note(f"The {'videos' if self.video else 'pictures'} that are made here stay here, also after a reload.")
            )
            self.list = gr.HTML(visible=HIDDEN, elem_id=f"{prefix}history-list")
            self.gallery = gr.HTML(GALLERY, elem_id=f"{prefix}history", elem_classes="history", visible=HIDDEN)
            self.note = gr.HTML(elem_id=f"{prefix}history-note")
            self.clear = gr.Button("Clear the history", size="sm", elem_id=f"{prefix}clear", visible=False)
            with gr.Row(visible=False) as self.asking:
                self.question = gr.HTML()
                self.sure = gr.Button("Clear", size="sm", variant="stop", elem_id=f"{prefix}clear-sure")
                self.keep = gr.Button("Keep", size="sm", elem_id=f"{prefix}clear-keep")
            self.chosen = gr.Textbox(label="Results of this browser", visible=HIDDEN, elem_id=f"{prefix}history-chosen")
            self.answer = gr.Textbox(label="Download as ZIP", visible=HIDDEN, elem_id=f"{prefix}history-answer")
            self.use, self.inside, self.pack, self.delete = (
                gr.Button(words, visible=HIDDEN, elem_id=f"{prefix}history-{name}") for name, words in DEEDS.items()
            )
        self.outputs = [self.empty, self.list, self.gallery, self.clear, self.asking]
        self.clear.click(self.ask, visitor, [self.asking, self.question, self.clear], queue=False, **PRIVATE)
        self.keep.click(self.update, visitor, self.outputs, queue=False, **PRIVATE)
        self.sure.click(self.forget, visitor, self.outputs, queue=False, **PRIVATE)
        self.on(self.delete, self.forget_chosen, visitor, [*self.outputs, self.note])
        packed = self.on(self.pack, self.pack_chosen, visitor, [self.answer, self.note])
        packed.then(None, self.answer, None, js="(name) => window.saveResult(name)", **PRIVATE)

    def on(self, button: gr.Button, handler: Callable[..., Any], visitor: gr.BrowserState, outputs: Sequence[Any]) -> Any:
        """Let a handler answer what the gallery asks for by a button that is not seen, with the names of the files that are meant."""
        asked = f"(visitor) => [visitor, window.chosenResults({json.dumps(self.prefix)})]"
        return button.click(handler, [visitor, self.chosen], [*outputs], js=asked, **PRIVATE)

    def files(self, visitor: str) -> list[Path]:
        """The visitor's pictures (PNG), or videos (MP4)."""
        return self.hub.results.history(visitor or "", ".mp4" if self.video else ".png")

    def named(self, visitor: str, name: str) -> Path | None:
        """The visitor's own file of this name; None where he has none such."""
        return next(iter(self.hub.results.chosen(visitor or "", [name])), None)

    def update(self, visitor: str) -> dict[Any, Any]:
        """Show what is there now."""
        entries = [self._entry(path) for path in self.files(visitor)]
        some, words = bool(entries), html.escape(json.dumps(entries, ensure_ascii=False), quote=False).replace("'", "&#39;")
        return {
            self.list: f'<i data-folder="{html.escape(self.hub.results.folder.as_posix())}" data-results=\'{words}\'></i>',
            self.gallery: gr.update(visible=some or HIDDEN), self.clear: gr.update(visible=some),
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

    def forget_chosen(self, visitor: str, names: str) -> dict[Any, Any]:
        """Take the results of these names, one a line, out of the history, and delete what only this browser made."""
        self.hub.results.forget(visitor, names.splitlines())
        return self.update(visitor) | {self.note: ""}

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence under the gallery."""
        return {self.note: markup.note(text, kind), self.answer: ""}

    @runs.computes
    def pack_chosen(self, visitor: str, names: str) -> dict:
        """Write the results of these names, one a line, into one ZIP file, and tell the browser where it lies."""
        path, number = self.hub.results.pack(visitor, names.splitlines())
        size = path.stat().st_size / 1e6
        words = "1 result" if number == 1 else f"{number} results"
        return self.say(f"{words} in one ZIP file of {size:.1f} MB.") | {self.answer: path.relative_to(self.hub.results.folder).as_posix()}

    def _entry(self, path: Path) -> dict[str, Any]:
        """What the gallery says and shows of a file."""
        folder, small = self.hub.results.folder, path.with_name(THUMBNAIL)
        if not small.is_file():
            small = path.with_suffix(".webp") if self.video else path
        facts = _facts(path.with_suffix(".json"), path.stat().st_mtime_ns if path.exists() else 0)
        try:
            facts = facts | {"model": self.hub.card(facts["model"]).title}
        except ZooError:  # somebody took the model away: its id is told
            pass
        return {"file": path.relative_to(folder).as_posix(), "small": small.relative_to(folder).as_posix()} | facts


@lru_cache(8192)
def _facts(path: Path, _written: int) -> dict[str, Any]:
    """The facts of a result by the receipt beside it, as short as a gallery needs them; the time tells one made again."""
    try:
        receipt = receipts.parse_receipt(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ZooError):
        return {"model": path.stem, "name": path.stem}
    request = receipt["request"]
    words = {name: request.get(name) for name in ("model", "steps", "solver", "guidance")}
    words |= {"prompt": True} if request.get("prompt") else {}
    return words | {"name": str(receipt.get("label", "")), "seed": receipt.get("seed"), "made": receipt.get("made")}
