"""DDIM: one evaluation a step, order 1, outputs of any kind."""

from typing import Any

from dode.schedule import Node
from dode.tracing import Method


def ddim(x: Any, s: Node, t: Node, net: Any) -> Any:
    """x_t = α_t·x̂₀ + σ_t·ε̂.  Song et al. 2021; eq. (3), and (23)–(24) in data form."""
    x0, noise = net.split(x, net(x, s), s)
    return t.alpha * x0 + t.sigma * noise


DDIM = Method("ddim", ddim, kinds=(), stages=1, order=1, about="Song et al. 2021; Euler's method in σ/α")
