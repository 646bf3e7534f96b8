"""Small files of the page are found by name, below any path and before a login, and a browser keeps them."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import serving
from test_login import line

from zoo.engine.hub import Hub
from zoo.ui import language
from zoo.ui.parts import class_list
from zoo.ui.server import page_files

PREFIX = "/patchwork"
TABLE = "zh-CN.json"


@pytest.fixture(scope="module")
def url(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page below a path, which asks for a login."""
    users = tmp_path_factory.mktemp("login") / "users.txt"
    users.touch(mode=0o600)
    users.write_text(line("ada"))
    with serving(hub, root_path=PREFIX, auth_file=str(users)) as address:
        yield address.rstrip("/")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """One picture that ships."""
    (tmp_path / "classes.webp").write_bytes(b"RIFF-a-picture")
    monkeypatch.setattr(page_files, "FOLDER", tmp_path)
    page_files.files.cache_clear()
    yield
    page_files.files.cache_clear()


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_the_table_is_found_with_the_prefix_taken_off_or_left_on_and_before_a_login(url: str, prefix: str) -> None:
    answer = httpx.get(f"{url}{prefix}/{page_files.address(TABLE)}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == class_list.in_chinese() | language.table()
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert httpx.get(f"{url}/config").status_code == 401


@pytest.mark.parametrize("accepted", ["identity", "gzip;q=0"])
def test_whoever_does_not_take_gzip_is_sent_the_table_plain(url: str, accepted: str) -> None:
    answer = httpx.get(f"{url}/files/{TABLE}", headers={"accept-encoding": accepted})
    assert "gzip" not in answer.headers["etag"]  # gradio may compress it on its own
    assert "Accept-Encoding" in answer.headers["vary"]
    assert answer.json() == class_list.in_chinese() | language.table()


def test_a_browser_that_has_the_file_is_told_so_and_without_the_digest_it_asks_again(url: str) -> None:
    first = httpx.get(f"{url}/files/{TABLE}")
    again = httpx.get(f"{url}/files/{TABLE}", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == first.headers["cache-control"] == "no-cache"
    other = httpx.get(f"{url}/files/{TABLE}?v=0000", headers={"if-none-match": '"another"'})
    assert (other.status_code, other.headers["cache-control"]) == (200, "no-cache")


def test_head_says_what_get_would_send(url: str) -> None:
    head, get = httpx.head(f"{url}/files/{TABLE}"), httpx.get(f"{url}/files/{TABLE}")
    assert head.content == b""
    assert int(head.headers["content-length"]) == len(gzip.compress(get.content, mtime=0))
    assert head.headers["etag"] == get.headers["etag"]


@pytest.mark.parametrize("name", ["", "/", "/other.webp", "/../page.py", "/%2e%2e/__init__.py", f"/x/{TABLE}", f"//{TABLE}", "/.gitkeep"])
def test_no_other_name_is_answered(url: str, name: str) -> None:
    answer = httpx.get(f"{url}/files{name}")
    assert answer.status_code in (401, 404)
    assert answer.status_code == 401 or answer.text == "The page has no file of this name."


def test_files_are_only_read(url: str) -> None:
    answer = httpx.post(f"{url}/files/{TABLE}", content=b"x")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.usefixtures("small")
def test_a_picture_of_the_folder_is_sent_as_it_is(url: str) -> None:
    answer = httpx.get(f"{url}/{page_files.address('classes.webp')}")
    assert (answer.content, answer.headers["content-type"]) == (b"RIFF-a-picture", "image/webp")
    assert "content-encoding" not in answer.headers
    assert "immutable" in answer.headers["cache-control"]


def test_all_that_ships_for_the_page_has_a_type_and_is_small() -> None:
    listed = [path for path in page_files.FOLDER.iterdir() if not path.name.startswith(".")]
    assert {path.name for path in listed} <= set(page_files.files())
    assert sum(len(file.content) for file in page_files.files().values()) < 8_000_000
