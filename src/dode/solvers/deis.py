"""DEIS-tAB: a polynomial through the last outputs, integrated exactly against DDIM's weight."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import ceil, inf, log
from typing import Any

import numpy as np

from dode.method import Method, Option
from dode.parameterization import Kind
from dode.schedule import Node, Schedule

POINTS, FEW_POINTS = np.polynomial.legendre.leggauss(16), np.polynomial.legendre.leggauss(6)  # wide, narrow pieces
NARROW = 0.1  # in log-SNR: six points are exact there to the last bits


def deis_1(x: Any, s: Node, t: Node, net: Any, variable: str = "t") -> Any:
    """(19)–(20) with r = 1."""
    return _deis(x, s, t, net, 1, variable)


def deis_2(x: Any, s: Node, t: Node, net: Any, variable: str = "t") -> Any:
    """(19)–(20) with r = 2."""
    return _deis(x, s, t, net, 2, variable)


def deis_3(x: Any, s: Node, t: Node, net: Any, variable: str = "t") -> Any:
    """(19)–(20) with r = 3."""
    return _deis(x, s, t, net, 3, variable)


def _deis(x: Any, s: Node, t: Node, net: Any, degree: int, variable: str) -> Any:
    """Zhang & Chen 2023: P_r(t) of (19), divided by its weights' sum, is the output of DDIM's step."""
    nodes = (s, *net.past)[: degree + 1]
    return net.move(x, net(x, s, weights(nodes, s, t, net.kind, net.schedule, variable)), s, t)


def weights(
    nodes: Sequence[Node], s: Node, t: Node, kind: Kind, schedule: Schedule, variable: str
) -> tuple[float, ...]:
    """C_tj of (19) over their sum, newest first: the averages of the Lagrange polynomials over the step.

    The average is over the clock of the kind of output (σ/α for noise: integrating there needs no derivative of the
    schedule); the polynomials are in t (tAB) or in that clock (ρAB).  A step to an infinite clock is of order 1.
    """
    a, b = clock(kind, s), clock(kind, t)
    nodes = [node for node in nodes if clock(kind, node) < inf]
    if b == inf or not nodes:
        return (1.0,)

    def place(value: float) -> float:
        return _time(kind, value, schedule) if variable == "t" else value

    at = [node.t if variable == "t" else clock(kind, node) for node in nodes]
    narrow = abs(s.logsnr - t.logsnr) < NARROW
    points, factors = FEW_POINTS if narrow or schedule.knots else POINTS
    low, high = (np.array(ends)[:, None] for ends in _pieces(a, b, kind, schedule, narrow))
    where = np.array([place(value) for value in (low + (high - low) * (points + 1) / 2).ravel().tolist()])
    totals = _lagrange(at, where) @ ((high - low) * factors).ravel()
    return tuple(float(total) for total in totals / totals.sum())


def _lagrange(at: Sequence[float], where: np.ndarray) -> np.ndarray:
    """Each basis polynomial through the points `at`, at some places: (points, places)."""
    rows = np.ones((len(at), len(where)))
    for i, point in enumerate(at):
        for j, other in enumerate(at):
            if j != i:
                rows[i] *= (where - other) / (point - other)
    return rows


def clock(kind: Kind, node: Node) -> float:
    """The variable in which the scaled state is linear if the output is constant; inf where there is none.

    x/α over σ/α for noise, x/σ over α/σ for data, x/(α + σ) over σ/(α + σ) for flow.
    """
    above, below = {
        "noise": (node.sigma, node.alpha),
        "data": (node.alpha, node.sigma),
        "flow": (node.sigma, node.alpha + node.sigma),
    }[kind]
    return above / below if below else inf


LOGSNR: dict[str, Callable[[float], float]] = {
    "noise": lambda value: -log(value),
    "data": log,
    "flow": lambda value: log(1 - value) - log(value),
}


def _time(kind: Kind, value: float, schedule: Schedule) -> float:
    """The time at a value of the clock; linear in the clock beside a table's ends of infinite log-SNR."""
    logsnr = LOGSNR[kind](value)
    if schedule.knots:
        clean, noisy, beside = _ends(schedule)
        if logsnr > clean.logsnr:
            return _linear(kind, value, clean, schedule.node(schedule.t_end))
        if noisy.alpha == 0 and logsnr < beside.logsnr:
            return _linear(kind, value, noisy, beside)
    return schedule.at(logsnr).t


def _linear(kind: Kind, value: float, a: Node, b: Node) -> float:
    low, high = clock(kind, a), clock(kind, b)
    return a.t + (b.t - a.t) * (value - low) / (high - low)


@lru_cache(maxsize=8)
def _ends(schedule: Schedule) -> tuple[Node, Node, Node]:
    """The cleanest node, the noisiest, and the one before it."""
    knots = schedule.knots
    return schedule.node(knots[0]), schedule.node(knots[-1]), schedule.node(knots[-2])


@lru_cache(maxsize=8)
def _knots(kind: Kind, schedule: Schedule) -> list[float]:
    return sorted(clock(kind, schedule.node(t)) for t in schedule.knots)


def _pieces(a: float, b: float, kind: Kind, schedule: Schedule, narrow: bool) -> tuple[list[float], list[float]]:
    """Where time is smooth in the clock: between the knots of a schedule that has some, else factors of at most e."""
    low, high = min(a, b), max(a, b)
    if schedule.knots:
        knots = _knots(kind, schedule)
        inner = knots[bisect_right(knots, low) : bisect_left(knots, high)]
    elif narrow:
        inner = []
    else:
        least = max(low, 1e-6 * high)
        count = ceil(log(high / least)) + 1
        inner = [knot for i in range(count) if low < (knot := least * (high / least) ** (i / count)) < high]
    ends = [low, *inner, high]
    return ends[:-1], ends[1:]


DEIS_1 = Method(
    "deis-1",
    deis_1,
    kinds=("noise", "flow", "data"),
    stages=1,
    order=2,
    about="Zhang & Chen 2023, tAB; two outputs",
    options={"variable": Option("t", ("t", "rho"), about="what its polynomials are in: time (tAB), or σ/α (ρAB)")},
    teacher="self",
)
DEIS_2 = replace(DEIS_1, name="deis-2", step=deis_2, order=3, about="Zhang & Chen 2023, tAB; three outputs")
DEIS_3 = replace(DEIS_1, name="deis-3", step=deis_3, order=4, about="Zhang & Chen 2023, tAB; four outputs")
