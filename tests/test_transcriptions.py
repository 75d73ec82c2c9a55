"""Every solver is its equations: plans, plain and with λ, against tests/transcriptions.py on the same nodes."""

import math
from bisect import bisect
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise

import pytest
import transcriptions as literal
from problems import LAMBDAS, SCHEDULES, counts, distilled, mixture_model, relative, sizes

from dode.distillation.formulations import unnormalised
from dode.sampling import run
from dode.schedule import Node
from dode.solvers.deis import weights
from dode.solvers.spec import read
from dode.solvers.step_allocation import build

NFE = (1, 2, 3, 10, 13, 20)
EXACT = 1e-12
literal.deis_weights = cache(literal.deis_weights)  # slow, and the same for every λ


def inner(plan):
    """(s, t, r) → the plan's own inner node: the second of a step of three at r = 2/3, else the first."""
    opened = dict(zip(accumulate(sizes(plan), initial=0), [*sizes(plan), 0], strict=True))
    places = {plan.nodes[k]: k for k in opened}
    return lambda s, t, r: plan.nodes[places[s] + (2 if r == 2 / 3 else 1)]


LOGS = [math.log(node.sigma / node.alpha) for node in map(SCHEDULES["discrete"].node, range(1000))]


def discrete_time(rho):
    """log-SNR is linear between whole times, and time in ρ = σ/α below 0."""
    if rho <= math.exp(LOGS[0]):
        return rho / math.exp(LOGS[0]) - 1
    k = min(bisect(LOGS, math.log(rho)), 999)
    return k - 1 + (math.log(rho) - LOGS[k - 1]) / (LOGS[k] - LOGS[k - 1])


def continuous(name):
    schedule = SCHEDULES[name]
    return cache(lambda rho: schedule.at(-math.log(rho)).t), ()


CLOCKS = {  # ρ → t, and where t(ρ) has corners
    "discrete": (cache(discrete_time), tuple(math.exp(value) for value in LOGS)),
    **{name: continuous(name) for name in ("vp", "cosine", "edm")},
}


def deis(r, equation=literal.d_deis):
    return lambda net, plan, nodes, x, lam, where: equation(net, nodes, x, lam, r, *CLOCKS[where])


def singlestep(equation):
    return lambda net, plan, nodes, x, lam, _: equation(net, nodes, sizes(plan), x, lam, inner(plan))


def pndm(net, plan, nodes, x, lam, _):
    place = inner(plan)
    return literal.d_pndm(net, nodes, x, lam, lambda s, t: place(s, t, 1 / 2))


def on_nodes(equation, *more):
    return lambda net, plan, nodes, x, lam, _: equation(net, nodes, x, lam, *more)


EQUATIONS = {  # name → (net, plan, nodes of the steps, x_T, λ, schedule) → x_0
    "ipndm-2": on_nodes(literal.d_ipndm, 2),
    "ipndm-3": on_nodes(literal.d_ipndm, 3),
    "ipndm": on_nodes(literal.d_ipndm, 4),
    "pndm": pndm,
    "dpm-solver-2": singlestep(literal.d_dpm_solver),
    "dpm-solver-2:inner=time": singlestep(literal.d_dpm_solver),
    "dpm-solver-3": singlestep(literal.d_dpm_solver),
    "dpm-solver-3:inner=time": singlestep(literal.d_dpm_solver),
    "dpm-solver++2s": singlestep(literal.d_dpm_solver_pp),
    "dpm-solver++2s:inner=time": singlestep(literal.d_dpm_solver_pp),
    "dpm-solver++3s": singlestep(literal.d_dpm_solver_pp),
    "dpm-solver++3s:inner=time": singlestep(literal.d_dpm_solver_pp),
    "dpm-solver++2m": on_nodes(literal.d_dpm_solver_pp_multistep, 2),
    "dpm-solver++3m": on_nodes(literal.d_dpm_solver_pp_multistep, 3),
    "deis-1": deis(1),
    "deis-2": deis(2),
    "deis-3": deis(3),
    "gradient-estimation": on_nodes(literal.d_gradient_estimation, 2.0),
    "gradient-estimation:gamma=1.3": on_nodes(literal.d_gradient_estimation, 1.3),
}


