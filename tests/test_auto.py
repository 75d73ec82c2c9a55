"""`auto` finds a sampler that is nearer than every solver it tried, within its budget, and says what it did."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, mixture, mixture_model, swapped

import dode
from dode.diffusers import DODEScheduler
from dode.errors import DodeError, NonFinite
from dode.integrations.k_diffusion import sample_dode
from dode.integrations.resume import tail
from dode.metrics.estimates import ratio
from dode.metrics.evaluation import Settings, measure
from dode.schedule import EDM, DiscreteVP, Flow, linear_betas, zero_terminal_snr
from dode.search import validation
from dode.search.auto import tuned
from dode.search.budget import QUICK, Budget, Meter
from dode.search.initial_candidates import GRIDS, PLAIN, TRIED, starts, task
from dode.search.parametrization import Family, composed, history
from dode.solvers import METHODS
from dode.solvers.step_allocation import bias

SMALL = Budget(samples=24, select=16)
SQUARES = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
BETAS = {
    "scaled linear": np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2,
    "squared cosine": np.minimum(1 - SQUARES[1:] / SQUARES[:-1], 0.999),
}


def distance(sampler, count=32):
    """RMS to the exact solution on test noise."""
    model = sampler.model
    x_T, cond = model.start(range(count), 0), model.conditions(range(count))
    exact = model.exact(x_T, 3e-3, cond)
    return float((sampler.sample(noise=x_T, cond=cond) - exact).square().mean().sqrt())


@pytest.fixture(scope="module")
def found():
    """The bundled mixture, whose samples are images, at 4 and 6 evaluations."""
    return tuned(dode.bundled("fashion-mixture"), [4, 6], SMALL)


def test_it_is_much_nearer_than_any_solver_it_tried(found):
    for nfe, (sampler, _) in found.items():
        assert sampler.nfe == nfe
        plain = min(
            distance(dode.sampler(sampler.model, name, nfe=nfe, grid=grid))
            for name in ("ddim", "ipndm-2", "ipndm", "dpm-solver++2m", "unipc-2")
            for grid in ("karras", "logsnr")
        )
        assert distance(sampler) < 0.65 * plain


@pytest.mark.parametrize("name", ["fashion", "fashion-edm", "fashion-mixture"])
def test_the_teacher_is_near_enough_to_the_exact_solution(name):
    """A tenth of the smallest distance that auto reaches on the trained networks, 0.013."""
    model = dode.bundled(name)
    taught = task(model, "fit", 2, Budget().teacher, 0, lambda count: None)
    exact = model.exact(taught.x_T, 2e-4, taught.cond)
    assert float((taught.end - exact).square().mean().sqrt()) < 1.3e-3


def plain_sampler(model, name, where):
    """None where the grid does not exist."""
    with suppress(ValueError):
        return dode.sampler(model, name, nfe=4, grid=where)


@pytest.mark.parametrize("schedule", ["discrete", "flow", "zero-snr", "functions"])
def test_on_every_schedule_it_is_not_worse(schedule):
    """At most 1 + 2 s.e. of the solver on a plain grid that is nearest on validation noise.

    Modes in the plane: most of the distance is that of few samples which change sides.
    """
    model = mixture_model(schedule)

    def measured(sampler, stream, count):
        x_T = model.start(range(count), 0, stream)
        return measure(sampler, model.exact(x_T, 3e-3, batch=500), Settings(count, stream=stream, batch=500), None)

    plain = [plain_sampler(model, name, where) for name in TRIED for where in GRIDS]
    best = min((one for one in plain if one), key=lambda one: measured(one, "validation", 32).rms)
    sampler = tuned(model, [4])[4][0]
    value, error = ratio(measured(sampler, "test", 500), measured(best, "test", 500))
    assert value <= 1 + 2 * error
    assert np.isfinite(sampler.plan.table).all()


@pytest.mark.parametrize(
    ("budget", "most", "nfe"),
    [(SMALL, 10.0, 5), (replace(QUICK, samples=24), 2.0, 5), (QUICK, 2.0, 2), (Budget(), 10.0, 1)],
)
def test_it_stays_within_its_budget(budget, most, nfe):
    """Evaluations of a sample, counted at the network, everything in them, in units of a C = 10 teacher's."""
    made = mixture_model("edm")
    spent = 0

    def counted(x, t, cond):
        nonlocal spent
        spent += len(x)
        return made.network(x, t, cond)

    model = swapped(made, counted)
    _, how = tuned(model, [nfe], budget)[nfe]
    assert how.calls == spent / budget.samples
    assert how.calls <= most * 10 * nfe


