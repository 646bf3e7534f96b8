"""Which product each linear layer of a model uses on this machine: measured when first loaded, kept between starts."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from zoo.catalog.card import Card
from zoo.catalog.files import atomic_write
from zoo.networks import packed_linear
from zoo.networks.build import example_pass
from zoo.networks.packed_linear import Shape

PLAIN, PACKED = "plain", "packed"
CPU_INFO = Path("/proc/cpuinfo")


class KernelChoice:
    """The winners by layer shape and threads, in a file for all machines that share its folder.

    What was once chosen stays, whatever a later measurement might say: two products round differently, and the same request makes the
    same pixels after a restart.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.machine = path, _machine()

    def pack(self, card: Card, module: nn.Module, threads: int) -> str:
        """Pack those linear layers of a model on the CPU that gain from it, as it runs on `threads`; what was chosen, in a word: plain,
        or packed and a digest."""
        times = 2 if card.generates and card.guidable else 1  # guidance asks twice
        dtype = next(module.parameters()).dtype
        shapes = packed_linear.shapes_of(
            module, lambda inner: example_pass(card, inner, lambda *shape: torch.empty(shape, dtype=dtype, device="meta")), times
        )
        # The number of threads is a thread's own, and its helpers stay as long as it does: so this one does not.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._pack, module, shapes, threads).result()

    def _pack(self, module: nn.Module, shapes: Mapping[str, Shape], threads: int) -> str:
        torch.set_num_threads(threads)
        keys = {name: f"{shape} threads {threads}" for name, shape in shapes.items()}
        winners = self._winners(module, {key: name for name, key in keys.items()}, shapes)
        chosen = {
            name: shape for name, shape in shapes.items() if winners[keys[name]] == PACKED and packed_linear.works(shape.dtype, shape.gelu)
        }
        packed_linear.pack(module, chosen)
        return f"{PACKED} {hashlib.sha256(' '.join(sorted(chosen)).encode()).hexdigest()[:8]}" if chosen else PLAIN

    def _winners(self, module: nn.Module, layers: Mapping[str, str], shapes: Mapping[str, Shape]) -> dict[str, str]:
        """plain or packed by key, measured on one layer each, given by name, where no file says it."""
        stored = self._read().get(self.machine, {})
        if absent := layers.keys() - stored:
            measured = {}
            for key in sorted(absent):
                name = layers[key]
                measured[key] = PACKED if packed_linear.faster(module.get_submodule(name), shapes[name]) else PLAIN
            every = self._read()
            stored = every[self.machine] = measured | every.get(self.machine, {})  # another process may have been faster: its word stands
            with suppress(OSError), atomic_write(self.path) as part:
                part.write_text(json.dumps(every, indent=1, sort_keys=True), encoding="utf-8")
        return stored

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            return {str(machine): dict(choices) for machine, choices in values.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # nothing measured yet, or the file is damaged: it is measured again


def _machine() -> str:
    """This machine, its processor and PyTorch: what decides which product wins."""
    words = ("vendor_id", "cpu family", "model\t")
    processor = platform.processor() or platform.machine()
    with suppress(OSError):  # Linux
        lines = CPU_INFO.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        processor = " ".join(line.partition(":")[2].strip() for line in lines if line.startswith(words)) or processor
    return f"{platform.node()} {processor} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__}"
