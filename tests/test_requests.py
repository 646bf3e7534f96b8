"""Requests: the card fills in what is left open, and whatever does not fit is refused in one sentence."""

from __future__ import annotations

import json
import math

import pytest

from zoo.catalog.card import cards
from zoo.engine.hub import Hub
from zoo.engine.request import MAX_IMAGES, MAX_SEED, Request, find_label, short
from zoo.errors import RequestError
from zoo.ui.parts.controls import make_request

CARD = cards()["tiny-dit"]


def test_what_is_left_open_comes_from_the_card() -> None:
    asked = Request("tiny-dit", labels=4, seeds=(7, 8)).resolved(CARD)
    assert (asked.labels, asked.seeds, asked.steps, asked.solver, asked.guidance) == ((4, 4), (7, 8), 25, "dpm-solver++", 3.0)
    assert asked.resolved(CARD) == asked


def test_a_request_survives_json() -> None:
    asked = Request("tiny-uvit", labels=(1, 2), seeds=(0, MAX_SEED), steps=3, solver="ddim", guidance=1.5, eta=0.5)
    assert Request.from_dict(json.loads(json.dumps(asked.to_dict()))) == asked


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, ["Steps", "1 to 1000", "not 0"]),
        ({"steps": 1, "solver": "ddpm"}, ["ddpm", "1 steps", "2 to 1000"]),
        ({"steps": 10**6}, ["1 to 1000", "1000000"]),
        ({"steps": 2.5}, ["whole number"]),
        ({"steps": True}, ["whole number"]),
        ({"steps": 10**5000}, ["Steps", "too long"]),
        ({"steps": "many"}, ["whole number", "many"]),
        ({"guidance": math.nan}, ["Guidance", "0 to 50", "nan"]),
        ({"guidance": math.inf}, ["Guidance", "inf"]),
        ({"guidance": -1.0}, ["Guidance", "-1.0"]),
        ({"guidance": 10**400}, ["Guidance", "0 to 50"]),
        ({"guidance": 10**5000}, ["Guidance", "0 to 50", "too long"]),
        ({"guidance": "strong"}, ["Guidance", "strong"]),
        ({"guidance": True}, ["Guidance", "True"]),
        ({"eta": 1.5}, ["Eta", "0 to 1"]),
        ({"seeds": ()}, ["0 images", f"1 to {MAX_IMAGES}"]),
        ({"seeds": tuple(range(10_000)), "labels": (0,)}, ["10000 images", f"1 to {MAX_IMAGES}"]),
        ({"seeds": (-1,)}, ["seed", "-1"]),
        ({"seeds": (2**32,)}, ["seed", str(MAX_SEED)]),
        ({"seeds": (1.5,)}, ["seed", "1.5"]),
        ({"seeds": (10**400,)}, ["seed"]),
        ({"seeds": 10**5000}, ["seed", "too long"]),
        ({"seeds": None}, ["seed", "(empty)"]),
        ({"seeds": (True,)}, ["seed", "True"]),
        ({"labels": None}, ["label", "(empty)"]),
        ({"labels": "star"}, ["label", "'star'"]),
        ({"labels": 1.5}, ["label", "1.5"]),
        ({"labels": (False,)}, ["label", "False"]),
        ({"labels": (100,)}, ["label", "0 to 99", "100"]),
        ({"labels": ("star",)}, ["label", "star"]),
        ({"labels": ()}, ["0 labels", "1 images"]),
        ({"labels": (1, 2, 3)}, ["3 labels"]),
        ({"frames": 2}, ["frames", "2"]),
        ({"frames": True}, ["frames", "True"]),
        ({"frames": "two\nlines"}, ["frames", "'two\\nlines'"]),
        ({"frames": 10**5000}, ["frames", "too long"]),
        ({"solver": "magic"}, ["'magic'", "ddim"]),
        ({"solver": ""}, ["''", "ddim"]),
        ({"solver": "diffusers:" + "x" * 5000}, ["unknown", "ddim"]),
    ],
    ids=short,
)
def test_what_does_not_fit_is_refused_with_the_way_out(says, change: dict, words: list[str]) -> None:
    with says(RequestError, *words) as caught:
        Request(**({"model": "tiny-dit", "labels": (0,)} | change)).resolved(CARD)
    assert len(str(caught.value)) < 250


