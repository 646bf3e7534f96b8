"""A flow model in the hub: its solvers, its guidance interval, and its place beside a diffusion model at equal noise."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch

from zoo.catalog.card import cards, parse
from zoo.catalog.own_cards import _schedule
from zoo.compare import compare
from zoo.engine.hub import Hub
from zoo.engine.limits import Limits
from zoo.engine.request import Request, Result, solvers_of
from zoo.engine.scheduler import Scheduler
from zoo.engine.walk import parts_of, passes
from zoo.errors import CardError, RequestError
from zoo.inside.inspector import Looker
from zoo.sampling import FLOW_SOLVERS, Trace
from zoo.ui.parts.settings import Settings

FRONT = """---
license: mit
zoo:
  title: a flow
  family: dit
  task: class-to-image
  arch: {input_size: 16, patch_size: 2, in_channels: 4, hidden_size: 32, depth: 2, num_heads: 2, num_classes: 10, learn_sigma: true}
  schedule: {kind: flow, time: data}
  guidance: {default: 2.0, channels: 3}
  sampling: {solver: euler, steps: 8}
  latent: {vae: tiny-vae, scale: 0.824}
  labels: [a, b, c, d, e, f, g, h, i, j]
  weights: [{from: bundled, file: flow.safetensors}]
