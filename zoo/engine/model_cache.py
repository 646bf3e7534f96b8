"""The models in memory: loaded once however many ask, within a budget of bytes, the least recently used leaving first."""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from zoo.catalog import checkpoint, sources
from zoo.catalog.card import Card
from zoo.catalog.store import LocalFiles, Store
from zoo.engine.kernel_choice import PLAIN, KernelChoice
from zoo.engine.request import short
from zoo.errors import RequestError
from zoo.networks.build import build_module, renaming

BUDGET = 8 << 30
"""Bytes of weights that stay resident."""
AT_ONCE = 3
"""Models that one request may need, which stay whatever they weigh."""
LARGE = {"text-encoder": 1_000_000_000}
"""Parameters from which bfloat16 is chosen, by task; 100 M for the others."""


CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Resident:
    """A loaded model, the files that it came from, and how it multiplies (KernelChoice.pack)."""

    module: nn.Module
    files: LocalFiles
    bytes: int
    kernels: str = PLAIN


class ModelCache:
    """Loads models onto one device, in the dtype asked for, and on a CPU with the products that are the fastest there.

    kernels: what knows these, None for the plain ones; threads: a card -> how many of them its model will run on.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        dtype: str,
        kernels: KernelChoice | None = None,
        threads: Callable[[Card], int] = lambda _: torch.get_num_threads(),
    ) -> None:
        self.store, self.device, self._dtype, self._kernels, self._threads = store, device, dtype, kernels, threads
        self._models: OrderedDict[str, Resident] = OrderedDict()
        self._loading = threading.RLock()

    def load(self, card: Card) -> Resident:
        """The model of a card, free of gradients. Raises DownloadError or CheckpointError."""
        with self._loading:
            if card.id not in self._models:
                files = sources.local_files(card, self.store)
                with torch.device("meta"):
                    module = nn.Module.to(build_module(card), self.dtype(card))  # diffusers' own `to` warns of nothing
                checkpoint.load_into(module, files.weights, renaming(card))
                layout = torch.channels_last if card.family == "autoencoder-kl" else torch.preserve_format  # 1.4 times as fast on a CPU
                module = nn.Module.to(module, self.device, memory_format=layout).eval().requires_grad_(False)
                size = sum(p.numel() * p.element_size() for p in module.parameters())
                # A text encoder leaves after a prompt or two: packing it takes longer than it saves.
                stays = self._kernels is not None and self.device.type == "cpu" and card.task != "text-encoder"
                kernels = self._kernels.pack(card, module, self._threads(card)) if stays else PLAIN
                self._models[card.id] = Resident(module, files, size, kernels)
            self._models.move_to_end(card.id)
            while len(self._models) > AT_ONCE and sum(r.bytes for r in self._models.values()) > BUDGET:
                self._models.popitem(last=False)
            return self._models[card.id]

    def release(self, identity: str) -> None:
        """Let go of a model that has done its part."""
        with self._loading:
            self._models.pop(identity, None)

    def sizes(self) -> dict[str, int]:
        """Ids of the models in memory, and their bytes."""
        with self._loading:
            return {identity: model.bytes for identity, model in self._models.items()}

    def peak(self) -> Callable[[], int | None]:
        """Call it before a piece of work, and what it gives after: the bytes that the work took at most beyond what was taken before.

        On CUDA from its allocator, on Linux from the kernel's count of this process, once what is free has gone back to it; None elsewhere.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            return lambda: torch.cuda.max_memory_allocated(self.device) - before
        try:
            ctypes.CDLL(None).malloc_trim(0)
            CLEAR.write_text("5", encoding="utf-8")  # from here on VmHWM is counted anew
            before = _kilobytes("VmRSS")
        except (OSError, AttributeError, TypeError):  # no Linux, or no glibc
            return lambda: None
        return lambda: max(0, _kilobytes("VmHWM") - before) * 1024

    def remove(self, identity: str) -> int:
        """Let go of a model and delete its files, unless others need them; the bytes freed on disk.

        Raises RequestError where none can be removed.
        """
        if not self.store.pin(identity).get("files"):
            raise RequestError(f"{identity} has no downloaded files that could be removed.", command="python -m zoo cache")
        with self._loading:
            self._models.pop(identity, None)
            return self.store.remove(identity)

    def dtype(self, card: Card) -> torch.dtype:
        """What a model computes in here."""
        large = card.cost.params > LARGE.get(card.task, 100_000_000)
        return getattr(torch, ("bfloat16" if large else "float32") if self._dtype == "auto" else self._dtype)


def _kilobytes(word: str) -> int:
    line = next(line for line in STATUS.read_text(encoding="utf-8").splitlines() if line.startswith(word))
    return int(line.split()[1])


def choose_device(name: str) -> torch.device:
    """auto | cpu | cuda | cuda:N | mps as a device. Raises RequestError that names those of this machine."""
    here = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available() + ["cpu"]
    if name != "auto" and name.split(":")[0] not in here:
        raise RequestError(f"This machine has no device {short(name)} that PyTorch can use: choose {', '.join(here)} or auto.")
    return torch.device(here[0] if name == "auto" else name)
