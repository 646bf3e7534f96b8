"""Weights that somebody else keeps: found in his folders by name, size and digest, used where they lie, never written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from loopback_hub import FILE, REPO, LoopbackHub
from permissions import obeying_permissions
from test_downloads import bytes_of, card_of, source

from zoo.__main__ import main
from zoo.catalog import environment, mounted_folder, mounts, sources
from zoo.catalog.card import Card
from zoo.catalog.mounts import store_in
from zoo.catalog.store import Store, sha256
from zoo.engine.hub import Hub
from zoo.engine.request import Request, Result
from zoo.errors import CheckpointError, ChecksumError, DownloadError, RequestError

TINY = ROOT / "zoo/catalog/weights/tiny-dit.safetensors"
DIGEST = hashlib.sha256(TINY.read_bytes()).hexdigest()


def words_of(**more: object) -> dict:
    """A card like tiny-dit's whose weights a hub has."""
    front = yaml.safe_load((ROOT / "model_cards/tiny-dit.md").read_text(encoding="utf-8").split("---")[1])
    weights = {"from": "huggingface", "repo": "somebody/Big-1.5", "file": "inside/model.safetensors"} | more
    return front["zoo"] | {"weights": [weights]}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder for weights, as an operator mounts it."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def big(hub_with: Callable[..., Hub], models: Path) -> Callable[..., Hub]:
    """big(words of its source): a hub that offers the model `big`, whose weights may lie in the folder."""

    def build(**more: object) -> Hub:
        return hub_with({"big": words_of(**more)}, models_dir=[models], offline=True)

    return build


