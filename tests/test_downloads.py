"""Downloads over real HTTP with the real clients, through every fault that a line can have: nothing lost, nothing bad kept."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from loopback_hub import FILE, REPO, SIZE, Faults, LoopbackHub, loopback_hub

from zoo.__main__ import main
from zoo.catalog import download, sources
from zoo.catalog.card import Card, parse
from zoo.catalog.store import Store, sha256
from zoo.engine.verify import admit
from zoo.errors import CancelledError, ChecksumError, DownloadError
from zoo.networks.build import build_module

ROOT = Path(__file__).parent.parent
ORIGINS = ("huggingface", "modelscope", "url")
WORDS = {
    "title": "M", "family": "u-vit", "task": "unconditional-image-generation", "arch": {"in_channels": 3},
    "schedule": {"kind": "vp-sde", "beta_min": 0.1, "beta_max": 20}, "sampling": {"solver": "ddim", "steps": 5},
}  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second without a byte instead of ten, and once instead of three times, so that the tests of silence are short."""
    monkeypatch.setattr(download, "STALL", 1.0)
    monkeypatch.setattr(download, "ATTEMPTS", 1)


def source(origin: str, remote: LoopbackHub, **more: object) -> dict:
    where = {"url": f"{remote.url}/plain/{FILE}"} if origin == "url" else {"repo": REPO}
    return {"from": origin, "file": FILE} | where | more


def card_of(*weights: dict, name: str = "m") -> Card:
    return parse(name, f"---\n{yaml.safe_dump({'license': 'mit', 'zoo': WORDS | {'weights': list(weights)}})}---\nFor a test.")


def bytes_of(remote: LoopbackHub) -> bytes:
    return remote.files[REPO, FILE]


def nothing_kept(store: Store) -> bool:
    return not list(store.blobs.glob("*")) and not list(store.pins.glob("*.json"))


# ---- it arrives


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_file_arrives_whole_is_pinned_and_is_not_asked_for_again(remote: LoopbackHub, store: Store, origin: str) -> None:
    told: list[sources.Transfer] = []
    card = card_of(source(origin, remote))
    kept = sources.fetch(card, store, tell=told.append)
    assert kept.path.read_bytes() == bytes_of(remote)
    assert kept.path.name == kept.sha256 == sha256(kept.path)
    assert [item.done for item in told] == sorted(item.done for item in told)
    assert (told[-1].done, told[-1].total, told[-1].model) == (SIZE, SIZE, "m")
    assert store.pin("m")["commit"] == (remote.commit if origin == "huggingface" else "")
    assert not list(store.parts.glob("*.part"))
    asked = len(remote.log)
    assert sources.fetch(card, store).path == kept.path
    assert len(remote.log) == asked


def test_the_same_file_from_either_hub_is_kept_once(remote: LoopbackHub, store: Store) -> None:
    one = sources.fetch(card_of(source("huggingface", remote), name="one"), store)
    sent = remote.sent
    two = sources.fetch(card_of(source("modelscope", remote), name="two"), store)
    assert one.path == two.path
    assert remote.sent == sent
    assert store.remove("one") == 0
    assert store.find(card_of(source("modelscope", remote), name="two"))
    assert store.remove("two") == SIZE


def test_every_file_that_a_model_needs_comes_and_the_progress_counts_them_all(remote: LoopbackHub, store: Store) -> None:
    remote.files[REPO, "vocab.json"] = b"{}" * 500
    told: list[sources.Transfer] = []
    kept = sources.fetch(card_of(source("huggingface", remote, also=["vocab.json"])), store, tell=told.append)
    assert kept.also["vocab.json"].read_bytes() == b"{}" * 500
    assert told[-1].done == told[-1].total == SIZE + 1000


def test_a_redirect_to_another_host_is_followed(remote: LoopbackHub, store: Store) -> None:
    remote.faults = Faults(redirect=True, cut_after=1_000_000, cuts=1)
    assert sources.fetch(card_of(source("huggingface", remote)), store).path.read_bytes() == bytes_of(remote)
    assert any(path.startswith("/cdn/") and wanted for _, path, wanted in remote.log)


