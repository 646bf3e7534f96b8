"""The emoji of six free sets, each fetched once by name and digest as an npm package of SVG in JSON, and rendered to pixels."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalog.card import Source
from zoo.catalog.download import UnavailableError, bring, on_the_web, reason
from zoo.catalog.environment import cache_folder
from zoo.catalog.store import Store
from zoo.errors import ChecksumError, DownloadError

REGISTRY = "https://registry.npmjs.org"
SIDE = 128
"""Pixels a side of a rendered drawing: about two for each that it has in a picture."""


@dataclass(frozen=True)
class Package:
    """One set of drawings on the npm registry, its version, its licence, and the digest that the registry announces of it."""

    name: str
    version: str
    licence: str
    credit: str
    sha512: str
    """In base64, as in `integrity` of the registry."""

    @property
    def url(self) -> str:
        """Where the registry keeps it."""
        return f"{REGISTRY}/@iconify-json/{self.name}/-/{self.name}-{self.version}.tgz"


PACKAGES = (
    Package(
        "noto", "1.2.9", "Apache-2.0", "Noto Emoji, Google",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    ),
    Package(
        "noto-v1", "1.2.5", "Apache-2.0", "Noto Emoji (v1), Google",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
    ),
    Package(
        "fluent-emoji", "1.2.7", "MIT", "Fluent Emoji, Microsoft",
        "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
    ),
    Package(
        "fluent-emoji-flat", "1.2.6", "MIT", "Fluent Emoji Flat, Microsoft",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
    ),
    Package(
        "twemoji", "1.2.5", "CC-BY-4.0", "Twemoji, Twitter and contributors",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
    ),
    Package(
        "emojione", "1.2.3", "CC-BY-4.0", "Emoji One (v2), Emoji One",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
    ),
)  # fmt: skip
"""The sets, in the order of the drawings of a class."""


def fetch(package: Package, folder: Path) -> Path:
    """The package's file under `folder`, over the network where it is not there yet.

    Raises DownloadError where the registry cannot be reached, ChecksumError where the bytes are not those of the digest.
    """
    path = folder / f"{package.name}-{package.version}.tgz"
    if not path.is_file():
        store = Store(folder)
        try:
            remote = on_the_web(Source("url", path.name, url=package.url), path.name)
            blob = store.blobs / bring(remote, store, lambda *_: None, threading.Event())
        except DownloadError:
            raise
        except (OSError, UnavailableError) as error:
            raise DownloadError(f"{package.url} did not arrive ({reason(error)}): connect to the registry and try again.") from error
        os.replace(blob, path)
    found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if found != package.sha512:
        path.unlink()
        raise ChecksumError(
            f"{path.name} is not what was announced: sha512 {package.sha512[:12]}... was promised, {found[:12]}... came and was thrown "
            "away; try again."
        )
    return path


def icons(package: Path) -> dict[str, Any]:
    """The set of a package's file, as Iconify lays it out: icons {name: {body, ...}}, aliases {name: {parent}}, width, height."""
    with tarfile.open(package) as archive:
        return json.load(archive.extractfile("package/icons.json"))


def svg(found: Mapping[str, Any], name: str) -> str:
    """One drawing of a set as a square SVG document, in its middle. Raises KeyError where the set has none of that name."""
    while name in found.get("aliases", {}):
        name = found["aliases"][name]["parent"]
    icon = found["icons"][name]
    left, top, width, height = (
        icon.get(key, found.get(key, usual)) for key, usual in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    side = max(width, height)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left - (side - width) / 2} {top - (side - height) / 2} {side} {side}">{icon["body"]}</svg>'
    )


def pixels(document: str, side: int = SIDE) -> Tensor:
    """An SVG document rendered with resvg: uint8 (4, side, side), colours not multiplied by the coverage, which is the last channel."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=document, width=side, height=side, skip_system_fonts=True)
    return torch.from_numpy(np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))).permute(2, 0, 1).contiguous()


def rendered(sets: Sequence[Mapping[str, Any]], names: Sequence[str], side: int = SIDE) -> Tensor:
    """Every name in every set: uint8 (names, sets, 4, side, side)."""
    return torch.stack([torch.stack([pixels(svg(found, name), side) for found in sets]) for name in names])


@cache
def drawings(names: tuple[str, ...]) -> Tensor:
    """Every name in the six sets, fetched and rendered: uint8 (names, 6, 4, 128, 128)."""
    return rendered([icons(fetch(package, cache_folder() / "drawings")) for package in PACKAGES], names)
