"""One executor: the same numbers stepwise, in batches, and in every precision within its rounding."""

from dataclasses import replace

import pytest
import torch
from problems import SCHEDULES, gaussian, mixture, swapped

import dode
from dode.sampling import advance, begin
from dode.schedule import EDM, DiscreteVP, linear_betas


@pytest.fixture(scope="module")
def model():
    return mixture(torch.float32).model(SCHEDULES["vp"], "noise", torch.float32)


@pytest.fixture(scope="module")
def sampler(model):
    return dode.distill(model, "ddim", nfe=6, samples=12)


def test_equal_batch_is_bitwise_equal_and_other_batches_within_1e5(sampler):
    one, again = sampler.sample(10, seed=4, batch=4), sampler.sample(10, seed=4, batch=4)
    assert torch.equal(one, again)
    torch.testing.assert_close(sampler.sample(10, seed=4, batch=10), one, rtol=0, atol=1e-5)


def test_a_sample_does_not_depend_on_how_many_are_asked_for(sampler):
    torch.testing.assert_close(
        sampler.sample(3, seed=1, batch=1), sampler.sample(9, seed=1, batch=1)[:3], rtol=0, atol=0
    )


def test_seeds_and_streams_are_disjoint(model):
    streams = ("fit", "validation", "test")
    rows = [model.start([i], seed, stream) for seed in (0, 1) for stream in streams for i in (0, 1)]
    assert len({float(row.sum()) for row in rows}) == len(rows)


def test_noise_is_standard_normal():
    from dode.noise import noise

    drawn = noise(range(500), (3, 8, 8), 0)
    assert float(drawn.mean()) == pytest.approx(0, abs=0.01)
    assert float(drawn.std()) == pytest.approx(1, abs=0.01)
    assert float((drawn[0] * drawn[1]).mean()) == pytest.approx(0, abs=0.3)


def test_stepping_is_sampling(sampler, model):
    x = model.start(range(4), 0)
    state, denoise = begin(sampler.plan, x), model.bound("noise", None)
    for k in range(sampler.nfe):
        state = advance(sampler.plan, state, denoise(state.y, sampler.plan.nodes[k]))
    assert torch.equal(state.y, sampler.sample(noise=x))
    assert [s.k for s in sampler.trajectory(noise=x)] == list(range(7))


def test_memory_is_what_the_plan_reads(sampler):
    """D-DDIM keeps one older output; plain DDIM none."""
    for state in sampler.trajectory(2):
        assert sum(s is not None for s in state.seen) <= 1 + (state.k == 0)
    for state in dode.sampler(sampler.model, "ddim", nfe=6).trajectory(2):
        assert sum(s is not None for s in state.seen) <= (state.k == 0)


def test_runs_side_by_side_leave_gradients_as_they_were(sampler):
    with torch.enable_grad():
        for one, other in zip(sampler.trajectory(2), sampler.trajectory(2), strict=True):
            assert torch.is_grad_enabled()
            assert torch.equal(one.y, other.y)
        assert torch.is_grad_enabled()


def test_networks_that_work_in_place_or_reuse_their_buffer(model):

    def in_place(x, t, cond):
        return x.mul_(0.5)

    buffer = torch.empty(4, 2, 4)

    def buffered(x, t, cond):
        return torch.mul(x, 0.5, out=buffer)

    x = torch.ones(4, 2, 4)
    ends = []
    for network in (lambda x, t, c: 0.5 * x, in_place, buffered):
        made = dode.sampler(swapped(model, network), "ddim", nfe=4)
        plan = made.plan.extrapolate(2, 0.4)  # reads an older output
        ends.append(replace(made, plan=plan).sample(noise=x))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    assert torch.equal(x, torch.ones(4, 2, 4))


