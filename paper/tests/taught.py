"""Small networks and data for the tests of training."""

import gzip

import torch
from problems import gaussian
from torch import nn

from dode.schedule import Node
from dode_paper.baselines.batched_solver import wide

LABEL = torch.zeros(2, dtype=torch.long)


def exact(x, t, label):
    """The Gaussian's x̂₀ on EDM's schedule, each sample at its own noise level."""
    return gaussian().data(x.double(), Node(0.0, 1.0, wide(t.double(), x))).float()


class Affine(nn.Module):
    """x̂₀ = a·x + b with its own a, b for every pixel and each of the times that it knows; begins at a = b = 0."""

    def __init__(self, times):
        super().__init__()
        self.register_buffer("times", torch.tensor(times, dtype=torch.float32))
        self.a = nn.Parameter(torch.zeros(len(times), 1, 4, 4))
        self.b = nn.Parameter(torch.zeros(len(times), 1, 4, 4))

    def forward(self, x, t, label):
        k = (self.times[None] - t[:, None]).abs().argmin(1)
        # c_in of Karras et al. 2022, so that one rate suits all levels
        return self.a[k] * x / wide((t**2 + 1).sqrt(), x) + self.b[k]


class Gaussian(nn.Module):
    """`exact` as a module, with a weight that must not move."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.ones(1))

    def forward(self, x, t, label):
        return exact(x, t, label)


def write_images(folder, count=40):
    """A small training set in the format of Fashion-MNIST."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 28, 28), generator=generator, dtype=torch.uint8)
    labels = (torch.arange(count) % 10).to(torch.uint8)
    for name, values in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
        with gzip.open(folder / f"{name}.gz", "wb") as file:
            file.write(bytes([0, 0, 8, values.ndim]) + sizes + values.numpy().tobytes())
    return images, labels
