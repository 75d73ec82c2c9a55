"""EDM's sampler without churn: Heun's method, two evaluations a step, order 2."""

from typing import Any

from dode.schedule import Node
from dode.solvers.ddim import ddim
from dode.tracing import Method


def heun(x: Any, s: Node, t: Node, net: Any) -> Any:
    """The trapezoid of ε̂ in σ/α on x/α.  Karras et al. 2022, Algorithm 2; eqs. (28)–(31), where α = 1.

    A step that touches σ = 0 or α = 0 is DDIM's: the second slope, or σ/α itself, does not exist there.
    """
    if 0 in (t.sigma, t.alpha, s.alpha):
        return ddim(x, s, t, net)
    x0, noise = net.split(x, net(x, s), s)
    y = t.alpha * x0 + t.sigma * noise
    _, noise_t = net.split(y, net(y, t), t)
    h = t.sigma / t.alpha - s.sigma / s.alpha
    return (y + t.alpha * (x / s.alpha + h * noise_t)) / 2  # the mean of Euler's step with either slope


EDM = Method("edm", heun, kinds=("data",), stages=2, order=2, about="Karras et al. 2022, Heun; 2·steps − 1 evaluations")
