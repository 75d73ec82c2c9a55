"""A schedule's two functions are inverses, and its numbers are those of the literature."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import BETAS, SCHEDULES

from dode.fingerprint import schedule_hash
from dode.schedule import EDM, VP, DiscreteVP, Flow, from_functions, zero_terminal_snr


@pytest.mark.parametrize("name", SCHEDULES)
@settings(max_examples=40)
@given(fraction=st.floats(0.001, 0.995))
def test_at_inverts_node(name, fraction):
    schedule = SCHEDULES[name]
    t = schedule.t_min + fraction * (schedule.t_max - schedule.t_min)
    if name == "zero-snr":
        t = math.floor(t)
    node = schedule.node(t)
    back = schedule.at(node.logsnr)
    assert back.t == pytest.approx(t, rel=1e-9, abs=1e-9)
    assert back.alpha == pytest.approx(node.alpha, rel=1e-9)
    assert back.sigma == pytest.approx(node.sigma, rel=1e-9)


@pytest.mark.parametrize("name", ["discrete", "vp", "cosine", "zero-snr", "functions"])
def test_variance_is_preserved(name):
    schedule = SCHEDULES[name]
    for t in np.linspace(max(0, schedule.t_min), schedule.t_max - 1e-9, 31):
        node = schedule.node(float(t) if name != "zero-snr" else float(int(t)))
        assert node.alpha**2 + node.sigma**2 == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("name", SCHEDULES)
def test_logsnr_falls_with_time(name):
    schedule = SCHEDULES[name]
    times = np.linspace(schedule.t_min, schedule.t_max, 50)
    if schedule.integer:
        times = times.round()
    levels = [schedule.node(float(t)).logsnr for t in times]
    assert all(a > b for a, b in pairwise(levels))


def test_discrete_vp_is_ddpm():
    node = SCHEDULES["discrete"].node(500)
    product = math.prod(1 - beta for beta in BETAS[:501])
    assert node.alpha == pytest.approx(math.sqrt(product), rel=1e-12)
    assert SCHEDULES["discrete"].node(-1) == (-1.0, 1.0, 0.0)


def test_between_whole_times_logsnr_is_linear():
    schedule = DiscreteVP.from_betas(BETAS, integer=False)
    a, m, b = (schedule.node(t).logsnr for t in (10, 10.25, 11))
    assert m == pytest.approx(0.75 * a + 0.25 * b, rel=1e-12)


def test_vp_is_the_limit_of_ddpm():
    fine = DiscreteVP.from_betas(np.linspace(0.1, 20, 100_000) / 100_000)
    for t in (0.1, 0.5, 1.0):
        assert VP().node(t).alpha == pytest.approx(fine.node(round(t * 100_000) - 1).alpha, rel=1e-3)


def test_ends():
    assert Flow().node(1.0) == (1.0, 0.0, 1.0)
    assert Flow().node(1.0).logsnr == -math.inf
    assert EDM().node(0.0).logsnr == math.inf
    assert SCHEDULES["zero-snr"].node(999).logsnr == -math.inf


def test_zero_terminal_snr_keeps_the_first_and_has_a_floor():
    alphas = DiscreteVP.from_betas(BETAS).alphas_cumprod
    assert zero_terminal_snr(alphas)[0] == pytest.approx(alphas[0], rel=1e-14)
    assert zero_terminal_snr(alphas)[-1] == 0
    floored = DiscreteVP(zero_terminal_snr(alphas, floor=2**-24))
    assert floored.node(999).alpha == pytest.approx(2**-12, rel=1e-9)


def test_functions_that_are_no_schedule_are_refused():
    with pytest.raises(ValueError, match="fall strictly"):
        from_functions(alpha=lambda t: t, sigma=lambda t: 1 - t, t_max=1, t_min=0)
    with pytest.raises(ValueError, match="t_min must be below"):
        from_functions(alpha=lambda t: 1, sigma=lambda t: t, t_max=0, t_min=1)


def test_alphas_that_rise_are_refused():
    with pytest.raises(ValueError, match="alphas_cumprod must fall"):
        DiscreteVP(np.array([0.5, 0.9]))


def test_times_outside_are_refused():
    with pytest.raises(ValueError, match="outside"):
        SCHEDULES["discrete"].node(1000)


def test_fingerprints_tell_schedules_apart():
    marks = {schedule_hash(schedule) for schedule in SCHEDULES.values()}
    assert len(marks) == len(SCHEDULES)
    assert schedule_hash(DiscreteVP.from_betas(BETAS)) == schedule_hash(SCHEDULES["discrete"])
