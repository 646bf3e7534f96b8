"""The Look inside tab as a stranger uses it: nothing is lost by looking into a list, errors are seen, what is off says why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import named, opened, serving, visiting
from gradio_client import Client, handle_file
from matplotlib.cbook import get_sample_data
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_look_page import CAPTION, changed, choose, source

from zoo.catalog.card import cards
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.inside.inspector import Looker
from zoo.networks.out_of_distribution import held_out

PHONE = {"width": 390, "height": 844}
PHOTOGRAPH = str(get_sample_data("grace_hopper.jpg", asfileobj=False))


def open_tab(page: Page) -> None:
    """Go to the tab, wherever its name is on this screen."""
    tab = page.get_by_role("tab", name="Look inside", exact=True)
    if tab.is_visible():
        tab.click()
        return
    page.locator(".overflow-menu button").first.click()
    page.get_by_role("button", name="Look inside", exact=True).first.click()


@pytest.fixture
def inside(context: BrowserContext, server: str) -> Page:
    """The tab, its first example open."""
    page = opened(context, server)
    open_tab(page)
    expect(page.locator(CAPTION)).to_contain_text("Layer 3")
    return page


@pytest.fixture(scope="module")
def shared(browser: Browser, server: str) -> Iterator[Page]:
    """The tab, its first example open once for tests that run nothing; each leaves it to the next."""
    with visiting(browser, server) as visitor:
        page = opened(visitor, server)
        open_tab(page)
        expect(page.locator(CAPTION)).to_contain_text("Layer 3")
        yield page


@pytest.fixture
def phone(browser: Browser, server: str) -> Iterator[Page]:
    """The tab on a phone."""
    visitor = browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    visitor.set_default_timeout(20_000)
    page = opened(visitor, server)
    open_tab(page)
    expect(page.locator(CAPTION)).to_contain_text("Layer 3")
    yield page
    visitor.close()


def upload(page: Page, path: str) -> None:
    before = source(page, "look-picture")
    with page.expect_file_chooser() as chooser:
        page.locator("#look-bring").click()
    chooser.value.set_files(path)
    changed(page, "look-picture", before)


def look_into_lists(page: Page, *boxes: str) -> None:
    """Open lists and leave them again, by key and by mouse, choosing nothing."""
    for box in boxes:
        page.locator(f"#{box} input").click()
        page.keyboard.press("Tab")
        page.locator(f"#{box} input").click()
        page.locator("#banner").click(position={"x": 300, "y": 5})


def click_patch(page: Page, row: int, column: int) -> None:
    box = page.locator("#look-picture img").bounding_box()
    page.locator("#look-picture img").click(position={"x": box["width"] * (column + 0.5) / 8, "y": box["height"] * (row + 0.5) / 8})
    expect(page.locator("#look-status")).to_have_attribute("data-row", str(row))
    expect(page.locator("#look-status")).to_have_attribute("data-column", str(column))


# ---- what stands there, one after another on one page


def test_the_picture_and_the_map_stay_in_view_while_the_rest_scrolls(shared: Page) -> None:
    shared.locator("#look-plots figure").first.scroll_into_view_if_needed()
    expect(shared.locator("#look-plots svg").first).to_be_in_viewport()
    for name in ("look-picture", "look-heat", "look-status"):
        expect(shared.locator(f"#{name}")).to_be_in_viewport(ratio=0.9)


def test_arrow_keys_walk_the_patches_and_a_live_region_says_where(shared: Page) -> None:
    click_patch(shared, 3, 3)
    shared.locator("#look-picture").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        shared.keyboard.press(key)
    expect(shared.locator("#look-status")).to_contain_text("query: row 2, column 5")
    expect(shared.locator("#look-status")).to_have_attribute("role", "status")
    for _ in range(9):
        shared.keyboard.press("ArrowLeft")
    expect(shared.locator("#look-status")).to_contain_text("query: row 2, column 0")
    expect(shared.locator("#look-picture")).to_be_focused()
    assert "8 by 8 patches" in shared.locator("#look-picture img").first.get_attribute("alt")
    expect(shared.locator("#look-heat img").first).to_have_attribute("alt", re.compile("query: row 2, column 0"))


def test_controls_that_change_nothing_are_off_and_say_why(shared: Page) -> None:
    expect(shared.locator("#look-head input[type=number]")).to_be_disabled()
    expect(shared.locator("#look-head")).to_contain_text('choose "one head"')
    choose(shared, "look-way", "one head")
    expect(shared.locator("#look-head input[type=number]")).to_be_enabled()
    expect(shared.locator("#look-head")).not_to_contain_text("Off")
    expect(shared.locator("#look-frame")).to_be_hidden()


def test_relevance_answers_for_the_class_after_a_click_too(shared: Page) -> None:
    choose(shared, "look-way", "relevance")
    expect(shared.locator(CAPTION)).to_contain_text("for the class fox")
    before = source(shared, "look-heat")
    click_patch(shared, 6, 2)
    expect(shared.locator(CAPTION)).to_contain_text("for the class fox, whichever patch was clicked")
    expect(shared.locator("#look-position")).to_contain_text("row 6, column 2")
    assert source(shared, "look-heat") == before
    expect(shared.locator("#look-query input")).to_be_disabled()
    expect(shared.locator("#look-query")).to_contain_text("explains a class")
    expect(shared.locator("#look-layer input[type=number]")).to_be_disabled()
    second = re.match(r"\D+", shared.locator("#look-predictions li").nth(1).text_content()).group().strip()
    choose(shared, "look-target", second)
    expect(shared.locator(CAPTION)).to_contain_text(f"for the class {second}")


def test_the_query_list_has_what_the_model_has_before_a_run_too(shared: Page) -> None:
    for model, names in (
        ("tiny DiT", ["clicked patch"]),
        (
            "tiny U-ViT",
            ["clicked patch", "class token", "time token", "onto the class token", "onto the time token"],
        ),
        ("tiny Swin", ["clicked patch"]),
    ):
        choose(shared, "look-model", model)
        expect(shared.locator("#look-model input")).to_have_value(re.compile(model))
        expect(shared.locator("#look-query input")).to_have_value("clicked patch")
        shared.locator("#look-query input").click()
        expect(shared.get_by_role("option")).to_have_text([re.compile(f"{name}$") for name in names])
        shared.keyboard.press("Escape")


def test_a_model_that_is_not_here_is_offered_where_the_run_begins(shared: Page) -> None:
    choose(shared, "look-model", "ViT-B/16")
    expect(shared.locator("#look-note")).to_contain_text("Not downloaded: ViT-B/16")
    expect(shared.locator("#look-go")).to_have_text(re.compile("Download .*346.3 MB, then look inside"))
    choose(shared, "look-model", "tiny DiT")
    expect(shared.locator("#look-go")).to_have_text("Look inside")
    choose(shared, "look-model", "tiny Swin")
    expect(shared.locator("#look-predictions li").first).to_contain_text("fox")
    expect(shared.locator("#look-go")).to_be_hidden()


# ---- focus is not choice


def test_an_uploaded_photograph_stays_when_lists_are_opened_and_left(inside: Page) -> None:
    upload(inside, PHOTOGRAPH)
    expect(inside.locator("#look-example input")).to_have_value("")
    choose(inside, "look-way", "max of all heads")
    expect(inside.locator(CAPTION)).to_contain_text("max of all heads")
    names, picture = inside.locator("#look-predictions").inner_text(), source(inside, "look-stages")
    look_into_lists(inside, "look-model", "look-example", "look-query", "look-way")
    click_patch(inside, 1, 2)  # which the server answers after whatever those lists asked for
    click_patch(inside, 2, 2)
    expect(inside.locator(CAPTION)).to_contain_text("max of all heads · query: row 2, column 2")
    assert inside.locator("#look-predictions").inner_text() == names
    assert source(inside, "look-stages") == picture
    choose(inside, "look-example", "drawing of a fox")  # the example that was open before the photograph can be chosen again
    expect(inside.locator("#look-predictions li").first).to_contain_text("fox")
    expect(inside.locator("#look-predictions")).to_contain_text("like its training data")


def test_a_finished_look_and_typed_values_stay_when_lists_are_opened_and_left(inside: Page) -> None:
    choose(inside, "look-model", "tiny DiT")
    expect(inside.locator("#look-note")).to_contain_text("press Look inside")
    inside.locator("#look-seed input, #look-seed textarea").first.fill("77")
    inside.locator("#look-steps input").fill("3")
    choose(inside, "look-label", "heart")
    inside.locator("#look-go").click()
    expect(inside.locator("#look-predictions")).to_contain_text("heart · seed 77")
    look_into_lists(inside, "look-model", "look-label", "look-beside", "look-query", "look-way")
    click_patch(inside, 1, 2)
    click_patch(inside, 2, 2)
    expect(inside.locator("#look-predictions")).to_contain_text("heart · seed 77")
    expect(inside.locator("#look-label input")).to_have_value(named("heart"))
    expect(inside.locator("#look-steps input")).to_have_value("3")
    expect(inside.locator("#look-seed input, #look-seed textarea").first).to_have_value("77")


# ---- errors and endings


def test_a_seed_that_is_no_number_is_refused_where_the_eye_is_and_costs_nothing(inside: Page) -> None:
    choose(inside, "look-model", "tiny DiT")
    expect(inside.locator("#look-note")).to_contain_text("press Look inside")
    inside.locator("#look-steps input").fill("2")
    inside.locator("#look-go").click()
    expect(inside.locator("#look-predictions")).to_contain_text("seed 0")
    before = source(inside, "look-picture")
    inside.locator("#look-seed input, #look-seed textarea").first.fill("abc")
    inside.locator("#look-go").click()
    expect(inside.locator("#look-note .error")).to_contain_text("abc")
    expect(inside.locator("#look-note .error")).to_be_in_viewport()
    expect(inside.locator("#look-go")).to_be_visible()
    expect(inside.locator("#look-stop")).to_be_hidden()
    assert source(inside, "look-picture") == before


def test_a_run_that_fails_by_a_fault_of_the_program_gives_the_button_back(
    hub: Hub, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Looker, request: Request, stop: object = None) -> Iterator:
        yield from ()
        raise MemoryError("no room")

    with serving(hub) as url:
        visitor = browser.new_context()
        visitor.set_default_timeout(20_000)
        page = opened(visitor, url)
        open_tab(page)
        expect(page.locator(CAPTION)).to_contain_text("Layer 3")
        choose(page, "look-model", "tiny DiT")
        expect(page.locator("#look-note")).to_contain_text("press Look inside")
        monkeypatch.setattr(Looker, "generate", fail)
        page.locator("#look-go").click()
        expect(page.locator("#look-note .error")).to_contain_text("MemoryError")
        expect(page.locator("#look-go")).to_be_visible()
        expect(page.locator("#look-stop")).to_be_hidden()
        visitor.close()


def test_stop_stands_where_look_inside_stood_and_keeps_what_was_there(inside: Page) -> None:
    choose(inside, "look-model", "tiny DiT")
    expect(inside.locator("#look-note")).to_contain_text("press Look inside")
    inside.locator("#look-steps input").fill("900")
    place = inside.locator("#look-go").bounding_box()
    inside.locator("#look-go").click()
    inside.locator("#look-stop").wait_for()
    expect(inside.locator("#look-go")).to_be_hidden()  # the page may show both for a moment
    other = inside.locator("#look-stop").bounding_box()
    assert (other["x"], other["y"]) == (place["x"], place["y"])
    expect(inside.locator("#look-note")).to_contain_text("of 900")
    inside.locator("#look-stop").click()
    expect(inside.locator("#look-note")).to_contain_text("Stopped")
    expect(inside.locator("#look-go")).to_be_visible()


def test_a_classifier_chosen_during_a_run_ends_it_and_has_no_run_button(inside: Page) -> None:
    choose(inside, "look-model", "tiny DiT")
    expect(inside.locator("#look-note")).to_contain_text("press Look inside")
    inside.locator("#look-steps input").fill("900")
    inside.locator("#look-go").click()
    expect(inside.locator("#look-note")).to_contain_text("of 900")
    choose(inside, "look-model", "tiny Swin")
    expect(inside.locator("#look-predictions li").first).to_contain_text("fox")
    expect(inside.locator("#look-go")).to_be_hidden()
    expect(inside.locator("#look-stop")).to_be_hidden()


# ---- from tab to tab


def test_look_inside_as_the_very_first_action_has_the_class_list_and_the_settings_of_the_sample(
    context: BrowserContext, server: str
) -> None:
    page = opened(context, server)
    page.locator("#count input[type=number]").fill("1")
    page.locator("#steps input").fill("4")
    choose(page, "label", "heart")
    choose(page, "solver", "ddim")
    page.click("#generate")
    expect(page.locator("#gallery .grid-container img")).to_have_count(1)
    page.click("#inside")
    expect(page.locator("#look-predictions")).to_contain_text("heart")
    expect(page.locator("#look-predictions")).to_contain_text("4 steps ddim")
    expect(page.locator("#look-settings")).to_contain_text("solver ddim")
    expect(page.locator("#look-label input")).to_have_value(named("heart"))
    page.locator("#look-label input").click()
    expect(page.get_by_role("option")).to_have_count(len(cards()["tiny-dit"].label_names))
    page.get_by_role("option", name=named("star")).click()
    page.locator("#look-go").click()
    expect(page.locator("#look-predictions")).to_contain_text("star")
    expect(page.locator("#look-predictions")).to_contain_text("4 steps ddim")
    expect(page.locator("#look-note .error")).to_have_count(0)


def test_look_inside_before_any_run_takes_over_the_controls(context: BrowserContext, server: str) -> None:
    page = opened(context, server)
    choose(page, "label", "heart")
    page.locator("#steps input").fill("3")
    page.click("#inside")
    expect(page.locator("#look-note")).to_contain_text("press Look inside")
    expect(page.locator("#look-label input")).to_have_value(named("heart"))
    page.locator("#look-go").click()
    expect(page.locator("#look-predictions")).to_contain_text("heart")
    expect(page.locator("#look-predictions")).to_contain_text("3 steps")


def test_what_cannot_be_looked_into_is_said_and_loses_nothing(context: BrowserContext, server: str) -> None:
    page = opened(context, server)
    choose(page, "model", "tiny U-Net")
    page.click("#inside")
    expect(page.locator("#look-note .error")).to_contain_text("no attention that can be recorded")
    expect(page.locator(CAPTION)).to_contain_text("Layer 3")  # the first example is open nevertheless
    upload(page, PHOTOGRAPH)
    before = source(page, "look-picture")
    page.get_by_role("tab", name="Image", exact=True).click()
    page.click("#inside")
    expect(page.locator("#look-note .error")).to_contain_text("no attention that can be recorded")
    assert source(page, "look-picture") == before


# ---- it tells the truth


def test_a_photograph_is_said_to_be_far_from_the_data_with_the_numbers(inside: Page) -> None:
    expect(inside.locator("#look-predictions")).to_contain_text("like its training data")
    expect(inside.locator("#look-predictions .far")).to_have_count(0)
    upload(inside, PHOTOGRAPH)
    far = inside.locator("#look-predictions .far")
    expect(far).to_contain_text("far from the data")
    expect(far).to_contain_text("knows only 100 classes")
    expect(far).to_contain_text(re.compile(rf"distance \d+\.\d; 99.5 % of held-out data lie within {held_out('emoji').limit:.1f}"))


def test_what_was_chosen_before_a_run_is_what_the_run_shows(inside: Page) -> None:
    choose(inside, "look-model", "tiny U-ViT")
    expect(inside.locator("#look-note")).to_contain_text("press Look inside")
    for name in ("stop", "accept", "cancel"):
        expect(inside.locator(f"#look-{name}")).to_be_hidden()
    choose(inside, "look-query", "time token")
    inside.locator("#look-layer input[type=number]").fill("1")
    inside.locator("#look-steps input").fill("2")
    inside.locator("#look-go").click()
    expect(inside.locator(CAPTION)).to_contain_text("Layer 1, in · mean of all heads · query: time token")


# ---- on a phone, in the dark


def test_on_a_phone_the_rest_is_folded_and_both_pictures_are_seen_at_once(phone: Page) -> None:
    for name in ("look-sheet", "look-stages", "look-plots"):
        expect(phone.locator(f"#{name}")).to_be_hidden()
    phone.locator("#look-picture").scroll_into_view_if_needed()
    expect(phone.locator("#look-picture")).to_be_in_viewport(ratio=0.9)
    expect(phone.locator("#look-heat")).to_be_in_viewport(ratio=0.9)
    phone.get_by_role("button", name="All layers and heads").click()
    expect(phone.locator("#look-sheet img")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_plots_are_drawn_in_the_colour_of_the_text(context: BrowserContext, server: str) -> None:
    page = opened(context, server, "?__theme=dark")
    open_tab(page)
    expect(page.locator("#look-plots svg")).to_have_count(2)
    colour = "(element) => getComputedStyle(element).fill"
    text = page.locator("#look-plots svg text").first.evaluate(colour)
    assert min(int(part) for part in re.findall(r"\d+", text)[:3]) > 150  # bright on dark
    assert "#ffffff" not in page.locator("#look-plots").inner_html()


def test_every_control_has_a_line_of_help() -> None:
    from zoo.ui.tabs.look.components import HELP

    text = (Path(__file__).parent.parent / "zoo" / "ui" / "tabs" / "look" / "components.py").read_text()
    controls = re.findall(
        r'(?:gr\.(?:Dropdown|Textbox|Number|Button|UploadButton|Checkbox|Image)|moving_slider|model_dropdown)\(.*elem_id="([^"]+)"', text
    )
    assert len(controls) > 20
    assert [name for name in controls if name not in HELP] == []


# ---- the API


def test_look_inside_over_the_api_says_how_far_it_is(server: str, hub: Hub, tmp_path: Path, says: Callable) -> None:
    *_, result = hub.generate(Request("tiny-uvit", 4, 4_242, 12), preview=False)
    client = Client(server, verbose=False)
    job = client.submit(handle_file(str(result.files[0])), "tiny-uvit", 1, None, "time", api_name="/look_inside")
    path, facts = job.result()
    assert Path(path).suffix == ".png"
    assert facts["model"] == "tiny-uvit"
    stages = [answer[1].get("stage") for answer in job.outputs()[:-1]]
    assert "sampling" in stages
    assert job.outputs()[-1][0] == path
    client.close()


def test_look_inside_over_the_api_can_be_cancelled(server: str, hub: Hub) -> None:
    *_, result = hub.generate(Request("tiny-uvit", 4, 4_243, 700), preview=False)
    client = Client(server, verbose=False)
    job = client.submit(handle_file(str(result.files[0])), "tiny-uvit", 1, None, "time", api_name="/look_inside")
    for answer in job:
        if answer[1].get("step"):
            break
    assert job.cancel()
    assert all(path is None for path, _ in job.outputs())
    path, _ = client.predict(handle_file(str(result.files[0])), "tiny-vit", 1, None, "class", api_name="/look_inside")
    assert path  # the device is free again
    client.close()
