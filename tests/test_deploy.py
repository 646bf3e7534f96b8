"""Hosting by one command: the tree of each flavour, and a deploy with the hubs' real clients against hubs on the loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from loopback_places import Fault, LoopbackPlaces, Place, loopback_places
from loopback_spaces import Spaces, faults_of_front_matter
from loopback_studios import Studios

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "spaces"))

import deploy  # noqa: E402
from deploying import asking, hugging_face, places, tree  # noqa: E402
from zoo.catalog.card import cards  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own use of its HTTP client
FLAVOURS = list(places.FLAVOURS)
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
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackPlaces]:
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


# ---- the trees


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_dry_run_writes_a_tree_that_the_hub_takes_without_token_or_network(
    flavour: str, run: Deploy, tmp_path: Path, monkeypatch
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
    _, out, err = run("zoo", "--variable", "PATCHWORK_LOGIN=huggingface", "--dry-run", str(tmp_path / "login"))
    assert head((Path(out) / "README.md").read_text())["hf_oauth"] is True
    assert "TORCH_INDEX" not in err
    _, out, err = run("zoo", "--flavour", "docker", "--hardware", "t4-small", "--dry-run", str(tmp_path / "docker"))
    assert "TORCH_INDEX=https://pypi.org/simple" in err.splitlines()
    assert "hf_oauth" not in head((Path(out) / "README.md").read_text())


# ---- a Space


def sent(hub: LoopbackPlaces, flavour: str, checkout: Path) -> bool:
    """Whether the Space holds exactly the tree of the flavour, and what the hub itself keeps."""
    there = hub.places["me/zoo"].files
    wanted = {path: tree.content(file) for path, file in tree.build(tree.checkout(checkout), flavour, {}).items()}
    return {path: data for path, data in there.items() if path != ".gitattributes"} == wanted


def test_a_deploy_makes_a_space_sends_one_commit_waits_and_prints_the_address(run: Deploy, hub: LoopbackPlaces, checkout: Path) -> None:
    status, out, err = run("zoo", "--private", "--variable", "PATCHWORK_MAX_SECONDS=60")
    assert (status, out) == (0, f"{hub.url}/spaces/me/zoo"), err
    space = hub.places["me/zoo"]
    assert space.commits[1:] == [f"Patchwork {git(checkout, 'rev-parse', '--short', 'HEAD').strip()}, flavour cpu"]
    assert (space.private, space.hardware, space.stages) == (True, "cpu-basic", ["RUNNING"])
    assert space.variables == {"PATCHWORK_DEPLOYED": "cpu", "PATCHWORK_MAX_SECONDS": "60"}
    assert sent(hub, "cpu", checkout)
    assert err.splitlines()[-3:] == ["building", "app starting", "running"]


def test_a_second_deploy_sends_only_what_changed_and_takes_away_what_left(run: Deploy, hub: LoopbackPlaces, checkout: Path) -> None:
    run("zoo")
    hub.received = 0
    status, _, err = run("zoo")
    assert (status, len(hub.places["me/zoo"].commits)) == (0, 2)
    assert "nothing to send" in err
    assert hub.received < 60_000  # the README, to be checked
    (checkout / "app.py").write_text("print('new')\n")
    git(checkout, "rm", "--quiet", "tiny.safetensors")
    status, _, err = run("zoo")
    assert f"sending 1 of {len(tree.checkout(checkout).tracked)} files, taking 1 away" in err
    assert (status, sent(hub, "cpu", checkout), len(hub.places["me/zoo"].commits)) == (0, True, 3)
    assert hub.asked("PUT", "/blobs/") == 1  # the weights, once


def test_another_flavour_changes_hardware_variables_and_volumes_and_no_others(run: Deploy, hub: LoopbackPlaces, checkout: Path) -> None:
    run("zoo", "--models", "tiny-dit")
    space = hub.places["me/zoo"]
    space.variables["MINE"], bucket = "1", {"type": "bucket", "source": "me/results", "mountPath": "/data"}
    space.volumes.append(bucket)
    status, _, err = run("zoo", "--flavour", "gpu", "--models", "dit-xl-2-256")
    assert status == 0, err
    assert space.hardware == "t4-small"
    paths = "/models/facebook--DiT-XL-2-256:/models/stabilityai--sd-vae-ft-mse"
    assert space.variables == {"PATCHWORK_DEPLOYED": "gpu", "MINE": "1", "PATCHWORK_OFFER": "dit-xl-2-256", "PATCHWORK_MODELS": paths}
    assert space.volumes[0] == bucket
    assert {(volume["source"], volume["mountPath"], volume["readOnly"]) for volume in space.volumes[1:]} == {
        (path.removeprefix("/models/").replace("--", "/"), path, True) for path in paths.split(":")
    }
    assert run("zoo", "--flavour", "cpu")[0] == 0
    assert (space.variables, space.volumes) == ({"PATCHWORK_DEPLOYED": "cpu", "MINE": "1"}, [bucket])


def test_secrets_come_from_the_environment_and_stand_in_no_file(
    run: Deploy, hub: LoopbackPlaces, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_READ_TOKEN", "hf_of_the_space")
    assert run("zoo", "--secret", "HF_READ_TOKEN")[0] == 0
    space = hub.places["me/zoo"]
    assert space.secrets == {"HF_READ_TOKEN": "hf_of_the_space"}
    assert not any(b"hf_of_the_space" in data or b"hf_write" in data for data in space.files.values())
    (checkout / "app.py").write_text("token = 'hf_write'\n")
    refused(run("zoo"), "app.py holds the token")
    assert b"hf_write" not in space.files["app.py"]


@pytest.mark.parametrize("stage", ["BUILD_ERROR", "RUNTIME_ERROR"])
def test_what_does_not_build_or_start_is_told_with_the_end_of_its_log(stage: str, run: Deploy, hub: LoopbackPlaces) -> None:
    hub.ending, hub.logs = ["BUILDING", stage], [f"line {number}" for number in range(40)]
    status, out, err = run("zoo")
    assert (status, out) == (1, "")
    lines = err.splitlines()
    kind = "build" if stage == "BUILD_ERROR" else "run"
    assert lines[-12:] == [f"{kind}: line {number}" for number in range(28, 40)]
    assert ("could not be built" if kind == "build" else "does not start") in lines[-13]
    assert "exit code 1" in lines[-13]
    hub.ending = ["BUILDING", "RUNNING"]
    assert run("zoo")[0] == 0  # nothing new to send: started again
    assert hub.places["me/zoo"].restarts == 1


# ---- what goes wrong


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "whoami"), ("POST", "validate-yaml"), ("GET", "/spaces/me/zoo$"), ("POST", "/repos/create"), ("GET", "/tree/"),
        ("POST", "/preupload/"), ("POST", "/lfs/objects/batch"), ("PUT", "/blobs/"), ("POST", "/commit/"), ("GET", "/runtime"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", [503, 429, "drop", "lose"])
def test_a_fault_in_the_middle_is_got_over_and_leaves_one_commit(
    method: str, path: str, how, run: Deploy, hub: LoopbackPlaces, checkout: Path, monkeypatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hub.faults.append(fault := Fault(method, path, how))
    status, out, err = run("zoo")
    assert (status, fault.times) == (0, 0), err
    assert out == f"{hub.url}/spaces/me/zoo"
    assert (len(hub.places["me/zoo"].commits), sent(hub, "cpu", checkout)) == (2, True)


def test_a_hub_that_does_not_answer_is_asked_again(
    run: Deploy, hub: LoopbackPlaces, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face, "SILENCE", 1.0)
    hub.faults.append(fault := Fault("POST", "/repos/create", "silent"))
    status, _, err = run("zoo")
    assert (status, fault.times, "make Spaces: the connection dropped or nothing answered; once more" in err) == (0, 0, True), err
    assert sent(hub, "cpu", checkout)


def test_where_faults_go_on_it_says_so_and_a_second_try_goes_on_from_there(run: Deploy, hub: LoopbackPlaces, checkout: Path) -> None:
    hub.faults.append(fault := Fault("POST", "/commit/", 503, times=100))
    refused(run("zoo"), "Could not fill Spaces: the server answered 503, 4 times", "the same command goes on from here")
    assert len(hub.places["me/zoo"].commits) == 1
    fault.times = 0
    assert run("zoo")[0] == 0
    assert (sent(hub, "cpu", checkout), hub.asked("PUT", "/blobs/"), hub.asked("POST", "/repos/create")) == (True, 1, 1)


def test_a_commit_of_somebody_else_meanwhile_is_seen(run: Deploy, hub: LoopbackPlaces, checkout: Path) -> None:
    run("zoo")
    space = hub.places["me/zoo"]

    def theirs() -> None:
        space.files["stray.txt"] = b"x"
        space.commits.append("theirs")

    (checkout / "app.py").write_text("print('new')\n")
    hub.faults.append(Fault("POST", "/preupload/", theirs))
    status, _, err = run("zoo")
    assert (status, sent(hub, "cpu", checkout)) == (0, True), err
    assert space.commits[2] == "theirs"


def test_files_that_are_refused_leave_no_new_space_and_an_old_one_as_it_was(run: Deploy, hub: LoopbackPlaces, checkout: Path) -> None:
    hub.faults.append(Fault("POST", "/commit/", 400))
    refused(run("zoo"), "Could not fill Spaces", "not now")
    assert hub.places == {}
    run("zoo")
    (checkout / "app.py").write_text("print('new')\n")
    hub.faults.append(Fault("POST", "/commit/", 400))
    refused(run("zoo"), "Could not fill Spaces")
    assert len(hub.places["me/zoo"].commits) == 2


def test_a_name_that_exists_is_refused_unless_this_command_made_it(run: Deploy, hub: LoopbackPlaces) -> None:
    hub.places["me/zoo"] = mine = Place({"app.py": b"mine"}, commits=["mine"], stages=["RUNNING"])
    hub.places["other/zoo"] = Place({"app.py": b"other"}, commits=["other"], stages=["RUNNING"])
    hub.places["other/secret"] = Place({}, private=True, commits=["other"], stages=["RUNNING"])
    refused(run("zoo"), "me/zoo exists and was not made by this command", "PATCHWORK_DEPLOYED")
    refused(run("other/zoo"), "The token may not read the variables of other")
    refused(run("other/secret"), "other/secret exists already")
    refused(run("other/new"), "The token may not make Spaces of other")
    assert ({name: place.commits for name, place in hub.places.items()}, mine.files) == (
        {"me/zoo": ["mine"], "other/zoo": ["other"], "other/secret": ["other"]},
        {"app.py": b"mine"},
    )


def test_a_token_that_is_missing_wrong_or_may_not_write_is_told_before_anything_is_made(
    run: Deploy, hub: LoopbackPlaces, monkeypatch
) -> None:
    for value, words in (
        ("", "HF_TOKEN is not set"),
        ("hf_none", "The token is not valid"),
        ("hf_read", "can only read"),
        ("a b", "HF_TOKEN holds"),
    ):
        monkeypatch.setenv("HF_TOKEN", value)
        refused(run("zoo"), words)
    hub.tokens["hf_create"] = ("me", "create")
    monkeypatch.setenv("HF_TOKEN", "hf_create")  # may make Spaces, and not fill them
    answer = run("zoo")
    refused(answer, "The token may not fill Spaces of me")
    assert "me/zoo is there, empty, and could not be deleted" in answer[2]
    assert not [path for method, path in hub.log if method == "POST" and "/commit/" in path]


def test_hardware_that_costs_is_refused_and_leaves_nothing_behind(run: Deploy, hub: LoopbackPlaces) -> None:
    hub.paid.clear()
    refused(run("zoo"), "Hugging Face wants a paid plan for cpu-basic", "--flavour zerogpu")
    assert hub.places == {}
    assert run("zoo", "--flavour", "zerogpu")[0] == 0
    before = dict(hub.places["me/zoo"].variables)
    refused(run("zoo", "--flavour", "gpu"), "Hugging Face wants a paid plan for t4-small")
    assert (hub.places["me/zoo"].hardware, hub.places["me/zoo"].variables) == ("zero-a10g", before)


def test_what_can_be_known_here_is_refused_before_the_network_is_opened(
    run: Deploy, hub: LoopbackPlaces, checkout: Path, tmp_path: Path
) -> None:
    refused(run("a b"), "'a b' is no name")
    refused(run("a--b"), "is no name")
    refused(run("zoo", "--models", "dit-9"), "There is no model 'dit-9'")
    refused(run("zoo", "--models", "latte-1"), "Latte-1", "needs about 21 GB", "cpu-basic has 16", "--flavour zerogpu")
    refused(run("zoo", "--models", "u-vit-h-2-imagenet256"), "has no repository on Hugging Face")
    refused(run("zoo", "--flavour", "studio", "--models", "dit-xl-2-256"), "a ModelScope studio brings no weights")
    refused(run("zoo", "--hardware", "tpu"), "There is no hardware 'tpu'")
    refused(run("zoo", "--variable", "HF_TOKEN=hf_x"), "Everybody can read the variables", "--secret HF_TOKEN")
    refused(run("zoo", "--variable", "x"), "'x' is no setting")
    refused(run("zoo", "--secret", "MISSING"), "MISSING is not set")
    refused(run("zoo", "--secret", "A=b"), "is no name of a variable")
    refused(run("zoo", "--dry-run", str(checkout)), "is not empty")
    refused(run("zoo", "--dry-run", str(checkout / "app.py" / "x")), "cannot be written")
    (checkout / "large.bin").write_bytes(bytes(10_000_000))
    git(checkout, "add", "large.bin")
    refused(run("zoo"), "large.bin has 10.0 MB")
    assert hub.log == []


def test_a_tree_over_the_limit_and_a_folder_without_git_are_refused(
    run: Deploy, hub: LoopbackPlaces, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "TOTAL", 1000)
    refused(run("zoo"), "a Space takes 0")
    shutil.rmtree(checkout / ".git")
    refused(run("zoo"), "is no checkout of git")
    monkeypatch.setenv("PATH", "")
    refused(run("zoo"), "git is not installed")
    assert hub.log == []


def test_front_matter_that_the_hub_refuses_makes_no_space(run: Deploy, hub: LoopbackPlaces, checkout: Path) -> None:
    (checkout / "spaces" / "cpu" / "front-matter.yaml").write_text("colorTo: mauve\n")
    refused(run("zoo"), "refuses the front matter", "colorTo is not valid")
    assert hub.places == {}


# ---- a studio


def studio_files(hub: LoopbackPlaces) -> dict[str, bytes]:
    bare = hub.folder / "studios" / "me" / "zoo.git"
    names = git(bare, "ls-tree", "-r", "-z", "--name-only", "master").split("\0")[:-1]
    return {name: subprocess.run(["git", "show", f"master:{name}"], cwd=bare, capture_output=True, check=True).stdout for name in names}


def test_a_studio_is_made_filled_by_one_commit_started_and_kept_up_to_date(
    run: Deploy, hub: LoopbackPlaces, checkout: Path, monkeypatch
) -> None:
    hub.ending = ["Deploying", "Running"]
    monkeypatch.setenv("A_SECRET", "s")
    status, out, err = run("zoo", "--flavour", "studio", "--variable", "A=1", "--secret", "A_SECRET")
    assert (status, out) == (0, f"{hub.url}/studios/me/zoo"), err
    studio, bare = hub.places["me/zoo"], hub.folder / "studios" / "me" / "zoo.git"
    assert (studio.variables, studio.secrets) == ({"PATCHWORK_DEPLOYED": "studio", "A": "1"}, {"A_SECRET": "s"})
    assert studio_files(hub) == {path: tree.content(file) for path, file in tree.build(tree.checkout(checkout), "studio", {}).items()}
    assert git(bare, "rev-list", "--count", "master").strip() == "2"
    (checkout / "app.py").write_text("print('new')\n")
    git(checkout, "rm", "--quiet", "tiny.safetensors")
    status, _, err = run("zoo", "--flavour", "studio")
    assert (status, "2 files changed" in err) == (0, True), err
    assert ("tiny.safetensors" in studio_files(hub), studio_files(hub)["app.py"]) == (False, b"print('new')\n")
    assert (run("zoo", "--flavour", "studio")[0], git(bare, "rev-list", "--count", "master").strip(), studio.restarts) == (0, "3", 2)


def test_a_studio_that_fails_or_may_not_be_made_is_told(run: Deploy, hub: LoopbackPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.ending, hub.logs = ["Deploying", "Failed"], ["no such module"]
    status, _, err = run("zoo", "--flavour", "studio")
    assert (status, err.splitlines()[-1]) == (1, "run: no such module")
    hub.places["me/mine"] = Place(stages=["Running"])
    refused(run("mine", "--flavour", "studio"), "me/mine exists and was not made by this command")
    for value, words in (
        ("", "MODELSCOPE_API_TOKEN is not set"),
        ("hf_none", "The token is not valid"),
        ("hf_read", "may not make studios"),
    ):
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", value)
        refused(run("me/new", "--flavour", "studio"), words)
    assert set(hub.places) == {"me/zoo", "me/mine"}


@pytest.mark.parametrize("path", ["/openapi/v1/studios$", "/deploy$", "git-upload-pack$", "git-receive-pack$"])
@pytest.mark.parametrize("how", [503, "drop", "lose"])
def test_a_fault_while_a_studio_is_made_is_got_over(
    path: str, how, run: Deploy, hub: LoopbackPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelscope_hub._openapi.time.sleep", lambda _: None)
    hub.ending = ["Deploying", "Running"]
    hub.faults.append(fault := Fault("POST", path, how))
    status, _, err = run("zoo", "--flavour", "studio")
    assert (status, fault.times) == (0, 0), err
    assert git(hub.folder / "studios" / "me" / "zoo.git", "rev-list", "--count", "master").strip() == "2"
    assert hub.places["me/zoo"].restarts == 1 + (path == "/deploy$" and how == "lose")
