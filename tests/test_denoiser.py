"""Guidance and thresholding are what their papers say, checked where the answer is known."""

import pytest
import torch
from problems import SCHEDULES, conditioned, gaussian, mixture, swapped

import dode
from dode.denoisers import Threshold
from dode.parameterization import convert


@pytest.fixture(scope="module")
def conditional():
    model = mixture().model(SCHEDULES["vp"], "noise", torch.float64)
    return conditioned(model, lambda i: torch.tensor([k % 3 for k in i]), lambda i: torch.full((len(i),), 9))


def test_classifier_free_guidance_is_uncond_plus_scale_times_difference(conditional):
    x, node = conditional.start(range(6), 0), conditional.schedule.node(0.4)
    label = conditional.conditions(range(6))
    cond = conditional.bound("noise", label)(x, node)
    none = conditional.bound("noise", torch.full((6,), 9))(x, node)
    guided = conditional.guided(3.0).bound("noise", label)(x, node)
    torch.testing.assert_close(guided, none + 3 * (cond - none), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(conditional.guided(1.0).bound("noise", label)(x, node), cond, rtol=0, atol=0)


def test_guidance_needs_a_condition_that_means_none():
    with pytest.raises(ValueError, match="cannot be guided"):
        gaussian().model(SCHEDULES["vp"], "noise").guided(2.0)


def test_classifier_guidance_with_the_exact_classifier_is_the_conditional_model(conditional):
    """ε̂(x | y) = ε̂(x) − σ·∇ log p(y | x): Bayes' rule, exact for the mixture."""
    exact = mixture()

    def log_probability(x, t, label):
        node = SCHEDULES["vp"].node(float(t[0]))
        return _log_density(exact, x, node, label) - _log_density(exact, x, node, None)

    x, label = conditional.start(range(6), 0), conditional.conditions(range(6))
    for t in (0.1, 0.5, 0.9):
        node = conditional.schedule.node(t)
        plain = conditioned(conditional, lambda i: torch.full((len(i),), 9))
        wrapped = swapped(plain, lambda x, t, c: conditional.network(x, t, None))
        guided = wrapped.classifier_guided(log_probability, 1.0).bound("noise", label)(x, node)
        torch.testing.assert_close(guided, conditional.bound("noise", label)(x, node), rtol=1e-8, atol=1e-9)


def _log_density(exact, x, node, label):
    """log p(x), up to a constant, from covariance matrices: nothing of the implementation."""
    eye = torch.eye(8, dtype=x.dtype)
    logs = []
    for k in range(5):
        cov = exact.bases[k] @ torch.diag(exact.variances[k]) @ exact.bases[k].T + exact.floor * eye
        normal = torch.distributions.MultivariateNormal(
            node.alpha * exact.means[k], node.alpha**2 * cov + node.sigma**2 * eye
        )
        logs.append(exact.weights[k].log() + normal.log_prob(x.flatten(1)))
    stacked = torch.stack(logs, dim=1)
    if label is not None:
        stacked = torch.where(label[:, None] == exact.labels[None], stacked, -torch.inf)
    return stacked.logsumexp(1)


def test_classifier_guidance_is_the_same_in_every_output_and_none_at_alpha_zero():
    from dode.schedule import Flow

    model = gaussian().model(Flow(), "flow").classifier_guided(lambda x, t, c: -x.flatten(1).square().sum(1), 0.3)
    x, node = model.start(range(3), 0), Flow().node(0.4)
    plain = gaussian().model(Flow(), "flow")
    shift = model.bound("noise", None)(x, node) - plain.bound("noise", None)(x, node)
    torch.testing.assert_close(shift, 0.3 * node.sigma * 2 * x, rtol=1e-9, atol=1e-10)
    start = Flow().node(1.0)
    torch.testing.assert_close(model.bound("flow", None)(x, start), plain.bound("flow", None)(x, start))


@pytest.mark.parametrize("t", [0.05, 0.5, 1.0])
def test_the_mixture_is_tweedies_formula(t):
    """ε̂ = −σ·∇ log p, by automatic differentiation of the density."""
    model = mixture().model(SCHEDULES["vp"], "noise", torch.float64)
    node, x = model.schedule.node(t), model.start(range(5), 0)
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        (score,) = torch.autograd.grad(_log_density(mixture(), leaf, node, None).sum(), leaf)
    torch.testing.assert_close(model.bound("score", None)(x, node), score, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", ["noise", "data", "v"])
def test_static_thresholding_clips_the_data(kind):
    model = gaussian().model(SCHEDULES["vp"], "noise").thresholded(0.5)
    node, x = model.schedule.node(0.3), model.start(range(8), 0)
    x0 = convert(x, model.bound(kind, None)(x, node), kind, "data", node)
    plain = gaussian().model(SCHEDULES["vp"], "data").bound("data", None)(x, node)
    torch.testing.assert_close(x0, plain.clamp(-0.5, 0.5), rtol=0, atol=1e-12)
    assert float(plain.abs().max()) > 0.5


def test_dynamic_thresholding_is_saharias():
    x0 = torch.tensor([[0.1, -0.4, 3.0, 2.0], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    out = Threshold(1.0, 0.75)(x0)
    s = 2 + 0.25  # numpy-style quantile of (0.1, 0.4, 2, 3) at 0.75
    torch.testing.assert_close(out[0], x0[0].clamp(-s, s) / s, rtol=1e-6, atol=0)
    torch.testing.assert_close(out[1], x0[1], rtol=0, atol=0)
    # the least |x̂₀|, within the limits
    torch.testing.assert_close(Threshold(0.05, 0.0)(x0)[0], x0[0].clamp(-0.1, 0.1) / 2, rtol=1e-6, atol=0)
    for quantile in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"quantile within \[0, 1\]"):
            Threshold(1.0, quantile)


def test_learned_variances_are_dropped_and_only_where_declared():
    def twice(x, t):
        return torch.cat([0.5 * x, 99 * x], dim=1)

    options = {"schedule": SCHEDULES["vp"], "prediction": "noise", "shape": (2, 4), "dtype": torch.float64}
    model = dode.from_callable(twice, variance=True, **options)
    x = model.start(range(2), 0)
    torch.testing.assert_close(model.bound("noise", None)(x, model.schedule.node(0.5)), 0.5 * x)
    with pytest.raises(ValueError, match="shape of x"):
        dode.from_callable(twice, **options)
