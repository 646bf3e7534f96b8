"""Pickles of torch.save, looked through before they are opened: what they ask for, and how large they are.

torch.load(weights_only=True) is what opens them; it runs nothing. What describes a training beside the weights becomes a stand-in.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
import sys
import threading
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from zoo.catalog.other_formats import described_archive
from zoo.errors import CheckpointError

OPERATIONS = 200_000
"""Of one pickle; one tensor takes about 35, DiT-XL/2 with its average and the optimizer's state 55,000."""
PICKLE = 32 << 20
"""Bytes of a pickle without its tensors."""
RECORDS = 20_000
"""Files in a checkpoint's zip archive, one a tensor."""
KINDS = 250
"""Classes that a training may leave beside the weights."""
NESTED, REPEATED = 50, 100_000
"""Tuples inside tuples, and what they hold in all: Python computes their hash by recursion."""

OPENED = re.compile(
    r"collections\.(OrderedDict|Counter)|_codecs\.encode|builtins\.(set|complex)|torch\.(\w+|nn\.parameter\.Parameter|_utils\._rebuild_\w+"
    r"|_tensor\._rebuild_from_type_v2|storage\.\w+|serialization\._get_layout|cuda\.\w+)"
)
"""What torch.load itself makes of a pickle: tensors, and plain containers."""
DESCRIPTIONS = re.compile(
    r"argparse\.Namespace|pathlib\.(_local\.)?(Pure)?(Posix|Windows)?Path|datetime\.(datetime|date|time|timedelta|timezone)|decimal\.Decimal"
    r"|collections\.(defaultdict|deque|ChainMap|UserDict|UserList)|types\.SimpleNamespace|typing\.\w+|fractions\.Fraction|uuid\.UUID"
    r"|copyreg\._reconstructor|builtins\.(object|dict|list|tuple|str|int|float|bool|bytes|frozenset|slice|range|type|NoneType)"
    r"|builtins\.\w+(Error|Exception|Warning)|_operator\.getitem|types\.GenericAlias|random\.Random|time\.struct_time"
    r"|ipaddress\.\w+|collections\.UserString"
    r"|numpy\.(ndarray|dtype|bool_?|u?int\d+|float\d+|datetime64|str_|dtypes\.\w+|_?core\.multiarray\.(scalar|_reconstruct)"
    r"|_?core\.numeric\._frombuffer|random\.(_pickle|_\w+|bit_generator)\.\w+|ma\.(core\.)?(_mareconstruct|MaskedArray))"
)
"""Names of the standard library and of numpy that describe a training, and do nothing when they are called; typing writes Dict[str, int]
as a getitem."""
MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19."
"""With what torch.save began a file before PyTorch 1.6, within its first bytes."""
PROTOCOL = 3
"""The highest pickle protocol of which torch.load knows every operation with weights_only; torch.save writes 2."""
BROKEN = (RuntimeError, OSError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError)
BROKEN += (struct.error, zipfile.BadZipFile, MemoryError, AssertionError)
"""What reading a damaged pickle may raise."""
_LOADING = threading.Lock()


class Inert:
    """Stands for an object of a training's configuration: takes whatever the pickle gives it, and does nothing."""

    name = ""
    """Of the class for which it stands."""
    state: object = None
    """Of the object for which it stands: plain values and other stand-ins."""

    def __new__(cls, *_: object, **__: object) -> Any:
        """Ignore the arguments."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Keep the state, and do nothing with it."""
        self.state = state


class InertMapping(Inert):
    """Stands for one that is filled as a dictionary is, such as a defaultdict."""

    def __new__(cls, *_: object, **__: object) -> Any:
        """The plain one that torch.load fills."""
        return OrderedDict()


class InertList(Inert):
    """Stands for one that is filled as a list is, such as a deque."""

    def __new__(cls, *_: object, **__: object) -> Any:
        """The plain one that torch.load fills."""
        return []


@dataclass
class Contents:
    """What a pickle asks for by name, and what it does with each: new | items | appends."""

    names: dict[str, set[str]] = field(default_factory=dict)
    whole: str = ""
    """The class of the object that was saved, where it is none of torch's."""
    protocol: int = 0


