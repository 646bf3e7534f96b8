"""What is checked is what is kept, whoever else writes, removes and prunes at the same time, and on systems that guard open files."""

from __future__ import annotations

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock
from loopback_hub import REPO, SIZE, Faults, LoopbackHub
from test_downloads import bytes_of, card_of, nothing_kept, source

from zoo.catalog import sources
from zoo.catalog.files import atomic_write
from zoo.catalog.store import Store, sha256
from zoo.errors import ChecksumError, DownloadError


@pytest.mark.parametrize("origin", ["huggingface", "modelscope"])
@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 1000), lambda path: path.write_bytes(b"")], ids=["cut", "empty"])
def test_a_file_that_was_cut_under_a_good_digest_is_brought_again(remote: LoopbackHub, store: Store, origin: str, damage) -> None:
    card = card_of(source(origin, remote))
    path = sources.fetch(card, store).path
    damage(path)
    assert store.find(card) is None
    for name in ("m", "other"):  # by whomever it is asked for
        assert sources.fetch(card_of(source(origin, remote), name=name), store).path.read_bytes() == bytes_of(remote)


@pytest.mark.parametrize("origin", ["huggingface", "modelscope"])
@pytest.mark.parametrize("harm", ["flip", "cut", "more"])
def test_what_somebody_else_writes_into_an_unfinished_file_never_becomes_a_model(
    remote: LoopbackHub, store: Store, origin: str, harm: str, says
) -> None:
    remote.faults = Faults(drip=0.01)

    once = iter([True])

    def meddle(item: sources.Transfer) -> None:
        if 1_000_000 < item.done < 2_500_000 and next(once, False):
            for path in store.parts.glob("*.part"):
                with path.open("r+b") as file:
                    if harm == "cut":
                        file.truncate(500_000)
                        file.seek(0)
                        file.write(b"another beginning")
                    file.seek(0, os.SEEK_END if harm == "more" else os.SEEK_SET)
                    file.write(b"meddled")

    with says(ChecksumError, "bytes are wrong"):
        sources.fetch(card_of(source(origin, remote)), store, tell=meddle)
    assert nothing_kept(store)
    assert store.unfinished_bytes() == 0
    assert sources.fetch(card_of(source(origin, remote)), store).path.read_bytes() == bytes_of(remote)


def test_a_file_that_another_model_has_is_brought_again_where_that_is_removed_meanwhile(remote: LoopbackHub, store: Store) -> None:
    remote.files[REPO, "words.txt"] = b"what only the second needs"
    sources.fetch(card_of(source("huggingface", remote), name="one"), store)
    freed: list[int] = []
    two = card_of(source("modelscope", remote, also=["words.txt"]), name="two")
    local = sources.fetch(two, store, tell=lambda item: freed.append(store.remove("one")))
    assert sum(freed) == SIZE
    assert local.path.read_bytes() == bytes_of(remote)
    assert store.find(two) == local


def test_models_that_share_a_file_come_and_go_at_once_and_who_came_last_has_it(remote: LoopbackHub, store: Store) -> None:
    def come_and_go(name: str) -> None:
        card = card_of(source("huggingface", remote), name=name)
        for _ in range(6):
            assert sources.fetch(card, store).path.name == sha256(store.find(card).path)
            store.remove(name)
        sources.fetch(card, store)

    sources.fetch(card_of(source("huggingface", remote), name="stays"), store)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(come_and_go, ["a", "b", "c"]))
    for name in ("a", "b", "c", "stays"):
        assert store.find(card_of(source("huggingface", remote), name=name)).path.read_bytes() == bytes_of(remote)


def test_a_download_that_begins_while_somebody_prunes_is_spared(store: Store) -> None:
    held = []

    class Slow(Store):
        def all_pins(self) -> dict:
            """Meanwhile a download begins."""
            held.append(FileLock(self.parts / "late.lock"))
            held[0].acquire()
            (self.parts / "late.part").write_bytes(b"half")
            return super().all_pins()

    store.room(0)
    assert Slow(store.folder).prune() == 0
    assert (store.parts / "late.part").read_bytes() == b"half"
    held[0].release()
    assert store.prune() == 4


def test_a_system_that_syncs_only_what_is_open_for_writing_and_renames_only_what_is_closed_is_served(
    remote: LoopbackHub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, rename = os.fsync, os.replace

    def writable_only(number: int) -> None:
        assert fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        sync(number)

    def closed_only(old: Path, new: Path) -> None:
        assert old not in [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        rename(old, new)

    monkeypatch.setattr(os, "fsync", writable_only)
    monkeypatch.setattr(os, "replace", closed_only)
    assert sources.fetch(card_of(source("url", remote)), store).path.read_bytes() == bytes_of(remote)
    (tmp_path / "own.pt").write_bytes(b"carried here")
    assert (store.blobs / store.add(tmp_path / "own.pt")).read_bytes() == b"carried here"


def test_a_file_that_is_in_use_stays_where_the_same_is_brought_again(
    remote: LoopbackHub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says
) -> None:
    path = sources.fetch(card_of(source("url", remote)), store).path
    (tmp_path / "same.pt").write_bytes(bytes_of(remote))
    rename = os.replace

    def refuse(old: Path, new: Path) -> None:
        if new == path:
            raise PermissionError(13, "in use")
        rename(old, new)

    monkeypatch.setattr(os, "replace", refuse)
    assert store.add(tmp_path / "same.pt") == path.name
    assert store.unfinished_bytes() == 0
    os.truncate(path, 5)
    with says(DownloadError, "in use"):
        store.add(tmp_path / "same.pt")


def test_a_file_that_somebody_reads_at_the_moment_is_replaced_when_he_has_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, times = os.replace, iter([True, True])

    def refuse(old: Path, new: Path) -> None:
        if next(times, False):
            raise PermissionError(32, "used by another process")
        rename(old, new)

    monkeypatch.setattr(os, "replace", refuse)
    with atomic_write(tmp_path / "pin.json") as part:
        part.write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_a_file_that_the_system_lets_nobody_delete_is_said_with_its_size_and_left_to_pruning(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, says
) -> None:
    card = card_of(source("huggingface", remote))
    path = sources.fetch(card, store).path
    delete = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == path:
            raise PermissionError(13, "in use")
        delete(self, missing_ok)

    with monkeypatch.context() as windows:
        windows.setattr(Path, "unlink", refuse)
        with says(DownloadError, "m is removed, but 3,000,000 bytes of it are in use") as caught:
            store.remove("m")
    assert caught.value.command == "python -m zoo cache --prune"
    assert store.find(card) is None
    assert path.is_file()
    assert store.prune() == SIZE


def test_a_store_that_another_process_holds_for_long_is_said(store: Store, monkeypatch: pytest.MonkeyPatch, says) -> None:
    monkeypatch.setattr("zoo.catalog.store.PATIENCE", 0.2)
    store.room(0)
    with store.changing(), says(DownloadError, "is locked by another process"):
        store.remove("m")
    assert store.remove("m") == 0
