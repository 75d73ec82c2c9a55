"""The preconditioning of Karras et al. 2022, table 1: x̂₀ = c_skip·x + c_out·F(c_in·x, c_noise), F the raw network."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dode.preconditioning import Scales, edm


def vp(sigma: Tensor, beta_d: float = 19.9, beta_min: float = 0.1, M: float = 1000) -> Scales:
    """Song et al. 2021, DDPM++: M − 1 times the t of σ(t)² = e^{β_d·t²/2 + β_min·t} − 1."""
    t = ((beta_min**2 + 2 * beta_d * (1 + sigma**2).log()).sqrt() - beta_min) / beta_d
    return torch.ones_like(sigma), -sigma, (sigma**2 + 1).rsqrt(), (M - 1) * t


def ve(sigma: Tensor) -> Scales:
    """Song et al. 2021, NCSN++: ln(σ/2)."""
    return torch.ones_like(sigma), sigma, torch.ones_like(sigma), (sigma / 2).log()


@dataclass(frozen=True)
class Kind:
    """One of the three, by the name of its published class."""

    scales: Callable[..., Scales]
    numbers: tuple[str, ...]  # of its constructor, that `scales` takes
    ignored: tuple[str, ...]  # of its constructor, for training only
    network: str  # the published default
    low: float  # the noise levels that its networks were trained on
    high: float


KINDS = {
    "EDMPrecond": Kind(edm, ("sigma_data",), (), "DhariwalUNet", 0.0, math.inf),
    "VPPrecond": Kind(vp, ("beta_d", "beta_min", "M"), ("epsilon_t",), "SongUNet", 0.001, 152.0),
    "VEPrecond": Kind(ve, (), (), "SongUNet", 0.02, 100.0),
}


class Preconditioned(nn.Module):
    """An EDM, VP or VE network: (x (B, C, H, W), sigma (B,), labels (B, classes) or None) → x̂₀ (B, C, H, W)."""

    def __init__(self, model: nn.Module, kind: Kind, numbers: dict[str, float]) -> None:
        super().__init__()
        self.model = model  # the published name
        self.kind, self.numbers = kind, numbers

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        skip, out, into, noise = self.kind.scales(sigma, **self.numbers)
        skip, out, into = (c.reshape(-1, *[1] * (x.ndim - 1)) for c in (skip, out, into))
        f: Tensor = self.model((into * x).to(x.dtype), noise.to(x.dtype), labels)
        return (skip * x + out * f).to(x.dtype)
