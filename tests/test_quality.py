"""What the cards say of the bundled models, and what is told of the variants that the papers compare: how it is measured."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.catalog.card import cards
from zoo.catalog.sampling_words import Sampling
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.media.pictures import to_uint8
from zoo.networks.build import build_module
from zoo.training import quality, variants
from zoo.training.recipes import generator_loss
from zoo.training.trainer import Plan


class Judge:
    """One who sees the classes that he is told to, whatever is shown to him."""

    def __init__(self, *seen: int) -> None:
        self.seen = torch.tensor(seen)

    def __call__(self, images: Tensor) -> SimpleNamespace:
        now, self.seen = self.seen[: len(images)], self.seen[len(images) :]
        return SimpleNamespace(logits=F.one_hot(now, 100))


@pytest.mark.parametrize(("model", "solver", "count"), [("tiny-dit", "ddpm", 3), ("tiny-sit", "heun", 3), ("tiny-latte", "ddim", 1)])
def test_what_is_measured_is_what_the_hub_draws(model: str, solver: str, count: int, hub: Hub) -> None:
    card, numbers = hub.card(model), tuple(range(count))
    images, labels = quality.drawn(hub, card, solver, 3, 2.0, count)
    *_, made = hub.generate(Request(model, numbers, numbers, 3, solver, 2.0), preview=False, visitor=None)
    assert labels.tolist() == list(numbers)
    assert np.abs(to_uint8(images).astype(int) - made.images).max() <= 1


def test_how_many_are_drawn_at_once_does_not_matter_and_classes_come_in_turn(hub: Hub) -> None:
    card = replace(hub.card("tiny-dit"), arch=hub.card("tiny-dit").arch | {"num_classes": 2})
    modules = [hub.load(hub.card(name)).module for name in ("tiny-dit", "tiny-vae")]
    one, two = (quality.painted(*modules, card, "ddpm", 2, 1.0, 5, batch) for batch in (2, 5))
    assert one[1].tolist() == two[1].tolist() == [0, 1, 0, 1, 0]
    assert one[0].shape == (5, 3, 64, 64)
    torch.testing.assert_close(one[0], two[0], atol=1e-3, rtol=0)


def test_the_share_that_is_recognised_is_told_over_all_and_for_the_worst_class() -> None:
    labels = torch.tensor([0, 0, 1, 1, 1, 1, 2, 2])
    found = quality.recognised(Judge(0, 0, 1, 1, 1, 0, 2, 1), torch.zeros(8, 3, 4, 4), labels)
    assert found == {"all": 0.75, "worst_class": 0.5}


# ---- the variants


def test_every_variant_differs_from_the_others_of_its_kind_by_its_variant_alone() -> None:
    known = variants.variants()
    assert len(known) == 8
    for model, word in (("tiny-dit", "conditioning"), ("tiny-latte", "variant")):
        own = {name: entry for name, entry in known.items() if name.startswith(model)}
        assert len({card.arch[word] for card, _, _ in own.values()}) == 4
        assert len({str(card.arch | {word: ""}) for card, _, _ in own.values()}) == 1
        assert len({(plan, batch) for _, plan, batch in own.values()}) == 1
        for card, _, _ in own.values():
            assert {key: card.arch[key] for key in ("input_size", "num_classes", "depth")} == {
                key: cards()[model].arch[key] for key in ("input_size", "num_classes", "depth")
            }
            build_module(card)


def test_of_a_clip_thing_and_motion_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = torch.tensor([0, 1, 6, 7])
    monkeypatch.setattr(variants, "painted", lambda *_: (torch.zeros(4, 16, 3, 4, 4), asked))
    shown = variants.recognised(None, cards()["tiny-latte"], None, Judge(0, 2, 12, 20), 4)
    assert shown == {"recognised": 0.25, "thing": 0.5, "motion": 0.5}
    assert variants.recognised(None, cards()["tiny-dit"], None, Judge(0, 1, 6, 8), 4) == {"recognised": 0.75}


@pytest.mark.parametrize("name", ["tiny-dit-cross-attention", "tiny-latte-3"])
def test_a_variant_learns_and_is_looked_at_seven_times(name: str, hub: Hub) -> None:
    card, _, _ = variants.variants()[name]
    card = replace(card, arch=card.arch | {"hidden_size": 32, "depth": 2, "num_heads": 2}, sampling=Sampling("ddim", 2))
    z = torch.randn(6, *([16] if card.video else []), 4, 16, 16, generator=torch.Generator().manual_seed(0))
    autoencoder, judge = (hub.load(hub.card(model)).module for model in ("tiny-vae", "tiny-vivit" if card.video else "tiny-vit"))
    run = (card, z, torch.arange(6), Plan(steps=15, rate=0.05), 4, autoencoder, judge, 1)
    (model, points), (again, same) = variants.curve(*run), variants.curve(*run)
    assert points == same
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert [point["step"] for point in points] == [2, 4, 6, 8, 10, 12, 15]
    torch.manual_seed(0)
    loss = generator_loss(card, z, torch.arange(6), 32)
    learnt, before = (loss(one, torch.Generator().manual_seed(1)) for one in (model, build_module(card)))
    assert learnt < 0.95 * before
    assert set(points[0]) == {"step", "loss", "recognised"} | ({"thing", "motion"} if card.video else set())
