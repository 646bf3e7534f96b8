"""The tree that goes to a place: what git tracks, the files of the flavour over it, its requirements and its front matter."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deploying.places import DeployError

LARGEST, TOTAL = 10_000_000, 1_000_000_000
"""Bytes of the largest file that a Space takes without LFS, and of a whole repository of a Space."""
FRONT_MATTER, REQUIREMENTS, README = "front-matter.yaml", "requirements.txt", "README.md"
SHORT, SECRET = 60, 8
"""Letters that the hub takes as a short_description, and from which on a secret is looked for in the files."""


@dataclass
class Checkout:
    """What git knows of a folder: the tracked files, and what is left out."""

    root: Path
    tracked: list[str]
    changed: list[str] = field(default_factory=list)
    """Tracked files that differ from the last commit; they go as they are on disk."""
    untracked: list[str] = field(default_factory=list)
    """Files that git does not know; they do not go."""
    commit: str = ""


def checkout(root: Path) -> Checkout:
    """What git tracks in a folder. Raises DeployError where there is no git, or nothing that it tracks."""
    tracked = _git(root, "ls-files", "-z", "--cached")
    state = [line for line in _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal") if line]
    commit = _git(root, "rev-parse", "--short", "HEAD", fails="")
    found = Checkout(
        root,
        [path for path in tracked if path and (root / path).is_file()],
        [line[3:] for line in state if not line.startswith("??")],
        [line[3:] for line in state if line.startswith("??")],
        commit[0].strip() if commit else "",
    )
    if not {"app.py", README, REQUIREMENTS} <= set(found.tracked):
        raise DeployError(f"{root} is no checkout of Patchwork: git tracks no app.py, README.md and requirements.txt there.")
    return found


def _git(root: Path, *words: str, fails: str | None = None) -> list[str]:
    """What git prints, cut at zeros; fails: what counts as printed where it fails, else DeployError."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, encoding="utf-8", check=True)
    except FileNotFoundError:
        raise DeployError("git is not installed, and it says which files belong to the hub: install it first.") from None
    except subprocess.CalledProcessError as error:
        if fails is not None:
            return [fails]
        raise DeployError(f"{root} is no checkout of git ({' '.join(error.stderr.split())[:120]}): git clone the repository.") from None
    return done.stdout.split("\0")


def build(found: Checkout, flavour: str, words: Mapping[str, Any]) -> dict[str, Path | bytes]:
    """Path in the tree -> its file or content; words: more front matter, such as preload_from_hub.

    Raises DeployError for what a hub would refuse.
    """
    overlay = {path: found.root / path for path in found.tracked if path.startswith(f"spaces/{flavour}/")}
    over = {path.removeprefix(f"spaces/{flavour}/"): file for path, file in overlay.items()}
    if FRONT_MATTER not in over:
        raise DeployError(f"spaces/{flavour}/{FRONT_MATTER} is missing, or git does not know it: `git add` it.")
    head = (yaml.safe_load(over.pop(FRONT_MATTER).read_text(encoding="utf-8")) or {}) | dict(words)
    own = over.pop(REQUIREMENTS, None)
    laid = {name: _moved(file.read_bytes(), flavour) for name, file in over.items()}
    tree: dict[str, Path | bytes] = {path: found.root / path for path in found.tracked} | laid
    tree[README] = readme((found.root / README).read_text(encoding="utf-8"), head).encode()
    if own:
        texts = [path.read_text(encoding="utf-8") for path in (found.root / REQUIREMENTS, own)]
        tree[REQUIREMENTS] = requirements(*texts).encode()
    if head.get("sdk") == "docker" and "Dockerfile" not in tree:
        raise DeployError(f"spaces/{flavour} has no Dockerfile that git knows.")
    check(tree)
    return dict(sorted(tree.items()))


def _moved(content: bytes, flavour: str) -> bytes:
    """A file of a flavour as it stands at the root: the paths in it, such as those of the Compose file, lead from there."""
    return content.replace(f"spaces/{flavour}/".encode(), b"").replace(b"context: ../..", b"context: .")


def readme(text: str, over: Mapping[str, Any]) -> str:
    """A README whose front matter has these words over its own; None takes one away."""
    _, head, body = text.split("---\n", 2)
    words = {key: value for key, value in (yaml.safe_load(head) | dict(over)).items() if value is not None}
    if len(words.get("short_description", "")) > SHORT:
        raise DeployError(f"short_description has more than the {SHORT} letters that the hub takes: shorten it in README.md.")
    return f"---\n{yaml.safe_dump(words, sort_keys=False, allow_unicode=True, width=140)}---\n{body}"


def requirements(text: str, over: str) -> str:
    """Requirements in which the lines of another file stand first, in the place of all lines of the same packages."""
    own = [line for line in over.splitlines() if line.strip() and not line.startswith("#")]
    names = {_package(line) for line in own}
    kept = [line for line in text.splitlines() if line.startswith("#") or not line.strip() or _package(line) not in names]
    return "\n".join([*own, *kept]) + "\n"


def _package(line: str) -> str:
    """The name of the package that a line of requirements is about."""
    return re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0].lower().replace("_", "-")


def check(tree: Mapping[str, Path | bytes]) -> None:
    """Raise DeployError for files that no hub takes."""
    sizes = {path: len(file) if isinstance(file, bytes) else file.stat().st_size for path, file in tree.items()}
    large = max(sizes, key=sizes.__getitem__)
    if sizes[large] >= LARGEST:
        raise DeployError(f"{large} has {sizes[large] / 1e6:.1f} MB and a file may have {LARGEST / 1e6:.0f}: take it out of git.")
    if (total := sum(sizes.values())) > TOTAL:
        raise DeployError(f"The files have {total / 1e6:,.0f} MB together and a Space takes {TOTAL / 1e6:,.0f}: take some out of git.")


def check_token(tree: Mapping[str, Path | bytes], tokens: list[str]) -> None:
    """Raise DeployError for a file that holds a token or a secret."""
    for path in tree:
        if any(token.encode() in content(tree[path]) for token in tokens if len(token) >= SECRET):
            raise DeployError(f"{path} holds the token or a secret, which everybody would read there: take it out of the file.")


def content(file: Path | bytes) -> bytes:
    """The bytes of a file of the tree."""
    return file if isinstance(file, bytes) else file.read_bytes()


def write(tree: Mapping[str, Path | bytes], folder: Path) -> None:
    """Write a tree into a new or empty folder. Raises DeployError for another, and where it cannot be written."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DeployError(f"{folder} is not empty: name a folder that is new, so that it holds exactly what would be sent.")
        for path, file in tree.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(file, bytes):
                target.write_bytes(file)
            else:
                shutil.copy(file, target)
    except OSError as error:
        raise DeployError(f"{folder} cannot be written ({error.strerror or error}): name another folder.") from None
