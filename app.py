"""Open the hub in a browser: python app.py [--host HOST] [--port PORT] [--share] [--models ID,ID] [--offline] [--no-downloads] ..."""

import argparse
import sys

from zoo.catalog import environment
from zoo.errors import ZooError


def main() -> int:
    """Settings from arguments and environment -> Hub -> page -> launch."""
    parser = argparse.ArgumentParser(description="Patchwork: a hub of diffusion transformers.")
    parser.add_argument("--host", default=environment.text("GRADIO_SERVER_NAME") or "127.0.0.1")
    parser.add_argument("--port", type=int, help="default: GRADIO_SERVER_PORT, else 7860")
    parser.add_argument("--share", action="store_true", help="a public link through Gradio's servers")
    parser.add_argument("--models", type=lambda ids: ids.split(","), metavar="ID,ID", help="offer only these")
    parser.add_argument("--offline", action="store_true", default=None, help="never open the network")
    parser.add_argument("--downloads", action=argparse.BooleanOptionalAction, help="let visitors download and remove models, or not")
    parser.add_argument("--memory", type=float, metavar="GB", help="what weights and what runs may take together")
    parser.add_argument("--results-gb", type=float, metavar="GB", help="what results may take on disk; the oldest leave first")
    parser.add_argument("--results-days", type=float, metavar="DAYS", help="how old results may become")
    parser.add_argument("--max-seconds", type=float, metavar="S", help="refuse a request that needs more of a core; default: none")
    chosen = vars(parser.parse_args())
    host, port, share = (chosen.pop(word) for word in ("host", "port", "share"))
    try:
        port = environment.port() if port is None else port
        from zoo import ui
        from zoo.engine.hub import Hub

        page = ui.build(hub := Hub(**chosen))
        ui.launch(page, hub, server_name=host, server_port=port, share=share)
    except (ZooError, OSError, OverflowError) as error:
        refused = f"cannot listen on {host}:{port}; choose a free --port (1024 to 65535) or another --host."
        print(f"app: {error if isinstance(error, ZooError) else refused}", file=sys.stderr)
        return 1
    return ui.until_interrupted(hub)


if __name__ == "__main__":
    sys.exit(main())
