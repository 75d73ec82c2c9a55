"""The fit is least squares, evaluation after evaluation."""

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, mixture, prediction_for

import dode
from dode.distillation import Batch, fit, solve
from dode.evaluate import distance
from dode.plan import previous
from dode.sampling import trajectory
from dode.solvers import METHODS
from dode.solvers.budget import build

LAMBDAS = [0.4, -0.3, 0.6, 0.2, 0.5, -0.1, 0.7, 0.3, 0.1]


def problem(method, schedule, nfe=7, samples=24):
    model = mixture().model(SCHEDULES[schedule], prediction_for(schedule), torch.float64)
    plan, _ = build(METHODS[method], nfe, model.schedule, model.prediction)
    return plan, model.denoiser(plan.kind, None), model.start(range(samples), 3, "fit")


def states(plan, denoise, x):
    return [state.y for state in trajectory(plan, denoise, x)][1:]


@pytest.mark.parametrize("schedule", ["discrete", "vp", "edm", "flow"])
@pytest.mark.parametrize("method", METHODS)
def test_a_planted_lambda_is_recovered(method, schedule):
    plan, denoise, x = problem(method, schedule)
    planted = plan
    for k in range(plan.nfe):
        if previous(plan, k).any():
            planted = planted.extrapolate(k, LAMBDAS[k])
    found = fit(plan, [Batch(x, denoise, states(planted, denoise, x))], rho=0).plan
    determined = np.array([bool(previous(plan, k).any()) for k in range(plan.nfe)])
    # Heun's first stage differences two outputs at one σ: small against the rounding of x near σ = 80
    np.testing.assert_allclose(
        found.lambdas, np.where(determined, planted.lambdas, 0), atol=1e-7 if method == "edm" else 1e-10
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_teacher_that_is_the_student_gives_zero(method):
    plan, denoise, x = problem(method, "vp")
    found = fit(plan, [Batch(x, denoise, states(plan, denoise, x))], rho=0).plan
    np.testing.assert_array_equal(found.lambdas, np.zeros(plan.nfe))


@pytest.mark.parametrize("sizes", [[24], [8, 8, 8], [5, 19], [1] * 24])
def test_lockstep_batches_equal_one_batch(sizes):
    plan, denoise, x = problem("ddim", "vp")
    targets = states(problem("ddim", "vp")[0].extrapolate(2, 0.3).extrapolate(4, 0.2), denoise, x)
    targets = [target + 0.01 * target**2 for target in targets]  # not reachable exactly
    whole = fit(plan, [Batch(x, denoise, targets)], rho=1e-3)
    parts, batches = torch.arange(24).split(sizes), []
    for part in parts:
        batches.append(Batch(x[part], denoise, [target[part] for target in targets]))
    chunks = fit(plan, batches, rho=1e-3)
    np.testing.assert_allclose(chunks.plan.lambdas, whole.plan.lambdas, rtol=1e-12)
    np.testing.assert_allclose(chunks.errors, whole.errors, rtol=1e-10)


def test_lambda_minimises_the_residual_of_its_own_step():
    """Moving any one λ away from its value makes the squared residual at its own node larger."""
    plan, denoise, x = problem("ddim", "vp")
    planted = plan.extrapolate(2, 0.3).extrapolate(4, 0.2)
    targets = [target + 0.01 * target**2 for target in states(planted, denoise, x)]
    best = fit(plan, [Batch(x, denoise, targets)], rho=0).plan
    for k in range(plan.nfe):
        sums = []
        for shift in (-0.05, 0.0, 0.05):
            state = states(best.extrapolate(k, shift), denoise, x)[k]
            sums.append(float((state - targets[k]).square().sum()))
        assert sums[1] < min(sums[0], sums[2])


def test_the_fit_does_not_depend_on_the_order_of_samples_nor_on_a_rotation_of_pixels():
    plan, denoise, x = problem("ddim", "vp")
    targets = [target + 0.01 * target**2 for target in states(plan.extrapolate(3, 0.4), denoise, x)]
    plain = fit(plan, [Batch(x, denoise, targets)], rho=1e-3).plan.lambdas
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    shuffled = fit(plan, [Batch(x[order], denoise, [t[order] for t in targets])], rho=1e-3).plan.lambdas
    np.testing.assert_allclose(shuffled, plain, rtol=1e-12)
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))).Q

    def rotated(y):
        return (y.flatten(1) @ turn).reshape(y.shape)

    def back(y):
        return (y.flatten(1) @ turn.T).reshape(y.shape)

    batch = Batch(rotated(x), lambda y, node: rotated(denoise(back(y), node)), [rotated(t) for t in targets])
    np.testing.assert_allclose(fit(plan, [batch], rho=1e-3).plan.lambdas, plain, rtol=1e-10)


def test_ridge_shrinks_and_nothing_over_nothing_is_zero():
    sums = np.array([[2.0, 4.0, 100.0], [1.0, 2.0, 100.0]])
    assert solve(sums, 0)[0] == 0.5
    assert solve(sums, 0.01)[0] == pytest.approx(3 / 8)
    assert solve(np.zeros((3, 3)), 0) == (0.0, 0.0, 0.0)


def test_standard_error_is_that_of_repeated_draws():
    """λ of many independent batches scatters by the error that one batch claims."""
    rng = np.random.default_rng(0)
    found, claimed = [], []
    for _ in range(400):
        v = rng.normal(size=(60, 5))
        r = 0.3 * v + rng.normal(size=(60, 5)) * (0.5 + np.abs(v))
        sums = np.stack([(r * v).sum(1), (v * v).sum(1), (v * v).sum(1)], axis=1)
        lam, error, _ = solve(sums, 0)
        found.append(lam)
        claimed.append(error)
    assert np.mean(claimed) == pytest.approx(np.std(found), rel=0.1)