def test_no_call_is_larger_than_the_batch_and_the_teacher_is_reported_as_it_ran():
    made = gaussian().model(DiscreteVP.from_betas(linear_betas(50, 1e-3, 0.2)), "noise")
    sizes = []

    def watched(x, t, cond):
        sizes.append(len(x))
        return made.network(x, t, cond)

    sampler = dode.auto(swapped(made, watched), 4, samples=40, batch=5)
    assert max(sizes) == 5
    assert sampler.provenance.formulation == "auto"
    assert sampler.provenance.teacher_nfe == 60


@pytest.mark.parametrize("count", [24, 60, 150])
@pytest.mark.parametrize("name", ["scaled linear", "squared cosine"])
def test_the_teacher_has_its_evaluations_where_whole_times_are_few_near_the_data(name, count):
    """Stable Diffusion's betas, and improved DDPM's, round several of Karras's nodes to one time."""
    betas = BETAS[name]
    model = mixture().model(DiscreteVP.from_betas(betas), "noise", torch.float64)
    taught = task(model, "fit", 48, count, 0, lambda calls: None)
    assert 0.9 * count < taught.count <= count
    exact = model.exact(taught.x_T, 1e-4)
    even = dode.sampler(model, "unipc-2", nfe=count, grid="trailing").sample(noise=taught.x_T)
    mine, theirs = (float((end - exact).square().mean().sqrt()) for end in (taught.end, even))
    assert mine < 1.3 * theirs  # 24 nodes of squared cosine; from 60 on it is nearer
    assert count < 60 or mine < theirs


@pytest.mark.parametrize("shift", [3.0, 17.0])
def test_the_shift_of_a_flow_schedule_is_in_the_way_of_nothing(shift):
    """It says where grids stand; the ODE, the teacher and what is found are those without it."""
    even, shifted = (mixture().model(Flow(shift=by), "flow", torch.float64) for by in (1.0, shift))
    x_T = even.start(range(64), 0)
    exact = even.exact(x_T, 1e-4)
    assert torch.allclose(shifted.exact(x_T, 1e-4), exact, atol=1e-3)
    taught = task(shifted, "test", 64, 60, 0, lambda calls: None)
    assert torch.allclose(taught.x_T, x_T)
    sampler = tuned(shifted, [6], SMALL)[6][0]

    def middle(end):
        return float((end - exact).flatten(1).square().mean(1).sqrt().median())

    plain = min(middle(dode.sampler(even, name, nfe=6).sample(noise=x_T)) for name in PLAIN)
    assert middle(taught.end) < 0.1 * plain
    assert middle(sampler.sample(noise=x_T)) < 0.5 * plain


@pytest.mark.parametrize("name", ["scaled linear", "squared cosine"])
def test_it_finds_samplers_on_every_schedule_of_betas(name):
    model = mixture().model(DiscreteVP.from_betas(BETAS[name]), "noise", torch.float64)
    sampler, how = tuned(model, [6], SMALL)[6]
    assert how.best.refined
    x_T = model.start(range(100), 0)
    exact = model.exact(x_T, 1e-3)

    def middle(one):  # a few samples at a watershed between modes rule the mean
        return float((one.sample(noise=x_T) - exact).flatten(1).square().mean(1).sqrt().median())

    assert middle(sampler) < 0.5 * min(middle(dode.sampler(model, plain, nfe=6)) for plain in PLAIN)


@pytest.mark.parametrize(("low", "high"), [(60, 79), (0.05, 0.1), (4, 8), (0.01, 40)])
def test_a_network_that_fails_somewhere_ends_no_search(low, high):
    """Solvers that ask there are left out, and refinements keep away."""
    made = mixture_model("edm")
    taught = False

    def failing(x, t, cond):
        out = made.network(x, t, cond)
        return out * float("nan") if taught and low < float(t[0]) < high else out

    def told(what, share):
        nonlocal taught
        taught = what != "teacher"

    if (low, high) == (0.01, 40):
        with pytest.raises(NonFinite, match="no solver with 4 evaluations"):
            tuned(swapped(made, failing), [4], SMALL, progress=told)
        return
    sampler, how = tuned(swapped(made, failing), [4], SMALL, progress=told)[4]
    assert not any(low < node.t < high for node in sampler.plan.nodes)
    assert np.isfinite(how.best.select)


