"""Nothing leaves the machine, and what goes wrong at the start is one line that says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, running
from gradio_client import Client
from gradio_client.exceptions import AppError
from starlette.responses import HTMLResponse
from starlette.testclient import TestClient

from zoo.ui.server.page_cache import PageCache

NO_NETWORK = [sys.executable, str(ROOT / "tests" / "no_network.py")]


def start(*arguments: str, folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """`python app.py ...`, expected to end by itself."""
    command = [sys.executable, "app.py", *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120)


def test_the_guard_sees_what_leaves_the_machine(tmp_path: Path) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://example.com', timeout=5)"
    (tmp_path / "leave.py").write_text(code)
    done = subprocess.run([*NO_NETWORK, str(tmp_path / "left.log"), str(tmp_path / "leave.py")], capture_output=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "example.com" in (tmp_path / "left.log").read_text()


def test_the_page_opens_and_generates_without_leaving_the_machine(server: str, cache: Path) -> None:
    client = Client(server, verbose=False)
    _, receipts = client.predict("tiny-dit", "star", 1, 3, 3, "ddim", 2.0, api_name="/generate_image")
    client.close()
    assert receipts[0]["label"] == "star"
    assert not (cache / "left.log").exists(), (cache / "left.log").read_text()


def test_no_page_asks_another_machine_whichever_gradio_wrote_it() -> None:
    ours = b'<script>const HELP = "https://example.com";</script><script type="module" src="./assets/index.js"></script>'
    away = b"""<link rel="preconnect" href="https://fonts.googleapis.com" /><link
        rel="preconnect"
        href="https://fonts.gstatic.com"
        crossorigin="anonymous"
    /><script
        src="https://cdnjs.cloudflare.com/ajax/libs/iframe-resizer/4.3.1/iframeResizer.contentWindow.min.js"
        async
    ></script>"""  # as gradio 6.2 has it
    client = TestClient(PageCache(HTMLResponse(b"<head>" + away + ours + b"</head>")))
    assert client.get("/").content == b"<head>" + ours + b"</head>"


def test_the_command_line_generates_without_leaving_the_machine(tmp_path: Path) -> None:
    command = ["-m", "zoo", "sample", "tiny-uvit", "--label", "owl", "--seed", "0", "--steps", "2", "--out", str(tmp_path)]
    subprocess.run([*NO_NETWORK, str(tmp_path / "left.log"), *command], cwd=ROOT, check=True, capture_output=True)
    assert len(list(tmp_path.glob("tiny-uvit-owl-0-*.png"))) == 1
    assert not (tmp_path / "left.log").exists()


def test_a_busy_port_is_one_line_that_names_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = start("--port", port), start(GRADIO_SERVER_PORT=port)
    for done in ended:
        assert done.returncode == 1
        assert done.stderr == f"app: cannot listen on 127.0.0.1:{port}; choose a free --port (1024 to 65535) or another --host.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "tiny-dot"], "There is no model 'tiny-dot'"),
        (["--models", "tiny-vit,tiny-vae"], "add one of tiny-dit, tiny-sit, tiny-unet, tiny-uvit"),
        (["--port", "99999"], "--port: must be a whole number from 1 to 65535, not '99999'."),
        (["--max-seconds", "-1"], "--max-seconds: must be a number above 0, not '-1'."),
    ],
)
def test_a_hub_that_cannot_start_says_why_in_one_line(arguments: list[str], words: str) -> None:
    done = start(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("app: ")
    assert words in done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy of what git holds, which a test may damage."""
    for line in subprocess.run(
        ["git", "ls-files", "zoo", "model_cards", "app.py"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines():
        (tmp_path / "copy" / line).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / line, tmp_path / "copy" / line)
    yield tmp_path / "copy"
    shutil.rmtree(tmp_path / "copy")


def test_a_damaged_model_leaves_the_page_and_the_other_models_standing(checkout: Path, tmp_path: Path) -> None:
    path = checkout / "zoo" / "catalog" / "weights" / "tiny-dit.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with running(checkout, tmp_path / "cache") as url:
        client = Client(url, verbose=False)
        said = rf"tiny-dit.safetensors \({len(content)} bytes\) is damaged.*Restore zoo/catalog/weights/tiny-dit"
        with pytest.raises(AppError, match=said):
            client.predict("tiny-dit", "star", 1, 3, 3, "ddim", 2.0, api_name="/generate_image")
        assert client.predict("tiny-uvit", "star", 1, 3, 3, "ddim", 2.0, api_name="/generate_image")[1][0]["label"] == "star"
        client.close()
