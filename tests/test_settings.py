"""Settings of the page in the environment as compose files and shells hand them on: empty, quoted, with the end of a line."""

from __future__ import annotations

import os

import pytest
from conftest import ROOT

from zoo.catalog import environment, settings
from zoo.catalog.settings import Serving
from zoo.engine.hub import Hub
from zoo.errors import VariableError


@pytest.mark.parametrize(("value", "port"), [("", 7860), ("  ", 7860), (" 8000\n", 8000), ('"8000"', 8000), ("'65535'\r\n", 65535)])
def test_a_port_is_what_is_meant_and_none_the_usual_one(monkeypatch: pytest.MonkeyPatch, value: str, port: int) -> None:
    monkeypatch.setenv("GRADIO_SERVER_PORT", value)
    environment.tidy()
    assert environment.port() == port
    assert int(os.environ.get("GRADIO_SERVER_PORT", "7860")) == port  # as gradio reads it


@pytest.mark.parametrize("value", ["abc", "0", "65536", "-1", "80.0", "８０", "9" * 5000])
def test_what_is_no_port_is_named_before_gradio_breaks_on_it(monkeypatch: pytest.MonkeyPatch, says, value: str) -> None:
    monkeypatch.setenv("GRADIO_SERVER_PORT", value)
    environment.tidy()
    with says(VariableError, "GRADIO_SERVER_PORT", "no port"), environment.local_only():
        pass


def test_limits_are_read_without_what_stands_around_them(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATCHWORK_RESULTS_GB", '"5"')
    monkeypatch.setenv("PATCHWORK_RESULTS_DAYS", " 3 \r\n")
    monkeypatch.setenv("PATCHWORK_MEMORY", "'2'\n")
    environment.tidy()
    retention = Hub(device="cpu", cache_dir=tmp_path).results.retention
    assert (retention.budget, retention.age) == (5_000_000_000, 3 * 86400)


def test_a_flag_goes_before_its_variable_and_both_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_PORT", "8000")
    monkeypatch.setenv("PATCHWORK_OFFER", "tiny-dit, tiny-vae")
    monkeypatch.setenv("PATCHWORK_SHARE", "no")
    assert settings.chosen(["--max-seconds", "9"]) == ({"models": ["tiny-dit", "tiny-vae"], "max_seconds": 9.0}, Serving(port=8000))
    assert settings.chosen(["--port", "9000", "--models", "tiny-vit", "--no-downloads"]) == (
        {"models": ["tiny-vit"], "downloads": False}, Serving(port=9000)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PATCHWORK_MAX_SECONDS", "much", "a number above 0"),
        ("GRADIO_SERVER_PORT", "70000", "1 to 65535"),
        ("PATCHWORK_SHARE", "maybe", "on or off"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, says, variable: str, value: str, words: str) -> None:
    monkeypatch.setenv(variable, value)
    with says(VariableError, variable, words):
        settings.chosen([])


def test_a_switch_that_cannot_be_read_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHWORK_SHARE", "maybe")
    with pytest.raises(VariableError, match=r"^PATCHWORK_SHARE is 'maybe', and must be on or off: set it to 1 or 0\.$"):
        settings.chosen([])


def test_the_readme_names_every_setting() -> None:
    assert settings.table() in (ROOT / "README.md").read_text(encoding="utf-8")
