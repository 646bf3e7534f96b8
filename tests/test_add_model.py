"""Adding a model on the page, and removing it: read, asked about once, in every list from then on, and gone with all its files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from conftest import ROOT, serving, visitor
from playwright.sync_api import Browser, Page, expect

from zoo import backbones
from zoo.catalog import checkpoint
from zoo.catalog.card import cards
from zoo.catalog.own_cards import Answers
from zoo.catalog.store import WEIGHTS
from zoo.engine import own_models
from zoo.engine.hub import Hub
from zoo.engine.request import Request, Result

SMALL = {"input_size": 16, "patch_size": 2, "in_channels": 4, "hidden_size": 80, "depth": 2, "num_heads": 5, "num_classes": 3}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training checkpoint of tiny-dit's weights: the averaged ones are the real ones."""
    path = tmp_path_factory.mktemp("own") / "my shapes.pt"
    state = checkpoint.read(WEIGHTS / cards()["tiny-dit"].weights[0].file)
    torch.save({"model": {key: torch.zeros_like(value) for key, value in state.items()}, "ema": dict(state), "step": 9}, path)
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a width that no card has, so that nobody knows its heads."""
    path = tmp_path_factory.mktemp("own") / "three.pt"
    torch.save(backbones.build("dit", SMALL | {"learn_sigma": True}).state_dict(), path)
    return path


@pytest.fixture
def own_hub(tmp_path: Path) -> Hub:
    return Hub(device="cpu", cache_dir=tmp_path / "cache")


@contextmanager
def models_tab(hub: Hub, browser: Browser, width: int = 1280) -> Iterator[Page]:
    """The Models tab with "Add a model" open."""
    with visitor(hub, browser, width) as page:
        page.get_by_role("tab", name="Models").click()
        page.get_by_role("button", name="Add a model").click()
        yield page


def read(page: Page, path: Path | str) -> None:
    page.fill("#add-path input, #add-path textarea", str(path))
    page.click("#add-read")


def field(page: Page, name: str) -> str:
    return page.input_value(f"#add-{name} input, #add-{name} textarea")


def fill(page: Page, name: str, value: str) -> None:
    page.fill(f"#add-{name} input, #add-{name} textarea", value)


def test_a_checkpoint_becomes_a_model_that_is_used_on_the_image_tab_and_removed_again(own_hub: Hub, shapes: Path, browser: Browser) -> None:
    with models_tab(own_hub, browser) as page:
        read(page, f' "{shapes}" ')  # as a file manager copies it
        expect(page.locator("#add-facts")).to_contain_text(
            "dit, or a sit, whose keys are the same · class-conditional image generation · 4 channels, 16 to a side · patch 2"
        )
        expect(page.locator("#add-facts")).to_contain_text("weights: ema, averaged")
        assert [field(page, name) for name in ("name", "heads", "schedule", "vae", "scale")] == [
            "my shapes", "3", "linear,0.0001,0.02,1000", "tiny-vae", str(cards()["tiny-dit"].latent.scale),
        ]  # fmt: skip
        assert own_hub.offers == Hub(device="cpu").offers  # reading adds nothing
        fill(page, "name", "My shapes!")
        fill(page, "labels", "\n".join(f"thing {number}" for number in range(100)))
        page.click("#add-go")
        expect(page.locator("#add-note")).to_have_text("My shapes! is added and stands in every list.")
        expect(page.locator("#card h2")).to_have_text("My shapes!")
        expect(page.locator("#card")).to_contain_text("ema, averaged; model would fit as well")
        expect(page.locator("#models")).to_contain_text("My shapes!")
        page.click("#use")
        expect(page.locator("#model input")).to_have_value(
            f"My shapes! · about {4 * cards()['tiny-dit'].cost.params / 1e6:.1f} MB · unknown"
        )
        expect(page.locator("#label input")).to_have_value("thing 0")
        page.fill("#steps input", "2")
        page.click("#generate")
        expect(page.locator("#gallery .grid-container img").first).to_be_visible(timeout=60_000)
        for tab, box in (("Compare", "#compare-model-A input"), ("Look inside", "#look-model input")):  # in their lists as well
            page.get_by_role("tab", name=tab).click()
            option = page.get_by_role("option").filter(has_text="My shapes!").first
            page.click(box)
            expect(option).to_be_visible()
            page.click("#banner")
        page.goto(page.url.split("?")[0] + "?tab=look&model=my-shapes")  # a link to a model that was added after the start
        expect(page.locator("#look-model input")).to_have_value("My shapes! · generator")
        expect(page.locator("#look-label input")).to_have_value("thing 0")
        page.wait_for_timeout(500)
        expect(page.locator(".toast-body")).to_have_count(0)
        page.get_by_role("tab", name="Models").click()
        page.locator("#models label").filter(has_text="My shapes!").click()
        page.click("#remove")
        stored = sum(path.stat().st_size for path in (own_hub.cache_dir / "models" / "blobs").glob("*"))
        words = f"its card and its weights ({stored / 1e6:.1f} MB)? To use it again it must be added again."
        expect(page.locator("#transfer")).to_contain_text(words)
        page.click("#remove-sure")
        expect(page.locator("#models")).not_to_contain_text("My shapes!")
    assert not list((own_hub.cache_dir / "models" / "blobs").glob("*"))
    assert not list(own_hub.own_folder.glob("*.md"))
    assert "my-shapes" not in Hub(device="cpu", cache_dir=own_hub.cache_dir).cards


def test_what_is_wrong_is_said_and_every_answer_stays(own_hub: Hub, three: Path, tmp_path: Path, browser: Browser) -> None:
    torch.save({"conv1.weight": torch.zeros(4, 3, 7, 7), "layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3)}, tmp_path / "resnet.pt")
    with models_tab(own_hub, browser) as page:
        for path, words in ((tmp_path / "no.pt", "There is no file"), ("", "No file is named"), (tmp_path / "resnet.pt", "a ResNet")):
            read(page, path)
            expect(page.locator("#add-note")).to_contain_text(words)
            expect(page.locator("#add-go")).to_be_hidden()
        (tmp_path / "version 1.5").mkdir()
        shutil.copy(three, tmp_path / "version 1.5" / "model.pt")
        for path, called in ((tmp_path / "version 1.5", "version 1.5"), (three, "three")):
            read(page, path)
            expect(page.locator("#add-name input, #add-name textarea")).to_have_value(called)
        expect(page.locator("#add-go")).to_be_visible()
        expect(page.locator("#add-weights")).to_be_hidden()
        for name, wrong, right, words in (
            ("heads", "7", "5", "7 heads do not divide a width of 80"),
            ("heads", "2.5", "5", "Attention heads must be a whole number above 0"),
            ("schedule", "cosine", "linear", "'cosine' is not understood"),
            ("labels", "one\ntwo", "one\ntwo\nthree", "2 class names for 3 classes"),
            ("name", "tiny dit", "three", "There is a model tiny-dit already"),
        ):
            fill(page, name, wrong)
            page.keyboard.press("Enter" if name == "schedule" else "Tab")
            page.click("#add-go")
            expect(page.locator("#add-note")).to_contain_text(words)
            assert field(page, name) == wrong
            fill(page, name, right)
            page.keyboard.press("Enter" if name == "schedule" else "Tab")
        page.click("#add-go")
        expect(page.locator("#add-note")).to_contain_text("three is added")
    card = own_hub.card("three")
    assert (card.arch["num_heads"], card.label_names, card.schedule["kind"]) == (5, ("one", "two", "three"), "linear")


def test_an_uploaded_file_is_read_and_the_other_weights_can_be_chosen(own_hub: Hub, shapes: Path, browser: Browser) -> None:
    with models_tab(own_hub, browser, 390) as page:
        with page.expect_file_chooser() as chooser:
            page.click("#add-bring")
        chooser.value.set_files(str(shapes))
        expect(page.locator("#add-facts")).to_contain_text("weights: ema, averaged")
        page.click("#add-weights input")
        page.get_by_role("option", name="model", exact=True).click()
        expect(page.locator("#add-facts")).to_contain_text("weights: model")
        expect(page.locator("#add-facts")).not_to_contain_text("averaged")
        fill(page, "name", "zeros")
        page.click("#add-go")
        expect(page.locator("#add-note")).to_contain_text("zeros is added")
    assert not own_hub.load(own_hub.card("zeros")).module.x_embedder.proj.weight.any()


def ended(url: str, event: dict, values: list) -> str:
    """What the page would be told of a private event that anybody can call."""
    body = {"fn_index": event["id"], "session_hash": "s", "data": values}
    asked = urllib.request.Request(f"{url}gradio_api/run/predict", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked) as answer:
        return answer.read().decode()


@pytest.mark.parametrize(("downloads", "words"), [(False, "Only the person who runs this hub"), (True, "upload the file instead")])
def test_a_page_that_others_reach_reads_no_path(
    tmp_path: Path, shapes: Path, monkeypatch: pytest.MonkeyPatch, downloads: bool, words: str
) -> None:
    """Whoever may add models uploads them: a path would show a stranger what lies on the machine."""
    hub = Hub(device="cpu", cache_dir=tmp_path / "cache", downloads=downloads)
    monkeypatch.setattr("zoo.ui.parts.download.LOOPBACK", ())
    with serving(hub) as url:
        with urllib.request.urlopen(f"{url}config") as answer:
            config = json.load(answer)
        place = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "add-path")
        events = [event for event in config["dependencies"] if place in event["inputs"]]
        assert events
        for event in events:
            said = ended(url, event, [str(shapes)])
            assert "class-conditional" not in said
            assert words in said or "upload the file instead" in said


@pytest.mark.parametrize(("downloads", "here"), [(False, False), (True, True)])
def test_adding_is_there_for_those_who_may(
    tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch, downloads: bool, here: bool
) -> None:
    monkeypatch.setattr("zoo.ui.parts.download.LOOPBACK", ())
    with serving(Hub(device="cpu", cache_dir=tmp_path / "cache", downloads=downloads)) as url:
        page = browser.new_page()
        page.goto(url)
        expect(page.locator("#cost")).to_contain_text("about")
        page.get_by_role("tab", name="Models").click()
        expect(page.locator("#card h2")).to_be_visible()
        page.wait_for_timeout(500)
        assert page.get_by_role("button", name="Add a model").is_visible() == here
        if here:
            page.get_by_role("button", name="Add a model").click()
            expect(page.locator("#add-bring")).to_be_visible()
            expect(page.locator("#add-read")).to_be_hidden()
        page.close()


def test_a_hub_that_runs_knows_what_another_process_adds_and_removes(own_hub: Hub, three: Path) -> None:
    assert "three" not in own_hub.cards
    env = os.environ | {"PATCHWORK_CACHE": str(own_hub.cache_dir)}

    def zoo(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "zoo", *words], cwd=ROOT, env=env, check=True, capture_output=True)

    zoo("import", str(three), "--heads", "5")
    assert own_hub.card("three").arch["num_heads"] == 5
    assert own_hub.offers.index(own_hub.card("three")) < own_hub.offers.index(own_hub.card("dit-xl-2-256"))
    *_, result = own_hub.generate(Request("three", 1, 0, 2))
    assert isinstance(result, Result)
    zoo("cache", "--remove", "three")
    assert "three" not in [card.id for card in own_hub.offers]
    assert not list(own_hub.own_folder.glob("*.md"))


def test_a_card_of_ones_own_goes_although_its_file_is_gone(own_hub: Hub, three: Path) -> None:
    card = own_models.adopt(own_hub, three, Answers(num_heads=5))
    own_hub.store.find(card).path.unlink()
    assert own_hub.remove("three") == 0
    assert "three" not in own_hub.cards


def test_a_card_of_ones_own_that_needs_what_is_not_here_keeps_no_hub_from_starting(
    own_hub: Hub, three: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_models.adopt(own_hub, three, Answers(num_heads=5))
    path = own_hub.own_folder / "three.md"
    path.write_text(path.read_text().replace("vae: tiny-vae", "vae: gone-vae"))
    (own_hub.own_folder / "tiny-dit.md").write_text(path.read_text().replace("gone-vae", "tiny-vae"))
    hub = Hub(device="cpu", cache_dir=own_hub.cache_dir)
    assert "three" not in hub.cards
    assert hub.card("tiny-dit").weights[0].origin == "bundled"
    assert "three.md is left out: there is no model gone-vae, which it needs" in caplog.text


def test_a_hub_of_chosen_models_offers_what_its_user_adds(tmp_path: Path, three: Path) -> None:
    hub = Hub(device="cpu", cache_dir=tmp_path / "cache", models=["tiny-dit"])
    own_models.adopt(hub, three, Answers(num_heads=5))
    assert [card.id for card in hub.offers] == ["tiny-dit", "three"]
    other = Hub(device="cpu", cache_dir=tmp_path / "cache", models=["tiny-dit"])
    assert [card.id for card in other.offers] == ["tiny-dit"]