def unpickle(path: Path, label: str) -> Any:
    """What torch.load makes of a checkpoint with weights_only, mapped from the file where it is a zip archive.

    Raises CheckpointError where it is damaged, larger inside than outside, or asks for what weights never need; it was not opened then.
    """
    try:
        with _LOADING, warnings.catch_warnings():  # settings of the whole process
            warnings.simplefilter("ignore")  # of protocols and escapes that torch.save does not write
            with path.open("rb") as file:
                is_zip = file.read(2) == b"PK"
            contents = _in_zip(path, label) if is_zip else _in_stream(path, label)
            if contents.protocol > PROTOCOL:
                raise CheckpointError(
                    f"{label} is a pickle of protocol {contents.protocol}, and PyTorch reads none above {PROTOCOL} without executing it: "
                    "save it again without pickle_protocol, or as safetensors."
                )
            stand_ins = [(_stand_in(name, uses), name) for name, uses in contents.names.items() if not OPENED.fullmatch(name)]
            stand_ins += [(one, name.replace("builtins.", "exceptions.")) for one, name in stand_ins]  # as protocol 2 spells errors
            with torch.serialization.safe_globals(stand_ins), path.open("rb") as file:
                by_name = is_zip and path.suffix != ".safetensors"  # torch.load takes a path with this ending for what it says
                source, mapped = (path, {"mmap": True}) if by_name else (file, {})
                content = torch.load(source, map_location="cpu", weights_only=True, **mapped)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise _refused(
            label, f"asks for {match[1]}, which weights never need" if match else "is damaged, or no plain dictionary of weights"
        ) from None
    except BROKEN as error:
        reason = "".join(filter(str.isprintable, str(error).split("\n")[0].split(". ")[0].rstrip(".")[:120]))
        raise CheckpointError(f"{label} is a damaged or truncated PyTorch checkpoint ({reason}): fetch the model again.") from None
    if isinstance(content, Inert) or contents.whole:
        raise CheckpointError(f"{label} holds a whole object of {contents.whole}, not its weights: save its state_dict() instead.")
    return content


def _stand_in(name: str, uses: set[str]) -> type:
    return type("StandIn", (InertMapping if "items" in uses else InertList if "appends" in uses else Inert,), {"name": name})


def _refused(label: str, what: str) -> CheckpointError:
    return CheckpointError(f"{label} is a pickle that {what}: it was not opened, and should not be trusted.")


def _in_zip(path: Path, label: str) -> Contents:
    if (count := _records(path)) > RECORDS:
        raise CheckpointError(
            f"{label} is an archive of {count:,} files, more than the {RECORDS:,} tensors of any model here: cut it down."
        )
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if any(info.filename.endswith(("/constants.pkl", "/code/__torch__.py")) for info in infos):
            raise CheckpointError(f"{label} is a TorchScript program, not weights: load it where it came from and save its state_dict().")
        pickles = [info for info in infos if info.filename.endswith("data.pkl")]
        if len(pickles) != 1:
            what = described_archive(info.filename for info in infos)
            raise CheckpointError(f"{label} is a zip archive, but not a checkpoint of torch.save{what}.")
        if any(info.compress_type for info in infos) or sum(info.file_size for info in infos) > path.stat().st_size:
            raise CheckpointError(f"{label} is a compressed archive, which torch.save never writes: unpack it, or fetch the model again.")
        if pickles[0].file_size > PICKLE:
            raise _refused(label, f"is {pickles[0].file_size:,} bytes long without any tensor")
        with archive.open(pickles[0]) as stream:
            return _look_through(_Limited(stream), label, Contents())


def _records(path: Path) -> int:
    """How many files a zip archive says it holds, read off its end: listing them would take memory for each."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 65_557))
        tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0:
        raise zipfile.BadZipFile("its end is missing")
    count, directory = struct.unpack_from("<H", tail, at + 10)[0], struct.unpack_from("<I", tail, at + 12)[0]
    wide = tail.rfind(b"PK\6\6", 0, at)
    if count == 0xFFFF or directory == 0xFFFFFFFF:
        count, directory = struct.unpack_from("<QQ", tail, wide + 32) if wide >= 0 else (count, directory)
    return max(count, directory // 300)  # whatever it says: an entry takes 46 bytes and its name


def _in_stream(path: Path, label: str) -> Contents:
    """The format before PyTorch 1.6: a magic number, a version, the machine, the object and the names of its storages, then bytes."""
    contents = Contents()
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(0)
        stream = _Limited(file)
        for number in range(5):
            whole = _look_through(stream, label, contents).whole
            if MAGIC not in head:
                raise CheckpointError(
                    f"{label} is a pickle, but none of torch.save: save the tensors by name with torch.save, or as safetensors."
                )
            if number == 3:
                saved = whole
    contents.whole = saved
    return contents


class _Limited:
    """A stream of which no more is read than a pickle may take."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.left = stream, PICKLE

    def read(self, size: int = -1) -> bytes:
        """As a file's; at most what is left."""
        if not 0 <= size <= self.left:
            raise ValueError(f"more than {PICKLE:,} bytes without any tensor")
        self.left -= size
        return self.stream.read(size)

    def readline(self) -> bytes:
        """As a file's; names are short."""
        self.left -= 1000
        return self.stream.readline(1000)


