"""Variables of the environment as people write them: pasted with blanks, quotes or line ends, spelled in several ways, `~` in paths."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo.catalog.files import private_folder, try_writing
from zoo.errors import VariableError

ON, OFF = {"1", "on", "yes", "true"}, {"0", "off", "no", "false"}
"""Spellings of a switch, those of huggingface_hub and their opposites, in any case."""
ADDRESS = re.compile(r"https?://([!-~]+@)?(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?(/[!-~]*)?", re.IGNORECASE)
"""Of a hub: user, host, port and path."""
READ_BY_OTHERS = (
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "MODELSCOPE_API_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "GRADIO_SERVER_NAME",
    "GRADIO_SERVER_PORT",
)  # fmt: skip
"""What libraries read as it stands."""
PROXIES = ("http_proxy", "https_proxy", "all_proxy")
EXEMPT = re.compile(r"\*|[*.]{0,2}\w([\w.-]*\w)?(:\d{1,4})?(/\d\d?)?", re.ASCII)
"""A host, a domain or a network of IPv4, as no_proxy names it and every client understands it."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def text(name: str) -> str:
    """A variable without the blanks, line ends and quotes around it; empty where it is not set."""
    return os.environ.get(name, "").strip().strip("\"'").strip()


def switch(name: str) -> bool | None:
    """A variable that is on or off, None where it is not set. Raises VariableError for another value."""
    return on_or_off(text(name), name)


def on_or_off(value: str, name: str) -> bool | None:
    """What a value of a switch means, None where there is none. Raises VariableError for another, naming the variable."""
    value = value.lower()
    if value and value not in ON | OFF:
        raise VariableError(f"{name} is {value[:40]!r}, and must be on or off: set it to 1 or 0.")
    return value in ON if value else None


def amount(name: str) -> float | None:
    """A variable that is a number above 0, None where it is not set. Raises VariableError for another value."""
    if not (value := text(name)):
        return None
    try:
        return above_zero(value)
    except ValueError:
        raise VariableError(f"{name} is {value[:40]!r}, and must be a number above 0.") from None


def above_zero(value: str) -> float:
    """A finite number above 0. Raises ValueError for what is none."""
    with suppress(ValueError):
        if 0 < (number := float(value)) < math.inf:
            return number
    raise ValueError(f"must be a number above 0, not {value[:40]!r}")


def offline() -> bool:
    """Whether the network shall not be opened: HF_HUB_OFFLINE, else TRANSFORMERS_OFFLINE, as huggingface_hub reads them."""
    return (text("HF_HUB_OFFLINE") or text("TRANSFORMERS_OFFLINE")).lower() in ON


def endpoint(name: str) -> str | None:
    """The address of a hub, None where none is set; one without http:// is of https. Raises VariableError for no address."""
    if not (value := text(name)):
        return None
    address = (value if "://" in value else f"https://{value}").rstrip("/")
    if not ADDRESS.fullmatch(address):
        raise VariableError(f"{name} is {without_password(value)[:60]!r}, which is no address: write it like https://host.")
    return address


def without_password(text: str) -> str:
    """A text with what stands before the @ of an address left out, to be shown."""
    return re.sub(r"(^|//)[^/]*@", r"\1", text)


def is_port(value: str) -> bool:
    """Whether a text is a whole number from 1 to 65535."""
    return re.fullmatch(r"[0-9]{1,5}", value) is not None and 0 < int(value) < 65536


def port() -> int:
    """Where the page listens: GRADIO_SERVER_PORT, else 7860. Raises VariableError for what is no port."""
    value = text("GRADIO_SERVER_PORT") or "7860"
    if not is_port(value):
        raise VariableError(f"GRADIO_SERVER_PORT is {value[:40]!r}, which is no port: set it to a whole number from 1 to 65535.")
    return int(value)


def token(*names: str) -> str | None:
    """The first of these tokens that is set, else None. Raises VariableError, which does not quote it, for what is none."""
    for name in names:
        if value := text(name):
            if not re.fullmatch(r"[!-~]+", value):
                raise VariableError(f"{name} holds a blank or a letter that no token has: copy the token once more.")
            return value
    return None


def tidy() -> None:
    """Write addresses, tokens, proxies and our own settings back as they are meant, for the hubs' own clients and gradio read them, too,
    and break on a blank when they are imported. What is no address stays, to be named by whoever needs it."""
    for name in ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT"):
        with suppress(VariableError):
            if address := endpoint(name):
                os.environ[name] = address
    others = {*READ_BY_OTHERS, *PROXIES, *map(str.upper, PROXIES)}
    for name in [name for name in os.environ if name in others or name.startswith("PATCHWORK_")]:
        os.environ[name] = text(name)
    if not text("GRADIO_SERVER_PORT"):
        os.environ.pop("GRADIO_SERVER_PORT", None)


