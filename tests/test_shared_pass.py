"""A pass that several requests share, as on a GPU: quicker, the same but for rounding, said in the receipt, and one that fails alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from zoo.catalog.card import cards
from zoo.engine.hub import Hub
from zoo.engine.limits import Limits
from zoo.engine.request import Request, Result
from zoo.engine.scheduler import Scheduler
from zoo.engine.shared_pass import Network, most_rows, together
from zoo.ui.parts import markup

MIXED = [
    Request("tiny-dit", labels=(1, 2), seeds=(5, 6), steps=4, solver="ddim"),
    Request("tiny-dit", labels=3, seeds=7, steps=5, solver="dpm-solver++", guidance=1.0),
    Request("tiny-dit", labels=4, seeds=8, steps=6, solver="heun", guidance=6.0),
    Request("tiny-uvit", labels=5, seeds=9, steps=3, solver="ddpm"),
    Request("tiny-uvit", labels=6, seeds=10, steps=4, solver="euler-maruyama"),
    Request("tiny-unet", labels=7, seeds=11, steps=3, solver="ddim", eta=1.0),
    Request("tiny-unet", labels=8, seeds=12, steps=4, solver="unipc"),
    Request("tiny-latte", labels=1, seeds=13, steps=2, frames=4),
    Request("tiny-latte", labels=2, seeds=14, steps=2, frames=4),
    Request("tiny-latte", labels=2, seeds=15, steps=2, frames=3),
]


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that shares passes, up to 8 rows, and computes on one thread, as on a GPU."""
    hub = Hub(device="cpu", cache_dir=tmp_path_factory.mktemp("sharing"))
    hub.engine, hub.rows_together = Scheduler(1, Limits()), lambda _: 8
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def alone(hub: Hub) -> list[Result]:
    """What becomes of each request by itself."""
    return [hub.submit(request, visitor=None).result() for request in MIXED]


def all_at_once(hub: Hub, requests: list[Request]) -> list[Result]:
    """What becomes of requests that all have their first turn before any is done."""
    held, release = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(hub.engine.compute, lambda: held.set() or release.wait(60))
        held.wait(60)
        jobs = [hub.submit(request, visitor=None, preview=False) for request in requests]
        deadline = time.monotonic() + 60
        while not all(hub.engine._turns.get(job) for job in jobs):
            assert time.monotonic() < deadline, "they never came to their turns"
            time.sleep(0.01)
        release.set()
    return [job.result() for job in jobs]


def test_requests_on_one_model_go_through_it_together(sharing: Hub) -> None:
    rows, module = [], sharing.load(sharing.card("tiny-dit")).module
    hook = module.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    requests = [Request("tiny-dit", labels=k, seeds=k, steps=5 + k, solver="ddim") for k in range(4)]
    results = all_at_once(sharing, requests)
    hook.remove()
    assert rows == [8] * 5 + [6, 4, 2]  # two rows each, for guidance; who is done leaves
    assert [result.receipts[0]["shared_passes"] for result in results] == [True] * 4


def test_no_more_rows_go_together_than_pay(sharing: Hub) -> None:
    rows, module = [], sharing.load(sharing.card("tiny-dit")).module
    hook = module.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    all_at_once(sharing, [Request("tiny-dit", labels=k, seeds=k, steps=2, solver="ddim") for k in range(5)])
    hook.remove()
    assert sum(rows) == 20
    assert max(rows) == 8


def test_each_row_keeps_its_own_time_label_guidance_and_solver(sharing: Hub, alone: list[Result]) -> None:
    for one, other in zip(all_at_once(sharing, MIXED), alone, strict=True):
        gap = np.abs(one.images.astype(int) - other.images.astype(int)).max()
        assert gap <= 1, f"{one.request} differs by {gap} of 255"
        assert one.images.std() > 5
    assert not other.receipts[0]["shared_passes"]


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(MIXED) - 1), st.sampled_from([0.0, 0.02, 0.1]), st.booleans()), min_size=2, max_size=8))
def test_random_joins_and_leaves_change_nobodys_picture(sharing: Hub, alone: list[Result], visits: list[tuple[int, float, bool]]) -> None:
    jobs = []
    for number, wait, leaves in visits:
        jobs.append((number, leaves, sharing.submit(MIXED[number], visitor=None)))
        time.sleep(wait)
        if leaves:
            jobs[-1][2].cancel()
    for number, leaves, job in jobs:
        result = job.result()
        if not leaves or (result and result.stopped_at is None):
            assert np.abs(result.images.astype(int) - alone[number].images.astype(int)).max() <= 1


