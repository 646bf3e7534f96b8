"""The page in a real browser: open, choose, generate, watch, stop, keep, drop a picture back, and get the same pixels."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import opened, visiting
from PIL import Image, PngImagePlugin
from playwright.sync_api import Browser, BrowserContext, Page, expect

from zoo.catalog.card import cards
from zoo.media import pictures, receipts

CARDS = cards()
LONG = {"steps": "250", "count": "8"}
DROP = """([selector, name, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, { type: "image/png" }));
    document.querySelector(selector).dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
}"""


def fill(page: Page, **values: str) -> None:
    """Type values into the number boxes of the controls."""
    for name, value in values.items():
        page.locator(f"#{name} input[type=number], #{name} input[type=text]").first.fill(value)
        page.keyboard.press("Tab")


def choose(page: Page, name: str, typed: str) -> None:
    """Pick an entry of a list by typing a part of it."""
    page.click(f"#{name} input")
    page.keyboard.type(typed)
    expect(page.locator("[role=option]")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("[role=option]")).to_have_count(0)


def finished(page: Page, count: int | None = None) -> str:
    """Wait for the end of the run that `generate` began; the line of facts under it."""
    page.locator("#generate").wait_for()
    expect(page.locator("#facts p:not([data-old])")).to_have_text(re.compile(r"\d s$|kept$"))
    if count:
        expect(page.locator("#gallery .grid-container img")).to_have_count(count)
    return page.inner_text("#facts")


def generate(page: Page) -> None:
    """Mark what stands there as old, and press Generate."""
    page.evaluate("document.querySelector('#facts p')?.setAttribute('data-old', '')")
    page.click("#generate")


def reached(page: Page, step: int) -> None:
    """Wait until a run has come to this step."""
    page.wait_for_function(f"Number(document.querySelector('#progress').innerText.match(/step (\\d+)/)?.[1]) >= {step}")


def settings(page: Page) -> dict[str, str]:
    """What stands in every control."""
    names = ("model", "label", "count", "seed", "steps", "solver", "guidance", "eta")
    boxes = {name: page.locator(f"#{name} input").first for name in names}
    return {name: box.input_value() for name, box in boxes.items() if box.count()}


def download(page: Page, folder: Path) -> Path:
    """The file that the download button gives."""
    with page.expect_download() as given:
        page.click("#download")
    path = folder / given.value.suggested_filename
    given.value.save_as(path)
    return path


def drop(page: Page, path: Path, where: str = "body") -> None:
    page.evaluate(DROP, [where, path.name, base64.b64encode(path.read_bytes()).decode()])


def forged(path: Path, **change: object) -> Path:
    """The same picture with another request in its receipt."""
    image, receipt = pictures.read_png(path)
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text(receipts.RECEIPT, json.dumps(receipt | {"request": receipt["request"] | change}))
    made = path.with_name(f"forged-{next(iter(change))}-{len(str(change))}.png")
    Image.fromarray(image).save(made, pnginfo=chunks)
    return made


def test_everything_that_a_first_picture_needs_is_in_the_first_view(page: Page) -> None:
    for name in ("model", "label", "count", "seed", "dice", "reuse", "steps", "solver", "guidance", "generate", "cost"):
        assert page.locator(f"#{name}").bounding_box()["y"] + page.locator(f"#{name}").bounding_box()["height"] <= 860, name
    page.click("#model input")
    offered = [text.split("\n")[-1] for text in page.locator("[role=option]").all_inner_texts()]
    bundled = [CARDS[name] for name in ("tiny-dit", "tiny-uvit", "tiny-unet", "tiny-sit")]
    assert offered[:4] == [f"{card.title} · {card.weights[0].bytes / 1e6:.1f} MB · apache-2.0" for card in bundled]
    assert all(text.endswith("not downloaded") for text in offered[4:])


def test_a_run_shows_every_step_and_ends_with_pictures_and_their_seeds(page: Page) -> None:
    choose(page, "label", "hea")
    page.evaluate("""() => { window.seen = new Set(); window.words = new Set();
        new MutationObserver(() => {
            document.querySelectorAll("#preview img").forEach((image) => window.seen.add(image.src));
            window.words.add(document.querySelector("#progress").innerText.trim());
        }).observe(document.body, { subtree: true, childList: true, attributes: true }); }""")
    box = page.locator("#preview .frame").bounding_box()
    fill(page, steps="200")
    generate(page)
    facts = finished(page, 4)
    guidance = f"guidance {CARDS['tiny-dit'].guidance.default:g}"
    assert re.match(rf"tiny DiT · heart · seed \d+ to \d+ · 200 steps dpm-solver\+\+ · {guidance} · \d+\.\d s", facts)
    assert page.evaluate("window.seen.size") >= 4 * 3
    told = [word for word in page.evaluate("[...window.words]") if word.startswith("step")]
    assert len(told) >= 5
    assert all(re.fullmatch(r"step \d+ of 200, \d+\.\d s left, \d+\.\d steps/s", word) for word in told)
    assert page.locator("#gallery").bounding_box() == pytest.approx(box, abs=2)  # nothing jumps


def test_every_step_of_a_run_can_be_looked_at_again(page: Page) -> None:
    fill(page, count="2", steps="12")
    generate(page)
    finished(page, 2)
    bar = page.locator("#step input[type=range]")
    expect(bar).to_have_value("12")
    shown = set()
    for step in (11, 10, 3):
        bar.fill(str(step))
        frame = page.locator(f"#preview .frame[data-step='{step}'] img")
        expect(frame).to_have_count(2)
        shown.add(frame.first.get_attribute("src"))
    page.get_by_role("radio", name="noisy sample").check()
    page.wait_for_function("(before) => !before.includes(document.querySelector('#preview img')?.src)", arg=list(shown))
    assert len(shown) == 3
    page.get_by_role("radio", name="clean prediction").check()
    bar.fill("12")
    expect(page.locator("#gallery img").first).to_be_visible()
    expect(page.locator("#preview")).to_be_hidden()
    generate(page)
    finished(page, 2)
    expect(bar).to_have_value("12")


def test_stop_ends_a_long_run_and_keeps_what_was_there(page: Page, tmp_path: Path) -> None:
    fill(page, **LONG)
    generate(page)
    reached(page, 2)
    page.click("#stop")
    assert "stopped after step" in finished(page, 8)
    seed = re.search(r"seed (\d+) to", page.inner_text("#facts")).group(1)
    receipt = pictures.read_png(download(page, tmp_path))[1]
    assert 2 <= receipt["stopped_at"] < 250
    page.click("#reuse")
    expect(page.locator("#seed input")).to_have_value(seed)


def test_a_picture_dropped_back_restores_everything_and_comes_out_identical(page: Page, tmp_path: Path) -> None:
    choose(page, "model", "tiny U-ViT")
    expect(page.locator("#verdict")).to_contain_text("tiny U-ViT's own defaults")
    choose(page, "label", "star")
    choose(page, "solver", "ddim")
    fill(page, count="3", seed="41", steps="7", guidance="3.5")
    page.get_by_text("More", exact=True).click()
    fill(page, eta="0.5")
    before = settings(page)
    generate(page)
    finished(page, 3)
    page.get_by_text("Receipt", exact=True).click()
    page.locator("#gallery .grid-container button").nth(1).click()
    expect(page.locator("#receipt")).to_contain_text(re.compile(r"seed\W+42\b"))
    picture = download(page, tmp_path)
    assert pictures.read_png(picture)[1]["seed"] == 42

    page.reload()
    page.wait_for_function("document.querySelector('#cost p')?.innerText.startsWith('about')")
    page.get_by_text("More", exact=True).click()
    assert settings(page) != before
    drop(page, picture)
    expect(page.locator("#verdict")).to_contain_text("seed 42, are back on the controls")
    assert settings(page) == before
    generate(page)
    finished(page, 3)
    expect(page.locator("#verdict")).to_contain_text("Identical: every pixel is the same")

    fill(page, seed="43")
    generate(page)
    finished(page, 3)
    assert "Identical" not in page.inner_text("#verdict")


def test_a_stopped_picture_comes_out_identical_as_well(page: Page, tmp_path: Path) -> None:
    fill(page, steps="200", count="2", seed="5")
    generate(page)
    reached(page, 3)
    page.keyboard.press("Escape")
    finished(page, 2)
    picture = download(page, tmp_path)
    page.locator(".controls > input[type=file]").set_input_files(picture)
    expect(page.locator("#verdict")).to_contain_text("stopped after step")
    fill(page, steps="200")
    generate(page)
    stopped = pictures.read_png(picture)[1]["stopped_at"]
    reached(page, stopped + 1)
    page.click("#stop")
    finished(page, 2)
    expect(page.locator("#verdict")).to_contain_text("Identical")


def test_wrong_files_are_one_sentence_and_change_nothing(page: Page, tmp_path: Path) -> None:
    fill(page, seed="77", steps="3", count="1")
    generate(page)
    finished(page, 1)
    whole = download(page, tmp_path)
    before = settings(page)
    plain, text, edited = (tmp_path / name for name in ("plain.png", "text.png", "edited.png"))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(plain)
    text.write_text("not a picture")
    image, receipt = pictures.read_png(whole)
    edited.write_bytes(pictures.png(255 - image, receipt))
    cases = {
        plain: "carries no receipt", text: "cannot be read as a PNG", edited: "was changed after it was made",
        forged(whole, model="tiny-dot"): "There is no model 'tiny-dot'", forged(whole, steps=10**6): "1 to 1000, not 1000000",
        forged(whole, guidance=float("nan")): "not nan", forged(whole, colour="red"): "not a request",
        forged(whole, seeds=list(range(10_000))): "at most 64", forged(whole, seeds=[]): "0 images",
    }  # fmt: skip
    for path, words in cases.items():
        if path in (plain, text):  # dropped anywhere these would go elsewhere: test_tabs.py
            page.locator(".controls > input[type=file]").first.set_input_files(path)
        else:
            drop(page, path)
        expect(page.locator("#verdict .error")).to_contain_text(words)
        assert settings(page) == before
    generate(page)
    assert "seed 77" in finished(page, 1)


def test_wrong_values_are_one_sentence_and_lose_nothing(page: Page) -> None:
    for typed, words in {"abc": "not abc", "-2": "not -2", "1.5": "not 1.5", "99999999999": "0 to 429496729"}.items():
        fill(page, seed=typed)
        page.click("#generate")
        expect(page.locator("#progress .error")).to_contain_text("Seed must be a whole number from 0 to 429496729")
        expect(page.locator("#progress .error")).to_contain_text(words)
        assert page.locator("#generate").is_visible()
        assert settings(page)["seed"] == typed
    fill(page, seed="5", steps="3", count="1")
    page.evaluate("document.querySelector('#facts p')?.setAttribute('data-old', '')")
    page.locator("#seed input").press("Enter")
    assert "seed 5 " in finished(page, 1)


def test_dice_writes_a_seed(page: Page) -> None:
    page.click("#dice")
    expect(page.locator("#seed input")).to_have_value(re.compile(r"^\d{1,6}$"))


def test_the_history_of_a_browser_outlives_a_reload_and_is_nobody_elses(browser: Browser, context: BrowserContext, server: str) -> None:
    page = opened(context, server)
    fill(page, steps="3", count="2", seed="900")
    generate(page)
    finished(page, 2)
    page.reload()
    strip = "#history li"
    expect(page.locator(strip)).to_have_count(2)
    page.locator("#history li button").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Use its settings").click()
    expect(page.locator("#facts")).to_contain_text("seed 901")
    expect(opened(context, server).locator(strip)).to_have_count(2)
    stranger = browser.new_context()
    expect(opened(stranger, server).locator(strip)).to_have_count(0)
    stranger.close()
    page.click("#clear")
    page.click("#clear-keep")
    expect(page.locator(strip)).to_have_count(2)
    page.click("#clear")
    page.click("#clear-sure")
    expect(page.locator(strip)).to_have_count(0)


def test_a_picture_asked_for_before_the_server_has_answered_anything_is_in_the_history(context: BrowserContext, server: str) -> None:
    page = context.new_page()
    asked: list[str] = []  # and not answered
    page.route("**/gradio_api/queue/join**", lambda route: asked.append(route.request.post_data or ""))
    page.goto(server)
    page.click("#generate")
    while not any('"tiny-dit"' in words for words in asked):
        page.wait_for_timeout(50)
    page.unroute("**/gradio_api/queue/join**")  # which lets them go
    finished(page)
    page.reload()
    expect(page.locator("#history li")).not_to_have_count(0)


def test_a_tab_closed_in_the_middle_loses_nothing_and_holds_up_nobody(context: BrowserContext, server: str) -> None:
    page = opened(context, server)
    fill(page, **LONG)
    generate(page)
    reached(page, 2)
    page.close()
    page = opened(context, server)
    fill(page, steps="3", count="1")
    generate(page)
    finished(page, 1)
    expect(page.locator("#history li")).to_have_count(9)


def test_a_short_run_does_not_wait_for_a_long_one(browser: Browser, context: BrowserContext, server: str) -> None:
    first = opened(context, server)
    fill(first, **LONG)
    generate(first)
    reached(first, 2)
    other = browser.new_context()
    second = opened(other, server)
    fill(second, steps="3", count="1", seed="6")
    generate(second)
    assert "seed 6 " in finished(second, 1)
    expect(first.locator("#stop")).to_be_visible()
    first.keyboard.press("Escape")
    finished(first, 8)
    other.close()


CONTRAST = """(selector) => {
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => { const [r, g, b] = rgb.slice(0, 3).map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const ground = (element) => { for (; element; element = element.parentElement) {
        const rgb = parse(getComputedStyle(element).backgroundColor); if (rgb[3] === undefined || rgb[3] === 1) { return rgb; } }
        return [255, 255, 255]; };
    return [...document.querySelectorAll(selector)].filter((e) => e.offsetParent && e.innerText.trim()).map((e) => {
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
        return [e.innerText.slice(0, 30), (a + 0.05) / (b + 0.05)]; });
}"""


@pytest.fixture(scope="module")
def themed(browser: Browser, server: str) -> Iterator[Callable[[str], Page]]:
    """themed(name): the page in these colours, opened once."""
    with visiting(browser, server) as visitor:
        yield cache(lambda theme: opened(visitor, server, f"?__theme={theme}"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_can_be_read(themed: Callable[[str], Page], theme: str, width: int) -> None:
    page = themed(theme)
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    fill(page, seed="abc")
    page.click("#generate")
    page.locator("#progress .error").wait_for()
    told = page.evaluate(CONTRAST, "p.note, label span, #generate, #dice, #banner h1, #banner p, .frame p")
    assert len(told) >= 10
    assert [pair for pair in told if pair[1] < 4.5] == []


def test_on_a_phone_the_result_comes_into_view(context: BrowserContext, server: str) -> None:
    page = opened(context, server)
    page.set_viewport_size({"width": 390, "height": 844})
    fill(page, steps="3", count="1")
    generate(page)
    finished(page, 1)
    page.wait_for_function("document.querySelector('#gallery').getBoundingClientRect().top < 300")
