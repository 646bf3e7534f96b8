"""What another user left here: a cache that may be read but not written, files and folders of his own; named, or read where they may."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from loopback_hub import LoopbackHub
from permissions import PLAIN, obeying_permissions
from test_downloads import bytes_of, card_of, source
from test_look import card_words, random_module

from zoo.__main__ import main
from zoo.catalog import sources
from zoo.catalog.store import Store
from zoo.engine.hub import Hub
from zoo.engine.published_numbers import verified
from zoo.engine.request import Request
from zoo.engine.verify import admit
from zoo.errors import DownloadError, VariableError

PICTURE = str(ROOT / "zoo/catalog/data/example-heart.png")


@pytest.fixture
def theirs(hub_with: Callable[..., Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A cache with a model that somebody imported, which only he may write; the command line uses it."""
    module = random_module("vit")
    with torch.no_grad():
        logits = module(torch.full((1, 3, 32, 32), 0.5)).logits[0, :2].tolist()
    entry = {"input": {"constant": 0.5}, "output": "logits[0, :2]", "numbers": logits, "source": "somebody"}
    hub = hub_with({"mine": card_words("vit", expected=[entry])})
    torch.save(module.state_dict(), tmp_path / "w.pt")
    admit(hub.store, hub.card("mine"), [tmp_path / "w.pt"])
    monkeypatch.setenv("PATCHWORK_CACHE", str(hub.cache_dir))
    folders = [hub.cache_dir, *(path for path in hub.cache_dir.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    for path in hub.store.folder.rglob("*.lock"):
        path.chmod(0o444)
    with obeying_permissions():
        yield hub
    for folder in folders:
        folder.chmod(0o755)


def test_a_cache_that_may_only_be_read_is_read(theirs: Hub, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["list", "--json"]) == 0
    assert next(row for row in json.loads(capsys.readouterr().out) if row["id"] == "mine")["local"] is True
    assert main(["verify", "mine"]) == 0
    said = capsys.readouterr().out
    assert f"which {theirs.store.folder} has no place to note" in said
    assert "verified against 2" in said
    assert verified(theirs.store, theirs.card("mine")) == 0
    assert main(["look", PICTURE, "--model", "mine", "--out", str(tmp_path / "inside")]) == 0
    assert main(["cache"]) == 0
    assert "mine" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["sample tiny-dit --label star", "import mine w.pt", "import w.pt", "cache --remove mine"])
def test_what_would_write_there_names_the_folder_and_the_variable(
    theirs: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 1
    said = capsys.readouterr().err
    assert f"{theirs.cache_dir}" in said
    assert "(Permission denied)" in said
    assert "set PATCHWORK_CACHE" in said
    assert theirs.store.find(theirs.card("mine"))


def test_nobody_is_asked_for_a_file_that_could_not_be_kept(remote: LoopbackHub, store: Store, says: Callable) -> None:
    store.folder.mkdir(parents=True, mode=0o555)
    with obeying_permissions(), says(DownloadError, str(store.folder), "Permission denied", "PATCHWORK_CACHE"):
        sources.fetch(card_of(source("huggingface", remote)), store)
    assert remote.log == []
    store.folder.chmod(0o755)
    assert sources.fetch(card_of(source("huggingface", remote)), store).path.read_bytes() == bytes_of(remote)


@pytest.mark.parametrize("folder", ["", "models/pins", "models/blobs", "cards"])
def test_a_folder_of_another_user_that_may_not_be_read_is_named_when_the_hub_starts(tmp_path: Path, folder: str, says: Callable) -> None:
    place = tmp_path / "cache" / folder
    place.mkdir(parents=True)
    place.chmod(0)
    with obeying_permissions(), says(VariableError, str(place), "cannot be read (Permission denied)", "PATCHWORK_CACHE"):
        Hub(device="cpu", cache_dir=tmp_path / "cache")
    place.chmod(0o755)
    Hub(device="cpu", cache_dir=tmp_path / "cache")


def test_the_home_of_another_user_is_named_not_traced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0)
    variables = {name: value for name, value in os.environ.items() if name != "PATCHWORK_CACHE"} | {"HOME": str(tmp_path / "home")}
    command = [*PLAIN, sys.executable, "-m", "zoo", "list"]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)
    assert done.stderr == (
        f"zoo: {tmp_path}/home/.cache/patchwork cannot be read (Permission denied): set PATCHWORK_CACHE to a folder of your own.\n"
    )


def test_a_file_of_another_user_that_may_not_be_read_is_named(theirs: Hub, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = theirs.store.find(theirs.card("mine")).path
    path.chmod(0)
    for command in (["verify", "mine"], ["look", PICTURE, "--model", "mine", "--out", str(tmp_path / "inside")]):
        assert main(command) == 1
        assert f"zoo: {path} cannot be read (Permission denied)" in capsys.readouterr().err


def test_the_cache_of_another_hub_that_may_not_be_read_is_passed_over(remote: LoopbackHub, store: Store, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    path = Path(hf_hub_download("authors/model", "weights/model.pt", endpoint=remote.url, cache_dir=tmp_path / "hf")).resolve()
    path.chmod(0)
    with obeying_permissions():
        local = sources.fetch(card_of(source("huggingface", remote)), store)
    assert local.path.parent == store.blobs
    assert local.path.read_bytes() == bytes_of(remote)


def test_files_of_another_user_do_not_stand_in_the_way_of_one_who_may_write_the_folder_and_his_locks_are_named(
    remote: LoopbackHub, store: Store, says: Callable
) -> None:
    card = card_of(source("huggingface", remote))
    sources.fetch(card, store).path.chmod(0o444)
    (store.pins / "m.json").chmod(0o444)
    [lock] = [path for path in store.parts.glob("*.lock") if path.name != "m.lock"]
    with obeying_permissions():
        store.remove("m")
        lock.chmod(0o444)
        with says(DownloadError, str(lock), "Permission denied", "PATCHWORK_CACHE"):
            sources.fetch(card, store)
        lock.chmod(0o644)
        assert sources.fetch(card, store).path.read_bytes() == bytes_of(remote)
        (store.folder / "pins.lock").chmod(0o444)
        with says(DownloadError, str(store.folder / "pins.lock"), "Permission denied", "PATCHWORK_CACHE"):
            store.remove("m")


def test_a_request_in_a_cache_that_may_only_be_read_is_refused_before_any_work(theirs: Hub, says: Callable) -> None:
    with says(VariableError, str(theirs.cache_dir), "PATCHWORK_CACHE"):
        theirs.submit(Request("tiny-dit", 4, 0, steps=2))
