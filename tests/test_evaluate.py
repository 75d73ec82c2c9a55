"""Distances have the values that formulas give where formulas exist."""

import numpy as np
import pytest
import torch

from dode.metrics import Moments, distance, frechet, moments, paired_error, splits, to_uint8


def test_rms_and_median():
    reference = torch.zeros(3, 1, 2, 2)
    samples = torch.tensor([1.0, 2.0, 5.0]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    found = distance(samples, reference)
    assert found.rms == pytest.approx(np.sqrt(10))
    assert found.median == 2
    with pytest.raises(ValueError, match="differ in shape"):
        distance(samples, reference[:2])


def test_frechet_of_gaussians_that_commute():
    """Diagonal covariances: Σ (μ₁ − μ₂)² + (s₁ − s₂)²."""
    a = Moments(np.array([0.0, 1.0]), np.diag([4.0, 9.0]))
    b = Moments(np.array([1.0, 1.0]), np.diag([1.0, 25.0]))
    assert frechet(a, b) == pytest.approx(1 + 1 + 4)
    assert frechet(a, a) == pytest.approx(0, abs=1e-12)


def test_frechet_of_gaussians_that_do_not_commute():
    """Against the square root of the product by its eigenvalues."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) + 1
    a, b = moments(x), moments(y)
    cross = np.sqrt(np.linalg.eigvals(a.covariance @ b.covariance).real.clip(min=0)).sum()
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance) - 2 * cross
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_splits_are_ten_disjoint_parts_and_pairing_removes_what_is_common():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 4))
    target = Moments(np.zeros(4), np.eye(4))
    a, b = splits(x, target), splits(x + 0.05, target)
    assert a[0] == pytest.approx(frechet(moments(x[:100]), target))
    assert paired_error(a, b) == pytest.approx(np.std(a - b, ddof=1) / np.sqrt(10))
    assert paired_error(a, a) == 0
    with pytest.raises(ValueError, match="at least 20"):
        splits(x[:10], target)


def test_to_uint8_rounds_and_clips():
    assert to_uint8(torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0])).tolist() == [0, 0, 128, 255, 255]


def test_moments_need_samples():
    with pytest.raises(ValueError, match="N at least 2"):
        moments(np.zeros((1, 3)))
