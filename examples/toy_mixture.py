"""The whole story in two dimensions: an exact model, a solver, its table, and what distillation changes in it.

python examples/toy_mixture.py
"""

import math

import torch

import dode
from dode.analytic import Mixture
from dode.schedule import VP


def ring(count: int = 8, radius: float = 1.0, floor: float = 0.05) -> Mixture:
    """Round Gaussians on a circle."""
    angles = torch.arange(count, dtype=torch.float64) * 2 * math.pi / count
    means = radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    flat = torch.eye(2, dtype=torch.float64)[:, :1].expand(count, 2, 1)
    return Mixture(torch.full((count,), 1 / count), means, flat, torch.zeros(count, 1), floor, (2,))


def main(samples: int = 200, nfe: int = 6) -> tuple[float, float]:
    """Median distance to the exact solution of DDIM and of D-DDIM, on noise that nothing was fitted on."""
    model = ring().model(VP(), "noise", torch.float64)
    plain = dode.sampler(model, "ddim", nfe=nfe)
    fitted = dode.distill(model, "ddim", nfe=nfe, samples=samples, seed=0)
    print(fitted.plan)  # a row an evaluation: node, coefficients, λ

    x_T = model.start(range(samples), seed=0)
    exact = model.exact(x_T, rtol=1e-3)
    # a sample between two modes may go to another one than the exact solution, so the median, not the mean, is shown
    distances = [float((y - exact).norm(dim=1).median()) for y in (one.sample(noise=x_T) for one in (plain, fitted))]
    print(f"{nfe} evaluations: DDIM {distances[0]:.4f}, D-DDIM {distances[1]:.4f}")
    return distances[0], distances[1]


if __name__ == "__main__":
    main()
