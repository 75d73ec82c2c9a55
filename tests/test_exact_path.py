"""The exact path at any node costs no call, and is as exact as the solution."""

import pytest
import torch
from problems import SCHEDULES, gaussian, prediction_for

import dode
from dode import exact
from dode.metrics import distance


def rms(x):
    return float(x.double().square().mean().sqrt())


@pytest.mark.parametrize("name", SCHEDULES)
def test_it_is_the_flow_of_a_gaussian_at_every_node(name):
    """The nodes of 7 steps lie between those of the fine solver; the end has its own tolerance."""
    problem, schedule = gaussian(), SCHEDULES[name]
    model = problem.model(schedule, prediction_for(name))
    x_T, first = model.start(range(12), 0), schedule.node(schedule.t_max)
    nodes = dode.sampler(model, "dpm-solver++2m", nfe=7).plan.nodes
    found = exact.along(model, x_T, None, 1e-4, 5, nodes)
    for y, node in zip(found, nodes, strict=False):
        exactly = problem.flow(x_T, first, node)
        assert distance(y, exactly).rms < (1e-5 if node is not nodes[-1] else 3e-4) * rms(exactly)
    assert torch.equal(found[-1], exact.solve(model, x_T, None, 1e-4, 5))
    assert torch.equal(found[-1], found[-2])  # the last node is the end


def test_it_makes_the_calls_of_the_solution_alone():
    problem = gaussian()
    model, calls = problem.model(SCHEDULES["edm"], "data"), []
    counted = dode.from_callable(
        lambda x, t: calls.append(len(x)) or model.network(x, t, None),
        schedule=model.schedule,
        prediction="data",
        shape=model.shape,
        dtype=torch.float64,
    )
    x_T = counted.start(range(6), 0)
    totals = []
    for nodes in ((), dode.sampler(counted, "edm", nfe=9).plan.nodes):
        calls.clear()
        exact.along(counted, x_T, None, 1e-2, 4, nodes)
        totals.append(len(calls))
    assert totals[0] == totals[1]


def test_noisier_than_its_start_there_is_no_path():
    model = gaussian().model(SCHEDULES["edm"], "data")
    churned = dode.sampler(model, "edm:churn=20", nfe=9)
    with pytest.raises(ValueError, match="the exact path begins at t = 80"):
        exact.along(model, model.start(range(3), 0), None, 1e-2, 4, churned.plan.nodes)
