"""The tests bite: one-token mutants of the step functions are caught by row sums, or by an equation of another file.

The four that would be other solvers of the same order are why equations are needed.
"""

import inspect
import re
from dataclasses import replace
from functools import cache
from math import inf

import equations
import numpy as np
import pytest
import test_solvers as solvers
import test_stochastic as stochastic
import test_transcriptions as spec
import transcriptions as literal
from problems import CATALOGUE, LAMBDAS, SCHEDULES, counts, distilled, mixture_model, relative

from dode.sampling import run
from dode.solvers import METHODS, ddim, deis, dpm_solver, dpm_solver_pp, gradient_estimation, heun, ipndm, unipc
from dode.solvers.spec import read
from dode.solvers.step_allocation import build

MODULES = (ddim, deis, dpm_solver, heun, gradient_estimation, ipndm, dpm_solver_pp, unipc, spec)
SWAPS = [(r"\bs\.(alpha|sigma|logsnr)", r"t.\1"), (r"\bt\.(alpha|sigma|logsnr)", r"s.\1")]
SWAPS += [(r" \+ ", " - "), (r" - ", " + "), (r" \* ", " / "), (r" / ", " * ")]
SWAPS += [(r"\.alpha\b", ".sigma"), (r"\.sigma\b", ".alpha"), (r"(?<=[(,=] )-(?=\w)", ""), (r"(?<=[(])-(?=\w)", "")]
SWAPS += [(r"(?<![\w.])([123])(?![\w.])", lambda found: str(int(found[1]) + 1))]
SKIPPED = ("if ", "elif ", "while ", "raise ", "#")  # conditions choose, they do not compute
SAME = (  # mutants that are no other solver: room that is not used; what only says how finely an integral is cut
    ("total = np.zeros(order + 2)", "2"),
    ("narrow = abs(", " - "),
)


def mutants(function):
    """Each swap of s and t in an attribute, each flipped sign or product, each changed number, one at a time."""
    source = inspect.getsource(function)
    body = source.index('"""', source.index('"""') + 3) + 3
    for pattern, to in SWAPS:
        for found in re.finditer(pattern, source):
            begin = source.rfind("\n", 0, found.start()) + 1
            line = source[begin : source.find("\n", found.start())].strip()
            condition = line.startswith(SKIPPED) or " if " in source[begin : found.start()]
            same = any(line.startswith(start) and found[0] == token for start, token in SAME)
            if found.start() > body and not condition and not same:
                new = to(found) if callable(to) else found.expand(to)
                yield source[: found.start()] + new + source[found.end() :], f"{line}  {found[0]!r} → {new!r}"


def planted(function, source, monkeypatch):
    """The mutant in place of the function, wherever it is used."""
    name, home = function.__name__, inspect.getmodule(inspect.unwrap(function))
    for known, value in list(vars(home).items()):
        monkeypatch.setattr(home, known, value)  # what is put back afterwards, whatever the mutant defines
    exec(source, vars(home))
    mutant = vars(home)[name]
    for module in MODULES:
        if getattr(module, name, None) is function:
            monkeypatch.setattr(module, name, mutant)
    for known in CATALOGUE:
        if METHODS[known].step is function:
            monkeypatch.setitem(METHODS, known, replace(METHODS[known], step=mutant))


@cache
def wanted(equation, text, where, nfe, end):
    """What the equation gives; made before anything is changed."""
    plan, denoise, nodes, x = spec.problem(text, where, nfe, end=end)
    return equation(denoise, plan, nodes, x, LAMBDAS, where)


def like(text, where, nfe, end="data", equation=None):
    """A check: how far the plan, with λ unless it is UniPC's, lies from its equation."""
    equation = equation or spec.EQUATIONS[text]

    def gap():
        model = mixture_model(where)
        plan, _ = build(read(text).method, nfe, model.schedule, model.prediction, end=end)
        plan = plan if "unipc" in text else distilled(plan)
        ends = run(plan, model.bound(plan.kind, None), model.start(range(3), 0))
        return relative(ends, wanted(equation, text, where, nfe, end))

    return gap


def holds(test, *arguments):
    """A check: a test of another file."""

    def gap():
        test(*arguments)
        return 0.0

    return gap


def unipc_of(order):
    return lambda net, plan, nodes, x, lam, where: literal.unipc(net, nodes, x, order)


