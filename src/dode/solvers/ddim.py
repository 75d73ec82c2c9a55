"""DDIM: one evaluation a step, order 1, outputs of any kind; with η, up to DDPM's ancestral sampling."""

from math import sqrt
from typing import Any

from dode.method import Method, Option
from dode.schedule import Node


def ddim(x: Any, s: Node, t: Node, net: Any, eta: float = 0.0, fresh: float = 0.0) -> Any:
    """x_t = α_t·x̂₀ + √(σ_t² − s²)·ε̂ + s·z.  Song et al. 2021, (12) and (16); eq. (3), and (23)–(24) in data form.

    s² = η²·σ_t²·(1 − (σ_t·α_s/(σ_s·α_t))²): η = 1 is DDPM's ancestral step with its posterior variance.  Or at least
    s = fresh·σ_t: with fresh = 1 nothing is kept but x̂₀, consistency models' sampling (Song et al. 2023, algorithm 1).
    """
    d = net(x, s)
    if eta == 0 and fresh == 0:
        return net.move(x, d, s, t)
    x0, noise = net.split(x, d, s)
    spread = fresh * t.sigma
    if eta:
        spread = max(spread, eta * t.sigma * sqrt(1 - (t.sigma * s.alpha / (s.sigma * t.alpha)) ** 2))
    return t.alpha * x0 + sqrt(t.sigma**2 - spread**2) * noise + spread * net.noise()


ETA = Option(
    0.0, most=1.0, about="noise added at every step, as a share of the ancestral one's (Ho et al. 2020); sampling only"
)
FRESH = Option(
    0.0, most=1.0, about="least share of each state's noise that is new; 1 for consistency models (Song et al. 2023)"
)
DDIM = Method(
    "ddim",
    ddim,
    kinds=(),
    stages=1,
    order=1,
    about="Song et al. 2021; Euler's method in σ/α; eta=1: DDPM's ancestral sampling; fresh=1: consistency models'",
    options={"eta": ETA, "fresh": FRESH},
)
