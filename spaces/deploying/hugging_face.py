"""A Space on Hugging Face: made, set up and filled in one commit, then watched until it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from deploying.asking import MARK, OURS, PASSING, SILENCE, Plan, patiently, say, secret, status, until, words_of
from deploying.places import FREE_OF_CHARGE, DeployError
from deploying.tree import README, check_token, content
from zoo.catalog import environment
from zoo.errors import ZooError

KEPT = (".gitattributes",)
"""Files that the hub itself makes."""
ENDED = {"BUILD_ERROR", "RUNTIME_ERROR", "CONFIG_ERROR", "NO_APP_FILE", "STOPPED", "PAUSED", "SLEEPING", "DELETING"}
"""Stages after which nothing happens by itself."""
LINES, STALE = 12, 1
"""How much of a log is shown, and how many looks do not count: the stage of what ran before may still be told."""
T = TypeVar("T")


def token() -> str:
    """The user's token: HF_TOKEN, else that of `hf auth login`, else what he types."""
    from huggingface_hub import get_token

    hint = ", or run `hf auth login`; https://huggingface.co/settings/tokens makes one with the role write"
    return environment.token("HF_TOKEN") or get_token() or secret("HF_TOKEN", hint)


def deploy(plan: Plan) -> str:
    """Bring a plan to its Space; the address. Raises DeployError."""
    from huggingface_hub import HfApi, get_session

    held = token()
    check_token(plan.tree, [held, *plan.secrets.values()])
    get_session().timeout = SILENCE  # the client itself would wait for ever
    api = HfApi(endpoint=environment.endpoint("HF_ENDPOINT"), token=held, library_name="patchwork")
    return _Space(api, plan).deploy()


