"""The README is true: every block of it runs, and it, continuous integration, the pins and the cards say the same."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from loopback_hub import LoopbackHub

from zoo.__main__ import parser
from zoo.catalog.card import TASKS, Card, cards, percent
from zoo.catalog.store import Store
from zoo.compare import study
from zoo.compare.grid import Grid
from zoo.engine.hub import Hub
from zoo.engine.request import Request, find_label

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
TEST = "python3 -m venv .venv && .venv/bin/pip install -r requirements-dev.txt && .venv/bin/python -m pytest"
START = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && .venv/bin/python app.py"
STARTS = {
    START,
    START.replace("requirements.txt", "requirements.txt --extra-index-url https://download.pytorch.org/whl/cpu"),
    "brew install python@3.13 && " + START.replace("python3 -m", "python3.13 -m"),
}
"""The lines that start it on a shell; the others are the first with what a system needs besides."""
POWERSHELL = r"py -m venv .venv; .venv\Scripts\pip install -r requirements.txt; .venv\Scripts\python app.py"
COMMAND = ".venv/bin/python -m zoo "
DEPLOY = ".venv/bin/python spaces/deploy.py "
ZOO = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines() if line.startswith(COMMAND)]


def named(line: str) -> list[Card]:
    """The models that a command names."""
    return [cards()[word] for word in shlex.split(line) if word in cards()]


REMOTE = [line for line in ZOO if any(card.weights[0].origin != "bundled" for card in named(line))]
"""Commands that need weights which are not included."""


# ---- every block runs, each in a process of its own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like the repository, into which commands may write; it holds the study that the README writes down."""
    for name in ("zoo", "model_cards"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "study.yaml").write_text(next(block for language, block in BLOCKS if language == "yaml"))
    return tmp_path


def run(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess:
    """A program of its own, with results of its own."""
    private = {"PATCHWORK_CACHE": str(folder / "cache")} | environment
    return subprocess.run(command, cwd=folder, env=os.environ | private, capture_output=True, text=True, timeout=600)


def test_every_block_is_of_a_language_that_is_run_here_and_every_line_of_a_shell_is_known() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python", "yaml", "powershell"}
    assert [block.strip() for language, block in BLOCKS if language == "powershell"] == [POWERSHELL]
    lines = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
    assert {line for line in lines if line not in ZOO and not line.startswith(DEPLOY)} == {*STARTS, TEST}
    assert len(ZOO) >= 14
    assert {line.split()[3] for line in ZOO} >= {"list", "show", "sample", "compare", "look", "verify", "fetch", "cache"}


@pytest.mark.parametrize("code", [block for language, block in BLOCKS if language == "python"], ids=lambda code: code.split("\n")[2][:40])
def test_every_python_block_runs_in_a_fresh_process(code: str, folder: Path, request: pytest.FixtureRequest) -> None:
    if "127.0.0.1:7860" in code:
        code = code.replace("http://127.0.0.1:7860", request.getfixturevalue("server").rstrip("/"))
    done = run(folder, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [line for line in ZOO if line not in REMOTE], ids=lambda line: line.removeprefix(COMMAND))
def test_every_command_that_needs_no_network_runs(line: str, folder: Path) -> None:
    words = shlex.split(line)
    done = run(folder, sys.executable, *words[1:])
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "--out" in words:
        assert all((folder / path).exists() for path in done.stdout.splitlines())
        assert any((folder / words[words.index("--out") + 1]).iterdir())


def test_the_command_that_hosts_it_means_what_it_says(folder: Path) -> None:
    (line,) = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines() if line.startswith(DEPLOY)]
    done = run(ROOT, sys.executable, *shlex.split(line)[1:], "--dry-run", str(folder / "out"))
    assert (done.returncode, (folder / "out" / "app.py").is_file()) == (0, True), done.stderr


