"""A studio on ModelScope: made and set up through its own client, filled by one commit of git, for which that client has no other way."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from deploying.asking import MARK, OURS, Plan, patiently, say, secret, status, until, words_of
from deploying.places import DeployError
from deploying.tree import check_token, content
from zoo.catalog import environment
from zoo.errors import ZooError

TOKEN, BRANCH, SETTINGS, LINES = "MODELSCOPE_API_TOKEN", "master", "ms_deploy.json", 12
DESCRIPTION = "Patchwork, a hub of diffusion transformers"
"""What a studio says of itself from the moment when it is made; by it, or by the variable, a later deploy knows that it is its own."""
ENDED = ("fail", "error", "stop", "sleep", "expire")
"""Parts of the states in which nothing happens by itself."""
HELPER = '!f() { echo username=oauth2; echo "password=$MODELSCOPE_API_TOKEN"; }; f'
"""How git gets the token: from the environment, so that it stands in no file and no command."""
FAULTS = (
    "could not resolve host", "timed out", "connection", "early eof", "rpc failed", "returned error: 5", "returned error: 429",
    "cannot lock ref", "fetch first", "non-fast-forward",
)  # fmt: skip
"""What git says where the line or the server failed, or somebody pushed meanwhile, perhaps ourselves."""
T = TypeVar("T")


def deploy(plan: Plan) -> str:
    """Bring a plan to its studio; the address. Raises DeployError."""
    from modelscope_hub import HubApi, HubConfig

    logging.getLogger("modelscope_hub").setLevel(logging.CRITICAL)
    held = secret(TOKEN, "; https://modelscope.cn/my/myaccesstoken makes one with write permission")
    check_token(plan.tree, [held, *plan.secrets.values()])
    api = HubApi(HubConfig(endpoint=environment.endpoint("MODELSCOPE_ENDPOINT"), token=held), user_agent="patchwork")
    return _Studio(api, plan, held).deploy()


class GitConnectionError(ConnectionError):
    """git did not reach the server, or was cut off."""


class _Studio:
    """One studio, asked through ModelScope's client and git."""

    def __init__(self, api: Any, plan: Plan, token: str) -> None:
        self.api, self.plan, self.token, self.pushed = api, plan, token, False
        self.endpoint = environment.endpoint("MODELSCOPE_ENDPOINT") or "https://modelscope.cn"
        user = self._ask("ask who you are", api.whoami).username
        self.repo = plan.name if "/" in plan.name else f"{user}/{plan.name}"

    def deploy(self) -> str:
        """Make it or set it up, fill it, wait; its address."""
        if not self._is_ours():
            self._ask("make studios", self._create)
        self._ask("set up studios", self._set_up)
        self._ask("fill studios", self._fill)
        if self.pushed or self._status() != "running":
            self._ask("start studios", lambda: self.api.deploy_repo(self.repo, "studio"))
        self._wait()
        return f"{self.endpoint}/studios/{self.repo}"

    def _ask(self, what: str, ask: Callable[[], T]) -> T:
        """An answer of the hub, or a DeployError that says what to do."""
        try:
            return patiently(what, ask)
        except ZooError:
            raise
        except Exception as error:
            text = words_of(error)
            match status(error):
                case 401:
                    text = f"The token is not valid: make another at https://modelscope.cn/my/myaccesstoken and set {TOKEN}."
                case 402 | 403:
                    text = (
                        f"The token may not {what} ({text}): it needs write permission, a studio on a GPU needs the organisation "
                        "xGPU-Explorers, and any studio an account bound to Aliyun."
                    )
                case 409:
                    text = f"{self.repo} exists already and is not yours to change: choose another name."
                case _:
                    text = f"Could not {what} ({text}): mend that, and the same command goes on from here."
            raise DeployError(text) from error

    def _is_ours(self) -> bool:
        """Whether the studio is there and was made by this command. Raises DeployError for one that was not."""
        from modelscope_hub import NotExistError

        def found() -> tuple[str, set[str]] | None:
            try:
                info = self.api.get_repo(self.repo, "studio")
            except NotExistError:
                return None
            return info.description or "", {item["key"] for item in self.api.list_variables(self.repo)}

        there = self._ask("read the variables", found)
        if there and MARK not in there[1] and there[0] != DESCRIPTION:
            raise DeployError(
                f"{self.repo} exists and was not made by this command: choose another name, or set the variable {MARK} in its settings, "
                "after which it is overwritten."
            )
        return there is not None

    def _create(self) -> None:
        """The studio, empty, as ms_deploy.json describes it."""
        words = json.loads(content(self.plan.tree[SETTINGS]))
        try:
            self.api.create_repo(
                self.repo,
                "studio",
                visibility="private" if self.plan.private else "public",
                license="apache-2.0",
                description=DESCRIPTION,
                hardware=self.plan.hardware,
                **{key: words[key] for key in ("sdk_type", "sdk_version", "base_image")},
            )
        except Exception as error:
            if status(error) not in (400, 409) or not self._is_ours():  # else an earlier attempt made it, and its answer was lost
                raise
        say(f"made {self.repo} on {self.plan.hardware}")

    def _set_up(self) -> None:
        """Hardware, visibility, variables and secrets as they should be; a later start takes them up."""
        api, plan = self.api, self.plan
        settings = {"hardware": plan.hardware} | ({"visibility": "private"} if plan.private else {})
        api.update_repo_settings(self.repo, "studio", **settings)
        there = {item["key"]: item.get("value") for item in api.list_variables(self.repo)}
        for key, value in plan.variables.items():
            if key not in there:
                api.add_variable(self.repo, key, value)
            elif there[key] != value:
                api.update_variable(self.repo, key, value)
        for key in [key for key in OURS if key in there and key not in plan.variables]:
            api.delete_variable(self.repo, key)
        known = {item["key"] for item in api.list_secrets(self.repo)}
        for key, value in plan.secrets.items():
            (api.update_secret if key in known else api.add_secret)(self.repo, key, value)

    def _fill(self) -> None:
        """The files by one commit of git, which sends what changed."""
        with tempfile.TemporaryDirectory(prefix="patchwork-studio-") as name:
            folder = Path(name, "studio")
            self._git(Path(name), "clone", "--quiet", "--depth", "1", f"{self.endpoint}/studios/{self.repo}.git", folder.name)
            for path in folder.iterdir():
                if path.name != ".git":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for path, file in self.plan.tree.items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content(file))
            self._git(folder, "add", "--all", "--force")
            if not self._git(folder, "status", "--porcelain"):
                say("nothing to send: it is there as it is here")
                return
            self._git(folder, "commit", "--quiet", "--message", self.plan.message)
            say(f"sending {self._git(folder, 'show', '--stat', '--format=', 'HEAD').strip().splitlines()[-1].strip()}")
            self.pushed = True  # perhaps, where the answer is lost
            self._git(folder, "push", "--quiet", "origin", f"HEAD:{BRANCH}")

    def _git(self, folder: Path, *words: str) -> str:
        """What git prints. Raises GitConnectionError where the line failed, DeployError where it was refused."""
        settings = ("credential.helper=", f"credential.helper={HELPER}", "user.name=Patchwork", "user.email=patchwork@localhost")
        command = ["git", *(word for setting in settings for word in ("-c", setting)), *words]
        quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", TOKEN: self.token}
        done = subprocess.run(command, check=False, cwd=folder, env=os.environ | quiet, capture_output=True, text=True, encoding="utf-8")
        if done.returncode == 0:
            return done.stdout
        text = environment.without_password(" ".join(done.stderr.split()))[:300].rstrip(". ")
        if any(fault in text.lower() for fault in FAULTS):
            raise GitConnectionError(text)
        raise DeployError(f"git {words[0]} was refused for {self.repo} ({text}): the token needs write permission.")

    def _status(self) -> str:
        """The studio's state in one word, in small letters."""
        runtime = self._ask("look at it", lambda: self.api.get_repo(self.repo, "studio")).runtime or {}
        return str(runtime.get("status") or "").lower()

    def _wait(self) -> None:
        """Wait until it runs. Raises DeployError with the end of the log where it does not."""
        states: list[str] = []

        def look() -> str | None:
            state = self._status()
            if [state] != states[-1:]:
                say(state or "waiting")
            states.append(state)
            ended = "running" in state or any(word in state for word in ENDED)
            return state if ended and len(states) > 1 else None

        state = until(look)
        if "running" not in state:
            sentence = f"{self.repo} does not run, it is {state}: mend that and deploy again, or look at its page."
            raise DeployError("\n".join([sentence, *self._log()]))

    def _log(self) -> list[str]:
        """The end of the newest log that there is."""
        for kind in ("run", "build"):
            with suppress(Exception):
                logs = self.api.get_repo_logs(self.repo, "studio", log_type=kind, page_size=200).get("logs") or []
                if logs:
                    said = [item.get("content") or item.get("message") if isinstance(item, dict) else item for item in logs]
                    return [str(line) for line in said[-LINES:]]
        return []
