"""Side by side: columns begin with the same noise, are run together, cost what is counted, and come to the same as alone."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo.catalog.card import Card
from zoo.compare import block_diagram, compare, metrics, report
from zoo.compare.complexity import complexity
from zoo.compare.setting import Setting
from zoo.engine.byte_cache import weight
from zoo.engine.hub import Hub
from zoo.engine.request import Progress, Request, Result
from zoo.engine.results import pixels
from zoo.engine.verify import admit
from zoo.errors import CheckpointError, DownloadError, MediaError, RequestError
from zoo.media import video
from zoo.networks import inception as inception_module
from zoo.sampling import Trace
from zoo.training import emoji
from zoo.training.recipes import levels

QUICK = {"steps": 4}
IMAGENET_STAND_IN = {
    "title": "few", "family": "dit", "task": "class-to-image", "labels": "imagenet-1k",
    "arch": {
        "input_size": 16, "patch_size": 4, "in_channels": 4, "hidden_size": 24, "depth": 1, "num_heads": 2, "num_classes": 1000,
        "learn_sigma": True,
    },
    "schedule": {"kind": "linear", "start": 0.0001, "end": 0.02, "steps": 1000}, "guidance": {"default": 1.5},
    "sampling": {"solver": "ddim", "steps": 4}, "latent": {"vae": "tiny-vae", "scale": 0.8}, "cost": {"params": 1, "gmacs": 0.1},
    "weights": [{"from": "manual", "url": "https://example.org/few", "file": "few.pt"}],
}  # fmt: skip


def done(hub: Hub, settings: list[dict]) -> list[Setting]:
    """A comparison, run to its end."""
    columns = compare.aligned(hub, settings)
    for _ in compare.together(hub, columns, visitor=None):
        pass
    return columns


def test_columns_of_all_architectures_ask_their_networks_about_the_same_first_noise(hub: Hub) -> None:
    columns = compare.aligned(
        hub, [{"model": name, "label": "star", "seeds": [3], **QUICK} for name in ("tiny-dit", "tiny-uvit", "tiny-unet")]
    )
    assert compare.noise(columns) == "All start from the same noise."
    for column in columns:
        column.trace = Trace()
    for _ in compare.together(hub, columns, visitor=None):
        pass
    first = [torch.cat(column.trace.inputs[:1]) for column in columns]
    assert first[0].shape == (1, 4, 16, 16)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0], first[2])


def test_identical_settings_give_identical_pixels_and_other_settings_do_not(hub: Hub) -> None:
    settings = [
        {"model": "tiny-dit", "label": "star", "seeds": "0-2", **QUICK},
        {"model": "tiny-dit", **QUICK},
        {"model": "tiny-dit", "steps": 5},
    ]
    one, same, other = done(hub, settings)
    assert np.array_equal(one.images, same.images)
    assert not np.array_equal(one.images, other.images)


def test_a_column_is_the_same_beside_others_as_alone(hub: Hub) -> None:
    beside = done(hub, [{"model": "tiny-uvit", "label": "heart", "seeds": [7], "steps": 5}, {"model": "tiny-dit", **QUICK}])
    for column in beside:
        *_, alone = hub.generate(column.request, visitor=None)
        assert np.array_equal(column.images, alone.images)


def test_columns_advance_step_by_step_in_turn_and_end_when_they_are_done(hub: Hub) -> None:
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": 2, "steps": 40}, {"model": "tiny-uvit", "steps": 60}])
    items = [(k, item) for k, item in compare.together(hub, columns, visitor=None) if not (isinstance(item, Progress) and not item.step)]
    order = [k for k, _ in items]
    assert (order.count(0), order.count(1)) == (40, 60)
    assert order[:60].count(1) >= 15  # neither waits until the other has ended
    assert [isinstance(item, Result) for k, item in items if k == 0] == [False] * 39 + [True]
    assert any(item.preview is not None for _, item in items if isinstance(item, Progress))


def test_stop_ends_all_columns_within_a_step_with_what_is_there(hub: Hub) -> None:
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": 2, "steps": 1000}, {"model": "tiny-uvit", "steps": 1000}])
    stop, steps = threading.Event(), {0: 0, 1: 0}
    for k, item in compare.together(hub, columns, stop, visitor=None):
        steps[k] = item.step if isinstance(item, Progress) else steps[k]
        if min(steps.values()) >= 3:
            stop.set()
    assert all(3 <= column.stopped_at < 1000 for column in columns)
    assert all(column.images.shape == (1, 64, 64, 3) and not column.finished for column in columns)
    assert ("Stopped", [f"after step {column.stopped_at}" for column in columns]) in report.rows(columns)


def test_a_column_that_is_refused_leaves_none_of_the_others_running(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": 2, "steps": 1000}, {"model": "tiny-uvit", "steps": 1000}])
    check = hub.memory.check

    def refuse(card: Card, request: Request) -> None:
        if card.id == "tiny-uvit":
            raise RequestError("It does not fit.")
        check(card, request)

    monkeypatch.setattr(hub.memory, "check", refuse)
    with pytest.raises(RequestError):
        next(compare.together(hub, columns, visitor=None))
    for job in hub.engine.jobs():
        assert job.stop.is_set()


def test_a_visitors_limits_are_those_of_requests_not_of_columns(hub: Hub) -> None:
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": 2, "steps": 2}] * 12)
    for _ in compare.together(hub, columns, visitor="0" * 32, preview=False):
        pass
    assert all(column.finished for column in columns)


def test_more_samples_go_on_with_the_seeds_and_classes_that_follow(hub: Hub) -> None:
    columns = done(hub, [{"model": "tiny-dit", "label": "each", "seeds": "0-5", "steps": 2}, {"model": "tiny-uvit", "steps": 2}])
    before = columns[0].images
    compare.more(columns)
    for _ in compare.together(hub, columns, visitor=None):
        pass
    assert columns[0].seeds == columns[1].seeds == list(range(12))
    assert columns[0].labels == columns[1].labels == list(range(12))
    assert np.array_equal(columns[0].images[:6], before)
    *_, alone = hub.generate(Request("tiny-dit", (7,), (7,), 2), visitor=None)
    assert np.array_equal(columns[0].images[7], alone.images[0])
    assert [column.figures()["judged"] for column in columns] == [12, 12]


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        ({}, [0]),
        ({"count": 3}, [0, 1, 2]),
        ({"seed": 5}, [5]),
        ({"seed": 5, "count": 3}, [5, 6, 7]),
        ({"seed": "5", "count": 2.0}, [5, 6]),
        ({"seed": "2-4"}, [2, 3, 4]),
        ({"seed": None, "count": None, "seeds": [9, 4]}, [9, 4]),
        ({"count": 2, "seeds": [9, 4]}, [9, 4]),
    ],
    ids=str,
)
def test_count_seeds_follow_a_seed_in_every_column(words: dict, seeds: list[int], hub: Hub) -> None:
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": "star"} | words, {"model": "tiny-uvit"}])
    assert [column.seeds for column in columns] == [seeds, seeds]


def test_more_samples_of_a_copy_leave_the_original_as_it_is(hub: Hub) -> None:
    columns = done(hub, [{"model": "tiny-dit", "label": 1, "seeds": "0-1", "steps": 2}])
    figures = columns[0].figures()
    copies = [column.copy() for column in columns]
    compare.more(copies)
    for _ in compare.together(hub, copies, visitor=None):
        pass
    assert (copies[0].seeds, copies[0].evaluations) == ([0, 1, 2, 3], 2)
    assert (columns[0].seeds, columns[0].figures()) == ([0, 1], figures)


def test_more_adds_as_many_as_there_are_in_the_order_of_the_classes(hub: Hub) -> None:
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": "each", "seeds": "0-99"}, {"model": "tiny-uvit"}])
    compare.more(columns)
    assert columns[1].seeds == list(range(200))
    assert columns[1].labels == [k % 100 for k in range(200)]
    one = compare.aligned(hub, [{"model": "tiny-dit", "label": "each", "seeds": 5}])
    compare.more(one)
    assert (one[0].seeds, one[0].labels) == ([5, 6], [0, 1])
    last = compare.aligned(hub, [{"model": "tiny-dit", "label": 3, "seeds": [2**32 - 1]}])
    with pytest.raises(RequestError, match="no 1 seeds after"):
        compare.more(last)
    assert len(last[0].rounds) == 1


def test_a_solver_that_cannot_be_used_is_refused_before_anything_runs(hub: Hub, says: Callable) -> None:
    with says(RequestError, "Column B", "RePaintScheduler", "try diffusers:"):
        compare.aligned(
            hub, [{"model": "tiny-dit", "label": 1, "steps": 5}, {"model": "tiny-uvit", "solver": "diffusers:RePaintScheduler"}]
        )


def test_a_column_that_fails_on_the_way_is_a_sentence_and_gives_the_device_back(hub_with: Callable, says: Callable) -> None:
    hub = hub_with({"absent": IMAGENET_STAND_IN | {"labels": "emoji", "arch": IMAGENET_STAND_IN["arch"] | {"num_classes": 100}}})
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": 1, "steps": 5}, {"model": "absent"}])
    with says(DownloadError, "is not on this machine"):
        list(compare.together(hub, columns))
    done(hub, [{"model": "tiny-dit", "label": 1, "steps": 1}])


def test_a_judge_that_fails_costs_only_its_verdict(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> dict:
        raise CheckpointError("The judge's file is damaged.")

    monkeypatch.setattr(compare, "quality_of", broken)
    [column] = done(hub, [{"model": "tiny-dit", "label": 1, "steps": 2}])
    assert column.finished
    assert ("Not measured", ["The judge's file is damaged."]) in report.rows([column])


def test_a_run_of_one_step_has_its_memory_measured_too(hub: Hub) -> None:
    [column] = done(hub, [{"model": "tiny-dit", "label": 1, "steps": 1}])
    assert column.memory is None if hub.models.peak()() is None else column.memory > hub.load(column.card).bytes


def test_counting_is_the_same_while_others_compute(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    card = zoo.cards()["u-vit-h-2-imagenet256"]
    alone = complexity(card)
    monkeypatch.setattr("zoo.compare.complexity._CACHE", {})
    busy = threading.Thread(target=lambda: done(hub, [{"model": "tiny-dit", "label": 1, "steps": 40}]))
    busy.start()
    while busy.is_alive():
        monkeypatch.setattr("zoo.compare.complexity._CACHE", {})
        assert complexity(card) == alone
        assert torch.backends.cuda.flash_sdp_enabled()
    busy.join()


def test_more_than_one_request_holds_is_run_in_rounds(hub: Hub) -> None:
    [column] = compare.aligned(hub, [{"model": "tiny-dit", "label": "star", "seeds": "0-69", "steps": 1}])
    assert [len(one.seeds) for one in column.rounds] == [64, 6]
    two = compare.aligned(hub, [{"model": "tiny-dit", "label": "star", "seeds": "0-69"}] * 2)
    assert [len(one.seeds) for one in two[1].rounds] == [32, 32, 6]  # so that others wait no longer than for one request
    for _ in compare.together(hub, [column], visitor=None, preview=False):
        pass
    assert column.finished
    assert column.images.shape == (70, 64, 64, 3)
    assert column.figures()["samples"] == 70
    assert column.evaluations == 1


def test_classes_are_matched_by_name_over_label_lists(hub_with: Callable[..., Hub]) -> None:
    hub = hub_with(
        {
            "few": IMAGENET_STAND_IN,
            "other": IMAGENET_STAND_IN | {"labels": "emoji", "arch": IMAGENET_STAND_IN["arch"] | {"num_classes": 100}},
        }
    )
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": "each", "seeds": "0-99"}, {"model": "other"}])
    assert columns[1].labels == list(range(100))
    shared = compare.aligned(hub, [{"model": "few", "label": "golden retriever"}, {"model": "few", "labels": [207]}])
    assert [column.labels for column in shared] == [[207], [207]]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], ["1 to 16 settings"]),
        ([{"model": "tiny-dit"}] * 17, ["1 to 16 settings"]),
        ("tiny-dit", ["1 to 16 settings"]),
        ([{"label": "star"}], ["Column A", "names no model"]),
        ([{"model": "tiny-dot", "label": "star"}], ["Column A", "tiny-dot", "tiny-dit"]),
        ([{"model": "tiny-dit"}], ["Column A", "0 labels for 1"]),
        ([{"model": "tiny-dit", "label": "star"}, {"model": "few"}], ["Column B", "no class 'star'", "share the class"]),
        ([{"model": "tiny-dit", "label": "star"}, {"model": "few", "label": "tench"}], ["Column B", "no class 'star'"]),
        ([{"model": "tiny-dit", "label": "star"}, {"model": "tiny-uvit", "label": "heart"}], ["Column B", "heart", "star", "one class"]),
        ([{"model": "tiny-dit", "label": "star"}, {"model": "tiny-uvit", "labels": [1]}], ["Column B", "one class"]),
        ([{"model": "tiny-dit", "label": "star", "labels": [1]}], ["label or labels"]),
        ([{"model": "tiny-dit", "label": "star"}, {"model": "tiny-latte"}], ["Column B", "pictures", "videos"]),
        ([{"model": "tiny-dit", "label": "star", "seeds": "0-2000"}], ["2001 images", "1024"]),
        ([{"model": "tiny-dit", "label": "star", "seeds": "0-1023"}] * 5, ["5120 pictures", "4096"]),
        ([{"model": "tiny-latte", "label": 1, "seeds": "0-300"}], ["4816 frames", "4096"]),
        ([{"model": "u-vit-s-2-mscoco", "prompt": "a bus"}, {"model": "u-vit-s-2-mscoco", "prompt": "a cat"}], ["Column B", "one prompt"]),
        ([{"model": "tiny-dit", "label": "star", "vae": "tiny-dit"}], ["Column A", "does not decode"]),
        ([{"model": "tiny-dit", "label": "star", "seeds": []}], ["0 seeds"]),
        ([{"model": "tiny-dit", "label": "star", "seed": 3, "seeds": [4]}], ["Column A", "seed or seeds, not both", "3", "[4]"]),
        ([{"model": "tiny-dit", "label": "star", "count": 3, "seeds": "0-3"}], ["count is 3", "4 seeds"]),
        ([{"model": "tiny-dit", "label": "star", "count": 0}], ["count must be a whole number from 1 to 1024, not 0"]),
        ([{"model": "tiny-dit", "label": "star", "seed": -2}], ["Seed must be a whole number", "not -2"]),
        ([{"model": "tiny-dit", "label": "star", "seed": 2**32 - 1, "count": 2}], ["Seed must be a whole number from 0 to 4294967294"]),
        ([{"model": "tiny-dit", "label": "star", "eta": 7, "solver": "ddim"}], ["Eta must be a number from 0 to 1, not 7"]),
        ([{"model": "tiny-dit", "label": "star", "eta": 0.5}], ["dpm-solver++ takes no eta", "0.5", "choose ddim"]),
        ([{"model": "tiny-dit", "label": None}], ["Column A", "0 labels for 1"]),
        ([{"model": "tiny-dit", "label": "star", "seeds": [1.5]}], ["Seed must be a whole number"]),
        ([{"model": "tiny-dit", "labels": [1, 2], "seeds": [0, 1, 2]}], ["2 labels for 3"]),
        ([{"model": "tiny-dit", "label": "star", "colour": 1}], ["Column A", "only the words"]),
        ([{"model": "tiny-vit", "label": "star"}], ["Column A", "does not make pictures"]),
        ([{"model": "tiny-dit", "label": "star", "steps": 0}], ["Steps must be"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_the_column_that_it_is(
    settings: object, words: list[str], hub_with: Callable, says: Callable
) -> None:
    with says(RequestError, *words):
        compare.aligned(hub_with({"few": IMAGENET_STAND_IN}), settings)


def test_a_model_that_is_not_here_is_said_before_anything_runs(hub_with: Callable[..., Hub], says: Callable) -> None:
    hub = hub_with({"few": IMAGENET_STAND_IN}, offline=True)
    with says(DownloadError, "few"):
        list(compare.together(hub, compare.aligned(hub, [{"model": "few", "label": "tench"}]), visitor=None))


def test_other_shapes_or_seeds_are_said_not_to_share_the_noise(hub: Hub) -> None:
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": 1}, {"model": "tiny-uvit"}, {"model": "tiny-dit", "seeds": [9]}])
    assert compare.noise(columns) == "A and B start from the same noise; C starts from noise of another shape or seed."
    films = compare.aligned(hub, [{"model": "tiny-latte", "label": 1}, {"model": "tiny-latte", "frames": 8}])
    assert compare.noise(films) == "A and B start from noise of another shape or seed."


def test_what_the_table_says_is_what_happened(hub: Hub) -> None:
    guided, free, heun = done(
        hub,
        [
            {"model": "tiny-dit", "label": "star", "seeds": "0-1", "steps": 6, "guidance": 3},
            {"model": "tiny-dit", "steps": 6, "guidance": 1},
            {"model": "tiny-uvit", "steps": 6, "solver": "heun"},
        ],
    )
    assert [column.figures()["evaluations"] for column in (guided, free, heun)] == [6, 6, 5]
    assert [column.figures()["passes"] for column in (guided, free, heun)] == [12, 6, 10]
    one = sum(complexity(guided.card).macs.values())
    assert guided.figures()["multiply_adds"] == round(12 * one)
    assert guided.figures()["parameters"] == sum(p.numel() for p in hub.load(guided.card).module.parameters())
    for column in (guided, free, heun):
        figures = column.figures()
        assert figures["first_preview"] is None or 0 < figures["first_preview"] <= figures["seconds"]
        assert figures["judge"] == "tiny-vit"
        assert figures["recognised"] <= figures["judged"] == 2
        assert figures["frechet"] is None
        assert figures["memory"] is None or figures["memory"] > hub.load(column.card).bytes
    assert guided.seconds == pytest.approx(guided.results[0].compute_seconds)


@pytest.mark.parametrize(
    ("model", "params", "gmacs"), [("dit-xl-2-256", 675e6, 118.6), ("u-vit-h-2-imagenet256", 501e6, 133.0), ("dit-xl-2-512", 675e6, 524.6)]
)
def test_counting_agrees_with_the_papers_within_one_percent(model: str, params: float, gmacs: float) -> None:
    counted = complexity(zoo.cards()[model])
    assert sum(counted.params.values()) == pytest.approx(params, rel=0.01)
    assert sum(counted.macs.values()) == pytest.approx(gmacs * 1e9, rel=0.01)


@pytest.mark.parametrize("model", [card.id for card in zoo.cards().values() if card.generates])
def test_every_card_states_the_cost_that_is_counted_and_no_part_is_lost(model: str) -> None:
    card = zoo.cards()[model]
    counted = complexity(card)
    assert sum(counted.params.values()) == card.cost.params
    assert sum(counted.macs.values()) == pytest.approx(card.cost.gmacs * 1e9, rel=0.005)
    assert "attention" in counted.macs
    assert counted.macs["attention"] > 0
    assert counted.params.get("output layer", 0) < 0.05 * card.cost.params


def test_parts_are_counted_as_they_are_worked_out_by_hand() -> None:
    card = zoo.cards()["tiny-dit"]
    counted, d, n, depth = complexity(card), 192, 64, 6
    assert counted.params["MLP"] == depth * (2 * 4 * d * d + 5 * d)
    assert counted.params["modulation"] == depth * (6 * d * d + 6 * d) + 2 * d * d + 2 * d
    assert counted.macs["MLP"] == depth * n * 8 * d * d
    assert counted.macs["attention"] == depth * (n * 4 * d * d + 2 * n * n * d)


def test_fewer_frames_cost_less_and_tokens_grow_with_them() -> None:
    card = zoo.cards()["tiny-latte"]
    whole, half = complexity(card), complexity(card, 8)
    assert sum(half.macs.values()) < 0.51 * sum(whole.macs.values())
    assert half.facts["tokens"] == "8 x 8 x 8 = 512"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("dit-xl-2-256", ["28 blocks", "self-attention, 16 heads", "MLP 1152 → 4608 → 1152", "linear 1152 → 6912", "x gate"]),
        ("u-vit-h-2-imagenet256", ["14 blocks in", "linear 2304 → 1152", "self-attention, 16 heads"]),
        ("latte-1", ["attention to the text, 16 heads", "through time"]),
        ("tiny-latte", ["within a frame and", "3 heads"]),
        ("tiny-unet", ["64 → 128 → 128", "3 x 3 convolution", "+ time and class"]),
    ],
)
def test_the_block_is_drawn_with_the_sizes_of_the_modules(model: str, words: list[str]) -> None:
    drawn = block_diagram.drawing(zoo.cards()[model])
    shown = " ".join(re.findall(r">([^<>]+)</text>", drawn)).replace("&gt;", ">")
    assert [word for word in words if word not in shown] == []
    assert drawn.count("<circle") == len([branch for branch in block_diagram.block(zoo.cards()[model]).branches if branch.residual])


def test_the_report_needs_no_other_file_and_says_what_the_json_says(hub: Hub) -> None:
    columns = done(hub, [{"model": "tiny-dit", "label": "star", "seeds": "0-1", **QUICK}, {"model": "tiny-unet", **QUICK}])
    files = report.files(columns)
    page, facts = files["comparison.html"].decode(), json.loads(files["comparison.json"])
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count('src="data:image/png;base64,') == 4
    assert "tiny DiT, 4 steps dpm-solver++, guidance 3" in page
    assert "All start from the same noise." in page
    assert page.count("<svg") == 2
    assert facts["subject"] == "star"
    assert [one["name"] for one in facts["columns"]] == ["A", "B"]
    assert facts["columns"][0]["figures"]["evaluations"] == 4
    assert facts["columns"][0]["receipt"][1]["seed"] == 1
    assert facts["architectures"][1]["model"] == "tiny-unet"


def test_settings_that_differ_are_never_called_the_same(hub: Hub) -> None:
    settings = [{}, {"steps": 9}, {"solver": "ddim"}, {"solver": "ddim", "eta": 0.5}, {"guidance": 1}, {"guidance": 2.5}]
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": "star"} | one for one in settings])
    assert len({report.setting(column) for column in columns}) == len(settings)


# ---- the judge


def test_the_frechet_distance_is_that_of_two_gaussians() -> None:
    mean, one, other = torch.tensor([1.0, -2.0]).double(), torch.diag(torch.tensor([4.0, 1.0])).double(), torch.eye(2).double()
    assert metrics.frechet((mean, one), (mean, one)) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet((mean, one), (mean + 3, other)) == pytest.approx(9 + 9 + (2 - 1) ** 2)
    turned = torch.tensor([[2.0, 1.0], [1.0, 3.0]]).double()
    root = torch.linalg.eigvals(turned @ one).sqrt().sum().real
    assert metrics.frechet((mean, turned), (mean, one)) == pytest.approx(float(turned.trace() + one.trace() - 2 * root))


def test_the_reference_of_several_classes_is_the_mixture_of_theirs(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(400, 3, generator=generator) @ torch.randn(3, 3, generator=generator) + 2 * k for k in range(3)]
    both = [metrics.moments(part) for part in parts]
    np.savez(tmp_path / "some.npz", means=torch.stack([m for m, _ in both]), covariances=torch.stack([c * 399 / 400 for _, c in both]))
    mean, covariance = metrics.reference(tmp_path / "some.npz", [0] * 5 + [2] * 5)
    every = torch.cat([parts[0], parts[2]]).double()
    assert torch.allclose(mean, every.mean(0))
    assert torch.allclose(covariance, torch.cov(every.T, correction=0))
    assert metrics.reference(tmp_path / "none.npz", [0]) is None


def test_real_pictures_are_nearer_to_held_out_ones_than_noised_or_wrong_ones(hub: Hub, shipped_drawings: None) -> None:
    card = hub.card("tiny-dit")
    x, labels = emoji.batch(160, 5, 0)
    noised = (x + 0.6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)  # it was taught to overlook 0.15
    found = {}
    for name, pictures, asked in (("real", x, labels), ("noised", noised, labels), ("wrong", x, (labels + 3) % 100)):
        found[name] = metrics.quality_of(hub, card, levels(pictures).movedim(1, -1).numpy(), asked.tolist())
    assert found["real"]["recognised"] >= 158
    assert found["wrong"]["recognised"] <= 2
    assert found["real"]["judged"] == 160
    assert found["real"]["frechet"] < 0.5 * found["noised"]["frechet"]


def test_a_distance_is_told_only_from_enough_samples(hub: Hub, shipped_drawings: None) -> None:
    x, labels = emoji.batch(metrics.JUDGES["emoji"].enough, 5, 1)
    images = levels(x).movedim(1, -1).numpy()
    assert metrics.quality_of(hub, hub.card("tiny-dit"), images, labels.tolist())["frechet"] > 0
    assert metrics.quality_of(hub, hub.card("tiny-dit"), images[:-1], labels.tolist()[:-1])["frechet"] is None
    assert metrics.quality_of(hub, hub.card("dit-xl-2-256"), images, labels.tolist()) == {}


@pytest.fixture
def inception(hub_with: Callable[..., Hub], tmp_path: Path) -> Callable[..., Hub]:
    """inception(counters): a hub into which somebody imported Inception's weights, here random ones, and statistics."""
    from zoo.networks.inception import Inception

    def imported(counters: bool = True, **arrays: np.ndarray) -> Hub:
        torch.manual_seed(0)
        kept = {key: value for key, value in Inception().state_dict().items() if counters or not key.endswith("num_batches_tracked")}
        weights, statistics = tmp_path / "weights-inception-2015-12-05-6726825d.pth", tmp_path / metrics.STATISTICS
        torch.save(kept, weights)
        np.savez(statistics, **(arrays or {"mu": np.zeros(2048), "sigma": np.eye(2048), "mu_s": np.zeros(3)}))
        hub = hub_with({"few": IMAGENET_STAND_IN})
        admit(hub.store, hub.card("inception-v3"), [weights, statistics])
        return hub

    return imported


