"""The Compare tab in a real browser: side by side, at equal noise, in lockstep, as a grid, blindly; and /compare over the API."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import named, opened, running, serving
from gradio_client import Client
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect

from zoo.catalog.card import cards
from zoo.compare.grid import Grid
from zoo.engine.hub import Hub
from zoo.engine.request import Progress, Request
from zoo.media import pictures

ROOT = Path(__file__).parent.parent
CARDS = cards()
STAR = CARDS["tiny-dit"].label_names.index("star")
PALE = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((part) => part / 255);
    const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const boxes = [...document.querySelectorAll(".tab input[placeholder], .tab textarea[placeholder]")];
  const ratio = (box) => contrast(getComputedStyle(box, "::placeholder").color, getComputedStyle(box).backgroundColor);
  return boxes.filter((box) => box.offsetParent && box.placeholder && ratio(box) < 4.5).map((box) => [box.placeholder, ratio(box)]);
}"""
"""The placeholders whose contrast is below 4.5 to 1, which axe-core does not look at."""
DESK, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
CLIPS = "[...document.querySelectorAll('#compare-columns .clip')].map((clip) => [clip.dataset.shown, clip.style.backgroundPosition])"


def beside(context: BrowserContext, server: str, inner: str = "Side by side") -> Page:
    """The Compare tab, open at one of its own tabs."""
    page = opened(context, server)
    page.get_by_role("tab", name="Compare").click()
    page.get_by_role("tab", name=inner).click()
    return page


@pytest.fixture
def tab(context: BrowserContext, server: str) -> Page:
    return beside(context, server)