@pytest.mark.parametrize("client", ["huggingface", "modelscope"])
def test_what_the_hubs_own_clients_have_fetched_is_used_where_it_lies(
    remote: LoopbackHub, store: Store, client: str, tmp_path: Path
) -> None:
    if client == "huggingface":
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(REPO, FILE, endpoint=remote.url, cache_dir=tmp_path / "hf")
    else:
        from modelscope_hub import HubApi

        path = HubApi().download_file(REPO, "model", FILE)
    asked = len(remote.log)
    kept = sources.fetch(card_of(source(client, remote)), store, offline=True)
    assert kept.path == Path(path)
    assert kept.origin == f"from the cache of {client}"
    assert len(remote.log) == asked
    assert not list(store.blobs.glob("*"))
    Path(path).resolve().unlink()
    assert store.find(card_of(source(client, remote))) is None


# ---- which source


def test_the_cards_order_the_users_choice_and_the_variable_decide(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, says
) -> None:
    def came_from(name: str, prefer: str = "") -> str:
        card = card_of(source("huggingface", remote), source("modelscope", remote), name=name)
        origin = sources.fetch(card, Store(store.folder / name), prefer).origin
        return origin.split(" on ")[1].split(" at ")[0]

    assert came_from("a") == "Hugging Face"
    assert came_from("b", "modelscope") == "ModelScope"
    monkeypatch.setenv("ZOO_HUB", "modelscope")
    assert came_from("c") == "ModelScope"
    assert came_from("d", "huggingface") == "Hugging Face"
    with says(DownloadError, "cannot be downloaded from url", "huggingface or modelscope"):
        came_from("e", "url")
    monkeypatch.setenv("ZOO_HUB", "elsewhere")
    with says(DownloadError, "'elsewhere'", "modelscope"):
        came_from("f")


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "HF_TOKEN"), (403, "refused (403)"), (404, "not found (404)"), (429, "too many requests"), (500, "500"), (503, "503")],
)
@pytest.mark.parametrize("first", ["huggingface", "modelscope", "url"])
def test_a_source_that_refuses_is_left_for_the_next_and_both_are_said(
    remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch, first: str, status: int, words: str
) -> None:
    with loopback_hub() as refusing:
        refusing.faults.status = status
        second = "modelscope" if first != "modelscope" else "huggingface"
        variable = {"huggingface": "HF_ENDPOINT", "modelscope": "MODELSCOPE_ENDPOINT"}.get(first)
        if variable:
            monkeypatch.setenv(variable, refusing.url)
        told: list[sources.Transfer] = []
        begun = time.monotonic()
        kept = sources.fetch(
            card_of(source(first, refusing if first == "url" else remote), source(second, remote)), store, tell=told.append
        )
        assert time.monotonic() - begun < sources.PATIENCE + 5
    assert kept.path.read_bytes() == bytes_of(remote)
    assert len(told[-1].notes) == 1
    assert words in told[-1].notes[0] or "no answer within" in told[-1].notes[0]


@pytest.mark.parametrize("origin", ORIGINS)
def test_silence_and_a_closed_port_are_left_after_the_patience(
    remote: LoopbackHub, store: Store, origin: str, quick: None, monkeypatch: pytest.MonkeyPatch, says
) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 1.0)
    remote.faults.silent = True
    card = card_of(source(origin, remote))
    with says(DownloadError, f"{sources.HUBS[origin]} could not be reached for M: check the network") as caught:
        sources.fetch(card, store)
    assert caught.value.command.endswith("then python -m zoo import m model.pt")
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    closed = {"url": f"http://127.0.0.1:1/{FILE}"} if origin == "url" else {}
    with says(DownloadError, f"{sources.HUBS[origin]} could not be reached for M"):
        sources.fetch(card_of(source(origin, remote) | closed), store)
    assert nothing_kept(store)


