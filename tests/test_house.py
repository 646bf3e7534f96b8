"""The house stands as designed: who imports whom, how large the rooms are, what is written at the doors."""

from __future__ import annotations

import ast
import gc
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "zoo").rglob("*.py"))
APP = ROOT / "app.py"
MAY_IMPORT = {
    "catalog": {"errors"},
    "backbones": {"errors"},
    "sampling": {"errors"},
    "media": {"errors"},
    "networks": {"backbones", "catalog", "errors"},
    "engine": {"backbones", "catalog", "errors", "media", "networks", "sampling"},
    "inside": {"backbones", "catalog", "engine", "errors", "media", "networks", "sampling"},
    "compare": {"catalog", "engine", "errors", "media", "networks", "sampling"},
    "training": {"catalog", "compare", "engine", "errors", "media", "networks", "sampling"},
    "ui": {"catalog", "compare", "engine", "errors", "inside", "media", "backbones", "sampling"},
    "__main__": {"catalog", "compare", "engine", "errors", "inside"},
    "app": {"catalog", "ui", "engine", "errors"},
    "__init__": set(),
    "errors": set(),
}
"""The folders of zoo (and its files), and which others each may know: the stages do not know each other, the engine knows their
order, and nobody knows the page or the training."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    """A file as Python reads it. What earlier tests left is not collected meanwhile: a finalizer that runs within confuses the parser's
    count of its own depth (CPython 3.11, "recursion depth mismatch")."""
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()


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
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "zoo":
            found.add(f"zoo.{node.attr}")  # zoo imports on first use: `import zoo; zoo.hub`
    return found


def folders(path: Path) -> set[str]:
    """The folders of zoo that a file imports."""
    return {parts[1] for dotted in imported(path) if (parts := dotted.split("."))[0] == "zoo" and len(parts) > 1} & MAY_IMPORT.keys()


@pytest.mark.parametrize("path", [*FILES, APP], ids=name)
def test_imports_go_one_way(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[path != APP].removesuffix(".py")
    assert folder in MAY_IMPORT, f"{folder} is new: say here which others it may know"
    assert folders(path) - {folder} <= MAY_IMPORT[folder]


def test_only_the_page_knows_gradio() -> None:
    knowing = {path.relative_to(ROOT).parts[:2] for path in [*FILES, APP] if any(d.split(".")[0] == "gradio" for d in imported(path))}
    assert knowing == {("zoo", "ui")}


def test_only_download_may_open_the_network() -> None:
    clients = {"huggingface_hub", "modelscope", "modelscope_hub", "requests", "httpx", "httpx2", "urllib", "urllib3", "socket", "http"}
    assert {name(p) for p in [*FILES, APP] if {d.split(".")[0] for d in imported(p)} & clients} <= {"zoo/catalog/download.py"}


@pytest.mark.parametrize("path", [*FILES, APP], ids=name)
def test_everything_public_says_what_it_is(path: Path) -> None:
    tree = tree_of(path)
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
        "app.py", "zoo", "model_cards", "tests", "requirements.txt", "requirements-dev.txt", "spaces", "README.md", "pyproject.toml",
        "LICENSE", "README.zh-CN.md", "requirements-training.txt",
    }  # fmt: skip
    assert APP.read_text(encoding="utf-8").count("\n") <= 40


def test_zoo_holds_at_most_ten_folders_and_three_files(tracked: list[Path]) -> None:
    places = {path.relative_to(ROOT / "zoo").parts for path in tracked if path.is_relative_to(ROOT / "zoo") and path.exists()}
    assert len({parts[0] for parts in places if len(parts) > 1}) <= 10
    assert {parts[0] for parts in places if len(parts) == 1} == {"__init__.py", "__main__.py", "errors.py"}


def test_nothing_shadows_the_spaces_package_and_there_is_no_utils() -> None:
    assert not (ROOT / "spaces" / "__init__.py").exists()
    assert [name(path) for folder in ("zoo", "tests", "spaces") for path in (ROOT / folder).rglob("utils*")] == []


def test_every_file_is_small_enough_for_a_space_without_lfs(tracked: list[Path]) -> None:
    sizes = {name(path): path.stat().st_size for path in tracked if path.is_file()}
    assert sizes["zoo/catalog/weights/tiny-dit.safetensors"] > 1_000_000
    assert {path: size for path, size in sizes.items() if size >= 10_000_000} == {}
    assert sum(sizes.values()) < 80_000_000


def test_importing_zoo_loads_nothing_heavy() -> None:
    code = "import sys, json, zoo, zoo.errors; print(json.dumps(list(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert {"torch", "gradio", "numpy", "yaml", "PIL", "transformers", "diffusers"} & set(loaded) == set()


def test_what_zoo_promises_is_there() -> None:
    import zoo

    assert callable(zoo.cards)
    for word in ("Hub", "Request", "Progress", "Result", "ZooError", "attention", "backbones", "checkpoint", "compare", "look", "sampling"):
        assert getattr(zoo, word).__doc__
    with pytest.raises(AttributeError, match="nonsense"):
        _ = zoo.nonsense


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_the_code_is_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
