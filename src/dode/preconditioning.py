"""The preconditioning of Karras et al. 2022, table 1: x̂₀ = c_skip·x + c_out·F(c_in·x, c_noise), F the raw network."""

from torch import Tensor

Scales = tuple[Tensor, Tensor, Tensor, Tensor]  # c_skip, c_out, c_in, c_noise at sigma, (B,) each


def edm(sigma: Tensor, sigma_data: float = 0.5) -> Scales:
    """Karras et al. 2022: unit variance of the input and of the target."""
    total = (sigma**2 + sigma_data**2).sqrt()
    return (sigma_data / total) ** 2, sigma * sigma_data / total, 1 / total, sigma.log() / 4
