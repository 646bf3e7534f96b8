"""A classifier names one of its classes whatever it is shown: a picture that is far from its data is said to be so, a drawing is not."""

from __future__ import annotations

from pathlib import Path

import gradio
import numpy as np
import pytest
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw

from zoo.catalog.labels import DATA
from zoo.compare.metrics import logits_and_features
from zoo.engine.hub import Hub
from zoo.engine.request import Request
from zoo.inside import attention_figures
from zoo.inside.inspector import Looker
from zoo.networks.out_of_distribution import HeldOut, held_out
from zoo.training import clips, emoji
from zoo.training.recipes import levels, pixels

PHOTOGRAPHS = sorted((Path(gradio.__file__).parent / "media_assets" / "images").glob("*.jp*g"))


@pytest.fixture(scope="module")
def looker(hub: Hub) -> Looker:
    """A Looker on the bundled models."""
    return Looker(hub)


def others(folder: Path) -> list[Path]:
    """Pictures that show none of the classes: a photograph, noise, a page of text."""
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / "noise.png")
    page = Image.new("RGB", (640, 480), "white")
    for line in range(20):
        ImageDraw.Draw(page).text((10, 10 + 22 * line), "The quick brown fox jumps over the lazy dog. " * 2, fill="black")
    page.save(folder / "text.png")
    return [*PHOTOGRAPHS, Path(get_sample_data("grace_hopper.jpg", asfileobj=False)), folder / "noise.png", folder / "text.png"]


@pytest.mark.parametrize("model", ["tiny-vit", "tiny-swin"])
def test_photographs_noise_and_text_are_far_and_the_examples_are_not(looker: Looker, model: str, tmp_path: Path) -> None:
    files = others(tmp_path)
    assert len(PHOTOGRAPHS) >= 4
    far = {path.name: looker.picture(model, path).data_distance for path in files}
    assert [name for name, distance in far.items() if not distance.far] == []
    for name in ("fox", "rocket", "star", "heart"):
        distance = looker.picture(model, DATA / f"example-{name}.png").data_distance
        assert not distance.far, distance
        assert distance.judge == "tiny-vit"


def test_held_out_drawings_are_accepted(hub: Hub, shipped_drawings: None) -> None:
    judge, data = hub.load(hub.card("tiny-vit")).module, held_out("emoji")
    drawings = torch.cat([emoji.batch(64, 5, index)[0] for index in range(8)])
    far = data.distances(logits_and_features(judge, pixels(levels(drawings)))[1]) > data.limit
    assert far.double().mean() <= 0.02  # a half of a per cent of 512 is two or three


def test_a_picture_that_a_model_just_drew_is_accepted_by_the_classifier(looker: Looker, hub: Hub) -> None:
    *_, result = hub.generate(Request("tiny-dit", (0, 4, 5), (0, 1, 2)), preview=False)
    assert [looker.picture("tiny-vit", path).data_distance.far for path in result.files] == [False] * 3


def test_a_clip_of_a_motion_is_accepted_and_a_still_photograph_is_far(looker: Looker, hub: Hub, shipped_drawings: None) -> None:
    assert not looker.picture("tiny-vivit", DATA / "example-clip.webp").data_distance.far
    for path in PHOTOGRAPHS[:2]:
        assert looker.picture("tiny-vivit", path).data_distance.far
    data, films = held_out("clips"), clips.batch(4, 5, 0)[0]
    distances = data.distances(logits_and_features(hub.load(hub.card("tiny-vivit")).module, films)[1])
    assert (distances < data.limit).all()


def test_the_distance_is_that_of_mahalanobis_to_the_nearest_class() -> None:
    data = HeldOut("judge", torch.tensor([[0.0, 0.0], [10.0, 0.0]]), torch.eye(2).expand(2, 2, 2) * torch.tensor([4.0, 1.0]), 2.5)
    wanted = torch.tensor([1.0, 3.0, 0.5]).double()
    torch.testing.assert_close(data.distances(torch.tensor([[2.0, 0.0], [0.0, 3.0], [9.0, 0.0]])), wanted)
    assert data.measure(torch.tensor([0.0, 3.0])).far
    assert not data.measure(torch.tensor([0.0, 2.0])).far


def test_the_features_recorded_are_those_that_the_judge_gives(looker: Looker, hub: Hub) -> None:
    path, card = PHOTOGRAPHS[0], hub.card("tiny-vit")
    pixels = looker._pixels(card, path)[-1][None]
    feature = logits_and_features(hub.load(card).module, pixels)[1][0]
    torch.testing.assert_close(looker.picture("tiny-vit", path).tokens.features[0], feature, atol=1e-4, rtol=0)


def test_facts_say_how_many_classes_there_are_and_how_far_a_picture_is(looker: Looker) -> None:
    facts = attention_figures.facts(looker.picture("tiny-vit", PHOTOGRAPHS[0]))
    assert facts["classes"] == 100
    assert facts["data_distance"]["far"]
    assert facts["data_distance"]["value"] > facts["data_distance"]["limit"]
    assert held_out("imagenet-1k") is None
