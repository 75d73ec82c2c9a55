"""DDPM++ and NCSN++ (Song et al. 2021) as trained by Karras et al. 2022, with the published parameter names."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from dode.nets.edm_blocks import Block, Conv, Fourier, Style, norm, sinusoid


class DDPMpp(nn.Module):
    """F(x, noise, labels): x (B, C, H, W), noise (B,), labels (B, classes) or None → (B, out_channels, H, W).

    embedding "positional" and encoder "standard" make DDPM++; "fourier", "residual" and the filter (1, 3, 3, 1) make
    NCSN++.
    """

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        out_channels: int,
        classes: int = 0,
        augment: int = 0,
        channels: int = 128,
        widths: tuple[int, ...] = (1, 2, 2, 2),
        embedding_width: int = 4,
        blocks: int = 4,
        attention: tuple[int, ...] = (16,),
        dropout: float = 0.1,
        embedding: str = "positional",
        noise_width: int = 1,
        encoder: str = "standard",
        filter: tuple[float, ...] = (1, 1),
    ) -> None:
        super().__init__()
        if embedding not in ("positional", "fourier") or encoder not in ("standard", "residual"):
            raise ValueError(
                "embedding must be positional or fourier and encoder standard or residual, as in the published "
                f"networks; got {embedding!r} and {encoder!r}"
            )
        width, noise = channels * embedding_width, channels * noise_width
        self.noise = noise
        self.map_noise = Fourier(noise) if embedding == "fourier" else None
        self.map_label = nn.Linear(classes, noise) if classes else None
        self.map_augment = nn.Linear(augment, noise, bias=False) if augment else None  # of training; 0 in sampling
        self.map_layer0 = nn.Linear(noise, width)
        self.map_layer1 = nn.Linear(width, width)
        style = Style(width, dropout, 1e-6, filter, math.sqrt(0.5), adaptive=False, project=True)
        self.enc, skips = self._encoder(resolution, in_channels, channels, widths, blocks, attention, encoder, style)
        self.dec = self._decoder(resolution, out_channels, channels, widths, blocks, attention, skips, style)

    @staticmethod
    def _encoder(
        resolution: int,
        in_channels: int,
        channels: int,
        widths: tuple[int, ...],
        blocks: int,
        attention: tuple[int, ...],
        kind: str,
        style: Style,
    ) -> tuple[nn.ModuleDict, list[int]]:
        made: dict[str, nn.Module] = {}
        skips, width, side = [channels], channels, in_channels
        for level, factor in enumerate(widths):
            size = f"{resolution >> level}x{resolution >> level}"
            if level == 0:
                made[f"{size}_conv"] = Conv(in_channels, channels, 3)
            else:
                made[f"{size}_down"] = Block(width, width, style, down=True)
                skips.append(width)
                if kind == "residual":
                    made[f"{size}_aux_residual"] = Conv(side, width, 3, down=True, filter=style.filter, late=True)
                    side = width
            for i in range(blocks):
                heads = int(resolution >> level in attention)
                made[f"{size}_block{i}"] = Block(width, channels * factor, style, heads)
                width = channels * factor
                skips.append(width)
        return nn.ModuleDict(made), skips

    @staticmethod
    def _decoder(
        resolution: int,
        out_channels: int,
        channels: int,
        widths: tuple[int, ...],
        blocks: int,
        attention: tuple[int, ...],
        skips: list[int],
        style: Style,
    ) -> nn.ModuleDict:
        made: dict[str, nn.Module] = {}
        width = channels * widths[-1]
        for level, factor in reversed(list(enumerate(widths))):
            size = f"{resolution >> level}x{resolution >> level}"
            if level == len(widths) - 1:
                made[f"{size}_in0"] = Block(width, width, style, heads=1)
                made[f"{size}_in1"] = Block(width, width, style)
            else:
                made[f"{size}_up"] = Block(width, width, style, up=True)
            for i in range(blocks + 1):
                heads = int(i == blocks and resolution >> level in attention)
                made[f"{size}_block{i}"] = Block(width + skips.pop(), channels * factor, style, heads)
                width = channels * factor
        made[f"{resolution}x{resolution}_aux_norm"] = norm(width, 1e-6)
        made[f"{resolution}x{resolution}_aux_conv"] = Conv(width, out_channels, 3)
        return nn.ModuleDict(made)

    def _embedding(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        if self.map_noise is None:
            known: Tensor = sinusoid(noise, self.noise, reach=True)
        else:
            known = self.map_noise(noise)
        known = torch.cat(known.chunk(2, dim=1)[::-1], dim=1)  # the published weights have sines first
        if self.map_label is not None and labels is not None:
            known = known + self.map_label(labels * math.sqrt(self.map_label.in_features))
        known = silu(self.map_layer0(known))
        return silu(self.map_layer1(known))

    def forward(self, x: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        embedding = self._embedding(noise, labels)
        skips: list[Tensor] = []
        side = x
        for name, layer in self.enc.items():
            if name.endswith("aux_residual"):
                x = side = skips[-1] = (x + layer(side)) * math.sqrt(0.5)
            else:
                x = layer(x, embedding) if isinstance(layer, Block) else layer(x)
                skips.append(x)
        for layer in self.dec.values():
            if isinstance(layer, Block):
                if layer.channels_in != x.shape[1]:
                    x = torch.cat([x, skips.pop()], dim=1)
                x = layer(x, embedding)
            else:
                x = layer(x) if isinstance(layer, nn.GroupNorm) else layer(silu(x))
        return x
