"""The stories: every one sets its controls as the real tabs read them; in a browser each runs by itself, leads on, and has an address."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from conftest import named, opened, run_async, serving, visiting
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_accessibility import SMALL, findings
from test_tabs import go, selected

from zoo import ui
from zoo.catalog.labels import DATA
from zoo.engine.hub import Hub
from zoo.errors import RequestError
from zoo.ui import language, stories
from zoo.ui.stories import CARDS, COURSE, Story

TITLES = {story.id: story.title for story in COURSE}
STATUS = "#story [role=status]"
ENDED, OPEN = "The run has ended: change any control and start it again.", "The controls are set: change any of them."
PLACES = {"image": "image", "video": "video", "compare": "compare", "grid": "compare", "look": "look"}


@pytest.fixture(scope="module")
def answered(hub: Hub) -> Iterator:
    """answered(id): what the page is told when a story is asked for, by element id; values, and what gradio is told to update."""
    page = ui.build(hub)
    tell = next(fn.fn for fn in page.fns.values() if getattr(fn.fn, "__qualname__", "") == "Arrival.tell")

    def answer(identity: str) -> dict:
        told = run_async(tell(SimpleNamespace(session_hash="somebody"), SimpleNamespace(index=identity)))
        return {part.elem_id: value for part, value in told.items()}

    yield answer
    page.close()


def value(update: object) -> object:
    """What a control is told to show."""
    return update["value"] if isinstance(update, dict) else update


# ---- what they say, and what the tabs make of it


@pytest.mark.parametrize("story", COURSE, ids=TITLES)
def test_every_story_is_told_by_the_real_tabs(answered, hub: Hub, story: Story) -> None:
    told = answered(story.id)
    assert told["message"] == ""
    assert told["tabs"].selected == PLACES[story.tab]
    assert story.title in told["story"]
    prefix = {"image": "", "video": "video-", "compare": "compare-", "grid": "grid-", "look": "look-"}[story.tab]
    if story.tab == "compare":
        assert [told[f"compare-model-{name}"] for name in "ABC"[: len(story.models)]] == list(story.models)
        return
    assert value(told[f"{prefix}model"]) == story.words["model"]
    if "label" in story.words:
        label = value(told[f"{prefix}label"])
        assert story.words["label"] == (label if story.tab == "grid" else hub.card(story.models[0]).label_names[label])
    if "patch" in story.words:
        assert value(told["look-query"]) == "clicked patch"
        assert value(told["look-layer"]) == int(story.words["layer"])
        assert "query: row {}, column {}".format(*story.words["patch"].split(",")) in told["look-caption"]
    if story.go:
        assert story.mark[1] == str(value(told[story.mark[0].split()[0].removeprefix("#")]))


def test_the_course_is_complete_with_the_bundled_models_and_each_story_has_two_sentences(hub: Hub) -> None:
    assert [story.id for story in stories.told(hub)] == list(TITLES)
    assert len(set(TITLES)) == len(COURSE)
    assert set(CARDS) <= set(TITLES)
    for story in COURSE:
        assert len(re.findall(r"[.](?= |$)", story.text)) == 2, story.text
        assert re.fullmatch(r"\d{4}\.\d{5}", story.paper.arxiv)
        assert bool(story.card[0]) == (story.id in CARDS)


def test_the_numbers_in_the_stories_are_those_of_the_models(hub: Hub) -> None:
    texts = {story.id: story.text for story in COURSE}
    vit, swin, vivit, latte = (hub.card(name).arch for name in ("tiny-vit", "tiny-swin", "tiny-vivit", "tiny-latte"))
    side, patch = vit["input_size"], vit["patch_size"]
    assert f"{side} x {side} pixels into {(side // patch) ** 2} patches of {patch} x {patch}" in texts["patches"]
    assert f"a token of {vit['hidden_size']} numbers" in texts["patches"]
    assert f"{swin['window_size']} x {swin['window_size']} patches of its window" in texts["windows"]
    assert f"{vivit['tubelet_frames']} frames and {vivit['patch_size']} x {vivit['patch_size']} pixels" in texts["tubelets"]
    assert f"all {latte['num_frames']} frames" in texts["clip"]
    steps = {story.id: story.words.get("steps") for story in COURSE}
    assert f"{steps['rocket']} steps" in texts["rocket"]


def test_a_story_whose_models_are_not_here_is_not_told(hub: Hub, monkeypatch: pytest.MonkeyPatch, says) -> None:
    few = Hub(device="cpu", models=["tiny-uvit"])
    assert [story.id for story in stories.told(few)] == ["skips"]
    with says(RequestError, "'rocket'", "there are skips"):
        stories.find(few, "rocket")
    with says(RequestError, "none of the models"):
        stories.find(Hub(device="cpu", models=["tiny-unet"]), "rocket")
    find = hub.store.find
    monkeypatch.setattr(hub.store, "find", lambda card: None if card.id == "tiny-latte" else find(card))  # it would be a download
    assert [story.id for story in COURSE if story not in stories.told(hub)] == ["clip"]


@pytest.mark.parametrize(
    ("query", "words"),
    [({"x": "colour"}, "colour"), ({"colour": "red"}, "'colour'"), ({"model": "tiny-vit"}, "tiny-vit makes no pictures"),
     ({"label": "stair"}, "'stair'"), ({"xs": "many"}, "many"), ({"y": "steps"}, "Both axes"), ({"seed": "x"}, "x")],
)  # fmt: skip
def test_a_wrong_address_of_a_grid_is_said(hub: Hub, says, query: dict, words: str) -> None:
    from zoo.ui.tabs.compare.grid import GridTab

    with ui.Page():
        with ui.gr.Tab() as tab:
            grid = GridTab(hub, ui.gr.BrowserState(""), tab)
        assert grid.addressed({"model": "tiny-dit", "xs": "4,8"})[grid.xs] == "4,8"
        with says(RequestError, words):
            grid.addressed(query)


# ---- in a browser


def told(page: Page, identity: str, seconds: float = 60) -> None:
    """Wait for a story's panel, whose title has the focus."""
    expect(page.locator("#story h2")).to_have_text(TITLES[identity], timeout=1000 * seconds)
    expect(page.locator("#story h2")).to_be_focused()
    expect(page).to_have_url(re.compile(rf"\?story={identity}$"))


