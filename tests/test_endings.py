"""However a run ends, the page stays usable: the button comes back, the reason is a sentence, and what stood there stays."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from conftest import serving
from gradio_client import Client
from playwright.sync_api import Browser, Page, expect
from test_page import fill, finished, generate
from test_tabs import go

from zoo.engine.hub import Hub
from zoo.engine.limits import Limits


@contextmanager
def page_of(browser: Browser, hub: Hub) -> Iterator[Page]:
    with serving(hub) as url:
        visitor = browser.new_context(viewport={"width": 1280, "height": 860})
        page = visitor.new_page()
        page.goto(url)
        page.wait_for_function("document.querySelector('#cost p')?.innerText.trim()")
        yield page
        visitor.close()


FAILURES = {
    "memory": (MemoryError(), "do not fit into the memory"),
    "bug": (KeyError("nothing"), "through a fault of the program (KeyError)"),
    "allocation": (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "do not fit into the memory"),
}
"""By name; neighbours are told in other words, so that what stands there is never taken for what was awaited."""


@pytest.fixture(scope="module")
def failing(browser: Browser, hub: Hub) -> Iterator[Page]:
    """A page on which one run after another fails."""
    with page_of(browser, hub) as page:
        yield page


@pytest.mark.parametrize("failure", FAILURES)
def test_a_run_that_fails_gives_the_button_back_and_keeps_the_picture(
    failing: Page, hub: Hub, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    error, words = FAILURES[failure]
    page = failing
    fill(page, steps="3", count="1", seed="1")
    generate(page)
    finished(page, 1)
    before = page.locator("#gallery img").first.get_attribute("src")

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr("zoo.engine.walk.predictor", fail)
        page.click("#generate")
        expect(page.locator("#progress .error")).to_contain_text(words)
        expect(page.locator("#generate")).to_be_visible()
        expect(page.locator("#stop")).to_be_hidden()
        assert page.locator("#gallery img").first.get_attribute("src") == before
        go(page, "Video")
        page.click("#video-generate")
        expect(page.locator("#video-progress .error")).to_contain_text(words)
        expect(page.locator("#video-generate")).to_be_visible()
        go(page, "Compare")
        page.get_by_role("tab", name="Side by side").click()
        page.click("#compare-go")
        expect(page.locator("#compare-note .error")).to_contain_text(words)
        expect(page.locator("#compare-go")).to_be_visible()
        page.get_by_role("tab", name="X/Y grid").click()
        page.click("#grid-go")
        expect(page.locator("#grid-note .error")).to_contain_text(words)
        expect(page.locator("#grid-go")).to_be_visible()
    go(page, "Image")
    generate(page)
    assert "seed 1 " in finished(page, 1)


def test_a_video_that_ffmpeg_refuses_is_kept_as_webp(
    browser: Browser, hub_with: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = hub_with({})

    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("no encoder")

    monkeypatch.setattr("zoo.media.ffmpeg.make", fail)
    with page_of(browser, hub) as page:
        go(page, "Video")
        fill(page, **{"video-steps": "2"})
        page.click("#video-generate")
        expect(page.locator("#video-progress .error")).to_contain_text("ffmpeg could not make the MP4 (no encoder)")
        expect(page.locator("#video-generate")).to_be_visible()
    assert len(list(hub.results.folder.rglob("*.webp"))) == 1


@pytest.mark.parametrize("endpoint", ["/generate_video", "/generate_image"])
def test_a_client_that_cancels_ends_its_run(server: str, endpoint: str) -> None:
    client = Client(server, verbose=False)
    asked = ("tiny-latte", "rocket flies up", "", 16, 8, 0, 1000) if endpoint == "/generate_video" else ("tiny-dit", "star", 16, 0, 1000)
    job = client.submit(*asked, "ddim", 2.0, api_name=endpoint)
    while not job.outputs():
        assert not job.done(), job.exception()
    assert job.cancel()
    _, receipts = client.predict("tiny-dit", "star", 1, 3, 2, "ddim", 2.0, api_name="/generate_image")  # else it waits for minutes
    assert receipts[0]["stopped_at"] is None
    client.close()


def test_waiting_says_place_and_seconds_and_can_be_stopped(browser: Browser, hub_with: Callable[..., Hub]) -> None:
    hub = hub_with({}, limits=Limits(flying=1))
    with page_of(browser, hub) as first:
        first.wait_for_function("document.querySelector('#cost p')?.innerText.startsWith('about')")
        visitor = browser.new_context()
        second = visitor.new_page()
        second.goto(first.url)
        second.wait_for_function("document.querySelector('#cost p')?.innerText.startsWith('about')")
        fill(first, steps="500", count="8")
        first.click("#generate")
        first.wait_for_function("/step \\d+/.test(document.querySelector('#progress').innerText)")
        fill(second, steps="3", count="1")
        second.click("#generate")
        expect(second.locator("#progress")).to_contain_text(re.compile(r"waiting: 1 ahead of you, about \d+ s"))
        second.click("#stop")
        expect(second.locator("#progress")).to_contain_text("Stopped while waiting: nothing was started.")
        expect(second.locator("#generate")).to_be_visible()
        second.click("#generate")
        expect(second.locator("#progress")).to_contain_text("waiting: 1 ahead of you")
        first.keyboard.press("Escape")
        finished(second, 1)
        visitor.close()
