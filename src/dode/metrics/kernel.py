"""Kernel distance (KID): the unbiased squared MMD under k(x, y) = (x·y/D + 1)³.  Bińkowski et al. 2018.

Unlike the Fréchet distance its expectation is the same for every number of samples.
"""

from typing import NamedTuple

import numpy as np

from dode.errors import DodeError
from dode.metrics.parts import parted

SUBSETS, SIZE = 100, 1000  # as published


class Kid(NamedTuple):
    """Over random subsets."""

    mean: float
    spread: float  # standard deviation of the subsets' values; they overlap, so it is no error of the mean


def mmd(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased squared MMD of features (M, D) and (N, D), M and N at least 2.

    Raises ValueError for other shapes.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise DodeError(f"features must be (M, D) and (N, D) with M and N at least 2; got {x.shape} and {y.shape}")
    x, y = x.astype(np.float64), y.astype(np.float64)
    return _within(x) + _within(y) - 2 * float(_kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    cube: np.ndarray = (x @ y.T / x.shape[1] + 1) ** 3
    return cube


def _within(x: np.ndarray) -> float:
    """The mean over pairs of two different samples."""
    kernel = _kernel(x, x)
    return float((kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1)))


def kid(features: np.ndarray, reference: np.ndarray, subsets: int = SUBSETS, size: int = SIZE, seed: int = 0) -> Kid:
    """The mean over random subsets of `size` features of each side (as many as there are, if fewer).

    The same seed takes the same subsets, so that two samplers are compared on equal samples.
    """
    size = min(size, len(features), len(reference))
    rng = np.random.default_rng(seed)
    found = [
        mmd(features[rng.permutation(len(features))[:size]], reference[rng.permutation(len(reference))[:size]])
        for _ in range(subsets)
    ]
    return Kid(float(np.mean(found)), float(np.std(found)))


def kid_splits(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The squared MMD of each of ten disjoint parts of the samples to a part of the reference of its own: (10,)."""
    ours, theirs = parted(len(features)), parted(len(reference), "reference features")
    return np.array([mmd(features[a], reference[b]) for a, b in zip(ours, theirs, strict=True)])
