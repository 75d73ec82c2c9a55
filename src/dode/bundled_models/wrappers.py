"""Around a network: folding of pixels into channels, and the preconditioning of Karras et al. 2022."""

from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from dode.preconditioning import edm


class Folded(nn.Module):
    """A network that sees 2×2 pixels as 4 channels: a quarter of the positions, and distances stay the same."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        """X (B, 1, 32, 32), t (B,), label (B,) → (B, 1, 32, 32)."""
        return pixel_shuffle(self.net(pixel_unshuffle(x, 2), t, label), 2)


class Preconditioned(nn.Module):
    """x̂₀ = c_skip·x + c_out·F(c_in·x, c_noise): Karras et al. 2022, equation (7) and table 1.

    Only c_noise differs: 4·ln σ instead of ¼·ln σ, because the sinusoids of `UNet` turn by at most one radian a unit.
    """

    def __init__(self, net: nn.Module, sigma_data: float) -> None:
        super().__init__()
        self.net = net
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        """X (B, …), σ (B,), label (B,) → x̂₀ (B, …)."""
        skip, out, into, noise = edm(sigma, self.sigma_data)
        skip, out, into = (c.reshape(-1, *[1] * (x.ndim - 1)) for c in (skip, out, into))
        f = self.net((into * x).to(x.dtype), 16 * noise, label)
        x0: Tensor = skip * x + out * f
        return x0