def test_callback_sees_every_evaluation(sampler):
    seen = []
    sampler.sample(5, batch=5, callback=lambda state: seen.append((state.k, tuple(state.y.shape))))
    assert seen == [(k, (5, 2, 4)) for k in range(1, 7)]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 2e-6), (torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_other_precisions_keep_their_dtype_and_stay_near(sampler, model, dtype, bound):

    other = replace(sampler, model=model.to(dtype=dtype))
    out = other.sample(8, seed=2)
    assert out.dtype == dtype
    gap = (out.double() - sampler.sample(8, seed=2).double()).square().mean().sqrt()
    assert float(gap) < bound


def test_plain_and_distilled_agree_when_lambda_is_zero(model):

    plain = dode.sampler(model, "ddim", nfe=6)
    zero = replace(plain, plan=plain.plan.extrapolate(3, 0.0))
    assert torch.equal(plain.sample(4), zero.sample(4))


def test_nan_names_the_evaluation_and_the_node(model):

    def broken(x, t, cond):
        return torch.where(t[0] < 0.5, torch.nan, 1.0) * x

    bad = dode.sampler(swapped(model, broken), "ddim", nfe=5)
    with pytest.raises(ValueError, match=r"evaluation 4 of 5, t = 0.4: the network returned NaN"):
        bad.sample(2)


def test_another_shape_names_the_evaluation_and_both_shapes(model):

    bad = dode.sampler(swapped(model, lambda x, t, c: x[:, :1]), "ddim", nfe=5)
    with pytest.raises(ValueError, match=r"evaluation 1 of 5.*shape of x, \(2, 2, 4\); got \(2, 1, 4\)"):
        bad.sample(2)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "either the number"),
        ({"n": 0}, "at least 1"),
        ({"noise": torch.zeros(2, 3)}, r"noise must be \(n, 2, 4\)"),
        ({"n": 2, "seed": -1}, "seed"),
    ],
)
def test_bad_requests_say_what_was_expected(sampler, arguments, says):
    with pytest.raises(ValueError, match=says):
        sampler.sample(**arguments)


def test_distilled_names_need_distill(model):
    with pytest.raises(ValueError, match="must be fitted"):
        dode.sampler(model, "d-ddim", nfe=5)


@pytest.mark.parametrize("name", ["vp", "edm", "flow", "discrete"])
def test_inversion_goes_back_to_the_noise(name):
    """On a Gaussian x_T is known; the error falls as steps are added."""
    model = gaussian().model(SCHEDULES[name], "data")
    x = model.start(range(6), 0)
    x0 = model.exact(x)
    errors = [
        float((dode.sampler(model, "ddim", nfe=5).invert(x0, steps=n) - x).square().mean().sqrt()) for n in (20, 160)
    ]
    scale = model.schedule.node(model.schedule.t_max).sigma
    assert errors[1] < 0.05 * scale
    assert errors[1] < errors[0] / 3


def test_inversion_asks_for_no_more_than_a_batch():
    model = gaussian().model(SCHEDULES["edm"], "data")
    x0, largest = model.exact(model.start(range(5), 0)), []
    sampler = dode.sampler(
        swapped(model, lambda x, t, cond: largest.append(len(x)) or model.network(x, t, cond)), "ddim", nfe=5
    )
    parted = sampler.invert(x0, steps=20, batch=2)
    assert max(largest) == 2
    torch.testing.assert_close(parted, sampler.invert(x0, steps=20), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="batch must be at least 1; got 0"):
        sampler.invert(x0, batch=0)


def test_inversion_asks_for_no_more_steps_than_there_are_times():
    model = gaussian().model(DiscreteVP.from_betas(linear_betas(20, 2e-3, 0.4)), "noise")
    x0 = model.exact(model.start(range(3), 0), rtol=0.1)
    assert dode.sampler(model, "ddim", nfe=5).invert(x0).isfinite().all()
    with pytest.raises(ValueError, match="50 steps on a schedule of 20"):
        dode.sampler(model, "ddim", nfe=5).invert(x0, steps=50)


def test_vectors_are_samples_too():
    """No shapes in the core: points in the plane."""
    point = dode.analytic.Gaussian(torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    out = dode.distill(point.model(EDM(), "data"), "ddim", nfe=5, samples=8).sample(7)
    assert out.shape == (7, 2)
