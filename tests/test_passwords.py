"""Passwords are kept as slow, salted hashes in a file that says what is wrong with it, and are tried a few times only."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zoo.__main__ import main
from zoo.engine import passwords
from zoo.engine.limits import network
from zoo.errors import LoginError
from zoo.ui.server.login.tries import OF_ADDRESS, OF_NAME, Tries

QUICK = (16, 8, 1)
"""A cost of scrypt for tests: microseconds."""


def line(name: str) -> str:
    return f"{name}:{passwords.hashed(f'{name} has a secret', QUICK)}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of two users."""
    path = tmp_path / "users.txt"
    path.touch(mode=0o600)
    path.write_text(f"# who may come in\n{line('alice')}\n\n{line('bob')}\n")
    return path


def test_a_line_holds_no_password_and_fits_this_password_alone() -> None:
    first, second = line("alice"), line("alice")
    assert first != second
    assert "secret" not in first
    kept = first.partition(":")[2]
    assert passwords.matches("alice has a secret", kept)
    assert not passwords.matches("alice has a secret ", kept)
    assert passwords.matches("e\u0301" * 8, passwords.hashed("\u00e9" * 8, QUICK))  # one é, typed on two keyboards
    assert passwords.hashed("x").startswith("scrypt$32768$8$3$")


def test_the_command_makes_a_line_from_a_pipe_and_changes_a_file(monkeypatch: pytest.MonkeyPatch, capsys, file: Path) -> None:
    monkeypatch.setattr(passwords, "hashed", lambda password: f"of {password}")

    def run(typed: str, *more: str) -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return main(["password", *more])

    assert run("long enough\n", "carol") == 0
    assert capsys.readouterr().out == "carol:of long enough\n"
    assert run("long enough\r\n", "alice", "--auth-file", str(file)) == 0
    assert run("another one\n", "carol", "--auth-file", str(file)) == 0
    lines = file.read_text().splitlines()
    assert [lines[0], lines[1], lines[3][:4], lines[4]] == ["# who may come in", "alice:of long enough", "bob:", "carol:of another one"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert run("short\n", "carol") == 1
    assert "8 to 1000 characters" in capsys.readouterr().err
    assert run("long enough\n", "car ol") == 1
    assert "no name" in capsys.readouterr().err


def test_at_a_terminal_the_password_is_typed_twice(monkeypatch: pytest.MonkeyPatch, says) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    typed = iter(["long enough", "long enough", "long enough", "longenough"])
    monkeypatch.setattr("getpass.getpass", lambda _: next(typed))
    kept = passwords.ask("alice").partition(":")[2]
    assert passwords.matches("long enough", kept)
    with says(LoginError, "differ", "nothing was written"):
        passwords.ask("alice")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["holds no user", "python -m zoo password NAME"]),
        ("# nobody\n", ["holds no user"]),
        ("{alice}\n\njust words\n", ["Line 3", "no `name:hash`"]),
        ("{alice}\nbob:{hash}x$\n", ["Line 2", "no hash that is known", "password bob"]),
        ("alice:$2y$05$abcdefghijklmnopqrstuv\n", ["Line 1", "no hash that is known"]),
        ("alice:scrypt$1073741824$8$1$AAAAAAAAAAAAAAAAAAAAAA==$" + "A" * 86 + "==\n", ["Line 1"]),
        ("{alice}\n{bob}\n{alice}\n", ["Line 3", "alice again", "line 1"]),
        (b"\xff\xfe\x00", ["cannot be read", "no text"]),
        (None, ["There is no file of users", "python -m zoo password NAME --auth-file"]),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_line_and_no_hash(tmp_path: Path, says, content: Any, words: list[str]) -> None:
    path, alice, bob = tmp_path / "users", line("alice"), line("bob")
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content.replace("{alice}", alice).replace("{bob}", bob).replace("{hash}", bob[4:]))
    path.exists() and path.chmod(0o600)
    with says(LoginError, *words) as caught:
        passwords.Users(path)
    assert alice[6:] not in str(caught.value)
    assert "scrypt" not in str(caught.value)
    with says(LoginError, "cannot be read"):
        passwords.Users(tmp_path)


def test_a_file_that_others_can_read_is_warned_of(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    passwords.Users(file)
    assert not caplog.records
    file.chmod(0o644)
    passwords.Users(file)
    assert "chmod 600" in caplog.text


def test_a_file_that_cannot_be_read_for_a_while_is_told_once_and_keeps_its_users(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    users, content = passwords.Users(file), file.read_text()
    file.write_bytes(b"\xff\xfe\x00")
    for _ in range(3):
        users.refresh()
    assert [record.getMessage() for record in caplog.records] == [f"{file} cannot be read (it is no text): its users stay as they were"]
    assert users.hash_of("alice")
    file.write_text(content.replace("alice:", "carol:"))
    users.refresh()
    assert users.hash_of("carol")
    assert not users.hash_of("alice")


def test_one_stranger_cannot_use_up_the_tries_of_a_name_and_all_of_them_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("zoo.ui.server.login.tries.time.monotonic", lambda: now[0])
    tries = Tries()

    def take(address: str) -> float:
        return tries.take([(("address", network(address)), OF_ADDRESS), (("name", "alice"), OF_NAME)])

    for _ in range(2000):  # one that never stops
        take("10.0.0.1")
        now[0] += 0.5
    assert take("10.0.0.1") > 0
    assert take("10.0.0.2") == 0
    for k in range(100):
        take(f"10.0.1.{k}")
    assert 0 < take("10.0.0.3") <= OF_NAME.seconds
    now[0] += OF_NAME.seconds
    assert take("10.0.0.3") == 0
    assert network("2001:db8::1") == network("2001:db8::2:0:0:9") != network("2001:db8:0:1::1")
    assert network("::ffff:10.0.0.1") == "10.0.0.1"
