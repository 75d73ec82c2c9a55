"""DPM-Solver and DPM-Solver++, singlestep: the same steps with noise outputs and with data outputs.

Both integrate the output against its exact weight in log-SNR (Lu et al. 2022a, Algorithms 1 and 2; 2022b, Algorithm 1
and the 3S of its code); r is recomputed where an inner node was rounded, as in the papers' appendices.
"""

from dataclasses import replace
from math import expm1
from typing import Any

from dode.method import Method, Option
from dode.schedule import Node
from dode.solvers.ddim import DDIM, ddim

INNER = Option(
    "logsnr", ("logsnr", "time"), about="what an inner node halves: the step in log-SNR (the paper), or in time"
)


def dpm_solver_2(x: Any, s: Node, t: Node, net: Any, inner: str = "logsnr") -> Any:
    """Eqs. (12)–(14), where r = 1/2; a step without an inner node is DDIM's."""
    m = net.between(s, t, 1 / 2, inner)
    if m is None or s.alpha == 0:
        return ddim(x, s, t, net)
    r = (m.logsnr - s.logsnr) / (t.logsnr - s.logsnr)
    d = net(x, s)
    d_m = net(net.move(x, d, s, m), m)
    return net.move(x, d + (d_m - d) / (2 * r), s, t)


def dpm_solver_3(x: Any, s: Node, t: Node, net: Any, inner: str = "logsnr") -> Any:
    """Lu et al. 2022a, Algorithm 2; without two inner nodes it is of order 2."""
    m, n = net.between(s, t, 1 / 3, inner), net.between(s, t, 2 / 3, inner)
    if m is None or n is None or m == n or s.alpha == 0:
        return dpm_solver_2(x, s, t, net, inner)
    h = t.logsnr - s.logsnr
    r, q = (m.logsnr - s.logsnr) / h, (n.logsnr - s.logsnr) / h
    d = net(x, s)
    d_m = net(net.move(x, d, s, m), m)
    d_n = net(net.move(x, d + q / r * share(q * h, net) * (d_m - d), s, n), n)
    return net.move(x, d + share(h, net) / q * (d_n - d), s, t)


def share(h: float, net: Any) -> float:
    """φ₂/φ₁: the share of a linear change of the output over a step of log-SNR h that counts in its average."""
    z = h if net.kind == "noise" else -h
    return 1 / z - 1 / expm1(z)


DPM_SOLVER_2 = Method(
    "dpm-solver-2",
    dpm_solver_2,
    kinds=("noise",),
    stages=2,
    order=2,
    about="Lu et al. 2022a, singlestep",
    options={"inner": INNER},
    lower=DDIM,
)
DPM_SOLVER_3 = replace(DPM_SOLVER_2, name="dpm-solver-3", step=dpm_solver_3, stages=3, order=3, lower=DPM_SOLVER_2)
DPM_SOLVER_PP_2S = replace(
    DPM_SOLVER_2,
    name="dpm-solver++2s",
    kinds=("data",),
    about="Lu et al. 2022b, singlestep; DPM-Solver-2 in data outputs",
)
DPM_SOLVER_PP_3S = replace(
    DPM_SOLVER_3,
    name="dpm-solver++3s",
    kinds=("data",),
    about="Lu et al. 2022b, singlestep; DPM-Solver-3 in data outputs",
    lower=DPM_SOLVER_PP_2S,
)
