"""The drawings that ship in the sprite of the page, as the training's own are: what tests draw pictures and clips from, offline."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zoo.compare.nearest import known
from zoo.training import clips, emoji
from zoo.training.nearest_data import ACROSS, TILE
from zoo.ui.server import page_files


@cache
def shipped(_: tuple[str, ...] = ()) -> Tensor:
    """Every class in the sets that may be shown: uint8 (100, 4, 4, 64, 64), colours and coverage."""
    with Image.open(page_files.FOLDER / "drawings.webp") as file:
        sheet = torch.from_numpy(np.array(file.convert("RGBA")))
    rows = len(sheet) // TILE
    tiles = sheet.view(rows, TILE, ACROSS, TILE, 4).permute(0, 2, 4, 1, 3).flatten(0, 1)
    return tiles.unflatten(0, (-1, known().pictured)).contiguous()


@pytest.fixture
def shipped_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and clips of the training data are drawn from what ships, without the registry."""
    monkeypatch.setattr(emoji, "drawings", shipped)
    monkeypatch.setattr(clips, "drawings", shipped)
