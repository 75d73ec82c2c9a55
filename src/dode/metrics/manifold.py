"""Improved precision and recall: the share of samples among the data, and of data among the samples.

A point is among others if it is within the distance from one of them to its k-th nearest neighbour.
Kynkäänniemi et al. 2019.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dode.errors import DodeError

NEIGHBOURS, BLOCK = 3, 1000


class Coverage(NamedTuple):
    """Point by point; the means are precision and recall."""

    precise: np.ndarray  # (N,) bool: is this sample among the data?
    recalled: np.ndarray  # (M,) bool: is this datum among the samples?


def coverage(features: np.ndarray, reference: np.ndarray, k: int = NEIGHBOURS) -> Coverage:
    """Of the features of N samples (N, D) and M data (M, D); both numbers should be the same.

    Raises ValueError for other shapes, and for no more than k of either.
    """
    for name, one in (("samples", features), ("data", reference)):
        if one.ndim != 2 or len(one) <= k:
            raise DodeError(f"precision and recall need features (N, D) of more than {k} {name}; got {one.shape}")
    if features.shape[1] != reference.shape[1]:
        raise DodeError(f"features of {features.shape[1]} numbers cannot be compared with {reference.shape[1]}")
    a, b = features.astype(np.float64), reference.astype(np.float64)
    return Coverage(_among(a, b, k), _among(b, a, k))


def _among(points: np.ndarray, others: np.ndarray, k: int) -> np.ndarray:
    """For each point: is it inside the ball of at least one of the others?"""
    reach = np.concatenate([np.partition(part, k, axis=1)[:, k] for _, part in _squares(others, others)])
    found = np.zeros(len(points), bool)
    for rows, part in _squares(points, others):
        found[rows] = (part <= reach).any(1)
    return found


def _squares(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances, some rows at a time; a point's distance to itself is zero exactly, and its nearest."""
    norms = (b**2).sum(1)
    for i in range(0, len(a), BLOCK):
        rows = slice(i, i + BLOCK)
        squares = ((a[rows] ** 2).sum(1)[:, None] + norms - 2 * a[rows] @ b.T).clip(min=0)
        if a is b:
            squares[np.arange(len(squares)), np.arange(len(b))[rows]] = 0
        yield rows, squares
