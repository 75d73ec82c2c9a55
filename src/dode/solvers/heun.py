"""EDM's sampler: Heun's method, two evaluations a step, order 2; with churn, stochastic."""

from dataclasses import replace
from math import sqrt
from typing import Any

from dode.method import Method, Option
from dode.schedule import Node
from dode.solvers.ddim import DDIM, ddim


def heun(x: Any, s: Node, t: Node, net: Any, **churn: float) -> Any:
    """The trapezoid of ε̂ in σ/α on x/α.  Karras et al. 2022, Algorithm 2; eqs. (28)–(31), where α = 1.

    A step that touches σ = 0 or α = 0 is Euler's: the second slope, or σ/α itself, does not exist there.
    """
    if 0 in (t.sigma, t.alpha, s.alpha):
        return euler(x, s, t, net, **churn)
    s = churned(s, net, **churn)
    y = net.move(x, net(x, s), s, t)
    _, noise_t = net.split(y, net(y, t), t)
    h = t.sigma / t.alpha - s.sigma / s.alpha
    return (y + t.alpha * (x / s.alpha + h * noise_t)) / 2  # the mean of Euler's step with either slope


def euler(x: Any, s: Node, t: Node, net: Any, **churn: float) -> Any:
    """Heun's step with the first slope alone: DDIM after churn, for the rest of the evaluations."""
    return ddim(x, churned(s, net, **churn), t, net)


def churned(s: Node, net: Any, churn: float = 0.0, churn_min: float = 0.0, churn_max: float = float("inf")) -> Node:
    """Algorithm 2's churn before a step, for S_min ≤ σ/α ≤ S_max and with S_noise = 1: the node after it."""
    if not churn or not s.alpha or not churn_min <= s.sigma / s.alpha <= churn_max:
        return s
    raised: Node = net.raised(s, 1 + min(churn / net.steps, sqrt(2) - 1))
    return raised


CHURN = {
    "churn": Option(0.0, about="S_churn: noise added over the whole run; sampling only"),
    "churn_min": Option(0.0, about="S_min: no churn below this σ/α"),
    "churn_max": Option(float("inf"), about="S_max: no churn above this σ/α"),
}
EDM = Method(
    "edm",
    heun,
    kinds=("data",),
    stages=2,
    order=2,
    about="Karras et al. 2022, Heun; 2·steps − 1 evaluations",
    options=CHURN,
    lower=replace(DDIM, step=euler, options=CHURN),
)
