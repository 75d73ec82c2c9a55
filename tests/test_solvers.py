"""A plan is its equation: it equals the paper's, transcribed, and the step function run on tensors."""

from dataclasses import replace

import equations
import numpy as np
import pytest
import torch
from problems import (
    CATALOGUE,
    LAMBDAS,
    PAIRS,
    SCHEDULES,
    counts,
    distilled,
    gaussian_model,
    mixture_model,
    prediction_for,
    relative,
)

import dode
from dode.analytic import Gaussian
from dode.method import Method
from dode.parameterization import express
from dode.plan import from_state_lambdas
from dode.sampling import run
from dode.solvers import METHODS
from dode.solvers.ddim import ddim
from dode.solvers.spec import read
from dode.solvers.step_allocation import build, steps
from dode.tracing import Tracer


@pytest.mark.parametrize("factor", [0.0, 1.0])
@pytest.mark.parametrize("nfe", [1, 2, 3, 10, 19])
@pytest.mark.parametrize("schedule", ["discrete", "vp", "cosine"])
def test_ddim_on_vp_is_equations_3_to_5(schedule, nfe, factor):
    model = mixture_model(schedule)
    plan, made = build(METHODS["ddim"], nfe, model.schedule, "noise")
    x, denoise = model.start(range(4), 0), model.bound("noise", None)
    ours = run(distilled(plan, factor * LAMBDAS), denoise, x)
    theirs = equations.d_ddim_noise(denoise, made.nodes, x, factor * LAMBDAS)
    assert relative(ours, theirs) < 1e-12


@pytest.mark.parametrize("factor", [0.0, 1.0])
@pytest.mark.parametrize("nfe", [1, 2, 3, 10, 19])
def test_ddim_on_edm_is_equations_23_to_27(nfe, factor):
    model = mixture_model("edm")
    plan, made = build(METHODS["ddim"], nfe, model.schedule, "data")
    x, denoise = model.start(range(4), 0), model.bound("data", None)
    ours = run(distilled(plan, factor * LAMBDAS), denoise, x)
    assert relative(ours, equations.d_ddim_data(denoise, made.nodes, x, factor * LAMBDAS)) < 1e-12


@pytest.mark.parametrize("factor", [0.0, 1.0])
@pytest.mark.parametrize(("nfe", "times"), [(1, None), (3, [80, 2, 0]), (5, None), (9, None), (19, None)])
def test_edm_is_equations_28_to_37(nfe, times, factor):
    """With 3 on its own grid, 80 → 0.002 → 0, (36) as printed loses 4 digits to cancellation; hence other times."""
    model = mixture_model("edm")
    plan, made = build(METHODS["edm"], nfe, model.schedule, "data", times)
    x, denoise = model.start(range(4), 0), model.bound("data", None)
    ours = run(distilled(plan, factor * LAMBDAS), denoise, x)
    assert relative(ours, equations.d_edm(denoise, made.nodes, x, factor * LAMBDAS)) < 1e-12


def test_edm_on_vp_is_the_same_solver_on_x_over_alpha():
    """Design: VP and VE plans at equal σ/α give the same sample after dividing by α."""
    vp, edm = SCHEDULES["vp"], SCHEDULES["edm"]
    plan, made = build(METHODS["edm"], 9, vp, "data")
    x = mixture_model("vp").start(range(4), 0)
    ours = run(distilled(plan, LAMBDAS), mixture_model("vp").bound("data", None), x)
    ve_nodes = [edm.node(node.sigma / node.alpha) for node in made.nodes]
    denoise = mixture_model("edm").bound("data", None)
    assert relative(ours, equations.d_edm(denoise, ve_nodes, x / made.nodes[0].alpha, LAMBDAS)) < 1e-12


def test_equation_33_verbatim_is_one_lambda_for_both_stages():
    model = mixture_model("edm")
    plan, made = build(METHODS["edm"], 9, model.schedule, "data")
    x, denoise = model.start(range(4), 0), model.bound("data", None)
    per_step = LAMBDAS[:5]
    ours = run(distilled(plan, np.repeat(per_step, 2)), denoise, x)
    assert relative(ours, equations.d_edm_verbatim(denoise, made.nodes, x, per_step)) < 1e-12


def test_equation_21_verbatim_is_reached_with_rescaled_history():
    """P unnormalised: the older output keeps the older step's weight C, so its entry of mix is λ·C_{k−1}/C_k."""
    model = mixture_model("vp")
    plan, made = build(METHODS["ddim"], 6, model.schedule, "noise")
    weights, mix = np.diag(plan.use), plan.mix.copy()
    for k in range(1, 6):
        mix[k, k + 1] += LAMBDAS[k]
        mix[k, k] -= LAMBDAS[k] * weights[k - 1] / weights[k]
    x, denoise = model.start(range(4), 0), model.bound("noise", None)
    ours = run(replace(plan, mix=mix, unnormalized=True), denoise, x)
    assert relative(ours, equations.d_deis_0_verbatim(denoise, made.nodes, x, LAMBDAS)) < 1e-12
    normalised = run(distilled(plan, np.where(np.arange(6) > 0, LAMBDAS[:6], 0)), denoise, x)
    assert relative(ours, normalised) > 1e-3  # and it is another solver than ours


