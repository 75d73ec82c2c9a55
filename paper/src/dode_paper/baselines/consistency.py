"""Consistency models: one network that maps every state of an ODE's path to the path's end.

Song et al. 2023: the boundary condition (section 3 and appendix C), distillation (algorithm 2) and training without a
teacher (algorithm 3); the pseudo-Huber distance and the weights are Song & Dhariwal's (2024).
"""

import torch
from torch import Tensor, nn

from dode.bundled_models.wrappers import Preconditioned
from dode.denoisers import Network
from dode.errors import DodeError
from dode.preconditioning import edm
from dode.schedule import Schedule
from dode.solvers import METHODS
from dode.timesteps import grid
from dode_paper.baselines.batched_solver import Pieces, pieces, run, wide

HUBER = 0.00054  # times the root of the number of pixels: Song & Dhariwal 2024


class Consistency(nn.Module):
    """f(x, sigma) = c_skip*x + c_out*F, with c_skip = 1 and c_out = 0 at sigma = least, where the path ends.

    Shares the names of its parameters with `dode.bundled_models.wrappers.Preconditioned`, whose weights it starts from.
    """

    def __init__(self, net: nn.Module, sigma_data: float, least: float) -> None:
        super().__init__()
        self.net = net
        self.sigma_data, self.least = sigma_data, least

    def forward(self, x: Tensor, sigma: Tensor, label: Tensor) -> Tensor:
        """X (B, ...), sigma (B,), label (B,) -> the end of the path (B, ...)."""
        _, _, into, noise = edm(sigma, self.sigma_data)
        past = sigma - self.least
        skip = self.sigma_data**2 / (past**2 + self.sigma_data**2)
        out = self.sigma_data * past * (sigma**2 + self.sigma_data**2).rsqrt()
        f = self.net((wide(into, x) * x).to(x.dtype), 16 * noise, label)
        end: Tensor = wide(skip, x) * x + wide(out, x) * f
        return end


def from_preconditioned(net: Preconditioned, least: float) -> Consistency:
    """A consistency network that begins with a teacher's weights."""
    return Consistency(net.net, net.sigma_data, least)


def levels(schedule: Schedule, count: int) -> Pieces:
    """A discretisation of `count` noise levels, even in sigma^(1/7): piece n is a Heun step from level n to n + 1."""
    if count < 2:
        raise DodeError(f"at least two noise levels are needed; got {count}")
    nodes = grid(schedule, count - 1, "karras", end="t_min").nodes
    return pieces(METHODS["edm"], [nodes[n : n + 2] for n in range(count - 1)], schedule, "data")


def huber(error: Tensor) -> Tensor:
    """Sqrt(|e|^2 + c^2) - c of each sample, over the root of its size: (B, ...) -> (B,)."""
    flat = error.flatten(1)
    c = HUBER * flat.shape[1] ** 0.5
    distance: Tensor = ((flat.square().sum(1) + c**2).sqrt() - c) / flat.shape[1] ** 0.5
    return distance


def weighed(error: Tensor, heun: Pieces, which: Tensor) -> Tensor:
    """Mean distance of errors (B, ...), each over the gap between its two noise levels, plans `which` (B,).

    Without the weight the levels below sigma_data, where the network's part of the answer is small, hardly count:
    their errors grow, and every level above learns from them (paper/docs/research.md).
    """
    gap = heun.times[which, 0] - heun.times[which, -1]
    mean: Tensor = (huber(error) / gap).mean()
    return mean


def loss(
    heun: Pieces, student: Network, slow: Network, teacher: Network, x: Tensor, which: Tensor, label: Tensor
) -> Tensor:
    """Distillation: the student at x agrees with the slow network one Heun step of the teacher further on."""
    with torch.no_grad():
        nearer = run(heun, teacher, x, which, label)
        wanted = slow(nearer, heun.times[which, -1], label)
    return weighed(student(x, heun.times[which, 0], label) - wanted, heun, which)


def loss_from_data(
    heun: Pieces, student: Network, slow: Network, x0: Tensor, noise: Tensor, which: Tensor, label: Tensor
) -> Tensor:
    """Training without a teacher: the nearer state is the same data with the same noise at the next level."""
    far, near = heun.times[which, 0], heun.times[which, -1]
    with torch.no_grad():
        wanted = slow(x0 + wide(near, x0) * noise, near, label)
    return weighed(student(x0 + wide(far, x0) * noise, far, label) - wanted, heun, which)
