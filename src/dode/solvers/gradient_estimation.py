"""The gradient-estimation sampler: DDIM with the output extrapolated by one constant."""

from typing import Any

from dode.method import Method, Option
from dode.schedule import Node


def gradient_estimation(x: Any, s: Node, t: Node, net: Any, gamma: float = 2.0) -> Any:
    """γ·d_k + (1 − γ)·d_{k−1} in DDIM's step.  Permenter & Yuan 2023, (17): D-DDIM with λ = γ − 1 everywhere."""
    d = net(x, s, (gamma, 1 - gamma) if net.past else (1.0,))
    return net.move(x, d, s, t)


GRADIENT_ESTIMATION = Method(
    "gradient-estimation",
    gradient_estimation,
    kinds=("noise", "flow", "data"),
    stages=1,
    order=1,
    about="Permenter & Yuan 2023",
    options={"gamma": Option(2.0, about="weight of the newest output; 1 is DDIM, 3/2 ipndm-2")},
)
