"""What a run will cost stands on every tab before it starts, and a slow one is offered faster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import serving
from playwright.sync_api import Browser, Page, expect

from zoo.catalog.card import cards
from zoo.engine.elsewhere import Elsewhere
from zoo.engine.hub import Hub
from zoo.engine.limits import Limits
from zoo.engine.request import Request
from zoo.engine.step_timing import SHARE
from zoo.errors import RequestError
from zoo.ui.parts import cost

LARGE = "dit-xl-2-256"
PUBLISHED = Request(LARGE, 207)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub that takes DiT-XL/2 for downloaded, on a machine of 100 billion multiply-adds a second."""
    monkeypatch.setattr("zoo.engine.warm_up.product_speed", lambda *_: 100.0)
    hub = Hub(device="cpu", cache_dir=tmp_path, models=["tiny-dit", LARGE])
    find, found = hub.store.find, hub.store.find(cards()["tiny-dit"])
    monkeypatch.setattr(hub.store, "find", lambda card: find(card) or found)
    return hub


def known(hub: Hub) -> Hub:
    """The same once its speed is known."""
    while hub.prepare(LARGE):
        pass
    return hub


def test_a_large_model_that_never_ran_is_reckoned_from_its_multiply_adds_and_then_measured(slow: Hub) -> None:
    assert slow.price(PUBLISHED) is None
    price = known(slow).price(PUBLISHED)
    assert price.basis == "reckoned"
    assert price.seconds == pytest.approx((250 * 2 * 118.6 + 311.1) / (100 * SHARE))
    request = PUBLISHED.resolved(slow.card(LARGE))
    slow.timing.add(request, [2.0])
    assert slow.price(PUBLISHED) == (500.0, "measured")
    assert slow.core_seconds(PUBLISHED) == 500.0 * slow.engine.cores
    assert not slow.prepare(LARGE)


def test_the_speed_of_a_machine_is_measured_once_and_kept(tmp_path: Path) -> None:
    hub = known(Hub(device="cpu", cache_dir=tmp_path, models=["tiny-dit", LARGE]))
    assert hub.timing.speed(torch.bfloat16) > 0
    again = Hub(device="cpu", cache_dir=tmp_path, models=["tiny-dit", LARGE])
    assert not again.prepare(LARGE)
    assert again.price(PUBLISHED) == hub.price(PUBLISHED)


def test_a_host_refuses_what_takes_too_long_before_it_was_ever_run(slow: Hub, says: Callable) -> None:
    known(slow).engine.limits = Limits(seconds=600)
    with says(RequestError, "s of computing, and one request may take 600 s here"):
        slow.submit(PUBLISHED)


def test_what_takes_minutes_is_offered_with_the_steps_of_the_fast_preset(slow: Hub) -> None:
    request = PUBLISHED.resolved(known(slow).card(LARGE))
    [fast] = cost.faster(slow, [request])
    assert (fast.solver, fast.steps) == ("dpm-solver++", 20)
    assert cost.offer(slow, [request])["value"] == f"Take 20 steps of dpm-solver++: about {slow.price(fast).seconds:.0f} s"
    assert cost.faster(slow, [fast]) is None
    assert cost.words(slow, [request]) == "about 17 min here, reckoned from the speed of this machine"
    assert cost.faster(slow, [request, fast])[1] == fast, "the steps of a fast column were changed"


def test_a_lent_gpu_is_told_in_seconds_of_quota(hub: Hub) -> None:
    elsewhere = Elsewhere(hub, "cpu")
    request = Request("tiny-dit", 0, 0, 25).resolved(hub.card("tiny-dit"))
    try:
        elsewhere.use(iter)
        seconds = elsewhere.quota(hub.card("tiny-dit"), request)
        assert cost.words(hub, [request] * 3) == f"about {3 * seconds:.0f} s of your ZeroGPU quota"
        assert not hub.prepare("tiny-dit"), "a warm-up would take quota of nobody"
    finally:
        hub.elsewhere = None


@pytest.fixture
def visit(slow: Hub, browser: Browser) -> Iterator[Callable[[str], Page]]:
    """A visitor of that hub, who opens an address on a phone, where the least is seen at a time."""
    with serving(slow) as url:
        page = browser.new_page(viewport={"width": 390, "height": 844})

        def opened(query: str) -> Page:
            page.goto(url + query)
            return page

        yield opened
        page.close()


def test_every_tab_says_the_minutes_and_one_click_makes_them_few(visit: Callable[[str], Page]) -> None:
    page = visit(f"?tab=image&model={LARGE}&label=207&count=1")
    expect(page.locator("#cost")).to_contain_text("about 17 min here, reckoned from the speed of this machine")
    expect(page.locator("#generate")).to_have_text("Generate · about 17 min")
    expect(page.locator("#generate")).to_be_in_viewport()
    page.locator("#faster").click()
    expect(page.locator("#cost")).to_contain_text(re.compile(r"about 8\d s here"))
    expect(page.locator("#steps input")).to_have_value("20")
    expect(page.locator("#solver input")).to_have_value("dpm-solver++")
    expect(page.locator("#faster")).to_be_hidden()
    expect(page.locator("#generate")).to_have_text(re.compile(r"about 8\d s"))
    page = visit(f'?tab=compare&settings=[{{"model":"{LARGE}","label":"207"}},{{"model":"{LARGE}","steps":20}}]')
    expect(page.locator("#compare-cost")).to_contain_text("about 18 min here")
    page.locator("#compare-faster").click()
    expect(page.locator("#compare-cost")).to_contain_text("about 3 min here")
    page.get_by_role("tab", name="X/Y grid").click()
    expect(page.locator("#grid-cost")).to_contain_text(re.compile("cells.* about"))
    page = visit(f"?tab=look&model={LARGE}&label=207")
    expect(page.locator("#look-price")).to_contain_text("about 17 min here")
