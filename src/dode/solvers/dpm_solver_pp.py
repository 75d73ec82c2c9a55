"""DPM-Solver++ multistep: earlier outputs instead of inner nodes.  Lu et al. 2022b, Algorithm 2, and its code's 3M."""

from collections.abc import Sequence
from math import expm1
from typing import Any

from dode.method import Method
from dode.schedule import Node
from dode.solvers.dpm_solver import share


def dpm_solver_pp_2m(x: Any, s: Node, t: Node, net: Any) -> Any:
    """D = (1 + 1/(2r))·d_k − 1/(2r)·d_{k−1} with r = h_{k−1}/h_k; a step to σ = 0 is of order 1."""
    return net.move(x, net(x, s, second(s, t, net.past)), s, t)


def dpm_solver_pp_3m(x: Any, s: Node, t: Node, net: Any) -> Any:
    """The third-order update of the authors' code (and of diffusers and k-diffusion).

    Its quadratic term is half of what an interpolating parabola asks for, so its order is 2; deis-2 is the parabola.
    """
    return net.move(x, net(x, s, third(s, t, net)), s, t)


def second(s: Node, t: Node, past: Sequence[Node]) -> tuple[float, ...]:
    """Weights of 2M, newest first."""
    if not past or t.sigma == 0:
        return (1.0,)
    half = (t.logsnr - s.logsnr) / (s.logsnr - past[0].logsnr) / 2
    return 1 + half, -half


def third(s: Node, t: Node, net: Any) -> tuple[float, ...]:
    """Weights of 3M, newest first."""
    if len(net.past) < 2 or t.sigma == 0:
        return second(s, t, net.past)
    h = t.logsnr - s.logsnr
    r, q = (s.logsnr - net.past[0].logsnr) / h, (net.past[0].logsnr - net.past[1].logsnr) / h
    first, older = (1 / r, -1 / r, 0.0), (0.0, 1 / q, -1 / q)  # the two difference quotients, in units of h
    bend = [(a - b) / (r + q) for a, b in zip(first, older, strict=True)]
    slope = [a + r * b for a, b in zip(first, bend, strict=True)]
    curve = ((expm1(-h) + h) / h**2 - 1 / 2) / expm1(-h)
    d = (1.0, 0.0, 0.0)
    return tuple(a + share(h, net) * b + curve * c for a, b, c in zip(d, slope, bend, strict=True))


DPM_SOLVER_PP_2M = Method(
    "dpm-solver++2m",
    dpm_solver_pp_2m,
    kinds=("data",),
    stages=1,
    order=2,
    about="Lu et al. 2022b, multistep",
)
DPM_SOLVER_PP_3M = Method(
    "dpm-solver++3m",
    dpm_solver_pp_3m,
    kinds=("data",),
    stages=1,
    order=2,
    about="Lu et al. 2022b, multistep; three outputs blended",
)
