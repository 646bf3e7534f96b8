"""What the operator of a hub decides: every setting once, by a flag of app.py or a variable of the environment."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from zoo.catalog import environment
from zoo.errors import VariableError


@dataclass(frozen=True)
class Serving:
    """How the page is served to others; what the hub itself needs are arguments of Hub."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False


@dataclass(frozen=True)
class Setting:
    """One setting: its flag, its variable, how its text is read, and what it does."""

    flag: str
    variable: str
    help: str
    metavar: str | None = None
    read: Callable[[str], Any] | None = str
    """Raises ValueError for what it does not take; None: a switch, which needs no value."""
    read_by_hub: bool = False
    """Whether Hub reads the variable itself, as the command line needs it, too."""

    @property
    def name(self) -> str:
        """Of the argument of Hub, or the field of Serving."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def from_environment(self) -> Any:
        """The variable's value, None where it is not set. Raises VariableError for what it does not take."""
        if self.read_by_hub or not (text := environment.text(self.variable)):
            return None
        return environment.switch(self.variable) if self.read is None else self.value(text, self.variable)

    def value(self, text: str, name: str) -> Any:
        """What a text means. Raises VariableError, which names the flag or the variable, for what is not taken."""
        try:
            return self.read(text)
        except ValueError as error:
            raise VariableError(f"{name}: {error}.") from None


def port(text: str) -> int:
    """A port. Raises ValueError for what is none."""
    if not environment.is_port(text):
        raise ValueError(f"a port is a whole number from 1 to 65535, not {text[:40]!r}")
    return int(text)


def amount(text: str) -> float:
    """A finite number above 0. Raises ValueError for what is none."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"this is a number above 0, not {text[:40]!r}")
    return number


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


SETTINGS = (
    Setting("--host", "GRADIO_SERVER_NAME", "where the page listens; 0.0.0.0 lets other machines open it; default: 127.0.0.1"),
    Setting("--port", "GRADIO_SERVER_PORT", "default: 7860", read=port),
    Setting("--share", "PATCHWORK_SHARE", "a public link through Gradio's servers", read=None),
    Setting("--models", "PATCHWORK_OFFER", "offer only these", "ID,ID", words),
    Setting("--offline", "HF_HUB_OFFLINE", "never open the network", read=None, read_by_hub=True),
    Setting("--downloads", "PATCHWORK_DOWNLOADS", "let visitors download and remove models, or not", read=None, read_by_hub=True),
    Setting("--memory", "PATCHWORK_MEMORY", "what weights and what runs may take together", "GB", amount, True),
    Setting("--results-gb", "PATCHWORK_RESULTS_GB", "what results may take on disk; the oldest leave first", "GB", amount, True),
    Setting("--results-days", "PATCHWORK_RESULTS_DAYS", "how old results may become", "DAYS", amount, True),
    Setting("--max-seconds", "PATCHWORK_MAX_SECONDS", "refuse a request that needs more of a core; default: none", "S", amount),
)
"""In the order of the help and of the README's table."""


def chosen(arguments: Sequence[str] | None = None) -> tuple[dict[str, Any], Serving]:
    """Arguments of Hub, and how its page is served, from flags, else variables of the environment.

    arguments: default: those of the program. Raises VariableError for a value that is wrong.
    """
    parser = argparse.ArgumentParser("app.py", description="Patchwork: a hub of diffusion transformers.")
    for setting in SETTINGS:
        words = f"{setting.help} ({setting.variable})"
        if setting.read is None:
            parser.add_argument(setting.flag, action=argparse.BooleanOptionalAction, help=words)
        else:
            parser.add_argument(setting.flag, metavar=setting.metavar, help=words)
    given = vars(parser.parse_args(arguments))
    for setting in SETTINGS:
        if isinstance(text := given[setting.name], str):
            given[setting.name] = setting.value(text, setting.flag)
    values = {s.name: s.from_environment if given[s.name] is None else given[s.name] for s in SETTINGS}
    values = {name: value for name, value in values.items() if value is not None}
    serving = {field.name: values.pop(field.name) for field in fields(Serving) if field.name in values}
    return values, Serving(**serving)


def table() -> str:
    """The settings as the README shows them, in Markdown."""
    rows = [f"| `{s.flag}{f' {s.metavar}' if s.metavar else ''}` | `{s.variable}` | {s.help} |" for s in SETTINGS]
    return "\n".join(["| flag of `app.py` | environment | what it does |", "|---|---|---|", *rows])