DEIS = [like("deis-3", "vp", 5), like("deis-3", "discrete", 3), like("deis-1", "vp", 3), like("deis-2", "edm", 4)]
DEIS += [
    holds(spec.test_deis_weights_average_polynomials_exactly, "flow", k, v) for k in spec.LEVELS for v in ("t", "rho")
]
UNIPC = [
    like(f"unipc-{o}", w, 6, e, unipc_of(o))
    for o in (2, 3)
    for w, e in (("vp", "data"), ("edm", "t_min"), ("flow", "data"))
]
CASES = {
    ddim.ddim: [
        like("ddim", "vp", 5, equation=spec.on_nodes(equations.d_ddim_noise)),
        holds(stochastic.test_eta_1_is_ddpm, "vp"),
        holds(stochastic.test_eta_is_equations_12_and_16_of_ddim, 0.4),
        holds(stochastic.test_fresh_1_is_the_sampling_of_consistency_models, "vp"),
    ],
    heun.heun: [
        like("edm", "edm", 5, equation=spec.on_nodes(equations.d_edm)),
        holds(solvers.test_edm_on_vp_is_the_same_solver_on_x_over_alpha),
        holds(stochastic.test_churn_is_algorithm_2, 1, 0.05, inf),
        holds(stochastic.test_churn_is_algorithm_2, 400, 0.05, 50),
    ],
    dpm_solver.dpm_solver_2: [like("dpm-solver-2", "vp", 5), like("dpm-solver-2:inner=time", "discrete", 4, "t_min")],
    dpm_solver.dpm_solver_3: [like("dpm-solver-3", "vp", 7), like("dpm-solver++3s:inner=time", "discrete", 6)],
    dpm_solver.share: [like("dpm-solver-3", "vp", 4), like("dpm-solver++3s", "vp", 4)],
    dpm_solver_pp.second: [like("dpm-solver++2m", "vp", 5)],
    dpm_solver_pp.third: [like("dpm-solver++3m", "vp", 6)],
    deis._deis: DEIS,
    deis.weights: DEIS,
    deis._lagrange: DEIS,
    deis.clock: DEIS,
    unipc.weights: UNIPC,
    unipc._predictor: UNIPC,
    unipc._correction: UNIPC,
    unipc._shares: UNIPC,
    ipndm.ipndm: [like("ipndm", "vp", 6), like("ipndm-2", "vp", 3)],
    ipndm.pndm: [like("pndm", "vp", 15)],
    gradient_estimation.gradient_estimation: [like("gradient-estimation:gamma=1.3", "vp", 4)],
}


def caught(check):
    """By a refusal, or by a difference."""
    try:
        return not check() < 1e-9
    except Exception:  # a mutant may fail in any way, and has failed
        return True


@pytest.mark.parametrize("function", CASES, ids=lambda f: f.__module__.split(".")[-1] + "." + f.__name__)
def test_every_mutant_is_caught(function, monkeypatch):
    survivors, total = [], 0
    assert all(check() < 1e-9 for check in CASES[function])  # the function itself passes
    for source, where in mutants(function):
        total += 1
        with monkeypatch.context() as patch:
            planted(function, source, patch)
            if not any(caught(check) for check in CASES[function]):
                survivors.append(where)
    assert total >= 1
    assert not survivors


@pytest.mark.parametrize("name", CATALOGUE)
def test_one_changed_coefficient_of_a_distilled_plan_is_seen(name):
    """A flipped λ, or one unequal by a millionth, changes samples by more than the comparisons with equations allow."""
    model = mixture_model("vp")
    plan, _ = build(METHODS[name], *counts(name, 5), model.schedule, "noise")
    good = plan.extrapolate(2, 0.4)
    x, denoise = model.start(range(3), 0), model.bound(plan.kind, None)
    for bad in (plan.extrapolate(2, -0.4), plan.extrapolate(2, 0.4 + 1e-6), plan.extrapolate(1, 0.4)):
        assert relative(run(bad, denoise, x), run(good, denoise, x)) > 1e-9
    assert np.isclose(good.mix[2].sum(), 1)


@pytest.mark.parametrize(("row", "k"), [(1, 0), (1, 1), (2, 1), (2, 2), (3, 0), (3, 3)])
def test_a_mistyped_weight_of_adams_bashforth_is_refused(row, k, monkeypatch):
    """Its row no longer sums to one: no network is needed."""
    weights = [list(one) for one in ipndm.ADAMS_BASHFORTH]
    weights[row][k] += 1 / 24
    monkeypatch.setattr(ipndm, "ADAMS_BASHFORTH", weights)
    with pytest.raises(ValueError, match="blend: row"):
        build(METHODS["ipndm"], 6, SCHEDULES["vp"], "noise")
