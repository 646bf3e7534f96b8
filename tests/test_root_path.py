"""The page behind a reverse proxy, under a path of its own: with the prefix taken off or left on, with and without the slash."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import arrived, serving, visiting
from gradio_client import Client, handle_file
from playwright.sync_api import Browser, expect
from prefix_proxy import proxied
from test_page import download, fill, finished, generate

from zoo.catalog import settings
from zoo.engine.hub import Hub
from zoo.media import receipts

PREFIX = "/patchwork"


@pytest.fixture(scope="module")
def behind(hub: Hub) -> Iterator[str]:
    """The server that the proxies ask."""
    with serving(hub, root_path=PREFIX, allowed_hosts=("hub.example.org",)) as url:
        yield url


@pytest.fixture(params=[(True, ""), (False, "/")], ids=["prefix taken off, no slash", "prefix left on, slash"])
def address(behind: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the page is offered."""
    strip, slash = request.param
    with proxied(behind, PREFIX, strip) as url:
        yield f"{url}{slash}"


def test_the_page_works_under_a_path(browser: Browser, address: str, tmp_path: Path) -> None:
    with visiting(browser, address) as context:  # which also sees that nothing outside of the path is asked for
        context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address.rstrip("/").removesuffix(PREFIX))
        missing = []
        context.on("response", lambda answer: missing.append((answer.status, answer.url)) if answer.status >= 400 else None)
        page = arrived(context.new_page(), f"{address}?tab=image&model=tiny-dit&label=star&seed=5&steps=25")
        expect(page.locator("#seed input").first).to_have_value("5")
        fill(page, count="2", steps="900")
        page.evaluate(
            """() => {
                window.seen = new Set();
                new MutationObserver(() => document.querySelectorAll("#preview img").forEach((image) => window.seen.add(image.src)))
                    .observe(document, { subtree: true, childList: true, attributeFilter: ["src"] });
            }"""
        )
        generate(page)
        page.wait_for_function("window.seen.size > 2")  # previews come while it runs
        page.click("#stop")
        assert "kept" in finished(page, 2)
        page.wait_for_function("[...document.querySelectorAll('#gallery img')].every((image) => image.naturalWidth > 0)")
        picture = download(page, tmp_path)
        assert receipts.read(picture)["seed"] == 5
        page.click("#link")
        expect(page.locator("#link")).to_have_text("Link copied")
        link = page.evaluate("navigator.clipboard.readText()")
        assert link.startswith(f"{address}?tab=image&model=tiny-dit&label=star&seed=5")
        page.locator("input#dropped, .dropped input[type=file]").first.set_input_files(picture)
        expect(page.locator("#verdict")).to_contain_text("seed 5")
        other = arrived(context.new_page(), link)
        expect(other.locator("#seed input").first).to_have_value("5")
        other.reload()
        expect(other.locator("#history li").first).to_be_visible()
        other.locator("#history li").first.scroll_into_view_if_needed()
        other.wait_for_function("document.querySelector('#history img').naturalWidth > 0")
        assert missing == []


def test_programs_use_it_under_a_path(address: str) -> None:
    client = Client(address, verbose=False)
    assert "tiny-dit" in {row["id"] for row in client.predict(api_name="/list_models")}
    job = client.submit("tiny-dit", "star", 1, 0, 25, "dpm-solver++", 2.0, api_name="/generate_image")
    gallery, _ = job.result()
    assert len(job.outputs()) > 2  # previews came one by one
    overlay, _ = client.predict(handle_file(gallery[0]["image"]), "tiny-vit", 3, None, "class", api_name="/look_inside")
    assert Path(overlay).stat().st_size > 0


def test_files_and_links_of_a_page_behind_https_are_of_https_and_of_the_path(behind: str) -> None:
    headers = {"X-Forwarded-Proto": "https", "host": "hub.example.org"}
    with proxied(behind, PREFIX, True, headers) as url:
        page = urllib.request.urlopen(f"{url}/config", timeout=60).read()
    assert json.loads(page)["root"] == "https://hub.example.org/patchwork"


def test_a_whole_address_may_stand_in_the_place_of_the_path(hub: Hub) -> None:
    named = {"host": "hub.example.org"}  # which the address says, so that --allowed-hosts need not
    with serving(hub, root_path="https://hub.example.org/patchwork") as server, proxied(server, PREFIX, False, named) as url:
        assert b'<base href="https://hub.example.org/patchwork/" />' in urllib.request.urlopen(url, timeout=60).read()
        assert json.loads(urllib.request.urlopen(f"{url}/config", timeout=60).read())["root"] == "https://hub.example.org/patchwork"


def test_a_proxy_that_holds_answers_back_is_told_not_to(behind: str) -> None:
    request = urllib.request.Request(f"{behind}gradio_api/queue/data?session_hash=nobody")
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["Content-Type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("given", "path"),
    [("/patchwork/", "/patchwork"), ("a/b", "/a/b"), ("/", ""), ("", ""), ("https://a.example/b/", "https://a.example/b")],
)
def test_a_path_is_taken_as_people_write_it(given: str, path: str) -> None:
    assert settings.chosen(["--root-path", given])[1].root_path == path


def test_what_is_no_path_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, says) -> None:
    for given in ("ftp://example.org/patchwork", "/a b", "/a//b", "/../b?"):
        with pytest.raises(ValueError, match=re.escape("such as /patchwork, not")):
            settings.root_path(given)
