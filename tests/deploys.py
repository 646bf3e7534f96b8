"""What tests of hosting share: a small checkout, hubs on the loopback, and the command."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from loopback_places import LoopbackPlaces, loopback_places
from loopback_spaces import Spaces
from loopback_studios import Studios

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "spaces"))

import deploy  # noqa: E402
from deploying import asking, tree  # noqa: E402

Deploy = Callable[..., tuple[int, str, str]]


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small repository with the real front matter, requirements and flavours, and one file of weights."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "spaces", folder / "spaces", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "requirements.txt", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "app.py").write_text("print('hello')\n")
    (folder / "tiny.safetensors").write_bytes(bytes(range(256)) * 64)
    (folder / "spaces" / "docker" / "Dockerfile").write_text("FROM scratch\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all")
    return folder


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackPlaces]:
    """Both hubs on the loopback, a token of a user who may do all, and no waiting."""
    with loopback_places(tmp_path / "hub", Spaces, Studios) as running:
        for name, value in (("HF_ENDPOINT", running.url), ("MODELSCOPE_ENDPOINT", running.url), ("MODELSCOPE_API_TOKEN", "hf_write")):
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HF_TOKEN", "hf_write")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(asking, "WAITS", (0.0, 0.0, 0.0))
        monkeypatch.setattr(asking, "POLL", 0.0)
        yield running


@pytest.fixture
def run(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Deploy:
    """run(argument, ...): exit status, standard output and error of the command in the small repository."""
    monkeypatch.setattr(deploy, "ROOT", checkout)

    def command(*words: str) -> tuple[int, str, str]:
        status = deploy.main(words)
        said = capsys.readouterr()
        return status, said.out.strip(), said.err.strip()

    return command


def refused(answer: tuple[int, str, str], *words: str) -> None:
    """The command ended with one sentence that holds these words."""
    status, out, err = answer
    last = err.splitlines()[-1]
    assert (status, out) == (1, ""), answer
    assert last.startswith("deploy: ")
    assert last.endswith(".")
    assert [word for word in words if word not in last] == [], last


def head(readme: bytes | str) -> dict:
    return yaml.safe_load((readme.decode() if isinstance(readme, bytes) else readme).split("---\n", 2)[1])


def sent(hosts: LoopbackPlaces, flavour: str, checkout: Path) -> bool:
    """Whether the Space holds exactly the tree of the flavour, and what the hub itself keeps."""
    there = hosts.places["me/zoo"].files
    wanted = {path: tree.content(file) for path, file in tree.build(tree.checkout(checkout), flavour, {}).items()}
    return {path: data for path, data in there.items() if path != ".gitattributes"} == wanted
