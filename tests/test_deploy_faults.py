"""What goes wrong while a hub is deployed: lines, servers, tokens, names, payment, sizes; told in a sentence, and nothing half done."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from deploys import Deploy, git, refused, sent
from loopback_places import Fault, LoopbackPlaces, Place

from deploying import hugging_face, tree

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # huggingface_hub's own use of its HTTP client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "whoami"), ("POST", "validate-yaml"), ("GET", "/spaces/me/zoo$"), ("POST", "/repos/create"), ("GET", "/tree/"),
        ("POST", "/preupload/"), ("POST", "/lfs/objects/batch"), ("PUT", "/blobs/"), ("POST", "/commit/"), ("GET", "/runtime"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", [503, 429, "drop", "lose"])
def test_a_fault_in_the_middle_is_got_over_and_leaves_one_commit(
    method: str, path: str, how: int | str, run: Deploy, hosts: LoopbackPlaces, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
    hosts.faults.append(fault := Fault(method, path, how))
    status, out, err = run("zoo")
    assert (status, fault.times) == (0, 0), err
    assert out == f"{hosts.url}/spaces/me/zoo"
    assert (len(hosts.places["me/zoo"].commits), sent(hosts, "cpu", checkout)) == (2, True)


def test_a_silent_hub_is_asked_again(run: Deploy, hosts: LoopbackPlaces, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugging_face, "SILENCE", 1.0)
    hosts.faults.append(fault := Fault("POST", "/repos/create", "silent"))
    status, _, err = run("zoo")
    assert (status, fault.times, "make Spaces: the connection dropped or nothing answered; once more" in err) == (0, 0, True), err
    assert sent(hosts, "cpu", checkout)


@pytest.mark.parametrize("how", [503, 429])
def test_where_faults_go_on_it_says_so_and_a_second_try_goes_on(how: int, run: Deploy, hosts: LoopbackPlaces, checkout: Path) -> None:
    hosts.faults.append(fault := Fault("POST", "/commit/", how, times=100))
    refused(run("zoo"), f"Could not fill Spaces: the server answered {how}, 4 times", "the same command goes on from here")
    assert len(hosts.places["me/zoo"].commits) == 1
    fault.times = 0
    assert run("zoo")[0] == 0
    assert (sent(hosts, "cpu", checkout), hosts.asked("PUT", "/blobs/"), hosts.asked("POST", "/repos/create")) == (True, 1, 1)


def test_a_commit_of_somebody_else_meanwhile_is_seen(run: Deploy, hosts: LoopbackPlaces, checkout: Path) -> None:
    run("zoo")
    space = hosts.places["me/zoo"]

    def theirs() -> None:
        space.files["stray.txt"] = b"x"
        space.commits.append("theirs")

    (checkout / "app.py").write_text("print('new')\n")
    hosts.faults.append(Fault("POST", "/preupload/", theirs))
    status, _, err = run("zoo")
    assert (status, sent(hosts, "cpu", checkout)) == (0, True), err
    assert space.commits[2] == "theirs"


def test_files_that_are_refused_leave_no_new_space_and_an_old_one_as_it_was(run: Deploy, hosts: LoopbackPlaces, checkout: Path) -> None:
    hosts.faults.append(Fault("POST", "/commit/", 400))
    refused(run("zoo"), "Could not fill Spaces", "not now")
    assert hosts.places == {}
    run("zoo")
    (checkout / "app.py").write_text("print('new')\n")
    hosts.faults.append(Fault("POST", "/commit/", 400))
    refused(run("zoo"), "Could not fill Spaces")
    assert len(hosts.places["me/zoo"].commits) == 2


def test_a_name_that_exists_is_refused_unless_this_command_made_it(run: Deploy, hosts: LoopbackPlaces) -> None:
    hosts.places["me/zoo"] = mine = Place({"app.py": b"mine"}, commits=["mine"], stages=["RUNNING"])
    hosts.places["other/zoo"] = Place({"app.py": b"other"}, commits=["other"], stages=["RUNNING"])
    hosts.places["other/secret"] = Place({}, private=True, commits=["other"], stages=["RUNNING"])
    refused(run("zoo"), "me/zoo exists and was not made by this command", "PATCHWORK_DEPLOYED")
    refused(run("other/zoo"), "The token may not read the variables of other")
    refused(run("other/secret"), "other/secret exists already")
    refused(run("other/new"), "The token may not make Spaces of other")
    assert ({name: place.commits for name, place in hosts.places.items()}, mine.files) == (
        {"me/zoo": ["mine"], "other/zoo": ["other"], "other/secret": ["other"]},
        {"app.py": b"mine"},
    )


def test_a_token_that_is_missing_wrong_or_may_not_write_is_told_before_anything_is_made(
    run: Deploy, hosts: LoopbackPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value, words in (
        ("", "HF_TOKEN is not set"),
        ("hf_none", "The token is not valid"),
        ("hf_read", "can only read"),
        ("a b", "HF_TOKEN holds"),
    ):
        monkeypatch.setenv("HF_TOKEN", value)
        refused(run("zoo"), words)
    hosts.tokens["hf_create"] = ("me", "create")
    monkeypatch.setenv("HF_TOKEN", "hf_create")  # may make Spaces, and not fill them
    answer = run("zoo")
    refused(answer, "The token may not fill Spaces of me")
    assert "me/zoo is there, empty, and could not be deleted" in answer[2]
    assert not [path for method, path in hosts.log if method == "POST" and "/commit/" in path]


def test_hardware_that_costs_is_refused_and_leaves_nothing_behind(run: Deploy, hosts: LoopbackPlaces) -> None:
    hosts.paid.clear()
    refused(run("zoo"), "Hugging Face wants a paid plan for cpu-basic", "--flavour zerogpu")
    assert hosts.places == {}
    assert run("zoo", "--flavour", "zerogpu")[0] == 0
    before = dict(hosts.places["me/zoo"].variables)
    refused(run("zoo", "--flavour", "gpu"), "Hugging Face wants a paid plan for t4-small")
    assert (hosts.places["me/zoo"].hardware, hosts.places["me/zoo"].variables) == ("zero-a10g", before)


def test_what_can_be_known_here_is_refused_before_the_network_is_opened(
    run: Deploy, hosts: LoopbackPlaces, checkout: Path, tmp_path: Path
) -> None:
    refused(run("a b"), "'a b' is no name")
    refused(run("a--b"), "is no name")
    refused(run("zoo", "--models", "dit-9"), "There is no model 'dit-9'")
    refused(run("zoo", "--models", "latte-1"), "Latte-1", "needs about 21 GB", "cpu-basic has 16", "--flavour zerogpu")
    refused(run("zoo", "--models", "u-vit-h-2-imagenet256"), "has no repository on Hugging Face")
    refused(run("zoo", "--flavour", "studio", "--models", "dit-xl-2-256"), "a ModelScope studio brings no weights")
    refused(run("zoo", "--hardware", "t4-small"), "The flavour cpu runs on cpu-basic or cpu-upgrade, not on 't4-small'")
    refused(run("zoo", "--flavour", "gpu", "--models", "latte-1"), "t4-small has 15", "choose --hardware l4x1, or --flavour zerogpu.")
    refused(run("zoo", "--variable", "HF_TOKEN=hf_x"), "Everybody can read the variables", "--secret HF_TOKEN")
    refused(run("zoo", "--variable", "x"), "'x' is no setting")
    refused(run("zoo", "--variable", "PATCHWORK_QUEUE=abc"), "PATCHWORK_QUEUE: must be a whole number", "not 'abc'")
    refused(run("zoo", "--variable", "PATCHWORK_DOWNLOADS=perhaps"), "PATCHWORK_DOWNLOADS", "must be on or off")
    refused(run("zoo", "--variable", "PATCHWORK_OFFER=tiny-dit,nope"), "There is no model 'nope'")
    refused(run("zoo", "--flavour", "studio", "--variable", "PATCHWORK_LOGIN=huggingface"), "works on Hugging Face only")
    refused(run("zoo", "--secret", "MISSING"), "MISSING is not set")
    refused(run("zoo", "--secret", "A=b"), "is no name of a variable")
    refused(run("zoo", "--dry-run", str(checkout)), "is not empty")
    refused(run("zoo", "--dry-run", str(checkout / "app.py" / "x")), "cannot be written")
    (checkout / "large.bin").write_bytes(bytes(10_000_000))
    git(checkout, "add", "large.bin")
    refused(run("zoo"), "large.bin has 10.0 MB")
    assert hosts.log == []


def test_a_tree_over_the_limit_and_a_folder_without_git_are_refused(
    run: Deploy, hosts: LoopbackPlaces, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "TOTAL", 1000)
    refused(run("zoo"), "a Space takes 0")
    shutil.rmtree(checkout / ".git")
    refused(run("zoo"), "is no checkout of git")
    monkeypatch.setenv("PATH", "")
    refused(run("zoo"), "git is not installed")
    assert hosts.log == []


def test_front_matter_that_the_hub_refuses_makes_no_space(run: Deploy, hosts: LoopbackPlaces, checkout: Path) -> None:
    (checkout / "spaces" / "cpu" / "front-matter.yaml").write_text("colorTo: mauve\n")
    refused(run("zoo"), "refuses the front matter", "colorTo is not valid")
    assert hosts.places == {}