def lay(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(TINY, path)
    return path


def everything(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    return {str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None) for path in folder.rglob("*")}


def made(hub: Hub, model: str = "big") -> Result:
    *_, result = hub.generate(Request(model, labels=4, seeds=7, steps=2), preview=False)
    return result


LAYOUTS = {
    "Hugging Face's cache": "models--somebody--Big-1.5/snapshots/0123abcd/inside/model.safetensors",
    "HF_HOME": "hub/models--somebody--Big-1.5/snapshots/0123abcd/inside/model.safetensors",
    "ModelScope's cache": "models/somebody--Big-1.5/snapshots/master/inside/model.safetensors",
    "ModelScope's earlier cache": "hub/models/somebody/Big-1___5/inside/model.safetensors",
    "the repository as downloaded": "a/b/Big-1.5/inside/model.safetensors",
}


@pytest.mark.parametrize("place", LAYOUTS.values(), ids=LAYOUTS)
def test_weights_are_found_in_the_layouts_of_the_hubs(big: Callable[..., Hub], models: Path, place: str) -> None:
    lay(models / "other/inside/model.safetensors").write_bytes(b"of another model")
    path = lay(models / place)
    hub = big()
    files = hub.store.find(hub.card("big"))
    assert files.path == path
    assert files.folder == models
    assert hub.local(hub.card("big"))


def test_a_model_is_used_where_it_lies_and_gives_the_same_pictures_and_nothing_there_is_touched(
    big: Callable[..., Hub], models: Path
) -> None:
    path = lay(models / LAYOUTS["the repository as downloaded"])
    before = everything(models)
    models.chmod(0o555)
    hub = big()
    with obeying_permissions():
        result = made(hub)
    assert result.receipts[0]["pixels"] == made(Hub(device="cpu", cache_dir=hub.cache_dir), "tiny-dit").receipts[0]["pixels"]
    assert result.receipts[0]["weights"]["big"] == DIGEST == hub.store.find(hub.card("big")).sha256
    assert everything(models) == before
    assert not list(hub.store.blobs.glob("*"))
    with pytest.raises(RequestError, match=f"lie in {models}, which this hub only reads") as caught:
        hub.remove("big")
    assert str(caught.value).endswith(".")
    assert path.is_file()


def test_the_digest_is_read_once_and_remembered_beside_the_results(
    big: Callable[..., Hub], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = lay(models / LAYOUTS["HF_HOME"]), []
    monkeypatch.setattr(mounts, "sha256", lambda path: read.append(path) or sha256(path))
    hub = big()
    assert hub.store.find(hub.card("big")).sha256 == ""  # nothing was read for it
    for _ in range(2):
        assert sources.local_files(hub.card("big"), big().store).sha256 == DIGEST
    assert read == [path]
    os.utime(path, (1, 1))
    assert sources.local_files(hub.card("big"), big().store).sha256 == DIGEST
    assert read == [path, path]


def test_what_is_downloaded_or_imported_comes_before_what_is_mounted(remote: LoopbackHub, tmp_path: Path, models: Path) -> None:
    card = card_of(source("huggingface", remote))
    path = models / "model" / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PK of somebody else")
    store = store_in(tmp_path / "cache", lambda: [card], [models])
    sources.fetch(card, Store(tmp_path / "cache" / "models"))
    assert store.find(card).path.parent == store.blobs
    store.remove("m")
    assert store.find(card) is None or store.find(card).path == path


def test_the_cache_of_another_patchwork_may_be_mounted(remote: LoopbackHub, tmp_path: Path) -> None:
    card = card_of(source("url", remote))
    theirs = sources.fetch(card, Store(tmp_path / "theirs" / "models"))
    store = store_in(tmp_path / "cache", lambda: [card], [tmp_path / "theirs"])
    assert sources.local_files(card, store).path == theirs.path
    assert sources.local_files(card, store).sha256 == theirs.sha256
    assert store.find(card).folder == tmp_path / "theirs"


@pytest.mark.parametrize("client", ["huggingface", "modelscope"])
def test_what_a_space_preloads_is_found_without_setting_anything(remote: LoopbackHub, tmp_path: Path, client: str) -> None:
    if client == "huggingface":
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(REPO, FILE, endpoint=remote.url, cache_dir=tmp_path / "hf")
    else:
        from modelscope_hub import HubApi

        path = HubApi().download_file(REPO, "model", FILE)
    card = card_of(source(client, remote))
    store = store_in(tmp_path / "cache", lambda: [card])
    assert str(store.find(card).path) == str(path)
    assert sources.local_files(card, store).sha256 == sha256(Path(path))
    assert [folder.remark for folder in store.mounts.folders] == ["", ""]  # a cache that is not there is nothing to speak of


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8372640\n"
FAULTS = {
    "half": (lambda path: os.truncate(path, 1_000_000), {}, "ends after 1,000,000 bytes"),
    "half of a known size": (lambda path: os.truncate(path, 1_000_000), {"bytes": 8372640, "sha256": DIGEST}, "ends after 1,000,000"),
    "too long for its card": (
        lambda path: path.write_bytes(TINY.read_bytes()),
        {"bytes": 8000, "sha256": "0" * 64},
        "not 8,000; it is another",
    ),
    "empty": (lambda path: path.write_bytes(b""), {}, "is empty"),
    "pointer": (lambda path: path.write_bytes(POINTER), {}, "is a git-lfs pointer"),
    "page": (lambda path: path.write_bytes(b"<html>" * 999), {}, "is no safetensors file"),
    "pipe": (lambda path: (path.unlink(), os.mkfifo(path)), {}, "is no file"),
    "loop": (lambda path: (path.unlink(), path.symlink_to(path)), {}, "cannot be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_the_weights_is_named_and_the_model_is_not_here(
    big: Callable[..., Hub], models: Path, fault: str, says: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    harm, words, sentence = FAULTS[fault]
    path = lay(models / LAYOUTS["the repository as downloaded"])
    harm(path)
    hub = big(**words)
    assert hub.store.find(hub.card("big")) is None
    remarks = [*hub.store.mounts.remarks(hub.card("big")), *(folder.remark for folder in hub.store.mounts.folders)]
    assert [remark for remark in remarks if str(path) in remark and sentence in remark and remark.endswith(".")], remarks
    if fault != "loop":
        with says(DownloadError, "is not downloaded", str(path), sentence):
            made(hub)


def test_a_file_of_the_same_name_with_other_content_is_noticed_by_its_digest_and_passed_over(
    big: Callable[..., Hub], models: Path, says: Callable
) -> None:
    wrong, right = lay(models / "Big-1.5/inside/model.safetensors"), models / "elsewhere/model.safetensors"
    content = bytearray(TINY.read_bytes())
    content[-1] ^= 1
    wrong.write_bytes(content)
    hub = big(bytes=len(content), sha256=DIGEST)
    with says(ChecksumError, str(wrong), "is not the file of tiny DiT", DIGEST[:12]):
        made(hub)
    assert hub.store.find(hub.card("big")) is None
    lay(right)
    hub = big(bytes=len(content), sha256=DIGEST)
    assert made(hub).receipts[0]["weights"]["big"] == DIGEST
    assert hub.store.find(hub.card("big")).path == right


def test_a_file_of_the_same_name_with_other_keys_is_passed_over_once_it_was_tried(
    big: Callable[..., Hub], models: Path, says: Callable
) -> None:
    path = lay(models / "Big-1.5/inside/model.safetensors")
    shutil.copyfile(TINY.with_name("tiny-vit.safetensors"), path)
    hub = big()
    assert hub.local(hub.card("big"))
    with says(CheckpointError, str(path), "does not fit"):
        made(hub)
    assert not hub.local(hub.card("big"))
    assert "does not fit" in hub.store.mounts.remarks(hub.card("big"))[0]


def test_a_name_that_many_models_have_says_nothing_outside_of_its_repository_and_one_of_its_own_does(
    hub_with: Callable[..., Hub], models: Path
) -> None:
    for name in ("model.safetensors", "big-step-100.safetensors"):
        lay(models / "stuff" / name)
    cards = {"big": words_of(), "small": words_of(repo="somebody/Small"), "own": words_of(file="big-step-100.safetensors")}
    hub = hub_with(cards, models_dir=[models])
    assert [bool(hub.store.find(hub.card(name))) for name in cards] == [False, False, True]


def test_what_else_a_model_needs_is_found_beside_its_weights_or_named(big: Callable[..., Hub], models: Path) -> None:
    words = {"also": ["words/vocab.json", "preprocessor_config.json"]}
    path = lay(models / "Big-1.5/inside/model.safetensors")
    hub = big(**words)
    assert hub.store.find(hub.card("big")) is None
    assert hub.store.mounts.remarks(hub.card("big")) == [f"{path} lacks words/vocab.json beside it, which tiny DiT needs: bring that, too."]
    (models / "Big-1.5/words").mkdir()
    (models / "Big-1.5/words/vocab.json").write_text("{}")
    files = sources.local_files((hub := big(**words)).card("big"), hub.store)
    assert files.also == {"vocab.json": models / "Big-1.5/words/vocab.json"}
    assert files.digests[files.also["vocab.json"]] == sha256(files.also["vocab.json"])


# ---- folders that are not as they should be


def folder_of(path: Path, card: Card) -> mounted_folder.MountedFolder:
    return mounted_folder.MountedFolder(path, lambda: [card])


def test_a_folder_that_is_missing_is_said_and_found_when_it_comes(
    big: Callable[..., Hub], models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models.rmdir()
    monkeypatch.setattr(mounted_folder, "FRESH", 0.0)
    hub = big()
    assert hub.store.find(hub.card("big")) is None
    assert f"{models} cannot be read (No such file or directory): mount it, or take it out of PATCHWORK_MODELS." in caplog.messages
    lay(models / "Big-1.5/inside/model.safetensors")
    until(lambda: hub.local(hub.card("big")))
    made(hub)
    shutil.rmtree(models)  # while it is in memory
    until(lambda: not hub.local(hub.card("big")))
    made(hub)
    with pytest.raises(DownloadError, match="is not downloaded"):
        made(big())


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_folders_that_may_not_be_read_links_in_circles_and_crowds_do_not_hide_what_lies_beside_them(
    big: Callable[..., Hub], models: Path
) -> None:
    path = lay(models / "x/Big-1.5/inside/model.safetensors")
    (models / "x" / "again").symlink_to(models)
    (models / "x" / "self").symlink_to("self")
    for number in range(3000):
        (models / "crowd" / str(number)).mkdir(parents=True)
    closed = models / "closed"
    closed.mkdir(mode=0)
    with obeying_permissions():
        hub = big()
        assert hub.store.find(hub.card("big")).path == path
    closed.chmod(0o755)
    assert hub.store.mounts.folders[0].remark == f"{closed} cannot be read (Permission denied): what lies there is not found."


def test_no_more_is_looked_through_than_the_bound_those_near_the_top_first(
    big: Callable[..., Hub], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounted_folder, "MOST", 100)
    deep = models
    for number in range(60):
        (models / f"crowd-{number}" / "below" / "more").mkdir(parents=True)
    path = lay(models / "Big-1.5/inside/model.safetensors")
    hub = big()
    assert hub.store.find(hub.card("big")).path == path
    assert f"{deep} holds more than is looked through" in hub.store.mounts.folders[0].remark


def test_a_folder_is_listed_again_only_where_it_changed(models: Path, remote: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    card, listed = card_of(source("huggingface", remote)), []
    monkeypatch.setattr(mounted_folder, "FRESH", 0.0)
    real = mounted_folder._list
    monkeypatch.setattr(mounted_folder, "_list", lambda folder, *more: listed.append(folder.name) or real(folder, *more))
    for name in ("one", "two"):
        (models / name).mkdir()
        os.utime(models / name, (1, 1))
    os.utime(models, (1, 1))
    folder = folder_of(models, card)
    folder.look()
    assert listed == ["models", "one", "two"]
    (models / "two" / FILE.rpartition("/")[2]).write_bytes(b"PK")
    until(lambda: folder.look().files)
    assert set(listed[3:]) == {"two"}


def test_a_mount_that_hangs_keeps_nobody_waiting_but_who_comes_first_and_is_said(
    models: Path, tmp_path: Path, remote: LoopbackHub, monkeypatch: pytest.MonkeyPatch, says: Callable
) -> None:
    card, answer = card_of(source("huggingface", remote)), threading.Event()
    hangs, works = models / "hangs", models / "works" / "model" / FILE
    hangs.mkdir()
    works.parent.mkdir(parents=True)
    works.write_bytes(bytes_of(remote))
    monkeypatch.setattr(mounted_folder, "PATIENCE", 0.2)
    monkeypatch.setattr(mounts, "PATIENCE", 0.2)
    real = mounted_folder._list

    def listing(folder: Path, *more: object) -> tuple:
        if folder == hangs:
            answer.wait(60)
        return real(folder, *more)

    monkeypatch.setattr(mounted_folder, "_list", listing)
    store = store_in(tmp_path / "cache", lambda: [card], [hangs, models / "works"])
    assert store.find(card).path == works
    until(lambda: f"{hangs} has not answered for" in store.mounts.folders[0].remark)
    answer.set()
    until(lambda: store.mounts.folders[0].remark == "")
    works.unlink()
    os.mkfifo(works)  # a file that never begins to come
    with says(DownloadError, str(works), "does not answer", "mount it again"):
        sources.local_files(card, store)


# ---- what an operator sees


def test_the_command_line_says_where_the_weights_lie(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, cache: Path
) -> None:
    empty, half = tmp_path / "empty", models / "Latte" / "ucf101.pt"
    empty.mkdir()
    whole = models / "sky" / "skytimelapse.pt"
    for path in (half, whole):
        path.parent.mkdir()
        path.write_bytes(b"")
    import torch

    torch.save({"ema": {}}, whole)
    monkeypatch.setenv("PATCHWORK_MODELS", os.pathsep.join([str(empty), f" {models} ", str(tmp_path / "gone"), ""]))
    assert main(["list"]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["latte-xl-2-sky"].endswith(f"in {models}")
    assert rows["latte-xl-2-ucf101"].endswith("not downloaded")
    assert main(["show", "latte-xl-2-sky"]) == 0
    assert f"here          {whole}" in capsys.readouterr().out
    assert main(["show", "latte-xl-2-ucf101", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["here"] == [f"{half} is empty: copy it again."]
    assert main(["cache"]) == 0
    said = capsys.readouterr().out
    assert f"in {models}" in next(line for line in said.splitlines() if line.startswith("latte-xl-2-sky"))
    assert f"{half} is empty: copy it again." in said
    assert f"{tmp_path / 'gone'} cannot be read (No such file or directory)" in said
    assert main(["cache", "--remove", "latte-xl-2-sky"]) == 1
    assert f"lie in {models}, which this hub only reads" in capsys.readouterr().err
    assert whole.is_file()


def test_what_verify_notes_of_mounted_weights_holds_for_these_and_no_others(big: Callable[..., Hub], models: Path) -> None:
    from zoo.engine.verify import verify

    path = lay(models / "Big-1.5/inside/model.safetensors")
    hub = big()
    sentences = list(verify(hub.store, hub.card("big")))
    assert f"in {models}" in sentences[0]
    hub.store.annotate(hub.card("big"), verified=["x"])
    assert hub.store.notes(hub.card("big"))["verified"] == ["x"]
    shutil.copyfile(TINY.with_name("tiny-vit.safetensors"), path)
    assert big().store.notes(hub.card("big")) == {}


def test_the_variable_is_read_as_path_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "pathsep", ";")
    assert environment.folders(f" {tmp_path} ;; there;~") == [tmp_path, tmp_path / "there", Path.home()]
