"""Many visitors at once: each a thread that asks the Hub for small pictures, and the same asked one after another."""

from __future__ import annotations

import dataclasses
import gc
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from zoo.engine.bench import machine
from zoo.engine.hub import Hub
from zoo.engine.request import Request, Result
from zoo.errors import ZooError

EACH = 3
"""Pictures that every visitor asks for, one after the other."""


def visits(hub: Hub, request: Request, visitors: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Images a minute, waits and memory of `visitors` threads that ask at once, and of one visitor who asks for the same.

    Every picture has a seed of its own, and shows the next class where there are classes; previews come along, as on the page.
    """
    classes = int(hub.card(request.model).arch.get("num_classes", 0))

    def wish(visitor: int, turn: int) -> Request:
        number = visitor * EACH + turn
        return dataclasses.replace(request, seeds=(number,), labels=(number % classes,) if classes else ())

    wishes = [[wish(visitor, turn) for turn in range(EACH)] for visitor in range(visitors)]
    tell("one visitor alone")
    _ask(hub, wishes[0][0])  # what the first of this size costs once is nobody's wait
    alone = _crowd(hub, [[one for asked in wishes for one in asked]])
    gc.collect()
    before = machine.resident_bytes()
    tell(f"{visitors} visitors at once")
    together = _crowd(hub, wishes)
    gc.collect()
    after = machine.resident_bytes()
    same = sum(together["pixels"].get(seed) == digest for seed, digest in alone["pixels"].items())
    return {
        "visitors": visitors, "each": EACH, "steps": request.steps, "images": visitors * EACH, "same_pixels": same,
        "together": _figures(together), "alone": _figures(alone),
        "ratio": _figures(together)["images_a_minute"] / _figures(alone)["images_a_minute"],
        "memory_growth_bytes": None if before is None else after - before,
    }  # fmt: skip


def _crowd(hub: Hub, wishes: list[list[Request]]) -> dict[str, Any]:
    """Let every list be asked by a thread of its own, all starting together. Raises what was said where nobody got a picture."""
    waits: list[float] = []
    pixels: dict[int, str] = {}
    refusals: list[ZooError] = []
    failures: list[BaseException] = []
    start = threading.Barrier(len(wishes) + 1)

    def visitor(name: str, asked: list[Request]) -> None:
        start.wait()
        try:
            for one in asked:
                began = time.perf_counter()
                try:
                    digest = _ask(hub, one, name)
                except ZooError as error:  # a hub may have limits
                    refusals.append(error)
                    continue
                waits.append(time.perf_counter() - began)
                pixels[one.seeds[0]] = digest
        except BaseException as error:  # told to whoever started the thread
            failures.append(error)

    threads = [threading.Thread(target=visitor, args=(f"{number:032x}", asked), daemon=True) for number, asked in enumerate(wishes)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if failures or not waits:
        raise [*failures, *refusals][0]
    return {"seconds": seconds, "waits": waits, "pixels": pixels, "refusals": len(refusals)}


def _ask(hub: Hub, request: Request, visitor: str = "") -> str:
    """The digest of the pixels of one picture."""
    with closing(hub.generate(request, visitor=visitor)) as items:
        return next(item.receipts[0]["pixels"] for item in items if isinstance(item, Result))


def _figures(crowd: dict[str, Any]) -> dict[str, float]:
    return {
        "images_a_minute": 60 * len(crowd["waits"]) / crowd["seconds"], "median_wait_seconds": statistics.median(crowd["waits"]),
        "worst_wait_seconds": max(crowd["waits"]), "seconds": crowd["seconds"], "refusals": crowd["refusals"],
    }  # fmt: skip
