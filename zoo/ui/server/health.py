"""Whether the hub can serve, in a word and a reason for the public: asked often, by machines that start it again or send nobody to it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from zoo.catalog.files import try_writing
from zoo.engine.memory import is_device_error
from zoo.engine.watcher import Watcher
from zoo.errors import ZooError
from zoo.ui.parts.controls import first_generator

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.engine.job import Job

EVERY, SOON = 5.0, 0.2
"""Seconds for which what was seen is believed, and while the first model is prepared."""
PATIENCE, HUNG = 1.0, 10.0
"""Seconds that somebody who asks waits for news of the disk, and after which one that says nothing is taken to fail."""
PROBE = 1 << 16
"""Bytes that are written to see whether the disk takes any."""


class State(NamedTuple):
    """A word, ready | loading | failing, and why; nothing of this machine, for everybody may read it."""

    word: str
    reason: str = ""


class Health(Watcher):
    """The state of one hub. What needs the disk is done by a thread of its own, one at a time, and only while somebody asks."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._look_began = self._looked_at = -math.inf
        self._disk = ""
        self._looking = threading.Lock()
        self._preparing = True
        self._device_fails = False

    @classmethod
    def of(cls, hub: Hub) -> Health:
        """That of a hub."""
        found = next((one for one in hub.engine.watchers if isinstance(one, cls)), None)
        if found is None:
            hub.engine.watchers.append(found := cls(hub))
        return found

    async def state(self) -> State:
        """The state now, within about a second whatever the disk does."""
        asked = time.monotonic()
        if asked - self._looked_at > (SOON if self._preparing else EVERY):
            self._look_soon()
            while self._looked_at < asked and time.monotonic() - asked < PATIENCE:
                await asyncio.sleep(0.02)
        return self._state()

    def _state(self) -> State:
        engine = self.hub.engine
        if engine.closed:
            return State("failing", "it is closing")
        if engine.broken:
            return State("failing", "what computes has stopped")
        if self._device_fails:
            return State("failing", "the device reports errors")
        if self._disk or (self._look_began > self._looked_at and time.monotonic() - self._look_began > HUNG):
            return State("failing", self._disk or "the disk of the results does not answer")
        if self._preparing:
            return State("loading", "the first model is being prepared")
        return State("ready")

    def _look_soon(self) -> None:
        """Look in a thread, unless one does."""
        if self._looking.acquire(blocking=False):
            self._look_began = time.monotonic()
            threading.Thread(target=self._look, name="health", daemon=True).start()

    def _look(self) -> None:
        """See whether results can be written, and whether the first model is prepared, which begins now if it has not."""
        try:
            try_writing(self.hub.results.folder, PROBE)
            self._disk = ""
        except OSError:
            self._disk = "results cannot be written"
        try:
            if not self._disk:
                self._preparing = self.hub.prepare(first_generator(self.hub).id)
        except ZooError:  # said to whoever runs the model
            self._preparing = False
        finally:
            self._looked_at = time.monotonic()
            self._looking.release()

    def ended(self, job: Job, error: BaseException | None) -> None:
        """A job has ended: an error of the device stays, as a rule, until the program starts anew."""
        if job.request and (error or job.compute_seconds):
            self._device_fails = error is not None and (is_device_error(error) or self._device_fails)