def test_numbers_of_evaluations_that_no_solver_has_are_refused():
    with pytest.raises(ValueError, match="whole number and at least 1; got 0"):
        dode.auto(mixture_model("edm"), 0)


@pytest.mark.parametrize(
    ("budget", "count"), [(replace(SMALL, seconds=1e-6), 4), (replace(SMALL, most=1e-3), 4), (QUICK, 1)]
)
def test_a_search_that_may_spend_nothing_gives_the_best_of_the_plain_solvers(budget, count):
    """Within a twentieth of its RMS: the teacher is short where little may be spent."""
    model = dode.bundled("fashion-mixture")
    sampler, how = tuned(model, [count], budget)[count]
    assert count == 1 or not how.rounds  # one evaluation is cheap enough to refine
    taught = task(model, "validation", budget.select, 60, 0, lambda n: None)

    def error(one):
        ends = one.sample(noise=taught.x_T, cond=taught.cond)
        return float((ends - taught.end).square().mean())

    assert error(sampler) <= 1.1 * min(error(dode.sampler(model, name, nfe=count)) for name in PLAIN)


def test_a_large_number_beside_it_takes_nothing_from_a_small_one():
    """The teacher is shared, and three times as long as the largest; each is charged with its own."""
    model = mixture_model("edm")
    budget = replace(QUICK, samples=16)
    alone, beside = tuned(model, [4], budget)[4][1], tuned(model, [4, 40], budget)[4][1]
    assert len(beside.tried) >= len(alone.tried)
    assert beside.calls == pytest.approx(alone.calls, rel=0.25)
    assert beside.best.select <= 1.1 * alone.best.select


def test_a_network_that_gains_nothing_keeps_a_solver():
    """Where every solver is exact there is nothing to refine, and what comes back is exact too."""
    model = dode.from_callable(
        lambda x, t: torch.zeros_like(x), schedule=EDM(), prediction="data", shape=(3,), dtype=torch.float64
    )
    sampler = tuned(model, [3], SMALL)[3][0]
    assert not sampler.provenance.distilled
    assert float(sampler.sample(4).abs().max()) < 1e-10


def test_no_gradient_is_taken_and_numpy_will_do():
    made = mixture_model("edm")

    def forward_only(x, sigma):
        with torch.inference_mode():
            out = made.network(torch.from_numpy(x), torch.from_numpy(sigma), None)
        return out.numpy()

    model = dode.from_callable(
        forward_only, schedule=EDM(), prediction="data", shape=made.shape, numpy=True, dtype=torch.float64
    )
    sampler = dode.auto(model, 3, samples=12, quick=True)
    assert sampler.nfe == 3


def test_the_same_seed_finds_the_same_sampler():
    a, b = (dode.auto(mixture_model("vp"), 3, samples=12, quick=True) for _ in range(2))
    assert a.plan.table.tolist() == b.plan.table.tolist()
    assert a.plan.nodes == b.plan.nodes


