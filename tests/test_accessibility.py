"""Every tab for everybody: axe-core finds nothing serious, light, dark and on a phone; what is touched is large enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import opened, visiting
from playwright.sync_api import Browser, Page, expect
from test_page import fill, finished, generate
from test_tabs import TABS, go

VIEWS = {"light": ((1280, 860), ""), "dark": ((1280, 860), "?__theme=dark"), "phone": ((390, 844), "")}
SMALL = """() => [...document.querySelectorAll("[role=tabpanel] :is(button, a, select, input:not([type=file], [type=range])), [role=tab]")]
    .filter((e) => e.offsetParent && !e.closest("[aria-hidden=true], p, #receipt, #video-receipt, #prose, figure"))
    .map((e) => [e, ((!e.matches(".learn-mark") && e.closest(".wrap-inner, label")) || e).getBoundingClientRect()])
    .filter(([, box]) => box.width && Math.round(box.height) < 44)
    .map(([e, box]) => [e.closest("[id]")?.id, e.innerText || e.getAttribute("aria-label") || e.type, Math.round(box.height)].join(" "))"""


def findings(page: Page) -> list[str]:
    """What axe-core finds serious or critical in what is seen now."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [one for one in found if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {node['html'][:160]}" for one in grave for node in one["nodes"]]


@pytest.fixture(scope="module")
def arrived(browser: Browser, server: str) -> Iterator[Callable[[str], Page]]:
    """arrived(view): the page as it is seen so, opened once a theme."""
    pages: dict[str, Page] = {}
    with visiting(browser, server) as visitor:

        def seen(view: str) -> Page:
            size, query = VIEWS[view]
            if query not in pages:
                pages[query] = opened(visitor, server, query)
            pages[query].set_viewport_size({"width": size[0], "height": size[1]})
            return pages[query]

        yield seen


@pytest.fixture(scope="module")
def phone(browser: Browser, server: str) -> Iterator[Page]:
    """The page on a phone, for tests that leave other tabs than their own as they are."""
    with visiting(browser, server) as visitor:
        page = opened(visitor, server)
        page.set_viewport_size({"width": 390, "height": 844})
        yield page


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious_on_any_tab(arrived: Callable[[str], Page], view: str) -> None:
    page = arrived(view)
    grave: dict[str, list[str]] = {}
    for tab in TABS:
        go(page, tab)
        if tab == "Look inside":
            expect(page.locator("#look-picture img")).to_be_visible()
        grave[tab] = findings(page)
        if tab == "Compare":
            for part in ("X/Y grid", "Votes"):
                page.get_by_role("tab", name=part).click()
                grave[part] = findings(page)
    assert {tab: found for tab, found in grave.items() if found} == {}


def test_axe_finds_nothing_serious_in_results(page: Page) -> None:
    fill(page, steps="3", count="2", seed="1")
    generate(page)
    finished(page, 2)
    grave = {"Image": findings(page)}
    go(page, "Video")
    fill(page, **{"video-steps": "2"})
    page.click("#video-generate")
    expect(page.locator("#video-facts")).to_contain_text("16 frames")
    expect(page.locator("#player video")).to_be_visible()
    grave["Video"] = findings(page)  # those of Compare: test_compare_page.py
    assert {tab: found for tab, found in grave.items() if found} == {}


def test_progress_has_a_name_and_is_told(page: Page) -> None:
    fill(page, steps="250", count="4")
    generate(page)
    bar = page.get_by_role("progressbar", name="progress")
    bar.first.wait_for()
    expect(page.locator("#progress [role=status]")).to_contain_text("step")
    page.keyboard.press("Escape")
    finished(page, 4)


@pytest.mark.parametrize("tab", TABS)
def test_on_a_phone_nothing_to_touch_is_smaller_than_a_finger(phone: Page, tab: str) -> None:
    go(phone, tab)
    if tab == "Look inside":
        expect(phone.locator("#look-heat .icon-button")).to_be_visible()
        phone.wait_for_function("[...document.querySelectorAll('.pair img')].every((image) => image.naturalWidth > 0)")
    assert phone.evaluate(SMALL) == []


def test_on_a_phone_what_comes_with_a_result_is_no_smaller(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    fill(page, count="2", steps="3")
    generate(page)
    finished(page, 2)
    page.locator("#gallery .grid-container button").first.click()
    expect(page.locator("#gallery .thumbnail-small").first).to_be_visible()
    assert page.evaluate(SMALL) == []


@pytest.mark.parametrize("tab", ["Image", "Video"])
def test_on_a_phone_the_picture_comes_first_and_stop_stays_in_view(phone: Page, tab: str) -> None:
    page = phone
    go(page, tab)
    page.evaluate("window.scrollTo(0, 0)")
    prefix = "" if tab == "Image" else "video-"
    frame, model = page.locator(f"#{prefix}preview").bounding_box(), page.locator(f"#{prefix}model").bounding_box()
    assert frame["y"] < model["y"] < 844
    fill(page, **{f"{prefix}steps": "200"})
    page.evaluate("window.scrollTo(0, 0)")
    for name in ("generate", "stop"):
        button = page.locator(f"#{prefix}{name}")
        button.wait_for()
        box = button.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 844
        if name == "generate":
            button.click()
    page.locator(f"#{prefix}stop").click()
    page.locator(f"#{prefix}generate").wait_for()


def test_stop_stands_where_generate_stood(page: Page) -> None:
    before = page.locator("#generate").bounding_box()
    fill(page, steps="250", count="2")
    generate(page)
    page.locator("#stop").wait_for()
    assert page.locator("#stop").bounding_box() == pytest.approx(before, abs=1)
    page.click("#stop")
    finished(page, 2)
