"""The lists of classes on the page: found by any name in two languages, shown with pictures, while addresses hold the English name."""

from __future__ import annotations

import colorsys
import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import named, serving
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from zoo.catalog.labels import label_names
from zoo.ui.server import page_files

EMOJI = label_names("emoji")
MODEL = {
    "title": "Drawer", "family": "dit", "task": "class-to-image", "labels": "emoji",
    "arch": {
        "input_size": 16, "patch_size": 4, "in_channels": 4, "hidden_size": 24, "depth": 1, "num_heads": 2,
        "num_classes": len(EMOJI), "learn_sigma": True,
    },
    "schedule": {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}, "guidance": {"default": 1.5},
    "sampling": {"solver": "ddim", "steps": 4}, "latent": {"vae": "tiny-vae", "scale": 0.8}, "cost": {"params": 1, "gmacs": 0.1},
    "weights": [{"from": "manual", "url": "https://example.org/drawer", "file": "drawer.pt"}],
}  # fmt: skip


def colour(index: int) -> tuple[int, ...]:
    """Of the tile that stands for a class."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(index / len(EMOJI), 0.8, 0.9))


@pytest.fixture
def address(tmp_path: Path, hub_with: Callable, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page of a hub with a model that knows emoji, whose sprite is one colour a class."""
    sheet = Image.new("RGB", (480, 480))
    for index in range(len(EMOJI)):
        sheet.paste(colour(index), (index % 10 * 48, index // 10 * 48, index % 10 * 48 + 48, index // 10 * 48 + 48))
    files = shutil.copytree(page_files.FOLDER, tmp_path / "files")
    sheet.save(files / "classes-emoji.webp", lossless=True)
    monkeypatch.setattr(page_files, "FOLDER", files)
    page_files.files.cache_clear()
    try:
        with serving(
            hub_with({"drawer": MODEL, "stranger": MODEL | {"title": "Stranger", "labels": [f"{name} | it" for name in EMOJI]}})
        ) as url:
            yield url
    finally:
        page_files.files.cache_clear()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A visitor's page that has come to an umbrella, by its Chinese name."""
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        page = context.new_page()
        page.goto(f"{address}?model=drawer&label=雨伞")
        expect(page.locator("#label input")).to_have_value("umbrella | 雨伞")
        yield page


def look_for(page: Page, box: str, typed: str) -> None:
    """Open a list of classes and type, all at once, as an input method does."""
    page.click(f"#{box} input")
    expect(page.get_by_role("listbox")).to_be_visible()
    page.keyboard.insert_text(typed)


def painted(part: Locator, wanted: tuple[int, ...]) -> int:
    """How many pixels of a part of the page have a colour."""
    with Image.open(io.BytesIO(part.screenshot())) as picture:
        return sum(count for count, seen in picture.convert("RGB").getcolors(1 << 20) if seen == wanted)


def asked(page: Page, word: str) -> str:
    return parse_qs(urlsplit(page.url).query).get(word, [""])[0]


def test_a_class_is_found_by_its_english_name_by_its_chinese_one_and_by_a_further_word_of_both(page: Page) -> None:
    for typed, name in (("rocke", "rocket"), ("鲸", "whale"), ("pupp", "dog"), ("汪星人", "dog"), ("French fr", "fries")):
        look_for(page, "label", typed)
        option = page.get_by_role("option")
        expect(option).to_have_count(1)
        expect(option).to_have_text(re.compile(rf"{name} \| "))
        option.click()
        expect(page.locator("#label input")).to_have_value(named(name))
        expect(page).to_have_url(re.compile(rf"[?&]label={name}(&|$)"))
    look_for(page, "label", "nobody calls it so")
    expect(page.get_by_role("option")).to_have_count(0)


def test_the_keys_reach_what_gradio_finds_and_then_what_further_words_find(page: Page) -> None:
    look_for(page, "label", "小")
    options = page.get_by_role("option")
    expect(options.first).to_have_attribute("data-word", "小狗")
    expect(options.nth(0)).to_have_class(re.compile(r"\bactive\b"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    chosen = options.nth(1)
    expect(chosen).to_have_class(re.compile(r"\bactive\b"))
    expect(page.locator("#label input")).to_have_attribute("aria-activedescendant", chosen.get_attribute("id"))
    name = chosen.inner_text().split(" | ")[0]
    page.keyboard.press("Enter")
    expect(page.locator("#label input")).to_have_value(named(name))
    look_for(page, "label", "shoe")  # one that the list itself names
    expect(options).to_have_text([re.compile("shoe")])
    look_for(page, "label", "ca")  # gradio's first, as ever
    page.keyboard.press("Enter")
    expect(page.locator("#label input")).to_have_value(named("cat"))


def test_each_class_in_the_list_has_its_picture(page: Page) -> None:
    page.click("#label input")
    for index in (EMOJI.index("umbrella"), 0, len(EMOJI) - 1):
        option = page.locator(f"#label [role=option][data-index='{index}']")
        option.scroll_into_view_if_needed()
        page.wait_for_function("!document.querySelector('#label [role=listbox]').getAnimations({ subtree: true }).length")
        assert painted(option, colour(index)) > 700
    page.keyboard.press("Escape")
    page.click("#banner")
    look_for(page, "label", "puppy")
    option = page.get_by_role("option")
    expect(option).to_have_count(1)
    assert painted(option, colour(0)) > 700


def test_the_list_opens_where_the_class_is_that_is_chosen(page: Page) -> None:
    page.click("#label input")
    expect(page.locator("#label [role=option][aria-selected=true]")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("#label [role=option]").first).not_to_be_in_viewport()


def test_compare_and_the_grid_take_chinese_words_and_further_ones_as_well(page: Page, address: str) -> None:
    page.goto(f'{address}?tab=compare&settings=[{{"model":"drawer","label":"鬼"}},{{"model":"drawer"}}]')
    expect(page.locator("#compare-label input")).to_have_value(named("ghost"))
    look_for(page, "compare-label", "bike")
    page.keyboard.press("Enter")
    expect(page.locator("#compare-label input")).to_have_value(named("bicycle"))
    expect(page).to_have_url(re.compile("%22label%22%3A%22bicycle%22"))
    look_for(page, "compare-label", "every")
    page.get_by_role("option", name="every class in turn").click()
    expect(page).to_have_url(re.compile("%22label%22%3A%22each%22"))
    page.get_by_role("tab", name="X/Y grid").click()
    page.click("#grid-model input")
    page.get_by_role("option").filter(has_text="Drawer").click()
    expect(page.locator("#grid-label input")).to_have_value(named("dog"))
    look_for(page, "grid-label", "兔宝宝")
    page.keyboard.press("Enter")
    expect(page.locator("#grid-label input")).to_have_value(named("rabbit"))


def test_names_of_a_users_own_stand_in_the_address_as_they_are(page: Page) -> None:
    page.click("#model input")
    page.get_by_role("option").filter(has_text="Stranger").click()
    expect(page.locator("#label input")).to_have_value("dog | it")
    look_for(page, "label", "puppy")
    expect(page.get_by_role("option")).to_have_count(0)
    page.keyboard.press("Control+a")
    page.keyboard.type("cat | ")
    page.get_by_role("option").first.click()
    expect(page.locator("#label input")).to_have_value("cat | it")
    page.wait_for_function("new URLSearchParams(location.search).get('label') === 'cat | it'")
    assert asked(page, "model") == "stranger"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_open_list_on_a_phone_is_as_large_as_fingers_and_every_word_of_it_can_be_read(
    browser: Browser, address: str, scheme: str
) -> None:
    with browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(f"{address}?model=drawer&label=dog&__theme={scheme}")
        expect(page.locator("#label input")).to_have_value(named("dog"))
        look_for(page, "label", "小")
        options = page.get_by_role("option")
        expect(options.first).to_have_attribute("data-word", "小狗")
        assert min(one.bounding_box()["height"] for one in options.all()) >= 44
        page.wait_for_timeout(300)  # it fades in
        found = Axe().run(page, context="#label", options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
        assert found.violations_count == 0, found.generate_report()
        options.first.tap()
        expect(page.locator("#label input")).to_have_value(named("dog"))