def test_what_it_found_is_a_plan_like_any_other(found, tmp_path):
    """Saved and loaded, printed, started in the middle, run by k-diffusion's function: the same samples."""
    sampler = found[4][0]
    assert sampler.name == "auto"
    dode.save(tmp_path / "auto.json", *(one for one, _ in found.values()))
    again = dode.load(tmp_path / "auto.json", sampler.model, 4)
    x_T = sampler.model.start(range(3), 5)
    wanted = sampler.sample(noise=x_T)
    assert torch.equal(again.sample(noise=x_T), wanted)
    assert again.name == "auto"
    assert "4 evaluations" in str(sampler.plan)
    said = json.loads((tmp_path / "auto.json").read_text())["plans"][0]["provenance"]["report"]
    assert said["evaluations a sample"] <= 400
    rest = tail(sampler.plan, 2, METHODS["ddim"], sampler.model.schedule)
    assert rest.nodes == sampler.plan.nodes[2:]
    model = sampler.model
    sigmas = [node.sigma for node in sampler.plan.nodes]
    cond = model.conditions(range(3))

    def denoiser(x, sigma):
        return model.network(x, sigma, cond)

    got = sample_dode(denoiser, x_T, sigmas, disable=True, calibration=tmp_path / "auto.json")
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_the_scheduler_runs_it_with_times_between_whole_ones():
    model = gaussian().model(SCHEDULES["discrete"], "noise")
    sampler = dode.auto(model, 4, samples=16)
    assert any(node.t != round(node.t) for node in sampler.plan.nodes), sampler.provenance.report
    scheduler = DODEScheduler(calibration=sampler)
    scheduler.set_timesteps(4)
    x_T = model.start(range(3), 0)
    x, asked = x_T, []
    for t in scheduler.timesteps:
        node = scheduler._node(t)
        asked.append(float(t))
        x = scheduler.step(model.bound("noise", None)(x, node), t, x).prev_sample
    torch.testing.assert_close(x, sampler.sample(noise=x_T), rtol=1e-9, atol=1e-9)
    assert asked == pytest.approx([node.t for node in sampler.plan.nodes[:-1]], rel=1e-6)


def test_whole_times_by_option():
    """For tools that know no others: every time is one, and the samples are nearer than plain solvers' all the same."""
    made = gaussian().model(SCHEDULES["discrete"], "noise")

    def strict(x, t, cond):
        assert t.dtype == torch.int64
        return made.network(x, t, cond)

    sampler, how = tuned(made, [4], replace(SMALL, whole=True))[4]
    replace(sampler, model=swapped(made, strict)).sample(2)
    assert all(node.t == round(node.t) for node in sampler.plan.nodes)
    assert sampler.plan.conditioning_shifts is None
    assert sampler.name == "auto"
    assert how.calls <= 400
    plain = min(distance(dode.sampler(made, name, nfe=4)) for name in ("ddim", "dpm-solver++2m", "unipc-2"))
    assert distance(sampler) < 0.5 * plain


def test_other_tools_get_plans_that_tell_no_other_times():
    model = mixture_model("vp")
    told = replace(dode.sampler(model, "ddim", nfe=3).plan, conditioning_shifts=np.array((0.1, 0.0, -0.1)))
    with pytest.raises(ValueError, match="find one with free_times=False"):
        dode.state_scaling.rescaled(told, dode.state_scaling.exploding)
    plan = dode.auto(model, 3, samples=12, quick=True, free_times=False).plan
    assert plan.conditioning_shifts is None
    assert dode.state_scaling.rescaled(plan, dode.state_scaling.exploding).nfe == 3


def test_a_plan_that_tells_other_times_starts_where_noise_does():
    """What is told at first is no start below t_max; and the way back ends at the state's own time."""
    model = mixture_model("edm")
    plain = dode.sampler(model, "ddim", nfe=3)
    told = (0.1, 0.0, -0.1)
    shifts = zip(plain.plan.nodes, (*told, 0), strict=True)
    nodes = tuple(node._replace(t=node.t * np.exp(-shift)) for node, shift in shifts)
    sampler = replace(plain, plan=replace(plain.plan, nodes=nodes, conditioning_shifts=np.array(told)))
    assert bias(sampler.plan, model.schedule) is None
    x0 = plain.sample(4)
    torch.testing.assert_close(sampler.invert(x0), plain.invert(x0), rtol=0, atol=0)


def test_a_start_that_fails_on_samples_to_judge_on_does_not_win(monkeypatch):
    model = mixture_model("edm")
    some = starts(model, 3, ("ipndm-2", "unipc-2"), ("karras",))[:3]
    found = iter([np.full(8, np.inf), np.full(8, 4.0), np.full(8, 1.0)])
    monkeypatch.setattr(validation, "tried", lambda *given: next(found))
    jury, candidates = validation.convened(
        some, task(model, "validation", 8, 10, 0, lambda count: None), 8, Meter(1.0, lambda what, share: None)
    )
    assert jury.middle == 4.0
    assert [np.isfinite(one.select) for one in candidates] == [False, True, True]
    assert min(candidates, key=lambda one: one.select) is candidates[2]
    monkeypatch.setattr(validation, "tried", lambda *given: np.full(8, np.inf))
    with pytest.raises(NonFinite, match="no solver that was tried"):
        validation.convened(
            some, task(model, "validation", 8, 10, 0, lambda count: None), 8, Meter(1.0, lambda what, share: None)
        )


