"""From tab to tab in a real browser: keys, drops and addresses reach the open tab; focus is no choice; an error is always seen."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import arrived, named, opened, visiting
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from test_page import choose, download, fill, finished, generate, settings

TABS = ("Image", "Video", "Compare", "Look inside", "Models")
DROP = """([name, kind, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: kind }));
    document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""


@pytest.fixture(scope="module")
def visitor(browser: Browser, server: str) -> Iterator[BrowserContext]:
    """One visitor for the tests that look at what he finds."""
    with visiting(browser, server) as one:
        yield one


@pytest.fixture(scope="module")
def caller(visitor: BrowserContext) -> Page:
    """A page on which one address is called after another."""
    return visitor.new_page()


@pytest.fixture(scope="module")
def still(visitor: BrowserContext, server: str) -> Page:
    """The page, open and answering, for tests that go from tab to tab and choose nothing."""
    return opened(visitor, server)


@pytest.fixture(scope="module")
def phone(visitor: BrowserContext, server: str) -> Page:
    """The page on a phone, for tests of one tab each."""
    page = opened(visitor, server)
    page.set_viewport_size({"width": 390, "height": 844})
    return page


def go(page: Page, name: str) -> None:
    """Open a tab."""
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


def drop(page: Page, path: Path, kind: str) -> None:
    page.evaluate(DROP, [path.name, kind, base64.b64encode(path.read_bytes()).decode()])


def in_view(page: Page, locator: Locator) -> None:
    """Wait until an element stands inside the window."""
    locator.wait_for()
    page.wait_for_function(
        "(e) => { const b = e.getBoundingClientRect(); return b.top >= 0 && b.bottom <= innerHeight; }", arg=locator.element_handle()
    )


def selected(page: Page, name: str) -> None:
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


# ---- focus is no choice


@pytest.mark.parametrize(("tab", "prefix"), [("Image", ""), ("Video", "video-")])
def test_a_list_that_is_entered_and_left_changes_nothing(page: Page, tab: str, prefix: str) -> None:
    go(page, tab)
    expect(page.locator(f"#{prefix}cost")).to_contain_text("about")
    fill(page, **{f"{prefix}steps": "7", f"{prefix}seed": "5"})
    page.locator(f"#{prefix}guidance input[type=number]").fill("3.5")
    page.keyboard.press("Tab")
    boxes = [page.locator(f"#{prefix}{name} input").first for name in ("model", "label", "steps", "seed", "solver", "guidance")]
    before = [box.input_value() for box in boxes]
    for name in ("model", "label", "solver"):
        page.click(f"#{prefix}{name} input")
        expect(page.locator(f"#{prefix}{name} [role=listbox]")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.locator("[role=listbox]")).to_have_count(0)
        page.click(f"#{prefix}{name} input")
        page.locator("#banner").click()
    page.click(f"#{prefix}model input")
    page.locator("[role=option]").first.click()  # the one that stands there
    page.click(f"#{prefix}dice")
    expect(boxes[3]).not_to_have_value("5")  # whatever those lists asked of the server was answered before this
    boxes[3].fill("5")
    assert [box.input_value() for box in boxes] == before
    assert "defaults" not in page.locator(f"#{prefix}verdict").inner_text()


