"""The convolutional baseline: diffusers' UNet2DModel (after Ho et al., arXiv 2006.11239) behind the names that all backbones have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def build(
    input_size: int = 16,
    in_channels: int = 4,
    hidden_size: int = 64,
    channel_mult: Sequence[int] = (1, 2, 2),
    depth: int = 1,
    head_dim: int = 32,
    num_classes: int = 10,
) -> nn.Module:
    """Build the U-Net, randomly initialised: a level a factor of channel_mult times hidden_size, depth residual blocks each, attention on
    all levels but the first, the class, unless there are 0, added to the time; the last of num_classes + 1 rows is the null label."""
    from diffusers import UNet2DModel

    class UNet(UNet2DModel):
        """The U-Net; forward(x, t, y) as all backbones have it."""

        def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
            """Predict the noise: x (b, c, h, w), t (b,), y (b,) long -> (b, c, h, w)."""
            return super().forward(x.to(self.dtype), t, class_labels=y if self.config.num_class_embeds else None, return_dict=False)[0]

    inner = len(channel_mult) - 1
    return UNet(
        sample_size=input_size,
        in_channels=in_channels,
        out_channels=in_channels,
        block_out_channels=[hidden_size * factor for factor in channel_mult],
        layers_per_block=depth,
        down_block_types=["DownBlock2D", *["AttnDownBlock2D"] * inner],
        up_block_types=[*["AttnUpBlock2D"] * inner, "UpBlock2D"],
        attention_head_dim=head_dim,
        norm_num_groups=16,
        num_class_embeds=num_classes + 1 if num_classes else None,
    )
