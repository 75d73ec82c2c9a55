"""`dode inspect --explain` says what is in the file: what was fitted, what the ridge held back, if it helped."""

import re
from dataclasses import replace

import pytest
from problems import mixture_model

import dode
from dode import calibration
from dode.cli.files import inspect
from dode.describe import explain
from dode.samplers import content

MODEL = mixture_model("discrete")


def distilled(method="ddim", **options):
    return dode.distill(MODEL, method, nfe=4, samples=12, scale=3, **options)


def measured(sampler, rms, plain):
    """The sampler with figures as `dode distill --paired` writes them."""
    return replace(sampler, provenance=replace(sampler.provenance, report={"n": 8, "rms": rms, "plain rms": plain}))


def test_what_the_ridge_held_back_is_what_least_squares_asked_for():
    """At the first evaluation with a λ of its own both fits stand on the same states."""
    free, ridged = distilled(rho=0.0), distilled(rho=0.5)
    said = explain(content(ridged))
    asked = [float(value) for value in re.findall(r"asked for ([-.\de]+)", said)]
    first = next(k for k, ratio in enumerate(free.provenance.ratios) if ratio)
    assert asked[0] == pytest.approx(free.plan.lambdas[first], rel=6e-3)
    assert "asked for" not in explain(content(free))


@pytest.mark.parametrize(("rms", "expected"), [(0.1, "it helped, 2 times nearer"), (0.4, "IT HURT, 2 times farther")])
def test_it_says_whether_the_fit_helped(rms, expected):
    assert expected in explain(content(measured(distilled(), rms, 0.2)))


def test_what_is_the_same_did_not_hurt():
    """At one evaluation there is nothing to fit."""
    fitted = dode.distill(mixture_model("edm"), "ddim", nfe=1, samples=12)
    said = explain(content(measured(fitted, 0.2, 0.2)))
    assert "0.2000:\n  it is the same." in said
    assert "HURT" not in said
    assert "told apart" not in said
    assert "1 network evaluation a sample" in said


def test_a_plain_solver_that_a_search_gave_back_says_what_it_is_worth():
    report = {"n": 8, "rms": 0.2, "plain": "ddim", "plain rms": 0.3, "start": "unipc-2", "tried unipc-2": 0.1}
    report |= {"tried refined unipc-2": 0.1}
    plain = dode.sampler(MODEL, "unipc-2", nfe=4)
    said = explain(content(replace(plain, provenance=replace(plain.provenance, report=report))))
    assert "0.2000 from the exact solution, the nearest plain solver, ddim, 0.3000:\n  it helped, 1.5 times" in said
    assert said.index("0.1000  unipc-2") < said.index("0.1000  refined unipc-2")  # what was given back comes first


def test_a_search_that_hurt_is_told_what_to_do():
    found = distilled()
    report = {"n": 8, "rms": 0.4, "plain": "unipc-2", "plain rms": 0.2}
    made = replace(found.provenance, formulation="auto", report=report)
    said = explain(content(replace(found, provenance=made)))
    assert "0.4000 from the exact solution, the nearest plain solver, unipc-2, 0.2000:\n  IT HURT, 2 times" in said
    assert "Use that solver, or search with more --samples and without --quick." in said
    assert "Use the plain solver" not in said


def test_without_figures_it_says_so():
    assert "Not measured on other noise" in explain(content(distilled()))


def test_a_lambda_within_its_error_is_named():
    sampler = distilled()
    vague = tuple(10.0 for _ in sampler.provenance.errors)
    said = explain(content(replace(sampler, provenance=replace(sampler.provenance, errors=vague))))
    ks = [k for k, ratio in enumerate(sampler.provenance.ratios) if ratio]
    assert f"Within two standard errors of the plain solver: k = {', '.join(map(str, ks))}" in said


def test_one_sample_has_no_errors_to_show(tmp_path, capsys):
    with pytest.warns(UserWarning, match="samples=1"):
        single = dode.distill(MODEL, "ddim", nfe=4, samples=1, scale=3)
    said = explain(content(single))
    assert len(re.findall(r"    \?  +\d+%", said)) == 4
    assert "told apart from 0." in said
    assert "One sample gives no standard errors" in said
    assert "Every lambda" not in said
    single.save(tmp_path / "one.json")
    inspect(tmp_path / "one.json")
    assert "±" not in capsys.readouterr().out


def test_large_lambdas_are_said_to_be_of_two_kinds():
    sampler = distilled()
    ratios = tuple(1e-3 if k == 2 else 40.0 for k in range(4))
    plan = sampler.plan
    for k in (2, 3):
        plan = plan.extrapolate(k, 7.0)
    said = explain(content(replace(sampler, plan=plan, provenance=replace(sampler.provenance, ratios=ratios))))
    assert "At k = 2 the output hardly differs" in said
    assert said.count("large, but this step hardly uses its output") == 1


def test_plain_constant_and_free_formulations():
    assert "nothing was fitted" in explain(content(dode.sampler(MODEL, "ddim", nfe=4)))
    assert "One lambda, 0.3" in explain(content(distilled("d-ddim:formulation=fixed:lam=0.3")))
    free = distilled("d-ddim:formulation=sep")
    row = free.plan.mix[2]
    assert f"{row[2]:.4f} D1" in explain(content(free)).replace("- ", "-")
    assert f"{row.sum():.3f}" in explain(content(free))


def test_the_command_prints_it(tmp_path, capsys):
    fitted = distilled("dpm-solver-2")
    fitted.save(tmp_path / "c.json")
    inspect(tmp_path / "c.json", explain=True)
    assert capsys.readouterr().out == explain(calibration.read(tmp_path / "c.json")) + "\n"
