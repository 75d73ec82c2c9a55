"""Problems with known answers, for every test: schedules, a Gaussian, a mixture."""

import torch

from dode.analytic import Gaussian, Mixture
from dode.model import Model
from dode.schedule import EDM, VP, Cosine, DiscreteVP, Flow, from_functions, linear_betas, zero_terminal_snr

BETAS = linear_betas()
SCHEDULES = {
    "discrete": DiscreteVP.from_betas(BETAS),
    "vp": VP(),
    "cosine": Cosine(),
    "edm": EDM(),
    "flow": Flow(),
    "zero-snr": DiscreteVP(zero_terminal_snr(DiscreteVP.from_betas(BETAS).alphas_cumprod)),
    "functions": from_functions(
        alpha=lambda t: 2.718281828459045 ** (-t / 2),
        sigma=lambda t: (1 - 2.718281828459045 ** (-t)) ** 0.5,
        t_max=8.0,
        t_min=1e-4,
    ),
}


def gaussian(seed: int = 0) -> Gaussian:
    """Means and spreads that differ from pixel to pixel: (1, 4, 4)."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(1, 4, 4, generator=generator, dtype=torch.float64) / 2
    return Gaussian(mean, torch.linspace(0.1, 1.4, 16, dtype=torch.float64).reshape(1, 4, 4))


def mixture(dtype: torch.dtype = torch.float64) -> Mixture:
    """Five components of rank 2 in 8 dimensions, of three classes."""
    generator = torch.Generator().manual_seed(1)
    bases = torch.linalg.qr(torch.randn(5, 8, 2, generator=generator, dtype=torch.float64)).Q
    return Mixture(
        torch.tensor([0.3, 0.2, 0.2, 0.2, 0.1], dtype=dtype),
        torch.randn(5, 8, generator=generator, dtype=torch.float64).to(dtype),
        bases.to(dtype),
        torch.tensor([[1.0, 0.3]], dtype=dtype).expand(5, 2),
        0.01,
        (2, 4),
        torch.tensor([0, 0, 1, 1, 2]),
    )


def prediction_for(schedule: str) -> str:
    """What a network on this schedule would usually predict."""
    return {"edm": "data", "flow": "flow", "zero-snr": "v"}.get(schedule, "noise")


def gaussian_model(schedule: str, prediction: str | None = None) -> Model:
    return gaussian().model(SCHEDULES[schedule], prediction or prediction_for(schedule))
