"""`dode.distill`: what it gives is nearer to the exact solution, and says how it was made."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, gaussian_model, prediction_for, swapped

import dode
from dode.distillation.formulations import FORMULATIONS
from dode.errors import DodeError
from dode.metrics import distance


@pytest.mark.filterwarnings("ignore:.*is large")  # Heun at 5 evaluations, which diverges
@pytest.mark.parametrize(
    ("schedule", "method"), [("discrete", "ddim"), ("vp", "ddim"), ("edm", "ddim"), ("edm", "edm")]
)
def test_distilled_is_nearer_to_the_exact_solution(schedule, method):
    """On noise that nothing was fitted on; the teacher is ten times finer than the student."""
    model = gaussian().model(SCHEDULES[schedule], prediction_for(schedule))
    x = model.start(range(64), 0)
    exact = model.exact(x)
    for nfe in (5, 9):
        plain = distance(dode.sampler(model, method, nfe=nfe).sample(noise=x), exact).rms
        fitted = distance(dode.distill(model, method, nfe=nfe, samples=40).sample(noise=x), exact).rms
        assert fitted < 0.7 * plain


def test_a_large_lambda_is_warned_of_with_its_solver():
    """Heun diverges here at 5 evaluations; DDIM, fitted beside it, has nothing to be warned of."""
    model = gaussian().model(SCHEDULES["edm"], prediction_for("edm"))
    with pytest.warns(UserWarning, match="is large") as said:
        made = dode.distill(model, ["edm", "ddim"], nfe=5, samples=40)
    large = [k + 1 for k, lam in enumerate(made["edm"][5].plan.lambdas) if abs(lam) > 5]
    heads = [str(one.message).partition(": lambda = ")[0] for one in said]
    assert heads == [f"d-edm, evaluation {k} of 5" for k in large]
    assert large


@pytest.mark.filterwarnings("ignore:.*is large")
@pytest.mark.parametrize(
    ("options", "words"),
    [({"samples": 1}, "samples=1 will overfit"), ({"scale": 1}, "with scale=1")],
)
def test_a_fit_that_can_hardly_be_of_use_is_warned_of_once(options, words):
    with pytest.warns(UserWarning, match=words) as said:
        dode.distill(gaussian_model("edm"), ["ddim", "ddim:formulation=sep"], nfe=[4, 5], **options)
    assert [one.filename for one in said if words in str(one.message)] == [__file__]


@pytest.mark.filterwarnings("ignore:.*is large")
def test_what_is_no_thin_fit_is_not_warned_of():
    """One evaluation has no finer teacher, an odd number of Heun's a shorter one, and a constant is not fitted."""
    model = gaussian_model("edm")
    dode.distill(model, "ddim", nfe=1, samples=2)
    dode.distill(model, "edm", nfe=9, samples=40, scale=2)
    dode.distill(model, "ddim:formulation=fixed:lam=0.5", nfe=4, samples=1, scale=1)


@pytest.mark.parametrize("method", ["ipndm-2", "dpm-solver-2", "dpm-solver++2m", "deis-1", "gradient-estimation"])
def test_distilling_other_solvers_pays(method):
    """A greedy fit on a strong solver may not; on these it does, with the teacher of the paper."""
    model = gaussian_model("discrete")
    x = model.start(range(32), 0)
    plain, fitted = (
        distance(made.sample(noise=x), model.exact(x)).rms
        for made in (dode.sampler(model, method, nfe=9), dode.distill(model, method, nfe=9, samples=40, scale=30))
    )
    assert fitted < plain


@pytest.mark.filterwarnings("ignore:.*is large")  # six samples
def test_several_methods_and_numbers_come_back_by_name():
    model = gaussian_model("discrete")
    asked = ["ddim", "dpm-solver-2:inner=time", "d-deis-1:formulation=2"]
    made = dode.distill(model, asked, nfe=[4, 6], samples=6)
    assert list(made) == asked
    for text, by_nfe in made.items():
        assert list(by_nfe) == [4, 6]
        for nfe, one in by_nfe.items():
            assert one.nfe == nfe
            assert one.name == "d-" + text.removeprefix("d-")
    assert list(dode.distill(model, ["ddim"], nfe=4, samples=6)["ddim"]) == [4]
    assert dode.distill(model, "ddim", nfe=4, samples=6).nfe == 4


