"""azula's own denoisers and samplers beside ours; needs azula, which `make test` installs without its torchvision."""

import pytest
import torch
from problems import relative

import dode
from dode.integrations.azula import AzulaSampler, from_azula, schedule_of

azula = pytest.importorskip("azula")

from azula.denoise import GaussianDenoiser, KarrasDenoiser  # noqa: E402
from azula.linalg.covariance import DiagonalCovariance  # noqa: E402
from azula.noise import CosineSchedule, DecaySchedule, RectifiedSchedule, VESchedule, VPSchedule  # noqa: E402
from azula.sample import DDIMSampler  # noqa: E402

SCHEDULES = {
    "vp": VPSchedule(),
    "ve": VESchedule(sigma_min=1e-2, sigma_max=80.0),
    "cosine": CosineSchedule(),
    "rectified": RectifiedSchedule(),
    "decay": DecaySchedule(),
}


def gaussian(schedule="vp"):
    mean = torch.linspace(-1, 1, 6, dtype=torch.float64)
    return GaussianDenoiser(
        mean, DiagonalCovariance(torch.linspace(0.1, 1, 6, dtype=torch.float64)), SCHEDULES[schedule]
    )


def start(schedule, n=4):
    noise = torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return noise * schedule.node(1.0).sigma


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddim_is_azulas(schedule):
    denoiser = gaussian(schedule)
    model = from_azula(denoiser, shape=(6,), dtype=torch.float64)
    x = start(model.schedule)
    steps = 12
    theirs = DDIMSampler(denoiser, steps=steps, silent=True, dtype=torch.float64)(x)
    times = [i / steps for i in range(steps, -1, -1)]
    ours = dode.sampler(model, "ddim", nfe=steps, grid=times)
    assert relative(ours.sample(noise=x), theirs) < 1e-9
    assert relative(AzulaSampler(denoiser, ours.plan)(x), theirs) < 1e-9


@pytest.mark.parametrize("name", ["ddim", "edm", "dpm-solver-2", "dpm-solver++2m", "ipndm", "deis-2", "unipc-2"])
def test_every_solver_solves_an_azula_model(name):
    model = from_azula(gaussian(), shape=(6,), dtype=torch.float64)
    x = start(model.schedule)
    grid = None if name == "edm" else "karras"  # Heun's long first steps from sigma/alpha = 1000 are poor on karras
    assert relative(dode.sampler(model, name, nfe=30, grid=grid).sample(noise=x), model.exact(x)) < 0.1


def test_distilled_it_is_nearer_to_the_exact_solution():
    denoiser = gaussian()
    model = from_azula(denoiser, shape=(6,), dtype=torch.float64)
    x = start(model.schedule, 16)
    exact = model.exact(x)
    plain, fitted = dode.sampler(model, "ddim", nfe=6), dode.distill(model, "ddim", nfe=6, samples=20)
    errors = [float((AzulaSampler(denoiser, one.plan)(x) - exact).square().mean()) for one in (plain, fitted)]
    assert errors[1] < errors[0] / 4


def test_a_network_in_azulas_preconditioning_with_a_label():
    class Backbone(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def forward(self, x, t, label):
            return self.scale * x * torch.tanh(t) + label

    denoiser = KarrasDenoiser(Backbone(), SCHEDULES["cosine"])
    model = from_azula(denoiser, shape=(6,), kwargs={"label": 0.3})
    sampler = dode.sampler(model, "dpm-solver++2m", nfe=5)
    x = start(model.schedule).float()
    assert relative(AzulaSampler(denoiser, sampler.plan)(x, label=0.3), sampler.sample(noise=x)) < 1e-6


def test_the_schedule_is_the_denoisers():
    schedule = schedule_of(gaussian("rectified"))
    assert schedule.node(1.0) == (1.0, pytest.approx(1e-3), pytest.approx(1.0))
    assert schedule.node(0.0)[2] == pytest.approx(1e-3)
