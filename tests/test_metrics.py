"""Figures have the values that formulas give where formulas exist, and those of a second implementation."""

import numpy as np
import pytest
import torch
from features import Projection, clouds, images

from dode.metrics import (
    METRICS,
    Moments,
    distance,
    extracted,
    frechet,
    kid,
    mmd,
    moments,
    precision,
    recall,
    to_uint8,
)
from dode.metrics.estimates import paired_error, split_values
from dode.metrics.evaluation import correct


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
    with pytest.raises(ValueError, match="features of 2 numbers cannot be compared with statistics of 3"):
        frechet(a, Moments(np.zeros(3), np.eye(3)))


def test_frechet_of_gaussians_that_do_not_commute():
    """Against the square root of the product by its eigenvalues."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) + 1
    a, b = moments(x), moments(y)
    cross = np.sqrt(np.linalg.eigvals(a.covariance @ b.covariance).real.clip(min=0)).sum()
    expected = np.sum((a.mean - b.mean) ** 2) + np.trace(a.covariance + b.covariance) - 2 * cross
    assert frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_moments_are_numpys():
    """Far from zero, where sums of squares would cancel."""
    x = np.random.default_rng(2).normal(size=(57, 4)) + 1e6
    found = moments(x)
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-15)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-8)
    with pytest.raises(ValueError, match="N at least 2"):
        moments(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"features \(N, D\)"):
        moments(np.zeros(3))


def test_splits_are_ten_disjoint_parts_and_pairing_removes_what_is_common():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(1000, 4))
    target = Moments(np.zeros(4), np.eye(4))
    a, b = (METRICS["fd"].estimate(y, target).parts for y in (x, x + 0.05))
    assert a[0] == pytest.approx(frechet(moments(x[:100]), target))
    assert paired_error(a, b) == pytest.approx(np.std(a - b, ddof=1) / np.sqrt(10))
    assert paired_error(a, a) == 0
    with pytest.raises(ValueError, match="at least 20"):
        split_values(np.mean, x[:10])


def test_mmd_is_the_mean_over_pairs_of_different_samples():
    x, y = clouds(5, 7, width=3)

    def kernel(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / 3 + 1) ** 3

    same = [np.mean([kernel(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    assert mmd(x, y) == pytest.approx(sum(same) - 2 * np.mean([kernel(a, b) for a in x for b in y]), rel=1e-12)
    with pytest.raises(ValueError, match="M and N at least 2"):
        mmd(x[:1], y)


def test_mmd_is_unbiased():
    """Two samples of one law: the mean over many trials is zero within its error; the biased one is far from it."""
    found = np.array([mmd(*clouds(8, 8, gap=0.0, seed=seed)) for seed in range(400)])
    assert abs(found.mean()) < 3 * found.std() / 20
    x, _ = clouds(8, 8, gap=0.0)
    diagonal = ((x**2).sum(1) / 5 + 1) ** 3
    assert diagonal.mean() / 8 > 10 * found.std() / 20


def test_kid_splits_are_those_of_both_sides():
    x, y = clouds(40, 60)
    assert METRICS["kid"].estimate(x, y).parts[9] == mmd(x[36:], y[54:])
    with pytest.raises(ValueError, match="features of data; got 12"):
        METRICS["kid"].estimate(x, y[:12])


def test_precision_and_recall_by_hand():
    """Every distance one by one, on clouds that overlap in part."""
    x, y = clouds(60, 70, width=3)

    def far(a, b):
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5

    def among(points, others, k):
        reach = [sorted(far(a, b) for j, b in enumerate(others) if j != i)[k - 1] for i, a in enumerate(others)]
        return [any(far(p, o) <= r for o, r in zip(others, reach, strict=True)) for p in points]

    for k in (1, 3):
        assert precision(x, y, k).tolist() == among(x, y, k)
        assert recall(x, y, k).tolist() == among(y, x, k)
        assert 0.1 < precision(x, y, k).mean() < 0.9
    for function in (precision, recall):
        with pytest.raises(ValueError, match=r"more than 3 samples and 3 data.*\(3, 3\)"):
            function(x, y[:3])
        with pytest.raises(ValueError, match=r"of one size; got .*\(70, 2\)"):
            function(x, y[:, :2])


def test_precision_and_recall_do_not_depend_on_blocks(monkeypatch):
    x, y = clouds(60, 70)
    whole = [precision(x, y).tolist(), recall(x, y).tolist()]
    monkeypatch.setattr("dode.metrics.features.BLOCK", 13)
    assert [precision(x, y).tolist(), recall(x, y).tolist()] == whole


def test_a_sample_that_lacks_a_mode_has_precision_without_recall():
    _, y = clouds(0, 200, width=2)
    y[100:] += 50
    lacking = y[:100] + 1e-3
    assert precision(lacking, y).mean() == 1
    assert recall(lacking, y)[:100].mean() == 1
    assert recall(lacking, y)[100:].mean() == 0


def test_agreement_counts_the_labels_that_the_classifier_finds():
    logits = torch.tensor([[1.0, 0.0], [0.0, 3.0], [2.0, 1.0]])
    assert correct(logits, torch.tensor([0, 0, 0])).tolist() == [True, False, True]
    with pytest.raises(ValueError, match="0 … 1 of the classifier; got 0 … 2"):
        correct(logits, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="class number a sample; this has another"):
        correct(logits, {"text": torch.zeros(3)})


def test_to_uint8_rounds_and_clips():
    assert to_uint8(torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0])).tolist() == [0, 0, 128, 255, 255]


def test_an_extractor_that_returns_something_else_is_told():
    with pytest.raises(ValueError, match=r"turn 3 images into features \(3, D\); got \(3, 1, 8, 8\)"):
        extracted(lambda x: x, images(3, 0))
    with pytest.raises(ValueError, match="NaN or infinity"):
        extracted(lambda x: x.flatten(1) / 0.0, images(3, 0))


def test_frechet_is_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    net, real, fake = Projection(), images(300, 0), images(200, 1, lift=20)
    theirs = FrechetInceptionDistance(feature=net)
    for part in real.split(70):
        theirs.update(part, real=True)
    theirs.update(fake, real=False)
    ours = frechet(moments(extracted(net, fake)), moments(extracted(net, real)))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-6)
    assert ours > 0.1


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`")
def test_kid_is_torchmetrics(monkeypatch):
    """Over the same subsets: theirs draw with torch, ours with numpy, so that theirs are given ours."""
    from torchmetrics.image.kid import KernelInceptionDistance  # their package names it with torch-fidelity alone

    net, real, fake = Projection(), images(120, 0), images(90, 1, lift=20)
    theirs = KernelInceptionDistance(feature=net, subsets=6, subset_size=40)
    theirs.update(real, real=True)
    theirs.update(fake, real=False)
    ours = kid(extracted(net, fake), extracted(net, real), subsets=6, size=40, seed=3)
    rng = np.random.default_rng(3)
    drawn = []
    for _ in range(6):  # we draw samples, then the reference; they the reference, then samples
        of_fake, of_real = rng.permutation(90), rng.permutation(120)
        drawn += [torch.from_numpy(of_real), torch.from_numpy(of_fake)]
    monkeypatch.setattr(torch, "randperm", lambda n: drawn.pop(0))
    mean, spread = theirs.compute()
    assert ours == pytest.approx(float(mean), rel=1e-6)
    assert float(spread) > 1e-3 * ours > 0
