"""The machine that a bench runs on: what it is, how busy it is, and whether its figures can be believed."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "sve", "bf16", "i8mm")
"""What a processor may know that decides how fast a network runs on it."""
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "safetensors")
CPU, MEMORY, STATUS = Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/proc/self/status")
VARIATION = 0.25
"""Between the rounds of one contestant, from which medians are doubted."""
WAITED = 0.15
"""Share of the clock in which a single thread did not compute, from which others must have had its core."""


def describe(device: torch.device, threads: int) -> dict[str, Any]:
    """Hardware, threads and versions as JSON values."""
    return {
        "processor": _line(CPU, "model name") or platform.processor() or platform.machine(), "cores": cores(),
        "flags": [flag for flag in FLAGS if flag in (_line(CPU, "flags") or _line(CPU, "Features") or "").split()],
        "memory_bytes": _kilobytes(MEMORY, "MemTotal"), "system": platform.platform(), "device": str(device),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None, "threads": threads,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
    }  # fmt: skip


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load() -> float | None:
    """Load average of the last minute, None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def free_bytes() -> int | None:
    """Memory that a new program could take, None where the system does not tell."""
    return _kilobytes(MEMORY, "MemAvailable")


def resident_bytes() -> int | None:
    """Memory of this process, None where the system does not tell."""
    return _kilobytes(STATUS, "VmRSS")


def doubt(before: float | None, rows: Sequence[dict[str, Any]], threads: int, on_cpu: bool) -> str:
    """One sentence where the machine was too busy to be believed, else nothing: others ran before the start, or the rows show it."""
    reasons = []
    if before is not None and before > cores() / 2:
        reasons.append(f"the load average before the start was {before:.1f} on {cores()} cores")
    if wild := [row for row in rows if row["variation"] > VARIATION]:
        worst = max(wild, key=lambda row: row["variation"])
        reasons.append(f"the rounds of {worst['name']!r} varied by {100 * worst['variation']:.0f} %")
    if on_cpu and threads == 1:
        waits = [1 - row["cpu_seconds"] / row["wall_seconds"] for row in rows if row["wall_seconds"]]
        if waits and sorted(waits)[len(waits) // 2] > WAITED:
            reasons.append(f"its core did something else for {100 * sorted(waits)[len(waits) // 2]:.0f} % of the time")
    if not reasons:
        return ""
    words = " and ".join(filter(None, [", ".join(reasons[:-1]), reasons[-1]]))
    return f"This machine was too busy for these figures to be believed: {words}; run it again when nothing else does."


def _line(path: Path, word: str) -> str:
    """What a file of /proc says after a word and a colon, empty where there is no such file or word."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == word), "")


def _kilobytes(path: Path, word: str) -> int | None:
    text = _line(path, word).removesuffix("kB").strip()
    return int(text) * 1024 if text.isdecimal() else None
