"""How the page is served: doors, sessions, and what else answers beside the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.middleware import Middleware

from zoo.ui.server.page_cache import PageCache
from zoo.ui.server.prefix import Prefix
from zoo.ui.server.streams import StreamEnds

if TYPE_CHECKING:
    from zoo.engine.hub import Hub
    from zoo.settings import Serving


def doors(hub: Hub, serving: Serving) -> list[Middleware]:  # noqa: ARG001
    """What every request passes before gradio sees it, the outermost first."""
    path = re.sub(r"^https?://[^/]*", "", serving.root_path)
    return [*([Middleware(Prefix, path)] if path else []), Middleware(StreamEnds), Middleware(PageCache)]
