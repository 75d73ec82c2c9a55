"""What may be changed at an evaluation: the formulations of section 4.4 are their equations, and each is fitted."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transcriptions as literal
from problems import LAMBDAS, gaussian_model, mixture_model, relative

from dode.distillation.api import distill
from dode.distillation.fit import Batch, fit
from dode.distillation.formulations import FORMULATIONS, formulation
from dode.samplers import sampler
from dode.sampling import run, trajectory
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

FITTED = [name for name, form in FORMULATIONS.items() if form.directions]


def problem(method, where, nfe, samples=4, kind=None):
    model = mixture_model(where)
    plan, made = build(METHODS[method], nfe, model.schedule, model.prediction, kind=kind)
    return plan, made.nodes, model.bound(plan.kind, None), model.start(range(samples), 3, "fit")


def states(plan, denoise, x):
    return [state.y for state in trajectory(plan, denoise, x)][1:]


def planted(plan, name, start=True):
    """The plan with a known coefficient on every direction, and those coefficients, one array an evaluation.

    start=False: none on x_T/σ_T.
    """
    form, given = formulation(name), iter(np.concatenate([LAMBDAS, -LAMBDAS / 2, LAMBDAS**2, LAMBDAS / 3]))
    plan, made = replace(plan, unnormalized=form.free), []
    for k in range(plan.nfe):
        rows = form.directions(plan, k)
        made.append(np.array([next(given) * (start or not row[0]) for row in rows]))
        plan = plan.mixed(k, made[-1] @ rows)
    return plan, made


def test_the_formulations_are_those_of_the_paper():
    assert list(FORMULATIONS) == ["d", "2", "sep", "all", "verbatim", "fixed", "la"]
    assert [form.free for form in FORMULATIONS.values()] == [False, False, True, True, True, False, False]
    with pytest.raises(ValueError, match="formulation must be one of d, 2, sep, all, verbatim, fixed, la; got 'both'"):
        formulation("both")


def coefficients(name, k, c):
    """(40)–(43) as they are printed: what stands before d_0 … d_k, and before x_T/σ_T."""
    row, start = np.zeros(k + 1), 0.0
    if name == "all":  # (41): all outputs, each with its own
        row[:] = c[: k + 1]
    elif name == "sep":  # (40): λ₁·d_t + λ₂·d_{t+1}
        row[k] = c[0]
        if k:
            row[k - 1] = c[1]
        else:
            start = c[1]
    else:  # (42), (43): d_t + λ₁·(d_t − d_{t+1}) + λ₂·(d_t − d_{t+2})
        row[k] = 1
        for i in range(1, 2 if name == "d" else min(2, k + 1) + 1):
            row[k] += c[i - 1]
            if k - i >= 0:
                row[k - i] -= c[i - 1]
            else:
                start -= c[i - 1]
    return row, start


OWN = {"sep": lambda k: [1, 0], "all": lambda k: [*[0] * k, 1]}  # directions are changes to d_t


@pytest.mark.parametrize("name", ["d", "2", "sep", "all"])
def test_rows_of_mix_are_equations_40_to_43(name):
    mixed, made = planted(problem("ddim", "vp", 7)[0], name)
    for k, c in enumerate(made):
        row, start = coefficients(name, k, c + OWN.get(name, lambda k: 0)(k))
        np.testing.assert_allclose(mixed.mix[k], [start, *row, *[0] * (6 - k)], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("where", ["discrete", "vp", "edm"])
@pytest.mark.parametrize("name", ["d", "2", "sep", "all"])
def test_samples_are_those_of_the_equations(name, where):
    plan, nodes, denoise, x = problem("ddim", where, 7, kind="noise")
    mixed, made = planted(plan, name, start=False)
    rows = [coefficients(name, k, c + OWN.get(name, lambda k: 0)(k))[0] for k, c in enumerate(made)]
    assert relative(run(mixed, denoise, x), literal.d_ddim_formulation(denoise, nodes, x, rows)) < 1e-12


@pytest.mark.parametrize("where", ["discrete", "vp", "edm"])
@pytest.mark.parametrize("lam", [0.1, 0.4])
def test_lookahead_is_its_equation(where, lam):
    for nfe in (1, 2, 10):
        plan, nodes, denoise, x = problem("ddim", where, nfe, kind="data")
        ahead = formulation("la").constant(plan, lam)
        assert relative(run(ahead, denoise, x), literal.la_ddim(denoise, nodes, x, lam)) < 1e-12, nfe


def test_fixed_is_one_lambda_from_the_second_evaluation_on():
    for kind in ("noise", "data"):
        plan, *_ = problem("dpm-solver++2m", "vp", 6, kind=kind)
        np.testing.assert_allclose(formulation("fixed").constant(plan, 0.3).lambdas, [0, 0.3, 0.3, 0.3, 0.3, 0.3])


@pytest.mark.parametrize(("name", "solver"), [("verbatim", "dpm-solver-2"), ("la", "dpm-solver++2s")])
def test_formulations_for_one_evaluation_a_step_say_so(name, solver):
    model = gaussian_model("vp")
    with pytest.raises(ValueError, match=f"formulation {name} is for solvers with one evaluation a step"):
        distill(model, solver, 5, samples=4, formulation=name)


def test_lookahead_with_lambda_0_is_the_solver_itself():
    """So it is refused where data outputs would be another solver."""
    model = gaussian_model("discrete")
    x = model.start(range(4), 0)
    for name in ("ddim", "dpm-solver++2m", "unipc-2"):
        ahead = distill(model, f"{name}:formulation=la:lam=0", 6, samples=4)
        torch.testing.assert_close(ahead.sample(noise=x), sampler(model, name, nfe=6).sample(noise=x))
    with pytest.raises(ValueError, match="deis-3 has noise outputs"):
        distill(model, "deis-3", nfe=6, samples=4, formulation="la")


def fitted(plan, name, batches, rho=0.0, **options):
    form = formulation(name)
    return fit(replace(plan, unnormalized=form.free), batches, rho, directions=form.directions, **options)


@pytest.mark.parametrize("where", ["discrete", "edm"])
@pytest.mark.parametrize("method", ["ddim", "ipndm-3", "deis-2", "dpm-solver++2m"])
@pytest.mark.parametrize("name", FITTED)
def test_planted_coefficients_are_found(name, method, where):
    """But for rounding times the condition number of the slopes."""
    plan, _, denoise, x = problem(method, where, 5, samples=24)
    mixed, made = planted(plan, name)
    found = fitted(plan, name, [Batch(lambda: x, denoise, states(mixed, denoise, x).__getitem__)])
    for c, solution in zip(made, found.solutions, strict=True):
        assert len(c) == len(solution.weights) == len(solution.errors)
        np.testing.assert_allclose(solution.weights, c, rtol=0, atol=1e-12 * (1 + solution.condition))
    np.testing.assert_allclose(found.plan.mix, mixed.mix, rtol=0, atol=1e-6)
