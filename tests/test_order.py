"""The declared order is the observed one, on a Gaussian with its exact flow."""

import math

import pytest
import torch
from problems import gaussian_model

from dode.grid import grid
from dode.sampling import run
from dode.solvers import METHODS
from dode.tracing import trace


def error(method, schedule, steps):
    """RMS error on even log-SNR steps over the middle of the schedule, where no step ends at σ = 0."""
    model = gaussian_model(schedule, "data" if schedule == "edm" else "noise")
    sched = model.schedule
    first, last = (0.9, 0.05) if schedule == "vp" else (10.0, 0.1)
    times = [first + (last - first) * i / steps for i in range(steps + 1)]
    nodes = grid(sched, steps, times).nodes
    plan = trace(METHODS[method], nodes, sched, METHODS[method].kind(model.prediction, sched))
    x = model.start(range(8), 0) * nodes[0].sigma
    exact = _gaussian_flow(x, nodes)
    return float((run(plan, model.denoiser(plan.kind, None), x) - exact).square().mean().sqrt())


def _gaussian_flow(x, nodes):
    from problems import gaussian

    return gaussian().flow(x, nodes[0], nodes[-1])


@pytest.mark.parametrize("schedule", ["vp", "edm"])
@pytest.mark.parametrize("name", METHODS)
def test_order(name, schedule):
    coarse, middle, fine = (error(name, schedule, n) for n in (256, 512, 1024))
    assert fine > 1e-11  # above rounding, or the slope says nothing
    slope = math.log2(middle / fine)
    assert slope == pytest.approx(METHODS[name].order, abs=0.15)
    assert math.log2(coarse / middle) == pytest.approx(slope, abs=0.1)


def test_the_exact_flow_solves_the_ode():
    """d(x/α)/d(σ/α) = ε̂, by a central difference."""
    model = gaussian_model("vp", "noise")
    s, a, b = (model.schedule.node(t) for t in (0.8, 0.4 + 1e-5, 0.4 - 1e-5))
    m = model.schedule.node(0.4)
    x = model.start(range(4), 0)
    from problems import gaussian

    flow = gaussian().flow
    za, zb = flow(x, s, a) / a.alpha, flow(x, s, b) / b.alpha
    slope = (za - zb) / (a.sigma / a.alpha - b.sigma / b.alpha)
    noise = model.denoiser("noise", None)(flow(x, s, m), m)
    torch.testing.assert_close(slope, noise, rtol=1e-6, atol=1e-8)
