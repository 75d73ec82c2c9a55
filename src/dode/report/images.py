"""Samples as pictures inside the page."""

from base64 import b64encode
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from dode.metrics import to_uint8
from dode.model import Model

LARGEST = 128  # pixels of a picture's longer side: the page holds hundreds of them


def drawable(model: Model, samples: Tensor) -> Tensor | None:
    """Samples (n, *shape) as images in [-1, 1], (n, 1 or 3, H, W), at most 128 pixels wide; None if they are not."""
    images = samples if model.decode is None else model.decode(samples)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        return None
    images = images.detach().float().cpu()
    factor = -(-max(images.shape[-2:]) // LARGEST)
    return images if factor == 1 else torch.nn.functional.avg_pool2d(images.clamp(-1, 1), factor)


def addresses(images: Tensor) -> list[str]:
    """Each image (n, C, H, W) in [-1, 1] as a data address of a PNG."""
    return [_address(pixels) for pixels in to_uint8(images).numpy().transpose(0, 2, 3, 1)]


def _address(pixels: np.ndarray) -> str:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()
