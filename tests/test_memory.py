"""Memory has one budget: models share it with what runs, what cannot fit is refused with numbers, and caches weigh what they hold."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from zoo.catalog.store import Store
from zoo.engine.byte_cache import ByteCache, weight
from zoo.engine.hub import Hub
from zoo.engine.memory import budget_of, free_bytes, is_out_of_memory
from zoo.engine.model_cache import ModelCache
from zoo.engine.request import Request
from zoo.errors import OutOfMemoryError, RequestError
from zoo.inside.inspector import Looker

CPU = torch.device("cpu")
ROOT = Path(__file__).parent.parent
WIDE = {
    "title": "Wide", "family": "dit", "task": "unconditional-image-generation", "cost": {"params": 6_000_000},
    "arch": dict.fromkeys(("patch_size", "depth"), 2) | {
        "input_size": 64, "in_channels": 3, "hidden_size": 384, "num_heads": 6, "num_classes": 0, "learn_sigma": False,
    },
    "schedule": {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}, "sampling": {"solver": "ddim", "steps": 2},
    "weights": [{"from": "url", "url": "https://nowhere.invalid/wide.pt", "file": "wide.pt"}],
}  # fmt: skip


def models(hub: Hub, budget: int) -> ModelCache:
    """A cache of the bundled models with a budget of its own."""
    return ModelCache(Store(hub.cache_dir / "models"), CPU, "float32", budget)


def resolved(hub: Hub, model: str, count: int = 1, **words: object) -> Request:
    card = hub.card(model)
    labels = (0,) if card.arch.get("num_classes") else ()
    return Request(model, labels, tuple(range(count)), **words).resolved(card)


# ---- which errors say so


def test_the_allocator_of_the_cpu_says_so_in_its_own_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_a_process_at_its_limit_says_so() -> None:
    script = (
        "import resource, torch; from zoo.engine.memory import is_out_of_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
        "try: held = [torch.ones(1 << 28) for _ in range(16)]\n"
        "except Exception as error: print(type(error).__name__, is_out_of_memory(error))"
    )
    said = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "RuntimeError True\n", said.stdout + said.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(), torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB, max allowed: 18.1 GB). Tried to allocate 4.0 GB on private pool."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    ],
)  # fmt: skip
def test_every_device_is_understood(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"), ValueError("out of memory"), KeyError("x")]
)
def test_other_faults_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_a_run_that_meets_it_ends_in_words_and_the_next_one_runs(hub: Hub, says: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    module = hub.load(hub.card("tiny-dit")).module

    def too_much(*_: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    handle = module.register_forward_pre_hook(too_much)
    try:
        with says(OutOfMemoryError, "tiny-dit", "cpu", "fewer"):
            list(hub.generate(Request("tiny-dit", 0, steps=2)))
    finally:
        handle.remove()
    *_, result = hub.generate(Request("tiny-dit", 0, steps=2))
    assert result.files


# ---- the budget


def test_the_budget_is_the_operators_or_a_share_of_what_is_free(monkeypatch: pytest.MonkeyPatch, says: Callable) -> None:
    monkeypatch.delenv("PATCHWORK_MEMORY", raising=False)
    assert 1 << 30 <= budget_of(CPU) <= max(1 << 30, 0.75 * free_bytes(CPU))
    monkeypatch.setenv("PATCHWORK_MEMORY", "2.5")
    assert budget_of(CPU) == 2_500_000_000
    assert budget_of(CPU, 4) == 4_000_000_000
    for wrong in ("much", "0", "-3", "nan"):
        monkeypatch.setenv("PATCHWORK_MEMORY", wrong)
        with says(RequestError, wrong, "GB"):
            budget_of(CPU)


@pytest.mark.parametrize("version", [1, 2])
def test_the_limit_of_a_container_counts_without_the_files_that_the_kernel_remembers(tmp_path: Path, version: int) -> None:
    names = ("memory.max", "memory.current", "memory.stat", "inactive_file")
    if version == 1:
        names = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file")
        (tmp_path / "memory").mkdir()
    for name, content in zip(names, ("3000000", "2000000", f"anon 7\n{names[3]} 500000\n"), strict=False):
        (tmp_path / name).write_text(content)
    assert free_bytes(CPU, tmp_path) == 1_500_000
    (tmp_path / names[0]).write_text("max")
    assert free_bytes(CPU, tmp_path) > 100_000_000


def test_the_least_recently_used_models_leave_first_however_many_there_are(hub: Hub) -> None:
    cache = models(hub, 40_000_000)
    names = ["tiny-dit", "tiny-vae", "tiny-uvit", "tiny-unet", "tiny-vit", "tiny-latte"]
    for name in names:
        cache.load(hub.card(name))
        assert sum(cache.sizes().values()) <= cache.budget
    assert list(cache.sizes()) == names[-len(cache.sizes()) :]
    small = models(hub, 1)  # today's three do not stay whatever they weigh
    for name in names[:3]:
        small.load(hub.card(name))
    assert list(small.sizes()) == names[2:3]


def test_a_model_that_is_held_stays_and_one_that_finds_no_room_beside_it_says_so(hub: Hub, says: Callable) -> None:
    cache = models(hub, 24_000_000)
    dit, uvit = hub.card("tiny-dit"), hub.card("tiny-uvit")
    with cache.hold(["tiny-dit"]):
        module = cache.load(dit).module
        cache.load(hub.card("tiny-vae"))
        with says(OutOfMemoryError, "tiny-uvit", "tiny-dit", "MB"):
            cache.load(uvit)
        assert cache.load(dit).module is module
    del module
    cache.load(uvit)
    assert "tiny-dit" not in cache.sizes()


def test_what_runs_takes_its_room_from_the_models_that_nothing_holds(hub: Hub) -> None:
    cache = models(hub, 60_000_000)
    for name in ("tiny-dit", "tiny-uvit"):
        cache.load(hub.card(name))
    with cache.hold(["tiny-uvit"], work=40_000_000):
        assert list(cache.sizes()) == ["tiny-uvit"]
        assert cache.taken() <= cache.budget
    assert cache.taken() == cache.sizes()["tiny-uvit"]


def test_a_model_that_somebody_still_computes_with_is_counted_and_not_loaded_twice(hub: Hub) -> None:
    cache, card = models(hub, 1 << 30), hub.card("tiny-dit")
    module = cache.load(card).module
    cache.release(card.id)
    assert cache.taken() > 0
    assert cache.load(card).module is module
    cache.release(card.id)
    del module
    gc.collect()
    assert cache.taken() == 0


def test_who_only_asks_does_not_wait_for_a_model_that_is_being_loaded(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, begun, go_on = models(hub, 1 << 30), threading.Event(), threading.Event()
    real = nn.Module.to

    def slow(*values: object, **words: object) -> nn.Module:
        begun.set()
        assert go_on.wait(60)
        return real(*values, **words)

    monkeypatch.setattr(nn.Module, "to", slow)
    loading = threading.Thread(target=cache.load, args=(hub.card("tiny-vit"),))
    loading.start()
    assert begun.wait(60)
    asking = threading.Thread(target=lambda: (cache.sizes(), cache.free(), cache.taken()))
    asking.start()
    asking.join(30)
    waits = asking.is_alive()
    go_on.set()
    loading.join(60)
    asking.join(60)
    assert not waits


# ---- what a request needs


def test_a_request_that_cannot_fit_is_refused_before_anything_runs_with_numbers_and_what_would(
    hub_with: Callable[..., Hub], says: Callable
) -> None:
    hub = hub_with({})
    hub.models.budget = hub.memory.need(hub.card("tiny-dit"), resolved(hub, "tiny-dit", 64)).total - 5_000_000
    with says(OutOfMemoryError, "64 pictures of tiny-dit", "0.2 GB", "MB", "ask for at most") as caught:
        next(hub.generate(resolved(hub, "tiny-dit", 64)))
    most = int(str(caught.value).split("at most ")[1].split()[0])
    hub.memory.check(hub.card("tiny-dit"), resolved(hub, "tiny-dit", most))
    with pytest.raises(OutOfMemoryError):
        hub.memory.check(hub.card("tiny-dit"), resolved(hub, "tiny-dit", most + 1))
    assert hub.models.sizes() == {}
    film = resolved(hub, "tiny-latte", frames=64)
    hub.models.budget = hub.memory.need(hub.card("tiny-latte"), film).total - 1_000_000
    with says(OutOfMemoryError, "1 video of 64 frames", "at most", "frames"):
        hub.memory.check(hub.card("tiny-latte"), film)


def test_where_not_one_fits_less_precision_or_another_model_is_named(hub_with: Callable[..., Hub], says: Callable) -> None:
    hub = hub_with({"wide": WIDE | {"cost": {"params": 90_000_000}}}, memory=0.5)
    with says(OutOfMemoryError, "1 picture of wide", "bfloat16", "--dtype"):
        hub.memory.check(hub.card("wide"), resolved(hub, "wide"))
    dit = resolved(hub, "dit-xl-2-256")
    with says(OutOfMemoryError, "dit-xl-2-256", "2.", "0.5 GB", "smaller model, such as"):
        hub.memory.check(hub.card("dit-xl-2-256"), dit)


def test_a_request_fits_beside_what_runs_as_far_as_the_budget_goes(hub_with: Callable[..., Hub]) -> None:
    hub = hub_with({}, memory=0.3)
    card, request = hub.card("tiny-dit"), resolved(hub, "tiny-dit", 16)
    assert hub.memory.fits(card, request)
    with hub.memory.hold(card, request):
        assert hub.memory.fits(card, request)
        with hub.models.hold([], 200_000_000):
            assert not hub.memory.fits(card, request)
    assert hub.models.taken() == 0


def test_the_reckoning_is_above_the_peak_that_is_measured_and_not_far(
    hub_with: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_with({"wide": WIDE})
    if hub.models.peak()() is None:
        pytest.xfail("this system does not tell the peak of a process")
    card, request = hub.card("wide"), resolved(hub, "wide", 16)
    from zoo.networks.build import build_module

    module = build_module(card).eval().requires_grad_(False)
    x, need = torch.randn(16, 3, 64, 64), hub.memory.need(card, request)
    with torch.no_grad():
        module(x[:1], torch.zeros(1))  # the first brings in code
        peak = hub.models.peak()
        module(x[:1], torch.zeros(1))
        measured = peak()
    assert measured < need.work < 6 * measured + 48_000_000  # what is made of 16 pictures is in it too
    assert need.weights == {"wide": 24_000_000}


# ---- caches


@dataclass
class Pair:
    left: object
    right: object


def test_a_value_weighs_what_it_keeps_in_memory_and_each_thing_once() -> None:
    matrix, picture = torch.zeros(1000, 1000), np.zeros((100, 100, 3), np.uint8)
    assert 4_000_000 <= weight(matrix[0]) < 4_001_000
    assert weight(matrix[0].clone()) < 5_000
    assert 4_030_000 <= weight(Pair(matrix, [matrix[3], {"of": picture[:2]}, picture])) < 4_035_000


def test_a_cache_drops_the_least_recently_used_by_weight() -> None:
    cache = ByteCache(9_000_000)
    for name in "abc":
        cache.keep((name,), torch.zeros(1_000_000))
        cache.find(("a",))
    assert [name for name in "abc" if cache.find((name,)) is not None] == ["a", "c"]
    assert 8_000_000 <= cache.bytes <= cache.budget


def test_relevance_and_tokens_weigh_their_own_numbers_not_those_they_were_cut_from(hub: Hub, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)).save(tmp_path / "some.png")
    looker = Looker(hub)
    relevance = looker.relevance("tiny-vit", tmp_path / "some.png", 0)
    assert relevance.untyped_storage().nbytes() == relevance.nbytes
    recording = looker.picture("tiny-vit", tmp_path / "some.png")
    run = looker.run(Request("tiny-dit", 1, steps=2))
    for one in (recording.tokens, looker.step(run, 0).tokens):
        for name in ("patches", "filters", "projected", "positions", "sequence", "features"):
            value = getattr(one, name)
            assert value.untyped_storage().nbytes() == value.nbytes, name
    assert looker._recordings.bytes > sum(one.nbytes for one in recording.maps.values())