def ended(page: Page) -> None:
    """Wait for the end of the run that a story started."""
    expect(page.locator(STATUS)).to_contain_text("has ended", timeout=180_000)


def card(page: Page, identity: str) -> None:
    page.locator(f'#story-cards [data-story="{identity}"]').click()


@pytest.fixture(scope="module")
def shared(browser: Browser, server: str) -> Iterator[Page]:
    """A page for stories that run nothing."""
    with visiting(browser, server) as visitor:
        yield opened(visitor, server)


def test_a_card_sets_the_controls_runs_and_leads_on(page: Page) -> None:
    expect(page.locator("#story-cards button")).to_have_count(6)
    card(page, "rocket")
    told(page, "rocket")
    words = COURSE[4].words
    expect(page.locator("#label input")).to_have_value(named(words["label"]))
    expect(page.locator("#seed input")).to_have_value(words["seed"])
    expect(page.locator(STATUS)).to_contain_text("run has started")
    ended(page)
    expect(page.locator("#facts")).to_contain_text(f"{words['label']} · seed 7 to 10 · 25 steps")
    expect(page.locator("#gallery .grid-container img, #preview canvas")).not_to_have_count(0)
    expect(page.locator(".story-buttons .place")).to_have_text(f"Story 5 of {len(COURSE)}")
    page.locator("#story .next").click()
    told(page, "conditioning")
    selected(page, "Look inside")
    expect(page.locator(".story-buttons .place")).to_have_text(f"Story 6 of {len(COURSE)}")
    ended(page)
    expect(page.locator("#look-forming figure").first).to_be_visible(timeout=120_000)  # which the story opens after its run


@pytest.mark.parametrize(
    ("spoken", "width", "height"), [("en", 1280, 860), (language.CHINESE, 390, 844)], ids=["English, desktop", "Chinese, phone"]
)
def test_next_leads_through_all_stories_and_each_is_run_and_told_to_its_end(
    browser: Browser, server: str, spoken: str, width: int, height: int
) -> None:
    with visiting(browser, server, locale=spoken, viewport={"width": width, "height": height}) as visitor:
        page = visitor.new_page()
        page.goto(f"{server}?story={COURSE[0].id}")
        for place, story in enumerate(COURSE):
            if place:
                page.locator("#story .next").click()
            expect(page.locator("#story h2")).to_have_text(language.said(story.title, spoken))
            expect(page.locator("#story section p").first).to_have_text(language.said(story.text, spoken))
            expect(page.locator(STATUS)).to_have_text(language.said(ENDED if story.go else OPEN, spoken), timeout=180_000)
            if story.jump[1]:
                expect(page.locator(story.jump[1])).to_be_visible()
            assert [error.inner_text() for error in page.locator(".error").all() if error.is_visible()] == [], story.id
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), story.id
        expect(page.locator("#story .next")).to_have_count(0)


def test_the_address_of_a_story_opens_the_grid_and_fills_it(context: BrowserContext, server: str) -> None:
    page = opened(context, server, "?story=steps")
    told(page, "steps")
    selected(page, "Compare")
    selected(page, "X/Y grid")
    ended(page)
    expect(page.locator("#grid-note")).to_contain_text("10 of 10 cells finished")
    page.locator("#grid-steps").locator("input, textarea").first.fill("9")
    assert "story=" in page.url  # a change of the grid writes no address of its own
    go(page, "Image")
    expect(page).to_have_url(re.compile("tab=image"))


