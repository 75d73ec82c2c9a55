"""Features of images, and what compares two sets of them: Fréchet distance, KID, precision and recall.

    FD = |μ₁ − μ₂|² + tr(C₁ + C₂ − 2·(C₁C₂)^½)                     Heusel et al. 2017
    KID = unbiased squared MMD under k(x, y) = (x·y/D + 1)³          Bińkowski et al. 2018

Precision is the share of samples among the data, recall that of data among the samples: a point is among others if it
is within the distance from one of them to its k-th nearest neighbour (Kynkäänniemi et al. 2019).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError

Features = Callable[[Tensor], Tensor]  # uint8 (N, C, H, W) → (N, D)
SUBSETS, SIZE = 100, 1000  # of KID, as published
NEIGHBOURS = 3  # k of precision and recall
BLOCK = 1000  # rows of distances held at a time


class Moments(NamedTuple):
    """Mean (D,) and covariance (D, D) of features, in float64."""

    mean: np.ndarray
    covariance: np.ndarray


def to_uint8(images: Tensor) -> Tensor:
    """Map [−1, 1] to 0 … 255, rounded and clipped."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def extracted(features: Features, images: Tensor, batch: int = 500) -> np.ndarray:
    """Features (N, D) in float64 of uint8 images (N, C, H, W), `batch` images a call of the extractor.

    Raises:
        DodeError: The extractor returns another shape, NaN or infinity.
    """
    outputs = []
    for part in images.split(batch):
        with torch.no_grad():
            output = torch.as_tensor(features(part))
        if output.ndim != 2 or len(output) != len(part):
            raise DodeError(
                f"an extractor must turn {len(part)} images into features ({len(part)}, D); got {tuple(output.shape)}"
            )
        outputs.append(output.cpu().double().numpy())
    result = np.concatenate(outputs)
    if not np.isfinite(result).all():
        raise DodeError("the extractor returned NaN or infinity")
    return result


def moments(features: np.ndarray) -> Moments:
    """Mean and covariance (divided by N − 1) of features (N, D), N at least 2, else DodeError."""
    if features.ndim != 2 or len(features) < 2:
        raise DodeError(f"mean and covariance need features (N, D) with N at least 2; got {features.shape}")
    centred = features.astype(np.float64)
    mean = centred.mean(0)
    centred -= mean
    return Moments(mean, centred.T @ centred / (len(centred) - 1))


def frechet(a: Moments, b: Moments) -> float:
    """Fréchet distance of two Gaussians; tr((C₁C₂)^½) by the eigenvalues of C₁^½·C₂·C₁^½.

    A perfect sampler does not score zero on few samples: compare equal N.

    Raises:
        DodeError: The moments are of features of different size.
    """
    if a.mean.shape != b.mean.shape:
        raise DodeError(f"features of {len(a.mean)} numbers cannot be compared with statistics of {len(b.mean)}")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0)).sum()
    gap = np.sum((a.mean - b.mean) ** 2)
    return float(gap + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


def mmd(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD of features (M, D) and (N, D) under KID's kernel; M and N at least 2, else DodeError."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise DodeError(f"features must be (M, D) and (N, D) with M and N at least 2; got {x.shape} and {y.shape}")
    x, y = x.astype(np.float64), y.astype(np.float64)
    return _mean_of_pairs(x) + _mean_of_pairs(y) - 2 * float(_kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    cube: np.ndarray = (x @ y.T / x.shape[1] + 1) ** 3
    return cube


def _mean_of_pairs(x: np.ndarray) -> float:
    """The kernel's mean over pairs of two different samples."""
    kernel = _kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))


def kid(features: np.ndarray, reference: np.ndarray, subsets: int = SUBSETS, size: int = SIZE, seed: int = 0) -> float:
    """KID, the mean over random subsets; unlike FD, its expectation is the same for every number of samples.

    Args:
        features: Of samples, (N, D).
        reference: Of data, (M, D).
        subsets: Number of subsets.
        size: Features of each side in a subset; all there are, if fewer.
        seed: The same seed draws the same subsets, so that two samplers are compared on equal samples.
    """
    size = min(size, len(features), len(reference))
    rng = np.random.default_rng(seed)
    values = [
        mmd(features[rng.permutation(len(features))[:size]], reference[rng.permutation(len(reference))[:size]])
        for _ in range(subsets)
    ]
    return float(np.mean(values))


def precision(features: np.ndarray, reference: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Whether each sample is among the data: (N,) bool, whose mean is the precision.

    Args:
        features: Of samples, (N, D).
        reference: Of data, (M, D); M should equal N, for the result depends on both.
        k: The neighbour whose distance is a point's reach.
    """
    return _among(features, reference, k)


def recall(features: np.ndarray, reference: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Whether each datum is among the samples: (M,) bool, whose mean is the recall; arguments as in `precision`."""
    return _among(reference, features, k)


def _among(points: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
    """Whether each point is inside the ball of at least one of the others."""
    if points.ndim != 2 or others.ndim != 2 or points.shape[1] != others.shape[1] or min(len(points), len(others)) <= k:
        raise DodeError(
            f"precision and recall need features (N, D) of more than {k} samples and {k} data, of one size; "
            f"got {points.shape} and {others.shape}"
        )
    points, others = points.astype(np.float64), others.astype(np.float64)
    reach = np.concatenate([np.partition(part, k, axis=1)[:, k] for _, part in _squares(others, others)])
    inside = np.zeros(len(points), bool)
    for rows, part in _squares(points, others):
        inside[rows] = (part <= reach).any(1)
    return inside


def _squares(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances in blocks of rows; a point's distance to itself is zero exactly, and its smallest."""
    norms = (b**2).sum(1)
    for i in range(0, len(a), BLOCK):
        rows = slice(i, i + BLOCK)
        squares = ((a[rows] ** 2).sum(1)[:, None] + norms - 2 * a[rows] @ b.T).clip(min=0)
        if a is b:
            squares[np.arange(len(squares)), np.arange(len(b))[rows]] = 0
        yield rows, squares
