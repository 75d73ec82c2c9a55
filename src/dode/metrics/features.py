"""Features of images, and their mean and covariance, gathered batch by batch in float64."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError

Features = Callable[[Tensor], Tensor]  # uint8 (N, C, H, W) → (N, D)


class Moments(NamedTuple):
    """Of features, in float64."""

    mean: np.ndarray  # (D,)
    covariance: np.ndarray  # (D, D)


@dataclass(frozen=True, eq=False)
class Tally:
    """What is kept of features that have gone by."""

    count: int
    mean: np.ndarray  # (D,)
    scatter: np.ndarray  # (D, D), Σ (f − mean)(f − mean)ᵀ


def to_uint8(images: Tensor) -> Tensor:
    """From [−1, 1] to 0 … 255, rounded and clipped."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def extracted(features: Features, images: Tensor, batch: int = 500) -> np.ndarray:
    """The features of uint8 images (N, C, H, W): (N, D) in float64; ValueError for other shapes, NaN or infinity."""
    with torch.no_grad():
        parts = [torch.as_tensor(features(part)) for part in images.split(batch)]
    for made, part in zip(parts, images.split(batch), strict=True):
        if made.ndim != 2 or len(made) != len(part):
            raise DodeError(
                f"an extractor must turn {len(part)} images into features ({len(part)}, D); got {tuple(made.shape)}"
            )
    found = np.concatenate([made.cpu().double().numpy() for made in parts])
    if not np.isfinite(found).all():
        raise DodeError("the extractor returned NaN or infinity")
    return found


def tally(features: np.ndarray) -> Tally:
    """Of features (N, D), N at least 1."""
    if features.ndim != 2 or len(features) < 1:
        raise DodeError(f"features must be (N, D) with N at least 1; got {features.shape}")
    wide = features.astype(np.float64)
    mean = wide.mean(0)
    return Tally(len(wide), mean, (wide - mean).T @ (wide - mean))


def merged(a: Tally, b: Tally) -> Tally:
    """The tally of both together; exact, and as stable as one pass over all (Chan, Golub & LeVeque 1983)."""
    count, gap = a.count + b.count, b.mean - a.mean
    scatter = a.scatter + b.scatter + np.outer(gap, gap) * (a.count * b.count / count)
    return Tally(count, a.mean + gap * (b.count / count), scatter)


def finished(found: Tally) -> Moments:
    """Mean and covariance (divided by N − 1)."""
    if found.count < 2:
        raise DodeError(f"a covariance needs features (N, D) with N at least 2; got N = {found.count}")
    return Moments(found.mean, found.scatter / (found.count - 1))


def moments(features: np.ndarray) -> Moments:
    """Mean and covariance of features (N, D)."""
    return finished(tally(features))
