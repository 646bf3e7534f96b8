"""The data set "emoji": sets are fetched by digest, and drawn on the same picture for the same seed and index."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoo.errors import ChecksumError, DownloadError
from zoo.training import drawings, emoji
from zoo.training.drawings import PACKAGES, Package, fetch, icons, rendered, svg

RED, BLUE = "#ff0000", "#0000ff"
SET = {
    "prefix": "tiny",
    "icons": {
        "square": {"body": f'<path fill="{RED}" d="M0 0h16v16H0z"/>'},
        "wide": {"body": f'<path fill="{BLUE}" d="M0 0h32v16H0z"/>', "width": 32},
        "left": {"body": f'<path fill="{RED}" d="M0 0h8v16H0z"/>'},
    },
    "aliases": {"block": {"parent": "square"}},
    "width": 16,
    "height": 16,
}


def packed(content: dict) -> bytes:
    """A package as the registry has it: SVG in JSON in a tar file."""
    data, file = json.dumps(content).encode(), io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        entry = tarfile.TarInfo("package/icons.json")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def described(content: bytes) -> Package:
    return Package("tiny", "1.0.0", "MIT", "a test", base64.b64encode(hashlib.sha512(content).digest()).decode())


@pytest.fixture
def registry(hub_server, monkeypatch: pytest.MonkeyPatch):
    """A registry on this machine that knows no package yet; its files are those of a plain web server."""
    monkeypatch.setattr(drawings, "REGISTRY", f"{hub_server.url}/plain")
    return hub_server


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> Tensor:
    """Instead of the drawings of every class, six that are red on their left and blue on their right, in a tone a class and design."""
    classes = len(emoji.CLASSES)
    made = torch.zeros(classes, 6, 4, 32, 32, dtype=torch.uint8)
    made[:, :, 0, :, :16] = (150 + torch.arange(classes, dtype=torch.uint8))[:, None, None, None]
    made[:, :, 2, :, 16:] = (200 + torch.arange(6, dtype=torch.uint8))[:, None, None]
    made[:, :, 3] = 255
    monkeypatch.setattr(emoji, "drawings", lambda _: made)
    return made


def test_a_set_is_fetched_once_and_read_as_it_was_packed(registry, tmp_path: Path) -> None:
    content = packed(SET)
    registry.files["plain", "@iconify-json/tiny/-/tiny-1.0.0.tgz"] = content
    path = fetch(described(content), tmp_path)
    assert icons(path) == SET
    asked = len(registry.log)
    assert fetch(described(content), tmp_path) == path
    assert len(registry.log) == asked


def test_a_set_of_another_digest_is_refused_and_not_kept(registry, says, tmp_path: Path) -> None:
    registry.files["plain", "@iconify-json/tiny/-/tiny-1.0.0.tgz"] = packed(SET)
    wrong = described(packed(SET | {"height": 17}))
    for _ in range(2):
        with says(ChecksumError, "tiny-1.0.0.tgz", wrong.sha512[:12], "try again"):
            fetch(wrong, tmp_path)
    assert list(tmp_path.glob("*.tgz")) == []


def test_a_set_that_does_not_arrive_says_where_it_was_looked_for(registry, says, tmp_path: Path) -> None:
    with says(DownloadError, "tiny-1.0.0.tgz", "not found (404)"):
        fetch(described(b""), tmp_path)


def test_the_six_sets_are_pinned_free_and_different() -> None:
    assert len({package.name for package in PACKAGES}) == 6
    assert len({package.sha512 for package in PACKAGES}) == 6
    assert all(len(base64.b64decode(package.sha512)) == 64 for package in PACKAGES)
    assert {package.licence for package in PACKAGES} == {"Apache-2.0", "MIT", "CC-BY-4.0"}
    assert all(package.credit for package in PACKAGES)


def test_a_drawing_is_rendered_in_the_middle_of_a_square_also_by_another_name() -> None:
    pytest.importorskip("resvg_py")
    (square, block, wide, left) = rendered([SET], ["square", "block", "wide", "left"], side=32)[:, 0]
    assert torch.equal(square, block)
    assert square[:, 16, 16].tolist() == [255, 0, 0, 255]
    assert wide[:, 16, 16].tolist() == [0, 0, 255, 255]
    assert wide[3, :7].max() == 0  # above what is wide lies nothing
    assert wide[3, 9:23].min() == 255
    assert (left[3, :, :15].min(), left[3, :, 17:].max()) == (255, 0)


def test_a_set_without_one_of_the_classes_is_no_training_data() -> None:
    with pytest.raises(KeyError, match="dragon"):
        svg(SET, "dragon")


def test_a_hundred_classes_have_plain_names() -> None:
    assert len(emoji.CLASSES) == len(set(emoji.CLASSES.values())) == 100
    assert all(word.replace(" ", "").isalpha() and word.islower() for word in emoji.CLASSES)
    assert set(emoji.CLASSES) > emoji.ONE_WAY


def test_pictures_are_the_same_for_the_same_seed_and_index_and_differ_for_others(halves: Tensor) -> None:
    one, labels = emoji.batch(20, seed=1, index=3)
    again, others = emoji.batch(20, 1, 3)
    assert torch.equal(one, again)
    assert torch.equal(labels, others)
    assert not torch.equal(one, emoji.batch(20, 1, 4)[0])
    assert not torch.equal(one, emoji.batch(20, 2, 3)[0])
    assert (one.shape, labels.shape, labels.dtype) == ((20, 3, 64, 64), (20,), torch.long)
    assert one.abs().max() <= 1


def test_every_class_and_every_design_is_drawn(halves: Tensor) -> None:
    x, labels = zip(*(emoji.batch(256, 1, index) for index in range(8)), strict=True)
    assert len(torch.cat(labels).unique()) == 100
    blue = ((torch.cat(x)[:, 2, 16:48, 16:48].amax((1, 2)) + 1) * 127.5).round().long() - 200
    assert set(blue.tolist()) == set(range(6))


def test_a_drawing_lies_where_its_look_says(halves: Tensor) -> None:
    labels = torch.zeros(3, dtype=torch.long)
    how = emoji.look(labels, torch.Generator().manual_seed(0))
    ground, none = torch.ones(3, 3), torch.zeros(3)
    how = how._replace(
        centre=torch.tensor([[0.0, 0.0], [4.0, -6.0], [0.0, 0.0]]), side=torch.tensor([32.0, 32.0, 48.0]), tilt=none,
        mirror=torch.tensor([1.0, 1.0, -1.0]), near=ground, far=ground,
    )  # fmt: skip
    x = emoji.paint(halves[labels, 0], how)
    drawn = (x < 0.99).any(1)
    axis = torch.arange(64.0)
    for k, (right, down, side) in enumerate([(0, 0, 32), (4, -6, 32), (0, 0, 48)]):
        columns, rows = axis[drawn[k].any(0)] - 31.5, axis[drawn[k].any(1)] - 31.5
        assert abs(columns.mean() - right) < 0.6
        assert abs(rows.mean() - down) < 0.6
        assert abs(len(columns) - side) <= 2
    assert x[0, 0, 32, 20] > x[0, 2, 32, 20]  # red on the left
    assert x[2, 0, 32, 20] < x[2, 2, 32, 20]  # and on the right in a mirror


def test_a_tilt_turns_the_drawing_by_as_much(halves: Tensor) -> None:
    how = emoji.look(torch.zeros(1, dtype=torch.long), torch.Generator().manual_seed(0))
    one, nothing = torch.ones(1), torch.zeros(1)
    how = how._replace(centre=torch.zeros(1, 2), side=48 * one, tilt=torch.pi / 2 * one, mirror=one)
    upright, turned = (emoji.paint(halves[:1, 0], how._replace(tilt=tilt)) for tilt in (nothing, how.tilt))
    inner = slice(12, 52)
    away = min((turned - upright.rot90(way, (2, 3)))[:, :, inner, inner].abs().max() for way in (1, 3))
    assert away < 0.01


def test_what_a_mirror_would_change_is_never_mirrored(halves: Tensor) -> None:
    names = list(emoji.CLASSES)
    labels = torch.arange(100).repeat(20)
    mirror = emoji.look(labels, torch.Generator().manual_seed(0)).mirror.unflatten(0, (20, 100))
    assert {names[k] for k in range(100) if mirror[:, k].min() == 1} == emoji.ONE_WAY
    assert mirror.abs().unique().tolist() == [1]
