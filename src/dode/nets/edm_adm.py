"""ADM (Dhariwal & Nichol 2021) as trained by Karras et al. 2022 on ImageNet 64, with the published parameter names."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from dode.nets.edm_blocks import Block, Conv, Style, norm, sinusoid

HEAD = 64  # channels of an attention head


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
        self.map_augment = nn.Linear(augment, channels, bias=False) if augment else None  # of training; 0 in sampling
        self.map_layer0 = nn.Linear(channels, width)
        self.map_layer1 = nn.Linear(width, width)
        self.map_label = nn.Linear(classes, width, bias=False) if classes else None
        style = Style(width, dropout, 1e-5, (1, 1), 1.0, adaptive=True, project=False)

        enc: dict[str, nn.Module] = {}
        skips, now = [channels * widths[0]], channels * widths[0]
        for level, factor in enumerate(widths):
            size = f"{resolution >> level}x{resolution >> level}"
            if level == 0:
                enc[f"{size}_conv"] = Conv(in_channels, now, 3)
            else:
                enc[f"{size}_down"] = Block(now, now, style, down=True)
                skips.append(now)
            for i in range(blocks):
                enc[f"{size}_block{i}"] = _block(now, channels * factor, style, resolution >> level in attention)
                now = channels * factor
                skips.append(now)
        self.enc = nn.ModuleDict(enc)

        dec: dict[str, nn.Module] = {}
        for level, factor in reversed(list(enumerate(widths))):
            size = f"{resolution >> level}x{resolution >> level}"
            if level == len(widths) - 1:
                dec[f"{size}_in0"] = _block(now, now, style, True)
                dec[f"{size}_in1"] = Block(now, now, style)
            else:
                dec[f"{size}_up"] = Block(now, now, style, up=True)
            for i in range(blocks + 1):
                attends = resolution >> level in attention
                dec[f"{size}_block{i}"] = _block(now + skips.pop(), channels * factor, style, attends)
                now = channels * factor
        self.dec = nn.ModuleDict(dec)
        self.out_norm = norm(now, 1e-5)
        self.out_conv = Conv(now, out_channels, 3)

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        embedding = self.map_layer1(silu(self.map_layer0(sinusoid(noise, self.channels, reach=False))))
        if self.map_label is not None and labels is not None:
            embedding = embedding + self.map_label(labels)
        embedding = silu(embedding)
        skips: list[Tensor] = []
        for layer in self.enc.values():
            x = layer(x, embedding) if isinstance(layer, Block) else layer(x)
            skips.append(x)
        for layer in self.dec.values():
            assert isinstance(layer, Block)
            if layer.channels_in != x.shape[1]:
                x = torch.cat([x, skips.pop()], dim=1)
            x = layer(x, embedding)
        out: Tensor = self.out_conv(silu(self.out_norm(x)))
        return out


def _block(channels_in: int, channels_out: int, style: Style, attends: bool) -> Block:
    heads = channels_out // HEAD if attends else 0
    if heads and channels_out % heads:
        raise ValueError(f"{channels_out} channels cannot be divided among {heads} heads of attention")
    return Block(channels_in, channels_out, style, heads)