@pytest.mark.parametrize("line", REMOTE, ids=lambda line: line.removeprefix(COMMAND))
def test_every_command_that_needs_a_download_means_what_it_says(line: str, folder: Path, hub_server: LoopbackHub) -> None:
    """Fetching asks the hub for the files that the cards name; what follows names classes, presets and parts that the cards have."""
    words = shlex.split(line)[3:]
    asked, (card, *_) = parser().parse_args(words), named(line)
    if words[0] == "fetch":
        done = run(folder, sys.executable, "-m", "zoo", *words, HF_ENDPOINT=hub_server.url, MODELSCOPE_ENDPOINT=hub_server.url)
        assert done.returncode == 1  # this hub is empty
        assert f"zoo: {card.title} could not be downloaded" in done.stderr
        first = card.weights[0]
        assert f"/{first.repo}/resolve/{first.revision or 'main'}/{first.file}" in {path for _, path, _ in hub_server.log}
        return
    if words[0] == "verify":
        done = run(folder, sys.executable, "-m", "zoo", *words, HF_HUB_OFFLINE="1")
        assert (done.returncode, "is not downloaded" in done.stderr) == (1, True)
        return
    preset = card.preset(asked.preset)
    labels = (find_label(card, asked.label),) if asked.label else ()
    words = {"steps": preset.steps, "solver": preset.solver, "guidance": preset.guidance, "vae": preset.vae}
    request = Request(card.id, labels, 0, prompt=asked.prompt, negative_prompt=asked.negative_prompt, **words).resolved(card)
    assert (request.steps, request.solver) == (preset.steps, preset.solver)


@pytest.mark.parametrize("block", [block for language, block in BLOCKS if language == "yaml"][1:], ids=lambda block: block.split("\n")[0])
def test_every_comparison_that_the_readme_writes_down_runs(block: str, folder: Path) -> None:
    """The first of them is study.yaml, which a command of the README runs."""
    assert any("compare study.yaml" in line for line in ZOO)
    (folder / "mine.yaml").write_text(block)
    done = run(folder, sys.executable, "-m", "zoo", "compare", "mine.yaml", "--out", "mine")
    assert done.returncode == 0, done.stderr
    assert all((folder / path).exists() for path in done.stdout.splitlines())


def test_the_comparisons_are_those_that_the_text_describes(hub: Hub) -> None:
    beside, grid = (study.plan(hub, yaml.safe_load(block)) for language, block in BLOCKS if language == "yaml")
    assert [column.request.steps for column in beside] == [25, 25, 10]
    assert {len(column.seeds) for column in beside} == {10}
    assert isinstance(grid, Grid)
    assert (len(grid.cells), len(grid.cells[0])) == (7, 3)


def test_the_start_line_opens_the_page(server: str) -> None:
    """Its last part is what the fixture runs: python app.py; its first two are pinned and are what continuous integration runs."""
    assert START.endswith(".venv/bin/python app.py")
    assert START.split(" && ")[0] == TEST.split(" && ")[0] == "python3 -m venv .venv"
    assert (ROOT / "requirements.txt").is_file()
    assert server.startswith("http://127.0.0.1:")


def test_commands_within_the_text_are_commands() -> None:
    inline = re.findall(r"`(?:\.venv/bin/)?python -m zoo ([^`]+)`", README)
    assert len(inline) >= 4
    for words in inline:
        if len(shlex.split(words)) > 1:
            parser().parse_args(shlex.split(words))


# ---- the same everywhere


def quality(card: Card) -> str:
    """The first figure of a card in words."""
    name, value = next(iter(card.measured.items()))
    return f"PSNR {value:.1f} dB" if name == "psnr_db" else f"{'accuracy' if name == 'accuracy' else 'recognised'} {percent(value)}"


def table() -> str:
    """The README's table of models, from the cards."""
    rows = [
        f"| [`{card.id}`](model_cards/{card.id}.md) | {TASKS[card.task]} | {quality(card)} | {card.cost.params / 1e6:.1f} M | "
        f"{card.bytes / 1e6:.1f} MB | {card.licence} |"
        for card in cards().values()
        if card.weights[0].origin == "bundled"
    ]
    return "\n".join(["| model | task | measured | parameters | file | licence |", "|---|---|--:|--:|--:|---|", *rows])


def test_the_table_of_models_is_that_of_the_cards():
    assert table() in README


def test_the_readme_counts_the_included_models(tmp_path: Path):
    included = [card for card in cards().values() if Store(tmp_path).find(card)]
    numbers = ("Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")
    assert f"{numbers[len(included) - 6]} small models are included" in README


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
