"""Every solver of the catalogue keeps its budget, its options have one spelling, and what does not exist is said."""

import math
from dataclasses import replace
from functools import partial
from itertools import accumulate

import numpy as np
import pytest
from problems import CATALOGUE, MISSING, PAIRS, SCHEDULES, counts, gaussian, prediction_for, sizes

import dode
from dode.messages import beside
from dode.schedule import DiscreteVP, linear_betas
from dode.solvers import METHODS, method
from dode.solvers.spec import read
from dode.solvers.step_allocation import bias, build
from dode.timesteps import grid
from dode.tracing import trace

ISSUE = """ddim ipndm-2 ipndm-3 ipndm pndm dpm-solver-2 dpm-solver-3 dpm-solver++2s dpm-solver++2m dpm-solver++3s
    dpm-solver++3m deis-1 deis-2 deis-3 unipc-2 unipc-3 edm gradient-estimation dpm-solver-1"""


def plan_of(text, nfe, schedule="vp", end="data"):
    return build(read(text).method, nfe, SCHEDULES[schedule], prediction_for(schedule), end=end)[0]


def test_the_catalogue_is_that_of_the_issue():
    assert list(METHODS) == ISSUE.split()
    assert all(METHODS[name].about for name in METHODS)


@pytest.mark.parametrize(("name", "schedule"), PAIRS)
def test_every_method_uses_the_evaluations_asked_for(name, schedule):
    for nfe in counts(name, 1, 2, 3, 10, 19):
        plan = plan_of(name, nfe, schedule)  # its sums are checked in the making
        assert plan.nfe == nfe == len(plan.nodes) - 1
        np.testing.assert_allclose(plan.blend.sum(1), 1, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(plan.lambdas, np.zeros(nfe))
        assert not any(plan.noise_scales)


@pytest.mark.parametrize(("name", "schedule"), MISSING)
def test_where_sampling_starts_at_alpha_0_noise_says_nothing(name, schedule):
    with pytest.raises(ValueError, match="data or flow prediction"):
        plan_of(name, 14, schedule)


WRITTEN = {"ddim": (), "dpm-solver-2": ("noise",), "dpm-solver-3": ("noise",), "edm": ("data",)}
WRITTEN |= {name: ("data",) for name in CATALOGUE if "++" in name or "unipc" in name}


@pytest.mark.parametrize("name", CATALOGUE)
def test_kinds(name):
    """As in its paper; ddim in the network's own outputs; flow networks in flow, where noise is no more than that."""
    kinds = WRITTEN.get(name, ("noise", "flow", "data"))
    assert METHODS[name].kinds == kinds
    for prediction, steady in {"noise": "noise", "data": "data", "v": "data", "flow": "flow", "score": "noise"}.items():
        own = not kinds or (steady == "flow" and "flow" in kinds)
        assert METHODS[name].kind(prediction, SCHEDULES["vp"]) == (steady if own else kinds[0])
        if "flow" in kinds:  # from α = 0 noise says nothing
            assert METHODS[name].kind(prediction, SCHEDULES["zero-snr"]) == "flow"


BUDGETS = {  # (solver, evaluations, end) → evaluations of each step
    ("dpm-solver-2", 15, "data"): [2] * 7 + [1],  # the supplement's: seven of order 2 and one of order 1
    ("dpm-solver-2", 15, "t_min"): [2] * 7 + [1],
    ("dpm-solver-2", 10, "data"): [2] * 4 + [1, 1],  # to σ = 0 a step is of order 1 and costs one
    ("dpm-solver-2", 10, "t_min"): [2] * 5,  # the supplement's
    ("dpm-solver++2s", 10, "data"): [2] * 4 + [1, 1],
    ("dpm-solver-3", 9, "t_min"): [3, 3, 2, 1],  # Lu et al. 2022a
    ("dpm-solver-3", 10, "t_min"): [3, 3, 3, 1],
    ("dpm-solver-3", 11, "t_min"): [3, 3, 3, 2],
    ("dpm-solver-3", 9, "data"): [3, 3, 2, 1],
    ("dpm-solver-3", 11, "data"): [3, 3, 3, 1, 1],
    ("dpm-solver++3s", 11, "data"): [3, 3, 3, 1, 1],
    ("dpm-solver-3", 1, "data"): [1],
    ("dpm-solver-3", 2, "data"): [1, 1],
    ("dpm-solver-3", 2, "t_min"): [2],
    ("dpm-solver-3", 3, "t_min"): [2, 1],
    ("edm", 9, "data"): [2] * 4 + [1],
    ("edm", 10, "data"): [2] * 4 + [1, 1],
    ("pndm", 13, "data"): [4, 4, 4, 1],
    ("pndm", 15, "data"): [4, 4, 4, 1, 1, 1],
}


@pytest.mark.parametrize(("asked", "wanted"), BUDGETS.items(), ids=str)
def test_budgets(asked, wanted):
    name, nfe, end = asked
    assert sizes(plan_of(name, nfe, end=end)) == wanted


@pytest.mark.parametrize("name", ["edm", "dpm-solver++2s", "dpm-solver++3s"])
def test_a_step_from_alpha_0_costs_one_evaluation(name):
    plan = plan_of(name, 8, "flow")
    assert sizes(plan)[0] == 1
    assert plan.nodes[0].alpha == 0
    assert sizes(plan_of("edm", 6, "flow")) == [1, 2, 2, 1]


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("end", ["data", "t_min"])
def test_steps_start_at_nodes_of_the_grid(name, end):
    """Of the grid of nfe steps, so that an evaluation covers as much in every step; pndm's steps must be even."""
    (nfe,) = counts(name, 11)
    for schedule in ("discrete", "vp"):
        plan = plan_of(name, nfe, schedule, end)
        steps = sizes(plan)
        nodes = grid(SCHEDULES[schedule], len(steps) if name == "pndm" else nfe, end=end).nodes
        opened = range(len(steps)) if name == "pndm" else list(accumulate(steps, initial=0))[:-1]
        starts = [node for node, fresh in zip(plan.nodes, plan.step_starts, strict=False) if fresh]
        assert starts == [nodes[k] for k in opened]
        assert plan.nodes[-1] == nodes[-1]


def test_edm_takes_its_own_grid_of_steps_at_times_given_by_hand():
    plan = build(METHODS["edm"], 3, SCHEDULES["edm"], "data", [80, 2, 0])[0]
    assert [node.t for node in plan.nodes] == [80, 2, 2, 0]


@pytest.mark.parametrize(
    ("nfe", "says"), [(12, "pndm needs at least 13 evaluations; got 12; ipndm"), (0, "at least 1")]
)
def test_pndm_needs_its_warm_up(nfe, says):
    with pytest.raises(ValueError, match=says):
        plan_of("pndm", nfe)


def test_a_schedule_too_short_for_inner_nodes_says_so():
    short = DiscreteVP.from_betas(linear_betas(10))
    with pytest.raises(ValueError, match="4 evaluations of dpm-solver-2 leave no whole time inside a step"):
        build(METHODS["dpm-solver-2"], 4, short, "noise", [9, 8, 4, -1])
    with pytest.raises(ValueError, match="pndm's first steps need a time between t = 9 and 8"):
        build(METHODS["pndm"], 18, short, "noise")


def test_where_whole_times_lie_close_a_step_has_fewer_stages():
    """As in a teacher's run on a fine grid: two of three over two times, one over one."""
    short = DiscreteVP.from_betas(linear_betas(13))
    plan = trace(METHODS["dpm-solver-3"], [short.node(t) for t in (12, 10, 9, 5, -1)], short, "noise")
    assert sizes(plan) == [2, 1, 3, 1]


def test_methods_with_two_outputs_need_no_more():
    """A blend of the whole past would cost memory: what the name promises is what is read."""
    for name, outputs in {"ipndm-2": 2, "ipndm-3": 3, "ipndm": 4, "deis-1": 2, "deis-2": 3, "deis-3": 4}.items():
        widths = [np.count_nonzero(row) for row in plan_of(name, 10).blend]
        assert widths == [min(outputs, k + 1) for k in range(10)]
    for name, outputs in {"dpm-solver++2m": 2, "dpm-solver++3m": 3, "gradient-estimation": 2}.items():
        assert max(np.count_nonzero(row) for row in plan_of(name, 10).blend) == outputs


SPELLINGS = {
    "dpm-solver-2:inner=time": ("dpm-solver-2", {"inner": "time"}),
    "dpm-solver-3:inner=time": ("dpm-solver-3", {"inner": "time"}),
    "deis-2:variable=rho": ("deis-2", {"variable": "rho"}),
    "gradient-estimation:gamma=1.3": ("gradient-estimation", {"gamma": 1.3}),
    "ddim:eta=0.5": ("ddim", {"eta": 0.5}),
    "edm:churn=10:churn_min=0.05": ("edm", {"churn": 10, "churn_min": "0.05"}),
}


@pytest.mark.parametrize(("text", "parts"), SPELLINGS.items())
def test_a_name_with_options_is_the_method_configured(text, parts):
    name, options = parts
    # where α = 1, time is σ/α, and deis' two variables are one
    model = gaussian().model(SCHEDULES["vp" if "variable" in text else "edm"], "data")
    one, other = dode.sampler(model, text, nfe=5), dode.sampler(model, method(name, **options), nfe=5)
    np.testing.assert_array_equal(one.plan.table, other.plan.table)
    assert one.plan.noise_scales == other.plan.noise_scales
    assert one.name == other.name == method(name, **options).label == text
    assert one.provenance == other.provenance
    plain = dode.sampler(model, name, nfe=5)
    assert plain.name == name
    changed = not np.array_equal(plain.plan.table, one.plan.table) or plain.plan.noise_scales != one.plan.noise_scales
    assert changed or plain.plan.nodes != one.plan.nodes  # an option that does nothing would be no option


@pytest.mark.parametrize("name", [name for name in CATALOGUE if METHODS[name].options])
def test_defaults_are_those_of_the_step_function(name):
    """An option at its default is left out, so what is left out must mean the same."""
    chosen = METHODS[name]
    said = replace(chosen, step=partial(chosen.step, **{key: option.default for key, option in chosen.options.items()}))
    one, other = (build(made, 7, SCHEDULES["vp"], "noise")[0] for made in (chosen, said))
    assert one.nodes == other.nodes
    np.testing.assert_array_equal(one.table, other.table)


@pytest.mark.parametrize("gamma", [1.23456789, 1e-7, 3.0])
def test_a_label_reads_back_as_the_same_solver(gamma):
    chosen = method("gradient-estimation", gamma=gamma)
    assert read(chosen.label).method.chosen == chosen.chosen == {"gamma": gamma}
    assert chosen.label.endswith(f"={gamma:.9g}")


def test_an_option_at_its_default_is_not_in_the_name():
    assert method("dpm-solver-2", inner="logsnr").label == "dpm-solver-2"
    assert method("gradient-estimation", gamma="2").label == "gradient-estimation"
    assert method("edm", churn=5).configured(churn=0).label == "edm"


def test_the_rest_of_a_budget_has_the_same_options():
    chosen = method("dpm-solver-3", inner="time")
    assert chosen.lower.label == "dpm-solver-2:inner=time"
    plan = plan_of("dpm-solver-3:inner=time", 9)  # 3, 3, 2, 1
    assert plan.nodes[7].t == pytest.approx((plan.nodes[6].t + plan.nodes[8].t) / 2)


def test_read():
    spec = read("d-deis-2:variable=rho:formulation=2:carry=false")
    assert (spec.distilled, spec.fit_options) == (True, {"formulation": "2", "carry": "false"})
    assert spec.method.label == "deis-2:variable=rho"
    same = read("deis-2:variable=rho:formulation=2:carry=false", distilled=True)  # its step is another partial object
    assert (same.text, same.distilled, same.fit_options) == (spec.text[2:], True, spec.fit_options)
    assert (same.method.label, same.method.step.keywords) == (spec.method.label, spec.method.step.keywords)
    plain = read("deis-2")
    assert (plain.distilled, plain.fit_options, plain.method) == (False, {}, METHODS["deis-2"])
    assert read(plain.method).method is plain.method


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ddim:samples=4", "ddim has no option 'samples'; did you mean samples, of dode.distill"),
        ("ddim:guidance=3", r"did you mean model.guided\(scale\)"),
        ("dpm-solver2", "unknown method 'dpm-solver2'; did you mean .*dpm-solver-2"),
        ("ddim:gamma=2", "ddim has no option 'gamma'; its options: eta"),
        ("ipndm:inner=time", "ipndm has no option 'inner'; its options: none"),
        ("dpm-solver-2:inner=middle", "inner must be one of logsnr, time; got 'middle'"),
        ("ddim:eta=1.5", "eta must be from 0 to 1; got '1.5'"),
        ("ddim:eta=nan", "eta must be from 0 to 1"),
        ("ddim:eta=lots", "eta must be a number; got 'lots'"),
        ("edm:churn=-1", "churn must be from 0 to inf"),
        ("ddim:eta", "options are written name=value; got 'eta'"),
        ("ddim:grid=karras", "a grid is no option of a solver"),
        ("ddim:formulation=sep", "ddim has no option 'formulation'"),  # of the distilled form only
        ("d-ddim", "must be fitted"),
    ],
)
def test_what_does_not_exist_is_said(text, says):
    with pytest.raises(ValueError, match=says):
        dode.sampler(gaussian().model(SCHEDULES["vp"], "noise"), text, nfe=3)


