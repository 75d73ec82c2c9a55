"""Small extractors, and features whose figures are known."""

import numpy as np
import torch
from torch import nn


class Projection(nn.Module):
    """A fixed random map of the pixels: (N, C, H, W) → (N, width), in float64."""

    def __init__(self, pixels=64, width=6, seed=0):
        super().__init__()
        self.num_features = width
        matrix = torch.randn(pixels, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        self.matrix = nn.Parameter(matrix / pixels**0.5 / 50, requires_grad=False)

    def forward(self, images):
        return images.flatten(1).double() @ self.matrix


def images(count, seed, lift=0, size=8):
    """Random uint8 images (count, 1, size, size), brighter by `lift`."""
    made = torch.randint(0, 200, (count, 1, size, size), generator=torch.Generator().manual_seed(seed))
    return (made + lift).to(torch.uint8)


def clouds(n, m, width=5, gap=1.0, seed=0):
    """Two Gaussian clouds (n, width), (m, width) whose means are `gap` apart in every coordinate."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)) + gap, rng.normal(size=(m, width))
