"""The teacher: one run for many students, whose states at their nodes are the targets."""

from collections import Counter

import numpy as np
import pytest
from problems import CATALOGUE, MISSING, SCHEDULES, counts, gaussian, gaussian_model, swapped

import dode
from dode.distillation.config import DistillConfig, fit_targets
from dode.distillation.runner import calls, teachers_of
from dode.distillation.teacher import by_count, by_time
from dode.solvers import METHODS
from dode.solvers.step_allocation import build
from dode.timesteps import grid, refine, same


def classes(where, **options):
    """The students of the whole catalogue at 5, 10 and 20 evaluations (pndm at 20), and their teachers' runs."""
    model, config, asked = gaussian_model(where), DistillConfig(**options), []
    for name in CATALOGUE:
        if (name, where) not in MISSING:
            asked += fit_targets(model, [name], counts(name, 5, 10, 20), None, config)
    return asked, teachers_of(model, asked)


@pytest.mark.parametrize("where", ["discrete", "edm", "vp", "flow"])
def test_one_run_teaches_the_whole_catalogue(where):
    """At most 260 calls for C = 10: the grid of 200 steps, with the missing nodes inserted."""
    asked, ((run, members),) = classes(where, teacher="ddim")
    assert sorted(members) == list(range(len(asked)))
    assert len(asked) >= 45
    assert run.plan.nfe <= 260
    for i, targets in zip(members, run.targets, strict=True):
        assert len(targets) == asked[i].nfe
        for node, target in zip(asked[i].plan.nodes[1:], targets, strict=True):
            assert same(run.plan.nodes[target], node)


@pytest.mark.filterwarnings("ignore:.*is large")  # five samples
def test_calls_are_counted_as_they_are_made():
    """All solvers but pndm in one distillation, in two batches: the network itself counts."""
    model, made = gaussian_model("discrete"), Counter()
    network = model.network
    model = swapped(model, lambda x, t, cond: made.update([len(x)]) or network(x, t, cond))
    names, ticks = [name for name in CATALOGUE if name != "pndm"], []
    found = dode.distill(
        model, names, nfe=[5, 10, 20], teacher="ddim", samples=5, batch=3, progress=lambda *now: ticks.append(now)
    )
    teacher = found["ddim"][5].provenance.teacher_nfe
    assert teacher <= 260
    assert ticks[-1] == (len(ticks), len(ticks))
    assert made == {3: teacher + 35 * len(names), 2: teacher + 35 * len(names)}
    assert {one.provenance.teacher for by_nfe in found.values() for one in by_nfe.values()} == {"ddim"}


def test_calls_are_known_before():
    asked, runs = classes("vp", teacher="ddim")
    assert calls(asked, runs) == runs[0][0].plan.nfe + sum(one.nfe for one in asked)
    model = gaussian_model("vp")
    one = fit_targets(
        model, ["ddim:formulation=la:lam=0.2", "ddim:formulation=fixed"], [5], None, DistillConfig(scale=2)
    )
    assert calls(one, teachers_of(model, one)) == 10 + 5 * len(one[1].config.constants())  # a given λ needs no run


def test_default_teachers_are_the_papers():
    """DDIM; iPNDM and DEIS with more steps teach themselves."""
    for name in CATALOGUE:
        assert METHODS[name].teacher == ("self" if name.startswith(("ipndm", "deis")) else "ddim")
    made = dode.distill(
        gaussian_model("vp"), ["ddim", "ipndm-3", "deis-2:variable=rho", "dpm-solver++2m"], nfe=5, samples=4
    )
    assert [one[5].provenance.teacher for one in made.values()] == ["ddim", "ipndm-3", "deis-2:variable=rho", "ddim"]
    assert {one[5].provenance.teacher_nfe for one in made.values()} == {50}
    alone = dode.distill(gaussian_model("vp"), "ipndm-3", nfe=5, samples=4)
    np.testing.assert_array_equal(alone.plan.mix, made["ipndm-3"][5].plan.mix)  # company changes nothing