def test_published_convention_is_the_published_update():
    model = mixture_model("discrete")
    plan, made = build(METHODS["ddim"], 5, model.schedule, "noise")
    x, denoise = model.start(range(4), 0), model.bound("noise", None)
    ours = run(from_state_lambdas(plan, LAMBDAS[:5]), denoise, x)
    assert relative(ours, equations.d_ddim_published(denoise, made.nodes, x, LAMBDAS)) < 1e-12


class Eager:
    """What a step calls net, on tensors: the second route to every solver."""

    move = Tracer.move
    between = Tracer.between

    def __init__(self, kind, schedule, steps, denoise):
        self.kind, self.schedule, self.steps, self.denoise = kind, schedule, steps, denoise
        self.outputs, self.nodes = [], []  # newest first

    def __call__(self, y, node, weights=(1.0,)):
        self.outputs.insert(0, self.denoise(y, node))
        self.nodes.insert(0, node)
        return sum(w * d for w, d in zip(weights, self.outputs, strict=False))

    @property
    def past(self):
        return tuple(self.nodes)

    def split(self, x, output, node):
        (a, b), (c, d) = express((1.0, 0.0), self.kind, node), express((0.0, 1.0), self.kind, node)
        return a * x + b * output, c * x + d * output


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        *PAIRS,
        ("dpm-solver-3:inner=time", "vp"),
        ("deis-3:variable=rho", "discrete"),
        ("dpm-solver++3s:inner=time", "flow"),
    ],
)
def test_the_plan_is_the_step_function(text, schedule):
    model, method = mixture_model(schedule), read(text).method
    kind = method.kind(model.prediction, model.schedule)
    denoise, start = model.bound(kind, None), model.start(range(3), 1)
    for nfe in counts(method.name, 1, 2, 3, 14):
        plan, made = build(method, nfe, model.schedule, model.prediction)
        chosen = steps(method, nfe, made.nodes[0], made.nodes[-1])
        net, x = Eager(kind, model.schedule, len(chosen), denoise), start
        for step, s, t in zip(chosen, made.nodes, made.nodes[1:], strict=False):
            x = step.step(x, s, t, net)
        assert relative(run(plan, denoise, start), x) < 1e-12, nfe
        assert tuple(reversed(net.nodes)) == plan.nodes[:-1]


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_a_point_mass_is_solved_exactly(name, schedule):
    """Data that are one point: any solver, any n, any λ from the second evaluation on."""
    point = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 4, 4)
    model = Gaussian(point, torch.zeros_like(point)).model(SCHEDULES[schedule], prediction_for(schedule))
    x = model.start(range(3), 0)
    for nfe in counts(name, 1, 2, 13):
        plan, _ = build(METHODS[name], nfe, model.schedule, model.prediction)
        end, first = plan.nodes[-1], plan.nodes[0]
        noise = (x - first.alpha * point) / first.sigma
        got = run(distilled(plan, np.concatenate([[0], LAMBDAS[1:]])), model.bound(plan.kind, None), x)
        torch.testing.assert_close(got, end.alpha * point + end.sigma * noise, rtol=0, atol=2e-10)


@pytest.mark.parametrize("name", CATALOGUE)
def test_asked_is_used(name):
    """The network is called once an evaluation, where the plan says."""
    model = gaussian_model("vp")
    (nfe,) = counts(name, 7)
    calls = []
    plan, _ = build(METHODS[name], nfe, model.schedule, model.prediction)
    denoise = model.bound(plan.kind, None)
    run(plan, lambda x, node: calls.append(node) or denoise(x, node), model.start(range(2), 0))
    assert len(calls) == nfe
    assert calls == list(plan.nodes[:-1])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"kinds": ("nois",)}, "outputs are noise, data"),
        ({"stages": 2}, "several stages needs lower"),
        ({"order": 0}, "at least 1"),
    ],
)
def test_a_row_that_is_wrong_is_told_where_it_is_made(wrong, says):
    with pytest.raises(ValueError, match=says):
        Method(**({"name": "mine", "step": ddim, "kinds": ("noise",), "stages": 1, "order": 1, "about": ""} | wrong))


def test_a_sampler_is_one_line():
    sampler = dode.sampler(dode.bundled("fashion").guided(3.0), "ddim", nfe=4)
    assert repr(sampler) == "Sampler(ddim, NFE 4, fashion, guidance 3)"