def problem(text, where, nfe, kind=None, end="data"):
    """(plan, its outputs, the nodes of its steps, x_T)."""
    model, method = mixture_model(where), read(text).method
    plan, made = build(method, nfe, model.schedule, model.prediction, end=end, kind=kind)
    return plan, model.bound(plan.kind, None), made.nodes, model.start(range(3), 0)


@pytest.mark.parametrize("where", ["discrete", "vp", "cosine", "edm"])
@pytest.mark.parametrize("text", EQUATIONS)
def test_plain_and_distilled_are_the_equations(text, where):
    for nfe in counts(text, *NFE):
        plan, denoise, nodes, x = problem(text, where, nfe)
        for lam in (0 * LAMBDAS, LAMBDAS):
            theirs = EQUATIONS[text](denoise, plan, nodes, x, lam, where)
            assert relative(run(distilled(plan, lam), denoise, x), theirs) < EXACT, (nfe, lam[0])


@pytest.mark.parametrize("text", EQUATIONS)
def test_also_when_the_last_step_is_not_to_sigma_0(text):
    """There singlestep methods and DPM-Solver++ multistep keep their order to the end."""
    for nfe in counts(text, 9, 10, 11):
        plan, denoise, nodes, x = problem(text, "vp", nfe, end="t_min")
        theirs = EQUATIONS[text](denoise, plan, nodes, x, LAMBDAS, "vp")
        assert relative(run(distilled(plan), denoise, x), theirs) < EXACT, nfe


FROM_ALPHA_0 = ["dpm-solver++2s", "dpm-solver++3s", "dpm-solver++2m", "dpm-solver++3m"]


@pytest.mark.parametrize("where", ["flow", "zero-snr"])
@pytest.mark.parametrize("text", FROM_ALPHA_0)
def test_from_alpha_0_they_are_the_limits(text, where):
    """The first step is of order 1; later ones see an output that lies infinitely far back."""
    for nfe in NFE:
        plan, denoise, nodes, x = problem(text, where, nfe)
        for lam in (0 * LAMBDAS, LAMBDAS):
            theirs = EQUATIONS[text](denoise, plan, nodes, x, lam, where)
            assert relative(run(distilled(plan, lam), denoise, x), theirs) < 1e-11, (nfe, lam[0])


@pytest.mark.parametrize("where", ["discrete", "vp", "cosine", "edm", "flow", "zero-snr"])
@pytest.mark.parametrize("order", [2, 3])
def test_unipc(order, where):
    """Their corrected state is ours plus differences of outputs, which our next step adds; the ends are equal."""
    for nfe in NFE:
        for end in ("data", "t_min"):
            plan, denoise, nodes, x = problem(f"unipc-{order}", where, nfe, end=end)
            assert relative(run(plan, denoise, x), literal.unipc(denoise, nodes, x, order)) < EXACT, (nfe, end)


def test_published_dpm_solver_3_carries_no_lambda_to_later_stages():
    plan, denoise, nodes, x = problem("dpm-solver-3", "vp", 13)
    ours = run(replace(distilled(plan), carry=False), denoise, x)
    theirs = literal.d_dpm_solver(denoise, nodes, sizes(plan), x, LAMBDAS, inner(plan), carry=False)
    assert relative(ours, theirs) < EXACT
    assert relative(ours, run(distilled(plan), denoise, x)) > 1e-3  # and it is another solver than the paper's


