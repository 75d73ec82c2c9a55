"""k-diffusion's convention: the same samples as dode's own, from sigmas that someone else chose."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import CATALOGUE, mixture, mixture_model, relative

import dode
from dode.integrations.k_diffusion import calibrate, from_kdiffusion, sample_dode
from dode.integrations.sigmas import fitting, grid_of, known
from dode.parameterization import convert
from dode.schedule import EDM, Flow, Node
from dode.state_scaling import exploding, rescaled

SIGMAS = torch.tensor([14.6, 6.5, 3.9, 2.7, 1.9, 1.4, 0.96, 0.65, 0.4, 0.15, 0.0], dtype=torch.float64)
FLOW = torch.tensor([1.0, 0.93, 0.85, 0.76, 0.66, 0.5, 0.32, 0.0], dtype=torch.float64)
NAMES = [name for name in CATALOGUE if name != "pndm"]


class Denoiser:
    """x̂₀ of the mixture as k-diffusion calls it; what it was asked is kept."""

    def __init__(self, flow=False):
        self.flow = flow
        self.asked = []

    def __call__(self, x, sigma, label=None):
        self.asked.append((tuple(sigma.shape), float(sigma[0]), label))
        level = float(sigma[0])
        node = Node(level, 1 - level if self.flow else 1.0, level)
        model = mixture().model(Flow() if self.flow else EDM(), "data", torch.float64)
        return model.bound("data", None)(x, node)


def start(n=3, sigma=14.6, seed=0):
    return sigma * torch.randn(n, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
def test_every_plain_solver_makes_as_many_calls_as_there_are_steps(name):
    model, seen = Denoiser(), []
    made = sample_dode(model, start(), SIGMAS, {"label": 3}, seen.append, True, method=name)
    assert len(model.asked) == 10
    assert {(shape, label) for shape, _, label in model.asked} == {((3,), 3)}
    assert [call["i"] for call in seen] == list(range(10))
    assert [float(call["sigma"]) for call in seen] == [sigma for _, sigma, _ in model.asked]
    assert torch.equal(seen[0]["x"], start())
    assert relative(seen[-1]["denoised"], made) < 0.5
    own = from_kdiffusion(Denoiser(), sigma_min=0.15, sigma_max=14.6, shape=(2, 4), dtype=torch.float64)
    plain = dode.sampler(own, name, nfe=10, grid=grid_of(SIGMAS.tolist(), False))
    assert relative(made, plain.sample(noise=start())) < 1e-12


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("dpm-solver-2", "dpm-solver-3")])
def test_flow_models_start_from_pure_noise(name):
    model = Denoiser(flow=True)
    made = sample_dode(model, start(sigma=1.0), FLOW, disable=True, method=name, flow=True)
    assert len(model.asked) == 7
    own = from_kdiffusion(Denoiser(True), sigma_min=0.3, sigma_max=1, shape=(2, 4), dtype=torch.float64, flow=True)
    plain = dode.sampler(own, name, nfe=7, grid=grid_of(FLOW.tolist(), True))
    assert relative(made, plain.sample(noise=start(sigma=1.0))) < 1e-12


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("name", ["ddim", "edm", "dpm-solver++2m", "ipndm"])
def test_a_calibration_gives_what_its_sampler_gives(name, flow, tmp_path):
    model = from_kdiffusion(
        Denoiser(flow), sigma_min=0.1, sigma_max=1.0 if flow else 14.6, shape=(2, 4), flow=flow, dtype=torch.float64
    )
    fitted = dode.distill(model, name, nfe=5, samples=8, scale=3)
    fitted.save(tmp_path / "plan.json")
    x = start(sigma=1.0 if flow else 14.6)
    wanted = fitted.sample(noise=x)
    sigmas = torch.tensor([node.sigma for node in fitted.plan.nodes])  # float32, as tools have them
    content = json.loads((tmp_path / "plan.json").read_text())
    for calibration in (fitted, fitted.plan, tmp_path / "plan.json", str(tmp_path / "plan.json"), content):
        made = sample_dode(Denoiser(flow), x, sigmas, disable=True, calibration=calibration, flow=flow)
        assert relative(made, wanted) < 1e-12


@pytest.mark.parametrize("schedule", ["discrete", "vp", "flow"])
def test_a_calibration_from_another_scale_agrees(schedule):
    """A denoiser of x/α (or of x/(α + σ)) around the same network."""
    model = mixture_model(schedule)
    fitted = dode.distill(model, "dpm-solver++2m", nfe=5, samples=8, scale=3)
    flow = schedule == "flow"
    plan = fitting(fitted, levels(fitted, flow), flow)
    own = {
        new.t: (node, node.alpha + node.sigma if flow else node.alpha)
        for node, new in zip(fitted.plan.nodes, plan.nodes, strict=True)
    }

    def denoiser(z, sigma):
        node, scale = own[float(sigma[0])]
        x = z * scale
        output = model.bound(model.prediction, None)(x, node)
        return convert(x, output, model.prediction, "data", node)

    x = model.start(range(3), 1)
    first = fitted.plan.nodes[0]
    z = x / (1 if flow else first.alpha)
    made = sample_dode(denoiser, z, levels(fitted, flow), disable=True, calibration=fitted, flow=flow)
    assert relative(made, fitted.sample(noise=x)) < 1e-12


def levels(sampler, flow=False):
    (one,) = known(sampler)
    return [node.sigma for node in one.scaled(flow).nodes]


def test_calibrated_it_is_nearer_to_the_exact_solution():
    x, other = start(40), start(16, seed=1)
    fitted = calibrate(Denoiser(), x, SIGMAS, method="ddim")
    model = from_kdiffusion(Denoiser(), sigma_min=0.1, sigma_max=14.6, shape=(2, 4), dtype=torch.float64)
    exact = model.exact(other)
    errors = [
        float((sample_dode(Denoiser(), other, SIGMAS, disable=True, **how) - exact).square().mean(2).mean(1).median())
        for how in ({"calibration": fitted}, {"method": "ddim"})
    ]
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("name", ["ddim", "edm", "dpm-solver++2s", "unipc-2"])
def test_calibrated_on_given_sigmas_it_runs_on_them_and_on_their_end(name, flow):
    sigmas, x = (FLOW, start(40, 1.0)) if flow else (SIGMAS, start(40))
    fitted = calibrate(Denoiser(flow), x, sigmas, method=name, flow=flow, scale=4)
    assert fitted.nfe == len(sigmas) - 1
    assert fitted.provenance.samples == 40
    model, middle = Denoiser(flow), float(sigmas[4])
    half = start(2, middle) + (1 - middle if flow else 1) * 0.3
    made = sample_dode(model, half, sigmas[4:], disable=True, calibration=fitted, flow=flow)
    assert len(model.asked) == len(sigmas) - 5
    assert model.asked[0][1] == middle
    assert torch.isfinite(made).all()


def test_a_list_that_stops_early_stops_there():
    whole = []
    sample_dode(Denoiser(), start(), SIGMAS, callback=whole.append, disable=True, method="ddim")
    made = sample_dode(Denoiser(), start(), SIGMAS[:5], disable=True, method="ddim")
    assert relative(made, whole[4]["x"]) < 1e-12


def test_stochastic_solvers_take_noise_as_in_k_diffusion():
    asked = []

    def noise(sigma, after):
        asked.append((float(sigma), float(after)))
        return torch.zeros(3, 2, 4, dtype=torch.float64)

    sample_dode(Denoiser(), start(), SIGMAS, disable=True, method="ddim:eta=1", noise_sampler=noise)
    assert asked[0] == (14.6, 6.5)
    with pytest.raises(ValueError, match="needs noise_sampler"):
        sample_dode(Denoiser(), start(), SIGMAS, disable=True, method="ddim:eta=1")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_state_keeps_its_dtype(dtype):
    def denoiser(x, sigma):
        assert sigma.dtype == torch.float32
        return Denoiser()(x.double(), sigma.double()).to(x.dtype)

    assert sample_dode(denoiser, start().to(dtype), SIGMAS.float(), disable=True).dtype == dtype


def test_a_bar_is_shown_only_where_tqdm_is_and_it_is_wanted(monkeypatch, capsys):
    import dode.integrations.k_diffusion as module

    sample_dode(Denoiser(), start(), SIGMAS, disable=False)
    assert "10/10" in capsys.readouterr().err
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    sample_dode(Denoiser(), start(), SIGMAS, disable=False)
    assert capsys.readouterr().err == ""


@pytest.fixture(scope="module")
def fitted():
    return calibrate(Denoiser(), start(8), SIGMAS, method="ddim", scale=2)


@pytest.mark.parametrize(
    ("sigmas", "options", "says"),
    [
        ([14.6], {}, "sigmas must fall to 0 or above and be at least two; got 14.6"),
        ([1.0, 2.0], {}, "must fall"),
        ([1.0, math.nan], {}, "must fall"),
        ([0.0, 0.0], {}, "must fall"),
        ([2.0, 0.0], {"flow": True}, "between 1 and 0"),
        ([2.0, 2.0, 0.0], {}, "2 is there twice"),
        (SIGMAS, {"method": "d-ddim"}, "d-ddim must be fitted"),
        (SIGMAS, {"method": "pndm"}, "pndm needs first steps of its own.*use ipndm"),
        (SIGMAS, {"method": "nonsense"}, "unknown method"),
    ],
)
def test_what_makes_no_run_says_so(sigmas, options, says):
    with pytest.raises(ValueError, match=says):
        sample_dode(Denoiser(), start(), sigmas, disable=True, **options)


def test_sigmas_that_were_not_calibrated_are_refused_with_both(fitted):
    other = SIGMAS.clone()
    other[3] *= 1.002
    with pytest.raises(ValueError, match=r"calibrated at sigma = 14.6, 6.5.*given 10.*number 4 is 2.7054, not 2.7"):
        sample_dode(Denoiser(), start(), other, disable=True, calibration=fitted)
    with pytest.raises(ValueError, match=r"calibrated for NFE 10; given 3 evaluations at sigma = 5, 2, 1, 0.*no end"):
        sample_dode(Denoiser(), start(), [5, 2, 1, 0.0], disable=True, calibration=fitted)
    other[3] = SIGMAS[3] * 1.0005
    sample_dode(Denoiser(), start(), other, disable=True, calibration=fitted)


def test_a_file_of_several_plans_is_chosen_from(tmp_path):
    model = from_kdiffusion(Denoiser(), sigma_min=0.1, sigma_max=14.6, shape=(2, 4), dtype=torch.float64)
    several = [calibrate(Denoiser(), start(8), sigmas, scale=2) for sigmas in (SIGMAS, [14.6, 1.9, 0.4, 0.15, 0.0])]
    several = [replace(one, model=model) for one in several]
    dode.save(tmp_path / "both.json", *several)
    assert fitting(tmp_path / "both.json", [14.6, 1.9, 0.4, 0.15, 0.0], False).nfe == 4
    with pytest.raises(ValueError, match="the end of the plans for NFE 10, 4: say which with nfe"):
        fitting(tmp_path / "both.json", [0.4, 0.15, 0.0], False)
    assert fitting(tmp_path / "both.json", [0.4, 0.15, 0.0], False, nfe=4).nfe == 2
    with pytest.raises(ValueError, match="calibrated for guidance 1; asked for 3"):
        fitting(tmp_path / "both.json", [0.4, 0.15, 0.0], False, guidance=3.0)
    guided = [several[0], replace(several[1], model=model.declared(3.0))]
    dode.save(tmp_path / "guided.json", *guided)
    with pytest.raises(ValueError, match="calibrated for guidance 1, 3; say which guidance"):
        fitting(tmp_path / "guided.json", SIGMAS, False)
    assert fitting(tmp_path / "guided.json", [14.6, 1.9, 0.4, 0.15, 0.0], False, guidance=3.0).nfe == 4


def test_a_plan_that_no_tool_follows_does_not_stand_before_the_others(tmp_path):
    """One that tells the network times of its own is refused by itself, the rest of its file runs."""
    model = mixture_model("discrete")
    assert model.prediction == "noise"
    made = [dode.sampler(model, "ddim", nfe=nfe) for nfe in (3, 4, 5)]
    told = replace(made[1], plan=replace(made[1].plan, conditioning_shifts=np.array((0.1, 0.0, -0.1, 0.0))))
    dode.save(tmp_path / "both.json", made[0], told, made[2])
    lists = [[node.sigma for node in rescaled(one.plan, exploding).nodes] for one in made]
    for one, levels in zip(made, lists, strict=True):
        if one.nfe != 4:
            assert fitting(tmp_path / "both.json", levels, False).nfe == one.nfe
    with pytest.raises(ValueError, match="this plan tells the network other noise levels"):
        fitting(tmp_path / "both.json", lists[1], False)
    dode.save(tmp_path / "told.json", told)
    with pytest.raises(ValueError, match="this plan tells the network other noise levels"):
        fitting(tmp_path / "told.json", lists[1][1:], False)


def test_the_content_of_a_file_is_checked(fitted, tmp_path):
    fitted.save(tmp_path / "plan.json")
    content = json.loads((tmp_path / "plan.json").read_text())
    content["plans"][0]["guidance"] = 2.0
    with pytest.raises(ValueError, match="the content given was"):
        fitting(content, SIGMAS, False)


def test_a_tail_needs_to_know_how_its_plan_was_made(tmp_path):
    model = mixture_model("discrete")
    for name, in_file in (("dpm-solver++2m", True), ("deis-2", False), ("dpm-solver++2s", False)):
        plain = dode.sampler(model, name, nfe=6)
        plain.save(tmp_path / "plan.json")
        rest = levels(plain)[2:]
        kept = fitting(plain, rest, False)
        assert kept.nfe == 4
        if in_file:
            np.testing.assert_allclose(fitting(tmp_path / "plan.json", rest, False).table, kept.table, rtol=1e-9)
        else:
            with pytest.raises(ValueError, match=f"{name.replace('+', '.')} depends on the time of the model"):
                fitting(tmp_path / "plan.json", rest, False)
        with pytest.raises(ValueError, match=r"only a plan of a solver in dode\.METHODS starts in the middle"):
            fitting(plain.plan, rest, False)


def test_a_solver_of_ones_own_runs_from_its_file(fitted, tmp_path):
    own = replace(fitted, provenance=replace(fitted.provenance, method="mine"))
    own.save(tmp_path / "mine.json")
    for calibration in (own, tmp_path / "mine.json"):
        assert fitting(calibration, SIGMAS, False).nfe == 10
        with pytest.raises(ValueError, match=r"only a plan of a solver in dode\.METHODS"):
            fitting(calibration, SIGMAS[4:], False)


def test_one_level_is_too_few_to_calibrate():
    with pytest.raises(ValueError, match=r"at least two levels above 0; got 14\.6, 0"):
        calibrate(Denoiser(), start(), [14.6, 0.0])


def test_a_network_is_known_again_by_its_weights():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x, sigma):
            return x / (1 + sigma[:, None, None] ** 2) * self.weight

    made = from_kdiffusion(Net(), sigma_min=0.1, sigma_max=10, shape=(2, 4))
    assert made.fingerprint.startswith("weights:")
    assert (made.prediction, made.schedule) == ("data", EDM(10, 0.1))