---
For a test."""
TINY = cards()["tiny-dit"]


def flow_words(**more: object) -> dict:
    """The card of a flow with the weights of tiny-dit, whose answers are read as velocities: no picture, but a whole walk."""
    return {
        "title": "a flow", "family": "dit", "task": "class-to-image", "arch": dict(TINY.arch), "schedule": {"kind": "flow", "time": "data"},
        "guidance": {"default": 2.0, "channels": 3}, "sampling": {"solver": "euler", "steps": 8},
        "latent": {"vae": TINY.latent.vae, "scale": TINY.latent.scale}, "labels": TINY.labels,
        "weights": [{"from": "bundled", "file": TINY.weights[0].file}],
    } | more  # fmt: skip


@pytest.fixture
def flow_hub(hub_with: Callable[..., Hub]) -> Hub:
    return hub_with({"flow": flow_words()})


def result(hub: Hub, request: Request, trace: Trace | None = None) -> Result:
    *_, last = hub.generate(request, preview=False, trace=trace)
    return last


@pytest.mark.parametrize("solver", FLOW_SOLVERS)
def test_an_image_of_every_solver_of_a_flow_is_the_same_alone_and_in_a_batch(flow_hub: Hub, solver: str) -> None:
    together = result(flow_hub, Request("flow", (1, 2, 3), (5, 6, 7), 6, solver))
    assert together.stopped_at is None
    for k in range(3):
        alone = result(flow_hub, Request("flow", (k + 1,), (5 + k,), 6, solver))
        assert np.array_equal(alone.images[0], together.images[k])


def test_by_dopri5_every_image_walks_alone_on_every_device() -> None:
    request = Request("flow", (1, 2), (5, 6), 6, "dopri5")
    assert [part.seeds for part in parts_of(request, torch.device("cuda"))] == [(5,), (6,)]
    assert parts_of(replace(request, solver="euler"), torch.device("cuda")) == [replace(request, solver="euler")]


@pytest.mark.parametrize(("solver", "shared"), [("euler", True), ("dopri5", False)])
def test_by_dopri5_no_pass_is_shared(flow_hub: Hub, solver: str, shared: bool) -> None:
    flow_hub.engine, flow_hub.rows_together = Scheduler(1, Limits()), lambda _: 8
    made = result(flow_hub, Request("flow", (1, 2), (5, 6), 4, solver))
    assert [receipt["shared_passes"] for receipt in made.receipts] == [shared, shared]


def test_a_run_of_dopri5_tells_about_how_far_it_is_and_ends_when_its_last_image_does(flow_hub: Hub) -> None:
    request = Request("flow", (1, 2, 3), (5, 6, 7), 3, "dopri5")
    assert request.resolved(flow_hub.card("flow")).steps == request.resolved(flow_hub.card("flow")).resolved(flow_hub.card("flow")).steps
    said = [item for item in flow_hub.generate(request, preview=False) if not isinstance(item, Result) and item.total]
    assert said
    assert all(item.step < item.total for item in said)
    assert "dopri5 chooses its own steps" in request.resolved(flow_hub.card("flow")).rounded(3)


def test_a_stopped_run_of_dopri5_shows_the_clean_predictions(flow_hub: Hub) -> None:
    stop, last = threading.Event(), None
    for item in flow_hub.generate(Request("flow", (1, 2), (5, 6), None, "dopri5"), preview=False, stop=stop):
        last = item
        if not isinstance(item, Result) and item.step:
            stop.set()
    assert isinstance(last, Result)
    assert last.stopped_at
    assert len(last.images) == 2


@pytest.mark.parametrize(
    ("model", "solver", "sentence"),
    [
        ("flow", "ddpm", "ddpm is for models that predict noise, and this one follows a flow: choose one of euler, heun, dopri5"),
        ("flow", "dpm-solver++", "choose one of euler, heun, dopri5, euler-maruyama."),
        ("flow", "diffusers:DDIMScheduler", "choose one of euler, heun, dopri5, euler-maruyama."),
        ("flow", "magic", "Solver 'magic' is unknown: choose one of euler, heun, dopri5, euler-maruyama."),
        ("tiny-dit", "dopri5", "dopri5 is for models that follow a flow, and this one predicts noise: choose one of dpm-solver++"),
    ],
)
def test_a_solver_of_the_other_kind_is_refused_with_those_to_choose(flow_hub: Hub, says, model: str, solver: str, sentence: str) -> None:
    with says(RequestError, sentence):
        Request(model, (1,), solver=solver).resolved(flow_hub.card(model))


def test_a_model_has_the_solvers_of_its_schedule(flow_hub: Hub) -> None:
    assert solvers_of(flow_hub.card("flow")) == tuple(FLOW_SOLVERS)
    assert "ddim" in solvers_of(TINY)
    assert "dopri5" not in solvers_of(TINY)


# ---- the interval


@pytest.mark.parametrize("model", ["flow", "tiny-dit"])
def test_an_interval_is_part_of_a_request_of_every_family(flow_hub: Hub, model: str) -> None:
    plain = Request(model, (1,), (5,), 6)
    always, some, never = (result(flow_hub, replace(plain, interval=ends)) for ends in ((0.0, 1.0), (0.0, 0.6), (0.5, 0.5)))
    unguided = result(flow_hub, replace(plain, guidance=1.0))
    assert np.array_equal(always.images, result(flow_hub, plain).images)
    assert not np.array_equal(some.images, always.images)
    assert np.array_equal(never.images, unguided.images) or model == "flow"  # one of whose evaluations is at 0.5
    assert some.receipts[0]["request"]["interval"] == [0.0, 0.6]
    assert Request.from_dict(some.receipts[0]["request"]).interval == (0.0, 0.6)


def test_a_cards_interval_is_taken_where_a_request_says_none(hub_with: Callable[..., Hub]) -> None:
    hub = hub_with({"flow": flow_words(guidance={"default": 2.0, "channels": 3, "interval": [0.0, 0.7]})})
    card = hub.card("flow")
    asked = Request("flow", (1,), (5,)).resolved(card)
    assert asked.interval == (0.0, 0.7)
    assert replace(asked, interval=(0.0, 1.0)).resolved(card).interval == (0.0, 1.0)
    assert passes(card, asked, [0.0, 0.2, 0.3, 0.9]) == [1, 1, 2, 2]


def test_guidance_decided_once_a_step_is_counted_as_repas_heun_has_it(hub_with: Callable[..., Hub]) -> None:
    guidance = {"default": 2.5, "interval": [0.35, 0.75], "decided_at": "step"}
    hub = hub_with({"repa": flow_words(schedule={"kind": "flow", "time": "noise"}, guidance=guidance)})
    asked = Request("repa", (1,), (5,), 9, "heun").resolved(hub.card("repa"))
    times = [1.0, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2]
    assert passes(hub.card("repa"), asked, times) == [1, 1, 1, 1, 2, 2, 2, 2, 1]
    assert passes(hub.card("repa"), replace(asked, solver="euler"), times) == [1, 1, 1, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("interval", [(0.7, 0.2), (0, 2), (0.5,), "all", ("a", "b")])
def test_an_interval_that_is_none_is_refused_in_a_sentence(says, interval: object) -> None:
    with says(RequestError, "two rising noise shares such as [0, 0.7]"):
        Request("tiny-dit", (1,), interval=interval).resolved(TINY)


def test_the_interval_is_a_control_and_in_an_address_and_solvers_are_those_of_the_model(flow_hub: Hub) -> None:
    with gr.Blocks():
        settings = Settings(flow_hub)
        settings.build_more()
    values = ["tiny-dit", 0, "", "", 1, "5", 8, "ddim", 2.0, 0, None, 1, 8]
    assert settings.request(*values, 0, 1)[1].interval is None
    assert settings.request(*values, 0.1, 0.7)[1].interval == (0.1, 0.7)
    shown = settings.addressed({"model": "flow", "interval_high": "0.7"})
    assert (shown[settings.interval_low]["value"], shown[settings.interval_high]["value"]) == (0.0, 0.7)
    assert shown[settings.solver]["choices"] == list(FLOW_SOLVERS)
    assert "dopri5" not in settings.choose("tiny-dit")[settings.solver]["choices"]
    assert settings.hasten("flow")[settings.solver] in FLOW_SOLVERS


def test_guidance_by_power_cosine_comes_from_the_card(hub_with: Callable[..., Hub]) -> None:
    words = flow_words(schedule=dict(TINY.schedule), sampling={"solver": "ddim", "steps": 6})
    hub = hub_with({"plain": words, "cosine": words | {"guidance": {"default": 2.0, "channels": 3, "power": 4}}})
    plain, cosine = (result(hub, Request(name, (1,), (5,))) for name in ("plain", "cosine"))
    assert not np.array_equal(plain.images, cosine.images)
    assert passes(hub.card("cosine"), Request("cosine", (1,), (5,)).resolved(hub.card("cosine")), [999.0, 500.0]) == [1, 2]


# ---- at equal noise


def test_a_flow_and_a_diffusion_model_start_from_one_noise_and_are_compared_at_equal_noise(flow_hub: Hub) -> None:
    settings = [{"model": "tiny-dit", "label": 1, "seed": 5, "steps": 10, "solver": "ddim"}, {"model": "flow", "steps": 10}]
    columns = compare.aligned(flow_hub, settings)
    for column in columns:
        for request in column.rounds:
            column.add(result(flow_hub, request, column.trace))
    assert compare.noise(columns) == "All start from the same noise."
    for column, schedule in zip(columns, ("tiny-dit", "flow"), strict=True):
        assert column.levels == sorted(column.levels, reverse=True), schedule
        assert all(0 < level < 1 for level in column.levels)
    assert columns[1].levels[5] == pytest.approx(0.5, abs=1e-6)  # s = 0.5 is sigma = alpha
    assert columns[0].figures()["passes"] == columns[1].figures()["passes"] == 20


def test_passes_without_guidance_are_counted_once(flow_hub: Hub) -> None:
    column = compare.aligned(flow_hub, [{"model": "flow", "label": 1, "seed": 5, "steps": 10, "interval": [0.0, 0.55]}])[0]
    column.add(result(flow_hub, column.rounds[0], column.trace))
    assert column.figures()["passes"] == 15


@pytest.mark.parametrize("solver", ["euler", "heun", "dopri5"])
def test_a_step_of_a_flow_can_be_looked_into_whether_guided_or_not(flow_hub: Hub, solver: str) -> None:
    looker = Looker(flow_hub)
    run = looker.run(Request("flow", (1,), (5,), 6, solver, interval=(0.0, 0.7)))
    levels = looker.levels(run)
    assert levels[0] == -6
    for index in (0, len(levels) - 1):
        for free in (False, True):
            recording = looker.step(run, index, free=free)
            assert np.isfinite(recording.pictures).all()
    assert looker.nearest_level(run, levels[0]) == 0


# ---- cards


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("time: data}", "time: half}", "time \\(data or noise\\)"),
        ("time: data}", "steps: 1000}", "time \\(data or noise\\)"),
        ("time: data}", "time: data, shift: often}", "`shift` of the schedule must be a number"),
        ("sampling:", "prediction: noise\n  sampling:", "the prediction of a flow is velocity or sample"),
        ("channels: 3}", "channels: 3, interval: [0.7, 0.1]}", "two rising noise shares"),
        ("channels: 3}", "channels: 3, decided_at: run}", "at each evaluation, or once a step"),
    ],
)
def test_a_card_of_a_flow_that_does_not_fit_is_refused(old: str, new: str, match: str) -> None:
    parse("flow", FRONT)
    assert old in FRONT
    with pytest.raises(CardError, match=match):
        parse("flow", FRONT.replace(old, new))


def test_a_card_says_what_its_flow_predicts_and_when_it_is_guided() -> None:
    more = "channels: 3, interval: [0, 0.7], interval_open: true, decided_at: step}\n  prediction: sample"
    card = parse("flow", FRONT.replace("channels: 3}", more))
    assert (card.prediction, card.guidance.interval, card.guidance.decided_at) == ("sample", (0, 0.7), "step")


def test_a_flow_is_said_in_a_few_words_where_a_model_is_imported(says) -> None:
    assert _schedule("flow") == {"kind": "flow", "time": "data"}
    assert _schedule("flow,noise,1.5") == {"kind": "flow", "time": "noise", "shift": 1.5}
    for words in ("flow,half", "flow,data,0", "flow,data,1,1,1", "flow,data,often"):
        with says(RequestError, "is not understood: give"):
            _schedule(words)