class _Space:
    """One Space, asked through the hub's client."""

    def __init__(self, api: Any, plan: Plan) -> None:
        self.api, self.plan, self.repo = api, plan, plan.name
        user = self._ask("ask who you are", api.whoami)
        if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
            raise DeployError("The token can only read: make one with the role write at https://huggingface.co/settings/tokens.")
        self.repo = plan.name if "/" in plan.name else f"{user['name']}/{plan.name}"

    def deploy(self) -> str:
        """Make it or set it up, fill it, wait; its address."""
        self._validate()
        if new := not self._is_ours():
            self._ask("make Spaces", self._create)
        else:
            self._ask("change the hardware", self._hardware)
        try:
            commit, changed = self._ask("fill Spaces", self._fill)
        except DeployError as error:
            if new and 400 <= status(error) < 500 and status(error) not in PASSING:
                self._unmake()
            raise
        self._run(commit, changed)
        return f"{self.api.endpoint}/spaces/{self.repo}"

    def _ask(self, what: str, ask: Callable[[], T]) -> T:
        """An answer of the hub, or a DeployError that says what to do."""
        try:
            return patiently(what, ask)
        except ZooError:
            raise
        except Exception as error:
            raise DeployError(self._refusal(what, error)) from error

    def _refusal(self, what: str, error: Exception) -> str:
        """One sentence for what the hub refused."""
        text, owner = words_of(error), self.repo.partition("/")[0]
        match status(error):
            case 401:
                return "The token is not valid: make another at https://huggingface.co/settings/tokens and set HF_TOKEN."
            case 402:
                free = f"; --flavour {FREE_OF_CHARGE} is free of charge for two Spaces" if self.plan.hardware == "cpu-basic" else ""
                return f"Hugging Face wants a paid plan for {self.plan.hardware} ({text}): see https://huggingface.co/pricing{free}."
            case 403:
                return f"The token may not {what} of {owner} ({text}): use one with the role write, and hardware that the account may have."
            case 409:
                return f"{self.repo} exists already and is not yours to change: choose another name."
        return f"Could not {what} ({text}): mend that, and the same command goes on from here."

    def _validate(self) -> None:
        """Let the hub check the front matter before anything is made."""
        from huggingface_hub.utils import get_session, hf_raise_for_status

        asked = {"repoType": "space", "content": content(self.plan.tree[README]).decode()}

        def faults() -> list[str]:
            answer = get_session().post(f"{self.api.endpoint}/api/validate-yaml", json=asked)
            if answer.status_code != 400:
                hf_raise_for_status(answer)
            return [str(fault.get("message")) for fault in answer.json().get("errors", [])]

        if found := self._ask("check the front matter", faults):
            raise DeployError(f"The hub refuses the front matter of README.md ({'; '.join(found)}): correct it.")

    def _is_ours(self) -> bool:
        """Whether the Space is there and was made by this command. Raises DeployError for one that was not."""
        from huggingface_hub.errors import RepositoryNotFoundError

        def variables() -> Any:
            try:
                self.api.space_info(self.repo)
            except RepositoryNotFoundError:
                return None
            return self.api.get_space_variables(self.repo)

        found = self._ask("read the variables", variables)
        if found is not None and MARK not in found:
            raise DeployError(
                f"{self.repo} exists and was not made by this command: choose another name, or set the variable {MARK} in its settings, "
                "after which it is overwritten."
            )
        return found is not None

    def _create(self) -> None:
        """The Space with everything but its files, in one request, so that what the hub refuses leaves nothing."""
        plan = self.plan
        try:
            self.api.create_repo(
                self.repo,
                repo_type="space",
                private=plan.private or None,
                space_sdk=plan.place.sdk,
                space_hardware=plan.hardware,
                space_variables=[{"key": key, "value": value} for key, value in plan.variables.items()],
                space_secrets=[{"key": key, "value": value} for key, value in plan.secrets.items()] or None,
                space_volumes=_volumes(plan.mounts) or None,
            )
        except Exception as error:
            if status(error) != 409 or not self._is_ours():  # else an earlier attempt made it, and its answer was lost
                raise
        say(f"made {self.repo} on {plan.hardware}")

    def _unmake(self) -> None:
        """Take a Space away that was made a moment ago, and whose files were refused."""
        try:
            self.api.delete_repo(self.repo, repo_type="space")
        except Exception:
            say(f"{self.repo} is there, empty, and could not be deleted: delete it in its settings")

    def _hardware(self) -> None:
        """The hardware before anything else: it is what may be refused."""
        runtime = self.api.get_space_runtime(self.repo)
        if (runtime.requested_hardware or runtime.hardware) != self.plan.hardware:
            self.api.request_space_hardware(self.repo, self.plan.hardware)
            say(f"asked for {self.plan.hardware}")

    def _fill(self) -> tuple[str, bool]:
        """Settings and files as they should be; the commit that is then the newest, and whether anything was different.

        Large files are uploaded first, which takes long and changes nothing yet; then come the settings, then one commit. May be
        repeated from any place where it failed: it sends what is still different.
        """
        info = self.api.space_info(self.repo)
        listed = self.api.list_repo_tree(self.repo, recursive=True, repo_type="space")
        there = {file.path: file for file in listed if hasattr(file, "blob_id")}
        operations = _operations(self.plan.tree, there)
        if additions := [item for item in operations if hasattr(item, "path_or_fileobj")]:
            say(f"sending {len(additions)} of {len(self.plan.tree)} files, taking {len(operations) - len(additions)} away")
            self.api.preupload_lfs_files(self.repo, additions, repo_type="space", free_memory=False)
        changed = self._set_up(info.private)
        if not operations:
            return info.sha, changed
        words = {"commit_message": self.plan.message, "parent_commit": info.sha}
        return self.api.create_commit(self.repo, operations, repo_type="space", **words).oid, True

    def _set_up(self, private: bool | None) -> bool:
        """Visibility, variables, secrets and volumes as they should be; whether any was not."""
        plan, api = self.plan, self.api
        there = {key: item.value for key, item in api.get_space_variables(self.repo).items()}
        changed = {key: value for key, value in plan.variables.items() if there.get(key) != value}
        for key, value in changed.items():
            api.add_space_variable(self.repo, key, value)
        for key in (gone := [key for key in OURS if key in there and key not in plan.variables]):
            api.delete_space_variable(self.repo, key)
        for key, value in plan.secrets.items():
            api.add_space_secret(self.repo, key, value)
        volumes = api.get_space_runtime(self.repo).volumes or []
        mounted = {volume.mount_path: volume.source for volume in volumes if volume.type == "model"}
        if mounted != plan.mounts:
            wanted = [volume for volume in volumes if volume.type != "model"] + _volumes(plan.mounts)
            api.set_space_volumes(self.repo, wanted) if wanted else api.delete_space_volumes(self.repo)
        if plan.private and private is False:
            api.update_repo_settings(self.repo, private=True, repo_type="space")
        return bool(changed or gone or plan.secrets or mounted != plan.mounts)

    def _run(self, commit: str, changed: bool) -> None:
        """Wait until this commit runs. Raises DeployError with the end of the log where it does not."""
        if not changed:
            say("nothing to send: it is there as it is here")
            if self._ask("look at it", lambda: self.api.get_space_runtime(self.repo)).stage in ENDED:
                self._ask("start it again", lambda: self.api.restart_space(self.repo))
        stages: list[str] = []

        def look() -> Any:
            runtime = self._ask("look at it", lambda: self.api.get_space_runtime(self.repo))
            stage, runs = str(getattr(runtime.stage, "value", runtime.stage)), runtime.raw.get("sha")
            if [stage] != stages[-1:]:
                say(stage.lower().replace("_", " "))
            stages.append(stage)
            ended = stage == "RUNNING" or stage in ENDED
            return runtime if ended and runs in (commit, None) and len(stages) > STALE else None

        runtime = until(look)
        if stages[-1] != "RUNNING":
            raise DeployError(self._failure(stages[-1], runtime))

    def _failure(self, stage: str, runtime: Any) -> str:
        """What a Space that does not run says: a sentence, then the end of its log."""
        lines: list[str] = []
        with suppress(Exception):
            lines = "".join(self.api.fetch_space_logs(self.repo, build=stage in ("BUILD_ERROR", "CONFIG_ERROR"))).splitlines()[-LINES:]
        reason = " ".join(str(runtime.raw.get("errorMessage") or "").split())[:300].rstrip(".")
        does = {"BUILD_ERROR": "could not be built", "RUNTIME_ERROR": "was built and does not start"}.get(stage, f"is {stage.lower()}")
        page = f"{self.api.endpoint}/spaces/{self.repo}"
        return "\n".join([f"{self.repo} {does}{f' ({reason})' if reason else ''}: mend that and deploy again, or look at {page}.", *lines])


def _volumes(mounts: Mapping[str, str]) -> list[Any]:
    """Repositories of models as volumes of a Space, which it can only read."""
    from huggingface_hub import Volume

    return [Volume(type="model", source=repo, mount_path=path, read_only=True) for path, repo in mounts.items()]


def _operations(tree: Mapping[str, Path | bytes], there: Mapping[str, Any]) -> list[Any]:
    """What makes the files that are there those of the tree; nothing for a file that is the same."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    gone = [CommitOperationDelete(path, is_folder=False) for path in there if path not in tree and path not in KEPT]
    return gone + [CommitOperationAdd(path, file) for path, file in tree.items() if path not in there or not _same(file, there[path])]


def _same(file: Path | bytes, there: Any) -> bool:
    """Whether a file is what the hub has: by its sha256 where it lies in LFS, else by git's own digest."""
    data = content(file)
    if there.lfs:
        return hashlib.sha256(data).hexdigest() == there.lfs.sha256
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == there.blob_id
