"""Ten disjoint parts of the samples, from which standard errors come; alike for every figure of features."""

import numpy as np

from dode.errors import DodeError

SPLITS = 10


def parted(count: int, name: str = "samples") -> list[slice]:
    """The ten parts of this many things, in their order; ValueError for fewer than two in each."""
    if count < 2 * SPLITS:
        raise DodeError(f"standard errors need at least {2 * SPLITS} {name}; got {count}")
    bounds = [len(part) for part in np.array_split(np.empty(count, bool), SPLITS)]
    ends = np.cumsum(bounds).tolist()
    return [slice(end - size, end) for size, end in zip(bounds, ends, strict=True)]


def error(parts: np.ndarray) -> float:
    """Standard error of the mean of figures of disjoint parts (P,)."""
    return float(np.std(parts, ddof=1) / np.sqrt(len(parts)))


def paired_error(a: np.ndarray, b: np.ndarray) -> float:
    """Standard error of the difference of two samplers' figures, from their parts on the same noise."""
    return error(a - b)


def root_ratio(squares: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """(root of a ratio of means, its standard error) of paired squares (P,): linearised, for one RMS over another."""
    square = squares.mean() / others.mean()
    spread = error(squares - square * others) / others.mean()
    return float(np.sqrt(square)), float(spread / (2 * np.sqrt(square)))


def means(each: np.ndarray, name: str = "samples") -> np.ndarray:
    """The mean of a figure that every sample has, in each part: (10,)."""
    return np.array([each[part].mean() for part in parted(len(each), name)])