def test_a_large_lambda_is_warned_of():
    plan, denoise, x = problem("ddim", "vp")
    targets = [state + 40 * (state - x) for state in states(plan, denoise, x)]
    with pytest.warns(UserWarning, match="is large"):
        fit(plan, [Batch(x, denoise, targets)], rho=0)


@pytest.mark.filterwarnings("ignore:.*is large")  # Heun at 5 evaluations, which diverges
@pytest.mark.parametrize(
    ("schedule", "method"), [("discrete", "ddim"), ("vp", "ddim"), ("edm", "ddim"), ("edm", "edm")]
)
def test_distilled_is_nearer_to_the_exact_solution(schedule, method):
    """On noise that nothing was fitted on; the teacher is ten times finer than the student."""
    model = gaussian().model(SCHEDULES[schedule], prediction_for(schedule))
    x = model.start(range(64), 0)
    exact = model.exact(x)
    for nfe in (5, 9):
        plain = distance(dode.sampler(model, method, nfe=nfe).sample(noise=x), exact).rms
        fitted = distance(dode.distill(model, method, nfe=nfe, samples=40).sample(noise=x), exact).rms
        assert fitted < 0.7 * plain


def test_one_teacher_serves_several_students():
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    calls = []
    together = dode.distill(
        model, "ddim", nfe=[5, 10, 20], samples=10, progress=lambda done, total: calls.append(total)
    )
    assert calls[-1] == len(calls) == 200 + 5 + 10 + 20  # one teacher of 200, nested grids
    alone = dode.distill(model, "ddim", nfe=20, samples=10)
    np.testing.assert_allclose(together[20].plan.lambdas, alone.plan.lambdas, rtol=1e-12)


def test_count_alignment_is_the_published_pairing():
    """NFE 10, C = 10: the student stands at 800, 700, …, 0, −1 and its targets at 890, 790, …, 90, −1."""
    from dode.teacher import by_count

    schedule = SCHEDULES["discrete"]
    plan, _ = build(METHODS["ddim"], 10, schedule, "noise", "published")
    lesson = by_count(plan, 10, schedule, METHODS["ddim"], "noise")
    assert [node.t for node in plan.nodes[1:]] == [800, 700, 600, 500, 400, 300, 200, 100, 0, -1]
    assert [lesson.plan.nodes[k].t for k in lesson.targets[0]] == [890, 790, 690, 590, 490, 390, 290, 190, 90, -1]


def test_by_count_a_teacher_of_two_stages_is_counted_in_steps():
    from dode.teacher import by_count

    schedule = SCHEDULES["discrete"]
    plan, _ = build(METHODS["ddim"], 5, schedule, "noise", "published")
    one, two = (by_count(plan, 10, schedule, METHODS[teacher], "noise") for teacher in ("ddim", "edm"))
    assert [one.plan.nodes[k].t for k in one.targets[0]] == [two.plan.nodes[k].t for k in two.targets[0]]


@pytest.mark.filterwarnings("ignore:.*is large")
def test_students_that_start_elsewhere_have_their_own_teacher():
    """Leading grids of 5 and 10 start at 800 and 900: neither may learn from the other's start."""
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    both = dode.distill(model, "ddim", nfe=[5, 10], samples=10, grid="leading")
    for nfe, made in both.items():
        alone = dode.distill(model, "ddim", nfe=nfe, samples=10, grid="leading")
        np.testing.assert_allclose(made.plan.lambdas, alone.plan.lambdas, rtol=1e-12)


def test_count_alignment_on_edm_is_the_published_pairing():
    """Notes: D-EDM at NFE 9 has targets at 42.1, 20.8, 9.46, 3.9, 1.41, 0.43, 0.103, 0.017, 0."""
    from dode.teacher import by_count

    schedule = SCHEDULES["edm"]
    plan, _ = build(METHODS["edm"], 9, schedule, "data", "published")
    lesson = by_count(plan, 10, schedule, METHODS["ddim"], "data")
    levels = [lesson.plan.nodes[k].sigma for k in lesson.targets[0]]
    assert levels == pytest.approx([42.1, 20.8, 9.46, 3.9, 1.41, 0.43, 0.103, 0.017, 0], rel=0.02)


def test_on_a_trailing_grid_targets_by_time_are_those_by_count():
    """Every tenth state of a ten times finer grid: a comparison of the two alignments there would be empty."""
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    from dode.teacher import by_time

    plan, made = build(METHODS["ddim"], 10, model.schedule, "noise")
    lesson = by_time([(plan, made)], 10, model.schedule, METHODS["ddim"], "noise")
    assert lesson.targets[0] == tuple(10 * (k + 1) for k in range(10))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"align": "tme"}, "align must be one of"),
        ({"samples": 0}, "at least 1"),
        ({"rho": -1.0}, "rho at least 0"),
        ({"teacher": "dim"}, "did you mean ddim"),
        ({"nfe": 0}, "at least 1"),
        ({"cond": torch.zeros(4), "samples": 4}, "takes no condition"),
        ({"nfe": []}, "several; got none"),
        ({"rho": float("nan")}, "rho at least 0"),
        ({"seed": -1}, "seed must be"),
        ({"align": "count", "grid": "trailing"}, "leave grid out"),
        ({"align": "count", "end": "t_min"}, "use align='time'"),
        ({"grid": [100, 80, 60, 40, 20, -1]}, "start it nearer"),
        ({"grid": [999, 500.5, 100, 50, 10, -1]}, "whole times"),
    ],
)
def test_bad_options_say_what_to_do(options, says):
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    with pytest.raises(ValueError, match=says):
        dode.distill(model, "ddim", **({"nfe": 5, "samples": 4} | options))
