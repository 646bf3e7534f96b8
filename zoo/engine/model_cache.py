"""The models in memory: loaded once however many ask, within a budget of bytes, the least recently used leaving first."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from zoo.catalog import checkpoint, sources
from zoo.catalog.card import Card
from zoo.catalog.store import LocalFiles, Store
from zoo.engine.kernel_choice import PLAIN, KernelChoice
from zoo.engine.memory import gigabytes, trim
from zoo.engine.request import short
from zoo.errors import CheckpointError, OutOfMemoryError, RequestError
from zoo.networks import autoencoders
from zoo.networks.build import build_module, renaming

LARGE = {"text-encoder": 1_000_000_000}
"""Parameters from which bfloat16 is chosen, by task; 100 M for the others."""
MORE = "PATCHWORK_MEMORY sets how many GB the hub may take."

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Resident:
    """A loaded model, the files that it came from, and how it multiplies (KernelChoice.pack)."""

    module: nn.Module
    files: LocalFiles
    bytes: int
    kernels: str = PLAIN
    taken: str = ""
    """Which of several sets of weights in its file it has, in words."""


class ModelCache:
    """Loads models onto one device, in the dtype asked for, and on a CPU with the products that are the fastest there; weights and what
    runs share one budget of bytes.

    kernels: what knows these products, None for the plain ones; threads: a card -> how many of them its model will run on.
    """

    def __init__(
        self,
        store: Store,
        device: torch.device,
        dtype: str,
        budget: int,
        kernels: KernelChoice | None = None,
        threads: Callable[[Card], int] = lambda _: torch.get_num_threads(),
    ) -> None:
        self.store, self.device, self._dtype, self.budget, self._kernels, self._threads = store, device, dtype, budget, kernels, threads
        self._models: OrderedDict[str, Resident] = OrderedDict()
        self._dropped: dict[str, tuple[weakref.ref[nn.Module], Resident]] = {}
        self._held: Counter[str] = Counter()
        self._work = 0
        self._loading, self._lock = threading.RLock(), threading.RLock()  # who only asks does not wait for a load

    def load(self, card: Card) -> Resident:
        """The model of a card, free of gradients; the least recently used ones that nothing holds make room for it.

        Raises DownloadError or CheckpointError, and OutOfMemoryError where those that are held leave too little room.
        """
        if (resident := self._find(card.id)) is not None:
            return resident
        files = sources.local_files(card, self.store)  # reads all of what somebody else keeps, once
        with self._loading:
            if (resident := self._find(card.id)) is None:
                self._make_room(card, self.weights(card))
                resident = self._load(card, files)
                with self._lock:
                    self._models[card.id] = resident
            return resident

    def _find(self, identity: str) -> Resident | None:
        """A model that is still in memory, now the most recently used; one that was dropped, but that somebody still computes with, is
        taken back rather than loaded a second time."""
        with self._lock:
            reference, resident = self._dropped.pop(identity, (None, None))
            if reference is not None and (module := reference()) is not None:
                self._models[identity] = replace(resident, module=module)
            if identity in self._models:
                self._models.move_to_end(identity)
            return self._models.get(identity)

    def _load(self, card: Card, files: LocalFiles) -> Resident:
        with torch.device("meta"):
            module = nn.Module.to(build_module(card), self.dtype(card))  # diffusers' own `to` warns of nothing
        try:
            taken = checkpoint.load_into(module, files.weights, renaming(card), files.chosen)
            if autoencoders.STATISTICS in files.also:
                autoencoders.attach_statistics(module, files.also[autoencoders.STATISTICS])
        except CheckpointError as error:
            if files.folder:
                self.store.mounts.reject(files, str(error))
            raise
        if files.folder:  # which may go while its files are mapped, and the process with it
            module = nn.Module._apply(module, torch.clone)
        layout = torch.channels_last if card.family == "autoencoder-kl" else torch.preserve_format  # 1.4 times as fast on a CPU
        module = nn.Module.to(module, self.device, memory_format=layout).eval().requires_grad_(False)
        size = sum(p.numel() * p.element_size() for p in module.parameters())
        # A text encoder leaves after a prompt or two: packing it takes longer than it saves.
        stays = self._kernels is not None and self.device.type == "cpu" and card.task != "text-encoder"
        kernels = self._kernels.pack(card, module, self._threads(card)) if stays else PLAIN
        return Resident(module, files, size, kernels, taken.words)

    @contextmanager
    def hold(self, identities: Iterable[str], work: int = 0) -> Iterator[None]:
        """Keep these models once they are loaded, and so many bytes free for what is computed with them, while the block runs."""
        names = tuple(identities)
        with self._lock:
            self._held.update(names)
            self._work += work
            self._drop_until(0)
        try:
            yield
        finally:
            with self._lock:
                self._held.subtract(names)
                self._work -= work
                self._drop_until(0)

    def _make_room(self, card: Card, size: int) -> None:
        """Drop what nothing holds until a model of so many bytes fits. Raises OutOfMemoryError."""
        with self._lock:
            if self._drop_until(size) or not self.taken():
                return
            others = ", ".join(name for name in self.sizes() if self._held[name]) or "what runs now"
            raise OutOfMemoryError(
                f"{card.id} weighs {gigabytes(size)}, and {others} and the work on them hold {gigabytes(self.taken())} of the "
                f"{gigabytes(self.budget)} of {self.device.type} memory that this hub may take: try again when that has ended.",
                command=MORE,
            )

    def _drop_until(self, size: int) -> bool:
        """Whether so many bytes more fit, the least recently used models that nothing holds having left as far as needed."""
        for identity in list(self._models):
            if self.taken() + size <= self.budget:
                break
            if not self._held[identity]:
                self._drop(identity)
        return self.taken() + size <= self.budget

    def _drop(self, identity: str) -> None:
        if resident := self._models.pop(identity, None):
            self._dropped[identity] = weakref.ref(resident.module), replace(resident, module=None)

    def taken(self) -> int:
        """Bytes of the models in memory, dropped ones that somebody still computes with included, and of the work that is held."""
        with self._lock:
            self._dropped = {name: one for name, one in self._dropped.items() if one[0]() is not None}
            return sum(self.sizes().values()) + sum(one.bytes for _, one in self._dropped.values()) + self._work

    @property
    def work(self) -> int:
        """Bytes that are held for what is computed."""
        return self._work

    def free(self) -> int:
        """Bytes that could be had for more work now, all models that nothing holds being dropped."""
        with self._lock:
            return self.budget - self._work - sum(size for name, size in self.sizes().items() if self._held[name])

    def held(self, identity: str) -> bool:
        """Whether a model is in memory and stays there for something that runs."""
        with self._lock:
            return self._held[identity] > 0 and identity in self._models

    def release(self, identity: str) -> None:
        """Let go of a model that has done its part."""
        with self._lock:
            self._drop(identity)

    def sizes(self) -> dict[str, int]:
        """Ids of the models in memory, and their bytes."""
        with self._lock:
            return {identity: model.bytes for identity, model in self._models.items()}

    def weights(self, card: Card) -> int:
        """Bytes that the weights of a card take here: as loaded, else as many numbers as its card says."""
        return self.sizes().get(card.id) or card.cost.params * self.dtype(card).itemsize

    def peak(self) -> Callable[[], int | None]:
        """Call it before a piece of work, and what it gives after: the bytes that the work took at most beyond what was taken before.

        On CUDA from its allocator, on Linux from the kernel's count of this process, once what is free has gone back to it; None elsewhere.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            return lambda: torch.cuda.max_memory_allocated(self.device) - before
        trim()
        try:
            CLEAR.write_text("5", encoding="utf-8")  # from here on VmHWM is counted anew
            before = _kilobytes("VmRSS")
        except OSError:  # no Linux
            return lambda: None
        return lambda: max(0, _kilobytes("VmHWM") - before) * 1024

    def remove(self, identity: str) -> int:
        """Let go of a model and delete its files, unless others need them; the bytes freed on disk.

        Raises RequestError where none can be removed.
        """
        if not self.store.pin(identity).get("files"):
            raise RequestError(f"{identity} has no downloaded files that could be removed.", command="python -m zoo cache")
        with self._loading:
            self.release(identity)
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
