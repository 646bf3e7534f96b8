"""Open the hub on ZeroGPU: app.py, but what generates runs in processes to which a GPU is lent, one request each."""

from __future__ import annotations

import spaces  # isort: skip  # before anything that knows CUDA: it stands in for it until a GPU is lent

import os
import sys
from typing import TYPE_CHECKING

import app

if TYPE_CHECKING:
    from zoo.engine import plain_run
    from zoo.engine.hub import Hub


def lend(hub: Hub) -> None:
    """Put the models of a hub onto the GPU to be, where there will be one, and let its generations run there."""
    if not os.environ.get("SPACES_ZERO_GPU"):
        return
    from zoo.engine import plain_run
    from zoo.engine.elsewhere import Elsewhere
    from zoo.ui.server.lent_gpu import told

    elsewhere = Elsewhere(hub)

    @spaces.GPU(duration=elsewhere.duration, size=elsewhere.size)
    def generate(work: plain_run.Work):
        yield from plain_run.generate(work)

    elsewhere.use(told(generate))


if __name__ == "__main__":
    sys.exit(app.main(lend, device="cpu"))
