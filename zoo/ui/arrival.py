"""What sets a tab from outside it: an address that says what to show, a story, and a file that somebody dropped anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from zoo.engine.request import short
from zoo.errors import MediaError, RequestError
from zoo.media import clips, photographs, receipts, video
from zoo.ui.parts import markup, runs
from zoo.ui.parts.runs import LATEST, PRIVATE

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.ui.parts.story_bar import StoryBar
    from zoo.ui.tabs.compare.grid import GridTab
    from zoo.ui.tabs.compare.side_by_side import CompareTab
    from zoo.ui.tabs.image import ImageTab
    from zoo.ui.tabs.look.hand_over import ReachableLookTab
    from zoo.ui.tabs.models import ModelsTab
    from zoo.ui.tabs.video import VideoTab

TABS = ("image", "video", "compare", "grid", "look", "models")
WITHIN = {"grid": "compare"}
"""Views that an address names like a tab, and the tab that holds them."""


class Arrival:
    """Sends an address, or a file, to the tab that it is of, and says above the tabs what is wrong with it."""

    def __init__(
        self,
        hub: Hub,
        tabs: gr.Tabs,
        message: gr.HTML,
        image: ImageTab,
        film: VideoTab | None,
        comparison: CompareTab,
        grid: GridTab,
        look: ReachableLookTab,
        models: ModelsTab,
        stories: StoryBar,
    ) -> None:
        self.hub, self.tabs, self.message, self.stories = hub, tabs, message, stories
        self.image, self.film, self.comparison, self.grid, self.look, self.models = image, film, comparison, grid, look, models

    def wire(self, page: gr.Blocks, dropped: gr.UploadButton) -> None:
        """Act when the page is opened, when a file is dropped, and keep the address true to what is chosen."""
        film = self.film.back if self.film else []
        places = [self.tabs, self.message, *self.image.back, *film, *self.look.all]
        dropped.upload(self.drop, dropped, places, **PRIVATE)
        told = [*places, *self.comparison.address_outputs, *self.grid.address_outputs, self.stories.panel]
        arrived = page.load(self.arrive, None, [*told, *self.models.outputs], **PRIVATE)
        opened = self.stories.cards.click(self.tell, None, told, **LATEST)
        for event in (arrived, opened):
            event.then(None, None, None, js="() => { startStory() }")
        look = [self.look.model, self.look.label, self.look.prompt, self.look.seed, self.look.steps]
        gr.on([part.change for part in look], None, look, None, js="(...values) => choseLook(values)")
        comparison = [*self.comparison.common, *(part for six in self.comparison.settings for part in six)]
        gr.on([part.change for part in comparison], None, comparison, None, js="(...values) => choseComparison(values)")
        for name, button in (("look", self.look.link), ("compare", self.comparison.link)):
            button.click(None, None, None, js=f"() => copyAddress('#{name}-link')")
        self.models.list.change(None, self.models.list, None, js="(model) => { chose('models', { model }) }")
        for tab, settings in (("image", self.image.settings), *([("video", self.film.settings)] if self.film else [])):
            prefix = "video-" if tab == "video" else ""
            parts = [settings.model, settings.label, settings.prompt, settings.count, settings.seed, settings.steps, settings.solver]
            parts += [settings.guidance, settings.frames, settings.fps]
            more = "frames, fps" if tab == "video" else "count"
            words = f"{{ model, label: label === null ? '' : nameOf('{prefix}label'), prompt, seed, steps, solver, guidance, {more} }}"
            js = f"(model, label, prompt, count, seed, steps, solver, guidance, frames, fps) => {{ chose('{tab}', {words}) }}"
            gr.on([part.change for part in parts], None, parts, None, js=js)

    # ---- an address

    def say(self, text: str, kind: str = "plain") -> dict:
        """One sentence above the tabs."""
        return {self.message: markup.note(text, kind)}

    def idle(self) -> dict:
        """Nothing runs here."""
        return {}

    @runs.computes
    def arrive(self, asked: gr.Request) -> dict:
        """Show what the words of the address say: tab, and those of the API."""
        words = {name: value for name, value in asked.query_params.items() if not name.startswith("__")}
        if "story" in words:
            return self._story(asked, words["story"])
        tab = words.pop("tab", "")
        if not tab and "model" in words:
            tab = "video" if self.hub.card(words["model"]).video else "image"
        if not tab:
            return {}
        if tab not in TABS:
            raise RequestError(f"This address asks for the tab {short(tab)}: there are {', '.join(TABS)}.")
        return self._tab(asked, tab, words)

    @runs.computes
    def tell(self, session: gr.Request, event: gr.EventData) -> dict:
        """Open a story whose card, or Next, was pressed; what runs for this visitor ends, for the story runs by itself."""
        for tab in (self.image, self.film, self.comparison, self.grid, self.look):
            if tab:
                tab.flags.stop(session)
        return {self.message: ""} | self._story(session, str(event.index))

    def _story(self, session: gr.Request, identity: str) -> dict:
        """The panel of a story, and its tab with every control set. Raises a ZooError."""
        story, panel = self.stories.opened(identity)
        return panel | self._tab(session, story.tab, story.words)

    def _tab(self, session: gr.Request, tab: str, words: Mapping[str, str]) -> dict:
        """A tab, open, and what it shows for the words of an address. Raises a ZooError that says which word is wrong."""
        return {self.tabs: gr.Tabs(selected=WITHIN.get(tab, tab))} | self._controls(session, tab, words)

    def _controls(self, session: gr.Request, tab: str, words: Mapping[str, str]) -> dict:
        if tab in ("image", "video") and words:
            settings = self.film.settings if tab == "video" and self.film else self.image.settings
            return settings.addressed(words)
        if tab == "compare" and words:
            if set(words) != {"settings"}:
                raise RequestError("The address of a comparison has one word beside tab: settings, a JSON list of requests.")
            return self.comparison.addressed(words["settings"])
        if tab == "grid":
            return {self.comparison.views: gr.Tabs(selected="grid")} | (self.grid.addressed(words) if words else {})
        if tab == "look" and words:
            return self.look.addressed(words)
        if tab == "models" and words.get("model"):
            return self.models.addressed(session, words["model"])
        return {}

    # ---- a file

    @runs.always_ends
    def drop(self, path: str | None) -> Iterator[dict]:
        """A picture or video made here goes back to its tab with all its settings; any other one to Look inside."""
        if not path:
            raise RequestError("No file arrived: drop a picture or a clip.")
        if receipts.carries_receipt(path):
            moving = Path(path).suffix.lower() in video.SUFFIXES
            if moving and self.film is None:
                raise MediaError("This is a video made by Patchwork, and this hub offers no model that makes videos.")
            part, tab = (self.film, "video") if moving else (self.image, "image")
            yield {self.tabs: gr.Tabs(selected=tab), self.message: ""} | part.restore(path)
        elif photographs.is_picture(path) or clips.is_clip(path):
            yield {self.tabs: gr.Tabs(selected="look"), self.message: "", self.look.coming: True}
            yield self.look.dropped(path)
        else:
            raise MediaError(f"{Path(path).name[:60]} is no picture or video: drop a PNG or MP4 made here, a photograph, or a clip.")
