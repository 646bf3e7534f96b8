"""How the class and the time enter a DiT or Latte, and what a U-ViT's long skips carry: measured while it runs. No colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from zoo.backbones.dit import AdaLN
from zoo.backbones.dit_blocks import AdaLNDiT

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

MODULATIONS = ("shift attention", "scale attention", "gate attention", "shift mlp", "scale mlp", "gate mlp")
"""What adaLN gives a block, in the order in which it does."""


@torch.no_grad()
def modulations(module: nn.Module, times: Tensor, label: int | None) -> Tensor | None:
    """Mean absolute shift, scale and gate of every block of a DiT or a relative: times (t,) to (t, blocks, 6); None where there is no
    adaLN of the time and the label alone. Where a LightningDiT does without shifts, they are 0, as the gates of a DiT of adaLN blocks.

    No picture is needed. Source: Peebles and Xie, arXiv 2212.09748, section 3.2.
    """
    if not isinstance(module, AdaLN):
        return None
    c = module.t_embedder(times)
    if module.y_embedder is not None and label is not None:
        c = c + module.y_embedder(torch.full((len(times),), label, device=times.device))
    parts = [block.adaLN_modulation(c).float().cpu().unflatten(1, (-1, c.shape[1])).abs().mean(-1) for block in module.modulated[:-1]]
    vectors = torch.stack(parts, 1)
    if vectors.shape[2] == len(MODULATIONS):
        return vectors
    lacking = "gate" if isinstance(module, AdaLNDiT) else "shift"
    given = [place for place, name in enumerate(MODULATIONS) if not name.startswith(lacking)]
    return torch.zeros(*vectors.shape[:2], len(MODULATIONS)).index_copy(2, torch.tensor(given), vectors)


def long_skips(module: nn.Module) -> list[nn.Module]:
    """The linears that merge a U-ViT's long skips, the innermost first; empty for other models."""
    return [part.skip_linear for part in getattr(module, "out_blocks", ()) if part.skip_linear is not None]


@contextmanager
def record_skips(module: nn.Module, scales: Mapping[int, float] | None = None) -> Iterator[dict[int, float]]:
    """Record what each long skip of a U-ViT carries while it runs: skip -> mean norm of what it adds to a token, as a share of
    that and of what comes up the trunk, 0 to 1, of the last pass.

    scales: skip -> factor on what it carries, 0 cuts it; the others are left as they are, to the bit.
    """
    shares: dict[int, float] = {}
    scales = scales or {}
    hooks: list[RemovableHandle] = []

    def watch(index: int, linear: nn.Linear) -> None:
        def keep(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
            trunk, skip = inputs[0].chunk(2, dim=-1)
            left, right = linear.weight.to_dense().chunk(2, dim=1)
            carried, base = ((x @ w.T).float().norm(dim=-1).mean().item() for x, w in ((skip, right), (trunk, left)))
            shares[index] = carried / max(carried + base, 1e-12)
            return (torch.cat([trunk, skip * scales[index]], dim=-1),) if index in scales else None

        hooks.append(linear.register_forward_pre_hook(keep))

    for index, linear in enumerate(long_skips(module)):
        watch(index, linear)
    try:
        yield shares
    finally:
        for hook in hooks:
            hook.remove()