@pytest.mark.parametrize(
    ("solver", "options", "says"),
    [
        ("auto", {}, r"dode\.auto"),
        ("ddim", {"noise": np.zeros((4, 3)), "samples": 5}, "noise has 4 samples; got samples=5"),
        ("ddmi", {}, "did you mean ddim"),
        ("d-ddmi", {}, "did you mean d-ddim"),
        (None, {}, "a solver is a name"),
    ],
)
def test_what_is_no_solver_is_refused(solver, options, says):
    with pytest.raises(DodeError, match=says):
        dode.distill(gaussian_model("vp"), [solver], 3, **options)


def test_a_method_that_is_in_no_table_is_distilled_and_teaches():
    """No global table has to be changed: the same numbers as under a name of the catalogue."""
    model = gaussian_model("vp")
    own = replace(dode.METHODS["ipndm-2"], name="mine", teacher="self")
    assert "mine" not in dode.METHODS
    fitted, known = (dode.distill(model, solver, 4, samples=6) for solver in (own, "ipndm-2"))
    np.testing.assert_array_equal(fitted.plan.table, known.plan.table)
    assert (fitted.name, fitted.provenance.teacher, fitted.provenance.teacher_nfe) == (
        "d-mine:teacher=mine",
        "mine",
        40,
    )
    several = dode.distill(model, [own, "ddim"], [3, 4], teacher=own, samples=6)
    assert list(several) == ["mine", "ddim"]
    assert several["ddim"][4].name == "d-ddim:teacher=mine"
    plain = dode.sampler(model, own, nfe=4)
    assert torch.equal(plain.sample(3), dode.sampler(model, "ipndm-2", nfe=4).sample(3))


def test_a_teacher_that_is_not_the_solvers_own_is_in_its_name():
    model = gaussian_model("vp")
    own, other = (dode.distill(model, "ipndm", nfe=4, samples=6, teacher=name) for name in (None, "ddim"))
    assert (own.name, other.name) == ("d-ipndm", "d-ipndm:teacher=ddim")
    assert dode.distill(model, other.name, nfe=4, samples=6).provenance == other.provenance


