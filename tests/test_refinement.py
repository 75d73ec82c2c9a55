"""A refinement moves plans of one family until samples end where they should, and knows what each number acts on."""

from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian_model, mixture, relative

import dode
from dode.sampling import run
from dode.schedule import DiscreteVP, linear_betas, zero_terminal_snr
from dode.search import levenberg_marquardt
from dode.search.initial_candidates import starts, task
from dode.search.levenberg_marquardt import (
    Pupil,
    Round,
    _moved,
    _stepped,
    begun,
    cost,
    errors,
    loss,
    rounds,
    squares,
    system,
    trust,
)
from dode.search.parametrization import Family, history, weighted
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

CASES = {"vp": "noise", "edm": "data", "flow": "flow", "zero-snr": "data"}


def family(schedule, nfe=4, method="ipndm-2", told=True, where="trailing"):
    kind = CASES[schedule]
    chosen = SCHEDULES[schedule]
    if schedule == "zero-snr":
        chosen = type(chosen)(chosen.alphas_cumprod, integer=False)
    where = "karras" if schedule == "edm" else where
    plan, _ = build(METHODS[method], nfe, chosen, kind, where, kind=kind)
    return Family(weighted(plan), chosen, history, told)


def pupil(some, count=6, end=None):
    model = mixture().model(some.schedule, some.base.kind if some.base.kind != "flow" else "flow", torch.float64)
    x_T = model.start(range(count), 0)
    denoise = model.bound(some.base.kind, None)
    return Pupil(x_T, x_T if end is None else run(end, denoise, x_T), denoise)


def numbers(some, size=0.1):
    return size * torch.randn(len(some.acts()), generator=torch.Generator().manual_seed(0)).double().numpy()


@pytest.mark.parametrize("schedule", CASES)
@pytest.mark.parametrize("method", ["ddim", "ipndm", "dpm-solver++2m", "deis-2", "unipc-3"])
def test_weights_are_the_solver(schedule, method):
    kind = CASES[schedule]
    plan, _ = build(METHODS[method], 5, SCHEDULES[schedule], kind, "uniform", kind=kind)
    model = mixture().model(SCHEDULES[schedule], kind, torch.float64)
    x_T = model.start(range(3), 0)
    denoise = model.bound(kind, None)
    assert relative(run(weighted(plan), denoise, x_T), run(plan, denoise, x_T)) < 1e-13


def test_solvers_with_stages_are_refused():
    vp = SCHEDULES["vp"]
    plan, _ = build(METHODS["dpm-solver-2"], 4, vp, "noise")
    with pytest.raises(ValueError, match="only solvers that blend outputs in DDIM's step"):
        weighted(plan)
    plan, _ = build(METHODS["ipndm"], 4, vp, "noise")
    with pytest.raises(ValueError, match="begins with weights on DDIM's own steps"):
        Family(plan, vp, history)


@pytest.mark.parametrize("schedule", CASES)
def test_zero_numbers_are_the_base(schedule):
    some = family(schedule)
    plan = some.plan(np.zeros(len(some.acts())))
    assert plan.nodes == some.base.nodes
    np.testing.assert_array_equal(plan.table, some.base.table)
    assert plan.conditioning_shifts is None


@pytest.mark.parametrize("schedule", CASES)
def test_a_number_acts_no_earlier_than_it_says(schedule):
    """Up to evaluation `acts` the plan asks the same at the same nodes; some number acts right after each."""
    some = family(schedule)
    at = numbers(some)
    plan = some.plan(at)
    last = len(at) - 5 if schedule == "edm" else None  # the last inner node
    for p, after in enumerate(some.acts()):
        step, other = _stepped(some, plan, at, p, 0.01)
        assert (step > 0) == (p != last)  # held at the schedule's end, if the base stands there
        assert other.nodes[: after + 1] == plan.nodes[: after + 1]
        np.testing.assert_array_equal(other.table[: max(after, 0)], plan.table[: max(after, 0)])
        assert other.nodes != plan.nodes or np.any(other.table != plan.table)
    assert set(some.acts()) == set(range(-1, 4))


def test_a_jacobian_costs_what_it_says_and_is_the_derivative(monkeypatch):
    some = family("edm")
    spent = []
    one = pupil(some)
    at = numbers(some, 0.02)
    monkeypatch.setattr(levenberg_marquardt, "STEP", 1e-6)
    gram = system(some, at, [one], spent.append)
    assert sum(spent) == cost(some) * len(one.x_T)
    residual = one.end - run(some.plan(at), one.denoise, one.x_T)
    for p in (0, 5, len(at) - 6, len(at) - 1):
        up, down = at.copy(), at.copy()
        up[p] += 1e-5
        down[p] -= 1e-5
        slope = run(some.plan(up), one.denoise, one.x_T) - run(some.plan(down), one.denoise, one.x_T)
        wanted = (slope / 2e-5 * residual).flatten(1).mean(1)
        torch.testing.assert_close(
            torch.tensor(gram[:, p, -1]), wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())
        )


@pytest.mark.parametrize("schedule", CASES)
def test_planted_numbers_are_found_again(schedule):
    """Ends that a plan of the family made are reached by one."""
    some = family(schedule)
    planted = some.plan(numbers(some, 0.03))
    one = pupil(some, 12, planted)
    now = begun(some, [one], lambda count: None)
    before = now.rms
    assert np.isnan(errors(now)).all()
    now = list(islice(rounds(some, now, [one], [[one]], lambda count: None), 25))[-1]
    assert now.rms < 0.1 * before
    assert np.isfinite(errors(now)).all()