def test_tab_goes_on_from_a_list_to_the_next_control(page: Page) -> None:
    page.click("#model input")
    page.keyboard.press("Tab")
    expect(page.locator("#label input")).to_be_focused()
    expect(page.locator("[role=listbox]")).to_have_count(0)
    page.keyboard.type("sta")
    expect(page.locator("[role=option]")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#label input")).to_have_value(named("star"))
    page.focus("#solver input")
    page.keyboard.press("Tab")
    expect(page.locator("[role=listbox]")).to_have_count(0)


def test_another_preset_leaves_the_class_and_the_same_one_everything(page: Page) -> None:
    choose(page, "label", "star")
    choose(page, "model", "tiny U-ViT")
    expect(page.locator("#verdict")).to_contain_text("tiny U-ViT's own defaults")
    expect(page.locator("#label input")).to_have_value(named("dog"))


# ---- errors are seen


def test_an_error_after_a_run_is_seen_and_leaves_the_pictures(page: Page) -> None:
    fill(page, steps="3", count="1", seed="1")
    generate(page)
    finished(page, 1)
    fill(page, seed="abc")
    page.click("#generate")
    in_view(page, page.locator("#progress .error"))
    expect(page.locator("#progress .error")).to_contain_text("abc")
    expect(page.locator("#gallery img").first).to_be_visible()
    expect(page.locator("#generate")).to_be_visible()


@pytest.mark.parametrize("tab", ["Image", "Video"])
def test_on_a_phone_an_error_comes_into_view(phone: Page, tab: str) -> None:
    page = phone
    go(page, tab)
    prefix = "" if tab == "Image" else "video-"
    page.locator(f"#{prefix}seed input").fill("abc")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.click(f"#{prefix}generate")
    in_view(page, page.locator(f"#{prefix}progress .error"))


# ---- keys and drops


def test_enter_and_escape_belong_to_the_open_tab(page: Page) -> None:
    go(page, "Video")
    fill(page, **{"video-steps": "200"})
    page.locator("#video-seed input").fill("3")
    page.keyboard.press("Enter")
    expect(page.locator("#video-progress")).to_contain_text(re.compile(r"step \d+ of 200"))
    assert page.locator("#generate").is_hidden()
    assert page.locator("#facts").inner_text().strip() == ""
    page.keyboard.press("Escape")
    page.locator("#video-generate").wait_for()
    expect(page.locator("#video-facts")).to_contain_text("stopped after step")
    go(page, "Compare")
    page.keyboard.press("Escape")
    go(page, "Image")
    assert page.locator("#facts").inner_text().strip() == ""  # nothing began there meanwhile


def test_a_file_that_is_dropped_goes_to_the_tab_that_it_is_of(page: Page, tmp_path: Path) -> None:
    fill(page, steps="4", count="1", seed="21")
    generate(page)
    finished(page, 1)
    picture = download(page, tmp_path)
    go(page, "Video")
    fill(page, **{"video-steps": "2"})
    page.locator("#video-seed input").fill("8")
    page.click("#video-generate")
    expect(page.locator("#video-facts")).to_contain_text(re.compile(r"\d\.\d s"))
    with page.expect_download() as given:
        page.click("#savemp4")
    clip = tmp_path / "clip.mp4"
    given.value.save_as(clip)

    go(page, "Models")
    drop(page, clip, "video/mp4")
    selected(page, "Video")
    expect(page.locator("#video-verdict")).to_contain_text("seed 8, are back on the controls")
    go(page, "Compare")
    drop(page, picture, "image/png")
    selected(page, "Image")
    expect(page.locator("#verdict")).to_contain_text("seed 21, are back on the controls")
    assert settings(page)["steps"] == "4"

    photograph = tmp_path / "photograph.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)).save(photograph)
    drop(page, photograph, "image/jpeg")
    selected(page, "Look inside")
    expect(page.locator("#look-picture img")).to_be_visible()
    text = tmp_path / "notes.txt"
    text.write_text("not a picture")
    go(page, "Image")
    drop(page, text, "text/plain")
    in_view(page, page.locator("#message .error"))
    expect(page.locator("#message .error")).to_contain_text("notes.txt is no picture or video")
    selected(page, "Image")


# ---- addresses


def test_an_address_opens_what_it_says(caller: Page, server: str) -> None:
    page = arrived(caller, server + "?tab=image&model=tiny-uvit&label=star&seed=7&count=2&steps=9&solver=ddim&guidance=3.5&eta=0.5")
    selected(page, "Image")
    expect(page.locator("#label input")).to_have_value(named("star"))
    page.get_by_text("More", exact=True).click()
    wanted = {"count": "2", "seed": "7", "steps": "9", "solver": "ddim", "guidance": "3.5", "eta": "0.5"}
    expect(page.locator("#eta input").first).to_have_value("0.5")
    assert {name: value for name, value in settings(page).items() if name in wanted} == wanted
    assert settings(page)["model"].startswith("tiny U-ViT")


@pytest.mark.parametrize(
    ("query", "tab"),
    [("tab=video&seed=4", "Video"), ("tab=compare", "Compare"), ("tab=look&model=tiny-dit&label=star&seed=7", "Look inside"),
     ("tab=models&model=tiny-latte", "Models"), ("model=tiny-latte&label=rocket%20flies%20up", "Video")],
)  # fmt: skip
def test_every_tab_has_an_address(caller: Page, server: str, query: str, tab: str) -> None:
    page = caller
    page.goto(f"{server}?{query}")
    selected(page, tab)
    if tab == "Look inside":
        expect(page.locator("#look-model input")).to_have_value(re.compile("tiny DiT"))
        expect(page.locator("#look-seed input")).to_have_value("7")
    if tab == "Models":
        expect(page.locator("#card h2")).to_have_text("tiny Latte")


@pytest.mark.parametrize(
    ("query", "words"),
    [("tab=photo", "'photo'"), ("tab=image&model=tiny-dot", "'tiny-dot'"), ("tab=image&steps=many", "'many'"),
     ("tab=image&label=stair", "'stair'"), ("tab=image&colour=red", "'colour'"), ("tab=video&model=tiny-dit", "tiny-dit makes no videos"),
     ("tab=look&model=nothing", "'nothing'"), ("tab=models&model=nothing", "'nothing'"), ("tab=image&guidance=nan", "nan")],
)  # fmt: skip
def test_a_wrong_address_is_said_and_the_page_stands(caller: Page, server: str, query: str, words: str) -> None:
    page = arrived(caller, f"{server}?{query}")
    expect(page.locator("#message .error")).to_contain_text(words)
    expect(page.locator("#generate")).to_be_visible()


def test_the_address_follows_what_is_chosen_and_back_goes_to_the_former_tab(page: Page) -> None:
    choose(page, "label", "star")
    expect(page).to_have_url(re.compile(r"tab=image.*label=star"))
    fill(page, seed="12", steps="8")
    expect(page).to_have_url(re.compile(r"seed=12&steps=8"))
    go(page, "Video")
    expect(page).to_have_url(re.compile(r"tab=video"))
    go(page, "Models")
    page.go_back()
    selected(page, "Video")
    page.go_back()
    selected(page, "Image")
    expect(page).to_have_url(re.compile(r"label=star.*seed=12"))
    page.reload()
    expect(page.locator("#label input")).to_have_value(named("star"))
    expect(page.locator("#seed input")).to_have_value("12")


def test_a_result_has_a_link_that_opens_its_settings(context: BrowserContext, server: str) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    page = opened(context, server)
    choose(page, "label", "heart")
    fill(page, steps="3", count="2", seed="31")
    generate(page)
    finished(page, 2)
    page.get_by_text("Receipt", exact=True).click()
    page.locator("#gallery .grid-container button").nth(1).click()
    expect(page.locator("#receipt")).to_contain_text(re.compile(r"seed\W+32\b"))
    page.click("#link")
    expect(page.locator("#link")).to_have_text("Link copied")
    address = page.evaluate("navigator.clipboard.readText()")
    other = context.new_page()
    other.goto(address)
    expect(other.locator("#label input")).to_have_value(named("heart"))
    expect(other.locator("#seed input")).to_have_value("32")
    expect(other.locator("#steps input")).to_have_value("3")


# ---- help


def test_every_control_says_what_it_does_on_hover_and_on_a_tap(still: Page) -> None:
    page = still
    go(page, "Image")
    page.locator("#guidance").hover()
    expect(page.locator("#help-line")).to_contain_text("eps = uncond + w (cond - uncond)")
    page.locator("#banner").hover()
    expect(page.locator("#help-line")).to_be_hidden()
    page.locator("#steps [data-testid=block-info]").click()
    expect(page.locator("#help-line")).to_contain_text("Sampling steps")
    page.locator("#steps input").focus()
    expect(page.locator("#help-line")).to_contain_text("F1 tells more.")  # the marks that say more are no stops of Tab
    described = page.locator("#solver input").get_attribute("aria-description")
    assert "sampler" in described


@pytest.mark.parametrize("tab", TABS)
def test_no_control_is_without_help(still: Page, tab: str) -> None:
    page = still
    go(page, tab)
    page.wait_for_timeout(300)
    bare = page.evaluate(
        """() => [...document.querySelectorAll("[role=tabpanel] :is(input:not([type=file]), textarea, button:not([role=tab]))")]
        .filter((e) => e.offsetParent && !e.closest("[id]:is(" + Object.keys(HELP).map((id) => "#" + CSS.escape(id)).join(",") + ")"))
        .filter((e) => !(e.closest("[data-help]")?.dataset.help in HELP))
        .filter((e) => !e.closest("[aria-hidden=true], [role=listbox], .history, #receipt, .label-wrap, #look-file, [class*=accordion]"))
        .map((e) => (e.closest("[id]")?.id || "") + "|" + (e.getAttribute("aria-label") || e.innerText || e.type).slice(0, 40))"""
    )
    assert bare == []


def test_a_comparison_has_an_address_that_opens_its_columns(context: BrowserContext, server: str) -> None:
    page = opened(context, server)
    go(page, "Compare")
    page.locator("#compare-steps-A input").fill("9")
    page.locator("#compare-seed input").fill("17")
    page.keyboard.press("Tab")
    expect(page).to_have_url(re.compile("tab=compare&settings=.*tiny-dit.*17.*9.*tiny-uvit"))
    other = context.new_page()
    other.goto(page.url)
    selected(other, "Compare")
    expect(other.locator("#compare-steps-A input")).to_have_value("9")
    expect(other.locator("#compare-seed input")).to_have_value("17")
    expect(other.locator("#compare-steps-B input")).to_have_value("25")
    other.goto(f"{server}?tab=compare&settings=[1")
    expect(other.locator("#message .error")).to_contain_text("not valid JSON")


def test_look_inside_before_any_run_takes_the_class_over(page: Page) -> None:
    choose(page, "label", "star")
    fill(page, seed="5", steps="6")
    page.click("#inside")
    selected(page, "Look inside")
    expect(page.locator("#look-model input")).to_have_value(re.compile("tiny DiT"))
    expect(page.locator("#look-label input")).to_have_value(named("star"))
    expect(page.locator("#look-seed input")).to_have_value("5")
    expect(page.locator("#look-steps input")).to_have_value("6")
    page.go_back()
    selected(page, "Image")
