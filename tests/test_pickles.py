"""What a training leaves beside its weights is inert; what asks for a function, or is larger inside than outside, is refused unopened."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import importlib
import ipaddress
import operator
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import time
import types
import typing
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from zoo.catalog import checkpoint
from zoo.errors import CheckpointError

ROOT = Path(__file__).parent.parent
WEIGHTS = {"a.weight": torch.ones(2, 2), "a.bias": torch.ones(2)}


class Settings:
    def __init__(self) -> None:
        self.lr = 1e-4


class Mapping(dict):
    pass


class lowercase(dict):  # noqa: N801 - as EasyDict's brothers are named
    pass


class Stage(enum.Enum):
    LATE = 2


@dataclasses.dataclass
class Plan:
    lr: float = 1e-4
    folder: Path = Path("/x")


@dataclasses.dataclass(slots=True)
class Slots:
    lr: float = 1e-4


Point = collections.namedtuple("Point", "x y")


def omegaconf() -> object:
    """A configuration as OmegaConf pickles one: objects of a package that is not here, made anew and given a state."""
    made = types.new_class("DictConfig")
    made.__module__ = "omegaconf.dictconfig"
    config = made()
    config.__dict__ = {"_metadata": {"ref_type": "Any", "key_type": dict}, "_content": {"lr": 1e-4, "dirs": ["a"]}}
    return config


LEFT = {
    "Namespace with a path": lambda: argparse.Namespace(out=pathlib.PurePosixPath("/x"), when=dt.datetime(2026, 1, 2)),
    "path and time": lambda: [pathlib.Path("/x"), dt.timedelta(1), dt.date(2026, 1, 2)],
    "defaultdict": lambda: collections.defaultdict(list, {"loss": [1.0]}),
    "deque": lambda: collections.deque([1, 2]),
    "own class": Settings,
    "own mapping": lambda: Mapping(a=Settings()),
    "own mapping with a small letter": lambda: lowercase(a=1),
    "enum": lambda: {Stage.LATE: Stage.LATE},
    "numpy": lambda: [np.float32(1), np.zeros(2), np.random.RandomState(0).get_state()],
    "plain": lambda: {"set": {1}, "bytes": b"x", "dtype": torch.float16, "device": torch.device("cpu"), "size": torch.Size([1])},
    "omegaconf": omegaconf,
    "dataclass, and one with slots": lambda: [Plan(), Slots()],
    "named tuple": lambda: {Point(1, 2): Point(3, 4)},
    "types of fields": lambda: [dict[str, int], typing.Dict[str, int], typing.Optional[int], typing.Any, int],  # noqa: UP006, UP045
    "errors and addresses": lambda: [ValueError("x"), KeyError("k"), ipaddress.ip_address("127.0.0.1"), time.localtime()],
    "random numbers": lambda: [random.Random(0), random.getstate(), np.random.default_rng(0)],
    "numpy's others": lambda: [np.array([{}]), np.datetime64("2026-01-02"), np.ma.array([1, 2], mask=[0, 1]), np.str_("a"), np.dtype("f4")],
    "windows paths and decimals": lambda: [pathlib.PureWindowsPath("C:\\x"), decimal.Decimal("0.1"), uuid.UUID(int=3)],
    "a scheduler": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([nn.Parameter(torch.ones(1))]), 3),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", LEFT)
def test_what_a_training_leaves_beside_its_weights_does_not_keep_them_from_being_read(
    kind: str, legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = LEFT[kind]()
    if kind == "omegaconf":
        package = types.ModuleType("omegaconf.dictconfig")
        package.DictConfig = type(left)
        monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
        monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", package)
    torch.save({"args": left, "ema": WEIGHTS}, tmp_path / "t.pt", _use_new_zipfile_serialization=not legacy)
    read = checkpoint.read(tmp_path / "t.pt")
    assert read.keys() == WEIGHTS.keys()
    assert torch.equal(read["a.weight"], WEIGHTS["a.weight"])


def test_a_checkpoint_of_another_protocol_is_no_damaged_one(tmp_path: Path, says) -> None:
    torch.save({"ema": WEIGHTS}, tmp_path / "t.pt", pickle_protocol=4)
    with says(CheckpointError, "of protocol 4", "without pickle_protocol, or as safetensors"):
        checkpoint.read(tmp_path / "t.pt")
    (tmp_path / "p.pkl").write_bytes(pickle.dumps({"a.weight": [1.0]}))
    with says(CheckpointError, "none of torch.save"):
        checkpoint.read(tmp_path / "p.pkl")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_pickle_is_read_whatever_its_name_ends_in(tmp_path: Path, legacy: bool) -> None:
    torch.save(WEIGHTS, tmp_path / "t.safetensors", _use_new_zipfile_serialization=not legacy)
    assert checkpoint.read(tmp_path / "t.safetensors").keys() == WEIGHTS.keys()


class Calls:
    """Asks, once it is read, for a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple:
        return self.called


