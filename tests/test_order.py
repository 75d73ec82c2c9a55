"""The declared order is the observed one, on a Gaussian with its exact flow."""

import math

import pytest
import torch
from problems import CATALOGUE, SCHEDULES, gaussian, gaussian_model

from dode.sampling import run
from dode.schedule import VP
from dode.solvers import METHODS
from dode.solvers.spec import read
from dode.timesteps import grid
from dode.tracing import trace

# what the literature or a proof says; ipndm's and 3M's fixed weights reach 2 only
REQUIRED = {
    **{"ddim": 1, "ipndm-2": 2, "ipndm-3": 2, "ipndm": 2, "pndm": 2, "dpm-solver-2": 2, "dpm-solver-3": 3},
    **{"dpm-solver++2s": 2, "dpm-solver++2m": 2, "dpm-solver++3s": 3, "dpm-solver++3m": 2},
    **{"deis-1": 2, "deis-2": 3, "deis-3": 4, "unipc-2": 3, "unipc-3": 4, "edm": 2, "gradient-estimation": 1},
}
# with β up to 40 the output is constant at first, so that the low order of a multistep method's first steps is not seen
STEEP = VP(beta_max=40.0)
OTHERS = ["dpm-solver-2", "dpm-solver-3", "dpm-solver++2s", "dpm-solver++3s"]
ONE_STEP = ["ddim", *OTHERS, "edm"]


def error(name, schedule, first, last, steps):
    """RMS error on even times between two of them."""
    model = gaussian().model(schedule, "data")
    nodes = grid(schedule, steps, [first + (last - first) * i / steps for i in range(steps + 1)]).nodes
    chosen = read(name).method
    plan = trace(chosen, nodes, schedule, chosen.kind("noise" if name == "ddim" else "data", schedule))
    x = nodes[0].sigma / schedule.node(schedule.t_max).sigma * model.start(range(8), 0)
    exact = gaussian().flow(x, nodes[0], nodes[-1])
    return float((run(plan, model.bound(plan.kind, None), x) - exact).square().mean().sqrt())


def observed(name, *where):
    """The slope at 512 → 1024 steps, which 256 → 512 must confirm."""
    coarse, middle, fine = (error(name, *where, steps) for steps in (256, 512, 1024))
    assert fine > 1e-11  # above rounding, or the slope says nothing
    slope = math.log2(middle / fine)
    assert math.log2(coarse / middle) == pytest.approx(slope, abs=0.1)
    return slope


def test_declared_orders_are_the_required_ones():
    assert {name: METHODS[name].order for name in CATALOGUE} == REQUIRED


@pytest.mark.parametrize("name", CATALOGUE)
def test_order(name):
    assert observed(name, STEEP, 1.0, 0.05) == pytest.approx(REQUIRED[name], abs=0.15)


@pytest.mark.parametrize("name", ONE_STEP)
def test_order_on_edm(name):
    assert observed(name, SCHEDULES["edm"], 10.0, 0.1) == pytest.approx(REQUIRED[name], abs=0.15)


@pytest.mark.parametrize(
    "name", [f"{name}:inner=time" for name in OTHERS] + [f"deis-{r}:variable=rho" for r in (1, 2, 3)]
)
def test_options_keep_the_order(name):
    assert observed(name, STEEP, 1.0, 0.05) == pytest.approx(REQUIRED[name.split(":")[0]], abs=0.15)


def test_only_gamma_3_over_2_is_of_order_2():
    """It is ipndm-2."""
    errors = [error(f"gradient-estimation:gamma={gamma}", STEEP, 1.0, 0.05, 256) for gamma in (1, 1.5, 2)]
    assert errors[1] < 0.05 * min(errors[0], errors[2])


def test_the_exact_flow_solves_the_ode():
    """d(x/α)/d(σ/α) = ε̂, by a central difference."""
    model = gaussian_model("vp", "noise")
    s, a, b = (model.schedule.node(t) for t in (0.8, 0.4 + 1e-5, 0.4 - 1e-5))
    m = model.schedule.node(0.4)
    x = model.start(range(4), 0)
    flow = gaussian().flow
    za, zb = flow(x, s, a) / a.alpha, flow(x, s, b) / b.alpha
    slope = (za - zb) / (a.sigma / a.alpha - b.sigma / b.alpha)
    noise = model.bound("noise", None)(flow(x, s, m), m)
    torch.testing.assert_close(slope, noise, rtol=1e-6, atol=1e-8)
