"""Hugging Face's Spaces on the loopback: made, set up, filled by commits, and run; and the hub's rules for their front matter."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import yaml
from loopback_places import REPO, Handler, Place

KEYS = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "python_version", "sdk_version", "suggested_hardware", "suggested_storage", "app_file",
    "app_build_command", "app_port", "base_path", "fullWidth", "header", "short_description", "models", "datasets", "tags", "thumbnail",
    "pinned", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes", "hf_oauth_authorized_org", "disable_embedding",
    "startup_duration_timeout", "custom_headers", "preload_from_hub", "license", "language",
}  # fmt: skip
"""What may stand in the front matter of a Space (the hub's Spaces Configuration Reference)."""
MODELSCOPE_KEYS = {"domain", "deployspec"}
"""What ModelScope reads there besides."""
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
HARDWARE = {
    "cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "l40sx1", "l40sx4", "l40sx8", "a10g-small", "a10g-large",
    "a10g-largex2", "a10g-largex4", "a100-large", "a100x4", "a100x8",
}  # fmt: skip
"""Values of suggested_hardware."""
PRELOAD = re.compile(r"[\w.-]+/[\w.-]+( [\w./-]+(,[\w./-]+)*( [0-9a-f]{40})?)?")


def faults_of_front_matter(readme: str) -> list[str]:
    """What the hub's rules say against the front matter of a Space."""
    try:
        words = yaml.safe_load(readme.split("---\n", 2)[1])
    except (IndexError, yaml.YAMLError):
        return ["there is none"]
    checks = {
        "title": isinstance(words.get("title"), str),
        "emoji": isinstance(words.get("emoji"), str) and not any(letter.isascii() for letter in words["emoji"]),
        "colorFrom": words.get("colorFrom") in COLOURS,
        "colorTo": words.get("colorTo") in COLOURS,
        "sdk": words.get("sdk") in {"gradio", "docker", "static"},
        "sdk_version": isinstance(words.get("sdk_version", ""), str),
        "python_version": re.fullmatch(r"3\.\d+(\.\d+)?", str(words.get("python_version", "3.10"))) is not None
        and isinstance(words.get("python_version", ""), str),
        "header": words.get("header", "default") in {"mini", "default"},
        "short_description": len(words.get("short_description", "")) <= 60,
        "suggested_hardware": words.get("suggested_hardware", "cpu-basic") in HARDWARE,
        "startup_duration_timeout": re.fullmatch(r"\d+[smh]?", str(words.get("startup_duration_timeout", "30m"))) is not None,
        "app_port": isinstance(words.get("app_port", 7860), int),
        "models": all(re.fullmatch(r"[\w.-]+/[\w.-]+", str(model)) for model in words.get("models", [])),
        "tags": all(isinstance(tag, str) for tag in words.get("tags", [])),
        "preload_from_hub": all(PRELOAD.fullmatch(line) for line in words.get("preload_from_hub", [])),
        "hf_oauth": isinstance(words.get("hf_oauth", False), bool),
    }
    unknown = [f"{key} is no key" for key in words if key not in KEYS | MODELSCOPE_KEYS]
    return unknown + [f"{key} is not valid" for key, fits in checks.items() if not fits]


class Spaces(Handler):
    """The part of the hub's protocol that its client speaks to make a Space."""

    def whoami(self) -> None:
        if not self.user:
            self.answer({"error": "Invalid credentials in Authorization header"}, 401)
        else:
            auth = {"type": "access_token", "accessToken": {"role": self.role}}
            self.answer({"type": "user", "name": self.user, "orgs": [], "auth": auth})

    def validate(self) -> None:
        faults = faults_of_front_matter(self.json["content"])
        self.answer({"errors": [{"message": fault} for fault in faults], "warnings": []}, 400 if faults else 200)

    def create(self) -> None:
        asked, wanted = self.json, self.json.get("hardware", "cpu-basic")
        repo = f"{asked['organization'] or self.user}/{asked['name']}"
        if not self.user:
            self.answer({"error": "Invalid credentials in Authorization header"}, 401)
        elif repo in self.hub.places:
            self.answer({"error": "You already created this space repo"}, 409)
        elif repo.partition("/")[0] != self.user or self.role not in ("write", "create"):
            self.answer({"error": f"You don't have the rights to create a space under the namespace {asked['organization']}"}, 403)
        elif wanted != "zero-a10g" and self.user not in self.hub.paid:
            self.answer({"error": f"Hosting Gradio and Docker Spaces on {wanted} requires a PRO subscription"}, 402)
        else:
            made = Place({".gitattributes": b"*.safetensors filter=lfs\n", "README.md": b"---\ntitle: x\n---\n"}, hardware=wanted)
            made.private, made.volumes, made.commits = asked.get("visibility") == "private", asked.get("volumes", []), ["initial commit"]
            for kept, given in ((made.variables, "variables"), (made.secrets, "secrets")):
                kept |= {item["key"]: item["value"] for item in asked.get(given) or []}
            made.stages = ["NO_APP_FILE"]
            self.hub.places[repo] = made
            self.answer({"url": f"{self.hub.url}/spaces/{repo}", "name": repo})

    def delete_repo(self) -> None:
        repo = f"{self.json.get('organization') or self.user}/{self.json['name']}"
        if self.writable(repo):
            del self.hub.places[repo]
            self.answer({})

    def info(self, repo: str) -> None:
        place = self.hub.places.get(repo)
        if place is None or (place.private and repo.partition("/")[0] != self.user):
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        else:
            self.answer({"id": repo, "sha": place.sha, "private": place.private, "siblings": [], "sdk": "gradio"})

    def tree(self, repo: str) -> None:
        if place := self.hub.places.get(repo):
            self.answer([self.entry(path, data) for path, data in place.files.items()])

    def entry(self, path: str, data: bytes) -> dict:
        entry = {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()}
        if path.endswith(".safetensors"):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        return entry

    def preupload(self, repo: str) -> None:
        if self.writable(repo):
            paths = [file["path"] for file in self.json["files"]]
            modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in paths}
            self.answer({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]})

    def batch(self, repo: str) -> None:
        if self.writable(repo):
            objects = [{"oid": item["oid"], "size": item["size"]} for item in self.json["objects"]]
            for item in objects:
                if item["oid"] not in self.hub.blobs:
                    item["actions"] = {"upload": {"href": f"{self.hub.url}/blobs/{item['oid']}"}}
            self.answer({"transfer": "basic", "objects": objects}, kind="application/vnd.git-lfs+json")

    def blob(self, digest: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == digest
        self.hub.blobs[digest] = self.body
        self.answer({})

    def commit(self, repo: str) -> None:
        place = self.writable(repo)
        if place is None:
            return
        head, *operations = [json.loads(line) for line in self.body.splitlines()]
        if head["value"].get("parentCommit", place.sha) != place.sha:
            self.answer({"error": "A commit has happened since. Please refresh and try again."}, 412)
            return
        files = dict(place.files)
        for operation in operations:
            value = operation["value"]
            match operation["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.blobs[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        place.files, place.stages = files, list(self.hub.ending)
        place.commits.append(head["value"]["summary"])
        self.answer({"commitUrl": f"{self.hub.url}/spaces/{repo}/commit/{place.sha}", "commitOid": place.sha})

    def words(self, repo: str, kind: str) -> None:
        place = self.writable(repo)
        if place is None:
            return
        kept: dict[str, str] = getattr(place, kind)
        if self.command == "DELETE":
            del kept[self.json["key"]]
        elif self.command != "GET":
            kept[self.json["key"]] = self.json["value"]
        if self.command != "GET":
            place.stages = list(self.hub.ending)
        self.answer({key: {"value": value} if kind == "variables" else {} for key, value in kept.items()})

    def runtime(self, repo: str) -> None:
        if place := self.writable(repo):
            stage = place.stages.pop(0) if len(place.stages) > 1 else place.stages[0]
            told = {"stage": stage, "hardware": {"current": place.hardware, "requested": place.hardware}, "volumes": place.volumes or None}
            self.answer(told | {"sha": place.sha, "errorMessage": "exit code 1" if "ERROR" in stage else None})

    def set_hardware(self, repo: str) -> None:
        place = self.writable(repo)
        if place and self.user not in self.hub.paid:
            self.answer({"error": "You must add a payment method to your account"}, 402)
        elif place:
            place.hardware, place.stages = self.json["flavor"], list(self.hub.ending)
            self.answer({"stage": "BUILDING"})

    def set_volumes(self, repo: str) -> None:
        if place := self.writable(repo):
            place.volumes = self.json.get("volumes", []) if self.command == "PUT" else []
            self.answer({})

    def restart(self, repo: str) -> None:
        if place := self.writable(repo):
            place.restarts, place.stages = place.restarts + 1, list(self.hub.ending)
            self.answer({"stage": "BUILDING"})

    def set_visibility(self, repo: str) -> None:
        if place := self.writable(repo):
            place.private = self.json.get("visibility") == "private" or bool(self.json.get("private"))
            self.answer({})

    def read_logs(self, repo: str, kind: str) -> None:
        if self.writable(repo):
            events = [{"data": f"{kind}: {line}\n", "timestamp": "2026-01-01T00:00:00.000Z"} for line in self.hub.logs]
            self.answer("".join(f"data: {json.dumps(event)}\n\n" for event in events).encode(), kind="text/event-stream")


Spaces.routes = {
    "GET /api/whoami-v2": Spaces.whoami,
    "POST /api/validate-yaml": Spaces.validate,
    "POST /api/repos/create": Spaces.create,
    "DELETE /api/repos/delete": Spaces.delete_repo,
    f"GET /api/spaces/{REPO}/runtime": Spaces.runtime,
    f"(?:GET|POST|DELETE) /api/spaces/{REPO}/(variables|secrets)": Spaces.words,
    f"GET /api/spaces/{REPO}/tree/main": Spaces.tree,
    f"POST /api/spaces/{REPO}/preupload/main": Spaces.preupload,
    f"POST /api/spaces/{REPO}/commit/main": Spaces.commit,
    f"POST /api/spaces/{REPO}/hardware": Spaces.set_hardware,
    f"(?:PUT|DELETE) /api/spaces/{REPO}/volumes": Spaces.set_volumes,
    f"POST /api/spaces/{REPO}/restart": Spaces.restart,
    f"PUT /api/spaces/{REPO}/settings": Spaces.set_visibility,
    f"GET /api/spaces/{REPO}/logs/(build|run)": Spaces.read_logs,
    f"GET /api/spaces/{REPO}": Spaces.info,
    f"POST /spaces/{REPO}.git/info/lfs/objects/batch": Spaces.batch,
    r"PUT /blobs/([0-9a-f]{64})": Spaces.blob,
}
