"""Checkpoints and cards that were changed at random, short here; by hand as test_fuzz_files.py says: read or refused in one sentence, soon
and in little memory, and nothing that they name is run."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from test_fuzz_files import answered, changed, mutations, some

from zoo.catalog import card, checkpoint
from zoo.compare import study

WATCHED = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "os.remove", "shutil.rmtree"}
"""What Python tells its auditors of, and no reading of weights does."""
RUN: list[str] = []
WATCHING: list[bool] = []


def watch(event: str, _: tuple) -> None:
    """Note what is run while a file is read; an auditor stays for the whole process."""
    if WATCHING and event in WATCHED:
        RUN.append(event)


class Calls:
    """Asks for a command once it is read."""

    def __reduce__(self) -> tuple:
        return os.system, ("true",)


def pickled(legacy: bool, content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


WEIGHTS = {"a.weight": torch.ones(2, 3), "a.bias": torch.ones(2), "n": torch.tensor(1)}
CONTENTS = [WEIGHTS, {"ema": WEIGHTS, "args": {"lr": (1e-4, [1]), "names": {"x"}}, "step": 7}, {"ema": WEIGHTS, "x": Calls()}]
ZIPS, LEGACY = ([pickled(legacy, content) for content in CONTENTS] for legacy in (False, True))
TENSORS = save(WEIGHTS, {"format": "pt"})
CARD = (Path(card.__file__).parents[2] / "model_cards" / "tiny-dit.md").read_bytes()


def repacked(content: bytes, changes: list) -> bytes:
    """A zip archive whose pickle was changed, and which is whole otherwise."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            inside = old.read(info)
            new.writestr(info.filename, changed(inside, changes) if info.filename.endswith("data.pkl") else inside)
    return file.getvalue()


def with_header(changes: list) -> bytes:
    """A safetensors file whose header was changed and says its own length."""
    length = int.from_bytes(TENSORS[:8], "little")
    header = changed(TENSORS[8 : 8 + length], changes)
    return struct.pack("<Q", len(header)) + header + TENSORS[8 + length :]


NAMES = ["posix\nsystem", "argparse\nNamespace", "collections\nOrderedDict", "torch._utils\n_rebuild_tensor_v2", "a.b\nC", "builtins\ndict"]
OPERATIONS = st.one_of(
    st.sampled_from([bytes([code]) for code in b"()]}NteRbasu0123dlo\x81\x85\x86\x87\x88\x8f\x90\x91\x93\x94Q"]),
    st.sampled_from([f"c{name}\n".encode() for name in NAMES]),
    st.sampled_from([b"q\0", b"h\0", b"q\1", b"h\1", b"K\1", b"X\1\0\0\0a", b"X\0\0\0\0", b"L9\n", b"C\1a"]),
    st.binary(min_size=1, max_size=6),
)
"""Of a pickle, most of which mean something."""


@pytest.fixture(scope="module", autouse=True)
def auditor() -> None:
    sys.addaudithook(watch)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "a.pt"
    assert RUN == []


def tried(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    WATCHING.append(True)
    try:
        answered(checkpoint.read, path)
    finally:
        WATCHING.clear()


@pytest.mark.parametrize("kind", range(len(CONTENTS)))
def test_a_changed_checkpoint_is_read_or_refused_and_nothing_in_it_is_run(path: Path, kind: int) -> None:
    @some
    @given(mutations)
    def check(changes: list) -> None:
        tried(path, changed(ZIPS[kind], changes))
        tried(path, repacked(ZIPS[kind], changes))
        tried(path, changed(LEGACY[kind], changes))

    check()


def test_a_pickle_of_any_operations_is_read_or_refused(path: Path) -> None:
    @some
    @given(st.lists(OPERATIONS, max_size=30), st.sampled_from([b"\x80\x02", b"\x80\x04", b""]))
    def check(operations: list[bytes], start: bytes) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a/data.pkl", start + b"".join(operations) + b".")
            archive.writestr("a/version", "3\n")
        tried(path, file.getvalue())

    check()


def test_a_changed_safetensors_file_is_read_or_refused(path: Path) -> None:
    @some
    @given(mutations)
    def check(changes: list) -> None:
        tried(path, changed(TENSORS, changes))
        tried(path, with_header(changes))

    check()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["F32", "I64", "F8_E4M3"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dtype", "shape", "data_offsets", "a"]), inner, max_size=3)
    ),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {"dtype": values, "shape": st.lists(st.integers(), max_size=4), "data_offsets": st.lists(st.integers(), max_size=2)}
)


def test_a_safetensors_header_of_any_json_is_read_or_refused(path: Path) -> None:
    @some
    @given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__", ""]), values | entries, max_size=3))
    def check(header: dict) -> None:
        text = json.dumps(header).encode()
        tried(path, struct.pack("<Q", len(text)) + text + bytes(16))

    check()


@some
@given(mutations)
def test_a_changed_card_is_read_or_refused(changes: list) -> None:
    answered(lambda text: card.parse("own", text), changed(CARD, changes).decode(errors="replace"))


@some
@given(values)
def test_a_card_that_says_anything_is_read_or_refused(value: object) -> None:
    answered(lambda said: card.parse("own", f"---\n{json.dumps({'license': 'mit', 'zoo': said})}\n---\n"), value)


def test_a_changed_study_is_read_or_refused(tmp_path: Path) -> None:
    @some
    @given(mutations)
    def check(changes: list) -> None:
        (tmp_path / "a.yaml").write_bytes(changed(b"columns:\n - {model: tiny-dit, steps: 5}\n - {model: tiny-uvit, seed: 7}\n", changes))
        answered(study.read, tmp_path / "a.yaml")

    check()
