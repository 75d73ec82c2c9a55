"""iPNDM and PNDM: Adams–Bashforth blends of the outputs in DDIM's step, with weights for steps of one length."""

from typing import Any

from dode.errors import DodeError
from dode.method import Method
from dode.parameterization import Kind
from dode.schedule import Node

ADAMS_BASHFORTH = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
KINDS: tuple[Kind, ...] = ("noise", "flow", "data")


def ipndm_2(x: Any, s: Node, t: Node, net: Any) -> Any:
    """At most two outputs: (9)."""
    return ipndm(x, s, t, net, most=2)


def ipndm_3(x: Any, s: Node, t: Node, net: Any) -> Any:
    """At most three outputs: (10)."""
    return ipndm(x, s, t, net, most=3)


def ipndm(x: Any, s: Node, t: Node, net: Any, most: int = 4) -> Any:
    """Zhang & Chen 2023, after Liu et al. 2022; eqs. (6)–(10): the first steps have fewer outputs to blend."""
    d = net(x, s, ADAMS_BASHFORTH[min(len(net.past) + 1, most) - 1])
    return net.move(x, d, s, t)


def pndm(x: Any, s: Node, t: Node, net: Any) -> Any:
    """Liu et al. 2022: three pseudo Runge–Kutta steps of four evaluations, then (6) on each step's first output."""
    k = len(net.past)
    if k >= 12:
        starts = [j for j in range(k + 1) if j in (0, 4, 8) or j >= 12][-4:]  # evaluations that start a step
        weights = [0.0] * (k + 1 - starts[0])
        for j, weight in zip(reversed(starts), ADAMS_BASHFORTH[3], strict=True):
            weights[k - j] = weight
        return net.move(x, net(x, s, weights), s, t)
    m = net.between(s, t, 1 / 2, "time")
    if m is None:
        raise DodeError(f"pndm's first steps need a time between t = {s.t:g} and {t.t:g}; use ipndm or fewer steps")
    d = net(x, s)
    d_m = net(net.move(x, d, s, m), m)
    d_n = net(net.move(x, d_m, s, m), m)
    d_t = net(net.move(x, d_n, s, t), t)
    return net.move(x, (d + 2.0 * d_m + 2.0 * d_n + d_t) / 6, s, t)


IPNDM_2, IPNDM_3, IPNDM = (
    Method(
        name,
        step,
        kinds=KINDS,
        stages=1,
        order=2,
        about=f"Zhang & Chen 2023, after Liu et al. 2022; {outputs} outputs blended",
        even=True,
        teacher="self",
    )
    for name, step, outputs in (
        ("ipndm-2", ipndm_2, "two"),
        ("ipndm-3", ipndm_3, "three"),
        ("ipndm", ipndm, "four"),
    )
)
PNDM = Method(
    "pndm",
    pndm,
    kinds=KINDS,
    stages=1,
    order=2,
    about="Liu et al. 2022; 12 evaluations for the first three steps",
    warmup=(4, 4, 4),
    even=True,
)