def test_a_grid_below_t_max_is_said_in_words():
    plan = build(METHODS["ddim"], 5, SCHEDULES["discrete"], "noise", "leading")[0]
    assert "starts at t = 800 with the noise of t = 999" in bias(plan, SCHEDULES["discrete"])
    assert bias(plan_of("ddim", 5), SCHEDULES["vp"]) is None
    assert bias(plan_of("edm:churn=10", 5, "edm"), SCHEDULES["edm"]) is None  # that noise was added


def test_infinite_logsnr_is_no_error():
    """At α = 0 and σ = 0 multistep weights fall back to fewer outputs."""
    for name in ("dpm-solver++2m", "dpm-solver++3m", "unipc-3", "deis-3", "ipndm"):
        plan = plan_of(name, 4, "flow")
        assert math.inf in (abs(plan.nodes[0].logsnr), plan.nodes[-1].logsnr)
        assert np.all(np.isfinite(plan.table))
        assert replace(plan).nfe == 4


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (0.0123, 0.0004, "0.0123 ± 0.0004"),
        (12.34567, 0.1, "12.3457 ± 0.1000"),
        (0.00051, 0.00002, "0.00051 ± 0.00002"),
        (4.28e-6, 3e-7, "0.0000043 ± 0.0000003"),
        (4.28e-9, 3e-10, "4.3e-09 ± 3.0e-10"),
        (0.0, 0.0, "0.0000 ± 0.0000"),
        (math.nan, math.nan, "nan ± nan"),
        (0.1234, 1e-8, "0.1234 ± 1.0e-08"),
        (0.0, 1e-5, "0.00000 ± 0.00001"),
        (0.0012, 3e-5, "0.00120 ± 0.00003"),
    ],
)
def test_small_distances_keep_two_digits(value, error, said):
    """Latents of a small scale, or data in other units, are no zeros."""
    assert beside(value, error) == said
