"""The results of a browser as a gallery: found, seen large, used again, selected, downloaded together, deleted, and nobody else's."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from conftest import opened, visitor
from playwright.sync_api import BrowserContext, Locator, Page, expect
from test_accessibility import findings
from test_tabs import go

from zoo.catalog.card import cards
from zoo.engine import results as results_of_a_hub
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.engine.results import THUMBNAIL, Results, receipts_of
from zoo.errors import MediaError
from zoo.ui.parts.history import History

MINE, OTHER = "ab" * 16, "cd" * 16
NAMES = cards()["tiny-dit"].label_names


def kept(results: Results, number: int, visitor: str = MINE, model: str = "tiny-dit") -> list[Path]:
    """As many results of a visitor as a run would leave, of one class each and the seed of its number; the newest first."""
    card, files = cards()[model], []
    for seed in range(number):
        request = Request(model, labels=seed % len(card.label_names), seeds=seed, steps=2).resolved(card)
        size = (8, 16, 16, 3) if card.video else (16, 16, 3)
        image = np.random.default_rng(seed).integers(0, 256, (1, *size), np.uint8)
        receipts = receipts_of(card, request, image, {"weights": {}, "shared_passes": False}, 0.1)
        files += results.keep(image, receipts, visitor)
    return files[::-1]


@pytest.fixture
def results(cache: Path, server: str) -> Results:
    """Where the server of the tests keeps its results."""
    return Results(cache / "results")


@pytest.fixture
def known(context: BrowserContext, results: Results) -> BrowserContext:
    """A browser whose secret name is MINE, without any result."""
    context.add_init_script("crypto.getRandomValues = (numbers) => numbers.fill(0xab)")
    results.forget(MINE)
    return context


def shown(page: Page, prefix: str = "") -> Locator:
    """The small pictures that the search leaves."""
    return page.locator(f"#{prefix}history li:not([hidden])")


# ---- what the hub keeps


def test_a_large_picture_and_a_video_have_a_small_still_beside_them_and_a_small_picture_needs_none(tmp_path: Path) -> None:
    results = Results(tmp_path)
    [small] = kept(results, 1)
    [clip] = kept(results, 1, model="tiny-latte")
    assert not small.with_name(THUMBNAIL).exists()
    assert clip.with_name(THUMBNAIL).stat().st_size < 5000


def test_what_is_chosen_leaves_and_the_rest_stays_in_its_order(tmp_path: Path) -> None:
    results = Results(tmp_path)
    files = kept(results, 4)
    names = [path.relative_to(tmp_path).as_posix() for path in files]
    assert results.forget(MINE, [names[1], names[3]]) == 2
    assert results.history(MINE) == [files[0], files[2]]
    assert [path.exists() for path in files] == [True, False, True, False]
    assert results.forget(MINE, names) == 2
    assert results.history(MINE) == []


def test_a_file_that_another_browser_has_too_leaves_the_list_and_stays_on_disk(tmp_path: Path) -> None:
    (tmp_path / "star.png").write_bytes(b"as an earlier version kept them")
    for name in (MINE, OTHER):
        (tmp_path / f"{name}.history").write_text("star.png\n")
    assert Results(tmp_path).forget(MINE, ["star.png"]) == 0
    assert Results(tmp_path).history(MINE) == []
    assert Results(tmp_path).history(OTHER) == [tmp_path / "star.png"]


def test_nobody_packs_or_deletes_or_opens_what_is_not_his_own(tmp_path: Path, hub: Hub, says: Callable) -> None:
    results = Results(tmp_path)
    theirs = kept(results, 2, OTHER)
    names = [path.relative_to(tmp_path).as_posix() for path in theirs]
    outside = tmp_path.parent / "secret.png"
    outside.write_bytes(b"of nobody")
    for visitor_id in (MINE, "", "*", f"../{OTHER}"):
        asked = [*names, "../secret.png", str(outside), ""]
        assert results.chosen(visitor_id, asked) == []
        assert results.forget(visitor_id, asked) == 0
        with says(MediaError, "reload the page"):
            results.pack(visitor_id, asked)
    assert results.history(OTHER) == theirs
    assert outside.exists()
    assert hub.results.chosen(MINE, names) == []


def test_a_zip_file_holds_every_picture_under_a_name_of_its_own_with_its_receipt(tmp_path: Path) -> None:
    results = Results(tmp_path)
    files = kept(results, 3)
    twin = tmp_path / files[0].name  # as an earlier version kept it: the same name in another folder
    twin.write_bytes(files[0].read_bytes())
    with (tmp_path / f"{MINE}.history").open("a") as page:
        page.write(f"{twin.name}\n")
    path, number = results.pack(MINE, [file.relative_to(tmp_path).as_posix() for file in (*files, twin)])
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        assert archive.read(files[1].name) == files[1].read_bytes()
        assert json.loads(archive.read(f"{files[1].stem}.json"))["seed"] == 1
    assert number == 4
    assert len(set(names)) == len(names) == 7  # the twin has no receipt beside it
    assert f"{twin.stem}-2.png" in names
    results.forget(MINE)
    assert not path.exists()


def test_a_zip_file_has_a_limit_and_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: Callable) -> None:
    results = Results(tmp_path)
    names = [file.relative_to(tmp_path).as_posix() for file in kept(results, 2)]
    monkeypatch.setattr(results_of_a_hub, "ARCHIVE_BYTES", 100)
    with says(MediaError, "2 results", "MB", "select fewer"):
        results.pack(MINE, names)
    assert not list(tmp_path.rglob("*.zip"))


def test_a_damaged_or_missing_receipt_leaves_a_result_in_the_list(hub: Hub) -> None:
    hub.results.forget(OTHER)
    good, bad, bare = kept(hub.results, 3, OTHER)
    bad.with_suffix(".json").write_text("[")
    bare.with_suffix(".json").unlink()
    import gradio as gr

    with gr.Blocks():
        history = History(hub, gr.BrowserState(""))
    words = history.update(OTHER)[history.list]
    assert all(path.name in words for path in (good, bad, bare))
    hub.results.forget(OTHER)


def test_five_hundred_results_are_listed_in_a_moment(hub: Hub) -> None:
    import gradio as gr

    hub.results.forget(OTHER)
    kept(hub.results, 500, OTHER)
    with gr.Blocks():
        history = History(hub, gr.BrowserState(""))
    begun = time.perf_counter()
    first = history.update(OTHER)
    middle = time.perf_counter()
    again = history.update(OTHER)
    ended = time.perf_counter()
    assert first == again
    assert first[history.list].count('"file"') == 500
    assert len(first[history.list]) < 250_000
    assert middle - begun < 5
    assert ended - middle < 1
    hub.results.forget(OTHER)


# ---- what the page does with it


def test_typing_filters_by_class_model_and_seed_at_once(known: BrowserContext, server: str, results: Results) -> None:
    kept(results, 12)
    kept(results, 1, model="tiny-uvit")
    page = opened(known, server)
    expect(shown(page)).to_have_count(13)
    search = page.get_by_role("searchbox", name="Search by class, model or seed").locator("visible=true")
    titles = [(cards()[model].title, seed) for model, seed in [("tiny-uvit", 0), *(("tiny-dit", seed) for seed in range(11, -1, -1))]]
    entries = [(NAMES[seed % len(NAMES)], title, seed) for title, seed in titles]
    for typed in (NAMES[1].upper(), "u-vit", "11", f"{NAMES[2]} dit"):
        search.fill(typed)
        seen = [one[0] for one in entries if all(word in "{} {} {}".format(*one).lower() for word in typed.lower().split())]
        assert 0 < len(seen) < 13
        expect(shown(page)).to_have_text(seen)
    expect(page.locator("#history .gallery-count")).to_have_text(f"{len(seen)} of 13 results")
    search.press("Enter")  # which elsewhere starts a run
    page.wait_for_timeout(300)
    assert not page.locator("#stop").is_visible()
    search.fill("no such thing")
    expect(page.get_by_text("No result matches this search.")).to_be_visible()
    search.fill("")
    expect(page.locator("#history .gallery-count")).to_have_text("13 results")


def test_a_result_is_seen_large_and_turned_over_by_keys_and_its_settings_come_back(
    known: BrowserContext, server: str, results: Results
) -> None:
    kept(results, 3)
    page = opened(known, server)
    shown(page).first.get_by_role("button").click()
    box = page.locator("#lightbox")
    expect(box.locator("dl")).to_contain_text(NAMES[2])
    page.wait_for_function("document.querySelector('#lightbox img').naturalWidth === 16")
    assert findings(page) == []
    page.keyboard.press("ArrowRight")
    expect(box.locator(".lightbox-place")).to_have_text("2 of 3")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # there is none before the first
    expect(box.locator(".lightbox-place")).to_have_text("1 of 3")
    page.keyboard.press("End")
    facts = box.locator("dl").inner_text().split("\n")
    assert {"Seed", "0", "Steps", "2", "Solver", "Guidance", "Made", "Model", "Class", NAMES[0]} <= set(facts)
    page.keyboard.press("Escape")
    expect(box).to_be_hidden()
    expect(page.locator("#history li button:focus")).to_have_attribute("aria-label", re.compile(f"^{NAMES[0]}, "))  # once it has closed
    page.keyboard.press("Enter")
    expect(box).to_be_visible()
    box.get_by_role("button", name="Use its settings").click()
    expect(box).to_be_hidden()
    expect(page.locator("#facts")).to_contain_text("seed 0")
    expect(page.locator("#seed input")).to_have_value("0")
    expect(page.locator("#steps input")).to_have_value("2")
    expect(page.locator("#verdict")).to_contain_text("are back on the controls")
    expect(page.locator("#gallery img").first).to_be_visible()


def test_a_result_is_downloaded_from_its_large_view_and_looked_into(known: BrowserContext, server: str, results: Results) -> None:
    [file] = kept(results, 1)
    page = opened(known, server)
    shown(page).get_by_role("button").click()
    with page.expect_download() as got:
        page.locator("#lightbox").get_by_role("link", name="Download").click()
    assert got.value.suggested_filename == file.name
    assert Path(got.value.path()).read_bytes() == file.read_bytes()
    page.locator("#lightbox").get_by_role("button", name="Look inside").click()
    expect(page.get_by_role("tab", name="Look inside")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#look-seed input")).to_have_value("0")


def test_several_are_selected_downloaded_as_one_file_and_deleted_once_that_is_confirmed(
    known: BrowserContext, server: str, results: Results
) -> None:
    files = kept(results, 6)
    [theirs] = kept(results, 1, OTHER)
    page = opened(known, server)
    expect(shown(page)).to_have_count(6)
    boxes = page.locator("#history .gallery-grid input")
    boxes.nth(1).check()
    boxes.nth(3).click(modifiers=["Shift"])
    expect(page.locator("#history .gallery-number")).to_have_text("3 selected")
    assert findings(page) == []
    with page.expect_download() as got:
        page.locator("#history [data-do=pack]").click()
    with zipfile.ZipFile(io.BytesIO(Path(got.value.path()).read_bytes())) as archive:
        assert {name for name in archive.namelist() if name.endswith(".png")} == {path.name for path in files[1:4]}
        assert len(archive.namelist()) == 6
    expect(page.locator("#history-note")).to_contain_text("3 results in one ZIP file")
    page.locator("#history [data-do=doubt]").click()
    assert findings(page) == []
    page.locator("#history [data-do=keep]").click()
    expect(shown(page)).to_have_count(6)
    page.locator("#history [data-do=doubt]").click()
    page.locator("#history [data-do=delete]").click()
    expect(shown(page)).to_have_count(3)
    assert [path.exists() for path in files] == [True, False, False, False, True, True]
    page.locator("#history [data-do=all]").click()
    expect(page.locator("#history .gallery-number")).to_have_text("3 selected")
    page.locator("#history [data-do=doubt]").click()
    page.locator("#history [data-do=delete]").click()
    expect(page.locator("#history ul")).to_be_hidden()
    assert theirs.exists()
    results.forget(OTHER)


def test_videos_have_a_gallery_of_their_own_and_play_large(known: BrowserContext, server: str, results: Results) -> None:
    kept(results, 1)
    clips = kept(results, 2, model="tiny-latte")
    page = opened(known, server)
    go(page, "Video")
    expect(shown(page, "video-")).to_have_count(2)
    page.locator("#video-history").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('#video-history img').naturalWidth > 0")
    assert page.locator("#video-history img").first.get_attribute("src").endswith(f"/{THUMBNAIL}")
    shown(page, "video-").first.get_by_role("button").click()
    box = page.locator("#lightbox")
    assert httpx.get(box.locator("video").evaluate("(one) => one.src")).content == clips[0].read_bytes()
    assert findings(page) == []
    assert box.get_by_role("link", name="Download").get_attribute("download") == clips[0].name
    box.get_by_role("button", name="Use its settings").click()
    expect(page.locator("#video-facts")).to_contain_text("seed 1")
    expect(page.locator("#video-seed input")).to_have_value("1")
    expect(page.locator("#player video")).to_be_visible()


def test_a_finger_turns_over_by_a_swipe_and_everything_is_large_enough(known: BrowserContext, server: str, results: Results) -> None:
    kept(results, 3)
    page = opened(known, server)
    page.set_viewport_size({"width": 390, "height": 844})
    shown(page).first.get_by_role("button").click()
    for way, place in ((-120, "2 of 3"), (-120, "3 of 3"), (120, "2 of 3")):
        page.evaluate(
            """(way) => {
                const stage = document.querySelector(".lightbox-picture"), at = (type, clientX) =>
                    stage.dispatchEvent(new PointerEvent(type, { bubbles: true, pointerType: "touch", clientX, clientY: 200 }));
                at("pointerdown", 200); at("pointerup", 200 + way);
            }""",
            way,
        )
        expect(page.locator("#lightbox .lightbox-place")).to_have_text(place)
    small = """() => [...document.querySelectorAll("#lightbox :is(button, a), .history :is(button, label, .gallery-tools input)")]
        .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
        .filter(([, box]) => box.width && Math.round(Math.min(box.width, box.height)) < 44)"""
    assert page.evaluate(small) == []
    page.keyboard.press("Escape")
    page.locator("#history .gallery-grid input").first.check()
    assert page.evaluate(small) == []
    assert findings(page) == []


def test_five_hundred_results_load_only_what_is_seen_and_the_search_stays_quick(
    known: BrowserContext, server: str, results: Results
) -> None:
    kept(results, 500)
    page = opened(known, server)
    expect(shown(page)).to_have_count(500)
    page.locator("#history").scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('#history img')].some((image) => image.naturalWidth > 0)")
    assert 0 < page.locator("#history img[src]").count() < 150
    took = page.evaluate(
        """() => {
            const box = document.querySelector("#history input[type=search]"), begun = performance.now();
            for (const typed of ["1", "12", "123", ""]) {
                box.value = typed;
                box.dispatchEvent(new Event("input", { bubbles: true }));
                document.body.offsetHeight;
            }
            return (performance.now() - begun) / 4;
        }"""
    )
    assert took < 250, f"a key pressed in the search takes {took:.0f} ms"
    page.locator("#history li button").first.focus()
    page.keyboard.press("End")
    expect(page.locator("#history li").last.get_by_role("button")).to_be_focused()
    page.wait_for_function("[...document.querySelectorAll('#history img')].at(-1).naturalWidth > 0")
    results.forget(MINE)


def test_a_name_with_marks_of_html_is_shown_as_it_is(known: BrowserContext, server: str, results: Results) -> None:
    [file] = kept(results, 1)
    receipt: dict[str, Any] = json.loads(file.with_suffix(".json").read_text())
    name = "<b>{{1+1}} ${2} 'a' \"b\" & c</b>"
    file.with_suffix(".json").write_text(json.dumps(receipt | {"label": name}))
    page = opened(known, server)
    expect(shown(page)).to_have_text([name])


def test_the_server_gives_a_stranger_nothing_for_the_names_of_others(browser: Any, hub: Hub) -> None:
    """The events that the gallery asks by names, called by somebody who knows the names."""
    files = kept(hub.results, 2, OTHER)
    names = "\n".join(path.relative_to(hub.results.folder).as_posix() for path in files)
    with visitor(hub, browser) as page:
        config = httpx.get(f"{page.url.split('?')[0]}config").json()
        ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
        for button in ("history-use", "history-inside", "history-pack", "history-delete"):
            [event] = [one for one in config["dependencies"] if [ids[button], "click"] in one["targets"]]
            body = {"data": [MINE, names], "fn_index": event["id"], "session_hash": "stranger01"}
            said = httpx.post(f"{page.url.split('?')[0]}gradio_api/run/x", json=body, timeout=60).text
            assert not any(path.parent.name in said for path in files), button
    assert all(path.is_file() for path in files)
    hub.results.forget(OTHER)
