"""What the operator of a hub decides: every setting once, by a flag of app.py or a variable of the environment."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
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
    root_path: str = ""
    log: str | None = None
    log_prompts: bool = False
    metrics: bool | None = None
    allowed_hosts: tuple[str, ...] = ()
    """Names under which it may be asked for, beside its own; empty: those that the machine has."""
    auth_file: str | None = None
    login: str | None = None
    members: Sequence[str] = ()

    @property
    def with_login(self) -> bool:
        """Whether visitors have to log in."""
        return bool(self.auth_file or self.login)


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
        return self.value(text, self.variable)

    def value(self, text: str, name: str) -> Any:
        """What a text means. Raises VariableError, which names the flag or the variable, for what is not taken."""
        try:
            return environment.on_or_off(text, name) if self.read is None else self.read(text)
        except VariableError:  # says its name itself
            raise
        except ValueError as error:
            raise VariableError(f"{name}: {error}.") from None


def port(text: str) -> int:
    """A port. Raises ValueError for what is none."""
    if not environment.is_port(text):
        raise ValueError(f"must be a whole number from 1 to 65535, not {text[:40]!r}")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 1 on. Raises ValueError for what is none."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise ValueError(f"must be a whole number from 1 to 999999999, not {text[:40]!r}")
    return int(text)


def log_form(text: str) -> str:
    """A form of the log. Raises ValueError for what is none."""
    if text.lower() not in ("json", "text"):
        raise ValueError(f"must be json or text, not {text[:40]!r}")
    return text.lower()


def login(text: str) -> str:
    """Whose logins count. Raises ValueError for what is not known here."""
    if text.lower() != "huggingface":
        raise ValueError(f"must be huggingface, not {text[:40]!r}")
    return text.lower()


def root_path(text: str) -> str:
    """A path as /patchwork, or a whole address, without the slash behind it; empty for the root itself. Raises ValueError."""
    match = re.fullmatch(r"(https?://[\w.:\[\]-]+)?/?([\w.~-]+(/[\w.~-]+)*)?/?", text.strip(), re.ASCII)
    if not match:
        raise ValueError(f"must be the path under which a proxy offers the page, such as /patchwork, not {text[:40]!r}")
    host, path, _ = match.groups("")
    return f"{host}/{path}" if path else host


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def hosts(text: str) -> tuple[str, ...]:
    """Names of hosts between commas, `*.` before one for all below it, `*` for any. Raises ValueError for what is none."""
    names = []
    for word in words(text):
        with suppress(UnicodeError):
            name = word.lower() if word.isascii() else word.lower().encode("idna").decode()
            if re.fullmatch(r"\*|(\*\.)?[\w-]+(\.[\w-]+)*|[0-9a-f:.]*:[0-9a-f:.]*", name, re.ASCII):
                names.append(name)
                continue
        raise ValueError(f"a host is a name such as hub.example.org, without https:// and port, not {word[:60]!r}")
    return tuple(names)


OF_A_SPACE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.1"
"""Networks of the proxies before a Space or a studio, which say whose request they bring: else all visitors have one address."""
VISITOR = "a visitor (a login, else an address)"
SETTINGS = (
    Setting("--host", "GRADIO_SERVER_NAME", "where the page listens; 0.0.0.0 lets other machines open it; default: 127.0.0.1"),
    Setting("--port", "GRADIO_SERVER_PORT", "default: 7860", read=port),
    Setting(
        "--allowed-hosts",
        "PATCHWORK_ALLOWED_HOSTS",
        "names under which others may open it, as behind a proxy, * for any",
        "NAME,NAME",
        hosts,
    ),
    Setting("--root-path", "GRADIO_ROOT_PATH", "the path under which a proxy offers the page, such as /patchwork", "PATH", root_path),
    Setting("--share", "PATCHWORK_SHARE", "a public link through Gradio's servers", read=None),
    Setting("--models", "PATCHWORK_OFFER", "offer only these", "ID,ID", words),
    Setting(
        "--models-dir",
        "PATCHWORK_MODELS",
        "weights that are there already: folders, which are only read",
        "DIR:DIR",
        environment.folders,
        True,
    ),
    Setting("--offline", "HF_HUB_OFFLINE", "never open the network", read=None, read_by_hub=True),
    Setting("--downloads", "PATCHWORK_DOWNLOADS", "let visitors download and remove models, or not", read=None, read_by_hub=True),
    Setting("--memory", "PATCHWORK_MEMORY", "what weights and what runs may take together", "GB", environment.above_zero, True),
    Setting(
        "--models-gb",
        "PATCHWORK_MODELS_GB",
        "what downloaded weights may take on disk; default: all of it",
        "GB",
        environment.above_zero,
        True,
    ),
    Setting(
        "--results-gb", "PATCHWORK_RESULTS_GB", "what results may take on disk; the oldest leave first", "GB", environment.above_zero, True
    ),
    Setting("--results-days", "PATCHWORK_RESULTS_DAYS", "how old results may become", "DAYS", environment.above_zero, True),
    Setting("--auth-file", "PATCHWORK_AUTH_FILE", "let in only users of this file; `python -m zoo password NAME` makes its lines", "FILE"),
    Setting("--login", "PATCHWORK_LOGIN", "`huggingface`: let in users of Hugging Face, on a Space with `hf_oauth: true`", "WHO", login),
    Setting("--members", "PATCHWORK_MEMBERS", "with `--login`: let in only these users, or members of organisations", "NAME,NAME", words),
    Setting(
        "--max-seconds",
        "PATCHWORK_MAX_SECONDS",
        "refuse what needs more seconds of one CPU core; default: none",
        "S",
        environment.above_zero,
    ),
    Setting("--queue", "PATCHWORK_QUEUE", "requests that may wait at once; default: 200", "N", whole),
    Setting("--requests-minute", "PATCHWORK_REQUESTS_MINUTE", f"requests of {VISITOR} within a minute; default: any", "N", whole),
    Setting(
        "--pictures-day",
        "PATCHWORK_PICTURES_DAY",
        f"pictures, or frames of clips, of {VISITOR} within 24 hours, counted from 0 at each start; default: any",
        "N",
        whole,
    ),
    Setting("--limit-loopback", "PATCHWORK_LIMIT_LOOPBACK", "limit this machine's own visitors, too: where a tunnel brings all", read=None),
    Setting("--metrics", "PATCHWORK_METRICS", "`/metrics` for all visitors, or none; default: this machine's own programs", read=None),
    Setting("--log", "PATCHWORK_LOG", "one line an event on stderr, `json` or `text`; default: only what goes wrong", "FORM", log_form),
    Setting("--log-prompts", "PATCHWORK_LOG_PROMPTS", "with what visitors ask for in it: prompts, classes, seeds", read=None),
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
