"""Known equalities between solvers."""

import numpy as np
import pytest
import torch
from problems import SCHEDULES, mixture

from dode.sampling import run
from dode.solvers import METHODS
from dode.solvers.budget import build
from dode.tracing import trace


@pytest.mark.parametrize("kind", ["data", "v", "flow"])
def test_ddim_is_the_same_in_every_output(kind):
    model = mixture().model(SCHEDULES["vp"], "noise", torch.float64)
    nodes = build(METHODS["ddim"], 8, model.schedule, "noise")[1].nodes
    x = model.start(range(4), 0)
    of_noise, of_kind = (
        run(trace(METHODS["ddim"], nodes, model.schedule, k), model.denoiser(k, None), x) for k in ("noise", kind)
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
        results.append(run(plan, model.denoiser("noise", None), start))
    torch.testing.assert_close(results[0], results[1], rtol=1e-11, atol=1e-12)


def test_constant_lambda_is_permenter_and_yuan():
    """ε̄ = γ·ε_t + (1 − γ)·ε_{t+1} with γ = 1 + λ (Permenter & Yuan 2023), in VE form."""
    gamma, edm = 2.0, SCHEDULES["edm"]
    model = mixture().model(edm, "noise", torch.float64)
    plan, made = build(METHODS["ddim"], 7, edm, "noise")
    for k in range(1, 7):
        plan = plan.extrapolate(k, gamma - 1)
    x = start = model.start(range(4), 0)
    denoise, before = model.denoiser("noise", None), None
    for s, t in zip(made.nodes, made.nodes[1:], strict=False):
        d = denoise(x, s)
        average = d if before is None else gamma * d + (1 - gamma) * before
        x = x + (t.sigma - s.sigma) * average
        before = d
    torch.testing.assert_close(run(plan, denoise, start), x, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_unrolled_is_incremental(method):
    model = mixture().model(SCHEDULES["vp"], "noise", torch.float64)
    plan, _ = build(METHODS[method], 7, model.schedule, "noise")
    plan = plan.extrapolate(2, 0.4).extrapolate(5, -0.3)
    x, denoise, outputs = model.start(range(3), 0), model.denoiser(plan.kind, None), []
    final = run(plan, lambda y, node: outputs.append(denoise(y, node)) or outputs[-1], x)
    columns = [x, x / plan.nodes[0].sigma, *outputs]
    summed = sum(c * column for c, column in zip(plan.unroll()[-1], columns, strict=True))
    torch.testing.assert_close(summed, final, rtol=1e-9, atol=1e-10)
    assert np.all(np.isfinite(plan.unroll()))
