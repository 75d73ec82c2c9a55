"""A k-diffusion sampling function from dode: plain on any sigmas, then calibrated on them."""

import torch
from torch import Tensor

from dode.integrations.k_diffusion import calibrate, from_kdiffusion, sample_dode


def denoiser(x: Tensor, sigma: Tensor, shift: float = 0.0) -> Tensor:
    """Any denoiser in k-diffusion's convention, (x, sigma, **extra_args) → x̂₀; here data of two points per pixel."""
    level = sigma.view(-1, *[1] * (x.ndim - 1))
    return torch.tanh(x / level**2) + shift


def karras(steps: int, low: float = 0.05, high: float = 10.0) -> Tensor:
    """Sigmas as k-diffusion's get_sigmas_karras makes them: `steps` levels and 0."""
    ramp: Tensor = torch.linspace(high ** (1 / 7), low ** (1 / 7), steps) ** 7
    return torch.cat([ramp, torch.zeros(1)])


def main(steps: int = 8, samples: int = 200) -> tuple[float, float]:
    """Distance to the exact solution: DDIM on the sigmas, and the same distilled on them."""
    sigmas, extra = karras(steps), {"shift": 0.1}
    noise = sigmas[0] * torch.randn(2, samples, 16, generator=torch.Generator().manual_seed(0))

    fitted = calibrate(denoiser, noise[0], sigmas, extra, method="ddim")
    plain = sample_dode(denoiser, noise[1], sigmas, extra, disable=True, method="ddim")
    distilled = sample_dode(denoiser, noise[1], sigmas, extra, disable=True, calibration=fitted)

    # image to image: noise at the fourth level on something clean, and the end of the same list
    image = torch.full((1, 16), 0.5) + sigmas[3] * torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    sample_dode(denoiser, image, sigmas[3:], extra, disable=True, calibration=fitted)

    model = from_kdiffusion(denoiser, sigma_min=0.05, sigma_max=10.0, shape=(16,), extra_args=extra)
    exact = model.exact(noise[1])
    errors = [float((made - exact).square().mean().sqrt()) for made in (plain, distilled)]
    print(f"{steps} evaluations, RMS to the exact solution: ddim {errors[0]:.4f}, distilled {errors[1]:.4f}")
    return errors[0], errors[1]


if __name__ == "__main__":
    main()