def test_a_reason_that_several_sources_have_is_said_once(remote: LoopbackHub, store: Store, says, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.files.clear()
    card = card_of(*(source(origin, remote) for origin in ORIGINS))
    with says(DownloadError, f"{REPO} on Hugging Face, {REPO} on ModelScope and http://", "/plain/", "not found (404)") as caught:
        sources.fetch(card, store)
    assert str(caught.value).count("(404)") == 1
    monkeypatch.setattr(sources, "PATIENCE", 1.0)
    for variable in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    card = card_of(
        source("huggingface", remote), source("modelscope", remote), {"from": "url", "file": FILE, "url": "http://127.0.0.1:1/m"}
    )
    with says(
        DownloadError,
        "Hugging Face, ModelScope and the authors' server could not be reached for M: check the network, "
        "HF_ENDPOINT and MODELSCOPE_ENDPOINT, then try again.",
    ):
        sources.fetch(card, store)


def test_reasons_that_differ_are_each_said_with_their_source(
    remote: LoopbackHub, store: Store, says, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.files.clear()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with says(DownloadError, f"{REPO} on Hugging Face: no connection; {REPO} on ModelScope: not found (404)"):
        sources.fetch(card_of(source("huggingface", remote), source("modelscope", remote)), store)


def test_offline_answers_at_once_with_the_command_for_elsewhere(remote: LoopbackHub, store: Store, says) -> None:
    card = card_of(source("huggingface", remote))
    with says(DownloadError, "M is not downloaded, and this hub is offline") as caught:
        sources.fetch(card, store, offline=True)
    assert caught.value.command == f"hf download {REPO} {FILE} (where there is a network), then python -m zoo import m model.pt"
    assert remote.log == []


# ---- interrupted, and gone on with


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_line_that_drops_is_taken_up_at_the_byte_where_it_dropped(remote: LoopbackHub, store: Store, origin: str) -> None:
    remote.faults = Faults(cut_after=700_000, cuts=4)
    assert sources.fetch(card_of(source(origin, remote)), store).path.read_bytes() == bytes_of(remote)
    starts = [int(wanted.removeprefix("bytes=").rstrip("-")) for wanted in remote.bodies() if wanted]
    assert starts == [700_000, 1_400_000, 2_100_000, 2_800_000]
    assert remote.sent == SIZE


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_download_that_failed_goes_on_from_there_next_time_and_from_another_hub(
    remote: LoopbackHub, store: Store, origin: str, quick: None, monkeypatch: pytest.MonkeyPatch, says
) -> None:
    remote.faults = Faults(stall_after=1_048_576)
    card = card_of(source(origin, remote))
    with says(DownloadError, "1,048,576 of 3,000,000 bytes, which are kept"):
        sources.fetch(card, store)
    assert nothing_kept(store)
    assert store.unfinished_bytes() == 1_048_576
    remote.faults, remote.sent = Faults(), 0
    monkeypatch.setattr(download, "STALL", 10.0)
    if origin != "url":  # known by its digest, so the bytes serve for either hub
        card = card_of(source("modelscope" if origin == "huggingface" else "huggingface", remote))
    assert sources.fetch(card, store).path.read_bytes() == bytes_of(remote)
    assert remote.sent == SIZE - 1_048_576


def test_a_process_that_was_killed_left_what_another_goes_on_with(remote: LoopbackHub, store: Store, tmp_path: Path) -> None:
    remote.faults = Faults(drip=0.05)
    card = card_of(source("huggingface", remote))
    program = (
        "import sys; from pathlib import Path; from zoo.catalog import sources\n"
        "from zoo.catalog.store import Store; from zoo.catalog.card import parse\n"
        "sources.fetch(parse('m', Path(sys.argv[1]).read_text()), Store(Path(sys.argv[2])))"
    )
    (tmp_path / "m.md").write_text(f"---\n{yaml.safe_dump({'zoo': words_of(card)})}---\n")
    child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "m.md"), str(store.folder)], cwd=ROOT)
    deadline = time.monotonic() + 30
    while store.unfinished_bytes() < 500_000:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    left = store.unfinished_bytes()
    assert 0 < left < SIZE
    assert nothing_kept(store)
    remote.faults, remote.log[:] = Faults(), []
    assert sources.fetch(card, store).path.read_bytes() == bytes_of(remote)
    assert remote.bodies()[-1] == f"bytes={left}-"


def words_of(card: Card) -> dict:
    return WORDS | {"weights": [{"from": source.origin, "file": source.file, "repo": source.repo} for source in card.weights]}


def test_a_stopped_download_ends_at_once_and_goes_on_later(remote: LoopbackHub, store: Store, says) -> None:
    remote.faults = Faults(drip=0.05)
    card, stop = card_of(source("modelscope", remote)), threading.Event()
    with says(CancelledError, "M was stopped at", "go on"):
        sources.fetch(card, store, tell=lambda item: item.done > 600_000 and stop.set(), stop=stop)
    left = store.unfinished_bytes()
    assert 600_000 < left < SIZE
    remote.faults = Faults()
    assert sources.fetch(card, store).path.read_bytes() == bytes_of(remote)
    assert remote.bodies()[-1] == f"bytes={left}-"


