"""A seed is whatever whole number a user pastes: drawn where he leaves it open, taken, or refused in words, on every way in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zoo.catalog.card import cards
from zoo.compare import compare, grid
from zoo.engine.hub import Hub
from zoo.engine.request import MAX_SEED, first_seed, parse_seeds
from zoo.errors import RequestError
from zoo.ui.parts.controls import make_request

CARD = cards()["tiny-dit"]
OPEN = [-1, -1.0, "-1", " -1 ", "random"]
LARGE = [2**32, 2**53 + 1, 2**63, 2**64 - 1, 10**30, 10**5000]


def on_the_page(seed: object) -> int:
    return make_request(CARD, 4, 1, seed, None, None, None).seeds[0]


def in_a_comparison(seed: object) -> int:
    return compare.column(Hub(device="cpu"), {"model": "tiny-dit", "label": "star", "seed": seed}).seeds[0]


def as_seeds_of_a_study(seed: object) -> int:
    return compare.column(Hub(device="cpu"), {"model": "tiny-dit", "label": "star", "seeds": seed}).seeds[0]


def at_the_terminal(seed: object) -> int:
    return parse_seeds(str(seed) if isinstance(seed, str) else f"{seed:.0f}")[0]


WAYS = [on_the_page, in_a_comparison, as_seeds_of_a_study, at_the_terminal]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", OPEN, ids=repr)
def test_minus_one_draws_a_seed(way: Callable[[object], int], seed: object) -> None:
    drawn = {way(seed) for _ in range(5)}
    assert len(drawn) > 2
    assert all(0 <= number <= MAX_SEED for number in drawn)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [0, 7, "7", " 42\n", MAX_SEED, str(MAX_SEED)], ids=repr)
def test_a_whole_number_is_taken_as_it_is(way: Callable[[object], int], seed: object) -> None:
    assert way(seed) == int(seed)


@pytest.mark.parametrize("way", WAYS[:3])
@pytest.mark.parametrize(
    "seed",
    [*LARGE, *map(str, LARGE[:5]), 1.8446744073709552e19, -2],
    ids=lambda seed: f"{str(seed)[:24]!r}" if seed != 10**5000 else "huge",
)
def test_another_one_is_refused_with_the_range(way: Callable[[object], int], seed: object, says) -> None:
    with says(RequestError, "eed", "from 0 to 4294967295"):
        way(seed)


@pytest.mark.parametrize("text", ["4294967296", "18446744073709551615", "0-4294967296", "1,18446744073709551615"])
def test_the_terminal_refuses_large_ones_with_the_range(text: str, says) -> None:
    with says(RequestError, repr(text), "from 0 to 4294967295"):
        parse_seeds(text)


def test_columns_that_share_an_open_seed_share_the_one_that_is_drawn() -> None:
    hub, words = Hub(device="cpu"), {"label": "star", "count": 2}
    for seed in ({"seed": -1}, {"seeds": [-1]}, {"seeds": "-1"}):
        own = words | seed if "seed" in seed else {"label": "star"} | seed
        columns = compare.aligned(hub, [own | {"model": "tiny-dit"}, own | {"model": "tiny-uvit"}])
        assert columns[0].seeds == columns[1].seeds


def test_cells_of_a_grid_share_the_seed_that_is_drawn() -> None:
    plan = grid.plan(Hub(device="cpu"), {"model": "tiny-dit", "label": "star", "seeds": -1}, ("steps", "5,10,20"))
    assert len({cell.request.seeds for cell in plan.all_cells}) == 1
    assert 0 <= grid.values("seed", "-1")[0] <= MAX_SEED


def test_a_drawn_seed_leaves_room_for_a_batch_and_can_be_read_out() -> None:
    assert max(first_seed(-1, 64) for _ in range(100)) <= 999_999
