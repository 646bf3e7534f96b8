"""What the operator offers is all that anybody reaches, and only he downloads and removes where strangers can come."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from conftest import serving
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from zoo.catalog.labels import DATA
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.errors import RequestError
from zoo.ui.parts.download import Downloads
from zoo.ui.tabs.compare.columns_html import url_path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """A hub that offers one generator and one judge."""
    return Hub(device="cpu", cache_dir=tmp_path_factory.mktemp("small"), models=["tiny-dit", " tiny-vit"])


def test_a_model_that_is_not_on_offer_is_refused_by_every_method(small: Hub, says) -> None:
    assert [row["id"] for row in small.describe()] == ["tiny-dit", "tiny-vit"]
    assert small.card("tiny-vae").id == "tiny-vae"  # which tiny-dit needs
    for ask in (small.card, small.fetch, small.prepare, lambda name: small.submit(Request(name, 0))):
        for name in ("tiny-uvit", "dit-xl-2-256", "tiny-latte"):
            with says(RequestError, f"does not offer {name}", "tiny-dit"):
                ask(name)
    with says(RequestError, "There is no model 'tiny-dot'"):
        small.card("tiny-dot")
    with says(RequestError, "does not offer sd-vae-ft-mse"):
        small.submit(Request("tiny-dit", 0, vae="sd-vae-ft-mse"))
    assert list(small.generate(Request("tiny-dit", 4, 0, steps=2)))[-1].files


def test_the_endpoints_refuse_it_as_well(small: Hub) -> None:
    with serving(small) as url:
        client = Client(url, verbose=False)
        picture = handle_file(str(DATA / "example-star.png"))
        for values, endpoint in [
            (("tiny-uvit", "star", 1, 0, 2, "ddim", 2.0), "/generate_image"),
            (("tiny-latte", "rocket flies up", "", 1, 8, 0, 2, "ddim", 2.0), "/generate_video"),
            ((picture, "tiny-swin", None, None, None), "/look_inside"),
            ((json.dumps([{"model": "tiny-dit", "label": "star"}, {"model": "tiny-uvit"}]),), "/compare"),
        ]:
            with pytest.raises(AppError, match="This hub does not offer tiny-"):
                client.predict(*values, api_name=endpoint)
        gallery, _ = client.predict("tiny-dit", "star", 1, -1, 2, "ddim", 2.0, api_name="/generate_image")
        assert gallery
        client.close()


@pytest.mark.parametrize(
    ("name", "share", "said", "allowed"),
    [
        ("127.0.0.1", False, None, True), ("localhost", False, None, True), ("::1", False, None, True),
        ("0.0.0.0", False, None, False), ("", False, None, False), (None, False, None, False), ("192.168.0.7", False, None, False),
        ("127.0.0.1", True, None, False), ("0.0.0.0", False, True, True), ("127.0.0.1", False, False, False),
    ],
)  # fmt: skip
def test_visitors_download_and_remove_by_default_only_where_nobody_else_comes(
    small: Hub, monkeypatch: pytest.MonkeyPatch, name: str | None, share: bool, said: bool | None, allowed: bool
) -> None:
    doors = Downloads(small)
    doors.page = type("Page", (), {"server_name": name, "share": share})()
    monkeypatch.setattr(small, "downloads", said)
    missing = [small.cards["dit-xl-2-256"]]
    for act in (lambda: doors.check(missing), doors.check_removal):
        if allowed:
            act()
        else:
            with pytest.raises(RequestError, match="person who runs this hub"):
                act()


@pytest.mark.parametrize(
    ("path", "url"),
    [
        (PurePosixPath("/tmp/a b/#1%.png"), "/tmp/a%20b/%231%25.png"),
        (PureWindowsPath("C:\\Users\\A B\\x.png"), "C:/Users/A%20B/x.png"),
        (PureWindowsPath("\\\\server\\share\\x.png"), "//server/share/x.png"),
    ],
    ids=str,
)
def test_a_path_in_a_url_has_the_drive_where_the_system_has_drives(path: Path, url: str) -> None:
    assert url_path(path) == url
