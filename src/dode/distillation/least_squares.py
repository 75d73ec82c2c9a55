"""Least squares of one evaluation, from sums of every sample and a QR factor of every batch, with standard errors."""

from typing import NamedTuple

import numpy as np
import torch

from dode.plan import Array

SINGULAR = 1 / float(np.finfo(np.float64).eps)  # condition numbers beyond this are not told apart


class Solution(NamedTuple):
    """Of the least squares at one evaluation, with m directions."""

    weights: Array  # (m,): λ
    errors: Array  # (m,): their standard errors over the samples
    ratio: float  # ‖v‖/‖u‖; where it is small, λ is ill-determined
    condition: float  # of the matrix of slopes


def triangle(matrix: Array) -> Array:
    """R of the QR factorisation."""
    factor: Array = torch.linalg.qr(torch.from_numpy(matrix), mode="r").R.numpy()
    return factor


def solve(sums: Array, rho: float) -> Solution:
    """λ from (n, 3): ⟨r, v⟩, ⟨v, v⟩, ⟨u, u⟩ of every sample; 0/0 is 0.

    The error is that of a ratio of means, linearised (Cochran 1977, section 6.4).
    """
    rv, vv, uu = sums.T
    weight = vv + rho * uu
    total, n = float(weight.sum()), len(rv)
    if total == 0:
        return Solution(np.zeros(1), np.zeros(1), 0.0, 1.0)
    lam = float(rv.sum()) / total
    error = float(np.sqrt(np.sum((rv - lam * weight) ** 2) * n / max(1, n - 1))) / total
    ratio = float(np.sqrt(vv.sum() / uu.sum())) if uu.sum() > 0 else 0.0
    return Solution(np.array([lam]), np.array([error]), ratio, 1.0)


def solve_all(factor: Array, gram: Array, outputs: Array, rho: float) -> Solution:
    """The m coefficients from the batches' QR factors (…, m + 1), one above the other; ρ·Σ⟨u, u⟩ on each square.

    Their errors come from gram (n, m + 1, m + 1), outputs (n,).
    """
    m = gram.shape[1] - 1
    whole = triangle(factor)
    slopes, residual = whole[:, :m], whole[:, m]
    ridge = rho * outputs.sum()
    padded = np.concatenate([slopes, np.sqrt(ridge) * np.eye(m)])
    weights = np.linalg.lstsq(padded, np.concatenate([residual, np.zeros(m)]), rcond=None)[0]
    scores = gram[:, :m, m] - gram[:, :m, :m] @ weights - rho * outputs[:, None] * weights
    inverse = np.linalg.pinv(padded)  # (XᵀX)⁻¹ = X⁺X⁺ᵀ
    ratio = float(np.sqrt(np.trace(gram[:, :m, :m].sum(0)) / outputs.sum())) if outputs.sum() > 0 else 0.0
    return Solution(weights, sandwich(inverse @ inverse.T, scores), ratio, min(float(np.linalg.cond(slopes)), SINGULAR))


def sandwich(inverse: Array, scores: Array) -> Array:
    """Standard errors (m,) of a least-squares fit over its samples: White 1980.

    inverse: (XᵀX)⁻¹ with its ridge (m, m); scores: of every sample (n, m).
    """
    n = len(scores)
    spread = inverse @ (scores.T @ scores) @ inverse * n / max(1, n - 1)
    errors: Array = np.sqrt(np.maximum(np.diag(spread), 0))
    return errors
