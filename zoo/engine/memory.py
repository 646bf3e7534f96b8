"""Memory of a device: how much of it this program may take, and which errors say that there is too little."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
from pathlib import Path

import torch

from zoo.engine.request import short
from zoo.errors import RequestError

SHARE = {"cpu": 0.7, "cuda": 0.9, "mps": 0.7}
"""Of what is free at the start: other programs, the file cache and the page itself need the rest."""
LEAST = 1 << 30
"""Bytes of a budget, however little is free: with less no model but the smallest would run."""
GROUPS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""Where Linux says what a container may take and has taken, and for what, under /sys/fs/cgroup: version 2, and 1."""
WORDS = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory", "failed to allocate")
"""What PyTorch says when an allocator is at its end: of the CPU (DefaultCPUAllocator), of MPS, of oneDNN and of CUDA's libraries."""


def trim() -> None:
    """Give what is free of this process's memory back to the machine, which glibc keeps otherwise; nothing where there is no glibc."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device has too little memory: CUDA has a class for it, CPU and MPS raise RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in WORDS)


def is_device_error(error: BaseException) -> bool:
    """Whether an error says that a device fails, and will go on to until the program starts anew."""
    return isinstance(error, torch.AcceleratorError) and not is_out_of_memory(error)


def budget_of(device: torch.device, gigabytes: float | str | None = None) -> int:
    """Bytes that weights and what runs may take together on a device.

    gigabytes: the operator's choice, in 10^9 bytes (default: PATCHWORK_MEMORY, else a share of what is free now). Raises RequestError
    for anything that is no such number.
    """
    chosen = os.environ.get("PATCHWORK_MEMORY") or None if gigabytes is None else gigabytes
    if chosen is None:
        return max(LEAST, int(SHARE[device.type] * free_bytes(device)))
    try:
        size = float(chosen)
    except (TypeError, ValueError):
        size = math.nan
    if not 0 < size < 1e6:
        raise RequestError(f"A budget of memory (PATCHWORK_MEMORY) is a number of GB above 0, such as 8, not {short(chosen)}.")
    return int(size * 1e9)


def free_bytes(device: torch.device, groups: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes of a device that are free now, within what a container may take; 8 GiB where nobody says."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    try:
        line = next(line for line in meminfo.read_text(encoding="utf-8").splitlines() if line.startswith("MemAvailable"))
        machine = int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        machine = _physical()
    return min(machine, _group(groups))


def _physical() -> int:
    """Half of the memory that the machine has, where it does not say what is free."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (OSError, ValueError, AttributeError):
        return 8 << 30


def _group(folder: Path) -> float:
    """What a container may still take, files that the kernel merely remembers counted as free; infinite where there is no limit."""
    for limit, usage, statistics in GROUPS:
        try:
            left = int((folder / limit).read_text()) - int((folder / usage).read_text())
            words = dict(line.split() for line in (folder / statistics).read_text().splitlines())
            return max(0, left + int(words.get("total_inactive_file") or words.get("inactive_file", 0)))
        except (OSError, ValueError):  # no such file, or `max`
            continue
    return math.inf


def gigabytes(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"
