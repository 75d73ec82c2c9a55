"""The U-Net of DDPM (Ho et al. 2020) in the block structure, and with the parameter names, of diffusers' UNet2DModel.

So a state dict moves between the two without a table of names. Only what the bundled networks use is here.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention, silu


class ResnetBlock(nn.Module):
    """Two convolutions with the time embedding added between them: (B, C_in, H, W) → (B, C_out, H, W)."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, channels_out)
        self.norm2 = nn.GroupNorm(groups, channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        same = channels_in == channels_out
        self.conv_shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        h = h + self.time_emb_proj(silu(embedding))[:, :, None, None]
        out: Tensor = self.conv_shortcut(x) + self.conv2(silu(self.norm2(h)))
        return out


class Attention(nn.Module):
    """Self-attention over the pixels, with a residual connection: (B, C, H, W) → the same."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.group_norm = nn.GroupNorm(groups, channels)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])  # a list, as in diffusers

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        h: Tensor = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (p(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for p in (self.to_q, self.to_k, self.to_v))
        h = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = x + self.to_out[0](h).transpose(1, 2).reshape(batch, channels, height, width)
        return out


class Resample(nn.Module):
    """Half the resolution by a strided convolution, or double it (nearest neighbour, then a convolution)."""

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(channels, channels, 3, stride=1 if up else 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(interpolate(x, scale_factor=2.0, mode="nearest") if self.up else x)
        return out


class Stage(nn.Module):
    """The blocks of one resolution: resnets, then (except at the end of its half) one change of resolution."""

    def __init__(self, resnets: list[ResnetBlock], resample: Resample | None, up: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(resnets)
        last = nn.ModuleList([] if resample is None else [resample])
        self.add_module("upsamplers" if up else "downsamplers", last)  # diffusers' names
        self.last = "upsamplers" if up else "downsamplers"

    def resampled(self, x: Tensor) -> Tensor | None:
        """X at the next resolution, or None at the end of a half."""
        for resample in self.get_submodule(self.last).children():
            out: Tensor = resample(x)
            return out
        return None


class Middle(nn.Module):
    """Resnet, attention, resnet at the lowest resolution."""

    def __init__(self, channels: int, embedding: int, heads: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(channels, heads, groups)])
        self.resnets = nn.ModuleList([ResnetBlock(channels, channels, embedding, groups) for _ in range(2)])

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.attentions[0](self.resnets[0](x, embedding))
        out: Tensor = self.resnets[1](x, embedding)
        return out


class TimeEmbedding(nn.Module):
    """Two linear layers on the sinusoidal embedding."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(channels, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear_2(silu(self.linear_1(x)))
        return out


def sinusoid(t: Tensor, channels: int, reach: bool = False) -> Tensor:
    """[cos(t·f), sin(t·f)], f from 1 to 10⁻⁴ in geometric steps, the last one included if `reach`: (B, channels)."""
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    frequency = torch.exp(-math.log(10000) * steps / (half - reach))
    angle = t.float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def _downs(widths: tuple[int, ...], layers: int, embedding: int, groups: int) -> tuple[list[Stage], list[int]]:
    """The first half, and the channels of every output that the second half takes up again."""
    stages, skips, width = [], [widths[0]], widths[0]
    for i, w in enumerate(widths):
        resnets = [ResnetBlock(width if j == 0 else w, w, embedding, groups) for j in range(layers)]
        last = i == len(widths) - 1
        stages.append(Stage(resnets, None if last else Resample(w, up=False), up=False))
        skips += [w] * (layers + (not last))
        width = w
    return stages, skips


def _ups(widths: tuple[int, ...], layers: int, embedding: int, groups: int, skips: list[int]) -> list[Stage]:
    """The second half."""
    stages, width, left = [], widths[-1], list(skips)
    for i, w in enumerate(reversed(widths)):
        resnets = []
        for _ in range(layers + 1):
            resnets.append(ResnetBlock(width + left.pop(), w, embedding, groups))
            width = w
        last = i == len(widths) - 1
        stages.append(Stage(resnets, None if last else Resample(w, up=True), up=True))
    return stages


class UNet(nn.Module):
    """ε̂ or any other output of x, the time and the class.

    ``forward(x, t, label)``: x (B, channels, H, W), t (B,), label (B,) of class numbers; the last class is "no label".
    """

    def __init__(
        self,
        channels: int = 4,
        widths: tuple[int, ...] = (32, 64, 128),
        layers: int = 1,
        classes: int = 11,
        heads: int = 2,
        groups: int = 8,
    ) -> None:
        super().__init__()
        embedding = 4 * widths[0]
        self.widths = widths
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], embedding)
        self.class_embedding = nn.Embedding(classes, embedding)
        downs, skips = _downs(widths, layers, embedding, groups)
        self.down_blocks = nn.ModuleList(downs)
        self.mid_block = Middle(widths[-1], embedding, heads, groups)
        self.up_blocks = nn.ModuleList(_ups(widths, layers, embedding, groups, skips))
        self.conv_norm_out = nn.GroupNorm(groups, widths[0])
        self.conv_out = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        embedding = self.time_embedding(sinusoid(t, self.widths[0]).to(x.dtype)) + self.class_embedding(label)
        x = self.conv_in(x)
        skips = [x]
        for stage in self.down_blocks:
            assert isinstance(stage, Stage)
            for block in stage.resnets:
                x = block(x, embedding)
                skips.append(x)
            lower = stage.resampled(x)
            if lower is not None:
                x = lower
                skips.append(x)
        x = self.mid_block(x, embedding)
        for stage in self.up_blocks:
            assert isinstance(stage, Stage)
            for block in stage.resnets:
                x = block(torch.cat([x, skips.pop()], dim=1), embedding)
            higher = stage.resampled(x)
            x = x if higher is None else higher
        out: Tensor = self.conv_out(silu(self.conv_norm_out(x)))
        return out
