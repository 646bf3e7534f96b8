"""Open the hub in a browser: python app.py [--host HOST] [--port PORT] [--models ID,ID] ...; --help names every setting."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from zoo.catalog import settings
from zoo.errors import ZooError


def main(prepare: Callable[[Any], None] = lambda _: None, **more: Any) -> int:
    """Settings from arguments and environment -> Hub -> page -> launch; prepare: what is done with the hub before; more: of Hub."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until it serves: of a container's first process nobody else takes it
    where = "there"
    try:
        for_hub, serving = settings.chosen()
        where = f"on {serving.host}:{serving.port}"
        from zoo import ui
        from zoo.engine.hub import Hub

        prepare(hub := Hub(**for_hub, **more))
        ui.launch(ui.build(hub, login=serving.with_login), hub, serving)
    except (ZooError, OSError, OverflowError) as error:
        refused = f"cannot listen {where}; choose a free --port (1024 to 65535) or another --host."
        print(f"app: {error if isinstance(error, ZooError) else refused}", file=sys.stderr)
        return 1
    return ui.until_interrupted(hub)


if __name__ == "__main__":
    sys.exit(main())
