"""Solvers that add noise: DDPM's ancestral sampling and EDM's churn, for sampling only."""

from dataclasses import replace
from itertools import pairwise
from math import inf, sqrt

import numpy as np
import pytest
import torch
from problems import SCHEDULES, gaussian, gaussian_model, mixture_model, relative

import dode
from dode import noise
from dode.calibration import plan_from_json, plan_to_json
from dode.sampling import begin, run
from dode.solvers.spec import read
from dode.solvers.step_allocation import build

CHURNS = ["edm:churn=1", "edm:churn=40:churn_min=0.05:churn_max=50", "edm:churn=400"]
TEXTS = [("ddim:eta=1", where) for where in ("discrete", "vp", "cosine", "edm", "flow", "zero-snr")]
TEXTS += [(text, where) for text in CHURNS for where in ("edm", "vp", "discrete", "flow")] + [("ddim:eta=0.3", "vp")]
TEXTS += [("ddim:fresh=1", where) for where in ("discrete", "edm", "flow", "zero-snr")] + [("ddim:fresh=0.4", "edm")]


def problem(text, where, nfe):
    model = mixture_model(where)
    plan, made = build(read(text).method, nfe, model.schedule, model.prediction)
    return plan, made.nodes, model, model.bound(plan.kind, None), model.start(range(4), 0)


def draws(model, count=4, seed=7):
    return lambda state: noise.noise(range(count), model.shape, seed, "added", state)


def ancestral(denoise, nodes, x, draw):
    """Ho et al. 2020, Algorithm 2, with the posterior's mean and variance, (6)–(7); x̂₀ from the noise."""
    for k, (t, s) in enumerate(pairwise(nodes)):
        x0 = (x - t.sigma * denoise(x, t)) / t.alpha
        kept = t.alpha / s.alpha  # √(ᾱ_t/ᾱ_s)
        beta = t.sigma**2 - kept**2 * s.sigma**2
        mean = (kept * s.sigma**2 * x + s.alpha * beta * x0) / t.sigma**2
        x = mean + sqrt(beta) * s.sigma / t.sigma * draw(k + 1)
    return x


@pytest.mark.parametrize("where", ["discrete", "vp", "edm"])
def test_eta_1_is_ddpm(where):
    for nfe in (1, 2, 10):
        plan, nodes, model, _, x = problem("ddim:eta=1", where, nfe)
        theirs = ancestral(model.bound("noise", None), nodes, x, draws(model))
        assert relative(run(plan, model.bound(plan.kind, None), x, draws(model)), theirs) < 1e-12
        assert (nfe == 1) == (not any(plan.noise_scales))  # the step to σ = 0 adds none


@pytest.mark.parametrize("eta", [0.0, 0.4])
def test_eta_is_equations_12_and_16_of_ddim(eta):
    plan, nodes, _, denoise, x = problem(f"ddim:eta={eta}", "discrete", 6)
    model, y = mixture_model("discrete"), x
    for k, (s, t) in enumerate(pairwise(nodes)):
        e, a, b = denoise(y, s), s.alpha**2, t.alpha**2  # Song et al. write α for our α²
        spread = eta * sqrt((1 - b) / (1 - a)) * sqrt(1 - a / b)
        y = sqrt(b) * (y - sqrt(1 - a) * e) / sqrt(a) + sqrt(1 - b - spread**2) * e + spread * draws(model)(k + 1)
    assert relative(run(plan, denoise, x, draws(model)), y) < 1e-12


@pytest.mark.parametrize("where", ["edm", "vp", "flow"])
def test_fresh_1_is_the_sampling_of_consistency_models(where):
    """Song et al. 2023, algorithm 1: the data, then new noise of the next level, again and again."""
    for nfe in (1, 2, 5):
        plan, nodes, model, _, x = problem("ddim:fresh=1", where, nfe)
        y = x
        for k, (s, t) in enumerate(pairwise(nodes)):
            y = t.alpha * model.bound("data", None)(y, s)
            y = y + t.sigma * draws(model)(k + 1) if t.sigma else y
        assert relative(run(plan, model.bound(plan.kind, None), x, draws(model)), y) < 1e-12


