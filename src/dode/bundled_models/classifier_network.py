"""A small classifier of the bundled data: its features serve the Fréchet distance, its logits class agreement."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import relu

from dode.errors import DodeError

SHAPE = (1, 32, 32)


class Classifier(nn.Module):
    """uint8 or [0, 255] images (N, 1, 32, 32) → logits (N, 10); `features` gives the 64 numbers before them."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.mixes = nn.ModuleList(nn.Conv2d(w, w, 3, padding=1) for w in widths[1:])
        self.norms = nn.ModuleList(nn.GroupNorm(8, w) for w in widths[1:])
        self.dropout = nn.Dropout(0.3)
        self.squeeze = nn.Linear(128 * 16, 64)
        self.head = nn.Linear(64, 10)

    def features(self, images: Tensor) -> Tensor:
        """(N, 64), not negative; ValueError for images of another shape."""
        if tuple(images.shape[1:]) != SHAPE:
            raise DodeError(f"the bundled classifier sees images {SHAPE}; got {tuple(images.shape[1:])}")
        h = images.to(self.head.weight.dtype) / 127.5 - 1
        for conv, norm, mix in zip(self.convs, self.norms, self.mixes, strict=True):
            h = relu(norm(conv(h)))
            h = h + relu(mix(h))
        return relu(self.squeeze(self.dropout(h.flatten(1))))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits
