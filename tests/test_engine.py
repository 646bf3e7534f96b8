"""The engine: jobs take turns step by step, a waiting one costs no thread, a cancelled one leaves, pixels never depend on company."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.engine.generation import Generation
from zoo.engine.hub import Hub
from zoo.engine.job import Job
from zoo.engine.limits import Limits
from zoo.engine.linear_preview import LinearPreview
from zoo.engine.request import Progress, Request, Result
from zoo.engine.scheduler import Scheduler
from zoo.errors import OutOfMemoryError, RequestError
from zoo.media.pictures import to_uint8

SHORT = Request("tiny-dit", labels=4, seeds=3, steps=3)
LONG = Request("tiny-dit", labels=4, seeds=tuple(range(8)), steps=1000, solver="ddim")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Hub]:
    """A hub with room for two jobs in flight, one a visitor, and two that wait."""
    hub = Hub(device="cpu", cache_dir=tmp_path, limits=Limits(flying=2, waiting=2, visitor_flying=1, visitor_waiting=1, address_waiting=1))
    yield hub
    hub.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


# ---- turns


def test_a_long_request_does_not_hold_up_a_short_one(hub: Hub) -> None:
    long = hub.submit(LONG, visitor=None)
    until(lambda: long.compute_seconds > 0)
    short = hub.submit(SHORT, visitor=None).result()
    assert isinstance(short, Result)
    assert not long.ended
    long.cancel()
    assert long.wait(60)


def test_the_newcomer_and_the_long_one_share_the_machine_evenly() -> None:
    engine, order = Scheduler(1, Limits()), []

    def work(name: str, turns: int) -> Callable[[Job], Iterator[str]]:
        def events(_: Job) -> Iterator[str]:
            def steps() -> Iterator[int]:
                for k in range(turns):
                    until(lambda: len(order) >= 1 or name == "long")
                    order.append(name)
                    time.sleep(0.01)
                    yield k

            engine.rounds([steps()], lambda values: values[0] < turns - 1)
            yield name

        return events

    long = engine.submit(Job("one"), work("long", 60))
    until(lambda: len(order) > 5)
    begun = len(order)
    short = engine.submit(Job("two"), work("short", 10))
    assert short.result() == "short"
    between = order[begun : len(order) - order[::-1].index("short")]
    assert between.count("long") <= between.count("short") + 3
    long.cancel()


def test_what_needs_all_cores_gets_them_alone_and_is_not_starved() -> None:
    engine, running, most = Scheduler(3, Limits()), [], []
    lock = threading.Lock()

    def work(cores: int) -> None:
        with lock:
            running.append(cores)
            most.append(tuple(running))
        time.sleep(0.005)
        with lock:
            running.remove(cores)

    with ThreadPoolExecutor(8) as pool:
        small = [pool.submit(lambda: [engine.compute(work, 1) for _ in range(20)]) for _ in range(5)]
        large = [pool.submit(lambda: [engine.compute(work, 3, whole=True) for _ in range(5)]) for _ in range(2)]
        for one in [*large, *small]:
            one.result(60)
    assert all(len(together) == 1 for together in most if 3 in together)
    assert max(len(together) for together in most) == 3


def test_small_models_of_two_requests_compute_at_the_same_time() -> None:
    engine, meeting = Scheduler(2, Limits()), threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:  # each waits for the other, so one after the other would never end
        for one in [pool.submit(engine.compute, meeting.wait, 30) for _ in range(2)]:
            assert one.result(60) in (0, 1)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["tiny-dit", "tiny-uvit"]), st.integers(0, 9), st.integers(1, 3),
            st.sampled_from(["ddim", "ddpm", "dpm-solver++"]), st.one_of(st.none(), st.floats(0, 0.2)),
        ),
        min_size=2, max_size=5,
    )
)  # fmt: skip
def test_whoever_joins_leaves_or_cancels_every_pixel_is_the_same_as_alone(hub: Hub, visitors: list[tuple]) -> None:
    jobs = []
    for model, label, count, solver, leaves_after in visitors:
        job = hub.submit(Request(model, label, tuple(range(label, label + count)), steps=5, solver=solver), visitor=None)
        if leaves_after is not None:
            threading.Timer(leaves_after, job.cancel).start()
        jobs.append(job)
    for job in jobs:
        result = job.result()
        if result is None or result.stopped_at is not None:
            continue
        for k, seed in enumerate(result.request.seeds):
            *_, alone = hub.generate(replace(result.request, seeds=seed, labels=result.request.labels[k]), preview=False, visitor=None)
            assert np.array_equal(alone.images[0], result.images[k])


def test_what_nobody_waits_for_may_fail_and_stops_no_thread() -> None:
    engine = Scheduler(1, Limits())

    def fail() -> None:
        raise RuntimeError("a preview that could not be decoded")

    engine.spare(fail)
    answers: list[int] = []
    other = threading.Thread(target=lambda: answers.append(engine.compute(lambda: 7)), daemon=True)
    other.start()
    other.join(30)
    assert answers == [7]


def test_what_is_free_goes_back_to_the_machine_once_nothing_is_left_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.engine.scheduler.IDLE", 0.2)
    engine, status = Scheduler(1, Limits()), Path("/proc/self/status")

    def resident() -> int:
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS")).split()[1]) * 1024

    last = engine.compute(lambda: [bytearray(50_000) for _ in range(4000)][-1])  # which lies above the others, all free now
    before = resident()
    until(lambda: resident() < before - 100_000_000)
    assert len(last) == 50_000


def test_what_is_computed_for_no_job_leaves_none() -> None:
    engine = Scheduler(1, Limits())

    def jobs() -> list[Job]:
        gc.collect()
        return [one for one in gc.get_objects() if type(one) is Job]

    before = jobs()
    for _ in range(5):
        engine.compute(lambda: None)
    assert [job for job in jobs() if job not in before] == []


# ---- waiting


def test_who_waits_costs_no_thread_and_is_told_place_and_seconds(small: Hub) -> None:
    small.prepare("tiny-dit")
    until(lambda: not small.prepare("tiny-dit"))
    first = [small.submit(LONG, visitor=None, account=f"v{k}") for k in range(2)]
    until(lambda: all(job.compute_seconds > 0 for job in first))
    threads = threading.active_count()
    waiting = [small.submit(SHORT, visitor=None, account=f"w{k}") for k in range(2)]
    assert threading.active_count() == threads
    place = next(iter(waiting[1]))
    assert (place.stage, place.ahead) == ("waiting", 3)
    assert place.seconds_left > 0
    for job in [*first, *waiting]:
        job.cancel()


def test_who_is_far_back_is_told_less_often() -> None:
    def words(ahead: int) -> int:
        job, count = Job(), 0
        job.place = lambda: Progress("waiting", None, ahead=ahead)
        threading.Timer(2.2, job.end).start()
        for _ in job:
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        near, far = pool.map(words, (1, 100))
    assert near > far >= 1


def test_a_queue_that_is_full_says_for_how_long(small: Hub, says) -> None:
    small.prepare("tiny-dit")
    until(lambda: not small.prepare("tiny-dit"))
    jobs = [small.submit(LONG, visitor=None, account=f"v{k}") for k in range(4)]
    with says(RequestError, "2 requests wait already", "try again in about"):
        small.submit(SHORT, visitor=None, account="late")
    for job in jobs:
        job.cancel()
    until(lambda: all(job.ended for job in jobs))
    assert isinstance(small.submit(SHORT, visitor=None, account="late").result(), Result)


def test_one_visitor_and_one_address_cannot_fill_the_queue(small: Hub, says) -> None:
    jobs = [small.submit(LONG, visitor=None, account="one") for _ in range(2)]
    with says(RequestError, "1 requests of yours wait already"):
        small.submit(SHORT, visitor=None, account="one")
    assert isinstance(small.submit(SHORT, visitor=None, account="other").result(), Result)
    for job in jobs:
        job.cancel()


def test_an_address_has_its_limit_but_this_machine_has_none(says) -> None:
    limits = Limits(flying=9, address_flying=1, address_waiting=1)
    engine, go = Scheduler(1, limits), threading.Event()

    def work(_: Job) -> Iterator[bool]:
        yield go.wait(30)

    jobs = [engine.submit(Job(address="203.0.113.7"), work) for _ in range(2)]
    with says(RequestError, "1 requests of your address wait already"):
        engine.submit(Job(address="203.0.113.7"), work)
    here = [engine.submit(Job(address="127.0.0.1"), work) for _ in range(4)]
    assert [job.started for job in [*jobs, *here]] == [True, False, True, True, True, True]
    go.set()
    assert all(job.result() for job in [*jobs, *here])


def test_a_request_that_costs_too_much_is_refused_with_both_numbers(tmp_path: Path, says) -> None:
    hub = Hub(device="cpu", cache_dir=tmp_path, limits=Limits(seconds=0.5))
    hub.prepare("tiny-dit")
    until(lambda: not hub.prepare("tiny-dit"))
    with says(RequestError, "s of computing, and one request may take", "fewer"):
        hub.submit(LONG)
    assert isinstance(hub.submit(replace(SHORT, steps=2)).result(), Result)


# ---- ending


def test_cancelling_in_the_queue_and_in_flight_ends_a_job_and_keeps_what_was_there(small: Hub) -> None:
    visitor = "e" * 32
    flying = [small.submit(replace(LONG, seeds=(1, 2)), visitor=visitor), small.submit(LONG, visitor=None, account="b")]
    waiting = small.submit(SHORT, visitor=None, account="c")
    until(lambda: flying[0].compute_seconds > 0)
    waiting.cancel()
    assert waiting.wait(1)
    assert waiting.result() is None
    flying[0].cancel()
    assert flying[0].wait(60)
    assert len(small.results.history(visitor)) == 2
    flying[1].cancel()


def test_a_generator_that_the_garbage_collector_closes_on_a_computing_thread_stops_nothing(hub: Hub) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.items, self.me = hub.generate(LONG, visitor=None), self
            next(self.items)

    gc.disable()
    try:
        Cycle()
        hub.compute(gc.collect)
    finally:
        gc.enable()
    assert isinstance(hub.submit(SHORT, visitor=None).result(), Result)


def test_a_job_that_fails_ends_alone(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    other = hub.submit(replace(LONG, seeds=(1,), steps=60), visitor=None)
    until(lambda: other.compute_seconds > 0)
    with monkeypatch.context() as broken:
        broken.setattr("zoo.engine.walk.predictor", lambda *_: lambda x, t: torch.empty(2**60))
        with pytest.raises(OutOfMemoryError):
            hub.submit(SHORT, visitor=None).result()
    assert other.result().stopped_at is None
    assert isinstance(hub.submit(SHORT, visitor=None).result(), Result)


def test_closing_ends_what_runs_and_keeps_it(tmp_path: Path) -> None:
    hub, visitor = Hub(device="cpu", cache_dir=tmp_path), "d" * 32
    running = hub.submit(replace(LONG, seeds=(1,)), visitor=visitor)
    until(lambda: running.compute_seconds > 0)
    hub.close()
    assert running.ended
    assert len(hub.results.history(visitor)) == 1
    assert hub.submit(SHORT).result() is None


# ---- in an event loop


def test_an_event_loop_goes_on_while_its_readers_wait_leave_and_finish(hub: Hub) -> None:
    async def read(job: Job, leaves: bool) -> str:
        async for item in job:
            if leaves and isinstance(item, Progress) and item.step:
                return "left"
        return "read"

    async def everything() -> tuple[list[str], int]:
        beats, over = 0, asyncio.Event()

        async def heart() -> None:
            nonlocal beats
            while not over.is_set():
                beats += 1
                await asyncio.sleep(0.001)

        beating = asyncio.create_task(heart())
        requests = [replace(LONG, seeds=(k,), steps=30) for k in range(6)]
        ended = await asyncio.gather(*(read(hub.submit(one, visitor="c" * 32), k % 2 == 0) for k, one in enumerate(requests)))
        over.set()
        await beating
        return ended, beats

    threads = {thread for thread in threading.enumerate() if thread.name == "job"}
    with ThreadPoolExecutor(1) as pool:  # the browser of other tests has an event loop in this thread
        ended, beats = pool.submit(lambda: asyncio.run(everything())).result()
    assert ended == ["left", "read"] * 3
    assert beats > 20
    until(lambda: not {thread for thread in threading.enumerate() if thread.name == "job"} - threads)


def test_a_late_reader_finds_every_step_but_the_latest_pictures_only(hub: Hub) -> None:
    job = hub.submit(replace(LONG, seeds=(0,), steps=60), visitor=None)
    assert job.wait(60)
    items = list(job)
    steps = [item.step for item in items if isinstance(item, Progress) and item.stage == "sampling"]
    assert steps == list(range(1, 60))
    assert sum(isinstance(item, Progress) and item.preview is not None for item in items) == 1


# ---- previews


def test_a_linear_map_shows_latents_as_they_were_decoded_and_is_kept(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    z, weights = torch.randn(2, 4, 16, 16, generator=generator), 0.2 * torch.randn(3, 4, generator=generator)
    colours = torch.einsum("dc,bchw->bdhw", weights, z).repeat_interleave(4, 2).repeat_interleave(4, 3)
    images = to_uint8(colours)
    maps = LinearPreview(tmp_path / "maps.json")
    assert maps.pictures("one", z, 4) is None
    maps.learn("one", z, images)
    for some in (maps, LinearPreview(tmp_path / "maps.json")):
        shown = some.pictures("one", z, 4)
        assert shown.shape == images.shape
        places = (slice(None), slice(2, None, 4), slice(2, None, 4))
        assert np.abs(shown[places].astype(int) - images[places]).mean() < 12  # but for what bilinear enlarging smooths


def test_where_decoding_is_dear_previews_are_linear_and_look_like_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.engine.hub.SMALL", 1)  # every network counts as a large one
    hub = Hub(device="cpu", cache_dir=tmp_path)
    *_, first = hub.generate(replace(SHORT, steps=12), visitor=None)
    decodes, decode = [], Generation.decode
    monkeypatch.setattr(Generation, "decode", lambda run, x, draft=False: decodes.append(draft) or decode(run, x, draft))
    *early, last = hub.generate(replace(SHORT, steps=40), visitor=None)
    previews = [item.preview for item in early if isinstance(item, Progress) and item.preview is not None]
    assert previews
    assert decodes == [False]  # the result alone
    assert np.corrcoef(previews[-1].ravel(), last.images.ravel())[0, 1] > 0.8
    assert first.images.shape == previews[-1].shape
