"""Learn: every mark beside a control opens its concept, with words, a formula that is set, a paper, and something to try."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from conftest import opened, visiting
from playwright.sync_api import Browser, Page, expect
from test_accessibility import SMALL, findings
from test_tabs import TABS, go

from zoo.ui import learn


@pytest.fixture(scope="module")
def desk(browser: Browser, server: str) -> Iterator[Page]:
    """The page on a desk, whose panel each test closes."""
    with visiting(browser, server) as visitor:
        yield opened(visitor, server)


def panel(page: Page, entry: str) -> None:
    """Wait until the panel shows an entry with its formula."""
    expect(page.locator("#learn h3")).to_have_text(learn.ENTRIES[entry].term)
    expect(page.locator("#learn .katex").first).to_be_visible()


# ---- the entries


@pytest.mark.parametrize("name", learn.ENTRIES)
def test_an_entry_is_complete(name: str) -> None:
    entry = learn.ENTRIES[name]
    sentences = re.findall(r"[.!?](?:\s|$)", entry.words)
    assert 2 <= len(sentences) <= 4, entry.words
    assert re.fullmatch(r"\d{4}\.\d{5}", entry.arxiv)
    assert abs(int(entry.arxiv[:2]) + 2000 - entry.year) <= 1
    assert entry.attempt.endswith((".", "?"))
    assert entry.formula.count("{") == entry.formula.count("}")
    assert entry.formula.count(r"\left") - entry.formula.count(r"\leftarrow") == entry.formula.count(r"\right")


def test_the_terms_differ_and_controls_lead_to_entries_that_there_are() -> None:
    assert len({entry.term for entry in learn.ENTRIES.values()}) == len(learn.ENTRIES) >= 25
    assert set(learn.OF_CONTROL.values()) <= learn.ENTRIES.keys()


# ---- the panel


def test_a_mark_opens_its_concept_and_escape_gives_the_focus_back(desk: Page) -> None:
    page = desk
    go(page, "Image")
    mark = page.locator("#guidance").get_by_role("button", name="Learn: Guidance scale")
    mark.click()
    panel(page, "guidance-scale")
    expect(page.locator("#learn h3")).to_be_focused()
    expect(page.locator("#learn article")).to_contain_text(learn.ENTRIES["guidance-scale"].words)
    expect(page.locator("#learn").get_by_role("link", name="arXiv:2207.12598")).to_be_visible()
    assert findings(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#learn")).to_be_hidden()
    expect(mark).to_be_focused()


def test_f1_explains_the_control_that_has_the_focus(desk: Page) -> None:
    page = desk
    go(page, "Image")
    page.locator("#steps input").focus()
    page.keyboard.press("F1")
    panel(page, "sampling-steps")
    page.locator("#learn").get_by_role("button", name="Close").click()
    expect(page.locator("#steps input")).to_be_focused()


def test_terms_are_searched_and_lead_to_their_entries(desk: Page) -> None:
    page = desk
    page.keyboard.press("F1")
    items = page.locator("#learn li:not([hidden])")
    expect(items).to_have_count(len(learn.ENTRIES))
    search = page.get_by_role("searchbox", name="Search the terms")
    search.fill("inception")
    expect(items).to_have_text([learn.ENTRIES["fid"].term])
    items.get_by_role("button").click()
    panel(page, "fid")
    search.fill("no such term")
    expect(page.get_by_text("No term matches this search.")).to_be_visible()
    search.fill("")
    page.keyboard.press("Escape")


def test_every_formula_is_set_without_a_fault(desk: Page) -> None:
    page = desk
    page.keyboard.press("F1")
    expect(page.locator("#learn-formulas .katex-display")).to_have_count(len(learn.ENTRIES))
    assert page.locator(".katex-error").count() == 0
    assert "KaTeX_Main" in page.locator("#learn .katex").first.evaluate("(one) => getComputedStyle(one).fontFamily")
    page.keyboard.press("Escape")


def test_a_name_of_a_control_is_not_changed_by_its_mark(desk: Page) -> None:
    page = desk
    go(page, "Image")
    expect(page.get_by_role("spinbutton", name="Steps", exact=True).locator("visible=true")).to_have_count(1)
    expect(page.get_by_role("textbox", name="Seed", exact=True).locator("visible=true")).to_have_count(1)
    expect(page.locator("#steps [data-testid=block-info]")).to_have_text("Steps")


@pytest.mark.parametrize("tab", [tab for tab in TABS if tab != "Models"])
def test_every_control_with_a_concept_that_is_seen_has_a_mark(desk: Page, tab: str) -> None:
    page = desk
    go(page, tab)
    bare = page.evaluate(
        """() => Object.keys(LEARN.of).filter((id) => {
            const name = document.getElementById(id)?.querySelector("[data-testid=block-info]");
            return name?.offsetParent && !name.querySelector(".learn-mark");
        })"""
    )
    assert bare == []
    assert page.locator("[role=tabpanel] .learn-mark").locator("visible=true").count() >= 4


def test_every_control_that_has_a_concept_is_on_the_page(desk: Page) -> None:
    from zoo.engine.hub import Hub
    from zoo.ui import build

    parts = {getattr(part, "elem_id", None) for part in build(Hub(device="cpu")).blocks.values()}
    assert learn.OF_CONTROL.keys() - parts == set()


def test_on_a_phone_the_panel_is_a_sheet_at_the_bottom_and_large_enough_to_touch(browser: Browser, server: str) -> None:
    with visiting(browser, server) as visitor:
        page = opened(visitor, server, "?__theme=dark")
        page.set_viewport_size({"width": 390, "height": 844})
        mark = page.locator("#steps .learn-mark")
        assert min(mark.bounding_box()["width"], mark.bounding_box()["height"]) >= 44
        mark.click()
        panel(page, "sampling-steps")
        box = page.locator("#learn").bounding_box()
        assert (round(box["x"]), round(box["width"]), round(box["y"] + box["height"])) == (0, 390, 844)
        assert box["y"] > 200
        assert page.evaluate(SMALL.replace("[role=tabpanel] :is", "#learn :is")) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert findings(page) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_beside_a_mark_every_box_has_room_in_its_control(desk: Page, width: int) -> None:
    page = desk
    page.set_viewport_size({"width": width, "height": 860})
    go(page, "Compare")
    expect(page.locator("#compare-guidance-A .learn-mark")).to_be_visible()
    outside = page.evaluate(
        """() => [...document.querySelectorAll(".pairs input")].filter((one) => one.offsetParent)
            .filter((one) => one.getBoundingClientRect().right > one.closest("[id]").getBoundingClientRect().right - 2)
            .map((one) => [one.closest("[id]").id, one.getBoundingClientRect().right, one.closest("[id]").getBoundingClientRect().right])"""
    )
    page.set_viewport_size({"width": 1280, "height": 860})
    assert outside == []