def test_options_of_the_fit_stand_in_the_name():
    model = gaussian_model("vp")
    options = ["inner=time", "formulation=2", "carry=false", "states=teacher", "teacher=deis-2"]
    one = dode.distill(model, ":".join(["dpm-solver-3", *options]), nfe=7, samples=8)
    other = dode.distill(
        model, "d-dpm-solver-3:inner=time:carry=false:states=teacher", 7, samples=8, formulation="2", teacher="deis-2"
    )
    np.testing.assert_array_equal(one.plan.table, other.plan.table)
    assert one.provenance == other.provenance
    assert one.name == "d-dpm-solver-3:inner=time:formulation=2:carry=false:states=teacher:teacher=deis-2"
    assert not one.plan.carry
    for name in options:  # each of them matters
        rest = [option for option in options if option != name]
        fewer = dode.distill(model, ":".join(["dpm-solver-3", *rest]), nfe=7, samples=8)
        assert not np.allclose(fewer.plan.table, one.plan.table, rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("formulation", ["d", "2", "sep", "all"])
def test_every_fitted_formulation_helps_ddim(formulation):
    model = gaussian_model("discrete")
    x = model.start(range(32), 0)
    fitted = dode.distill(model, "ddim", nfe=6, samples=60, formulation=formulation)
    plain = dode.sampler(model, "ddim", nfe=6)
    assert (
        distance(fitted.sample(noise=x), model.exact(x)).rms < 0.7 * distance(plain.sample(noise=x), model.exact(x)).rms
    )
    widths = {"d": 1, "2": 2, "sep": 2, "all": 6}
    errors, conditions = fitted.provenance.errors, fitted.provenance.conditions
    assert np.size(errors[-1]) == widths[formulation]
    assert (conditions[-1] > 1) == (formulation != "d")
    assert fitted.plan.unnormalized == (formulation in ("sep", "all"))


def test_fixed_searches_its_constant_unless_it_is_given():
    model = gaussian_model("discrete")
    ticks = []
    found = dode.distill(
        model, "ddim", nfe=6, samples=10, formulation="fixed", progress=lambda done, total: ticks.append((done, total))
    )
    trials = FORMULATIONS["fixed"].trials
    assert found.provenance.lam in trials
    assert ticks[-1][0] == ticks[-1][1] == len(ticks) == 60 + 6 * len(trials)
    x, exact = model.start(range(10), 0, "fit"), dode.sampler(model, "ddim", nfe=60)
    target = exact.sample(noise=x)
    gaps = [
        distance(
            dode.distill(model, f"ddim:formulation=fixed:lam={lam!r}", nfe=6, samples=2).sample(noise=x), target
        ).rms
        for lam in (found.provenance.lam, *trials[:: len(trials) // 3])
    ]
    assert min(gaps) == gaps[0]
    np.testing.assert_allclose(found.plan.lambdas[1:], found.provenance.lam, rtol=1e-12)
    one = dode.distill(model, "ddim:formulation=fixed:lam=1", nfe=6, samples=10)
    gamma = dode.sampler(model, "gradient-estimation:gamma=2", nfe=6)
    np.testing.assert_allclose(one.plan.table, gamma.plan.table, rtol=1e-12, atol=1e-14)


def test_lookahead_takes_a_tenth_unless_told():
    model = gaussian_model("discrete")
    made = dode.distill(model, "ddim", nfe=6, samples=4, formulation="la")
    assert (made.provenance.lam, made.plan.kind) == (0.1, "data")
    searched = dode.distill(model, "ddim:formulation=la:lam=search", nfe=6, samples=4)
    assert searched.provenance.lam in FORMULATIONS["la"].trials
    assert searched.provenance.lam != 0.1


@pytest.mark.parametrize("states", ["student", "teacher"])
def test_whose_states_the_fit_evaluates(states):
    """The network is asked by the teacher first, then by the student: at its own states, or where the teacher stood."""
    model, asked = gaussian_model("discrete"), []
    network = model.network
    watched = swapped(model, lambda x, t, cond: asked.append((float(t[0]), x)) or network(x, t, cond))
    made = dode.distill(watched, f"ddim:states={states}", nfe=6, samples=10)
    teacher, student = dict(asked[:60]), asked[60:]
    assert [torch.equal(x, teacher[t]) for t, x in student] == [True, *[states == "teacher"] * 5]
    assert made.name == "d-ddim" + (":states=teacher" if states == "teacher" else "")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"align": "tme"}, "align must be one of"),
        ({"samples": 0}, "at least 1"),
        ({"rho": -1.0}, "rho must be a number, at least 0"),
        ({"teacher": "dim"}, "did you mean ddim"),
        ({"nfe": 0}, "at least 1"),
        ({"nfe": 2.5}, "nfe must be a whole number"),
        ({"samples": 2.5}, "samples must be a whole number"),
        ({"teacher": "d-edm"}, "a teacher is a plain solver, like edm"),
        ({"teacher": "edm:churn=4"}, "is stochastic and cannot teach"),
        ({"solver": "ddim:formulation=fixed:lam=nan"}, "lam must be a finite number"),
        ({"formulation": "la", "solver": "ddim:states=teacher"}, "states is for formulations that are fitted"),
        ({"cond": torch.zeros(4), "samples": 4}, "takes no condition"),
        ({"nfe": []}, "several; got none"),
        ({"rho": float("nan")}, "rho must be a number, at least 0"),
        ({"seed": -1}, "seed must be"),
        ({"align": "count", "grid": "trailing"}, "leave grid out"),
        ({"align": "count", "end": "t_min"}, "or align='time'"),
        ({"grid": [100, 80, 60, 40, 20, -1]}, "start it nearer"),
        ({"formulation": "both"}, "formulation must be one of d, 2"),
        ({"solver": "ddim:lam=0.3"}, "lam is for the formulations fixed and la; d fits its own"),
        ({"formulation": "fixed", "solver": "ddim:lam=much"}, "lam must be .* or 'search'; got 'much'"),
        ({"solver": "ddim:carry=perhaps"}, "carry must be true or false; got 'perhaps'"),
        ({"solver": "ddim:states=both"}, "states must be one of student, teacher; got 'both'"),
        ({"solver": "ddim:gamma=2"}, "ddim has no option 'gamma'"),
        ({"scale": 0}, "scale must be a whole number, at least 1"),
        ({"grid": [999, 500.5, 100, 50, 10, -1]}, "whole times"),
    ],
)
def test_bad_options_say_what_to_do(options, says):
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    with pytest.raises(ValueError, match=says):
        dode.distill(model, **({"solver": "ddim", "nfe": 5, "samples": 4} | options))
