"""A schedule of one's own, written as docs/extending.md says, works with everything that takes a schedule."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import CATALOGUE, gaussian, relative

import dode
from dode import trajectories
from dode.errors import DodeError
from dode.integrations.k_diffusion import sample_dode
from dode.schedule import DiscreteVP, Node, Schedule, linear_betas
from dode.solvers.deis import weights
from dode.timesteps import GRIDS, grid, refine


def preserving(t, logsnr):
    return Node(t, *(1 / math.sqrt(1 + math.exp(-2 * value)) for value in (logsnr, -logsnr)))


class Laplace(Schedule):
    """log-SNR has a Laplace distribution over the times (Hang et al. 2024): the least that a schedule must define."""

    t_max, t_min = 0.9999, 0.0001

    def node(self, t):
        return preserving(t, -0.5 * math.log(2 * t) if t < 0.5 else 0.5 * math.log(2 - 2 * t))


class Table(Schedule):
    """Noise levels σ/α from a table, for a network with whole times."""

    t_min, t_end, integer = 0.0, -1.0, True

    def __init__(self, levels):
        self.times, self.logs = np.arange(len(levels)), np.log(levels)
        self.t_max = float(self.times[-1])
        self.knots = tuple(self.times.tolist())

    def node(self, t):
        if t == -1:
            return Node(t, 1.0, 0.0)
        return preserving(t, -float(np.interp(t, self.times, self.logs)))


LISTS = ("ays-sd15", "ays-sdxl", "gits-sd")
OWN = {"laplace": Laplace(), "table": Table(np.geomspace(0.01, 20, 120))}


@pytest.fixture(params=OWN)
def schedule(request):
    return OWN[request.param]


@pytest.fixture
def model(schedule):
    return gaussian().model(schedule, "noise")


@pytest.fixture
def x_T(model):
    return model.start(range(3), seed=0)


def evaluations(method):
    return 13 if method == "pndm" else 6


@pytest.mark.parametrize("method", CATALOGUE)
def test_every_solver_samples_on_every_grid(model, x_T, method):
    nfe = evaluations(method)
    for where in [*GRIDS, *(LISTS if method != "pndm" else ())]:  # a list has no steps of several evaluations
        made = dode.sampler(model, method, nfe=nfe, grid=where)
        assert made.plan.nfe == nfe, where
        assert not model.schedule.integer or all(node.t == round(node.t) for node in made.plan.nodes), where
        assert torch.isfinite(made.sample(noise=x_T)).all(), where


@pytest.mark.filterwarnings("ignore")  # of large λ
@pytest.mark.parametrize("method", CATALOGUE)
def test_every_solver_converges_and_is_distilled(model, x_T, method):
    exact = model.exact(x_T)
    few, many = (dode.sampler(model, method, nfe=nfe, grid="logsnr") for nfe in (evaluations(method), 48))
    assert relative(many.sample(noise=x_T), exact) < min(0.1, relative(few.sample(noise=x_T), exact))
    fitted = dode.distill(model, method, nfe=evaluations(method), samples=8, scale=4, grid="logsnr")
    assert relative(fitted.sample(noise=x_T), exact) < max(0.1, relative(few.sample(noise=x_T), exact))


def test_the_exact_solution_a_search_and_a_drawn_path(model, x_T, tmp_path):
    assert relative(replace(model, solution=None).exact(x_T), model.exact(x_T)) < 5e-3
    plain = dode.sampler(model, "ddim", nfe=4)
    found = dode.auto(model, 4, quick=True, samples=8)
    assert relative(found.sample(noise=x_T), model.exact(x_T)) < relative(plain.sample(noise=x_T), model.exact(x_T))
    track = trajectories.track(found, x_T, (0, 1))
    assert np.all(np.diff(track.times) < 0)
    dode.save(tmp_path / "mine.json", found)
    assert torch.equal(dode.load(tmp_path / "mine.json", model).sample(noise=x_T), found.sample(noise=x_T))
    other = gaussian().model(DiscreteVP.from_betas(linear_betas()), "noise")
    with pytest.raises(DodeError, match="schedule"):
        dode.load(tmp_path / "mine.json", other)


def test_k_diffusion_runs_its_calibrations(model, x_T):
    fitted = dode.distill(model, "ddim", nfe=6, samples=8, scale=4)
    nodes, first = fitted.plan.nodes, fitted.plan.nodes[0]
    sigmas = [node.sigma / node.alpha for node in nodes]

    def denoiser(x, sigma):
        level = float(sigma[0])
        return gaussian().data(x, Node(level, 1.0, level))

    made = sample_dode(denoiser, x_T / first.alpha, sigmas, disable=True, calibration=fitted)
    assert relative(made, fitted.sample(noise=x_T) / nodes[-1].alpha) < 1e-10


def test_the_answers_that_are_not_given():
    mine = Laplace()
    assert (mine.t_end, mine.t_limit, mine.integer, list(mine.knots)) == (mine.t_min, mine.t_max, False, [])
    assert (mine.default_grid, mine.shift) == ("trailing", 1.0)
    assert mine.continuous() is mine
    for t in (0.0001, 0.003, 0.4, 0.77, 0.9999):
        assert mine.at(mine.node(t).logsnr).t == pytest.approx(t, rel=1e-9)
    with pytest.raises(DodeError, match="outside"):
        mine.at(100.0)


def test_a_table_is_asked_between_its_rows_only_as_a_continuous_schedule():
    table = OWN["table"]
    assert table.integer
    assert not table.continuous().integer
    assert table.at(math.inf).t == -1
    assert grid(table, 10, "published").nodes[-2].t == 0
    assert all(node.t == round(node.t) for node in refine(grid(table, 10), 10, table).nodes)


def test_a_table_of_betas_is_the_schedule_of_betas():
    """One's own class with DDPM's numbers: the same grids and the same weights of DEIS, which integrates over rows."""
    known = DiscreteVP.from_betas(linear_betas())
    nodes = [known.node(float(t)) for t in range(1000)]
    table = Table(np.array([node.sigma / node.alpha for node in nodes]))
    for where in ("trailing", "published", "karras"):
        assert [node.t for node in grid(table, 7, where).nodes] == [node.t for node in grid(known, 7, where).nodes]
    asked = [known.node(float(t)) for t in (900, 700, 500, 300)]
    for t in (asked[3], known.node(-1)):
        ours, theirs = (weights(asked[2::-1], asked[2], t, "noise", each, "t") for each in (table, known))
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_what_is_no_schedule_is_refused():
    for wrong in ("VP", Laplace, object()):
        with pytest.raises(DodeError, match="schedule"):
            dode.from_callable(lambda x, t: x, schedule=wrong, prediction="noise", shape=(2,))
    with pytest.raises(TypeError, match="node"):
        type("Nothing", (Schedule,), {"t_max": 1.0, "t_min": 0.0})()
