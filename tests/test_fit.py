"""The fit is least squares, evaluation after evaluation."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import CATALOGUE, LAMBDAS, PAIRS, counts, mixture_model

from dode.distillation.fit import Batch, fit, least_squares, quotient
from dode.distillation.formulations import formulation
from dode.distillation.runner import distances
from dode.plan import previous
from dode.sampling import trajectory
from dode.solvers import METHODS
from dode.solvers.step_allocation import build


def problem(method, schedule, nfe=7, samples=24):
    model = mixture_model(schedule)
    plan, _ = build(METHODS[method], *counts(method, nfe), model.schedule, model.prediction)
    return plan, model.bound(plan.kind, None), model.start(range(samples), 3, "fit")


def batch(x, denoise, targets):
    """All that a fit is given of some samples."""
    return Batch(lambda: x, denoise, targets.__getitem__)


def states(plan, denoise, x):
    return [state.y for state in trajectory(plan, denoise, x)][1:]


@pytest.mark.parametrize(
    ("method", "schedule"), [pair for pair in PAIRS if pair[1] in ("discrete", "vp", "edm", "flow")]
)
def test_a_planted_lambda_is_recovered(method, schedule):
    plan, denoise, x = problem(method, schedule)
    planted = plan
    for k in range(plan.nfe):
        if previous(plan, k).any():
            planted = planted.extrapolate(k, float(LAMBDAS[k]))
    found = fit(plan, [batch(x, denoise, states(planted, denoise, x))], rho=0)
    determined = np.array([bool(previous(plan, k).any()) for k in range(plan.nfe)])
    # Heun's first stage differences two outputs at one σ: small against the rounding of x near σ = 80
    atol = 1e-7 if method == "edm" else 1e-10
    np.testing.assert_allclose(found.plan.lambdas, np.where(determined, planted.lambdas, 0), atol=atol)
    weights = [sum(solution.weights) for solution in found.solutions]
    np.testing.assert_allclose(weights, found.plan.lambdas, atol=1e-15)


def test_lambda_is_exact_under_thresholding():
    """Clipping happens in the denoiser, so outputs are as linear in λ as ever."""
    model = mixture_model("vp").thresholded(0.4)
    plan, _ = build(METHODS["dpm-solver++2m"], 7, model.schedule, model.prediction)
    denoise, x = model.bound(plan.kind, None), model.start(range(24), 3, "fit")
    planted = plan.extrapolate(2, 0.4).extrapolate(5, -0.3)
    found = fit(plan, [batch(x, denoise, states(planted, denoise, x))], rho=0).plan
    np.testing.assert_allclose(found.lambdas, planted.lambdas, atol=1e-12)
    assert float(states(plan, denoise, x)[-1].abs().max()) < 0.4 + 1e-12  # and it does clip
    assert float(states(plan, mixture_model("vp").bound(plan.kind, None), x)[-1].abs().max()) > 0.5


@pytest.mark.parametrize("method", CATALOGUE)
def test_a_teacher_that_is_the_student_gives_zero(method):
    plan, denoise, x = problem(method, "vp")
    found = fit(plan, [batch(x, denoise, states(plan, denoise, x))], rho=0).plan
    np.testing.assert_array_equal(found.lambdas, np.zeros(plan.nfe))


def bent(plan, denoise, x):
    """Targets that no coefficients reach."""
    planted = plan.extrapolate(2, 0.3).extrapolate(4, 0.2)
    return [target + 0.01 * target**2 for target in states(planted, denoise, x)]


@pytest.mark.parametrize("name", ["d", "2", "all"])
@pytest.mark.parametrize("sizes", [[24], [8, 8, 8], [5, 19], [1] * 24])
def test_lockstep_batches_equal_one_batch(sizes, name):
    plan, denoise, x = problem("ddim", "vp")
    targets, form = bent(plan, denoise, x), formulation(name)
    plan = replace(plan, unnormalized=form.free)
    whole = fit(plan, [batch(x, denoise, targets)], 1e-3, directions=form.directions)
    parts = torch.arange(24).split(sizes)
    batches = [batch(x[part], denoise, [target[part] for target in targets]) for part in parts]
    chunks = fit(plan, batches, 1e-3, directions=form.directions)
    np.testing.assert_allclose(chunks.plan.mix, whole.plan.mix, rtol=0, atol=1e-12)
    for one, other in zip(chunks.solutions, whole.solutions, strict=True):
        np.testing.assert_allclose(one.errors, other.errors, rtol=1e-8)
        assert one.condition == pytest.approx(other.condition, rel=1e-8)
        assert one.ratio == pytest.approx(other.ratio, rel=1e-10)


def test_lambda_minimises_the_residual_of_its_own_step():
    """Moving any one λ away from its value makes the squared residual at its own node larger."""
    plan, denoise, x = problem("ddim", "vp")
    targets = bent(plan, denoise, x)
    best = fit(plan, [batch(x, denoise, targets)], rho=0).plan
    for k in range(plan.nfe):
        sums = []
        for shift in (-0.05, 0.0, 0.05):
            state = states(best.extrapolate(k, shift), denoise, x)[k]
            sums.append(float((state - targets[k]).square().sum()))
        assert sums[1] < min(sums[0], sums[2])


def test_more_directions_never_fit_worse():
    """At the first evaluation where they differ: all outputs, two differences, one, none."""
    plan, denoise, x = problem("ddim", "vp")
    targets, sums = bent(plan, denoise, x), []
    for name in ("all", "2", "d"):
        form = formulation(name)
        at_2 = lambda p, k, d=form.directions: d(p, k) if k == 2 else np.zeros((0, 8))  # noqa: E731
        made = fit(replace(plan, unnormalized=form.free), [batch(x, denoise, targets)], 0, directions=at_2).plan
        sums.append(float((states(made, denoise, x)[2] - targets[2]).square().sum()))
    assert sums[0] < sums[1] < sums[2] < float((states(plan, denoise, x)[2] - targets[2]).square().sum())


def test_the_fit_does_not_depend_on_the_order_of_samples_nor_on_a_rotation_of_pixels():
    plan, denoise, x = problem("ddim", "vp")
    targets = bent(plan, denoise, x)
    plain = fit(plan, [batch(x, denoise, targets)], rho=1e-3).plan.lambdas
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    shuffled = fit(plan, [batch(x[order], denoise, [t[order] for t in targets])], rho=1e-3).plan.lambdas
    np.testing.assert_allclose(shuffled, plain, rtol=1e-12)
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q

    def rotated(y):
        return (y.flatten(1) @ turn).reshape(y.shape)

    def back(y):
        return (y.flatten(1) @ turn.T).reshape(y.shape)

    turned = batch(rotated(x), lambda y, node: rotated(denoise(back(y), node)), [rotated(t) for t in targets])
    np.testing.assert_allclose(fit(plan, [turned], rho=1e-3).plan.lambdas, plain, rtol=1e-10)


def test_ridge_shrinks_and_nothing_over_nothing_is_zero():
    sums = np.array([[2.0, 1.0], [4.0, 2.0], [100.0, 100.0]])
    assert quotient(*sums, 0).weights == 0.5
    assert quotient(*sums, 0.01).weights == pytest.approx(3 / 8)
    nothing = quotient(*np.zeros((3, 3)), 0)
    assert (nothing.weights, nothing.errors, nothing.ratio) == (0.0, 0.0, 0.0)


def system(rng, samples=60, pixels=5, m=3):
    """Slopes, residuals and outputs, and what solve_all is given of them."""
    v = rng.normal(size=(samples, pixels, m)) @ np.array([[1, 0.9, 0], [0, 0.3, 0], [0, 0, 2]])[:m, :m]
    r = v @ np.array([0.3, -0.2, 0.5])[:m] + rng.normal(size=(samples, pixels)) * (0.5 + np.abs(v[..., 0]))
    wide = np.concatenate([v, r[..., None]], axis=2)
    flat = wide.reshape(-1, m + 1)
    gram = np.einsum("bdi,bdj->bij", wide, wide)
    return v.reshape(-1, m), r.reshape(-1), flat, gram, rng.uniform(1, 2, samples)


def test_several_directions_are_numpys_least_squares():
    v, r, flat, gram, outputs = system(np.random.default_rng(0))
    made = least_squares(
        np.concatenate([np.linalg.qr(part, "r") for part in np.split(flat, [90, 200])]), gram, outputs, 0
    )
    np.testing.assert_allclose(made.weights, np.linalg.lstsq(v, r, rcond=None)[0], rtol=1e-12)
    assert made.condition == pytest.approx(np.linalg.cond(v), rel=1e-12)
    assert made.ratio == pytest.approx(np.sqrt((v**2).sum() / outputs.sum()))


def test_the_ridge_of_several_directions():
    v, r, flat, gram, outputs = system(np.random.default_rng(1))
    penalty = 0.02 * outputs.sum() * np.eye(3)
    made = least_squares(flat, gram, outputs, 0.02)
    np.testing.assert_allclose(made.weights, np.linalg.solve(v.T @ v + penalty, v.T @ r), rtol=1e-11)
    assert np.linalg.norm(made.weights) < np.linalg.norm(least_squares(flat, gram, outputs, 0).weights)
    assert made.condition == pytest.approx(np.linalg.cond(v))  # of the slopes, however they are tamed


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_one_direction_by_qr_is_the_quotient(rho):
    _, _, flat, gram, outputs = system(np.random.default_rng(2), m=1)
    one, other = quotient(gram[:, 0, 1], gram[:, 0, 0], outputs, rho), least_squares(flat, gram, outputs, rho)
    np.testing.assert_allclose(other.weights, one.weights, rtol=1e-13)
    np.testing.assert_allclose(other.errors, one.errors, rtol=1e-11)
    assert other.ratio == pytest.approx(one.ratio)
    assert other.condition == one.condition == 1


def test_all_but_parallel_slopes_need_the_qr():
    """As all outputs have: products of such slopes would square the condition number, and all digits away."""
    rng, planted = np.random.default_rng(3), np.array([2.3, -3.1])
    v = rng.normal(size=(300, 2))
    v[:, 1] = v[:, 0] + 1e-8 * v[:, 1]
    wide = np.column_stack([v, v @ planted]).reshape(60, 5, 3)
    gram = np.einsum("bdi,bdj->bij", wide, wide)
    made = least_squares(wide.reshape(-1, 3), gram, np.ones(60), 0)
    assert made.condition > 1e8
    np.testing.assert_allclose(made.weights, planted, rtol=0, atol=1e-6)
    squared = np.linalg.lstsq(gram.sum(0)[:2, :2], gram.sum(0)[:2, 2], rcond=None)[0]
    assert np.abs(squared - planted).max() > 0.1


@pytest.mark.parametrize("m", [1, 3])
def test_standard_errors_are_those_of_repeated_draws(m):
    """Coefficients of many independent batches scatter by the error that one batch claims."""
    rng = np.random.default_rng(0)
    found, claimed = [], []
    for _ in range(400):
        _, _, flat, gram, outputs = system(rng, m=m)
        one = quotient(gram[:, 0, 1], gram[:, 0, 0], outputs, 0)
        made = one if m == 1 else least_squares(flat, gram, outputs, 0)
        found.append(made.weights)
        claimed.append(made.errors)
    np.testing.assert_allclose(np.mean(claimed, axis=0), np.std(found, axis=0), rtol=0.1)


def test_forced_evaluations_stand_on_the_teachers_states():
    """Exposure bias: the student is asked where the teacher stands, and each λ mends one step alone."""
    plan, denoise, x = problem("ddim", "vp")
    targets, asked = bent(plan, denoise, x), []
    watched = batch(x, lambda y, node: asked.append(y) or denoise(y, node), targets)
    forced = fit(plan, [watched], 0, forced=True)
    for y, wanted in zip(asked, [x, *targets[:-1]], strict=True):
        assert torch.equal(y, wanted)
    own = fit(plan, [batch(x, denoise, targets)], 0)
    assert forced.plan.lambdas[0] == own.plan.lambdas[0]  # both begin at x_T
    assert np.abs(forced.plan.lambdas - own.plan.lambdas)[2:].min() > 1e-6


def test_search_picks_the_planted_constant():
    plan, denoise, x = problem("ddim", "vp")
    form, ticks = formulation("fixed"), []
    wanted = states(form.constant(plan, 0.4), denoise, x)
    plans = [form.constant(plan, value) for value in (0.2, 0.3, 0.4, 0.5)]
    whole = distances(plans, [batch(x, denoise, wanted)], ticks.append)
    parts = [batch(x[part], denoise, [w[part] for w in wanted]) for part in torch.arange(24).split([10, 14])]
    chunks = distances(plans, parts)
    assert whole[2] == chunks[2] == 0 < min(whole[0], whole[1], whole[3])
    np.testing.assert_allclose(whole, chunks, rtol=1e-12, atol=1e-12)
    end = states(plans[0], denoise, x)[-1]
    assert whole[0] == pytest.approx(float((end - wanted[-1]).square().mean().sqrt()))
    assert sum(ticks) == 4 * plan.nfe