def fill(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.locator(f"#compare-{name} input, #compare-{name} textarea").first.fill(value)
        page.keyboard.press("Tab")


def choose(page: Page, box: str, typed: str) -> None:
    page.click(f"#{box} input")
    page.keyboard.type(typed)
    page.get_by_role("option", name=typed, exact=False).first.click()


def run(page: Page) -> None:
    """Press Compare and wait for the table."""
    run_id = "document.querySelector('#compare-columns [data-run]')?.dataset.run"
    before = page.evaluate(run_id)
    page.click("#compare-go")
    page.wait_for_function(f"{run_id} && {run_id} !== {json.dumps(before)}")
    expect(page.locator("#compare-go")).to_be_visible(timeout=60_000)
    expect(page.locator("#compare-table table")).to_be_visible()


def sources(page: Page, column: int) -> list[str]:
    return page.locator("#compare-columns .samples").nth(column).locator("img").evaluate_all("all => all.map((one) => one.src)")


def pixels(page: Page, url: str) -> np.ndarray:
    with Image.open(io.BytesIO(page.request.get(url).body())) as picture:
        return np.asarray(picture.convert("RGB"))


def test_two_settings_form_together_and_end_with_a_table_and_reports(tab: Page, tmp_path: Path) -> None:
    fill(tab, count="2", seed="5", **{"steps-A": "150", "steps-B": "150"})
    tab.evaluate("""() => { window.formed = [new Set(), new Set()];
        new MutationObserver(() => document.querySelectorAll("#compare-columns .samples").forEach((column, k) =>
            column.querySelectorAll("img[alt*=forming]").forEach((image) => window.formed[k].add(image.src))
        )).observe(document.body, { subtree: true, childList: true }); }""")
    run(tab)
    formed = tab.evaluate("window.formed.map((one) => one.size)")
    assert min(formed) >= 2
    expect(tab.locator("#compare-note")).to_contain_text("All start from the same noise.")
    heads = tab.locator("#compare-columns h3").all_inner_texts()
    assert heads == [
        f"{place}: {card.title}, 150 steps dpm-solver++, guidance {card.guidance.default:g}"
        for place, card in (("A", CARDS["tiny-dit"]), ("B", CARDS["tiny-uvit"]))
    ]
    table = tab.inner_text("#compare-table")
    for words in ("Network evaluations", "Parameters", "4.2 M", "3.4 M", "Multiply-adds", "by tiny-vit", "needs 128 samples or more"):
        assert words in table
    tab.click("#compare-report")
    for name in ("html", "json"):
        with tab.expect_download() as given:
            tab.locator("#compare-saved a[download$=" + name + "]").first.click()
        given.value.save_as(tmp_path / f"report.{name}")
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png") == 4
    facts = json.loads((tmp_path / "report.json").read_text())
    assert [one["receipt"][1]["seed"] for one in facts["columns"]] == [6, 6]
    assert facts["columns"][0]["receipt"][0]["pixels"] == pictures.digest(pixels(tab, sources(tab, 0)[0]))
    tab.locator("#tabs").get_by_role("button", name="Architectures").click()  # a story has the word, too
    expect(tab.locator("#compare-architectures svg")).to_have_count(2)
    expect(tab.locator("#compare-architectures")).to_contain_text("3 long skips")


def test_the_slider_shows_all_columns_at_equal_noise_not_equal_step(tab: Page) -> None:
    fill(tab, count="1", **{"steps-A": "10", "steps-B": "5"})
    run(tab)
    final = sources(tab, 0), sources(tab, 1)
    bar, label = tab.locator("#compare-noise input[type=range]"), tab.locator("#compare-noise")
    steps = []
    for value in ("0", "35", "70"):
        bar.fill(value)
        expect(label).to_contain_text(re.compile(r"[\d.]+ % noise"))
        expect(tab.locator("#compare-columns .samples").nth(1)).to_contain_text(re.compile(r"step \d of 5"))
        tab.wait_for_function(
            "(steps) => document.querySelector('#compare-columns').innerText.replaceAll('\\n', ' ') !== steps", arg=steps[-1:] and steps[-1]
        )
        noises = tab.locator("#compare-columns .frame").evaluate_all("all => all.map((one) => Number(one.dataset.noise))")
        assert abs(noises[0] - noises[1]) < 0.2
        steps.append(tab.inner_text("#compare-columns").replace("\n", " "))
    assert len(set(steps)) == 3
    bar.fill("100")
    expect(label).to_contain_text("the results")
    expect(tab.locator("#compare-columns img[alt*=forming]")).to_have_count(0)
    assert (sources(tab, 0), sources(tab, 1)) == final


def test_two_are_laid_under_a_line_and_a_click_chooses_the_sample(tab: Page) -> None:
    fill(tab, count="3", **{"steps-A": "4", "steps-B": "4"})
    run(tab)
    expect(tab.locator("#compare-difference")).to_contain_text("A and B, sample 1")
    expect(tab.locator("#compare-slider img")).to_have_count(2)
    tab.locator("#compare-columns .samples").nth(1).locator("img").nth(2).click()
    expect(tab.locator("#compare-difference")).to_contain_text("A and B, sample 3")
    one, other = (pixels(tab, sources(tab, column)[2]).astype(int) for column in (0, 1))
    expect(tab.locator("#compare-difference")).to_contain_text(f"at most {np.abs(one - other).max()} of 255 levels")
    choose(tab, "compare-right", "A")
    expect(tab.locator("#compare-difference")).to_contain_text("Identical")
    tab.click("#compare-open")
    expect(tab.locator("#steps input")).to_have_value("4")
    expect(tab.locator("#verdict")).to_contain_text("seed 2, are back on the controls")


def test_more_samples_are_added_to_those_that_are_there(tab: Page) -> None:
    fill(tab, count="2", **{"steps-A": "3", "steps-B": "3"})
    choose(tab, "compare-label", "every class in turn")
    run(tab)
    before = sources(tab, 0)
    tab.click("#compare-more")
    expect(tab.locator("#compare-columns .samples").nth(0).locator("img")).to_have_count(4)
    expect(tab.locator("#compare-go")).to_be_visible()
    expect(tab.locator("#compare-table")).to_contain_text("of 4)")
    assert sources(tab, 0)[:2] == before


def test_stop_keeps_what_was_there_and_says_after_which_step(tab: Page) -> None:
    fill(tab, count="1", **{"steps-A": "300", "steps-B": "300"})
    tab.click("#compare-go")
    expect(tab.locator("#compare-columns .samples").nth(1)).to_contain_text(re.compile(r"step \d+ of 300"))
    tab.click("#compare-stop")
    expect(tab.locator("#compare-table")).to_contain_text("after step")
    expect(tab.locator("#compare-more")).to_be_disabled()
    for change, words in (
        ({"steps-A": "3", "steps-B": "0"}, "Steps must be a whole number from 1"),
        ({"steps-B": "3"}, "RePaintScheduler needs more than"),
    ):
        fill(tab, **change)
        tab.click("#compare-solver-B input")
        tab.keyboard.type("diffusers:RePaintScheduler")
        tab.keyboard.press("Tab")
        tab.click("#compare-go")
        expect(tab.locator("#compare-note .error")).to_contain_text(words, timeout=60_000)
        expect(tab.locator("#compare-go")).to_be_visible()
        expect(tab.locator("#compare-table")).to_contain_text("after step")  # nothing was lost
        expect(tab.locator("#compare-columns .samples").nth(1).locator("img")).to_have_count(1)


def test_a_model_that_is_not_here_is_offered_and_costs_no_result(tab: Page) -> None:
    fill(tab, count="1", **{"steps-A": "2", "steps-B": "2"})
    run(tab)
    before = sources(tab, 0)
    choose(tab, "compare-model-B", "DiT-XL/2 256")
    expect(tab.locator("#compare-go")).to_have_text(re.compile(r"Download .* [GM]B, then compare"))
    tab.click("#compare-go")
    expect(tab.locator("#compare-note .error")).to_contain_text("Column B: dit-xl-2-256 has no class")
    assert sources(tab, 0) == before
    expect(tab.locator("#compare-table table")).to_be_visible()
    choose(tab, "compare-model-B", "tiny DiT")
    expect(tab.locator("#compare-go")).to_have_text("Compare")


def test_videos_play_in_lockstep_with_one_pause_and_one_scrub(tab: Page) -> None:
    for name, steps in (("A", "3"), ("B", "5")):
        choose(tab, f"compare-model-{name}", "tiny Latte")
        expect(tab.locator(f"#compare-steps-{name} input")).to_have_value("25")
        fill(tab, **{f"steps-{name}": steps})
    fill(tab, count="1")
    run(tab)
    expect(tab.locator("#compare-columns .clip")).to_have_count(2)
    seen = set()
    for _ in range(12):
        one, other = tab.evaluate(CLIPS)
        assert one == other
        seen.add(one[0])
        tab.wait_for_timeout(90)
    assert len(seen) >= 4
    tab.click("#lockstep button")
    expect(tab.locator("#lockstep button")).to_have_text("Play")
    still = tab.evaluate(CLIPS)
    tab.wait_for_timeout(400)
    assert tab.evaluate(CLIPS) == still
    tab.locator("#lockstep input").fill("6")
    assert [frame for frame, _ in tab.evaluate(CLIPS)] == ["6", "6"]
    expect(tab.locator("#lockstep output")).to_have_text("7 of 16")
    tab.click("#lockstep button")
    tab.wait_for_function("document.querySelector('#compare-columns .clip').dataset.shown !== '6'")
    tab.locator("#compare-frame input[type=number]").fill("16")
    expect(tab.locator("#compare-difference")).to_contain_text("A and B, sample 1")


def test_the_clicked_picture_is_compared_with_another_model_on_the_same_setting_from_any_state(
    context: BrowserContext, server: str
) -> None:
    page = beside(context, server, "X/Y grid")  # the hand-over must lead away from here
    page.get_by_role("tab", name="Image").click()
    page.locator("#count input[type=number]").fill("3")
    page.locator("#steps input").fill("6")
    page.locator("#guidance input[type=number]").fill("3")
    page.locator("#seed input, #seed textarea").first.fill("41")
    page.keyboard.press("Tab")
    choose(page, "solver", "ddim")
    page.click("#generate")
    expect(page.locator("#gallery .grid-container img")).to_have_count(3)
    second = pixels(page, page.locator("#gallery .grid-container img").nth(1).get_attribute("src"))
    page.locator("#gallery .grid-container img").nth(1).click()
    page.click("#beside")
    expect(page.locator("#compare-note")).to_contain_text(
        "B is tiny U-ViT with the same solver, steps and guidance, so only the model differs"
    )
    expect(page.locator("#compare-seed input, #compare-seed textarea").first).to_have_value("42")
    expect(page.locator("#compare-count input")).to_have_value("1")
    for name in "AB":
        expect(page.locator(f"#compare-steps-{name} input")).to_have_value("6")
        expect(page.locator(f"#compare-guidance-{name} input")).to_have_value("3")
        expect(page.locator(f"#compare-solver-{name} input")).to_have_value("ddim")
        expect(page.locator(f"#compare-eta-{name} input")).to_have_value("0")
    run(page)
    assert np.array_equal(pixels(page, sources(page, 0)[0]), second)
    assert page.locator("#compare-columns h3").all_inner_texts() == [
        "A: tiny DiT, 6 steps ddim, guidance 3",
        "B: tiny U-ViT, 6 steps ddim, guidance 3",
    ]


# ---- lists, errors, keys, phones


def test_a_list_that_is_left_as_it_was_changes_nothing(tab: Page) -> None:
    choose(tab, "compare-label", "heart")
    choose(tab, "compare-solver-A", "ddim")
    fill(tab, **{"steps-A": "7", "steps-B": "9", "eta-A": "0.5", "guidance-B": "3"})
    for box in ("model-A", "model-B", "solver-A", "label"):
        tab.click(f"#compare-{box} input")
        tab.keyboard.press("Tab")
        tab.click("#compare-note", position={"x": 5, "y": 5})
    tab.get_by_role("tab", name="X/Y grid").click()
    choose(tab, "grid-label", "star")
    tab.locator("#grid-xs input, #grid-xs textarea").first.fill("3,4")
    for box in ("model", "x", "y", "label"):
        tab.click(f"#grid-{box} input")
        tab.keyboard.press("Tab")
        tab.click("#grid-note", position={"x": 5, "y": 5})
    expect(tab.locator("#grid-cost")).to_contain_text("4 x 2 cells")  # the server has heard of all this
    expect(tab.locator("#grid-label input")).to_have_value(named("star"))
    expect(tab.locator("#grid-xs input, #grid-xs textarea").first).to_have_value("3,4")
    tab.get_by_role("tab", name="Side by side").click()
    expect(tab.locator("#compare-label input")).to_have_value(named("heart"))
    values = {"steps-A": "7", "steps-B": "9", "eta-A": "0.5", "guidance-B": "3", "solver-A": "ddim"}
    assert {name: tab.locator(f"#compare-{name} input").input_value() for name in values} == values


def test_another_model_of_the_same_classes_keeps_the_class_and_brings_its_own_setting(tab: Page) -> None:
    choose(tab, "compare-label", "heart")
    fill(tab, **{"steps-A": "7"})
    choose(tab, "compare-model-A", "tiny U-Net")
    expect(tab.locator("#compare-steps-A input")).to_have_value("25")
    expect(tab.locator("#compare-label input")).to_have_value(named("heart"))


def test_eta_stands_only_where_the_solver_takes_it_and_is_refused_by_its_value(tab: Page) -> None:
    expect(tab.locator("#compare-eta-A")).to_be_hidden()
    choose(tab, "compare-solver-A", "ddim")
    fill(tab, **{"eta-A": "7", "steps-A": "3", "steps-B": "3"})
    tab.click("#compare-go")
    expect(tab.locator("#compare-note .error")).to_contain_text("Column A: Eta must be a number from 0 to 1, not 7.")
    expect(tab.locator("#compare-note .error")).to_be_in_viewport()
    choose(tab, "compare-solver-A", "dpm-solver++")
    expect(tab.locator("#compare-eta-A")).to_be_hidden()
    fill(tab, count="")
    tab.click("#compare-go")
    expect(tab.locator("#compare-note .error")).to_contain_text("Samples must be a whole number from 1 to 1024, not (empty).")


def test_whatever_ends_a_run_gives_the_buttons_back_and_leaves_what_stood_there(
    browser: Browser, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = browser.new_context(viewport={"width": 1280, "height": 860})
    visitor.set_default_timeout(30_000)
    with serving(hub) as url:
        page = beside(visitor, url)
        fill(page, count="1", **{"steps-A": "2", "steps-B": "2"})
        run(page)
        before, reached = pixels(page, sources(page, 0)[0]), threading.Semaphore(0)
        page.get_by_role("tab", name="X/Y grid").click()
        expect(page.locator("#grid-go")).to_be_visible()
        page.wait_for_timeout(500)  # what is typed while gradio builds the tab is lost
        page.locator("#grid-xs input, #grid-xs textarea").first.fill("2,3")
        choose(page, "grid-y", "nothing")
        page.click("#grid-go")
        expect(page.locator("#grid-note")).to_contain_text("2 of 2 cells finished")

        def fails(*_: object, **__: object) -> Iterator:
            reached.release()
            yield 0, Progress("loading", Request("tiny-dit"))
            raise MemoryError("an allocation failed")

        def fails_in_a_cell(hub: Hub, grid: Grid, *_: object) -> Iterator:
            yield grid.all_cells[:1], Progress("loading", Request("tiny-dit"))
            raise RuntimeError("ffmpeg failed")

        monkeypatch.setattr("zoo.compare.compare.together", fails)
        monkeypatch.setattr("zoo.compare.grid.run", fails_in_a_cell)
        page.click("#grid-go")
        expect(page.locator("#grid-note .error")).to_contain_text("a fault of the program (RuntimeError)")
        expect(page.locator("#grid-go")).to_be_visible()
        expect(page.locator("#grid-stop")).to_be_hidden()
        expect(page.locator("#grid-table img")).to_have_count(2)
        page.get_by_role("tab", name="Side by side").click()
        for button in ("#compare-go", "#compare-more"):
            page.click(button)
            assert reached.acquire(timeout=30)
            expect(page.locator("#compare-note .error")).to_contain_text("a fault of the program (MemoryError)")
            expect(page.locator("#compare-go")).to_be_visible()
            expect(page.locator("#compare-stop")).to_be_hidden()
            expect(page.locator("#compare-table table")).to_be_visible()
            expect(page.locator("#compare-columns .samples").nth(0).locator("img[src*=file]")).to_have_count(1)
            assert np.array_equal(pixels(page, sources(page, 0)[0]), before)
    visitor.close()


def test_stop_stands_exactly_where_compare_stood(tab: Page) -> None:
    fill(tab, count="1", **{"steps-A": "200", "steps-B": "200"})
    place = "(id) => { const { x, y, width, height } = document.querySelector(id).getBoundingClientRect(); return [x, y, width, height]; }"
    tab.hover("#compare-go")
    before = tab.evaluate(place, "#compare-go")
    tab.click("#compare-go")
    expect(tab.locator("#compare-columns .samples").nth(1)).to_contain_text(re.compile(r"step \d+ of 200"))
    assert tab.evaluate(place, "#compare-stop") == before
    tab.keyboard.press("Escape")
    expect(tab.locator("#compare-table")).to_contain_text("after step")
    assert tab.evaluate(place, "#compare-go") == before


def test_samples_and_cells_are_reached_by_keyboard(tab: Page) -> None:
    fill(tab, count="4", **{"steps-A": "2", "steps-B": "2"})
    run(tab)
    first = tab.locator("#compare-columns [data-sample='0']").nth(1)
    first.focus()
    for key, sample in (("ArrowRight", 2), ("ArrowDown", 4), ("Home", 1), ("End", 4), ("ArrowUp", 2)):
        tab.keyboard.press(key)
        expect(tab.locator("#compare-columns button:focus")).to_have_attribute("title", f"sample {sample}, seed {sample - 1}")
    tab.keyboard.press("Enter")
    expect(tab.locator("#compare-difference")).to_contain_text("A and B, sample 2")
    assert tab.locator("#compare-columns .samples").nth(1).locator("button[tabindex='0']").count() == 1
    tab.get_by_role("tab", name="X/Y grid").click()
    tab.locator("#grid-xs input, #grid-xs textarea").first.fill("2,3")
    tab.locator("#grid-ys input, #grid-ys textarea").first.fill("1,2")
    tab.keyboard.press("Tab")
    tab.click("#grid-go")
    expect(tab.locator("#grid-note")).to_contain_text("4 of 4 cells finished")
    tab.locator("#grid-table [data-cell='0']").focus()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    expect(tab.locator("#grid-facts")).to_contain_text("3 steps dpm-solver++ · guidance 2")
    width, box = (tab.locator(f"#grid-table {part}").evaluate("part => part.clientWidth") for part in ("table", ".wide"))
    assert width > 0.98 * box  # cells fill the width


@pytest.mark.parametrize(("query", "sizes"), [("", (PHONE, DESK)), ("?__theme=dark", (DESK,))], ids=["light and phone", "dark"])
def test_nothing_on_the_tab_is_in_the_way_of_a_screen_reader(context: BrowserContext, server: str, query: str, sizes: tuple) -> None:
    page = opened(context, server, query)
    page.set_viewport_size(sizes[0])
    page.get_by_role("tab", name="Compare").click()
    fill(page, count="2", **{"steps-A": "2", "steps-B": "2"})
    if PHONE in sizes:  # the first view: the result's place, and the button
        expect(page.locator("#compare-columns .frame")).to_be_in_viewport()
        expect(page.locator("#compare-go")).to_be_in_viewport()
    run(page)
    page.locator("#tabs").get_by_role("button", name="Architectures").evaluate("button => button.click()")
    expect(page.locator("#compare-architectures svg")).to_have_count(2)
    barriers(page, sizes)
    if PHONE in sizes:
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        small = "all => all.filter((one) => one.offsetParent && one.getBoundingClientRect().height < 43.5).map((one) => one.outerHTML)"
        assert page.locator(".tab button:visible:not(.icon-button)").evaluate_all(small) == []
    page.get_by_role("tab", name="X/Y grid").click()
    page.locator("#grid-xs input, #grid-xs textarea").first.fill("2,3")
    choose(page, "grid-y", "nothing")
    page.click("#grid-go")
    expect(page.locator("#grid-note")).to_contain_text("2 of 2 cells finished")
    barriers(page, sizes)
    page.get_by_role("tab", name="Votes").click()
    expect(page.locator("#votes-rates")).to_contain_text("No choice yet")  # as test_accessibility.py sees it
    assert page.evaluate(PALE) == []


def barriers(page: Page, sizes: tuple) -> None:
    """Nothing that axe-core calls serious or critical stands in the open tab at any of these sizes."""
    for size in sizes:
        page.set_viewport_size(size)
        report = Axe().run(page, context=".tab", options={"resultTypes": ["violations"]})
        wrong = [one for one in report.response["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in wrong] == []
        assert page.evaluate(PALE) == []


# ---- the grid


def test_a_grid_is_priced_filled_stopped_gone_on_with_and_opened(context: BrowserContext, server: str, tmp_path: Path) -> None:
    page = beside(context, server, "X/Y grid")
    page.locator("#grid-xs input, #grid-xs textarea").first.fill("20,40,400")
    page.locator("#grid-ys input, #grid-ys textarea").first.fill("1-4:1")
    page.keyboard.press("Tab")
    expect(page.locator("#grid-cost")).to_contain_text(re.compile(r"4 x 3 cells, about .* from measured steps"))
    page.click("#grid-go")
    expect(page.locator("#grid-table img.forming")).to_have_count(1)
    expect(page.locator("#grid-note")).to_contain_text(re.compile(r"[2-9] of 12 cells finished"))
    page.click("#grid-stop")
    expect(page.locator("#grid-note")).to_contain_text(re.compile(r"\d of 12 cells finished; click"))
    kept = page.locator("#grid-table img").evaluate_all("all => all.map((one) => one.src)")
    assert 2 <= len(kept) < 12
    page.click("#grid-save")
    with page.expect_download() as given:
        page.locator("#grid-saved a[download$=zip]").first.click()
    given.value.save_as(tmp_path / "grid.zip")
    with zipfile.ZipFile(tmp_path / "grid.zip") as packed:
        manifest = json.loads(packed.read("manifest.json"))
        assert len([cell for cell in manifest["cells"] if cell["file"]]) == len(kept)
    page.locator("#grid-table [data-cell='0']").click()
    expect(page.locator("#grid-facts")).to_contain_text("20 steps dpm-solver++ · guidance 1")
    page.click("#grid-inside")
    expect(page.locator("#look-caption p")).to_contain_text("Layer 3")
    page.get_by_role("tab", name="Compare").click()
    page.click("#grid-open")
    expect(page.locator("#steps input")).to_have_value("20")
    page.get_by_role("tab", name="Compare").click()
    page.locator("#grid-xs input, #grid-xs textarea").first.fill("2,three")
    page.keyboard.press("Tab")
    expect(page.locator("#grid-cost .error")).to_contain_text("'three' is not a value of steps")
    page.click("#grid-go")
    expect(page.locator("#grid-note .error")).to_contain_text("'three'")
    assert page.locator("#grid-table img").count() == len(kept)  # nothing was lost


def test_the_rest_of_a_grid_is_filled_in_later(context: BrowserContext, server: str) -> None:
    page = beside(context, server, "X/Y grid")
    page.locator("#grid-xs input, #grid-xs textarea").first.fill("5,400")
    choose(page, "grid-y", "nothing")
    page.click("#grid-go")
    expect(page.locator("#grid-note")).to_contain_text("1 of 2 cells finished")
    page.click("#grid-stop")
    expect(page.locator("#grid-rest")).to_be_visible()
    page.click("#grid-rest")
    expect(page.locator("#grid-note")).to_contain_text("2 of 2 cells finished; click", timeout=180_000)
    expect(page.locator("#grid-rest")).to_be_hidden()


# ---- blind


def test_a_blind_choice_hides_the_names_until_it_is_made_and_survives_a_restart(browser: Browser, tmp_path: Path) -> None:
    visitor = browser.new_context(viewport={"width": 1280, "height": 860})
    visitor.set_default_timeout(30_000)
    with serving(Hub(device="cpu", cache_dir=tmp_path / "cache", models=["tiny-dit", "tiny-uvit", "tiny-vae", "tiny-vit"])) as url:
        page = beside(visitor, url)
        for place in ("1", "2"):
            fill(page, count="1", **{"steps-A": "3", "steps-B": "3"})
            page.check("#compare-blind input")
            page.click("#compare-go")
            expect(page.locator("#compare-choice")).to_be_visible()
            assert page.locator("#compare-columns h3").all_inner_texts() == ["1", "2"]
            expect(page.locator("#compare-table")).to_be_hidden()
            assert not re.search("vit|dit", page.inner_html("#compare-columns").split("base64", 1)[0], re.IGNORECASE)
            assert "file=" not in page.inner_html("#compare-columns")  # a file's name tells its model
            page.locator("#compare-choice label", has_text=place).click()
            expect(page.locator("#compare-note")).to_contain_text(f"You chose {place}: tiny ")
            assert sorted(head[:2] for head in page.locator("#compare-columns h3").all_inner_texts()) == ["A:", "B:"]
            expect(page.locator("#compare-table")).to_be_visible()
    with running(ROOT, tmp_path / "cache", "--models", "tiny-dit,tiny-uvit,tiny-vae,tiny-vit") as again:
        kept = visitor.storage_state()["origins"][0]["localStorage"]  # the browser is the same, the port is not
        visitor.add_init_script("".join(f"localStorage.setItem({json.dumps(one['name'])}, {json.dumps(one['value'])});" for one in kept))
        page = beside(visitor, again, "Votes")
        expect(page.locator("#votes-note")).to_contain_text("2 choices.")
        assert page.locator("#votes-rates tbody tr").count() == 1
        expect(page.locator("#votes-rates")).to_contain_text(re.compile(r"[12] of 2"))
        page.click("#votes-export")
        expect(page.locator("#votes-files")).to_contain_text("choices")
        page.click("#votes-delete")
        expect(page.locator("#votes-note")).to_contain_text("Delete 2 choices of this browser?")
        page.click("#votes-cancel")
        expect(page.locator("#votes-note")).to_contain_text("2 choices.")
        page.click("#votes-delete")
        page.click("#votes-sure")
        expect(page.locator("#votes-note")).to_contain_text("Deleted: 2 choices.")
        expect(page.locator("#votes-rates tbody tr")).to_have_count(0)
    visitor.close()


def test_a_blind_choice_between_equal_settings_is_refused(tab: Page) -> None:
    choose(tab, "compare-model-B", "tiny DiT")
    tab.check("#compare-blind input")
    tab.click("#compare-go")
    expect(tab.locator("#compare-note .error")).to_contain_text("would say nothing")


# ---- the endpoint


@pytest.fixture(scope="module")
def client(server: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(server, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))


@pytest.mark.parametrize("form", [list, json.dumps], ids=["list", "text"])
def test_the_endpoint_gives_receipts_files_and_figures(client: Client, form: type) -> None:
    asked = [{"model": "tiny-dit", "labels": [STAR], "seeds": [7, 8], "steps": 4}, {"model": "tiny-unet", "steps": 5, "guidance": 1}]
    entries = client.predict(form(asked), api_name="/compare")
    assert [sorted(entry) for entry in entries] == [["figures", "files", "receipt"]] * 2
    for entry, steps in zip(entries, (4, 5), strict=True):
        assert [receipt["seed"] for receipt in entry["receipt"]] == [7, 8]
        assert {receipt["label"] for receipt in entry["receipt"]} == {"star"}
        assert [pictures.read_png(path)[1] for path in entry["files"]] == entry["receipt"]
        assert entry["figures"]["evaluations"] == steps
    assert entries[1]["figures"]["passes"] == 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            [{"model": "tiny-dit", "label": "star", "seed": 1, "seeds": [1]}],
            "Column A: Give seed or seeds, not both: seed is 1, seeds [1].",
        ),
        (
            [{"model": "tiny-dit", "label": "star", "colour": 1}],
            "'colour' is not a word of a setting: it may hold only the words count, eta",
        ),
        ([{"model": "tiny-dit", "label": "star", "solver": "ddim", "eta": 1e9}], "Eta must be a number from 0 to 1, not 1000000000"),
        ("[{", "not valid JSON"),
        ([], "1 to 16 settings"),
        (None, "1 to 16 settings"),
        ([{"model": "tiny-dit", "label": "star"}, {"model": "dit-xl-2-256"}], "Column B: dit-xl-2-256 has no class 'star'"),
        ([{"model": "dit-xl-2-256", "label": 207}], "DiT-XL/2 256 is not downloaded"),
        ([{"model": "tiny-dit", "label": "star", "guidance": "much"}], "Column A: Guidance must be a number"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(client: Client, settings: object, words: str) -> None:
    with pytest.raises(AppError, match=re.escape(words)):
        client.predict(settings, api_name="/compare")


def test_the_endpoint_takes_the_words_of_generate_image(client: Client) -> None:
    asked = {"model": "tiny-dit", "label": "star", "count": 2, "seed": 7, "steps": 2, "solver": "ddim", "guidance": 2.0}
    [entry, other] = client.predict([asked, {"model": "tiny-uvit", "steps": 2}], api_name="/compare")
    gallery, receipts = client.predict("tiny-dit", "star", 2, 7, 2, "ddim", 2.0, api_name="/generate_image")
    assert [receipt["pixels"] for receipt in entry["receipt"]] == [receipt["pixels"] for receipt in receipts]
    assert [receipt["seed"] for receipt in other["receipt"]] == [7, 8]
    assert len(gallery) == 2


def test_a_client_that_cancels_ends_its_run(client: Client) -> None:
    asked = {"model": "tiny-dit", "label": "star", "count": 32, "seed": 0, "steps": 1000}
    job = client.submit([asked, {"model": "tiny-uvit", "steps": 1000}], api_name="/compare")
    while not job.outputs():
        job.done() and pytest.fail(str(job.exception()))
    assert job.cancel()
    _, receipts = client.predict("tiny-dit", "star", 1, 3, 2, "ddim", 2.0, api_name="/generate_image")  # else it waits for minutes
    assert receipts[0]["stopped_at"] is None
    assert job.done()
