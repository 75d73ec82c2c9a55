"""DDPM's U-Net (Ho et al. 2020) in its common PyTorch layout, moved into diffusers' UNet2DModel.

The layout: `temb.dense.0`, `conv_in`, `down.0.block.0.norm1`, `mid.block_1`, `up.0.block.0`, `norm_out`, `conv_out`;
`up.i` is the level of `down.i`, so the decoder is numbered from its end.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dode.errors import DodeError
from dode.messages import extra

PARTS = {
    "temb.dense.0": "time_embedding.linear_1",
    "temb.dense.1": "time_embedding.linear_2",
    "mid.block_1": "mid_block.resnets.0",
    "mid.block_2": "mid_block.resnets.1",
    "mid.attn_1": "mid_block.attentions.0",
    "norm_out": "conv_norm_out",
    "conv_in": "conv_in",
    "conv_out": "conv_out",
}
RESNET = {"temb_proj": "time_emb_proj", "nin_shortcut": "conv_shortcut"}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def options(
    resolution: int, channels: int, widths: Sequence[int], blocks: int, attention: Sequence[int]
) -> dict[str, Any]:
    """UNet2DModel's arguments for DDPM's network.

    What is not its default is DDPM's: one head of attention, sines before cosines with the last frequency included,
    an ε of 1e-6 in the norms, and downsampling that pads on the right and below only.
    """
    attends = [resolution >> level in attention for level in range(len(widths))]
    return {
        "sample_size": resolution,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": tuple(channels * width for width in widths),
        "layers_per_block": blocks,
        "down_block_types": tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        "up_block_types": tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        "attention_head_dim": None,
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
        "norm_num_groups": 32,
    }


def network(resolution: int, channels: int, widths: Sequence[int], blocks: int, attention: Sequence[int]) -> nn.Module:
    """The network, with random weights.  Needs the extra diffusers."""
    try:
        from diffusers import UNet2DModel
    except ImportError as error:
        raise DodeError(f"DDPM's network is diffusers' UNet2DModel: {extra('diffusers')}") from error
    made: Any = UNet2DModel  # untyped
    unet: nn.Module = made(**options(resolution, channels, widths, blocks, attention))
    return unet


class Plain(nn.Module):
    """UNet2DModel as dode calls a network: (x, t) → ε̂."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """X (B, 3, H, W), t (B,) → (B, 3, H, W)."""
        out: Tensor = self.unet(x, t, return_dict=False)[0]
        return out


def renamed(state: Mapping[str, Tensor], levels: int) -> dict[str, Tensor]:
    """The state dict under UNet2DModel's names; 1×1 convolutions of attention become the same linear maps.

    Raises ValueError for a name that the layout does not have.
    """
    made = {}
    for key, value in state.items():
        name = _name(key.removeprefix("module."), levels)
        attends = re.search(r"\.attentions\.\d+\.to_(q|k|v|out\.0)\.weight$", name)
        made[name] = value[:, :, 0, 0] if attends and value.ndim == 4 else value
    return made


def _name(key: str, levels: int) -> str:
    """One name of the layout as UNet2DModel's."""
    part, _, kind = key.rpartition(".")  # weight or bias
    if part in PARTS:
        return f"{PARTS[part]}.{kind}"
    for start, end in PARTS.items():
        if part.startswith(start + ".") and start.startswith("mid"):
            return f"{end}.{_inner(part.removeprefix(start + '.'), 'attn' in start)}.{kind}"
    match = re.fullmatch(r"(down|up)\.(\d+)\.(block|attn)\.(\d+)\.(\w+)", part)
    if match:
        half, level, group, i, inner = match.groups()
        where = f"{half}_blocks.{_level(half, level, levels)}"
        group, attends = ("attentions", True) if group == "attn" else ("resnets", False)
        return f"{where}.{group}.{i}.{_inner(inner, attends)}.{kind}"
    match = re.fullmatch(r"(down|up)\.(\d+)\.(downsample|upsample)\.conv", part)
    if match:
        half, level, change = match.groups()
        return f"{half}_blocks.{_level(half, level, levels)}.{change[:-6]}samplers.0.conv.{kind}"
    raise DodeError(f"{key[:80]!r} is no parameter of DDPM's network in its PyTorch layout")


def _level(half: str, level: str, levels: int) -> int:
    return int(level) if half == "down" else levels - 1 - int(level)


def _inner(name: str, attends: bool) -> str:
    return (ATTENTION if attends else RESNET).get(name, name)