def test_a_stop_is_answered_within_seconds_though_the_line_is_silent(remote: LoopbackHub, store: Store, says) -> None:
    remote.faults = Faults(stall_after=1_048_576, drip=0.02)
    stop, began = threading.Event(), 0.0
    with says(CancelledError, "was stopped"):
        for item in sources.stream([card_of(source("huggingface", remote))], store, "", False, stop):
            if item.done > 500_000 and not stop.is_set():
                stop.set()
                began = time.monotonic()
    assert time.monotonic() - began < 3


def test_a_server_that_ignores_ranges_starts_anew(remote: LoopbackHub, store: Store) -> None:
    remote.faults = Faults(cut_after=1_000_000, cuts=1, no_ranges=True)
    assert sources.fetch(card_of(source("url", remote)), store).path.read_bytes() == bytes_of(remote)


def test_content_that_changes_between_two_requests_is_never_mixed(
    remote: LoopbackHub, store: Store, quick: None, monkeypatch: pytest.MonkeyPatch, says
) -> None:
    for origin in ("huggingface", "url"):
        monkeypatch.setattr(download, "STALL", 1.0)
        remote.faults = Faults(stall_after=1_048_576)
        with says(DownloadError, "broke off at 1,048,576 of 3,000,000 bytes, which are kept"):
            sources.fetch(card_of(source(origin, remote), name=origin), store)
        remote.faults = Faults()
        monkeypatch.setattr(download, "STALL", 10.0)
        remote.files[REPO, FILE] = remote.files["plain", FILE] = os.urandom(SIZE)
        assert sources.fetch(card_of(source(origin, remote), name=origin), store).path.read_bytes() == bytes_of(remote)


# ---- checked


@pytest.mark.parametrize("origin", ["huggingface", "modelscope"])
def test_a_changed_byte_of_the_same_size_never_becomes_a_usable_file(remote: LoopbackHub, store: Store, origin: str, says) -> None:
    remote.faults = Faults(flip=1_234_567)
    with says(ChecksumError, "its bytes are wrong", "was promised", "thrown away"):
        sources.fetch(card_of(source(origin, remote)), store)
    assert nothing_kept(store)
    assert store.unfinished_bytes() == 0


def test_the_digest_of_the_card_counts_whatever_the_hub_announces(remote: LoopbackHub, store: Store, says) -> None:
    for origin in ORIGINS:
        with says(ChecksumError, "000000000000..."):
            sources.fetch(card_of(source(origin, remote, sha256="0" * 64)), store)
        assert nothing_kept(store)
        good = card_of(source(origin, remote, sha256=hashlib.sha256(bytes_of(remote)).hexdigest()), name=origin)
        assert sources.fetch(good, store).path.read_bytes() == bytes_of(remote)
        store.remove(origin)
        for pin in store.pins.glob("*"):
            pin.unlink()


def test_wrong_bytes_of_one_hub_are_said_and_the_next_is_asked(remote: LoopbackHub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback_hub() as broken:
        broken.files[REPO, FILE] = bytes_of(remote)
        broken.faults.flip = 5
        monkeypatch.setenv("HF_ENDPOINT", broken.url)
        told: list[sources.Transfer] = []
        kept = sources.fetch(card_of(source("huggingface", remote), source("modelscope", remote)), store, tell=told.append)
    assert kept.path.read_bytes() == bytes_of(remote)
    assert "its bytes are wrong" in told[-1].notes[0]


@pytest.mark.parametrize(
    ("fault", "words"), [({"longer": 9}, "it now offers 3,000,009 bytes instead of 3,000,000"), ({"html": True}, "a web page")]
)
def test_a_length_or_a_page_that_cannot_be_the_file_is_refused(remote: LoopbackHub, store: Store, fault: dict, words: str, says) -> None:
    remote.faults = Faults(**fault)
    with says(DownloadError, words):
        sources.fetch(card_of(source("modelscope", remote)), store)
    assert nothing_kept(store)


def test_another_content_under_the_same_name_later_is_noticed(remote: LoopbackHub, store: Store) -> None:
    card = card_of(source("huggingface", remote))
    first = sources.fetch(card, store).sha256
    assert store.remove("m") == SIZE
    remote.files[REPO, FILE] = os.urandom(SIZE)
    told: list[sources.Transfer] = []
    sources.fetch(card, store, tell=told.append)
    assert (
        f"weights/model.pt is not what it was: its sha256 is {sha256(store.find(card).path)[:12]}..., and was {first[:12]}..."
        in told[-1].notes
    )


def test_a_repository_that_lists_a_path_out_of_its_folder_is_refused_by_name(
    remote: LoopbackHub, store: Store, tmp_path: Path, says
) -> None:
    remote.faults.hostile = True
    with says(DownloadError, "'../../x'", "not trusted"):
        sources.fetch(card_of(source("modelscope", remote)), store)
    assert nothing_kept(store)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "hf", "ms"}