def test_every_round_brings_the_samples_nearer():
    some = family("vp")
    model = gaussian_model("vp").to(dtype=torch.float64)
    x_T = model.start(range(16), 0)
    parts = [Pupil(x_T[i : i + 8], model.exact(x_T)[i : i + 8], model.bound("noise", None)) for i in (0, 8)]
    now = begun(some, parts, lambda count: None)
    path = [now, *islice(rounds(some, now, parts, [[part] for part in parts], lambda count: None), 6)]
    assert all(b.rms <= a.rms * (1 + 1e-4) for a, b in pairwise(path))
    now = path[-1]
    assert now.rms < path[0].rms / 2
    np.testing.assert_allclose(squares(some.plan(now.numbers), parts, lambda count: None), now.squares, rtol=1e-12)


def test_a_jacobian_of_before_is_what_it_would_be_now():
    """Where ends are linear in the numbers, the products after a step are those of a new Jacobian."""
    random = np.random.default_rng(0)
    jacobian, residual, step = random.normal(size=(7, 3)), random.normal(size=7), random.normal(size=3)
    before, after = (np.column_stack([jacobian, r]) for r in (residual, residual - jacobian @ step))
    np.testing.assert_allclose(_moved((before.T @ before)[None], step)[0], after.T @ after, rtol=1e-12)


def test_the_slope_of_the_loss_is_the_trust():
    """Up to the 1/n of a mean; a sample far away counts as its logarithm, and nothing infinite passes."""
    squares = np.array([0.0, 0.5, 1.0, 3.0, 40.0])
    for i, weight in enumerate(trust(squares, 1.0)):
        moved = squares.copy()
        moved[i] += 1e-6
        assert (loss(moved, 1.0) - loss(squares, 1.0)) * 5e6 == pytest.approx(weight, rel=1e-4)
    assert loss(np.array([0.0, 1e9]), 1.0) < 10 * levenberg_marquardt.TOLERANCE
    assert loss(np.full(3, 1e-3), 1.0) == pytest.approx(1e-3, rel=1e-4)
    assert loss(np.array([0.0, np.inf]), 1.0) == np.inf
    assert trust(np.zeros(3), 0.0) == pytest.approx(np.ones(3))


def test_errors_are_the_spread_of_fits_on_other_samples(monkeypatch):
    """A straight-line fit of y on x: the bootstrap against the textbook's standard error."""
    random = np.random.default_rng(0)
    x = random.normal(size=400)
    noise = random.normal(size=400)
    wide = np.stack([x, 0.3 * noise], axis=1)  # Jacobian and residual at the true slope
    grams = np.einsum("ni,nj->nij", wide, wide)
    monkeypatch.setattr(levenberg_marquardt, "TOLERANCE", 1e6)  # all samples are trusted
    now = Round(np.zeros(1), wide[:, 1] ** 2, (grams[:250], grams[250:]))
    assert errors(now, 2000)[0] == pytest.approx(0.3 / np.sqrt((x**2).sum()), rel=0.1)


def test_one_sample_in_another_mode_does_not_rule_the_fit():
    """The ends of one of twelve samples are elsewhere: the others come as near as without it."""
    some = family("vp")
    planted = some.plan(numbers(some, 0.03))
    one = pupil(some, 12, planted)
    astray = one._replace(end=torch.cat([one.end[:11], one.end[11:] + 3.0]))

    def reached(fit):
        now = begun(some, [fit], lambda count: None)
        *_, now = islice(rounds(some, now, [fit], [[fit]], lambda count: None), 15)
        return float(np.sqrt(now.squares[:11].mean()))

    start = float(np.sqrt(begun(some, [one], lambda count: None).squares[:11].mean()))
    assert reached(astray) < 0.1 * start


def test_nodes_stay_in_order_and_inside():
    some = family("vp")
    wild = np.zeros(len(some.acts()))
    wild[-7:-4] = (2, -3, 4)  # gaps
    wild[-4:] = (-9, 9, -9, 9)  # what is told
    plan = some.plan(wild)
    levels = [node.logsnr for node in plan.nodes]
    assert levels == sorted(levels)
    assert all(0 <= node.t <= 1 for node in plan.nodes)
    for node, shift in zip(
        plan.nodes[:-1], plan.conditioning_shifts, strict=True
    ):  # what the plan says of its times is so
        assert some.schedule.node(node.t).logsnr - node.logsnr == pytest.approx(shift, abs=1e-9)


def test_short_schedules_from_pure_noise():
    """A hundredth of them is less than the gap between their last two times, where there is no node."""
    chosen = DiscreteVP(zero_terminal_snr(DiscreteVP.from_betas(linear_betas(50, 1e-3, 0.2)).alphas_cumprod), False)
    plan, _ = build(METHODS["ddim"], 4, chosen, "data", kind="data")
    some = Family(weighted(plan), chosen, history, True)
    levels = [node.logsnr for node in some.plan(numbers(some)).nodes]
    assert levels == sorted(levels)


def test_where_no_long_step_is_nearer_it_goes_on_with_short_ones():
    """With dampings up to a hundredfold alone this start was given up in its first round."""
    model = dode.bundled("fashion-mixture")
    fit = task(model, "fit", 32, 60, 0, lambda count: None)
    every = {one.label: one for one in starts(model, 6, ("gradient-estimation",), ("logsnr-trailing",))}
    start = every["gradient-estimation in noise outputs, logsnr-trailing"]
    moving = Family(weighted(start.plan), model.schedule, history, told=True)
    pupils = fit.pupils(start.plan.kind, 0, 12)
    first = begun(moving, pupils, lambda count: None)
    *_, last = islice(rounds(moving, first, pupils, [pupils], lambda count: None), 8)
    assert last.rms < 0.5 * first.rms
