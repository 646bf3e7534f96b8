"""Files that were changed at random: read or refused in one sentence, soon and in little memory.

Short in the suite; by hand for ten minutes: PATCHWORK_FUZZ=1500 nice python -m pytest -n 2 tests/test_fuzz_files.py
tests/test_fuzz_checkpoints.py, where the number is how many changes are tried of each kind, other ones each time.
"""

from __future__ import annotations

import io
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from zoo.catalog import plain_yaml
from zoo.errors import ZooError
from zoo.media import clips, photographs, pictures, receipts, video

EXAMPLES = int(os.environ.get("PATCHWORK_FUZZ", "30"))
FRAMES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
RECEIPT = {"request": {"model": "m", "fps": 8}, "pixels": pictures.digest(FRAMES[0])}
FILES = dict(video.files(FRAMES, 8, RECEIPT)) | {".png": pictures.png(FRAMES[0], RECEIPT)}
HEIC = io.BytesIO()
pillow_heif.from_pillow(Image.fromarray(FRAMES[0])).save(HEIC)
FILES[".heic"] = HEIC.getvalue()
STUDY = "shared: &s {steps: 5, guidance: 1.5}\ncolumns:\n - {<<: *s, model: tiny-dit}\n - {<<: *s, steps: 7}\nday: 2026-11-25\n"
READERS: list[Callable[[Path], Any]] = [
    receipts.carries_receipt, receipts.read, photographs.is_picture, photographs.open_picture, pictures.read_png, video.read,
    lambda path: clips.open_clip(path, 4),
]  # fmt: skip
SECONDS, MEGABYTES = 10, 200
"""That reading one changed file may take; generous, since others work on the same machine."""

mutation = st.tuples(
    st.sampled_from(["set", "cut", "insert", "repeat", "number"]), st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)
)
mutations = st.lists(mutation, min_size=1, max_size=6)
some = settings(max_examples=EXAMPLES, deadline=None, derandomize=EXAMPLES <= 30, suppress_health_check=list(HealthCheck), database=None)


def changed(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    """A file after a few changes, most of them where its metadata stand."""
    for kind, where, what in changes:
        place = where % max(len(content), 1) if where % 3 else where % max(min(len(content), 200), 1)
        rest = {
            "set": content[place + len(what) :], "cut": b"", "insert": content[place:],
            "repeat": content[max(0, place - 40) :], "number": content[place + 4 :],
        }[kind]  # fmt: skip
        content = content[:place] + (b"" if kind in ("cut", "repeat") else b"\xff\xff\xff\xfe" if kind == "number" else what) + rest
    return content


def answered(reader: Callable[[Any], Any], subject: Any) -> None:
    """The reader ends with an answer or a ZooError of one line, in bounds."""
    start, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = "read"
    try:
        reader(subject)
    except ZooError as error:
        said = str(error)
    except yaml.YAMLError:
        said = "refused" if reader is plain_yaml.load else "\n"
    assert said.isprintable()
    assert len(said) < 600
    assert time.monotonic() - start < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024 < MEGABYTES


@pytest.mark.parametrize("kind", [".png", ".gif", ".webp", ".mp4"])
def test_a_changed_file_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{kind}"

    @settings(some, max_examples=max(3, EXAMPLES // 6) if kind == ".mp4" else EXAMPLES)
    @given(mutations)
    def check(changes: list) -> None:
        path.write_bytes(changed(FILES[kind], changes))
        for reader in READERS:
            answered(reader, path)

    check()


@some
@given(mutations)
def test_changed_yaml_is_read_or_refused(changes: list) -> None:
    answered(plain_yaml.load, changed(STUDY.encode(), changes).decode(errors="replace"))


@some
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner),
    )
)
def test_a_receipt_of_any_json_is_read_or_refused(value: Any) -> None:
    answered(receipts.parse_receipt, json.dumps(value))