def test_fresh_and_eta_add_no_less_than_the_larger():
    """A share of the ancestral noise that is below `fresh` changes nothing."""
    one, two = (problem(text, "vp", 6)[0].noise_scales for text in ("ddim:fresh=0.99", "ddim:eta=0.1:fresh=0.99"))
    assert one == two
    assert (
        problem("ddim:eta=1:fresh=0.01", "vp", 6)[0].noise_scales[1]
        == problem("ddim:eta=1", "vp", 6)[0].noise_scales[1]
    )


def karras(denoise, sigmas, x, draw, churn, low, high):
    """Karras et al. 2022, Algorithm 2, with S_noise = 1."""
    n, calls = len(sigmas) - 1, 0
    for i in range(n):
        gamma = min(churn / n, sqrt(2) - 1) if low <= sigmas[i] <= high else 0
        sigma = sigmas[i] + gamma * sigmas[i]
        if gamma:
            x = x + sqrt(sigma**2 - sigmas[i] ** 2) * draw(calls)
        d = (x - denoise(x, SCHEDULES["edm"].node(sigma))) / sigma
        y, calls = x + (sigmas[i + 1] - sigma) * d, calls + 1
        if sigmas[i + 1] != 0:
            d_y = (y - denoise(y, SCHEDULES["edm"].node(sigmas[i + 1]))) / sigmas[i + 1]
            y, calls = x + (sigmas[i + 1] - sigma) * (d / 2 + d_y / 2), calls + 1
        x = y
    return x


@pytest.mark.parametrize(
    ("churn", "low", "high"),
    [(1, 0.05, inf), (400, 0.05, inf), (1, 0.05, 50), (30, 0.05, 10), (1, 0, inf)],
)
def test_churn_is_algorithm_2(churn, low, high):
    """In five steps; above a churn of 2 the limit √2 − 1 rules."""
    text = f"edm:churn={churn}:churn_min={low}:churn_max={high}"
    plan, nodes, model, denoise, x = problem(text, "edm", 9)
    theirs = karras(denoise, [node.sigma for node in nodes], x, draws(model), churn, low, high)
    assert relative(run(plan, denoise, x, draws(model)), theirs) < 1e-12
    assert (plan.nodes[0].sigma > 80) == (high > 80)


@pytest.mark.parametrize(("text", "where"), TEXTS)
def test_old_and_fresh_noise_make_the_noise_of_each_node(text, where):
    """Data that are the point 0: each state is normal, and its variance must be σ², whatever was added where."""
    plan, *_ = problem(text, where, 8)
    schedule = SCHEDULES[where]
    denoise = dode.analytic.Gaussian(torch.zeros(1), torch.zeros(1)).model(schedule, plan.kind).bound(plan.kind, None)
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    sources = [(schedule.node(schedule.t_max).sigma * one, -1), *((zero, k) for k in range(9))]
    variance = 0.0
    for x, source in sources:  # y is linear in each
        states = dode.sampling.trajectory(plan, denoise, x, lambda k, at=source: one * (k == at))
        variance = variance + torch.cat([state.y for state in states]).squeeze(1) ** 2
    torch.testing.assert_close(
        variance, torch.tensor([node.sigma**2 for node in plan.nodes], dtype=torch.float64), rtol=1e-9, atol=1e-12
    )
    assert any(plan.noise_scales)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_amount_of_noise_is_refused(factor):
    for text, where in (("ddim:eta=1", "vp"), ("edm:churn=40", "edm")):
        plan, *_ = problem(text, where, 8)
        with pytest.raises(ValueError, match=r"use \(the sigma of the next node\)"):
            replace(plan, noise=np.where(np.arange(9) == 2, factor * plan.noise, plan.noise))


