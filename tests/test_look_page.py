"""The Look inside tab in a real browser, /look_inside over the API, and `zoo look` at the terminal."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import opened
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from zoo.__main__ import main

STAR = Path(__file__).parent.parent / "zoo" / "catalog" / "data" / "example-star.png"
CAPTION = "#look-caption p"


def source(page: Page, name: str) -> str:
    """Where a picture of the page comes from: another one has another name."""
    return page.locator(f"#{name} img").first.get_attribute("src") or ""


def changed(page: Page, name: str, before: str) -> None:
    expect(page.locator(f"#{name} img").first).not_to_have_attribute("src", before)


def choose(page: Page, box: str, name: str) -> None:
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=name, exact=False).first.click()


def shown(page: Page, name: str) -> np.ndarray:
    """A picture of the page as pixels."""
    with Image.open(io.BytesIO(page.request.get(source(page, name)).body())) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.fixture
def inside(context: BrowserContext, server: str) -> Page:
    """The tab, its first example open."""
    page = opened(context, server)
    page.get_by_role("tab", name="Look inside").click()
    expect(page.locator(CAPTION)).to_contain_text("Layer 3")
    return page


def test_the_first_example_is_open_and_a_click_moves_where_is_looked_from(inside: Page) -> None:
    expect(inside.locator("#look-predictions li").first).to_contain_text("fox")
    expect(inside.locator("#look-stages figure")).to_have_count(10)
    expect(inside.locator("#look-stages")).to_contain_text("8 x 8 = 64 patches of 8 x 8 pixels")
    expect(inside.locator("#look-stages")).to_contain_text("1 + 64 = 65 tokens of 96 numbers")
    expect(inside.locator("#look-plots figure")).to_have_count(2)
    expect(inside.locator(CAPTION)).to_contain_text("class")
    before = source(inside, "look-heat")
    box = inside.locator("#look-picture img").bounding_box()
    inside.locator("#look-picture img").click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.8})
    expect(inside.locator(CAPTION)).to_contain_text("row 6, column 2")
    changed(inside, "look-heat", before)
    expect(inside.locator("#look-position")).to_contain_text("row 6, column 2")
    red = (np.abs(shown(inside, "look-heat") - (255, 64, 64)).sum(-1) < 20).nonzero()
    assert (red[0].min(), red[1].min()) == (6 * 64, 2 * 64)  # the frame of that very patch


def test_another_layer_head_and_way_draw_something_else(inside: Page) -> None:
    for box, value, words in (("look-layer", "1", "Layer 1"), ("look-layer", "0", "Layer 0")):
        before = source(inside, "look-heat")
        inside.locator(f"#{box} input[type=number]").fill(value)
        expect(inside.locator(CAPTION)).to_contain_text(words)
        changed(inside, "look-heat", before)
    for way, words in (
        ("max of all heads", "max of all"),
        ("one head", "head 0 of 4"),
        ("mean of chosen heads", "chosen heads 0, 1"),
        ("rollout", "rollout"),
        ("relevance", "relevance"),
    ):
        before = source(inside, "look-heat")
        choose(inside, "look-way", way)
        expect(inside.locator("#look-caption")).to_contain_text(words)
        changed(inside, "look-heat", before)
    expect(inside.locator("#look-target input")).to_be_visible()


def test_a_picture_of_ones_own_is_opened_and_a_text_is_refused_with_nothing_lost(inside: Page, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), (20, 90, 160)).save(tmp_path / "sea.jpg")
    before = source(inside, "look-picture")
    with inside.expect_file_chooser() as chooser:
        inside.locator("#look-bring").click()
    chooser.value.set_files(tmp_path / "sea.jpg")
    changed(inside, "look-picture", before)
    before = source(inside, "look-picture")
    (tmp_path / "text.png").write_text("no picture")
    with inside.expect_file_chooser() as chooser:
        inside.locator("#look-bring").click()
    chooser.value.set_files(tmp_path / "text.png")
    expect(inside.locator("#look-note .error")).to_contain_text("cannot be read as a picture")
    assert source(inside, "look-picture") == before


def test_a_generation_is_recorded_scrubbed_and_compared(inside: Page) -> None:
    choose(inside, "look-model", "tiny U-ViT")
    expect(inside.locator("#look-note")).to_contain_text("press Look inside")
    inside.locator("#look-steps input").fill("6")
    choose(inside, "look-beside", "tiny-dit")
    inside.locator("#look-go").click()
    expect(inside.locator(CAPTION)).to_contain_text("middle")
    expect(inside.locator("#look-second figure")).to_have_count(2)
    expect(inside.locator("#look-predictions li")).to_have_count(0)
    before = source(inside, "look-picture"), source(inside, "look-heat")
    inside.locator("#look-step input[type=number]").fill("2")
    changed(inside, "look-picture", before[0])
    changed(inside, "look-heat", before[1])
    expect(inside.locator("#look-second")).to_contain_text("most similar noise level")
    choose(inside, "look-query", "all patches, onto the time token")
    expect(inside.locator(CAPTION)).to_contain_text("onto the time token")
    inside.locator("#look-through").click()
    expect(inside.locator("#look-forming figure")).to_have_count(5)
    inside.locator("#look-free input").check()
    expect(inside.locator(CAPTION)).to_contain_text("onto the time token")
    inside.locator("#look-factor input[type=number]").fill("0.5")
    expect(inside.locator("#look-carried")).to_contain_text("scaled by 0.5")
    inside.locator("#look-pack").click()
    expect(inside.locator("#look-file")).to_contain_text("tiny-uvit-inside")


def test_a_picture_just_made_is_looked_into(context: BrowserContext, server: str) -> None:
    page = opened(context, server)
    page.locator("#count input[type=number]").fill("1")
    page.locator("#steps input").fill("4")
    page.click("#generate")
    page.locator("#generate").wait_for()
    expect(page.locator("#gallery .grid-container img")).to_have_count(1)
    page.click("#inside")
    expect(page.locator(CAPTION)).to_contain_text("Layer 3")
    expect(page.locator("#look-step input[type=number]")).to_have_value("4")
    expect(page.locator("#look-model input")).to_have_value(re.compile("tiny DiT"))


def test_look_inside_over_the_api(server: str) -> None:
    client = Client(server, verbose=False)
    path, facts = client.predict(handle_file(str(STAR)), "tiny-vit", 2, None, "class", api_name="/look_inside")
    with Image.open(path) as picture:
        assert picture.size == (512, 512)
    assert facts["grid"] == [1, 8, 8]
    assert facts["predictions"][0]["label"] == "star"
    other, _ = client.predict(handle_file(str(STAR)), "tiny-vit", 2, 1, "9", api_name="/look_inside")
    assert Path(other).read_bytes() != Path(path).read_bytes()
    for wrong, words in (
        ((handle_file(str(STAR)), "tiny-vit", 9, None, ""), "no layer 9"),
        ((handle_file(str(STAR)), "tiny-vit", 0, 7, ""), "no head 7"),
        ((handle_file(str(STAR)), "tiny-vit", 0, None, "77"), "no patch '77'"),
        ((handle_file(str(STAR)), "tiny-dit", 0, None, ""), "no receipt"),
        ((handle_file(str(STAR)), "tiny-vae", 0, None, ""), "no attention"),
        ((None, "tiny-vit", 0, None, ""), "image is empty"),
    ):
        with pytest.raises(AppError, match=words):
            client.predict(*wrong, api_name="/look_inside")
    client.close()


def test_look_at_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "inside"
    assert main(["look", str(STAR), "--model", "tiny-vit", "--out", str(out)]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert all(path.is_file() for path in paths)
    assert json.loads((out / "look.json").read_text())["predictions"][0]["label"] == "star"
    assert np.load(out / "arrays.npz")["attention_03"].shape == (1, 4, 65, 65)
    assert main(["look", str(STAR), "--model", "tiny-vit", "--way", "relevance", "--out", str(out / "why")]) == 0
    assert (out / "why" / "looks.png").read_bytes() != (out / "looks.png").read_bytes()
    capsys.readouterr()
    assert main(["sample", "tiny-uvit", "--label", "star", "--seed", "1", "--steps", "4", "--out", str(tmp_path)]) == 0
    made = capsys.readouterr().out.strip()
    assert main(["look", made, "--model", "tiny-uvit", "--step", "2", "--patch", "time", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["extra"] == ["class", "time"]
    own = tmp_path / "picture.png"
    own.write_bytes(STAR.read_bytes())
    assert main(["look", str(own), "--model", "tiny-vit", "--out", str(tmp_path)]) == 1
    assert "would be overwritten" in capsys.readouterr().err
    assert own.read_bytes() == STAR.read_bytes()
    assert main(["look", str(STAR), "--model", "tiny-uvit"]) == 1
    assert "no receipt" in capsys.readouterr().err
    assert main(["look", str(tmp_path / "none.png"), "--model", "tiny-vit"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
