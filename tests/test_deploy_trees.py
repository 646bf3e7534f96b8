"""What each flavour sends: front matter, requirements, weights, and which files of a checkout."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from deploys import ROOT, Deploy, head
from loopback_spaces import faults_of_front_matter

from deploying import asking, places, tree
from zoo.catalog.card import cards

FLAVOURS = list(places.FLAVOURS)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_dry_run_writes_a_tree_that_the_hub_takes_without_token_or_network(
    flavour: str, run: Deploy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    status, out, err = run("me/zoo", "--flavour", flavour, "--dry-run", str(tmp_path / "out"))
    assert (status, out) == (0, str(tmp_path / "out")), err
    readme = (tmp_path / "out" / "README.md").read_text()
    assert faults_of_front_matter(readme) == []
    assert readme.split("---\n", 2)[2] == (ROOT / "README.md").read_text().split("---\n", 2)[2]
    assert f"{asking.MARK}={flavour}" in err
    assert ("Dockerfile" in {path.name for path in (tmp_path / "out").iterdir()}) == (flavour == "docker")
    assert ("ms_deploy.json" in {path.name for path in (tmp_path / "out").iterdir()}) == (flavour == "studio")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_program_of_every_tree_starts_where_nothing_but_the_tree_is(flavour: str, tmp_path: Path) -> None:
    found = tree.checkout(ROOT) if (ROOT / ".git").exists() else pytest.skip("this is a copy without its history")
    tree.write(tree.build(found, flavour, {}), tmp_path / "out")
    program = head((tmp_path / "out" / "README.md").read_text()).get("app_file", "app.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATCHWORK_CACHE": str(tmp_path / "cache")}
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, program, "--port", port]
        done = subprocess.run(command, cwd=tmp_path / "out", env=environment, capture_output=True, text=True)
    said = f"app: cannot listen on 127.0.0.1:{port}; choose a free --port (1024 to 65535) or another --host.\n"
    assert (done.returncode, done.stderr) == (1, said), done.stderr


def test_the_compose_file_builds_from_its_folder_and_at_the_root_of_the_tree(checkout: Path) -> None:
    for file, root in (("spaces/docker/compose.yaml", "../.."), ("compose.yaml", ".")):
        built = yaml.safe_load(tree.content(tree.build(tree.checkout(checkout), "docker", {})[file]))["services"]["patchwork"]["build"]
        assert built["context"] == root
        dockerfile = checkout / Path(file).parent / root / built["dockerfile"]
        assert str(dockerfile.resolve().relative_to(checkout)) in tree.build(tree.checkout(checkout), "docker", {})


@pytest.mark.parametrize(
    ("flavour", "pins"),
    {
        "cpu": ("--extra-index-url https://download.pytorch.org/whl/cpu", "torch==2.13.0", "gradio==6.31.0"),
        "gpu": ("torch==2.13.0", "gradio==6.31.0"),
        "zerogpu": ("torch==2.11.0", "gradio==6.31.0"),
        "studio": ("torch==2.11.0", "gradio==6.2.0", "gradio_client==2.0.2"),
    }.items(),
)
def test_a_flavour_has_one_version_of_each_package_and_that_which_the_place_has(flavour: str, pins: tuple, checkout: Path) -> None:
    lines = tree.content(tree.build(tree.checkout(checkout), flavour, {})["requirements.txt"]).decode().splitlines()
    assert set(pins) <= set(lines)
    names = [re.split(r"[=; ]", line)[0] + line.partition(";")[2] for line in lines if line and not line.startswith(("#", "-"))]
    assert len(names) == len(set(names))
    root = {re.split("==", line)[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line}
    assert root <= {re.split("==", line)[0] for line in lines if "==" in line}


def test_the_version_of_gradio_is_the_same_in_front_matter_and_requirements(checkout: Path) -> None:
    for flavour in ("cpu", "zerogpu", "gpu", "studio"):
        built = tree.build(tree.checkout(checkout), flavour, {})
        assert f"gradio=={head(tree.content(built['README.md']))['sdk_version']}\n" in tree.content(built["requirements.txt"]).decode()


def test_the_repository_as_it_stands_is_a_space() -> None:
    readme = (ROOT / "README.md").read_text()
    assert faults_of_front_matter(readme) == []
    words = head(readme)
    assert {"emoji", "header", "models", "tags", "suggested_hardware", "startup_duration_timeout"} <= words.keys()
    assert set(words["models"]) <= {source.repo for card in cards().values() for source in card.weights if source.origin == "huggingface"}


def test_the_rules_of_the_loopback_hub_can_refuse() -> None:
    wrong = {
        "title": "x",
        "emoji": "x",
        "colorFrom": "pink",
        "colorTo": "mauve",
        "sdk": "gradio",
        "suggested_hardware": "zero-a10g",
        "a": 1,
    }
    assert {fault.split()[0] for fault in faults_of_front_matter(f"---\n{yaml.safe_dump(wrong)}---\n")} == {
        "emoji", "colorTo", "suggested_hardware", "a",
    }  # fmt: skip


def test_chosen_models_are_preloaded_in_the_image_or_mounted_read_only(run: Deploy, tmp_path: Path) -> None:
    _, out, err = run("zoo", "--models", "tiny-dit,dit-xl-2-256", "--dry-run", str(tmp_path / "cpu"))
    assert head((Path(out) / "README.md").read_text())["preload_from_hub"] == [
        "facebook/DiT-XL-2-256 transformer/diffusion_pytorch_model.bin",
        "stabilityai/sd-vae-ft-mse diffusion_pytorch_model.safetensors",
    ]
    assert "PATCHWORK_OFFER=tiny-dit,dit-xl-2-256" in err.splitlines()
    _, out, err = run("zoo", "--models", "dit-xl-2-256", "--flavour", "gpu", "--dry-run", str(tmp_path / "gpu"))
    assert "preload_from_hub" not in head((Path(out) / "README.md").read_text())
    assert "facebook/DiT-XL-2-256 mounted at /models/facebook--DiT-XL-2-256" in err.splitlines()


def test_a_studio_names_the_hardware_that_was_chosen(run: Deploy, tmp_path: Path) -> None:
    _, out, _ = run("zoo", "--flavour", "studio", "--hardware", "xgpu/8v-cpu-64g-mem-48g", "--dry-run", str(tmp_path / "out"))
    words = json.loads((Path(out) / "ms_deploy.json").read_text())
    assert (words["resource_configuration"], words["sdk_version"]) == ("xgpu/8v-cpu-64g-mem-48g", "6.2.0")


def test_a_dry_run_holds_what_git_tracks_as_it_is_now_and_says_what_is_left_out(run: Deploy, checkout: Path, tmp_path: Path) -> None:
    (checkout / "notes.txt").write_text("mine")
    (checkout / "app.py").write_text("print('changed')\n")
    (checkout / "tiny.safetensors").unlink()
    _, out, err = run("zoo", "--dry-run", str(tmp_path / "out"))
    assert (Path(out) / "app.py").read_text() == "print('changed')\n"
    assert not (Path(out) / "notes.txt").exists()
    assert "sent as they are now, though not committed: app.py, tiny.safetensors" in err
    assert "left out, as git does not know them: notes.txt" in err


def test_the_script_runs_from_anywhere_and_hides_no_package(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "spaces" / "deploy.py", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, "--dry-run DIR" in done.stdout) == (0, True)
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "__init__.py").write_text("real = True")
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]; import spaces; print(spaces.real)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"


def test_the_folder_of_this_name_is_not_taken_for_the_package_where_that_is_not_installed() -> None:
    """As on a Space of the Docker SDK: gradio would call what the package has."""
    code = f"""
import importlib.machinery as machinery, sys
class Ours:
    find_spec = staticmethod(lambda name, *_: machinery.PathFinder.find_spec(name, [{str(ROOT)!r}]) if name == "spaces" else None)
sys.meta_path.insert(0, Ours)
import zoo.ui, gradio.blocks, gradio.block_function
print(gradio.blocks.spaces, gradio.block_function.spaces)"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "None None\n", done.stderr


def test_logging_in_with_hugging_face_and_a_gpu_in_a_container_need_a_word_more(run: Deploy, tmp_path: Path) -> None:
    _, out, err = run("zoo", "--variable", "PATCHWORK_LOGIN=HuggingFace", "--private", "--dry-run", str(tmp_path / "login"))
    assert head((Path(out) / "README.md").read_text())["hf_oauth"] is True
    assert {"only its owner sees it", "visitors log in with Hugging Face (hf_oauth)"} <= set(err.splitlines())
    assert "TORCH_INDEX" not in err
    _, out, err = run("zoo", "--flavour", "docker", "--hardware", "t4-small", "--dry-run", str(tmp_path / "docker"))
    assert "TORCH_INDEX=https://pypi.org/simple" in err.splitlines()
    assert "hf_oauth" not in head((Path(out) / "README.md").read_text())
