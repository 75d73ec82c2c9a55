"""The bundled "fashion" network as a pipeline of diffusers, so that a result there means something."""

from typing import Any

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.nn.functional import pixel_shuffle

from dode.bundled_models import CLASSES, NO_LABEL, tensors
from dode.bundled_models.unet import UNet
from dode.errors import DodeError


def unet2d(net: UNet, label: int) -> UNet2DModel:
    """The same network in diffusers' class, for one class: its embedding is folded into the time embedding's bias."""
    made: Any = UNet2DModel(
        sample_size=16,
        in_channels=net.conv_in.in_channels,
        out_channels=net.conv_out.out_channels,
        block_out_channels=net.widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(net.widths),
        up_block_types=("UpBlock2D",) * len(net.widths),
        attention_head_dim=net.widths[-1] // 2,
        norm_num_groups=8,
        flip_sin_to_cos=True,
        freq_shift=0,
    )
    state = net.state_dict()
    state["time_embedding.linear_2.bias"] = (
        state["time_embedding.linear_2.bias"] + state.pop("class_embedding.weight")[label]
    )
    made.load_state_dict(state)
    unet: UNet2DModel = made.eval().requires_grad_(False)
    return unet


def fashion_pipeline(label: int | None = None) -> DDPMPipeline:
    """A DDPMPipeline of one class 0 … 9, or of no class.  Its states are (4, 16, 16): `unfolded` makes images of them.

    Raises ValueError for another class.
    """
    if label is not None and not 0 <= label < len(CLASSES):
        raise DodeError(f"label must be 0 … {len(CLASSES) - 1}, or None; got {label}")
    net = UNet()
    net.load_state_dict({name.removeprefix("net."): value for name, value in tensors("fashion").items()})
    # clip_sample is on by default in DDPMScheduler; the network's own ODE has no clipping
    scheduler = DDPMScheduler(beta_schedule="linear", clip_sample=False)
    return DDPMPipeline(unet2d(net, NO_LABEL if label is None else label), scheduler)


def unfolded(images: Any) -> Tensor:
    """(N, 4, 16, 16) → (N, 1, 32, 32); or arrays (N, 16, 16, 4), which this pipeline gives before diffusers 0.41."""
    folded = images if isinstance(images, Tensor) else torch.as_tensor(images).movedim(-1, 1)
    return torch.as_tensor(pixel_shuffle(folded, 2))
