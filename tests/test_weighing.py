"""The grid that is made for a model: its costs are what they say, its path is the cheapest, and it is worth having."""

from itertools import combinations

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, mixture_model

import dode
from dode.analytic import Gaussian
from dode.plan import previous
from dode.sampling import advance, begin, run
from dode.schedule import EDM, DiscreteVP, Flow, linear_betas
from dode.search.initial_candidates import Task, kinds, starts, task
from dode.search.optimal_grid import LEAST, costs, evaluations, fine_plan, weighed
from dode.solvers import METHODS
from dode.solvers.ddim import DDIM
from dode.solvers.step_allocation import build
from dode.timesteps import Grid
from dode.tracing import trace


def quiet(count):
    pass


def made(model, samples=4):
    """Samples without their ends, which no grid asks for."""
    x_T = model.start(range(samples), 0, "fit")
    return Task(model, x_T, x_T, model.conditions(range(samples)), 0)


def found(model, count, samples=4):
    some = made(model, samples)
    kind = kinds(model)[0]
    (pupil,) = some.pupils(kind)
    schedule = model.schedule.continuous()
    return costs([pupil], fine_plan(count, schedule, kind), schedule, quiet), pupil


def grid_of(some, nfe, kind, schedule):
    return weighed(some, nfe, fine_plan(evaluations(nfe), schedule, kind), schedule, 64, quiet)


@pytest.mark.parametrize("name", ["edm", "flow", "discrete"])
def test_the_path_is_the_cheapest_of_all(name):
    """Every path of a run of nine evaluations is added up by hand."""
    known, _ = found(mixture_model(name), 9)
    last = known.plan.nfe
    for nfe in (1, 2, 3, 5, 9):
        paths = [(0, *inner, last) for inner in combinations(range(1, last), nfe - 1)]

        def price(path):
            later = [known.later[h, i, j] for h, i, j in zip(path, path[1:], path[2:], strict=False)]
            return known.first[path[1]] + sum(later)

        cheapest = min(paths, key=price)
        assert known.grid(nfe).nodes == tuple(known.plan.nodes[i] for i in cheapest)


def test_a_cost_is_what_the_executor_misses_times_what_is_left_of_it():
    """One step of D-DDIM with its best λ, beside the state that the fine run has there; at the end all is left."""
    model = mixture_model("edm")
    known, pupil = found(model, 8)
    plan, schedule = known.plan, model.schedule
    states, outputs = [], []
    state = begin(plan, pupil.x_T)
    for node in plan.nodes[:-1]:
        states.append(state.y)
        outputs.append(pupil.denoise(state.y, node))
        state = advance(plan, state, outputs[-1])
    end = state.y
    for h, i in ((0, 3), (2, 5), (4, 7)):
        two = trace(DDIM, (plan.nodes[h], plan.nodes[i], plan.nodes[-1]), schedule, plan.kind)
        state = begin(two, states[h])._replace(seen=(None, outputs[h]), k=1, y=states[i])

        def missed(lam, state=state, two=two, d=outputs[i]):
            return advance(two.extrapolate(1, lam), state, d).y - end

        slope = missed(1.0) - missed(0.0)
        best = -float((missed(0.0) * slope).mean() / slope.square().mean())
        assert previous(two, 1).any()
        assert known.later[h, i, -1] == pytest.approx(float(missed(best).square().mean()), rel=1e-6)


def test_what_is_left_of_an_error_is_what_the_exact_flow_leaves():
    """A Gaussian's flow is linear: an error at noise level σ shrinks to s/√(s² + σ²) of itself, s the data's spread."""
    spread = 0.6
    one = Gaussian(torch.zeros(1, 4, 4, dtype=torch.float64), torch.full((1, 4, 4), spread, dtype=torch.float64))
    model = one.model(EDM(), "data")
    known, _ = found(model, 96)  # so many that the run itself is nearly exact
    for j in (21, 53, 85):  # nodes where it is measured
        sigma = known.plan.nodes[j].sigma
        share = np.sqrt(known.first[j] / _unweighed(model, known.plan, j))
        assert share == pytest.approx(spread / np.hypot(spread, sigma), rel=0.1)  # 0.2 with 24 evaluations