def test_only_networks_of_data_and_noise_levels_are_told_other_ones_by_other_tools():
    """What a tool makes of a network's noise, and a time that is not the noise level, depend on the time told."""
    model = mixture().model(EDM(), "data", torch.float64)
    plan = dode.sampler(model, "ddim", nfe=3, grid="karras").plan
    told = (0.1, 0.0, -0.1)
    nodes = [node._replace(t=node.t * np.exp(-shift)) for node, shift in zip(plan.nodes, (*told, 0), strict=True)]
    plan = replace(plan, nodes=tuple(nodes), conditioning_shifts=np.array(told))
    sampler = replace(dode.sampler(model, "ddim", nfe=3), plan=plan)
    x, sigmas = model.start(range(2), 0), [node.sigma for node in plan.nodes]

    def denoiser(x, sigma):
        return model.network(x, sigma, None)

    got = sample_dode(denoiser, x, sigmas, disable=True, calibration=sampler)
    torch.testing.assert_close(got, sampler.sample(noise=x))
    for other in (
        replace(sampler, model=mixture().model(EDM(), "noise", torch.float64)),
        replace(plan, nodes=tuple(node._replace(t=node.t**2) for node in nodes)),
    ):
        with pytest.raises(ValueError, match="find one with free_times=False"):
            sample_dode(denoiser, x, sigmas, disable=True, calibration=other)


@pytest.mark.parametrize(("times", "nfe"), [(20, 15), (50, 25)])
def test_the_teacher_of_a_short_schedule_may_ask_between_its_times(times, nfe):
    """Half as many evaluations as there are times would be a coarser teacher than the student."""
    schedule = DiscreteVP.from_betas(linear_betas(times, 0.1 / times, min(0.9, 20 / times)))
    model = mixture(torch.float64).model(schedule, "noise", torch.float64)
    fine = mixture(torch.float64).model(replace(schedule, integer=False), "noise", torch.float64)
    x_T = model.start(range(32), 0)
    exact, taught = fine.exact(x_T, 1e-3), task(model, "test", 32, 3 * nfe, 0, lambda count: None)
    assert taught.count == 3 * nfe

    def far(ends):
        return float((ends - exact).square().mean(1).median().sqrt())

    plain = min(far(dode.sampler(fine, name, nfe=nfe).sample(noise=x_T)) for name in ("unipc-2", "ddim"))
    assert far(taught.end) < 0.3 * plain
    sampler, how = tuned(model, [nfe], replace(SMALL, most=4.0))[nfe]
    assert far(sampler.sample(noise=x_T)) < plain
    assert how.best.select > 0.5 * far(sampler.sample(noise=x_T))  # what it says is so
    among = task(model, "test", 4, 3 * nfe, 0, lambda count: None, whole_times=True)
    assert among.count == (times - 1) // 2


def test_a_short_schedule_of_zero_terminal_snr_has_no_times_beside_its_last():
    for times, nfe, budget in ((100, 4, SMALL), (20, 18, replace(SMALL, most=3.0))):
        squares = zero_terminal_snr(np.cumprod(1 - linear_betas(times, 1e-3, 0.2)))
        model = mixture(torch.float64).model(DiscreteVP(squares), "v", torch.float64)
        sampler, how = tuned(model, [nfe], budget)[nfe]
        assert sampler.plan.nodes[0].alpha == 0
        assert how.rounds
        family = Family(dode.sampler(model, "ddim", nfe=nfe, grid="trailing").plan, model.schedule, history)
        count = len(family.acts())
        family = replace(family, schedule=replace(model.schedule, integer=False))
        for change in (-0.01, 0.01):
            family.plan(change * np.eye(count)[count - nfe + 1])  # a node beside the last time stays on the schedule