def test_churn_on_vp_goes_up_along_the_schedule():
    """The raised node is one of the schedule, its signal shrunk along; x_T has nowhere to go."""
    vp = SCHEDULES["vp"]
    plan, nodes, *_ = problem("edm:churn=40", "vp", 9)
    assert plan.nodes[0] == nodes[0]
    raised = [node for node, fresh in zip(plan.nodes, plan.step_starts, strict=False) if fresh][1:4]
    for node, before in zip(raised, nodes[1:], strict=False):
        assert node.t == pytest.approx(vp.at(before.logsnr - np.log(sqrt(2))).t)  # 40/5 is above the limit, √2 − 1
    assert all(float(node.t).is_integer() for node in problem("edm:churn=3", "discrete", 9)[0].nodes)


@pytest.mark.parametrize(("text", "where", "nfe"), [("ddim:eta=1", "vp", 240), ("edm:churn=10", "edm", 119)])
def test_statistics_of_samples_are_the_datas(text, where, nfe):
    """Over 16 pixels of 200 samples; without the fresh noise, or with twice as much, they are far off."""
    data, sampler = gaussian(), dode.sampler(gaussian_model(where), text, nfe=nfe)
    score = (sampler.sample(200, batch=200) - data.mean) / data.std
    assert float(score.mean()) == pytest.approx(0, abs=0.05)
    assert float(score.std()) == pytest.approx(1, abs=0.05)
    assert float(score.mean(0).abs().max()) < 0.25


@pytest.mark.parametrize(("method", "where"), [("ddim:eta=0.5", "vp"), ("edm:churn=20", "edm")])
def test_a_seed_gives_the_same_samples_in_every_batch(method, where):
    sampler = dode.sampler(mixture_model(where), method, nfe=5)
    one = sampler.sample(6, seed=3, batch=6)
    assert torch.equal(one, sampler.sample(6, seed=3, batch=6))
    torch.testing.assert_close(sampler.sample(6, seed=3, batch=4), one, rtol=0, atol=1e-12)
    torch.testing.assert_close(sampler.sample(2, seed=3), one[:2], rtol=0, atol=1e-12)
    last = [*sampler.trajectory(6, seed=3)][-1].y
    assert torch.equal(last, one)
    x_T = sampler.model.start(range(6), 3)
    assert torch.equal(sampler.sample(noise=x_T, seed=3), one)
    other = sampler.sample(noise=x_T, seed=4)  # x_T is given, the rest comes from the seed
    assert float((other - one).abs().min()) > 0


def test_every_state_has_its_own_noise():
    drawn = torch.stack([noise.noise(range(50), (20,), 0, "added", state) for state in range(4)])
    correlation = torch.corrcoef(drawn.flatten(1))
    assert float((correlation - torch.eye(4)).abs().max()) < 0.1


def test_a_stochastic_plan_needs_its_noise():
    plan, *_, x = problem("edm:churn=20", "edm", 5)
    with pytest.raises(ValueError, match="needs noise for its states: give draw"):
        begin(plan, x)
    assert "stochastic" in str(plan)


@pytest.mark.parametrize("text", ["ddim:eta=1", "d-edm:churn=10"])
def test_what_is_stochastic_is_not_distilled(text):
    model = gaussian_model("edm")
    with pytest.raises(ValueError, match=r"is stochastic .* eta, fresh or churn"):
        dode.distill(model, text, nfe=5, samples=4)
    with pytest.raises(ValueError, match=r"ddim:eta=1 is stochastic and cannot teach"):
        dode.distill(model, "ddim", nfe=5, samples=4, teacher="ddim:eta=1")


@pytest.mark.parametrize(("text", "where"), [("ddim:eta=0.7", "discrete"), ("edm:churn=20", "edm")])
def test_files_keep_the_noise(text, where, tmp_path):
    sampler = dode.sampler(mixture_model(where), text, nfe=5)
    again = plan_from_json(plan_to_json(sampler.plan))
    assert again.noise_scales == sampler.plan.noise_scales
    assert any(again.noise_scales)
    sampler.save(tmp_path / "s.json")
    loaded = dode.load(tmp_path / "s.json", sampler.model)
    assert loaded.name == sampler.name == text
    assert torch.equal(loaded.sample(3, seed=1), sampler.sample(3, seed=1))


def test_files_from_before_there_was_noise_are_read():
    data = plan_to_json(problem("ddim", "vp", 4)[0])
    del data["noise"]
    assert not any(plan_from_json(data).noise_scales)
