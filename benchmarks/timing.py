"""Two things timed against each other on a noisy machine: they alternate, and the median of the ratios counts."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

Work = Callable[[], Any]


def seconds(work: Work) -> tuple[float, float]:
    """Wall time, and the time of the processor: the second does not see what else runs on the machine."""
    began, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - busy


def nothing() -> None:
    """Before a pair: nothing has to be made ready."""


def paired(ours: Work, theirs: Work, pairs: int, ready: Work = nothing) -> dict[str, Any]:
    """Medians of both, and the median of the ratios with its quartiles, in "wall" and in "cpu" time.

    Who goes first alternates.  ready: called before each pair, untimed.
    """
    found = []
    for i in range(-1, pairs):
        ready()
        first, second = (ours, theirs) if i % 2 == 0 else (theirs, ours)
        a, b = seconds(first), seconds(second)
        found.append((a, b) if i % 2 == 0 else (b, a))
    times = np.array(found[1:])  # the first pair only warms up
    return {"pairs": pairs} | {clock: compared(times[:, :, i]) for i, clock in enumerate(("wall", "cpu"))}


def compared(times: np.ndarray) -> dict[str, Any]:
    """Of pairs (n, 2)."""
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], (25, 50, 75))
    mine, other = np.median(times, axis=0)
    return {"ours": mine, "theirs": other, "ratio": middle, "quartiles": [low, high]}


def said(one: dict[str, Any], digits: int = 2) -> str:
    """A ratio with its quartiles."""
    low, high = one["quartiles"]
    return f"{one['ratio']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def slope(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The exponent of a power law through the points, with its standard error."""
    x, y = np.log(np.array(sizes, float)), np.log(np.array(values, float))
    matrix = np.stack([x, np.ones_like(x)], axis=1)
    answer, residual, _, _ = np.linalg.lstsq(matrix, y, rcond=None)
    spread = residual[0] / (len(x) - 2) if len(x) > 2 and len(residual) else 0.0
    return float(answer[0]), float(np.sqrt(spread / np.sum((x - x.mean()) ** 2)))


def machine() -> dict[str, Any]:
    """Of the settings: what times depend on."""
    return {"threads": torch.get_num_threads(), "cores": os.cpu_count()}
