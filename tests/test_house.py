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
TRACKED = [ROOT / line for line in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()]
MAY_IMPORT = {
    "errors": set(),
    "card": {"errors"},
    "request": {"card", "errors"},
    "download": {"card", "errors"},
    "checkpoint": {"errors", "layouts"},
    "layouts": set(),
    "backbones": {"errors"},
    "sampling": {"errors"},
    "latents": set(),
    "perception": set(),
    "media": {"errors"},
    "results": {"media", "errors"},
    "pace": {"request"},
    "ui": {"hub", "media", "card", "request", "errors"},
    "__main__": {"hub", "card", "request", "errors"},
}
"""Modules and packages of zoo, and which others they may know. Only hub and training may know all the stages."""


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> set[str]:
    """Every module that a file imports, however deep inside a function, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    """The modules and packages of zoo that a file imports."""
    return {parts[1] for dotted in imported(path) if (parts := dotted.split("."))[0] == "zoo" and len(parts) > 1} & (
        {file.stem for file in (ROOT / "zoo").glob("*.py")} | {"backbones", "sampling", "training", "ui"}
    )


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT / "zoo").parts[0].removesuffix(".py")
    if room in MAY_IMPORT:
        assert rooms(path) - {room} <= MAY_IMPORT[room]


def test_only_the_page_knows_gradio() -> None:
    assert {name(path) for path in [*FILES, ROOT / "app.py"] if any(d.split(".")[0] == "gradio" for d in imported(path))} == {
        name(path) for path in (ROOT / "zoo" / "ui").glob("*.py") if path.name != "controls.py"
    }


def test_only_download_may_open_the_network() -> None:
    clients = {"huggingface_hub", "modelscope", "modelscope_hub", "requests", "httpx", "urllib", "socket", "http"}
    assert {name(p) for p in [*FILES, ROOT / "app.py"] if {d.split(".")[0] for d in imported(p)} & clients} <= {"zoo/download.py"}


@pytest.mark.parametrize("path", FILES, ids=name)
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
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_") and node.name != "forward"
    ]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_the_top_level_holds_what_the_design_lists_and_app_is_short() -> None:
    tops = {path.relative_to(ROOT).parts[0] for path in TRACKED}
    assert {top for top in tops if not top.startswith(".")} <= {
        "app.py", "zoo", "model_cards", "tests", "requirements.txt", "requirements-dev.txt", "spaces", "README.md", "pyproject.toml",
        "LICENSE",
    }  # fmt: skip
    assert (ROOT / "app.py").read_text(encoding="utf-8").count("\n") <= 40


def test_nothing_shadows_the_spaces_package_and_there_is_no_utils() -> None:
    assert not (ROOT / "spaces" / "__init__.py").exists()
    assert [path for path in TRACKED if path.stem == "utils"] == []


def test_every_file_is_small_enough_for_a_space_without_lfs() -> None:
    sizes = {name(path): path.stat().st_size for path in TRACKED if path.is_file()}
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
