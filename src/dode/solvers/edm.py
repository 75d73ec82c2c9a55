"""EDM's sampler without churn: Heun's method, two evaluations a step, order 2."""

from typing import Any

from dode.schedule import Node
from dode.solvers.ddim import ddim
from dode.tracing import Method


def heun(x: Any, s: Node, t: Node, net: Any) -> Any:
    """The trapezoid of ε̂ in σ/α on x/α.  Karras et al. 2022, Algorithm 2; eqs. (28)–(31), where α = 1.

    A step that ends at σ = 0, or starts at α = 0, is DDIM's: the second slope, or σ/α itself, does not exist there.
    """
    if t.sigma == 0 or s.alpha == 0:
        return ddim(x, s, t, net)
    _, noise = net.split(x, net(x, s), s)
    h = t.sigma / t.alpha - s.sigma / s.alpha
    z = x / s.alpha
    y = t.alpha * (z + h * noise)
    _, noise_t = net.split(y, net(y, t), t)
    return t.alpha * (z + h * (noise + noise_t) / 2)


EDM = Method("edm", heun, kinds=("data",), stages=2, order=2, about="Karras et al. 2022, Heun; 2·steps − 1 evaluations")
