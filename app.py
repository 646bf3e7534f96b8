"""Open the hub in a browser: python app.py [--host HOST] [--port PORT] [--share] [--models ID,ID] [--offline] [--no-downloads]."""

import argparse
import os
import sys

from zoo.errors import ZooError


def main() -> int:
    """Settings from arguments and environment -> Hub -> page -> launch."""
    parser = argparse.ArgumentParser(description="Patchwork: a hub of diffusion transformers.")
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=os.environ.get("GRADIO_SERVER_PORT", "7860"))
    parser.add_argument("--share", action="store_true", help="a public link through Gradio's servers")
    parser.add_argument("--models", type=lambda ids: ids.split(","), metavar="ID,ID", help="offer only these")
    parser.add_argument("--offline", action="store_true", default=None, help="never open the network")
    parser.add_argument("--downloads", action=argparse.BooleanOptionalAction, help="let visitors download and remove models, or not")
    parser.add_argument("--max-seconds", type=float, help="refuse requests that need more of a core; default: none")
    chosen = parser.parse_args()

    from zoo import ui
    from zoo.engine.hub import Hub
    from zoo.engine.limits import Limits

    try:
        limits = Limits(seconds=chosen.max_seconds)
        page = ui.build(hub := Hub(models=chosen.models, offline=chosen.offline, downloads=chosen.downloads, limits=limits))
        page.launch(server_name=chosen.host, server_port=chosen.port, share=chosen.share, prevent_thread_lock=True, **ui.appearance(hub))
    except ZooError as error:
        print(f"app: {error}", file=sys.stderr)
        return 1
    except (OSError, OverflowError):
        words = "choose a free --port (1024 to 65535) or another --host."
        print(f"app: cannot listen on {chosen.host}:{chosen.port}; {words}", file=sys.stderr)
        return 1
    hub.prepare(ui.first_generator(hub).id)
    ui.until_interrupted(hub)
    return 0


if __name__ == "__main__":
    sys.exit(main())
