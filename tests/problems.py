"""Problems with known answers, for every test: schedules, a Gaussian, a mixture; the catalogue, and some λ."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch

from dode.analytic import Gaussian, Mixture
from dode.conditioning import Conditioning
from dode.model import Model
from dode.schedule import EDM, VP, Cosine, DiscreteVP, Flow, from_functions, linear_betas, zero_terminal_snr
from dode.solvers import METHODS

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


def mixture_model(schedule: str) -> Model:
    return mixture().model(SCHEDULES[schedule], prediction_for(schedule), torch.float64)


CATALOGUE = [name for name, method in METHODS.items() if method.name == name]  # without aliases
# noise says nothing at α = 0
MISSING = [(name, sched) for name in ("dpm-solver-2", "dpm-solver-3") for sched in ("flow", "zero-snr")]
PAIRS = [(name, sched) for name in CATALOGUE for sched in SCHEDULES if (name, sched) not in MISSING]


def counts(name: str, *some: int) -> list[int]:
    """Those of some numbers of evaluations that the method has: pndm begins at 13."""
    return [nfe for nfe in some if nfe >= 13] or [13] if name == "pndm" else list(some)


LAMBDAS = np.array(
    [0.4, -0.3, 0.6, 0.2, 0.5, -0.1, 0.7, 0.3, 0.1, 0.25, 0.35, -0.2, 0.15, 0.45, 0.55, 0.05, 0.6, -0.4, 0.3, 0.1]
)


def distilled(plan, lambdas=LAMBDAS):
    """The plan with these λ, as many as it has evaluations."""
    for k, lam in enumerate(lambdas[: plan.nfe]):
        plan = plan.extrapolate(k, float(lam))
    return plan


def unrolled(plan):
    """y_{k+1} over [x_T, x_T/σ_T, d_0, …], to compare solvers: (N, 2 + N)."""
    rows = np.zeros((plan.nfe, 2 + plan.nfe))
    x = state = np.eye(1, 2 + plan.nfe)[0]
    for k in range(plan.nfe):
        x = state if plan.step_starts[k] else x
        state = rows[k] = plan.start[k] * x + np.concatenate([[0], plan.table[k]])
    return rows


def relative(a, b) -> float:
    """The largest difference over the largest number."""
    return float((a - b).abs().max() / b.abs().max())


def sizes(plan):
    """Evaluations of each step."""
    opened = [k for k, fresh in enumerate((*plan.step_starts, True)) if fresh]
    return [b - a for a, b in pairwise(opened)]


def swapped(model, network=None, **changes):
    """The model around another network (x, t, cond), or with other facts of its network (fingerprint, dtype, …)."""
    core = model.denoiser.core
    core = replace(core, network=core.network if network is None else network, **changes)
    return replace(model, denoiser=model.denoiser.rewrap(core))


def conditioned(model, cond, null=None, labels=0):
    """The model with these default conditions."""
    return replace(model, conditioning=Conditioning(cond, null, labels))