class Table(torch.nn.Module):
    """A network that looks its times up."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.times, self.inner = torch.nn.Embedding(1000, 2), torch.nn.Linear(2, 2)

    def forward(self, x, t):
        return x + 0.3 * torch.tanh(self.inner(x) + self.times(t))


def test_a_network_of_whole_times_only_is_asked_at_those():
    model = dode.from_callable(Table(), schedule=DiscreteVP.from_betas(linear_betas()), prediction="noise", shape=(2,))
    with pytest.raises(ValueError, match=r"cannot be asked between whole times \(.*whole_times=True, --whole-times"):
        dode.auto(model, 3, samples=8)
    several = tuned(model, [4, 6], replace(SMALL, whole=True))
    sampler, how = several[4]
    assert how.rounds
    with suppress(ValueError):  # what is between may be no nearer; it is asked at whole times all the same
        dode.interpolate([one for one, _ in several.values()], model, 5)
    asked = {t: torch.tensor([[0.1 * t, 0.0]]) for t in range(1000)}  # another way to look times up
    known = dode.from_callable(
        lambda x, t: x + 0.3 * torch.tanh(x + asked[t[0].item()].to(x)),
        schedule=model.schedule,
        prediction="noise",
        shape=(2,),
    )
    with pytest.raises(ValueError, match="cannot be asked between whole times"):
        dode.auto(known, 3, samples=8)
    assert all(node.t == round(node.t) for node in sampler.plan.nodes)
    assert how.best.refined
    assert how.best.select < 0.9 * min(one.select for one in how.tried if not one.refined)


def test_small_shifts_of_what_is_told_are_small_everywhere():
    """Nodes of a shifted flow may stand before the level that stands for α = 0."""
    for t in (0.9, 0.9965, 1.0):
        node = Flow().node(t)
        (told,) = composed(
            (node, Flow().node(0.0)), Flow(), "flow", np.eye(1, 2, 1), np.array([0.003])
        ).conditioning_shifts
        assert told == pytest.approx(0.003)


def test_a_wider_first_gap_is_always_towards_the_data():
    """Under a large shift the first inner node stands before the level that stands for α = 0."""
    for shift in (1.0, 12.0):
        schedule = Flow(shift=shift)
        family = Family(dode.sampler(mixture().model(schedule, "flow"), "ddim", nfe=10).plan, schedule, history)
        count = len(family.acts())
        places = [family.plan(change * np.eye(count)[count - 9]).nodes[1].logsnr for change in (-0.2, 0.0, 0.2)]
        assert places == sorted(set(places))


def test_what_cannot_be_searched_is_refused():
    model = mixture_model("edm")
    for nfe, options, says in (
        (3, {"samples": 2}, "at least 4 samples"),
        ([], {}, "got none"),
        (3, {"seed": -1}, "seed"),
    ):
        with pytest.raises(DodeError, match=says):
            dode.auto(model, nfe, **options)


@pytest.mark.parametrize(("multiple", "schedule"), [(4, "edm"), (4, "discrete"), (16, "edm")])
def test_a_network_that_complains_itself_is_heard(multiple, schedule):
    """Its error is no candidate that went wrong: the search ends with it, and gives no plain solver back."""
    model = mixture_model(schedule)

    def particular(x, t, cond):
        if len(x) % multiple:
            raise ValueError(f"batch must be a multiple of {multiple}")
        return model.network(x, t, cond)

    with pytest.raises(ValueError, match=f"batch must be a multiple of {multiple}"):
        dode.auto(swapped(model, particular), 3, quick=True)


def test_flows_from_pure_noise_are_refined_too():
    model = mixture().model(Flow(), "flow", torch.float64)
    sampler, how = tuned(model, [4], replace(SMALL, most=6.0))[4]
    assert how.rounds
    assert sampler.plan.nodes[0].alpha == 0


@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")  # diffusers makes numpy arrays of tensors
def test_the_solvers_that_the_benchmark_holds_it_against_are_measured_as_ours_are(monkeypatch):
    """diffusers' DPM-Solver++ and ours are the same solver; both on Karras' levels."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    from rivals import rivals

    model = dode.bundled("fashion-mixture")
    exact, settings = model.exact(model.start(range(8), 0), 3e-3), Settings(8)
    theirs = next(one for one in rivals(model, 8, ["diffusers dpm-solver++2m"]) if one.provenance.grid == "karras")
    ours = dode.sampler(model, "dpm-solver++2m", nfe=8, grid="karras")
    values = [measure(one, exact, settings, None).rms for one in (theirs, ours)]
    assert values[0] == pytest.approx(values[1], rel=0.1)