@pytest.mark.parametrize(
    ("where", "nfe", "groups"),
    [("discrete", [5, 10, 20], [[20, 10, 5]]), ("discrete", [5, 7, 10], [[10, 5], [7]]), ("edm", [5, 10], [[10], [5]])],
)
def test_a_teacher_that_needs_even_steps_has_them(where, nfe, groups):
    """On refinements of its students' grids, nothing inserted; so one run serves nested grids only."""
    model, schedule = gaussian_model(where), SCHEDULES[where]
    asked = fit_targets(model, ["ipndm"], nfe, None, DistillConfig())
    runs = teachers_of(model, asked)
    assert [[asked[i].nfe for i in members] for _, members in runs] == groups
    for (run, _), group in zip(runs, groups, strict=True):
        assert run.plan.nodes == refine(grid(schedule, group[0]), 10, schedule).nodes
    asked = fit_targets(model, ["ipndm"], nfe, None, DistillConfig(teacher="ddim"))
    assert len(teachers_of(model, asked)) == 1


@pytest.mark.parametrize("teacher", ["dpm-solver++2m", "edm", "deis-3", "dpm-solver-3"])
def test_any_solver_teaches(teacher):
    """A better teacher makes a better student: here with 3 times the student's steps."""
    model = gaussian_model("vp")
    x = model.start(range(32), 0)
    far, near = (
        float(
            (dode.distill(model, "ddim", nfe=8, samples=40, scale=3, teacher=t).sample(noise=x) - model.exact(x)).std()
        )
        for t in ("ddim", teacher)
    )
    assert near < 0.8 * far


def test_one_teacher_serves_several_students():
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    calls = []
    together = dode.distill(
        model, "ddim", nfe=[5, 10, 20], samples=10, progress=lambda done, total: calls.append(total)
    )
    assert calls[-1] == len(calls) == 200 + 5 + 10 + 20  # one teacher of 200, nested grids
    alone = dode.distill(model, "ddim", nfe=20, samples=10)
    np.testing.assert_allclose(together[20].plan.lambdas, alone.plan.lambdas, rtol=1e-12)


def test_count_alignment_is_the_published_pairing():
    """NFE 10, C = 10: the student stands at 800, 700, …, 0, −1 and its targets at 890, 790, …, 90, −1."""
    schedule = SCHEDULES["discrete"]
    plan, _ = build(METHODS["ddim"], 10, schedule, "noise", "published")
    run = by_count(plan, 10, schedule, METHODS["ddim"], "noise")
    assert [node.t for node in plan.nodes[1:]] == [800, 700, 600, 500, 400, 300, 200, 100, 0, -1]
    assert [run.plan.nodes[k].t for k in run.targets[0]] == [890, 790, 690, 590, 490, 390, 290, 190, 90, -1]


def test_by_count_a_teacher_of_two_stages_is_counted_in_steps():
    schedule = SCHEDULES["discrete"]
    plan, _ = build(METHODS["ddim"], 5, schedule, "noise", "published")
    one, two = (by_count(plan, 10, schedule, METHODS[teacher], "noise") for teacher in ("ddim", "edm"))
    assert [one.plan.nodes[k].t for k in one.targets[0]] == [two.plan.nodes[k].t for k in two.targets[0]]


@pytest.mark.filterwarnings("ignore:.*is large")
def test_students_that_start_elsewhere_have_their_own_teacher():
    """Leading grids of 5 and 10 start at 800 and 900: neither may learn from the other's start."""
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    both = dode.distill(model, "ddim", nfe=[5, 10], samples=10, grid="leading")
    for nfe, made in both.items():
        alone = dode.distill(model, "ddim", nfe=nfe, samples=10, grid="leading")
        np.testing.assert_allclose(made.plan.lambdas, alone.plan.lambdas, rtol=1e-12)


def test_count_alignment_on_edm_is_the_published_pairing():
    """Notes: D-EDM at NFE 9 has targets at 42.1, 20.8, 9.46, 3.9, 1.41, 0.43, 0.103, 0.017, 0."""
    schedule = SCHEDULES["edm"]
    plan, _ = build(METHODS["edm"], 9, schedule, "data", "published")
    run = by_count(plan, 10, schedule, METHODS["ddim"], "data")
    levels = [run.plan.nodes[k].sigma for k in run.targets[0]]
    assert levels == pytest.approx([42.1, 20.8, 9.46, 3.9, 1.41, 0.43, 0.103, 0.017, 0], rel=0.02)


def test_on_a_trailing_grid_targets_by_time_are_those_by_count():
    """Every tenth state of a ten times finer grid: a comparison of the two alignments there would be empty."""
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    plan, made = build(METHODS["ddim"], 10, model.schedule, "noise")
    run = by_time([(plan, made)], 10, model.schedule, METHODS["ddim"], "noise")
    assert run.targets[0] == tuple(10 * (k + 1) for k in range(10))
