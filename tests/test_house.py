"""The house stands as designed: who imports whom, how large the rooms are, what is written at the doors."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "zoo").rglob("*.py"))
APP = ROOT / "app.py"
MAY_IMPORT = {
    "__init__": set(),
    "errors": set(),
    "card": {"errors"},
    "request": {"card", "errors"},
    "store": {"card", "errors"},
    "download": {"card", "errors", "store"},
    "sources": {"card", "download", "errors", "store"},
    "text": {"errors"},
    "verify": {"card", "checkpoint", "errors", "inception", "residents", "sources", "store"},
    "checkpoint": {"errors", "layouts"},
    "tokens": {"attention", "backbones"},
    "inside": set(),
    "recording": {"attention", "card", "errors", "request", "tokens"},
    "shelf": set(),
    "look": {
        "attention", "card", "errors", "hub", "inside", "latents", "media", "perception", "recording", "request", "sampling", "shelf",
        "store", "tokens", "video",
    },
    "figures": {"media"},
    "stages": {"figures", "recording", "tokens"},
    "explain": {"card", "errors", "figures", "inside", "recording", "stages"},
    "anatomy": {"card", "residents"},
    "blocks": {"anatomy", "card"},
    "column": {"anatomy", "card", "request", "sampling"},
    "inception": {"errors"},
    "judge": {"card", "hub", "inception"},
    "compare": {"card", "column", "errors", "hub", "judge", "request"},
    "report": {"anatomy", "blocks", "column", "compare", "video"},
    "sweep": {"card", "compare", "errors", "hub", "request"},
    "study": {"column", "compare", "errors", "hub", "report", "request", "results", "sweep"},
    "votes": {"errors"},
    "layouts": set(),
    "line": set(),
    "attention": {"backbones", "errors"},
    "backbones": {"errors"},
    "sampling": {"errors"},
    "latents": set(),
    "perception": {"card"},
    "media": {"errors"},
    "video": {"errors", "media"},
    "results": {"card", "errors", "media", "request", "video"},
    "pace": {"request"},
    "ui": {
        "attention", "backbones", "card", "column", "compare", "errors", "explain", "figures", "hub", "look", "media", "recording",
        "report", "request", "results", "sources", "stages", "sweep", "video", "votes",
    },
    "__main__": {"card", "errors", "explain", "hub", "look", "report", "request", "results", "study", "sweep", "verify"},
    "app": {"ui", "hub", "errors"},
    "residents": {"backbones", "card", "checkpoint", "errors", "inception", "latents", "perception", "request", "sources", "store", "text"},
    "hub": {
        "card", "errors", "latents", "line", "media", "pace", "request", "residents", "results", "sampling", "sources", "store", "text",
    },
    "training": {"card", "checkpoint", "download", "errors", "hub", "judge", "latents", "media", "residents", "sampling", "store", "video"},
}  # fmt: skip
"""Modules and packages, and which of zoo's they may know: only hub and training know the stages, nobody knows training."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every file of the repository as git lists it."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is a copy without its history: git clone it to have these tests")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.split("\0") if line]


def imported(path: Path) -> set[str]:
    """Every module that a file imports or reaches through `zoo`, however deep inside a function, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "zoo":
            found.add(f"zoo.{node.attr}")  # zoo imports on first use: `import zoo; zoo.hub`
    return found


def rooms(path: Path) -> set[str]:
    """The modules and packages of zoo that a file imports."""
    return {parts[1] for dotted in imported(path) if (parts := dotted.split("."))[0] == "zoo" and len(parts) > 1} & (
        {file.stem for file in (ROOT / "zoo").glob("*.py")} | {"backbones", "sampling", "training", "ui"}
    )


@pytest.mark.parametrize("path", [*FILES, APP], ids=name)
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[path != APP].removesuffix(".py")
    assert room in MAY_IMPORT, f"{room} is new: say here which others it may know"
    assert rooms(path) - {room} <= MAY_IMPORT[room]


def test_only_the_page_knows_gradio() -> None:
    knowing = {path.parent for path in [*FILES, APP] if any(dotted.split(".")[0] == "gradio" for dotted in imported(path))}
    assert knowing == {ROOT / "zoo" / "ui"}


def test_only_download_may_open_the_network() -> None:
    clients = {"huggingface_hub", "modelscope", "modelscope_hub", "requests", "httpx", "httpx2", "urllib", "urllib3", "socket", "http"}
    assert {name(p) for p in [*FILES, APP] if {d.split(".")[0] for d in imported(p)} & clients} <= {"zoo/download.py"}


@pytest.mark.parametrize("path", [*FILES, APP], ids=name)
def test_no_file_is_long_and_everything_public_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    public = [
        node
        for scope in scopes
        for node in scope.body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and not node.name.startswith("_")
        and node.name != "forward"
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_the_top_level_holds_what_the_design_lists_and_app_is_short(tracked: list[Path]) -> None:
    tops = {path.relative_to(ROOT).parts[0] for path in tracked}
    assert {top for top in tops if not top.startswith(".")} <= {
        "app.py", "zoo", "model_cards", "tests", "requirements.txt", "requirements-dev.txt", "requirements-training.txt", "spaces",
        "README.md", "pyproject.toml", "LICENSE",
    }  # fmt: skip
    assert APP.read_text(encoding="utf-8").count("\n") <= 40


def test_nothing_shadows_the_spaces_package_and_there_is_no_utils() -> None:
    assert not (ROOT / "spaces" / "__init__.py").exists()
    assert [name(path) for folder in ("zoo", "tests", "spaces") for path in (ROOT / folder).rglob("utils*")] == []


def test_every_file_is_small_enough_for_a_space_without_lfs(tracked: list[Path]) -> None:
    sizes = {name(path): path.stat().st_size for path in tracked if path.is_file()}
    assert sizes["zoo/weights/tiny-dit.safetensors"] > 1_000_000
    assert {path: size for path, size in sizes.items() if size >= 10_000_000} == {}
    assert sum(sizes.values()) < 80_000_000


def test_importing_zoo_loads_nothing_heavy() -> None:
    code = "import sys, json, zoo, zoo.errors; print(json.dumps(list(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert {"torch", "gradio", "numpy", "yaml", "PIL", "transformers", "diffusers"} & set(loaded) == set()


def test_what_zoo_promises_is_there() -> None:
    import zoo

    assert callable(zoo.cards)
    for word in ("Hub", "Request", "Progress", "Result", "ZooError", "backbones", "checkpoint", "sampling"):
        assert getattr(zoo, word).__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        _ = zoo.nonsense


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_code_is_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