# ---- disk and company


def test_a_disk_without_room_is_said_before_anything_is_sent(
    remote: LoopbackHub, store: Store, says, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and type("Usage", (), {"free": 1_000_000})())
    with says(DownloadError, "1,000,000 bytes free", "3,000,000 are needed", "2,000,000 too few") as caught:
        sources.fetch(card_of(source("huggingface", remote)), store)
    assert remote.sent == 0
    assert caught.value.command == "python -m zoo cache --prune"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk, for which it must be root")
def test_a_disk_that_fills_up_meanwhile_is_said_and_what_has_come_is_kept(
    remote: LoopbackHub, tmp_path: Path, says, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        store = Store(disk / "models")
        monkeypatch.setattr("zoo.catalog.store.shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 40))  # it is full only later
        with says(DownloadError, "No space left", "of 3,000,000 bytes, which are kept"):
            sources.fetch(card_of(source("huggingface", remote)), store)
        assert 0 < store.unfinished_bytes() <= 2 << 20
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        remote.sent = 0
        assert sources.fetch(card_of(source("huggingface", remote)), store).path.read_bytes() == bytes_of(remote)
        assert remote.sent < SIZE
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_ten_who_ask_for_one_file_cause_one_transfer(remote: LoopbackHub, store: Store) -> None:
    remote.faults = Faults(drip=0.01)
    card = card_of(source("huggingface", remote))
    with ThreadPoolExecutor(10) as visitors:
        kept = list(visitors.map(lambda _: sources.fetch(card, store), range(10)))
    assert len({one.path for one in kept}) == 1
    assert remote.sent == SIZE


def test_two_processes_that_ask_for_one_file_cause_one_transfer(remote: LoopbackHub, store: Store, tmp_path: Path) -> None:
    remote.faults = Faults(drip=0.01)
    card = card_of(source("modelscope", remote))
    (tmp_path / "m.md").write_text(f"---\n{yaml.safe_dump({'zoo': words_of(card)})}---\n")
    program = (
        "import sys; from pathlib import Path; from zoo.catalog import sources\n"
        "from zoo.catalog.store import Store; from zoo.catalog.card import parse\n"
        "print(sources.fetch(parse('m', Path(sys.argv[1]).read_text()), Store(Path(sys.argv[2]))).sha256)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "m.md"), str(store.folder)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert {child.communicate(timeout=60)[0].strip() for child in both} == {hashlib.sha256(bytes_of(remote)).hexdigest()}
    assert remote.sent == SIZE


def test_pruning_spares_what_is_needed_and_what_somebody_is_at(remote: LoopbackHub, store: Store) -> None:
    sources.fetch(card_of(source("huggingface", remote)), store)
    (store.blobs / ("0" * 64)).write_bytes(b"nobody's")
    (store.parts / "left.part").write_bytes(b"unfinished")
    (store.parts / "left.lock").touch()
    (store.parts / "import-1-2.part").write_bytes(b"copied")
    held = store.parts / "held.part"
    held.write_bytes(b"being written")
    with download.FileLock(held.with_suffix(".lock")):
        assert store.prune() == len(b"unfinished")
    assert held.exists()
    assert store.prune() == len(b"nobody's" + b"being written" + b"copied")
    assert store.find(card_of(source("huggingface", remote)))


def test_pruning_spares_the_files_of_a_model_that_is_still_arriving(remote: LoopbackHub, store: Store) -> None:
    remote.files[REPO, "words.txt"] = b"the second file"
    pruned: list[int] = []
    card = card_of(source("huggingface", remote, also=["words.txt"]))
    kept = sources.fetch(card, store, tell=lambda item: pruned.append(store.prune()))
    assert kept.path.read_bytes() == bytes_of(remote)
    assert kept.also["words.txt"].read_bytes() == b"the second file"
    assert len(pruned) > 2
    assert not any(pruned)


def test_a_model_that_is_carried_in_is_spared_as_well(hub_with, store: Store, tmp_path: Path) -> None:
    tiny = {"input_size": 8, "patch_size": 2, "in_channels": 3, "hidden_size": 32, "depth": 2, "num_heads": 2}
    card = hub_with({"m": WORDS | {"arch": tiny, "weights": [{"from": "url", "url": "https://example.org/m.pt", "file": "m.pt"}]}}).card(
        "m"
    )
    torch.save(build_module(card).state_dict(), tmp_path / "m.pt")
    pruned: list[int] = []
    kept = admit(store, card, [tmp_path / "m.pt"], lambda done: pruned.append(store.prune()))
    assert pruned
    assert not any(pruned)
    assert kept.path.is_file()


@pytest.mark.parametrize("folder", ["parts", "blobs"])
def test_a_folder_that_cannot_be_used_is_said_at_once(remote: LoopbackHub, store: Store, says, folder: str) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / folder).write_text("a file where a folder should be")
    with says(DownloadError, "cannot be written", "PATCHWORK_CACHE"):
        list(sources.stream([card_of(source("huggingface", remote))], store, "", False, threading.Event()))
    assert store.prune() == 0


def test_a_damaged_shard_in_the_cache_of_a_hub_is_not_taken(remote: LoopbackHub, store: Store, tmp_path: Path) -> None:
    from huggingface_hub import hf_hub_download

    names = ["weights/m-00001-of-00002.safetensors", "weights/m-00002-of-00002.safetensors"]
    for name in names:
        remote.files[REPO, name] = os.urandom(1000)
        second = Path(hf_hub_download(REPO, name, endpoint=remote.url, cache_dir=tmp_path / "hf")).resolve()
    second.write_bytes(bytes(1000))
    kept = sources.fetch(card_of({"from": "huggingface", "repo": REPO, "file": names[0]}), store)
    assert [path.read_bytes() for path in kept.weights] == [remote.files[REPO, name] for name in names]


def test_a_hub_is_asked_about_the_file_and_nothing_else(remote: LoopbackHub, store: Store, tmp_path: Path) -> None:
    (tmp_path / "m.md").write_text(f"---\n{yaml.safe_dump({'zoo': words_of(card_of(source('huggingface', remote)))})}---\n")
    program = (
        "import sys; from pathlib import Path; from zoo.catalog import sources\n"
        "from zoo.catalog.store import Store; from zoo.catalog.card import parse\n"
        "sources.fetch(parse('m', Path(sys.argv[1]).read_text()), Store(Path(sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "m.md"), str(store.folder)]
    home = {key: value for key, value in os.environ.items() if not key.startswith("HF_HUB")} | {"HOME": str(tmp_path / "home")}
    subprocess.run(command, cwd=ROOT, env=home, check=True)
    assert [(method, path.rpartition("/")[2]) for method, path, _ in remote.log] == [("HEAD", "model.pt"), ("GET", "model.pt")]
    assert not list((tmp_path / "home").rglob("*"))


def test_downloading_needs_no_torch() -> None:
    program = "import sys; from zoo.catalog import sources; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "False"


# ---- at the terminal


def test_fetch_show_and_cache_at_the_terminal(
    remote: LoopbackHub, hub_with, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    card = card_of(source("huggingface", remote), source("modelscope", remote))
    hub = hub_with({"m": words_of(card)})
    monkeypatch.setattr("zoo.__main__.cards", lambda: hub.cards)
    monkeypatch.setenv("PATCHWORK_CACHE", str(hub.cache_dir))
    assert main(["sample", "m"]) == 1
    assert (
        "M is not downloaded (about 0.0 MB, licence mit): download it first. At a terminal: python -m zoo fetch m"
        in capsys.readouterr().err
    )
    assert main(["fetch", "m", "--from", "modelscope", "--json"]) == 0
    said = capsys.readouterr()
    (row,) = json.loads(said.out)
    assert row["origin"] == f"from {REPO} on ModelScope"
    assert "3.0 of 3.0 MB" in said.err
    assert main(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == [{"id": "m", "bytes": SIZE, "origin": row["origin"], "files": [FILE]}]
    assert main(["cache", "--remove", "m"]) == 0
    assert capsys.readouterr().out == "3.0 MB freed\n"
    for gone in ("m", "tiny-dit"):
        assert main(["cache", "--remove", gone]) == 1
        assert f"{gone} has no downloaded files" in capsys.readouterr().err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["fetch", "m"]) == 1
    assert f"hf download {REPO}" in capsys.readouterr().err
