"""What papers report of the variants that they compare, beside what is counted here on the same sizes."""

from __future__ import annotations

from dataclasses import replace

from zoo.catalog.card import Card
from zoo.compare.complexity import complexity

XL_2 = {
    "input_size": 32, "patch_size": 2, "in_channels": 4, "hidden_size": 1152, "depth": 28, "num_heads": 16, "mlp_ratio": 4.0,
    "learn_sigma": True, "null_label": True,
}  # fmt: skip
"""The sizes at which both papers compare."""
DIT = {"adaln-zero": ("675", "118.64"), "adaln": ("600", "118.56"), "in-context": ("449", "119.37"), "cross-attention": ("598", "137.62")}
"""Millions of parameters and billions of multiply-adds of DiT-XL/2 by its conditioning: Peebles and Xie, arXiv 2212.09748, table 4."""
LATTE = {1: "673.68", 2: "673.68"}
"""Millions of parameters of a Latte-XL/2 without classes by its variant: Ma et al., arXiv 2401.03048, section 4. Its multiply-adds are
not compared: how the paper counts them is not known here."""


def beside_the_paper(card: Card) -> str:
    """Parameters and multiply-adds of the kind of a card at its paper's sizes: counted here, and as reported; empty where none are known.

    Fixed position tables are not counted, as they are not in the papers.
    """
    if card.family == "dit":
        kind = card.arch.get("conditioning", "adaln-zero")
        counted = complexity(replace(card, id=f"DiT-XL/2, {kind}", arch=XL_2 | {"num_classes": 1000, "conditioning": kind}))
        params, work = DIT[kind]
        macs = sum(counted.macs.values()) / 1e9
        return f"{_millions(counted.params):.0f} M and {macs:.2f} billion, in the paper {params} M and {work} billion"
    variant = card.arch.get("variant", 1)
    if card.family == "latte" and variant in LATTE:
        counted = complexity(
            replace(card, id=f"Latte-XL/2, {variant}", arch=XL_2 | {"num_classes": 0, "variant": variant, "num_frames": 16})
        )
        return f"{_millions(counted.params):.2f} M, in the paper {LATTE[variant]} M"
    return ""


def _millions(params: dict[str, int]) -> float:
    return sum(count for part, count in params.items() if part != "position embedding") / 1e6
