"""Known equalities between solvers."""

import numpy as np
import pytest
import torch
from problems import CATALOGUE, SCHEDULES, counts, mixture, mixture_model, prediction_for, relative, unrolled

from dode.distillation.formulations import formulation
from dode.sampling import run
from dode.solvers import METHODS
from dode.solvers.spec import read
from dode.solvers.step_allocation import build
from dode.tracing import trace


@pytest.mark.parametrize("kind", ["data", "v", "flow"])
def test_ddim_is_the_same_in_every_output(kind):
    model = mixture().model(SCHEDULES["vp"], "noise", torch.float64)
    nodes = build(METHODS["ddim"], 8, model.schedule, "noise")[1].nodes
    x = model.start(range(4), 0)
    of_noise, of_kind = (
        run(trace(METHODS["ddim"], nodes, model.schedule, k), model.bound(k, None), x) for k in ("noise", kind)
    )
    torch.testing.assert_close(of_kind, of_noise, rtol=1e-11, atol=1e-12)


def test_dpm_solver_1_is_ddim():
    assert METHODS["dpm-solver-1"] is METHODS["ddim"]


def test_vp_and_ve_plans_agree_at_equal_logsnr():
    """The first evaluation's previous output is x_T/σ_T, so that λ_0 means the same on both."""
    vp, edm = SCHEDULES["vp"], SCHEDULES["edm"]
    nodes = build(METHODS["ddim"], 6, vp, "noise")[1].nodes
    ve_nodes = [edm.node(node.sigma / node.alpha) for node in nodes]
    x = mixture().model(vp, "noise", torch.float64).start(range(4), 0)
    results = []
    for schedule, where, start in ((vp, nodes, x), (edm, ve_nodes, x / nodes[0].alpha)):
        plan = trace(METHODS["ddim"], where, schedule, "noise")
        for k, lam in enumerate([0.3, 0.5, -0.2, 0.4, 0.6, 0.1]):
            plan = plan.extrapolate(k, lam)
        model = mixture().model(schedule, "noise", torch.float64)
        results.append(run(plan, model.bound("noise", None), start))
    torch.testing.assert_close(results[0], results[1], rtol=1e-11, atol=1e-12)


def test_constant_lambda_is_permenter_and_yuan():
    """ε̄ = γ·ε_t + (1 − γ)·ε_{t+1} with γ = 1 + λ (Permenter & Yuan 2023), in VE form."""
    gamma, edm = 2.0, SCHEDULES["edm"]
    model = mixture().model(edm, "noise", torch.float64)
    plan, made = build(METHODS["ddim"], 7, edm, "noise")
    for k in range(1, 7):
        plan = plan.extrapolate(k, gamma - 1)
    x = start = model.start(range(4), 0)
    denoise, before = model.bound("noise", None), None
    for s, t in zip(made.nodes, made.nodes[1:], strict=False):
        d = denoise(x, s)
        average = d if before is None else gamma * d + (1 - gamma) * before
        x = x + (t.sigma - s.sigma) * average
        before = d
    torch.testing.assert_close(run(plan, denoise, start), x, rtol=1e-11, atol=1e-12)


def table(text, where, nfe=8):
    return build(read(text).method, nfe, SCHEDULES[where], prediction_for(where), kind="noise")[0].table


@pytest.mark.parametrize("where", ["discrete", "vp", "edm"])
def test_solvers_that_are_the_same(where):
    """Permenter & Yuan with γ = 2 is Fixed-D-DDIM with λ = 1; with 3/2 ipndm-2; with 1 ddim."""
    ddim, _ = build(METHODS["ddim"], 8, SCHEDULES[where], "noise", kind="noise")
    for gamma in (2.0, 1.3):
        constant = formulation("fixed").constant(ddim, gamma - 1).table
        np.testing.assert_allclose(table(f"gradient-estimation:gamma={gamma}", where), constant, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(table("gradient-estimation:gamma=1.5", where), table("ipndm-2", where))
    np.testing.assert_array_equal(table("gradient-estimation:gamma=1", where), table("ddim", where))


def test_on_even_steps_of_its_own_clock_deis_is_adams_bashforth():
    """Where t is σ/α, as on EDM's schedule, and steps are even."""
    edm = SCHEDULES["edm"]
    nodes = [edm.node(10 - i) for i in range(8)]
    for deis, ab in (("deis-1", "ipndm-2"), ("deis-2", "ipndm-3"), ("deis-3", "ipndm")):
        one, other = (trace(METHODS[name], nodes, edm, "noise").table for name in (deis, ab))
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)


def test_singlestep_solvers_of_noise_and_data_are_not_the_same():
    """DPM-Solver++ 2S is another solver than DPM-Solver-2: a blend of data is no blend of noise."""
    model = mixture_model("vp")
    x = model.start(range(4), 0)
    ends = []
    for name in ("dpm-solver-2", "dpm-solver++2s"):
        plan, _ = build(METHODS[name], 6, model.schedule, "noise")
        ends.append(run(plan, model.bound(plan.kind, None), x))
    assert relative(*ends) > 1e-3


@pytest.mark.parametrize("name", CATALOGUE)
def test_unrolled_is_incremental(name):
    model = mixture_model("vp")
    (nfe,) = counts(name, 7)
    plan, _ = build(METHODS[name], nfe, model.schedule, "noise")
    plan = plan.extrapolate(2, 0.4).extrapolate(5, -0.3)
    x, denoise, outputs = model.start(range(3), 0), model.bound(plan.kind, None), []
    final = run(plan, lambda y, node: outputs.append(denoise(y, node)) or outputs[-1], x)
    columns = [x, x / plan.nodes[0].sigma, *outputs]
    summed = sum(c * column for c, column in zip(unrolled(plan)[-1], columns, strict=True))
    torch.testing.assert_close(summed, final, rtol=1e-9, atol=1e-10)
    assert np.all(np.isfinite(unrolled(plan)))