def user_path(words: str) -> Path:
    """A path of the command line, `~` in it expanded: no shell does that in --out=~/stars."""
    return Path(os.path.expanduser(words))  # noqa: PTH111 - no home is no error


def cache_folder() -> Path:
    """Where downloads and results are kept: PATCHWORK_CACHE, else ~/.cache/patchwork. Raises VariableError where there is
    no home."""
    try:
        return Path(text("PATCHWORK_CACHE") or "~/.cache/patchwork").expanduser()
    except RuntimeError:
        raise VariableError(
            "This user has no home folder for downloads and results: set PATCHWORK_CACHE to a folder that can be written."
        ) from None


def folders(words: str) -> list[Path]:
    """Folders as PATH names them, one after the other between colons (semicolons on Windows), each in full."""
    return [user_path(word.strip()).absolute() for word in words.split(os.pathsep) if word.strip()]


def check_readable(folder: Path, variable: str) -> None:
    """Raise VariableError, which names the variable that chooses a folder, where it is there and cannot be read, as another user's."""
    try:
        next(folder.iterdir(), None)
    except (FileNotFoundError, NotADirectoryError):  # made, or said, when something is written
        pass
    except OSError as error:
        raise VariableError(f"{folder} cannot be read ({error.strerror}): set {variable} to a folder of your own.") from None


def check_writable(folder: Path, variable: str) -> None:
    """Make a folder of this user alone. Raises VariableError, which names the variable that chooses it, where it takes no file."""
    try:
        private_folder(folder)
        try_writing(folder)
    except OSError as error:
        raise VariableError(f"{folder} cannot be written ({error.strerror}): set {variable} to a folder of your own.") from None


def choose_temporary_folder() -> None:
    """Let gradio keep uploads in GRADIO_TEMP_DIR, made whole, else in a folder of this user: the one that it shares by default belongs to
    whoever came first. Others may not look into it; in a folder into which they may, it is one of its own. Raises VariableError where files
    cannot be written there."""
    if chosen := text("GRADIO_TEMP_DIR"):
        folder, variable = Path(os.path.abspath(os.path.expanduser(chosen))), "GRADIO_TEMP_DIR"  # noqa: PTH100, PTH111 - no home is no error
        if folder.name != "patchwork" and folder.is_dir() and folder.stat().st_mode & 0o077:
            folder = folder / "patchwork"
    else:
        try:
            common = tempfile.gettempdir()
        except FileNotFoundError:
            raise VariableError("There is no temporary folder that can be written: set TMPDIR to a folder of your own.") from None
        folder, variable = (
            Path(common, "-".join(["gradio", *([str(os.getuid())] if hasattr(os, "getuid") else [])])),
            "TMPDIR",
        )
        if os.path.lexists(folder) and hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
            folder = Path(tempfile.mkdtemp(prefix="gradio-"))
    check_writable(folder, variable)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)


def spare_loopback() -> None:
    """Let proxies that the environment names, if any, not stand between this machine and itself; and write what no_proxy names as every
    client reads it, for one breaks on [::1]."""
    words = [word for name in ("no_proxy", "NO_PROXY") for word in re.split(r"[,;\s]+", text(name)) if word]
    hosts = [host for host in map(_exempt, words) if host]
    if "*" in hosts:  # nothing beside it, or it is read as the name of a host
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*"
        return
    if any(text(name) or text(name.upper()) for name in PROXIES):  # else the system's own settings would no longer be asked
        hosts += LOOPBACK
    if words or hosts:
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(dict.fromkeys(hosts))


def _exempt(word: str) -> str:
    """A word of no_proxy as every client reads it, empty where none can."""
    host = word.rpartition("://")[2].rstrip("/")
    host = host[1:] if host.startswith("*.") else host
    if match := re.fullmatch(r"\[?([0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*)(%\w+)?(\](:\d*)?)?(/\d+)?", host, re.IGNORECASE):
        return match[1]  # an address of IPv6
    with suppress(UnicodeError):
        host = host if host.isascii() else host.encode("idna").decode()
    return host if EXEMPT.fullmatch(host) else ""


@contextmanager
def local_only() -> Iterator[None]:
    """No proxies in the environment while the block runs: what only speaks to this machine fails at one that it cannot even name.

    Raises VariableError for an address of a hub and a port at which libraries break, and for a temporary folder that cannot be written.
    """
    endpoint("HF_ENDPOINT")
    port()
    choose_temporary_folder()
    names = [name for name in os.environ if name.lower() in PROXIES]
    values = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(values)


tidy()
spare_loopback()
