"""Averages that a training keeps as a list, in the order of the model's parameters, without their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

AVERAGES = re.compile(r"ema(?![a-z])|shadow|averag|polyak", re.IGNORECASE)
"""In the name of such a list: torch_ema and diffusers' EMAModel (shadow_params), score_sde, NeMo (ema)."""
BUFFERS = re.compile(
    r"(.*\.)?(pos_embed|temp_embed|position_ids|relative_position_index|attn_mask|num_batches_tracked|running_\w+|freqs\w*)"
)
"""Keys of what is not trained, which some averages leave out."""
DEEPEST = 4


def lists_of_averages(content: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Sequence[Tensor]]]:
    """Every list of tensors in a checkpoint that is named as averages are, with the path to it."""
    if depth > DEEPEST or not isinstance(content, (Mapping, list, tuple)):
        return
    if not isinstance(content, Mapping) and content and all(isinstance(value, Tensor) for value in content):
        if AVERAGES.search(path) and not path.endswith("collected_params") and len(content) > 1:
            yield path, content
        return
    items = content.items() if isinstance(content, Mapping) else enumerate(content)
    for key, value in items:
        if isinstance(key, (str, int)):
            yield from lists_of_averages(value, f"{path}.{key}".lstrip("."), depth + 1)


def with_names(averages: Sequence[Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Averages under the names of the weights of which they are, which give what is not averaged; None where they do not fit in order."""
    for left_out in (re.compile("(?!)"), BUFFERS):
        names = [key for key in state if not left_out.fullmatch(key)]
        if [state[key].shape for key in names] == [value.shape for value in averages]:
            return dict(state) | dict(zip(names, averages, strict=True))
    return None
