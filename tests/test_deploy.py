"""Hosting by one command: a deploy with the hubs' real clients to a Space and a studio on the loopback."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from deploys import Deploy, git, refused, sent
from loopback_places import Fault, LoopbackPlaces, Place

from deploying import tree
from zoo.catalog.settings import OF_A_SPACE

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own use of its HTTP client


def test_a_deploy_makes_a_space_sends_one_commit_waits_and_prints_the_address(run: Deploy, hosts: LoopbackPlaces, checkout: Path) -> None:
    status, out, err = run("zoo", "--private", "--variable", "PATCHWORK_MAX_SECONDS=60")
    assert (status, out) == (0, f"{hosts.url}/spaces/me/zoo"), err
    space = hosts.places["me/zoo"]
    assert space.commits[1:] == [f"Patchwork {git(checkout, 'rev-parse', '--short', 'HEAD').strip()}, flavour cpu"]
    assert (space.private, space.hardware, space.stages) == (True, "cpu-basic", ["RUNNING"])
    assert space.variables == {"PATCHWORK_DEPLOYED": "cpu", "PATCHWORK_MAX_SECONDS": "60"}
    assert sent(hosts, "cpu", checkout)
    assert err.splitlines()[-3:] == ["building", "app starting", "running"]


def test_a_second_deploy_sends_only_what_changed_and_takes_away_what_left(run: Deploy, hosts: LoopbackPlaces, checkout: Path) -> None:
    run("zoo")
    hosts.received = 0
    status, _, err = run("zoo")
    assert (status, len(hosts.places["me/zoo"].commits)) == (0, 2)
    assert "nothing to send" in err
    assert hosts.received < 60_000  # the README, to be checked
    (checkout / "app.py").write_text("print('new')\n")
    git(checkout, "rm", "--quiet", "tiny.safetensors")
    status, _, err = run("zoo")
    assert f"sending 1 of {len(tree.checkout(checkout).tracked)} files, taking 1 away" in err
    assert (status, sent(hosts, "cpu", checkout), len(hosts.places["me/zoo"].commits)) == (0, True, 3)
    assert hosts.asked("PUT", "/blobs/") == 1  # the weights, once


def test_another_flavour_changes_hardware_variables_and_volumes_and_no_others(run: Deploy, hosts: LoopbackPlaces, checkout: Path) -> None:
    run("zoo", "--models", "tiny-dit")
    space = hosts.places["me/zoo"]
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
    run: Deploy, hosts: LoopbackPlaces, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_READ_TOKEN", "hf_of_the_space")
    assert run("zoo", "--secret", "HF_READ_TOKEN")[0] == 0
    space = hosts.places["me/zoo"]
    assert space.secrets == {"HF_READ_TOKEN": "hf_of_the_space"}
    assert not any(b"hf_of_the_space" in data or b"hf_write" in data for data in space.files.values())
    (checkout / "app.py").write_text("token = 'hf_write'\n")
    refused(run("zoo"), "app.py holds the token")
    assert b"hf_write" not in space.files["app.py"]


@pytest.mark.parametrize("stage", ["BUILD_ERROR", "RUNTIME_ERROR"])
def test_what_does_not_build_or_start_is_told_with_the_end_of_its_log(stage: str, run: Deploy, hosts: LoopbackPlaces) -> None:
    hosts.ending, hosts.logs = ["BUILDING", stage], [f"line {number}" for number in range(40)]
    status, out, err = run("zoo")
    assert (status, out) == (1, "")
    lines = err.splitlines()
    kind = "build" if stage == "BUILD_ERROR" else "run"
    assert lines[-12:] == [f"{kind}: line {number}" for number in range(28, 40)]
    assert ("could not be built" if kind == "build" else "does not start") in lines[-13]
    assert "exit code 1" in lines[-13]
    hosts.ending = ["BUILDING", "RUNNING"]
    assert run("zoo")[0] == 0  # nothing new to send: started again
    assert hosts.places["me/zoo"].restarts == 1


# ---- a studio


def studio_files(hosts: LoopbackPlaces) -> dict[str, bytes]:
    bare = hosts.folder / "studios" / "me" / "zoo.git"
    names = git(bare, "ls-tree", "-r", "-z", "--name-only", "master").split("\0")[:-1]
    return {name: subprocess.run(["git", "show", f"master:{name}"], cwd=bare, capture_output=True, check=True).stdout for name in names}


def test_a_studio_is_made_filled_by_one_commit_started_and_kept_up_to_date(
    run: Deploy, hosts: LoopbackPlaces, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.ending = ["Deploying", "Running"]
    monkeypatch.setenv("A_SECRET", "s")
    status, out, err = run("zoo", "--flavour", "studio", "--variable", "A=1", "--secret", "A_SECRET")
    assert (status, out) == (0, f"{hosts.url}/studios/me/zoo"), err
    studio, bare = hosts.places["me/zoo"], hosts.folder / "studios" / "me" / "zoo.git"
    behind = {"PATCHWORK_ALLOWED_HOSTS": "*", "FORWARDED_ALLOW_IPS": OF_A_SPACE}
    assert studio.variables == {"PATCHWORK_DEPLOYED": "studio", **behind, "A": "1"}
    assert studio.secrets == {"A_SECRET": "s"}
    assert studio_files(hosts) == {path: tree.content(file) for path, file in tree.build(tree.checkout(checkout), "studio", {}).items()}
    assert git(bare, "rev-list", "--count", "master").strip() == "2"
    (checkout / "app.py").write_text("print('new')\n")
    git(checkout, "rm", "--quiet", "tiny.safetensors")
    status, _, err = run("zoo", "--flavour", "studio")
    assert (status, "2 files changed" in err) == (0, True), err
    assert ("tiny.safetensors" in studio_files(hosts), studio_files(hosts)["app.py"]) == (False, b"print('new')\n")
    assert (run("zoo", "--flavour", "studio")[0], git(bare, "rev-list", "--count", "master").strip(), studio.restarts) == (0, "3", 2)


def test_a_studio_that_fails_or_may_not_be_made_is_told(run: Deploy, hosts: LoopbackPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.ending, hosts.logs = ["Deploying", "Failed"], ["no such module"]
    status, _, err = run("zoo", "--flavour", "studio")
    assert (status, err.splitlines()[-1]) == (1, "run: no such module")
    hosts.places["me/mine"] = Place(stages=["Running"])
    refused(run("mine", "--flavour", "studio"), "me/mine exists and was not made by this command")
    for value, words in (
        ("", "MODELSCOPE_API_TOKEN is not set"),
        ("hf_none", "The token is not valid"),
        ("hf_read", "may not make studios"),
    ):
        monkeypatch.setenv("MODELSCOPE_API_TOKEN", value)
        refused(run("me/new", "--flavour", "studio"), words)
    assert set(hosts.places) == {"me/zoo", "me/mine"}


@pytest.mark.parametrize("path", ["/openapi/v1/studios$", "/deploy$", "git-upload-pack$", "git-receive-pack$"])
@pytest.mark.parametrize("how", [503, "drop", "lose"])
def test_a_fault_while_a_studio_is_made_is_got_over(
    path: str, how: int | str, run: Deploy, hosts: LoopbackPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelscope_hub._openapi.time.sleep", lambda _: None)
    hosts.ending = ["Deploying", "Running"]
    hosts.faults.append(fault := Fault("POST", path, how))
    status, _, err = run("zoo", "--flavour", "studio")
    assert (status, fault.times) == (0, 0), err
    assert git(hosts.folder / "studios" / "me" / "zoo.git", "rev-list", "--count", "master").strip() == "2"
    assert hosts.places["me/zoo"].restarts == 1 + (path == "/deploy$" and how == "lose")
