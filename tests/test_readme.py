"""The README, continuous integration, the pins and the cards say the same."""

import re
from pathlib import Path

import yaml

from zoo.catalog.card import Card, cards
from zoo.compare import study
from zoo.compare.grid import Grid
from zoo.engine.hub import Hub

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEST = "python3 -m venv .venv && .venv/bin/pip install -r requirements-dev.txt && .venv/bin/python -m pytest"
START = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/python app.py"


def quality(card: Card) -> str:
    """The first figure of a card in words."""
    name, value = next(iter(card.measured.items()))
    return f"{value:.1f} dB" if name.endswith("db") else f"{100 * value:.1f} %"


def table() -> str:
    """The README's table of models, from the cards."""
    words = {
        "class-to-image": "draws a class, guided",
        "class-to-video": "films a motion, guided",
        "video-classification": "names a motion, accuracy",
        "autoencoder": "latents to pixels, PSNR",
        "image-classification": "names a class, accuracy",
    }
    rows = [
        f"| [`{card.id}`](model_cards/{card.id}.md) | {words[card.task]} | {quality(card)} | {card.cost.params / 1e6:.1f} M | "
        f"{card.bytes / 1e6:.1f} MB | {card.licence} |"
        for card in cards().values()
        if card.weights[0].origin == "bundled"
    ]
    return "\n".join(["| model | what it does | measured | parameters | file | licence |", "|---|---|--:|--:|--:|---|", *rows])


def test_the_table_of_models_is_that_of_the_cards():
    assert table() in README


def test_the_front_matter_makes_a_space_of_the_pinned_gradio():
    head = yaml.safe_load(README.split("---\n")[1])
    pins = dict(re.findall(r"^([\w-]+)==(\S+?);?(?:\s|$)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert (head["sdk"], head["sdk_version"], head["app_file"]) == ("gradio", pins["gradio"], "app.py")
    assert (head["license"], head["python_version"]) == ("apache-2.0", "3.12")
    assert len(head["short_description"]) <= 60  # more is refused by Hugging Face
    assert pins["torch"] == "2.13.0"


def test_every_requirement_is_pinned():
    for name in ("requirements.txt", "requirements-dev.txt"):
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line[0] not in "#-" and "==" not in line] == []


def test_continuous_integration_runs_the_readmes_test_command():
    assert README.count(TEST) == README.count(START) == 1
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()[-1] == TEST


def test_every_file_that_the_readme_links_to_exists():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_comparison_that_the_readme_writes_down_can_be_run(hub: Hub):
    beside, grid = (study.plan(hub, yaml.safe_load(block)) for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
    assert [column.request.steps for column in beside] == [25, 25, 10]
    assert {len(column.seeds) for column in beside} == {128}
    assert isinstance(grid, Grid)
    assert (len(grid.cells), len(grid.cells[0])) == (7, 3)