def test_a_model_that_draws_nothing_says_so(hub: Hub, says) -> None:
    for name in ("tiny-vae", "tiny-vit"):
        with says(RequestError, name, "choose one"):
            list(hub.generate(Request(name)))


def test_an_unknown_model_names_the_nearest_ones(hub: Hub, says) -> None:
    with says(RequestError, "'tiny-dot'", "tiny-dit"):
        list(hub.generate(Request("tiny-dot")))
    for model in (None, 7, ["tiny-dit"], "x" * 5000):
        with says(RequestError, "There is no model", "tiny-dit") as caught:
            list(hub.generate(Request(model)))
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "forged",
    [
        None, [], "tiny-dit", 7, {}, {"model": 7}, {"model": "tiny-dit", "colour": "red"}, {"model": "tiny-dit", "labels": "star"},
        {"model": "tiny-dit", "seeds": None}, {"model": "tiny-dit", "seeds": {"0": 1}}, {"model": "tiny-dit", "labels": [[0]]},
        {"model": "tiny-dit", "labels": [0], "seeds": list(range(10_000))}, {"model": "tiny-dit", "labels": [0], "solver": ["ddim"]},
        {"model": "tiny-dit", "labels": [0], "solver": {}},
        {"model": "tiny-dit", "labels": [0], "steps": "25"}, {"model": "tiny-dit", "labels": [0], "frames": "all"},
        {"model": "tiny-dit", "labels": [0], "guidance": {"w": 2}}, {"model": "tiny-dit", "labels": [0], "eta": "x"},
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_forged_request_is_refused(says, forged: object) -> None:
    with says(RequestError):
        Request.from_dict(forged).resolved(CARD)


@pytest.mark.parametrize(("text", "index"), [("star", 54), (" Star ", 54), ("4", 4), (4, 4), (4.0, 4), ("0", 0)])
def test_a_class_is_found_by_name_or_number(text: str | float, index: int) -> None:
    assert find_label(CARD, text) == index


@pytest.mark.parametrize(
    "text", ["stra", "100", "-1", "", "9" * 5000, "²", "star, heart", "two\nlines", None, 4.5, float("nan")], ids=ascii
)
def test_an_unknown_class_names_real_ones(says, text: str | float | None) -> None:
    with says(RequestError, "tiny-dit has no class", "0 to 99"):
        find_label(CARD, text)


def test_the_nearest_classes_come_first_and_a_model_without_any_says_so(says) -> None:
    with says(RequestError, "a name such as star"):
        find_label(CARD, "stra")
    with says(RequestError, "a number too long to write"):
        find_label(CARD, 10**5000)
    with says(RequestError, "tiny-vae has no classes"):
        find_label(cards()["tiny-vae"], "star")


@pytest.mark.parametrize(
    ("count", "seed", "words"),
    [
        (0, 1, ["Images", "1 to 64"]),
        (10**4, 1, ["Images", "10000"]),
        (2.5, 1, ["Images", "2.5"]),
        (None, 1, ["Images", "(empty)"]),
        (math.nan, 1, ["Images", "nan"]),
        (1, "abc", ["Seed", "abc"]),
        (1, -2, ["Seed", "-2"]),
        (2, MAX_SEED, ["Seed", str(MAX_SEED - 1)]),
        (1, math.inf, ["Seed", "inf"]),
    ],
)
def test_values_of_the_controls_are_checked_before_they_become_a_request(says, count, seed, words: list[str]) -> None:
    with says(RequestError, *words):
        make_request(CARD, "star", count, seed, 25, "ddim", 2.0)


def test_an_empty_seed_draws_one_and_a_count_counts_up_from_it() -> None:
    assert make_request(CARD, 4, 3.0, "5", 25.0, None, 2).seeds == (5, 6, 7)
    drawn = {make_request(CARD, 4, 1, empty, None, None, None).seeds for empty in ("", None) for _ in range(8)}
    assert len(drawn) > 8