MARKER = Path(os.environ.get("TMPDIR", "/tmp")) / f"patchwork-executed-{os.getpid()}"
HOSTILE = {
    "os.system": Calls(os.system, f"touch {MARKER}"), "subprocess.Popen": Calls(subprocess.Popen, ["touch", str(MARKER)]),
    "builtins.eval": Calls(eval, f"open({str(MARKER)!r}, 'w')"), "builtins.getattr": Calls(getattr, Path, "touch"),
    "builtins.bytearray": Calls(bytearray, 3_000_000_000), "torch.load": Calls(torch.load, str(MARKER)),
    "functools.partial": Calls(functools.partial, os.system), "importlib.import_module": Calls(importlib.import_module, "os"),
    "operator.methodcaller": Calls(operator.methodcaller, "touch"), "map": [Calls(map, os.system, ["x"])],
    "torch.hub.load": Calls(torch.hub.load, "a/b", "c"), "builtins.exec": {"deep": [Calls(exec, f"open({str(MARKER)!r}, 'w')")]},
    "gelu": nn.functional.gelu, "np.load": np.load, "test_pickles.omegaconf": omegaconf,
    "runstring": Calls(np.testing.runstring if hasattr(np.testing, "runstring") else np.testing.rundocs, "1", {}),
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_asks_for_a_function_or_a_call_that_does_something_is_refused_unopened_and_named(
    name: str, legacy: bool, tmp_path: Path, says
) -> None:
    torch.save({"ema": WEIGHTS, "x": HOSTILE[name]}, tmp_path / "t.pt", _use_new_zipfile_serialization=not legacy)
    with says(CheckpointError, "asks for ", name.replace("os.system", "posix.system").split(".")[-1], "not opened"):
        checkpoint.read(tmp_path / "t.pt")
    assert not MARKER.exists()


RAW = {
    "a walk through attributes": b"\x80\x04\x8c\x02os\x8c\x0bpath.system\x93\x8c\x01a\x85R.",
    "names from the memo": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94h\x00h\x01\x93\x8c\x01x\x85R.",
    "a name that another call makes": b"\x80\x04cbuiltins\nstr\n\x8c\x02os\x85R\x8c\x06system\x93\x8c\x01x\x85R.",
    "INST": b"\x80\x02(X\x01\0\0\0xios\nsystem\n.",
    "OBJ": b"\x80\x02(cos\nsystem\nX\x01\0\0\0xo.",
    "an extension": b"\x80\x02\x82\x01.",
    "the memo written twice": b"\x80\x02ccollections\nOrderedDict\nq\x000cos\nsystem\nq\x00h\x00X\x01\0\0\0x\x85R.",
    "Python 2's names": b"\x80\x02c__builtin__\neval\nX\x01\0\0\0" + b"1\x85R.",
    "another system's": b"\x80\x02cnt\nsystem\nX\x01\0\0\0x\x85R.",
    "a call of what was made": b"\x80\x02ccollections\nOrderedDict\n)R)R.",
    "nothing on the stack": b"\x80\x02R.",
    "no end": b"\x80\x02}",
    "escapes in a name": b"\x80\x04\x8c\x05a\x1b[2J\x8c\x03xyz\x93)R.",
}


@pytest.mark.parametrize("trick", RAW)
def test_games_with_the_stack_and_the_memo_are_refused(trick: str, tmp_path: Path, says) -> None:
    archive(RAW[trick])(tmp_path / "t.pt")
    with says(CheckpointError, "t.pt"):
        checkpoint.read(tmp_path / "t.pt")


def test_a_whole_model_that_was_saved_is_told_from_its_weights(tmp_path: Path, says) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "t.pt")
    with says(CheckpointError, "whole object of torch.nn.modules.container.Sequential", "state_dict()"):
        checkpoint.read(tmp_path / "t.pt")


