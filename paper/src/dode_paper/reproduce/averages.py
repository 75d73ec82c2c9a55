"""Means over seeds with their errors, and what differences say.

± is a standard error everywhere: of each seed's samples, joined over the seeds, whose test noises are independent.
Differences and ratios are paired, part of the samples by part, on the same noise.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dode.metrics.estimates import paired_error, root_ratio
from dode_paper.reproduce.result_store import Entry

CLEAR = 2.0  # standard errors from which on a difference is called one


class Figure(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float


def joined(figures: Sequence[Figure]) -> Figure:
    """The mean over seeds."""
    values = [figure.value for figure in figures]
    return Figure(float(np.mean(values)), math.sqrt(sum(figure.error**2 for figure in figures)) / len(figures))


def mean(entries: Sequence[Entry], what: str) -> Figure:
    """Of "rms" or "fd" over the seeds."""
    return joined([Figure(entry[what], entry[f"{what} error"]) for entry in entries])


def middle(entries: Sequence[Entry]) -> float:
    """The mean over seeds of the median distance."""
    return float(np.mean([entry["median"] for entry in entries]))


def spread(entries: Sequence[Entry], what: str) -> float | None:
    """The standard deviation over the seeds, the paper's ±; None of one seed."""
    return float(np.std([entry[what] for entry in entries], ddof=1)) if len(entries) > 1 else None


def over_fits(entries: Sequence[Entry]) -> Entry:
    """The mean of several fits on one test noise, as an entry: repeating the noise does not make errors smaller."""
    numbers = ("rms", "rms error", "median", "square parts", "fd", "fd error", "fd parts")
    return {
        what: np.mean([entry[what] for entry in entries], axis=0).tolist() for what in numbers if what in entries[0]
    }


def change(entries: Sequence[Entry], bases: Sequence[Entry]) -> Figure:
    """Fréchet distance minus the base's, seed by seed on the same noise."""
    return joined([_change(entry, base) for entry, base in zip(entries, bases, strict=True)])


def _change(entry: Entry, base: Entry) -> Figure:
    spread = paired_error(np.array(entry["fd parts"]), np.array(base["fd parts"]))
    return Figure(entry["fd"] - base["fd"], spread)


def ratio(entries: Sequence[Entry], bases: Sequence[Entry]) -> Figure:
    """RMS over the base's RMS, from the parts of all seeds."""
    mine = np.concatenate([np.array(entry["square parts"]) for entry in entries])
    others = np.concatenate([np.array(base["square parts"]) for base in bases])
    return Figure(*root_ratio(mine, others))


def side(figure: Figure, against: float = 0.0) -> int:
    """−1: clearly below, 1: clearly above, 0: not told apart."""
    gap = figure.value - against
    return 0 if abs(gap) <= CLEAR * figure.error else int(math.copysign(1, gap))


def word(figure: Figure, against: float = 0.0) -> str:
    """The same in words."""
    return ("not told apart from", "above", "below")[side(figure, against)]


def shown(figure: Figure, digits: int = 2, sign: bool = False) -> str:
    """3.66 ± 0.80."""
    return f"{figure.value:{'+' if sign else ''}.{digits}f} ± {figure.error:.{digits}f}"


def listed(words: Sequence[str], none: str = "none") -> str:
    """a, b and c."""
    if len(words) < 2:
        return words[0] if words else none
    return f"{', '.join(words[:-1])} and {words[-1]}"


HEADS = ["FD ±", "FD: n a seed", "FD − plain ±", "RMS ±", "median", "RMS / plain ±"]


def cells(entries: Sequence[Entry], bases: Sequence[Entry]) -> list[str]:
    """What HEADS says of one solver; of the base itself without a comparison."""
    compared = entries is not bases
    judged = "fd" in entries[0]
    found = [shown(mean(entries, "fd")) if judged else "", str(entries[0]["fd n"]) if judged else ""]
    found.append(shown(change(entries, bases), sign=True) if judged and compared and "fd" in bases[0] else "")
    found += [shown(mean(entries, "rms"), 4), f"{middle(entries):.4f}"]
    found.append(shown(ratio(entries, bases), 3) if compared else "")
    return found
