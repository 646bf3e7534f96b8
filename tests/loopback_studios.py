"""ModelScope's studios on the loopback: made and set up through its API, filled by git, and run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from loopback_places import REPO, Handler, Place


class Studios(Handler):
    """The part of ModelScope's protocol that its client and git speak to make a studio."""

    def me(self) -> None:
        if not self.user:
            self.answer({"success": False, "message": "unauthorized"}, 401)
        else:
            self.answer({"success": True, "data": {"username": self.user}})

    def create_studio(self) -> None:
        asked = self.json
        repo = f"{asked['owner']}/{asked['repo_name']}"
        if asked["owner"] != self.user or self.role != "write":
            self.answer({"success": False, "message": "permission denied"}, 403)
        elif repo in self.hub.places:
            self.answer({"success": False, "message": "repo already exists"}, 409)
        else:
            place = Place(hardware=asked["hardware"], description=asked["description"], private=asked["private"], stages=["Creating"])
            self.hub.places[repo] = place
            self.repository(self.hub.folder / "studios" / f"{repo}.git")
            self.answer({"success": True, "data": asked})

    def repository(self, bare: Path) -> None:
        """A repository with one commit, as a new studio has it."""
        bare.mkdir(parents=True)

        def git(*words: str, given: str = "") -> str:
            command = ["git", "-c", "user.name=ms", "-c", "user.email=ms@localhost", *words]
            return subprocess.run(command, cwd=bare, input=given, capture_output=True, text=True, check=True).stdout.strip()

        git("init", "--quiet", "--bare", "--initial-branch=master")
        git("config", "http.receivepack", "true")
        readme = git("hash-object", "-w", "--stdin", given="# new\n")
        tree = git("mktree", given=f"100644 blob {readme}\tREADME.md\n")
        git("update-ref", "refs/heads/master", git("commit-tree", tree, "-m", "initial"))

    def studio(self, repo: str) -> None:
        place = self.hub.places.get(repo)
        if place is None:
            self.answer({"success": False, "message": "not found"}, 404)
        else:
            status = place.stages.pop(0) if len(place.stages) > 1 else place.stages[0]
            owner, name = repo.split("/")
            told = {"owner": owner, "name": name, "description": place.description, "hardware": place.hardware}
            self.answer({"success": True, "data": told | {"runtime": {"status": status}}})

    def studio_settings(self, repo: str) -> None:
        if place := self.writable(repo):
            place.hardware = self.json.get("hardware", place.hardware)
            place.private = self.json.get("private", place.private)
            self.answer({"success": True, "data": {}})

    def studio_words(self, repo: str, kind: str) -> None:
        place = self.writable(repo)
        if place is None:
            return
        kept: dict[str, str] = getattr(place, kind)
        if self.command == "POST" and self.json["key"] in kept:
            self.answer({"success": False, "message": "already exists"}, 409)
            return
        if self.command == "DELETE":
            del kept[self.json["key"]]
        elif self.command != "GET":
            kept[self.json["key"]] = self.json["value"]
        shown = [{"key": key} | ({"value": value} if kind == "variables" else {}) for key, value in kept.items()]
        self.answer({"success": True, "data": {kind: shown}})

    def deploy_studio(self, repo: str) -> None:
        if place := self.writable(repo):
            place.restarts, place.stages = place.restarts + 1, list(self.hub.ending)
            self.answer({"success": True, "data": {"status": "Deploying"}})

    def studio_logs(self, repo: str, kind: str) -> None:
        if self.writable(repo):
            self.answer({"success": True, "data": {"logs": [{"content": f"{kind}: {line}"} for line in self.hub.logs], "total_count": 1}})

    def git(self, repo: str, rest: str) -> None:
        """git's own server, once the token is right."""
        if not self.user:
            self.answer({}, 401, WWW_Authenticate='Basic realm="ModelScope"')
            return
        if self.role != "write" and "receive-pack" in self.path:
            self.answer({}, 403)
            return
        environment = {
            "GIT_PROJECT_ROOT": str(self.hub.folder), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": f"/studios/{repo}.git/{rest}",
            "REQUEST_METHOD": self.command, "QUERY_STRING": urlsplit(self.path).query, "REMOTE_USER": self.user,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(self.body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""), "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }  # fmt: skip
        backend = {"env": os.environ | environment, "capture_output": True, "check": True}
        head, _, body = subprocess.run(["git", "http-backend"], input=self.body, **backend).stdout.partition(b"\r\n\r\n")
        words = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.answer(body, int(words.pop("Status", "200").split()[0]), words.pop("Content-Type", "text/plain"), Cache_Control="no-cache")


Studios.routes = {
    "GET /openapi/v1/users/me": Studios.me,
    "POST /openapi/v1/studios": Studios.create_studio,
    f"(?:GET|POST|PUT|DELETE) /openapi/v1/studios/{REPO}/(variables|secrets)": Studios.studio_words,
    f"PATCH /openapi/v1/studios/{REPO}/settings": Studios.studio_settings,
    f"POST /openapi/v1/studios/{REPO}/deploy": Studios.deploy_studio,
    f"GET /openapi/v1/studios/{REPO}/logs/(build|run)": Studios.studio_logs,
    f"GET /openapi/v1/studios/{REPO}": Studios.studio,
    f"(?:GET|POST) /studios/{REPO}.git/(.+)": Studios.git,
}
