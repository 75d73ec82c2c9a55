"""What the software costs, as far as a busy machine can tell: docs/cost.md has the measurements."""

import runpy
import time
from pathlib import Path

import pytest
import torch

import dode
from dode.sampling import run
from dode.schedule import EDM, DiscreteVP, linear_betas
from dode.solvers import METHODS
from dode.solvers.step_allocation import build

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
peak = runpy.run_path(str(BENCHMARKS / "live.py"))["peak"]
SCHEDULE = DiscreteVP.from_betas(linear_betas())
SHAPE, NFE = (3, 16, 16), 14


def half(x, t):
    return x * 0.5


@pytest.fixture(scope="module")
def model():
    return dode.from_callable(half, schedule=SCHEDULE, prediction="noise", shape=SHAPE)


def states(model, plan):
    """States of a batch that are alive at the peak of a run, beside x_T."""
    x_T = model.start(range(4), 0)
    return round(peak(lambda: run(plan, model.bound(plan.kind, None), x_T)) / x_T.nbytes, 1)


def history(plan):
    """The most tensors that an evaluation must find: older outputs that are read from it on, and a step's start."""
    held = [sum(j <= k <= last for j, last in enumerate(plan.last_reads)) for k in range(plan.nfe)]
    return max(kept + (not fresh) for kept, fresh in zip(held, plan.step_starts, strict=True))


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_sampling_needs_what_ddim_needs_and_the_plans_history(model, name):
    plan, _ = build(METHODS[name], NFE, SCHEDULE, "noise")
    conversion = {"noise": 0, "data": 2}[plan.kind]  # c·x and n·output, on the way to outputs of another kind
    assert states(model, plan) == 3 + conversion + history(plan)
    for k in range(NFE):
        plan = plan.extrapolate(k, 0.3)
    assert states(model, plan) == 3 + conversion + history(plan)


@torch.no_grad()
def test_sampling_needs_no_more_than_ddim_written_by_hand(model):
    plan, _ = build(METHODS["ddim"], NFE, SCHEDULE, "noise")
    x_T = model.start(range(4), 0)

    def by_hand():
        x = x_T
        for s, t in zip(plan.nodes[:-1], plan.nodes[1:], strict=True):
            noise = half(x, s.t)
            x = t.alpha * ((x - s.sigma * noise) / s.alpha) + t.sigma * noise

    assert states(model, plan) <= peak(by_hand) / x_T.nbytes


@torch.no_grad()
def test_memory_does_not_grow_with_evaluations(model):
    plans = [build(METHODS["ipndm"], n, SCHEDULE, "noise")[0] for n in (8, 80)]
    assert states(model, plans[0]) == states(model, plans[1])


@pytest.mark.parametrize(("name", "schedule"), [("ddim", SCHEDULE), ("dpm-solver-3", EDM()), ("deis-3", SCHEDULE)])
def test_a_thousand_evaluations_are_traced_at_once(name, schedule):
    """Measured: 0.2 s at most (docs/cost.md); twice that is for machines that do other work."""
    took = []
    for _ in range(3):
        began = time.process_time()
        plan, _ = build(METHODS[name], 1000, schedule, "noise")
        took.append(time.process_time() - began)
    assert plan.nfe == 1000
    assert min(took) < 0.4


def test_rows_are_made_when_they_are_asked_for():
    """The fit changes a plan after every evaluation; it may not pay for a whole table each time."""
    plan, _ = build(METHODS["ddim"], 100, SCHEDULE, "noise")
    changed = plan.extrapolate(50, 0.3)
    assert changed.terms(50)[1] == ((50, -0.3 * plan.use[50, 50]), (51, 1.3 * plan.use[50, 50]))
    assert "table" not in vars(changed)
    assert changed.use is plan.use, "what has not changed is not copied"
    assert changed.blend is plan.blend


def test_a_plan_owns_its_numbers():
    plan, _ = build(METHODS["ddim"], 3, SCHEDULE, "noise")
    mine = plan.use.copy()
    other = dode.Plan(plan.kind, plan.nodes, plan.step_starts, plan.start, mine, plan.mix, plan.blend)
    mine[0, 0] = 5
    assert other.use[0, 0] == plan.use[0, 0]
    with pytest.raises(ValueError, match="read-only"):
        other.use[0, 0] = 5