def _unweighed(model, plan, j):
    """The mean square that DDIM's first step misses."""
    some = made(model)
    (pupil,) = some.pupils(plan.kind)
    head = trace(METHODS["unipc-2"], plan.nodes[: j + 1], model.schedule, plan.kind)
    step = trace(DDIM, (plan.nodes[0], plan.nodes[j]), model.schedule, plan.kind)
    return float((run(step, pupil.denoise, pupil.x_T) - run(head, pupil.denoise, pupil.x_T)).square().mean())


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_schedule_has_one(name):
    model = mixture_model(name)
    for nfe in (1, 2, 6, 12):
        grid = grid_of(made(model), nfe, kinds(model)[0], model.schedule.continuous())
        assert len(grid.nodes) == nfe + 1
        assert grid.nodes[0] == model.schedule.node(model.schedule.t_max)
        assert grid.nodes[-1].t == model.schedule.t_end
        assert all(a.logsnr < b.logsnr for a, b in zip(grid.nodes, grid.nodes[1:], strict=False))


def test_whole_times_where_no_others_are_allowed_and_none_where_there_are_too_few():
    model = gaussian().model(DiscreteVP.from_betas(linear_betas(100, 1e-3, 0.2)), "noise")
    grid = grid_of(made(model), 5, "noise", model.schedule)
    assert all(node.t == int(node.t) for node in grid.nodes)
    short = gaussian().model(DiscreteVP.from_betas(linear_betas(LEAST - 4, 1e-2, 0.5)), "noise")
    with pytest.raises(ValueError, match=r"steps"):
        grid_of(made(short), 5, "noise", short.schedule)


def test_the_batch_does_not_matter():
    model = mixture_model("edm")
    schedule = model.schedule.continuous()
    fine = fine_plan(24, schedule, "data")
    grids = [weighed(made(model), 5, fine, schedule, batch, quiet) for batch in (1, 3, 64)]
    assert grids[0].nodes == grids[1].nodes == grids[2].nodes


def test_half_precision_finds_about_the_same():
    model = dode.bundled("fashion-mixture")
    grids = []
    for dtype in (torch.float32, torch.bfloat16):
        some = made(model)
        some = Task(model, some.x_T.to(dtype), some.end.to(dtype), some.cond, 0)
        grids.append(grid_of(some, 5, "noise", model.schedule))
    assert all(abs(a.logsnr - b.logsnr) < 1.0 for a, b in zip(*(grid.nodes[:-1] for grid in grids), strict=True))


def test_a_network_that_always_says_the_same_has_a_grid_too():
    """Every step is exact, and no output changes: nothing is divided by nothing."""
    model = dode.from_callable(lambda x, t: torch.zeros_like(x), schedule=EDM(), prediction="data", shape=(3,))
    grid = grid_of(made(model), 5, "data", model.schedule)
    assert isinstance(grid, Grid)
    assert len(grid.nodes) == 6


def test_plain_solvers_are_much_nearer_on_it():
    """The bundled mixture at 4 and 5 evaluations, beside the plain grids, on noise that the grid was not made from."""
    model = dode.bundled("fashion-mixture")
    judges = task(model, "test", 32, 60, 0, quiet)
    for nfe in (4, 5):
        grid = grid_of(made(model), nfe, "noise", model.schedule)

        def error(plan):
            (pupil,) = judges.pupils(plan.kind)
            return float((run(plan, pupil.denoise, pupil.x_T) - pupil.end).square().mean().sqrt())

        names = ("gradient-estimation", "ipndm-3")
        here = [build(METHODS[name], nfe, model.schedule, "data", grid, kind="noise")[0] for name in names]
        assert min(map(error, here)) < 0.8 * min(error(start.plan) for start in starts(model, nfe, names))


def test_flows_from_pure_noise():
    """There is no log-SNR at the start."""
    model = mixture_model("flow")
    assert isinstance(model.schedule, Flow)
    assert grid_of(made(model), 4, "flow", model.schedule).nodes[0].alpha == 0