@pytest.mark.parametrize("counters", [True, False])
def test_imported_inception_tells_the_distance_of_imagenet_samples_once_there_are_enough(
    counters: bool, inception: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = inception(counters)
    card = hub.card("few")
    images, labels = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8), [0, 1, 2, 3, 4, 5]
    assert metrics.quality_of(hub, card, images, labels) == {"judge": "inception-v3", "judged": 6, "enough": 1024, "frechet": None}
    monkeypatch.setitem(metrics.JUDGES, "imagenet-1k", metrics.Judge("inception-v3", 6))
    with torch.no_grad():
        features, _ = hub.load(hub.card("inception-v3")).module(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1)
    expected = metrics.frechet(metrics.moments(features), (torch.zeros(2048).double(), torch.eye(2048).double()))
    assert metrics.quality_of(hub, card, images, labels)["frechet"] == pytest.approx(expected, rel=1e-4)
    monkeypatch.setitem(metrics.JUDGES, "imagenet-1k", metrics.Judge("inception-v3", 6, all_classes=True))
    assert metrics.quality_of(hub, card, images, labels)["frechet"] is None  # six of a thousand classes


def test_statistics_of_another_network_are_refused_in_a_sentence(tmp_path: Path, says: Callable) -> None:
    for arrays, word in (({"mu": np.zeros(96), "sigma": np.eye(96)}, "(96,)"), ({"mean": np.zeros(2048)}, "no mu and sigma")):
        np.savez(tmp_path / "some.npz", **arrays)
        with says(CheckpointError, "some.npz", word):
            inception_module.statistics(tmp_path / "some.npz")
    (tmp_path / "text.npz").write_text("no arrays")
    with says(CheckpointError, "text.npz"):
        inception_module.statistics(tmp_path / "text.npz")