@pytest.mark.parametrize("where", ["discrete", "vp", "edm"])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_equation_21_verbatim(r, where):
    for nfe in (1, 2, 3, 10):
        plan, denoise, nodes, x = problem(f"deis-{r}", where, nfe)
        mixed = replace(plan, unnormalized=True)
        for k in range(1, nfe):
            mixed = mixed.mixed(k, LAMBDAS[k] * unnormalised(plan, k)[0])
        theirs = deis(r, literal.d_deis_verbatim)(denoise, plan, nodes, x, LAMBDAS, where)
        assert relative(run(mixed, denoise, x), theirs) < EXACT, nfe


def named(denoise, names, nodes):
    """The network, for nodes under other names."""
    home = dict(zip(names, nodes, strict=True))
    return lambda x, node: denoise(x, home[node])


@pytest.mark.parametrize("where", ["discrete", "vp"])
@pytest.mark.parametrize("r", [1, 2, 3])
def test_rho_ab_is_the_same_quadrature_with_rho_for_t(r, where):
    for nfe in (3, 10):
        plan, denoise, nodes, x = problem(f"deis-{r}:variable=rho", where, nfe)
        renamed = tuple(Node(node.sigma / node.alpha, node.alpha, node.sigma) for node in nodes)
        theirs = literal.d_deis(named(denoise, renamed, nodes), renamed, x, LAMBDAS, r, lambda rho: rho)
        assert relative(run(distilled(plan), denoise, x), theirs) < EXACT, nfe


LEVELS = {  # what integrates a constant output in a straight line, and the log-SNR there
    "noise": (lambda node: node.sigma / node.alpha, lambda c: -math.log(c)),
    "data": (lambda node: node.alpha / node.sigma, math.log),
    "flow": (lambda node: node.sigma / (node.alpha + node.sigma), lambda c: math.log(1 - c) - math.log(c)),
}


@pytest.mark.parametrize("kind", LEVELS)
@pytest.mark.parametrize("variable", ["t", "rho"])
@pytest.mark.parametrize("where", ["vp", "flow", "edm"])
def test_deis_weights_average_polynomials_exactly(where, kind, variable):
    """For data and flow nobody has published weights; what defines them is that 1, t, t², t³ are integrated exactly."""
    schedule, (clock, logsnr) = SCHEDULES[where], LEVELS[kind]
    nodes = [schedule.node(share * schedule.t_max) for share in (0.9, 0.7, 0.6, 0.3, 0.1)]
    known, t = nodes[3::-1], nodes[4]
    a, b = clock(known[0]), clock(t)
    for used in (1, 2, 3, 4):
        made = weights(known[:used], known[0], t, kind, schedule, variable)
        for power in range(used):
            places = [(node.t if variable == "t" else clock(node)) ** power for node in known]
            wanted = (b ** (power + 1) - a ** (power + 1)) / (power + 1) / (b - a)
            if variable == "t":
                wanted = literal.integral(lambda c, i=power: schedule.at(logsnr(c)).t ** i, a, b, ()) / (b - a)
            assert sum(w * place for w, place in zip(made, places, strict=False)) == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("text", ["dpm-solver-2", "dpm-solver-3", "dpm-solver++2s", "dpm-solver++3s"])
@pytest.mark.parametrize("way", ["logsnr", "time"])
@pytest.mark.parametrize("where", ["discrete", "vp"])
def test_inner_nodes_stand_where_they_should(text, way, where):
    """At a half, or one and two thirds; on whole times at the nearest one."""
    plan, _, nodes, _ = problem(f"{text}:inner={way}", where, 20)
    shares, k = {1: [], 2: [1 / 2], 3: [1 / 3, 2 / 3]}, 0
    for (s, t), size in zip(pairwise(nodes), sizes(plan), strict=True):
        for node, r in zip(plan.nodes[k + 1 : k + size], shares[size], strict=True):
            place = s.t + r * (t.t - s.t)
            if way == "logsnr":
                place = SCHEDULES[where].at(s.logsnr + r * (t.logsnr - s.logsnr)).t
            assert node.t == (round(place) if where == "discrete" else pytest.approx(place, rel=1e-12))
        k += size
    assert max(sizes(plan)) == int(text.strip("s")[-1])
