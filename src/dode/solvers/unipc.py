"""UniPC: predictor and corrector with one evaluation a step.  Zhao et al. 2023, multistep in data outputs, B = e^h − 1.

The corrector needs no state of its own: predictor and corrector share their start, so the corrected state is the
predicted one plus differences of outputs, and the next step can begin from the predicted state with those added.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, expm1
from typing import Any

import numpy as np

from dode.method import Method
from dode.schedule import Node


def unipc_2(x: Any, s: Node, t: Node, net: Any) -> Any:
    """UniPC-2."""
    return net.move(x, net(x, s, weights(s, t, net.past, 2)), s, t)


def unipc_3(x: Any, s: Node, t: Node, net: Any) -> Any:
    """UniPC-3."""
    return net.move(x, net(x, s, weights(s, t, net.past, 3)), s, t)


def weights(s: Node, t: Node, past: Sequence[Node], order: int) -> tuple[float, ...]:
    """Of all outputs, newest first: the predictor's from s to t, and the correction of the state at s."""
    if t.sigma == 0:
        return (1.0,)
    total = np.zeros(order + 2)
    predicted = _predictor(s, past[: order - 1], t)
    total[: len(predicted)] = predicted
    if past:
        change = _correction(s, past[:order])
        total[: len(change)] += exp(s.logsnr - t.logsnr) / expm1(s.logsnr - t.logsnr) * change
    return tuple(total[: min(order, len(past)) + 1].tolist())


def _predictor(s: Node, past: Sequence[Node], t: Node) -> np.ndarray:
    """Weights of [d_s, d_past…] in the predictor."""
    shares = _shares(s, past, t)[0]
    return np.array([1 - shares.sum(), *shares])


def _correction(s: Node, past: Sequence[Node]) -> np.ndarray:
    """Weights of [d_s, d_past…] in the correction of the state at s, which was predicted from past[0], over −α_s."""
    before, *older = past
    plain, corrected, newest = _shares(before, older, s)
    change = corrected - plain
    factor = expm1(before.logsnr - s.logsnr)
    return factor * np.array([newest, -newest - change.sum(), *change])


def _shares(s: Node, older: Sequence[Node], t: Node) -> tuple[np.ndarray, np.ndarray, float]:
    """Coefficients of d_older − d_s in the predictor, in the corrector, and of d_t − d_s in the corrector: (5), (9).

    At order 2 the predictor's, and at order 1 the corrector's, is 1/2, as in the authors' code.  An output from α = 0
    is infinitely far away and counts nothing.
    """
    h = t.logsnr - s.logsnr
    r = np.array([*((node.logsnr - s.logsnr) / h for node in older if node.alpha > 0), 1.0])
    n = len(r)
    powers, b, phi, factorial = np.vander(r, n, increasing=True).T, np.zeros(n), expm1(-h) / -h - 1, 1.0
    for i in range(n):
        b[i] = phi * factorial / expm1(-h)
        factorial *= i + 2
        phi = phi / -h - 1 / factorial
    corrector = np.linalg.solve(powers, b) if older else np.array([0.5])
    predictor = np.linalg.solve(powers[:-1, :-1], b[:-1]) if len(older) > 1 else np.full(n - 1, 0.5)
    plain, corrected = np.zeros(len(older)), np.zeros(len(older))
    plain[: n - 1], corrected[: n - 1] = predictor / r[:-1], corrector[:-1] / r[:-1]
    return plain, corrected, float(corrector[-1])


UNIPC_2 = Method(
    "unipc-2",
    unipc_2,
    kinds=("data",),
    stages=1,
    order=3,
    about="Zhao et al. 2023, multistep predictor–corrector",
)
UNIPC_3 = replace(UNIPC_2, name="unipc-3", step=unipc_3, order=4)
