"""The ways into the Look inside tab from elsewhere: a result or the controls of another tab, a model, an address, a dropped file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import gradio as gr

from zoo.catalog.card import SEEING, Card
from zoo.engine.request import Request, find_label
from zoo.errors import RequestError, ZooError
from zoo.media import photographs
from zoo.ui.parts import controls, markup, runs
from zoo.ui.tabs.look.tab import LookTab
from zoo.ui.tabs.look.views import PATCH, examples, model_choices

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.inside.inspector import Looker


class ReachableLookTab(LookTab):
    """The tab, and what it shows for whoever comes from elsewhere."""

    @runs.always_ends
    def come(self, session: gr.Request, model: str, _: str, chosen: dict) -> Iterator[dict]:
        """Come here from the Models tab with one of them; the model that is here already changes nothing."""
        yield {self.model: gr.update(choices=model_choices(self.looker))}
        if model != chosen.get("model"):
            self.flags.stop(session)
            yield from self._choose(model)

    def addressed(self, words: Mapping[str, str]) -> dict:
        """What the tab shows for the words of an address, those of the API: model, label, prompt, seed, steps; of what looks at a picture
        layer, and patch, as row,column counted from 0. Raises a ZooError."""
        card = self.hub.card(words.get("model") or model_choices(self.looker)[0][1])
        updates = self._controls(card) | self._first(card)
        if updates[self.subject] and ("patch" in words or "layer" in words):
            updates = self._pointed(updates, words)
        if card.generates:
            if card.label_names and "label" in words:
                updates[self.label] = self._label(card, find_label(card, words["label"]))
            updates |= {part: words[word] for word, part in (("prompt", self.prompt), ("seed", self.seed)) if word in words}
            if words.get("steps"):
                updates[self.steps] = controls.whole(
                    "Steps", int(words["steps"]) if words["steps"].isdecimal() else words["steps"], 1, 1000
                )
        return updates

    def _pointed(self, updates: dict, words: Mapping[str, str]) -> dict:
        """An example that was opened, seen from the patch, and in the layer, that an address names. Raises RequestError."""
        subject = updates[self.subject]
        recording = self.views.recording(subject, None, 1)
        _, view = self._ranges(recording.card, recording.layers, recording)
        if "layer" in words:
            view = view._replace(layer=_index("layer", words["layer"], len(recording.layers)))
        _, rows, columns = recording.layers[view.layer].grid
        if "patch" in words:
            row, _, column = words["patch"].partition(",")
            place = (_index("patch row", row, rows) + 0.5) / rows, (_index("patch column", column, columns) + 0.5) / columns
            view = view._replace(query=PATCH, place=place)
        view = view._replace(subject=subject)
        controls_of_view = {self.layer: gr.update(value=view.layer), self.query: gr.update(value=view.query)}
        return runs.joined(updates, controls_of_view) | self._drawn(view) | {self.place: view.place}

    def dropped(self, path: str) -> dict:
        """Look into a picture or clip that was dropped on the page, with the first classifier that takes such; an error is said here."""
        moving = not photographs.is_picture(path)
        for card in (self.hub.card(identity) for _, identity in model_choices(self.looker)):
            if card.task in SEEING and ("num_frames" in card.arch) == moving and self.hub.local(card):
                chosen = {self.example: gr.update(visible=True, choices=examples(card), value=None)}
                chosen |= {self.chosen: {"model": card.id, "example": None}}
                try:
                    return self._controls(card) | self._opened({"model": card.id, "path": path}) | chosen
                except ZooError as error:
                    return {self.coming: False} | self.say(str(error), "error")
        return {self.coming: False} | self.say("No model here looks at files of this kind: download one on the Models tab.", "error")

    @runs.stoppable()
    def take_or_prepare(
        self, path: str | None, model: str, label: Any, prompt: str, seed: str, steps: Any, own: str, chosen: dict
    ) -> Iterator[dict]:
        """Look into a result of another tab; or, before there is any, take over its controls, ready to run here."""
        if path:
            yield from self._take(path, own, chosen)
            return
        yield {self.model: gr.update(choices=model_choices(self.looker))}
        try:
            card = self.hub.card(model)
            if card not in self.looker.models():
                raise RequestError(f"{card.title} has no attention that can be recorded: choose another model.")
            words = {"model": model, "prompt": prompt, "seed": str(seed or ""), "steps": str(steps or "")}
            words |= {"label": str(label)} if card.label_names and label is not None else {}
            updates = self.addressed({name: word for name, word in words.items() if word})
        except ZooError as error:
            yield from self._refused(error, own, chosen)
            return
        yield updates

    @runs.stoppable()
    def take(self, path: str | None, own: str, chosen: dict) -> Iterator[dict]:
        """Look into a result of another tab."""
        yield from self._take(path, own, chosen)

    def _take(self, path: str | None, own: str, chosen: dict) -> Iterator[dict]:
        """Look into the run that made a picture or video of another tab, at its last step, with the settings of that very sample. What
        cannot be taken leaves what was here, or opens the first example."""
        yield {self.model: gr.update(choices=model_choices(self.looker))}
        try:
            request = self._sample(path)
        except ZooError as error:
            yield from self._refused(error, own, chosen)
            return
        card = self.hub.card(request.model)
        updates = self._controls(card) | self._empty(card, "starting")
        updates |= {self.seed: str(request.seeds[0]), self.steps: request.steps, self.origin: request.to_dict()}
        updates |= {self.label: self._label(card, request.labels[0])} if request.labels else {}
        updates |= {self.prompt: gr.update(visible=True, value=request.prompt)} if card.text else {}
        yield runs.joined(updates, self.busy()) | {self.settings: _other_settings(card, request)}
        yield from self._progress(request)
        if runs.stop_flag().is_set():
            yield self.idle() | self.say("Stopped: press Look inside to run it again.")
            return
        yield self.idle() | self._opened({"model": card.id, "request": request.to_dict()})

    def _refused(self, error: ZooError, own: str, chosen: dict) -> Iterator[dict]:
        """What came from another tab cannot be looked into: that is said, and what was here stays, or the first example is opened."""
        updates: dict = {}
        for updates in self._choose(own) if not chosen else ():
            yield updates
        yield updates | {self.coming: False} | self.say(str(error), "error")

    def _sample(self, path: str | None) -> Request:
        if not path:
            raise RequestError("There is no picture to look into yet: generate one on the other tab, or choose a model and a class here.")
        return self.looker.request_of(path)


def _index(what: str, text: str, count: int) -> int:
    """A number of an address that counts from 0. Raises RequestError."""
    return controls.whole(what, int(text) if text.isdecimal() and len(text) < 9 else text, 0, count - 1)


def _other_settings(card: Card, request: Request) -> str:
    """What a picture of another tab was made with beside what the controls hold."""
    words = [f"solver {request.solver}", f"guidance {request.guidance:g}"]
    words += [f"eta {request.eta:g}"] if request.eta else []
    words += [f"{request.frames} frames"] if card.video else []
    words += [f"autoencoder {request.vae}"] if request.vae and card.latent and request.vae != card.latent.vae else []
    return markup.note(f"Also as that picture was made: {', '.join(words)}.")


def look_tab(hub: Hub, looker: Looker, tab: gr.Tab) -> ReachableLookTab:
    """Put the Look inside tab here."""
    return ReachableLookTab(hub, looker, tab)
