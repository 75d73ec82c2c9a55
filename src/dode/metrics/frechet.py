"""Fréchet distance of features: |μ₁ − μ₂|² + tr(C₁ + C₂ − 2·(C₁C₂)^½).  Heusel et al. 2017.

A perfect sampler does not score zero on few samples; compare equal n, and judge differences by `paired_error`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

Features = Callable[[Tensor], Tensor]  # uint8 (N, C, H, W) → (N, D)
SPLITS = 10  # disjoint parts of the samples, from which standard errors come


class Moments(NamedTuple):
    """Of features, in float64."""

    mean: np.ndarray  # (D,)
    covariance: np.ndarray  # (D, D)


def to_uint8(images: Tensor) -> Tensor:
    """From [−1, 1] to 0 … 255, rounded and clipped."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def moments(features: np.ndarray) -> Moments:
    """Mean and covariance of features (N, D)."""
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features must be (N, D) with N at least 2; got {features.shape}")
    wide = features.astype(np.float64)
    return Moments(wide.mean(0), np.cov(wide, rowvar=False).reshape(wide.shape[1], wide.shape[1]))


def frechet(a: Moments, b: Moments) -> float:
    """The distance of two sets of moments; tr((C₁C₂)^½) by the eigenvalues of C₁^½·C₂·C₁^½."""
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0)).sum()
    gap = np.sum((a.mean - b.mean) ** 2)
    return float(gap + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


def splits(features: np.ndarray, reference: Moments) -> np.ndarray:
    """The distance of each of ten disjoint parts of the samples: (10,)."""
    if len(features) < 2 * SPLITS:
        raise ValueError(f"standard errors need at least {2 * SPLITS} samples; got {len(features)}")
    return np.array([frechet(moments(part), reference) for part in np.array_split(features, SPLITS)])


def paired_error(a: np.ndarray, b: np.ndarray) -> float:
    """Standard error of the difference of two samplers' distances, from their splits on the same noise."""
    return float(np.std(a - b, ddof=1) / np.sqrt(SPLITS))
