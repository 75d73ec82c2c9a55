"""The blocks of the networks in Karras et al. 2022 (appendix F.1 and table 7 say how they are put together).

Written from the papers: BigGAN's residual block as in Song et al. 2021 and Dhariwal & Nichol 2021, the noise level
entering as a shift, or as a scale and a shift.  Parameters have the names of the published state dicts.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, silu

from dode_paper.checkpoints.attention import attend, interleaved


@dataclass(frozen=True)
class Style:
    """What the blocks of one network have in common."""

    embedding: int  # width of the noise embedding
    dropout: float
    eps: float  # of the group norms
    filter: tuple[float, ...]  # of resampling, (1, 1) a mean of two
    skip_scale: float  # a sum of two branches is multiplied by it
    adaptive: bool  # the embedding scales and shifts, or shifts only
    project: bool  # a 1×1 convolution on the residual branch of every change of resolution


def norm(channels: int, eps: float) -> nn.GroupNorm:
    """Group norm over at most 32 groups of at least four channels."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps)


class Conv(nn.Module):
    """A change of resolution by a fixed filter and a convolution: (B, C_in, H, W) → (B, C_out, …); kernel 0 is none."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        up: bool = False,
        down: bool = False,
        filter: tuple[float, ...] = (1, 1),
        late: bool = False,  # resample after the convolution
    ) -> None:
        super().__init__()
        self.up, self.down, self.late, self.kernel = up, down, late, kernel
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel)) if kernel else None
        self.bias = nn.Parameter(torch.zeros(channels_out)) if kernel else None
        if self.weight is not None:
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        taps = torch.tensor(filter, dtype=torch.float32)
        plane = torch.outer(taps, taps)[None, None] / taps.sum() ** 2
        self.taps = len(filter) if up or down else 1
        self.register_buffer("resample_filter", plane if up or down else None)

    def _resampled(self, x: Tensor, pad: int) -> Tensor:
        """Every channel through the filter, twice or half as many positions a side."""
        channels = x.shape[1]
        assert isinstance(self.resample_filter, Tensor)
        taps = self.resample_filter.to(x.dtype).expand(channels, -1, -1, -1)
        if self.up:
            return conv_transpose2d(x, 4 * taps, stride=2, padding=pad, groups=channels)
        return conv2d(x, taps, stride=2, padding=pad, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        pad = (self.taps - 1) // 2
        if self.resample_filter is not None and not self.late:
            x = self._resampled(x, pad)
        if self.weight is not None:
            x = conv2d(x, self.weight, self.bias, padding=self.kernel // 2 + (pad if self.late else 0))
        return self._resampled(x, 0) if self.late else x


class Block(nn.Module):
    """Two convolutions with the noise embedding between them, then attention if heads > 0.

    (B, C_in, H, W), embedding (B, style.embedding) → (B, C_out, …).
    """

    def __init__(
        self, channels_in: int, channels_out: int, style: Style, heads: int = 0, up: bool = False, down: bool = False
    ) -> None:
        super().__init__()
        self.channels_in, self.channels_out, self.style, self.heads = channels_in, channels_out, style, heads
        self.norm0 = norm(channels_in, style.eps)
        self.conv0 = Conv(channels_in, channels_out, 3, up, down, style.filter)
        self.affine = nn.Linear(style.embedding, channels_out * (2 if style.adaptive else 1))
        self.norm1 = norm(channels_out, style.eps)
        self.conv1 = Conv(channels_out, channels_out, 3)
        self.skip = None
        if channels_in != channels_out or up or down:
            kernel = 1 if style.project or channels_in != channels_out else 0
            self.skip = Conv(channels_in, channels_out, kernel, up, down, style.filter)
        if heads:
            self.norm2 = norm(channels_out, style.eps)
            self.qkv = Conv(channels_out, 3 * channels_out, 1)
            self.proj = Conv(channels_out, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(silu(self.norm0(x)))
        moved = self.affine(embedding)[:, :, None, None]
        if self.style.adaptive:
            scale, shift = moved.chunk(2, dim=1)
            h = silu(shift + self.norm1(h) * (1 + scale))
        else:
            h = silu(self.norm1(h + moved))
        h = self.conv1(nn.functional.dropout(h, self.style.dropout, self.training))
        x = (h + (x if self.skip is None else self.skip(x))) * self.style.skip_scale
        if self.heads:
            mixed = attend(self.qkv(self.norm2(x)).flatten(2), self.heads, interleaved)
            x = (x + self.proj(mixed.unflatten(2, x.shape[2:]))) * self.style.skip_scale
        return x


class Fourier(nn.Module):
    """[cos(2π·f·n), sin(2π·f·n)] with fixed random f, saved as `freqs`: Tancik et al. 2020."""

    def __init__(self, channels: int, scale: float = 16) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(channels // 2) * scale)

    def forward(self, noise: Tensor) -> Tensor:
        assert isinstance(self.freqs, Tensor)
        angle = noise[:, None] * (2 * math.pi * self.freqs).to(noise.dtype)
        return torch.cat([angle.cos(), angle.sin()], dim=1)