def archive(content: bytes) -> Callable[[Path], None]:
    def write(path: Path, how: int = zipfile.ZIP_STORED) -> None:
        with zipfile.ZipFile(path, "w", how) as file:
            file.writestr("a/data.pkl", content)
            file.writestr("a/version", "3\n")

    return write


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("a/data.pkl", "w", force_zip64=True) as record:
        for _ in range(60):
            record.write(b"N" * (1 << 20))


def records(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", b"\x80\x02}.")
        for number in range(20_001):
            file.writestr(f"a/data/{number}", b"")


def many_keys(count: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        keys = (f'"k{number}":{{"dtype":"U8","shape":[1],"data_offsets":[{number},{number + 1}]}}' for number in range(count))
        header = f"{{{','.join(keys)}}}".encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(count))

    return write


END = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 40_000_046, 0, 0)
LARGE = {
    "1,500 harmless globals": archive(b"\x80\x02](" + b"".join(b"c__main__\nC%d\n" % number for number in range(1500)) + b"e."),
    "a deep tuple as key": archive(b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s."),
    "a tuple of itself twice, sixty times": archive(b"\x80\x02}K\x01q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"K\x01s."),
    "a zip bomb as data.pkl": bomb,
    "millions of operations": archive(b"\x80\x02](" + b"N" * (2 << 20) + b"e."),
    "the same, legacy": lambda path: path.write_bytes(b"\x80\x02](" + b"N" * (2 << 20) + b"e."),
    "a text of 40 MB, legacy": lambda path: path.write_bytes(b"\x80\x02X" + struct.pack("<I", 40 << 20) + b"a" * (40 << 20) + b"."),
    "many records": records,
    "300,000 safetensors keys": many_keys(300_000),
    "45,000 safetensors keys": many_keys(45_000),
    "a safetensors header of 90 MB": lambda path: path.write_bytes(struct.pack("<Q", 90 << 20) + b"{" + b" " * (90 << 20)),
    "a deep safetensors header": lambda path: path.write_bytes(struct.pack("<Q", 4_000_000) + b'{"a":' + b"[" * 3_999_995),
    "a million records": lambda path: path.write_bytes(b"PK\1\2" + bytes(42) + b"PK\1\2" * 10_000_000 + END),
    "a tar": lambda path: path.write_bytes(b"0".ljust(512, b"\0") * 20_000),
    "190,000 lists": archive(b"\x80\x02](" + b"]" * 190_000 + b"e."),
    "lists inside lists": archive(b"\x80\x02" + b"]" * 90_000 + b"a" * 89_999 + b"."),
    "a memo with holes": archive(b"\x80\x02N" + b"".join(b"r" + struct.pack("<I", k * 20_000) for k in range(190_000)) + b"."),
    "one number seen a million times": lambda path: torch.save({"w": torch.zeros(1).expand(10**6, 10**6)}, path),
}
PROGRAM = """
import resource, sys, time
from pathlib import Path
import torch
from zoo.catalog import checkpoint
from zoo.errors import CheckpointError
for path in map(Path, sys.argv[1:]):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        checkpoint.read(path)
        raise SystemExit(f"{path} was read")
    except CheckpointError as error:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(path.name, time.process_time() - start, memory // 1024, len(str(error)))
"""


def test_a_file_that_is_larger_inside_than_outside_is_refused_soon_and_in_little_memory(tmp_path: Path) -> None:
    for number, write in enumerate(LARGE.values()):
        write(tmp_path / f"{number}.pt")
    command = [sys.executable, "-c", PROGRAM, *(str(tmp_path / f"{number}.pt") for number in range(len(LARGE)))]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
    figures = {kind: [float(word) for word in line.split()[1:]] for kind, line in zip(LARGE, lines, strict=True)}
    assert {kind: row for kind, row in figures.items() if row[0] > 4 or row[1] > 200 or row[2] > 600} == {}  # alone they take below 1 s