EFFECTS = {op.name: (len(op.stack_before), pickletools.markobject in op.stack_before, len(op.stack_after)) for op in pickletools.opcodes}
"""What every operation takes from the stack, whether down to a mark, and how much it leaves."""
SIMPLE = {name for name, effect in EFFECTS.items() if effect == (0, False, 1) and not re.search("GET|GLOBAL|MARK|UNICODE|TUPLE", name)}
"""Those that only put a plain value on the stack."""
MARK = ("mark", "", 0, 0)
PLAIN = ("plain", "", 0, 1)


def _look_through(stream: _Limited, label: str, contents: Contents) -> Contents:
    """Follow one pickle without making anything of it: which names it asks for, and what it does with them. Raises CheckpointError."""
    machine = _Machine(label, contents)
    for name, arg in _operations(stream, label):
        if name in SIMPLE:
            machine.stack.append(PLAIN)
        else:
            machine.step(name, arg)
    return _judged(contents, label)


class _Machine:
    """The stack of a pickle, of which each item is (kind, name or text, tuples inside it, parts in all)."""

    def __init__(self, label: str, contents: Contents) -> None:
        self.label, self.contents, self.stack, self.memo = label, contents, [], {}

    def step(self, name: str, arg: Any) -> None:
        """Do what one operation does, with names in the place of objects."""
        takes, to_mark, leaves = EFFECTS[name]
        popped: list[tuple] = []
        if to_mark:
            while (item := self.stack.pop()) is not MARK:
                popped.append(item)
            takes = max(0, takes - 2)
        popped += [self.stack.pop() for _ in range(takes)]
        if "PUT" in name or name == "MEMOIZE":
            self.stack += popped
            self.memo[len(self.memo) if name == "MEMOIZE" else arg] = self.stack[-1]
        elif name == "PROTO":
            self.contents.protocol = max(self.contents.protocol, arg)
        elif name == "STOP":
            self._end(*popped[-1])
        elif leaves:
            item = self._item(name, arg, popped)
            self.stack += [item] * leaves

    def _item(self, name: str, arg: Any, popped: list[tuple]) -> tuple:
        if name == "MARK":
            return MARK
        if name in ("GLOBAL", "INST", "STACK_GLOBAL"):
            module, called = str(arg).split(" ", 1) if arg is not None else (str(item[1]) for item in reversed(popped))
            return ("name", _ask(self.contents, module, called, self.label), 0, 1)
        if "GET" in name:
            return self.memo[arg]
        if name in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            return self._made(name, *popped[-1])
        if name in ("APPEND", "APPENDS", "ADDITEMS", "SETITEM", "SETITEMS", "BUILD"):
            kind, called, *_ = popped[-1]
            if kind == "made" and name != "BUILD":
                self.contents.names[called].add("items" if name.startswith("SET") else "appends")
            return popped[-1]
        if "TUPLE" in name:
            deep, size = 1 + max((item[2] for item in popped), default=0), 1 + sum(item[3] for item in popped)
            if deep > NESTED or size > REPEATED:
                raise _refused(self.label, f"holds tuples inside tuples, {deep} deep with {size:,} parts")
            return ("plain", "", deep, size)
        return ("plain", arg, 0, 1) if "UNICODE" in name else PLAIN

    def _made(self, name: str, kind: str, called: str, *_: int) -> tuple:
        if kind != "name":
            _judged(self.contents, self.label)  # says by which name, if it is one
            raise _refused(self.label, "calls what it made itself")
        if name != "REDUCE":
            self.contents.names[called].add("new")
        return ("made", called, 0, 1)

    def _end(self, kind: str, called: str, *_: int) -> None:
        own = kind == "made" and not OPENED.fullmatch(called) and "items" not in self.contents.names[called]
        self.contents.whole = called if own else ""


def _operations(stream: _Limited, label: str) -> Iterator[tuple[str, Any]]:
    for count, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
        if count == OPERATIONS:
            raise _refused(label, f"has more than {OPERATIONS:,} operations")
        yield opcode.name, arg


def _ask(contents: Contents, module: str, name: str, label: str) -> str:
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    full = re.sub(r"[^\w.<>-]", "?", f"{module}.{name}")[:120]
    contents.names.setdefault(full, set())
    if len(contents.names) > KINDS:
        raise _refused(label, f"names more than {KINDS} kinds of objects beside its weights")
    return full


def _judged(contents: Contents, label: str) -> Contents:
    """Raise CheckpointError for the first name that is a function's, or that does something when it is called."""
    for name, uses in contents.names.items():
        if OPENED.fullmatch(name) or DESCRIPTIONS.fullmatch(name):
            continue
        is_class = "new" in uses or re.search(r"\._*[A-Z]\w*$", name)  # functions are never made anew, and begin with a small letter
        if name.split(".")[0] in (*sys.stdlib_module_names, "numpy") or not is_class:
            raise _refused(label, f"asks for {name}, which weights never need")
    return contents