def test_a_story_that_looks_at_a_picture_has_its_patch_and_its_layers(shared: Page) -> None:
    card(shared, "attention")
    told(shared, "attention")
    selected(shared, "Look inside")
    expect(shared.locator("#look-caption p")).to_contain_text("Layer 2 · mean of all heads · query: row 3, column 4")
    expect(shared.locator("#look-query input")).to_have_value("clicked patch")
    expect(shared.locator(STATUS)).to_have_text(OPEN)
    shared.locator("#look-sheet-part > .label-wrap").click()
    expect(shared.locator("#look-sheet img")).to_be_hidden()
    shared.locator("[data-jump]").click()  # unfolds it, and goes there
    expect(shared.locator("#look-sheet img")).to_be_in_viewport()
    link = shared.locator("#story .paper a")
    expect(link).to_have_attribute("href", "https://arxiv.org/abs/1706.03762")


def test_a_story_ends_what_runs_and_then_runs_itself(page: Page) -> None:
    page.locator("#steps input").fill("900")
    page.click("#generate")
    expect(page.locator("#progress")).to_contain_text(re.compile(r"step \d+ of 900"))
    card(page, "rocket")
    told(page, "rocket")
    ended(page)
    expect(page.locator("#facts")).to_contain_text(re.compile(r"seed 7 to 10 · 25 steps .*\d s"))


def test_close_and_escape_leave_the_tab_as_it_is_and_back_tells_the_story_before(shared: Page) -> None:
    page = shared
    page.evaluate("window.scrollTo(0, 0)")
    page.locator(".stories-head .course").click()
    told(page, "patches")
    page.locator("#story .next").click()
    told(page, "attention")
    page.go_back()
    told(page, "patches")
    page.keyboard.press("Escape")
    expect(page.locator("#story section")).to_be_hidden()
    selected(page, "Look inside")
    expect(page).to_have_url(re.compile("tab=look&model=tiny-vit"))
    card(page, "attention")
    told(page, "attention")
    page.locator("#story-close").click()
    expect(page.locator("#story section")).to_be_hidden()
    expect(page.locator('#story-cards [data-story="attention"]')).to_be_focused()


def test_the_link_of_a_story_is_its_address(context: BrowserContext, server: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    page = opened(context, server)
    card(page, "attention")
    told(page, "attention")
    page.click("#story-link")
    expect(page.locator("#story-link")).to_have_text("Link copied")
    assert page.evaluate("navigator.clipboard.readText()") == f"{server}?story=attention"


def test_the_cards_stay_folded_for_who_folded_them(context: BrowserContext, server: str) -> None:
    page = opened(context, server)
    expect(page.locator("#story-cards")).to_be_visible()
    page.click("#stories-fold")
    expect(page.locator("#story-cards")).to_be_hidden()
    page = opened(context, server)
    expect(page.locator("#story-cards")).to_be_hidden()
    page.click("#stories-fold")
    expect(page.locator("#story-cards")).to_be_visible()


def test_a_story_that_there_is_not_is_said_and_the_page_stands(context: BrowserContext, server: str) -> None:
    page = opened(context, server, "?story=unicorn")
    expect(page.locator("#message .error")).to_contain_text("There is no story 'unicorn' on this hub: there are patches, attention")
    assert page.locator("#story section").count() == 0
    card(page, "attention")
    told(page, "attention")
    expect(page.locator("#message .error")).to_have_count(0)


def test_on_a_phone_a_card_runs_and_panel_and_result_are_seen_together(browser: Browser, server: str) -> None:
    with visiting(browser, server) as visitor:
        page = opened(visitor, server)
        page.set_viewport_size({"width": 390, "height": 844})
        row = page.locator("#story-cards")
        assert row.evaluate("e => e.scrollWidth > e.clientWidth && e.getBoundingClientRect().height < 130")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        card(page, "rocket")
        told(page, "rocket")
        ended(page)
        expect(page.locator("#story h2")).to_be_in_viewport()
        expect(page.locator("#gallery, #preview").locator("visible=true").first).to_be_in_viewport(ratio=0.7)
        small = SMALL.replace("[role=tabpanel] :is(", ":is(#story, #stories) :is(")
        assert page.evaluate(small) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_cards_and_panel(context: BrowserContext, server: str, theme: str) -> None:
    page = opened(context, server, f"?__theme={theme}&story=attention")
    expect(page.locator("#story h2")).to_have_text(TITLES["attention"])
    expect(page.locator(STATUS)).not_to_be_empty()
    assert findings(page) == []


def test_a_hub_without_those_models_has_no_cards(browser: Browser) -> None:
    with serving(Hub(device="cpu", models=["tiny-unet"])) as url, visiting(browser, url) as visitor:
        page = opened(visitor, url)
        assert page.locator("#stories").is_hidden()
        page.goto(f"{url}?story=rocket")
        expect(page.locator("#message .error")).to_contain_text("none of the models that the stories show")


def test_every_string_of_the_stories_has_its_chinese() -> None:
    table = json.loads((DATA.parent.parent / "ui" / "language" / "zh-CN" / "stories.json").read_text(encoding="utf-8"))
    english = {part for story in COURSE for part in (story.title, story.text, story.jump[0], story.card[0]) if part}
    assert english - table.keys() == set()