def test_a_repeated_picture_that_differs_by_a_level_says_where_that_may_come_from() -> None:
    words, base = "Close: pixels differ by at most 1 of 255 levels, 0.001 on average.", {"weights": {"a": "b"}, "shared_passes": False}
    assert "together with others" not in markup.verdict(words, "picture", base, base)
    for earlier, now in ((base | {"shared_passes": True}, base), (base, base | {"shared_passes": True})):
        assert "together with others" in markup.verdict(words, "picture", earlier, now)
        assert "together" not in markup.verdict("Identical: every pixel is the same.", "picture", earlier, now)
    assert "weights are not the ones" in markup.verdict(words, "picture", base | {"weights": {"a": "c"}}, base)


class Doubling(nn.Module):
    """Twice what it is asked; fails where it is asked for too many rows at once, or for something that is no number."""

    most = 3

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        if len(x) > self.most or x.isnan().any():
            raise RuntimeError("not enough memory")
        return 2 * x + t.view(-1, 1) + (0 if y is None else y.view(-1, 1))


def asked(module: nn.Module, inputs: list[tuple[Tensor, ...]]) -> tuple[list[Tensor | Exception], list[bool]]:
    """What members of one pass that ask for these get, and whether their passes were joined."""
    answers: list[Tensor | Exception] = [RuntimeError("never asked")] * len(inputs)
    networks = [Network(module) for _ in inputs]

    def member(k: int) -> Callable[[], None]:
        def work() -> None:
            try:
                answers[k] = networks[k](*inputs[k])
            except Exception as error:
                answers[k] = error

        return work

    with ThreadPoolExecutor(len(inputs)) as threads:
        together([member(k) for k in range(len(inputs))], threads)
    return answers, [network.joined for network in networks]


def test_a_pass_that_is_too_large_for_all_is_made_for_each() -> None:
    inputs = [(torch.full((2, 4), float(k)), torch.tensor([0.0, 10.0]), torch.tensor([k, 100])) for k in range(3)]
    answers, joined = asked(Doubling(), inputs)
    for (x, t, y), answer in zip(inputs, answers, strict=True):
        assert torch.equal(answer, Doubling()(x, t, y))
    assert joined == [False] * 3


def test_who_fails_in_a_shared_pass_fails_alone() -> None:
    good, bad = torch.ones(1, 4), torch.full((1, 4), float("nan"))
    answers, _ = asked(Doubling(), [(good, torch.zeros(1)), (bad, torch.zeros(1)), (good, torch.ones(1))])
    assert isinstance(answers[1], RuntimeError)
    assert torch.equal(answers[0], 2 * good)
    assert torch.equal(answers[2], 2 * good + 1)


def test_a_member_that_asks_nothing_or_twice_keeps_nobody_waiting() -> None:
    network, answers = Network(Doubling()), {}

    def twice() -> None:
        first = network(torch.ones(1, 4), torch.zeros(1))
        answers["twice"] = network(first, torch.zeros(1))

    def once() -> None:
        answers["once"] = network(torch.ones(1, 4), torch.zeros(1))

    with ThreadPoolExecutor(3) as threads:
        together([twice, lambda: None, once], threads)
    assert torch.equal(answers["twice"], torch.full((1, 4), 4.0))
    assert torch.equal(answers["once"], torch.full((1, 4), 2.0))
    assert network.joined


class Timed(nn.Module):
    """Takes so many seconds a pass, and so many a row, by a clock of its own; beyond `room` rows there is no memory."""

    def __init__(self, a_pass: float, a_row: float, room: int = 1000) -> None:
        super().__init__()
        self.weight, self.a_pass, self.a_row, self.room, self.clock = nn.Parameter(torch.zeros(1)), a_pass, a_row, room, 0.0

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no room for so many rows")
        self.clock += self.a_pass + self.a_row * len(x)
        return x


@pytest.mark.parametrize(
    ("network", "most"), [(Timed(1, 0), 64), (Timed(0, 1), 2), (Timed(6, 1), 32), (Timed(1, 0, room=20), 16)],
    ids=["a row costs nothing", "a row costs all", "six rows cost a pass", "no memory for more"],
)  # fmt: skip
def test_how_many_rows_pay_is_measured(network: Timed, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.engine.shared_pass.time", SimpleNamespace(perf_counter=lambda: network.clock))
    assert most_rows(cards()["tiny-dit"], network) == most


def test_on_a_cpu_everybody_takes_turns(tmp_path: Path) -> None:
    hub = Hub(device="cpu", cache_dir=tmp_path)
    assert {hub.rows_together(card) for card in hub.offers} == {0}
