"""SiT (Ma et al., arXiv 2401.08740): DiT's network, which says how a sample moves along a flow, as willisma/SiT models.py computes it."""

from __future__ import annotations

from torch import Tensor

from zoo.backbones.dit import DiT


class SiT(DiT):
    """Scalable interpolant transformer: tree, keys and shapes are DiT's, the answer is a velocity."""

    trained_as = "SiT"

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, modulation: Tensor | None = None) -> Tensor:
        """Predict the velocity dx/dt, t being 1 at the data.

        x (b, c, h, w); t (b,) in [0, 1]; y (b,) long, num_classes = null; modulation (b, m): what `modulation(t, y)` gives, where it is
        known already. Returns (b, c, h, w) in the dtype of the weights: of a network with learn_sigma the first half of its channels,
        the second was never trained.
        """
        return super().forward(x, t, y, modulation)[:, : x.shape[1]]
