"""DDPM++ and NCSN++ (Song et al. 2021) as trained by Karras et al. 2022, with the published parameter names."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from dode.bundled_models.unet import sinusoid
from dode.errors import DodeError
from dode_paper.checkpoints.edm_blocks import Block, Conv, Fourier, Style, norm
from dode_paper.checkpoints.edm_unet import Levels, decoder, encoder


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
        encoder_type: str = "standard",
        filter: tuple[float, ...] = (1, 1),
    ) -> None:
        super().__init__()
        if embedding not in ("positional", "fourier") or encoder_type not in ("standard", "residual"):
            raise DodeError(
                "embedding must be positional or fourier and encoder standard or residual, as in the published "
                f"networks; got {embedding[:60]!r} and {encoder_type[:60]!r}"
            )
        width, self.noise = channels * embedding_width, channels * noise_width
        self.map_noise = Fourier(self.noise) if embedding == "fourier" else None
        self.map_label = nn.Linear(classes, self.noise) if classes else None
        self.map_augment = nn.Linear(augment, self.noise, bias=False) if augment else None  # for training only
        self.map_layer0 = nn.Linear(self.noise, width)
        self.map_layer1 = nn.Linear(width, width)
        style = Style(width, dropout, 1e-6, filter, math.sqrt(0.5), adaptive=False, project=True)
        levels = Levels(resolution, channels, widths, blocks, attention, style, heads=lambda _: 1, sparse=True)
        self.enc, skips = encoder(levels, in_channels, channels, encoder_type == "residual")
        up, last = decoder(levels, skips)
        size = f"{resolution}x{resolution}"
        self.dec = nn.ModuleDict(
            up | {f"{size}_aux_norm": norm(last, 1e-6), f"{size}_aux_conv": Conv(last, out_channels, 3)}
        )

    def _embedding(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        if self.map_noise is None:
            known: Tensor = sinusoid(noise, self.noise, reach=True).to(noise.dtype)
        else:
            known = self.map_noise(noise)
        known = torch.cat(known.chunk(2, dim=1)[::-1], dim=1)  # the published weights have sines first
        if self.map_label is not None and labels is not None:
            known = known + self.map_label(labels * math.sqrt(self.map_label.in_features))
        return silu(self.map_layer1(silu(self.map_layer0(known))))

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
                x = layer(x if layer.channels_in == x.shape[1] else torch.cat([x, skips.pop()], dim=1), embedding)
            else:
                x = layer(x) if isinstance(layer, nn.GroupNorm) else layer(silu(x))
        return x
