"""The container: its Dockerfile is clean, holds what the program needs and no more, and its first process starts and ends as one should."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from conftest import ROOT, free_port

from zoo.catalog import settings

FOLDER = ROOT / "spaces" / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
STEPS = re.sub(r"\\\n", " ", DOCKERFILE)
"""The Dockerfile with each step on one line."""


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, FOLDER / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_there_is_not_ignored_and_is_all_that_the_program_needs(tmp_path: Path) -> None:
    """The tree of the image, made by the Dockerfile's own COPY lines from what the .dockerignore lets through, runs."""
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    copied = [words[:-1] for line in STEPS.splitlines() if line.startswith("COPY ") for words in [line.split()[1:]]]
    names = [name for words in copied for name in words]
    assert ignored[0] == "*"
    assert {name for name in names if f"!{name}" not in ignored} == set()
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    command = [sys.executable, "-m", "zoo", "verify", "tiny-vae"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "fingerprint" in done.stdout


def test_its_variables_are_settings_of_the_hub_and_compose_uses_the_same_places() -> None:
    variables = set(re.findall(r"(GRADIO_\w+|PATCHWORK_\w+)=", STEPS))
    assert variables - {"PATCHWORK_CACHE"} <= {setting.variable for setting in settings.SETTINGS}
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["patchwork"]
    assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == FOLDER / "Dockerfile"
    assert set(service["build"]["args"]) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert {place for volume in service["volumes"] for place in volume.split(":") if place.startswith("/")} == {"/data", "/models"}
    assert "PATCHWORK_CACHE=/data" in STEPS
    assert "PATCHWORK_MODELS=/models" in STEPS


def healthy(port: int) -> int:
    """The exit status of the image's own check of a server on a port."""
    command = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", STEPS, re.MULTILINE)[1]
    python, *arguments = yaml.safe_load(command)
    assert python == "python"
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, timeout=60).returncode


def test_its_check_fails_where_nothing_listens_or_says_that_it_is_not_ready(tmp_path: Path) -> None:
    port = free_port()
    assert healthy(port) != 0
    for status, holds in ((503, False), (200, True)):
        with answering(port, status):
            assert (healthy(port) == 0) is holds


@contextmanager
def answering(port: int, status: int) -> Iterator[None]:
    """A server that answers /health with one status, and all else with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()


def test_the_first_process_of_a_container_ends_when_it_is_told_to_before_it_serves(tmp_path: Path) -> None:
    """The system keeps every signal from such a process that it does not take itself; docker would wait 10 s, then kill it."""
    first = ["unshare", "--pid", "--fork", "--kill-child"] if shutil.which("unshare") and not os.geteuid() else []
    python, *words = yaml.safe_load(re.search(r"^CMD (.*)$", STEPS, re.MULTILINE)[1])
    assert python == "python"
    held = [sys.executable, "-X", "importtime", *words]  # tells on stderr how far it is
    environment = os.environ | {"PATCHWORK_CACHE": str(tmp_path), "GRADIO_SERVER_PORT": str(free_port())}
    with subprocess.Popen([*first, *held], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as app:
        for line in app.stderr:
            if line.rstrip().endswith(" torch._C"):  # main() runs, and does not serve yet
                break
        inside = Path(f"/proc/{app.pid}/task/{app.pid}/children").read_text().split()[0] if first else app.pid
        os.kill(int(inside), signal.SIGTERM)
        app.stderr.read()
    assert app.returncode == 143
