"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from zoo.ui.server.bodies import Bodies, Uploads
from zoo.ui.server.health import Health
from zoo.ui.server.metrics import Metrics
from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.probes import Probes
from zoo.ui.server.streams import StreamEnds

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.settings import Serving


def doors(hub: Hub, serving: Serving) -> list[Middleware]:
    """What every request passes before gradio sees it, the outermost first."""
    probes = Middleware(Probes, health=Health.of(hub), metrics=Metrics.of(hub), readable=serving.metrics)
    return [Middleware(StreamEnds), Middleware(Bodies, uploads=Uploads.here()), probes, Middleware(PageCache)]
