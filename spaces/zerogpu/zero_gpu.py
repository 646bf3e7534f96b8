"""Open the hub on ZeroGPU: as app.py, but what generates runs in processes to which a GPU is lent, one request each."""

import spaces  # isort: skip  # before anything that knows CUDA: it stands in for it until a GPU is lent

import os
import sys

from zoo import ui
from zoo.catalog import settings
from zoo.engine import plain_run
from zoo.engine.elsewhere import Elsewhere
from zoo.engine.hub import Hub
from zoo.errors import ZooError
from zoo.ui.server.lent_gpu import told


def main() -> int:
    """Settings -> Hub on the CPU -> its models onto the GPU to be -> page -> launch."""
    try:
        for_hub, serving = settings.chosen()
        hub = Hub(**for_hub, device="cpu")
        if os.environ.get("SPACES_ZERO_GPU"):
            elsewhere = Elsewhere(hub)

            @spaces.GPU(duration=elsewhere.duration, size=elsewhere.size)
            def generate(work: plain_run.Work):
                yield from plain_run.generate(work)

            elsewhere.use(told(generate))
        ui.launch(ui.build(hub), hub, serving)
    except (ZooError, OSError, OverflowError) as error:
        print(f"app: {error}", file=sys.stderr)
        return 1
    return ui.until_interrupted(hub)


if __name__ == "__main__":
    sys.exit(main())
