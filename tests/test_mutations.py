"""The tests bite: every one-token mutant of a step function is caught by row sums, by order, or by its equation."""

import inspect
import re
from dataclasses import replace

import equations
import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, mixture

from dode.grid import grid
from dode.sampling import run
from dode.solvers import METHODS
from dode.solvers import ddim as ddim_module
from dode.solvers import edm as edm_module
from dode.tracing import trace

LAMBDAS = [0.0, 0.4, -0.3, 0.6, 0.2, 0.5, -0.1]


def mutants(function):
    """Each swap of s and t in an attribute, and each flipped sign or product, one at a time."""
    source = inspect.getsource(function)
    body = source.index('"""', source.index('"""') + 3) + 3
    swaps = [(r"\bs\.(alpha|sigma)", r"t.\1"), (r"\bt\.(alpha|sigma)", r"s.\1"), (r" \+ ", " - "), (r" - ", " + ")]
    swaps += [(r" \* ", " / "), (r" / ", " * "), (r"\.alpha\b", ".sigma"), (r"\.sigma\b", ".alpha")]
    for pattern, to in swaps:
        for found in re.finditer(pattern, source):
            line = source[source.rfind("\n", 0, found.start()) + 1 : source.find("\n", found.start())]
            if found.start() > body and not line.strip().startswith("if "):  # conditions choose, they do not compute
                yield source[: found.start()] + found.expand(to) + source[found.end() :], line.strip()


def compiled(source, module):
    scope = dict(vars(module))
    exec(source, scope)
    return scope


def caught(method, literal, kind):
    """By which layer the mutant is caught; None if it survives."""
    schedule = SCHEDULES["edm"] if literal is not equations.d_ddim_noise else SCHEDULES["vp"]
    nodes = grid(schedule, 4, None).nodes
    try:
        plan = trace(method, nodes, schedule, kind)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        return f"construction: {error}"
    for k in range(1, plan.nfe):
        plan = plan.extrapolate(k, LAMBDAS[k])
    model = mixture().model(schedule, kind, torch.float64)
    x, denoise = model.start(range(3), 0), model.denoiser(kind, None)
    gap = (run(plan, denoise, x) - literal(denoise, nodes, x, LAMBDAS)).abs().max()
    return "equation" if gap > 1e-9 else None


CASES = [
    ("ddim", ddim_module, ddim_module.ddim, equations.d_ddim_noise, "noise"),
    ("edm", edm_module, edm_module.heun, equations.d_edm, "data"),
]


@pytest.mark.parametrize(("name", "module", "function", "literal", "kind"), CASES)
def test_every_mutant_is_caught(name, module, function, literal, kind):
    # on EDM's schedule α = 1, so a swapped alpha changes nothing there: the VP plan must equal the VE plan besides
    survivors, total = [], 0
    assert caught(METHODS[name], literal, kind) is None  # the method itself passes
    for source, line in mutants(function):
        total += 1
        step = compiled(source, module)[function.__name__]
        if caught(replace(METHODS[name], step=step), literal, kind) is None and vp_ve_gap(step) < 1e-9:
            survivors.append(line)
    assert total >= 4
    assert not survivors


def vp_ve_gap(step):
    """How far the VP plan lies from the VE plan at equal σ/α; both are one solver on x/α."""
    vp, edm = SCHEDULES["vp"], SCHEDULES["edm"]
    nodes = grid(vp, 4, [0.9, 0.6, 0.3, 0.1, 0.02]).nodes
    ends = []
    for schedule, where in ((vp, nodes), (edm, [edm.node(n.sigma / n.alpha) for n in nodes])):
        try:
            plan = trace(replace(METHODS["edm"], step=step), where, schedule, "data")
        except (ValueError, TypeError, ZeroDivisionError):
            return 1.0
        model = gaussian().model(schedule, "data")
        x = where[0].sigma * torch.ones(1, 1, 4, 4, dtype=torch.float64)
        ends.append(run(plan, model.denoiser("data", None), x) / where[-1].alpha)
    return float((ends[0] - ends[1]).abs().max())


@pytest.mark.parametrize("method", METHODS)
def test_one_changed_coefficient_of_a_distilled_plan_is_seen(method):
    """A flipped λ, or one unequal by a millionth, changes samples by more than the comparisons with equations allow."""
    schedule = SCHEDULES["vp"]
    model = mixture().model(schedule, "noise", torch.float64)
    kind = METHODS[method].kind("noise", schedule)
    plan = trace(METHODS[method], grid(schedule, 4).nodes, schedule, kind)
    good = plan.extrapolate(2, 0.4)
    x, denoise = model.start(range(3), 0), model.denoiser(kind, None)
    for bad in (plan.extrapolate(2, -0.4), plan.extrapolate(2, 0.4 + 1e-6), plan.extrapolate(1, 0.4)):
        gap = (run(bad, denoise, x) - run(good, denoise, x)).abs().max() / run(good, denoise, x).abs().max()
        assert gap > 1e-9
    assert np.isclose(good.mix[2].sum(), 1)
