"""Two processes on one store: the same file at once, pruning and removal beside a download, and one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import ROOT
from loopback_hub import SIZE, Faults, LoopbackHub
from test_downloads import bytes_of, card_of, source

from zoo.catalog.store import Store, sha256

WORK = """
import json, pathlib, sys, time
from zoo.catalog import sources
from zoo.catalog.card import parse
from zoo.catalog.store import Store

folder, end, name, work, weights = sys.argv[1:]
store, end = Store(pathlib.Path(folder)), pathlib.Path(end)
words = {"title": "M", "family": "u-vit", "task": "unconditional-image-generation", "arch": {"in_channels": 3},
         "schedule": {"kind": "vp-sde", "beta_min": 0.1, "beta_max": 20}, "sampling": {"solver": "ddim", "steps": 5}}
card = parse(name, "---\\n" + json.dumps({"zoo": words | {"weights": json.loads(weights)}}) + "\\n---\\n")
times = 0
while work == "prune" and not end.exists():
    store.prune()
    times += 1
    time.sleep(0.01)
while work == "come and go" and times < 12:
    sources.fetch(card, store)
    store.remove(name)
    times += 1
print(sources.fetch(card, store).sha256 if work != "prune" else times)
"""


def process(store: Store, remote: LoopbackHub, work: str, name: str = "m", origin: str = "huggingface") -> subprocess.Popen:
    """Another process at the same store: fetch, prune (until the file `end` is there), or come and go."""
    where = [str(store.folder), str(store.folder.parent / "end"), name, work, json.dumps([source(origin, remote)])]
    variables = os.environ | {"HF_HUB_CACHE": str(store.folder.parent / "hf")}
    return subprocess.Popen([sys.executable, "-c", WORK, *where], cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def said(process: subprocess.Popen) -> str:
    """What a process printed that ended well."""
    out, wrong = process.communicate(timeout=120)
    assert process.returncode == 0, wrong.decode()
    return out.decode().strip()


def wait_for_part(store: Store, size: int) -> Path:
    """The unfinished file, once so much of it is there."""
    deadline = time.monotonic() + 60
    while not (parts := [path for path in store.parts.glob("*.part") if path.stat().st_size >= size]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return parts[0]


def test_two_processes_that_want_the_same_file_bring_it_once(remote: LoopbackHub, store: Store) -> None:
    remote.faults = Faults(drip=0.05)
    wanted = [process(store, remote, "fetch", "one"), process(store, remote, "fetch", "two", "modelscope")]
    digests = {said(one) for one in wanted}
    assert digests == {sha256(store.blobs / digests.copy().pop())}
    assert remote.sent == SIZE
    assert [path.name for path in store.blobs.iterdir()] == list(digests)
    assert not list(store.parts.glob("*.part"))


def test_who_prunes_all_the_while_takes_nothing_from_a_download(remote: LoopbackHub, store: Store) -> None:
    remote.faults = Faults(drip=0.02)
    pruning = process(store, remote, "prune")
    try:
        for name in ("one", "two"):
            assert said(process(store, remote, "fetch", name)) == sha256(
                store.blobs / store.pin(name)["files"]["weights/model.pt"]["sha256"]
            )
            store.remove(name)
        assert remote.sent == 2 * SIZE
        assert said(process(store, remote, "fetch", "three", "modelscope"))
    finally:
        (store.folder.parent / "end").touch()
    assert int(said(pruning)) > 20
    assert store.find(card_of(source("huggingface", remote), name="three")).path.read_bytes() == bytes_of(remote)


def test_models_that_share_a_file_come_and_go_from_two_processes(remote: LoopbackHub, store: Store) -> None:
    moving = [process(store, remote, "come and go", "one"), process(store, remote, "come and go", "two", "modelscope")]
    assert len({said(one) for one in moving}) == 1
    for name in ("one", "two"):
        assert store.find(card_of(source("huggingface", remote), name=name)).path.read_bytes() == bytes_of(remote)


def test_a_download_whose_process_is_killed_goes_on_in_another_which_waited_for_it(remote: LoopbackHub, store: Store) -> None:
    remote.faults = Faults(drip=0.05)
    first = process(store, remote, "fetch", "one")
    wait_for_part(store, SIZE // 4)
    second = process(store, remote, "fetch", "two")
    deadline = time.monotonic() + 60
    while not any(path.name == "two.lock" for path in store.parts.iterdir()):  # it is at the same file now
        assert time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert said(second)
    assert int(remote.bodies()[-1].removeprefix("bytes=").rstrip("-")) >= SIZE // 4
    assert store.find(card_of(source("huggingface", remote), name="two")).path.read_bytes() == bytes_of(remote)


def test_what_a_killed_process_left_is_pruned_by_another(remote: LoopbackHub, store: Store) -> None:
    remote.faults = Faults(drip=0.05)
    first = process(store, remote, "fetch")
    part = wait_for_part(store, SIZE // 8)
    assert store.prune() == 0  # somebody is at it
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert store.prune() >= SIZE // 8
    assert not part.exists()


def test_a_file_that_is_cut_between_two_processes_is_brought_again_by_the_second(remote: LoopbackHub, store: Store) -> None:
    digest = said(process(store, remote, "fetch"))
    os.truncate(store.blobs / digest, SIZE - 1)
    assert said(process(store, remote, "fetch", "other", "modelscope")) == digest
    assert sha256(store.blobs / digest) == digest
    assert store.find(card_of(source("huggingface", remote))).path.read_bytes() == bytes_of(remote)
