"""The program of the ZeroGPU flavour starts and ends as app.py does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, free_port
from test_zero_gpu import PROGRAM, until


def test_the_flavour_starts_as_the_hub_does_with_its_login() -> None:
    code = """
import runpy, sys
from zoo import ui
from zoo.errors import ZooError
def build(hub, **words):
    raise ZooError(f"{hub.device} {words}")
ui.build = build
runpy.run_path("spaces/zerogpu/zero_gpu.py", run_name="__main__")"""
    command = [sys.executable, "-c", code, "--auth-file", "users.txt"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "SPACES_ZERO_GPU": ""})
    assert (done.returncode, done.stderr) == (1, "app: cpu {'login': True}\n")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there the system does not tell who minds which signal")
def test_the_flavour_ends_by_sigterm_before_it_serves(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATCHWORK_CACHE": str(tmp_path), "SPACES_ZERO_GPU": ""}
    command = [sys.executable, str(PROGRAM), "--port", str(free_port())]
    starting = subprocess.Popen(command, env=environment)

    def minds() -> bool:
        status = Path(f"/proc/{starting.pid}/status").read_text(encoding="ascii")
        return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1)

    try:
        until(minds)
        starting.terminate()
        assert starting.wait(30) == 143
    finally:
        starting.kill()
        starting.wait()
