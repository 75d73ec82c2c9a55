"""The U-Net of Dhariwal & Nichol 2021 (ADM) and its classifier half, with the published parameter names.

Written from the paper (section 3 and appendix A of it, and of Nichol & Dhariwal 2021); only the names of the
parameters are those of the published state dicts (guided-diffusion).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from dode.bundled_models.unet import sinusoid
from dode.errors import DodeError
from dode_paper.checkpoints.attention import Unpack, attend, by_head, by_part


@dataclass(frozen=True)
class Settings:
    """The constructor's arguments of both halves."""

    resolution: int
    channels: int  # of the first level, before `widths`
    widths: tuple[int, ...]  # factors, level by level
    blocks: int  # residual blocks a level
    attention: tuple[int, ...] = (32, 16, 8)  # resolutions with attention
    head_channels: int | None = 64
    heads: int = 4  # where head_channels is None
    in_channels: int = 3
    out_channels: int = 6  # three more for the learned variances
    classes: int = 0
    dropout: float = 0.0
    scale_shift: bool = True  # the embedding scales and shifts after the second norm, or shifts before it
    residual_resampling: bool = True  # changes of resolution inside residual blocks, or by a convolution
    new_order: bool = False  # of query, key and value in the attention's weights
    groups: int = 32

    def __post_init__(self) -> None:
        if self.resolution % (1 << (len(self.widths) - 1)):
            raise DodeError(f"resolution {self.resolution} cannot be halved {len(self.widths) - 1} times")

    @property
    def embedding(self) -> int:
        """Width of the time embedding."""
        return 4 * self.channels


def resampled(x: Tensor, change: str) -> Tensor:
    """Means of 2×2 positions, or every position twice a side."""
    if change == "down":
        return avg_pool2d(x, 2)
    return interpolate(x, scale_factor=2.0, mode="nearest") if change == "up" else x


class ResBlock(nn.Module):
    """BigGAN's residual block with the time embedding: (B, C_in, H, W), (B, E) → (B, C_out, H, W), or another size."""

    def __init__(self, channels_in: int, channels_out: int, s: Settings, change: str = "") -> None:
        super().__init__()
        self.change, self.scale_shift = change, s.scale_shift
        self.in_layers = nn.Sequential(
            nn.GroupNorm(s.groups, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(s.embedding, channels_out * (2 if s.scale_shift else 1)))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(s.groups, channels_out),
            nn.SiLU(),
            nn.Dropout(s.dropout),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
        )
        same = channels_in == channels_out
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[2](resampled(self.in_layers[:2](x), self.change))
        moved = self.emb_layers(embedding)[:, :, None, None]
        if self.scale_shift:
            scale, shift = moved.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + moved)
        out: Tensor = self.skip_connection(resampled(x, self.change)) + h
        return out


class Attention(nn.Module):
    """Self-attention over the pixels, with a residual connection: (B, C, H, W) → the same."""

    def __init__(self, channels: int, s: Settings) -> None:
        super().__init__()
        self.heads = s.heads if s.head_channels is None else channels // s.head_channels
        self.unpack: Unpack = by_part if s.new_order else by_head
        self.norm = nn.GroupNorm(s.groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = attend(self.qkv(self.norm(x).flatten(2)), self.heads, self.unpack)
        out: Tensor = x + self.proj_out(h).unflatten(2, x.shape[2:])
        return out


class Down(nn.Module):
    """Half the resolution by a strided convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class Up(nn.Module):
    """Every position twice a side, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(resampled(x, "up"))
        return out


def through(layers: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
    """X through the layers of one block, the embedding to those that take it."""
    for layer in layers.children():
        x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
    return x


def encoder(s: Settings) -> tuple[nn.ModuleList, list[int]]:
    """The blocks on the way down, and the channels that each one hands on."""
    width = s.channels * s.widths[0]
    made = [nn.ModuleList([nn.Conv2d(s.in_channels, width, 3, padding=1)])]
    skips = [width]
    for level, factor in enumerate(s.widths):
        for _ in range(s.blocks):
            layers: list[nn.Module] = [ResBlock(width, s.channels * factor, s)]
            width = s.channels * factor
            if s.resolution >> level in s.attention:
                layers.append(Attention(width, s))
            made.append(nn.ModuleList(layers))
            skips.append(width)
        if level < len(s.widths) - 1:
            made.append(nn.ModuleList([ResBlock(width, width, s, "down") if s.residual_resampling else Down(width)]))
            skips.append(width)
    return nn.ModuleList(made), skips


def middle(width: int, s: Settings) -> nn.ModuleList:
    """Residual block, attention, residual block."""
    return nn.ModuleList([ResBlock(width, width, s), Attention(width, s), ResBlock(width, width, s)])


def decoder(s: Settings, skips: list[int]) -> tuple[nn.ModuleList, int]:
    """The blocks on the way up, each of which takes one of `skips`, and the channels of the last."""
    skips, width, made = [*skips], skips[-1], []
    for level, factor in reversed(list(enumerate(s.widths))):
        for i in range(s.blocks + 1):
            layers: list[nn.Module] = [ResBlock(width + skips.pop(), s.channels * factor, s)]
            width = s.channels * factor
            if s.resolution >> level in s.attention:
                layers.append(Attention(width, s))
            if level and i == s.blocks:
                layers.append(ResBlock(width, width, s, "up") if s.residual_resampling else Up(width))
            made.append(nn.ModuleList(layers))
    return nn.ModuleList(made), width


def time_embedding(s: Settings) -> nn.Sequential:
    """Two linear layers on the sinusoids of the time."""
    return nn.Sequential(nn.Linear(s.channels, s.embedding), nn.SiLU(), nn.Linear(s.embedding, s.embedding))


class ADM(nn.Module):
    """ε̂, and the learned variances as further channels.

    x (B, C, H, W), t (B,) from 0 to 999, label (B,) class numbers if it has classes → (B, out_channels, H, W).
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = s = settings
        self.time_embed = time_embedding(s)
        self.label_emb = nn.Embedding(s.classes, s.embedding) if s.classes else None
        self.input_blocks, skips = encoder(s)
        self.middle_block = middle(skips[-1], s)
        self.output_blocks, width = decoder(s, skips)
        self.out = nn.Sequential(
            nn.GroupNorm(s.groups, width), nn.SiLU(), nn.Conv2d(width, s.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        if (label is None) != (self.label_emb is None):
            raise DodeError(
                f"the network has {self.settings.classes} classes; label is {'missing' if label is None else 'given'}"
            )
        embedding = self.time_embed(sinusoid(t, self.settings.channels).to(x.dtype))
        if self.label_emb is not None:
            embedding = embedding + self.label_emb(label)
        skips = []
        for block in self.input_blocks:
            x = through(block, x, embedding)
            skips.append(x)
        x = through(self.middle_block, x, embedding)
        for block in self.output_blocks:
            x = through(block, torch.cat([x, skips.pop()], dim=1), embedding)
        out: Tensor = self.out(x)
        return out
