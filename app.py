"""Open the hub in a browser: python app.py [--host HOST] [--port PORT] [--models ID,ID] ...; --help names every setting."""

import os
import signal
import sys

from zoo.catalog import settings
from zoo.errors import ZooError


def main() -> int:
    """Settings from arguments and environment -> Hub -> page -> launch."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))  # until it serves: of a container's first process nobody else takes it
    where = "there"
    try:
        for_hub, serving = settings.chosen()
        where = f"on {serving.host}:{serving.port}"
        from zoo import ui
        from zoo.engine.hub import Hub

        page = ui.build(hub := Hub(**for_hub), login=serving.with_login)
        ui.launch(page, hub, serving)
    except (ZooError, OSError, OverflowError) as error:
        refused = f"cannot listen {where}; choose a free --port (1024 to 65535) or another --host."
        print(f"app: {error if isinstance(error, ZooError) else refused}", file=sys.stderr)
        return 1
    return ui.until_interrupted(hub)


if __name__ == "__main__":
    sys.exit(main())
