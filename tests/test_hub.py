"""The hub: reproducible to the bit, stoppable at every step, fair to everybody in line, and never down because of one bad file."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.catalog import store
from zoo.engine.hub import Hub
from zoo.engine.request import SOLVERS, Progress, Request, Result
from zoo.errors import ChecksumError, DownloadError
from zoo.media import pictures

MODELS = ["tiny-dit", "tiny-uvit", "tiny-unet"]
FLOW = "tiny-sit"
ASKED = Request("tiny-dit", labels=(4, 5, 6), seeds=(3, 1, 2), steps=4)
VISITOR = "0123456789abcdef" * 2


def run(hub: Hub, request: Request, **options: object) -> Result:
    *_, result = hub.generate(request, **options)
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize(
    ("model", "solver"),
    [*((model, solver) for model in MODELS for solver in SOLVERS), *((FLOW, solver) for solver in ("euler", "heun", "euler-maruyama"))],
)
def test_a_picture_is_the_same_alone_in_a_batch_and_after_a_cancelled_run(hub: Hub, model: str, solver: str) -> None:
    batch = Request(model, labels=tuple(range(8)), seeds=tuple(range(20, 28)), steps=3, solver=solver, eta=0.7 if solver == "ddim" else 0.0)
    together = run(hub, batch, preview=False)
    with contextlib.closing(hub.generate(batch, visitor=None)) as cancelled:
        next(item for item in cancelled if item.step == 1)
    for k in (0, 5, 7):
        alone = run(hub, replace(batch, labels=batch.labels[k], seeds=batch.seeds[k]))
        assert np.array_equal(alone.images[0], together.images[k])
        assert alone.receipts[0]["pixels"] == together.receipts[k]["pixels"]


def test_seeds_models_classes_and_guidance_all_matter(hub: Hub) -> None:
    changes = [{}, {"seeds": 4}, {"labels": 5}, {"model": "tiny-uvit"}, {"guidance": 1.0}, {"solver": "ddim"}, {"steps": 5}]
    base = Request("tiny-dit", labels=4, seeds=3, steps=4)
    assert len({run(hub, replace(base, **change)).receipts[0]["pixels"] for change in changes}) == len(changes)


def test_nothing_touches_the_global_generator(hub: Hub) -> None:
    before = torch.random.get_rng_state()
    run(hub, replace(ASKED, solver="ddpm"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_every_step_is_told_with_the_time_left_and_previews_on_the_way(hub: Hub) -> None:
    items = list(hub.generate(replace(ASKED, steps=40)))
    sampling = [item for item in items if isinstance(item, Progress) and item.stage == "sampling"]
    assert [(item.step, item.total) for item in sampling] == [(k, 40) for k in range(1, 40)]
    assert all(item.seconds_left > 0 for item in sampling)
    previews = [item for item in sampling if item.preview is not None]
    assert 1 <= len(previews) < 39
    assert all(item.preview.shape == (3, 64, 64, 3) and 0 < item.preview_step <= item.step for item in previews)
    assert len({item.preview.tobytes() for item in previews}) == len(previews)
    assert next(item.stage for item in items if item.stage != "waiting") == "loading"
    assert isinstance(items[-1], Result)
    assert items[-1].images.shape == (3, 64, 64, 3)
    assert items[-1].images.dtype == np.uint8


def test_the_judge_recognises_what_was_asked_for(hub: Hub) -> None:
    judge = hub.load(hub.card("tiny-vit")).module
    for model in (*MODELS, FLOW):
        result = run(hub, Request(model, labels=tuple(range(10)), seeds=tuple(range(10)), steps=12), preview=False)
        pixels = torch.from_numpy(result.images).permute(0, 3, 1, 2).float() / 127.5 - 1
        assert (judge(pixels).logits.argmax(-1) == torch.arange(10)).sum() >= 9


def test_the_judge_recognises_the_motions_that_were_asked_for(hub: Hub) -> None:
    judge = hub.load(hub.card("tiny-vivit")).module
    result = run(hub, Request("tiny-latte", labels=tuple(range(8)), seeds=tuple(range(8)), steps=12), preview=False)
    frames = torch.from_numpy(result.images).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    assert (judge(frames).logits.argmax(-1) == torch.arange(8)).sum() >= 7


def test_results_carry_all_that_decides_their_pixels(hub: Hub) -> None:
    result = run(hub, ASKED)
    for k, path in enumerate(result.files):
        image, receipt = pictures.read_png(path)
        assert np.array_equal(image, result.images[k])
        assert receipt == json.loads(path.with_suffix(".json").read_text()) == result.receipts[k]
        assert (receipt["index"], receipt["seed"], receipt["label"]) == (k, ASKED.seeds[k], ["panda", "lion", "tiger"][k])
        assert receipt["weights"] == {name: store.sha256(store.WEIGHTS / f"{name}.safetensors") for name in ("tiny-dit", "tiny-vae")}
        assert (receipt["dtype"], receipt["device"], receipt["stopped_at"]) == ("float32", "cpu", None)
    again = run(hub, Request.from_dict(result.receipts[2]["request"]))
    assert [receipt["pixels"] for receipt in again.receipts] == [receipt["pixels"] for receipt in result.receipts]


def test_stop_ends_within_one_step_and_keeps_what_was_there(hub: Hub) -> None:
    stop, steps, last = threading.Event(), [], None
    for item in hub.generate(replace(ASKED, steps=1000, solver="ddim"), stop=stop, visitor=VISITOR):
        last = item
        steps.append(item.step if isinstance(item, Progress) else None)
        if steps[-1] == 3:
            stop.set()
    assert steps[-1] is None
    assert 3 <= last.stopped_at < 1000
    assert [pictures.read_png(path)[1]["stopped_at"] for path in last.files] == [last.stopped_at] * 3
    assert hub.results.history(VISITOR)[:3] == list(reversed(last.files))


def test_a_visitor_who_leaves_loses_nothing_and_blocks_nobody(hub: Hub) -> None:
    visitor = "f" * 32
    items = hub.generate(replace(ASKED, steps=1000, solver="ddim"), visitor=visitor)
    next(item for item in items if item.step == 2)
    items.close()
    kept = hub.results.history(visitor)
    assert sorted(pictures.read_png(path)[1]["index"] for path in kept) == [0, 1, 2]
    for path in kept:
        assert 2 <= pictures.read_png(path)[1]["stopped_at"] < 1000
    assert isinstance(run(hub, ASKED), Result)


def test_results_of_runs_that_take_turns_never_mix(hub: Hub) -> None:
    first, second = hub.generate(replace(ASKED, steps=6)), hub.generate(replace(ASKED, labels=9, seeds=99, steps=3))
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(lambda items: list(items)[-1], items) for items in (first, second)]
    one, other = (future.result() for future in done)
    assert (one.request.seeds, other.request.seeds) == ((3, 1, 2), (99,))
    assert other.receipts[0]["pixels"] == run(hub, other.request).receipts[0]["pixels"]


def test_leaving_lets_the_others_through(hub: Hub) -> None:
    first, second = hub.generate(ASKED), hub.generate(ASKED)
    next(first)
    next(second)
    second.close()
    first.close()
    assert isinstance(run(hub, ASKED), Result)


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 1), (2.0, 2)])
def test_without_guidance_there_is_no_second_pass(hub: Hub, guidance: float, rows: int) -> None:
    module, seen = hub.load(hub.card("tiny-dit")).module, []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    try:
        run(hub, Request("tiny-dit", labels=0, seeds=0, steps=3, guidance=guidance))
    finally:
        handle.remove()
    assert seen == [rows] * 3


def test_a_model_is_loaded_once_however_many_ask(tmp_path: Path) -> None:
    hub = Hub(device="cpu", cache_dir=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(hub.load, [hub.card("tiny-vit")] * 8))
    assert len({id(resident.module) for resident in loaded}) == 1


def test_a_history_belongs_to_one_visitor_and_can_be_cleared(tmp_path: Path) -> None:
    hub = Hub(device="cpu", cache_dir=tmp_path)
    one = run(hub, Request("tiny-dit", labels=0, seeds=0, steps=2), visitor="a" * 32)
    two = run(hub, Request("tiny-dit", labels=0, seeds=1, steps=2), visitor="a" * 32)
    assert hub.results.history("a" * 32) == [*two.files, *one.files]
    assert hub.results.history("b" * 32) == hub.results.history("../" + "a" * 32) == hub.results.history("") == []
    again = run(hub, Request("tiny-dit", labels=0, seeds=1, steps=2), visitor="b" * 32)
    assert hub.results.forget("../" + "a" * 32) == 0
    assert again.files[0].name == two.files[0].name
    assert hub.results.forget("a" * 32) == 2
    assert hub.results.history("a" * 32) == []
    assert not one.files[0].parent.exists()
    assert not two.files[0].parent.exists()
    assert hub.results.history("b" * 32) == list(again.files)  # the other browser's stays
    assert again.files[0].with_suffix(".json").is_file()


def test_what_a_run_costs_is_known_after_the_model_was_prepared(tmp_path: Path) -> None:
    hub = Hub(device="cpu", cache_dir=tmp_path)
    asked = Request("tiny-uvit", labels=0, seeds=(0, 1), steps=10)
    assert hub.seconds(asked) is None
    hub.prepare("tiny-uvit")
    while hub.prepare("tiny-uvit"):
        time.sleep(0.05)
    while hub.prepare("dit-xl-2-256"):  # by the speed of the machine: its steps would keep others waiting
        time.sleep(0.05)
    assert "dit-xl-2-256" not in hub.models.sizes()
    assert hub.seconds(replace(asked, steps=20)) == pytest.approx(2 * hub.seconds(asked))
    assert hub.seconds(replace(asked, guidance=1.0)) == pytest.approx(hub.seconds(asked) / 2)
    assert Hub(device="cpu", cache_dir=tmp_path).seconds(asked) == hub.seconds(asked)
    assert list(hub.results.folder.glob("*")) == []


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the bundled weights that a test may damage."""
    shutil.copytree(store.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(store, "WEIGHTS", tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_file_is_said_and_other_models_go_on(says, weights: Path, tmp_path: Path, damage: str) -> None:
    path = weights / "tiny-dit.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    if damage != "missing":
        path.write_bytes(content if damage == "flipped" else content[:1000])
    hub = Hub(device="cpu", cache_dir=tmp_path)
    assert {row["id"]: row["local"] for row in hub.describe()}["tiny-dit"] == (damage != "missing")
    with says(DownloadError if damage == "missing" else ChecksumError, "tiny", "from the repository") as caught:
        run(hub, ASKED)
    assert caught.value.command == "git checkout zoo/catalog/weights/tiny-dit.safetensors"
    assert isinstance(run(hub, replace(ASKED, model="tiny-uvit")), Result)


def test_a_hub_offers_the_models_that_it_was_given(says, tmp_path: Path) -> None:
    assert [row["id"] for row in Hub(cache_dir=tmp_path, models=["tiny-uvit"]).describe()] == ["tiny-uvit"]
    with says(ValueError, "'tiny-vot'", "tiny-vit"):
        Hub(cache_dir=tmp_path, models=["tiny-vot"])


def test_a_disk_that_refuses_is_said_with_the_way_out(says, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where the folder should be")
    with says(ValueError, "cannot be written", "PATCHWORK_CACHE"):
        run(Hub(device="cpu", cache_dir=tmp_path), ASKED)


def test_bfloat16_is_a_choice(tmp_path: Path) -> None:
    hub = Hub(device="cpu", dtype="bfloat16", cache_dir=tmp_path)
    result = run(hub, ASKED)
    assert {p.dtype for p in hub.load(hub.card("tiny-dit")).module.parameters()} == {torch.bfloat16}
    assert result.receipts[0]["dtype"] == "bfloat16"
