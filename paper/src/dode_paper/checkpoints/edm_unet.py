"""The two halves of the U-Nets of Karras et al. 2022, level by level, with the published names of their layers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from dode_paper.checkpoints.edm_blocks import Block, Conv, Style


@dataclass(frozen=True)
class Levels:
    """What both halves are built from."""

    resolution: int
    channels: int
    widths: tuple[int, ...]  # factors of `channels`, level by level
    blocks: int  # residual blocks a level; one more on the way up
    attention: tuple[int, ...]  # resolutions with attention
    style: Style
    heads: Callable[[int], int]  # channels → heads of attention
    sparse: bool  # attention in the last block of a level only, on the way up

    def __iter__(self) -> Iterator[tuple[int, str, int, bool]]:
        """Number, name, channels and attention of each level, from the largest."""
        for level, factor in enumerate(self.widths):
            size = self.resolution >> level
            yield level, f"{size}x{size}", self.channels * factor, size in self.attention

    def block(self, channels_in: int, channels_out: int, attends: bool) -> Block:
        """A residual block of this network."""
        return Block(channels_in, channels_out, self.style, self.heads(channels_out) if attends else 0)


def encoder(levels: Levels, in_channels: int, first: int, residual: bool) -> tuple[nn.ModuleDict, list[int]]:
    """The way down, and the channels that its layers hand on; `first`: channels of the first convolution.

    residual: the image itself, smaller level by level, is added at each (NCSN++).
    """
    made: dict[str, nn.Module] = {}
    skips, side = [first], in_channels
    for level, size, width, attends in levels:
        now = skips[-1]
        if level == 0:
            made[f"{size}_conv"] = Conv(in_channels, first, 3)
        else:
            made[f"{size}_down"] = Block(now, now, levels.style, down=True)
            skips.append(now)
        if level and residual:
            made[f"{size}_aux_residual"] = Conv(side, now, 3, down=True, filter=levels.style.filter, late=True)
            side = now
        for i in range(levels.blocks):
            made[f"{size}_block{i}"] = levels.block(skips[-1], width, attends)
            skips.append(width)
    return nn.ModuleDict(made), skips


def decoder(levels: Levels, skips: list[int]) -> tuple[dict[str, nn.Module], int]:
    """The way up, which takes the layers of `skips` from the last, and the channels of its last block."""
    made: dict[str, nn.Module] = {}
    skips, now = [*skips], skips[-1]
    for level, size, width, attends in reversed(list(levels)):
        if level == len(levels.widths) - 1:
            made[f"{size}_in0"] = levels.block(now, now, True)
            made[f"{size}_in1"] = levels.block(now, now, False)
        else:
            made[f"{size}_up"] = Block(now, now, levels.style, up=True)
        for i in range(levels.blocks + 1):
            here = attends and (i == levels.blocks or not levels.sparse)
            made[f"{size}_block{i}"] = levels.block(now + skips.pop(), width, here)
            now = width
    return made, now