def test_a_comparison_keeps_paths_and_reads_its_pixels_again_to_the_bit(hub: Hub) -> None:
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": "star", "count": 12, "steps": 2}, {"model": "tiny-uvit", "steps": 2}])
    made: list[list[np.ndarray]] = [[], []]
    for k, item in compare.together(hub, columns, preview=False):
        if isinstance(item, Result):
            made[k].extend(item.images)
    for column, images in zip(columns, made, strict=True):
        assert np.array_equal(column.images, np.stack(images))
        assert sum(weight(one.images) for one in column.results) < 1000
        assert column.quality["judged"] == 12


def test_samples_that_are_gone_are_said_to_be(hub_with: Callable[..., Hub], says: Callable) -> None:
    hub = hub_with({})
    columns = compare.aligned(hub, [{"model": "tiny-dit", "label": "star", "steps": 1}])
    list(compare.together(hub, columns, preview=False))
    hub.results.retention.age = -1.0
    for path in hub.results.folder.rglob("*"):
        os.utime(path, (0, 0))
    hub.results.retention.prune()
    with says(MediaError, columns[0].files[0].name, "once more"):
        print(columns[0].samples[0])


def test_frames_that_stand_still_come_back_from_their_file(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    frames[2:5] = frames[1]
    frames[7] = frames[6]
    for fps in (1, 8, 30, 60):
        for suffix, content in video.files(frames, fps, {"patchwork": "test"}):
            (tmp_path / f"{fps}{suffix}").write_bytes(content)
        assert np.array_equal(pixels(tmp_path / f"{fps}.mp4", fps), frames)
