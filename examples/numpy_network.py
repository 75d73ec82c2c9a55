"""A numpy function as the network, on the schedule α(t) = e^{−t/2}, σ² = 1 − e^{−t}.

The data are 3-dimensional normal with known spreads, so the best noise prediction is a formula.

    python examples/numpy_network.py
"""

import math

import numpy as np
import torch

import dode

SPREAD = np.array([0.2, 1.0, 1.5])


def predict_noise(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """ε̂ = σ·x/(α²·s² + σ²): x (B, 3), t (B,) → (B, 3)."""
    alpha2 = np.exp(-t)[:, None]
    sigma = np.sqrt(1 - alpha2)
    return np.asarray(sigma * x / (alpha2 * SPREAD**2 + sigma**2))


def main(samples: int = 200, nfe: int = 6) -> tuple[float, float]:
    """RMS distance to the exact solution of DDIM and of D-DDIM, on noise that nothing was fitted on."""
    schedule = dode.schedule.from_functions(
        alpha=lambda t: math.exp(-t / 2), sigma=lambda t: math.sqrt(-math.expm1(-t)), t_max=8, t_min=1e-4
    )
    model = dode.from_callable(
        predict_noise, schedule=schedule, prediction="noise", shape=(3,), numpy=True, dtype=torch.float64
    )
    sampler = dode.distill(model, "ddim", nfe=nfe, seed=0)
    x_T = model.start(range(samples), seed=0)
    exact = model.exact(x_T, rtol=1e-3)
    plain = dode.sampler(model, "ddim", nfe=nfe).sample(noise=x_T)
    distances = [float((y - exact).square().mean().sqrt()) for y in (plain, sampler.sample(noise=x_T))]
    print(f"{nfe} evaluations: DDIM {distances[0]:.4f}, D-DDIM {distances[1]:.4f}")
    return distances[0], distances[1]


if __name__ == "__main__":
    main()
