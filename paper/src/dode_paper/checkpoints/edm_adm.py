"""ADM (Dhariwal & Nichol 2021) as trained by Karras et al. 2022 on ImageNet 64, with the published parameter names."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from dode.bundled_models.unet import sinusoid
from dode.errors import DodeError
from dode_paper.checkpoints.edm_blocks import Block, Conv, Style, norm
from dode_paper.checkpoints.edm_unet import Levels, decoder, encoder

HEAD = 64  # channels of an attention head


def heads(channels: int) -> int:
    """How many heads of attention so many channels have."""
    count = channels // HEAD
    if count and channels % count:
        raise DodeError(f"{channels} channels cannot be divided among {count} heads of attention")
    return count


class EDMADM(nn.Module):
    """F(x, noise, labels): x (B, C, H, W), noise (B,), labels (B, classes) or None → (B, out_channels, H, W)."""

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        out_channels: int,
        classes: int = 0,
        augment: int = 0,
        channels: int = 192,
        widths: tuple[int, ...] = (1, 2, 3, 4),
        embedding_width: int = 4,
        blocks: int = 3,
        attention: tuple[int, ...] = (32, 16, 8),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels = channels
        width = channels * embedding_width
        self.map_augment = nn.Linear(augment, channels, bias=False) if augment else None  # for training only
        self.map_layer0 = nn.Linear(channels, width)
        self.map_layer1 = nn.Linear(width, width)
        self.map_label = nn.Linear(classes, width, bias=False) if classes else None
        style = Style(width, dropout, 1e-5, (1, 1), 1.0, adaptive=True, project=False)
        levels = Levels(resolution, channels, widths, blocks, attention, style, heads, sparse=False)
        self.enc, skips = encoder(levels, in_channels, channels * widths[0], residual=False)
        up, last = decoder(levels, skips)
        self.dec = nn.ModuleDict(up)
        self.out_norm = norm(last, 1e-5)
        self.out_conv = Conv(last, out_channels, 3)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        embedding = self.map_layer1(silu(self.map_layer0(sinusoid(noise, self.channels).to(x.dtype))))
        if self.map_label is not None and labels is not None:
            embedding = embedding + self.map_label(labels)
        embedding = silu(embedding)
        skips: list[Tensor] = []
        for layer in self.enc.values():
            x = layer(x, embedding) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for layer in self.dec.values():
            assert isinstance(layer, Block)
            x = layer(x if layer.channels_in == x.shape[1] else torch.cat([x, skips.pop()], dim=1), embedding)
        out: Tensor = self.out_conv(silu(self.out_norm(x)))
        return out
