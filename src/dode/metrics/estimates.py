"""The table of metrics, and the rows of estimates that a comparison is made of.

A metric of your own is a function that returns an `Estimate`, and a line in `METRICS`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dode.errors import DodeError
from dode.metrics.features import Moments, frechet, kid, mmd, moments, precision, recall

SPLITS = 10
STOCHASTIC = "Stochastic solvers leave the exact solution on purpose: judge them by another figure than distance."


def split_values(function: Callable[..., float], *arrays: np.ndarray) -> np.ndarray:
    """Evaluate a function on each of ten disjoint splits of its arguments; DodeError for too few of them.

    Args:
        function: Takes as many arrays as are given, returns a number.
        arrays: (N, …), each split by itself, in order; N at least 20, so that every split has two.

    Returns:
        The ten values, (10,), from whose spread a standard error comes.
    """
    if (count := min(map(len, arrays))) < 2 * SPLITS:
        raise DodeError(
            f"standard errors need at least {2 * SPLITS} samples, and for KID as many features of data; got {count}"
        )
    parts = zip(*(np.array_split(array, SPLITS) for array in arrays), strict=True)
    return np.array([function(*part) for part in parts])


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of independent values (P,)."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


def paired_error(a: np.ndarray, b: np.ndarray) -> float:
    """Standard error of the mean difference of two samplers' values (P,) on the same noise."""
    return standard_error(a - b)


def root_ratio(squares: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Root of the ratio of two means of paired squares (P,), with its standard error by linearisation."""
    square = squares.mean() / others.mean()
    spread = standard_error(squares - square * others) / others.mean()
    return float(np.sqrt(square)), float(spread / (2 * np.sqrt(square)))


class Distance(NamedTuple):
    """Distance of n samples to the exact solution, in the units of the data."""

    rms: float  # root of the mean square over samples and pixels
    median: float  # over samples, of each sample's own RMS
    each: np.ndarray  # (n,), each sample's own RMS

    @property
    def error(self) -> float:
        """Standard error of `rms`, by linearisation; NaN of one sample."""
        return standard_error(self.each**2) / (2 * self.rms) if self.rms else 0.0


def distance(samples: Tensor, reference: Tensor) -> Distance:
    """RMS and median distance of samples (n, …) to the reference (n, …) from the same noise.

    Raises:
        DodeError: Their shapes differ.
    """
    if samples.shape != reference.shape:
        raise DodeError(f"samples {tuple(samples.shape)} and reference {tuple(reference.shape)} differ in shape")
    each = (samples.cpu().double() - reference.cpu().double()).flatten(1).square().mean(1).sqrt().numpy()
    return Distance(float(np.sqrt(np.mean(each**2))), float(np.median(each)), each)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A measured number with its standard error; `f"{estimate:.2f}"` shows both."""

    value: float
    error: float = math.nan
    parts: np.ndarray | None = None  # (10,), the values of the splits: for paired differences
    each: np.ndarray | None = None  # (n,), the samples' own distances

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec or '.4g'}} ± {self.error:{spec or '.4g'}}"


class Metric(NamedTuple):
    """A line of the table of metrics.

    `estimate` takes what `needs` names:
        "exact": samples (n, *shape) and the exact solution from the same noise (n, *shape), tensors.
        "moments": features of samples (N, D), and Moments of data.
        "features": features of samples (N, D) and of data (M, D).
        "classes": whether the classifier finds each sample's own class, (N,) bool.
    """

    title: str  # of its column
    estimate: Callable[..., Estimate]
    needs: str
    less_is_better: bool = True
    digits: str = ".3f"  # of the numbers in tables


def _rms(samples: Tensor, exact: Tensor) -> Estimate:
    gap = distance(samples, exact)
    return Estimate(gap.rms, gap.error, each=gap.each)


def _fd(features: np.ndarray, data: Moments) -> Estimate:
    parts = split_values(lambda part: frechet(moments(part), data), features)
    return Estimate(frechet(moments(features), data), standard_error(parts), parts)


def _kid(features: np.ndarray, data: np.ndarray) -> Estimate:
    parts = split_values(mmd, features, data)
    return Estimate(kid(features, data), standard_error(parts), parts)


def _precision(features: np.ndarray, data: np.ndarray) -> Estimate:
    count = min(len(features), len(data))  # precision and recall depend on both numbers, so they are made equal
    return _share(precision(features[:count], data[:count]))


def _recall(features: np.ndarray, data: np.ndarray) -> Estimate:
    count = min(len(features), len(data))
    return _share(recall(features[:count], data[:count]))


def _share(each: np.ndarray) -> Estimate:
    parts = split_values(np.mean, each)
    return Estimate(float(each.mean()), standard_error(parts), parts)


METRICS = {
    "rms": Metric("RMS", _rms, "exact"),
    "fd": Metric("FD", _fd, "moments", digits=".2f"),
    "kid": Metric("KID", _kid, "features", digits=".4g"),
    "precision": Metric("precision", _precision, "features", less_is_better=False),
    "recall": Metric("recall", _recall, "features", less_is_better=False),
    "agreement": Metric("agreement", _share, "classes", less_is_better=False),
}
GROUPS = {"pr": ("precision", "recall")}  # other names for several


def metric_names(asked: Sequence[str]) -> tuple[str, ...]:
    """The lines of `METRICS` behind the names that were asked for, in the table's order.

    Raises:
        DodeError: A name is unknown, or there is none.
    """
    if not asked or (unknown := [name for name in asked if name not in METRICS and name not in GROUPS]):
        given = ", ".join(unknown if asked else ["none"])
        raise DodeError(f"metrics are {', '.join([*METRICS, *GROUPS])}; got {given}")
    names = {member for name in asked for member in GROUPS.get(name, (name,))}
    return tuple(name for name in METRICS if name in names)


@dataclass
class Row:
    """Estimates of one solver at one number of network evaluations; `row["fd"]` is one of them."""

    solver: str
    nfe: int
    estimates: dict[str, Estimate] = field(default_factory=dict)  # by the names of METRICS
    seconds: float = 0.0  # of sampling
    guidance: float | None = 1.0
    seeds: tuple[int, ...] = (0,)
    samples: int = 0  # that metrics of features are of
    reference: str = ""  # a hash of the statistics that they compare with
    stochastic: bool = False  # the solver adds noise
    teacher: str = ""  # that the solver was fitted to: "ddim with 100 evaluations"
    images: Tensor | None = field(default=None, repr=False)  # of the paired noise

    def __getitem__(self, metric: str) -> Estimate:
        if metric not in self.estimates:
            raise DodeError(
                f"{self.solver} at NFE {self.nfe} was not measured by {metric!r}; it has {', '.join(self.estimates)}"
            )
        return self.estimates[metric]

    @property
    def seed(self) -> int | None:
        """The seed; None of a mean over several."""
        return self.seeds[0] if len(self.seeds) == 1 else None

    @property
    def rms(self) -> float:
        """RMS distance to the exact solution; NaN if it was not measured."""
        return self.estimates["rms"].value if "rms" in self.estimates else math.nan

    @property
    def rms_error(self) -> float:
        """Standard error of `rms`."""
        return self.estimates["rms"].error if "rms" in self.estimates else math.nan

    @property
    def each(self) -> np.ndarray | None:
        """Every paired sample's own RMS distance, (n,); None if they were not measured."""
        return self.estimates["rms"].each if "rms" in self.estimates else None

    @property
    def median(self) -> float:
        """Median of the samples' own distances (the mean over seeds of it); NaN without them."""
        if self.each is None:
            return math.nan
        return float(np.mean([np.median(part) for part in np.split(self.each, len(self.seeds))]))


def beside_rms(rows: Sequence[Row]) -> list[str]:
    """Names of the metrics other than "rms" that any of the rows has, in the table's order."""
    return [name for name in METRICS if name != "rms" and any(name in row.estimates for row in rows)]


def ratio(row: Row, base: Row) -> tuple[float, float]:
    """Ratio of two rows' RMS distances, with its standard error over the (paired) samples.

    Raises:
        DodeError: One of them has no distances.
    """
    if row.each is None or base.each is None:
        raise DodeError("both rows need their samples' distances")
    a, b = row.each**2, base.each**2
    if not b.any():  # the base is exact
        return (math.inf if a.any() else 1.0), 0.0
    return root_ratio(a, b)


def change(row: Row, base: Row, metric: str) -> tuple[float, float] | None:
    """Difference row − base of a metric's values, with its paired standard error.

    Returns:
        None if one of the rows lacks the metric or its splits.

    Raises:
        DodeError: `metric` is no name of `METRICS`.
    """
    if metric not in METRICS:
        raise DodeError(f"metrics are {', '.join(METRICS)}; got {metric!r}")
    if metric not in row.estimates or metric not in base.estimates:
        return None
    a, b = row[metric], base[metric]
    if a.parts is None or b.parts is None:
        return None
    return a.value - b.value, paired_error(a.parts, b.parts)


def not_worse(row: Row, base: Row, metric: str = "fd") -> bool:
    """Whether a row is worse than the base by at most two standard errors of the paired difference, or DodeError."""
    if metric == "rms":
        value, error = ratio(row, base)
        return value - 1 <= 2 * error
    difference = change(row, base, metric)
    if difference is None:
        raise DodeError(f"both rows need {metric}, measured on the same noise")
    return (difference[0] if METRICS[metric].less_is_better else -difference[0]) <= 2 * difference[1]


def pooled(rows: Sequence[Row]) -> Row:
    """The mean of rows that differ by their seeds alone, with standard errors over the seeds; one row is itself.

    The samples' distances and the splits are concatenated, so that `ratio` and `change` of two pooled rows compare
    sample with sample and split with split over all seeds.

    Raises:
        DodeError: The rows differ by more than seeds, or a seed is there twice, or has more paired samples.
    """
    seeds = tuple(seed for row in rows for seed in row.seeds)
    if len({(row.solver, row.nfe, row.guidance, row.samples, row.reference) for row in rows}) != 1 or len(
        set(seeds)
    ) != len(seeds):
        raise DodeError(
            "rows are pooled over different seeds of one solver, NFE, guidance, number of samples and reference"
        )
    if len(rows) == 1:
        return rows[0]
    if len({None if row.each is None else len(row.each) / len(row.seeds) for row in rows}) != 1:
        raise DodeError("rows are pooled over as many paired samples a seed; these have different numbers")
    shared = [name for name in rows[0].estimates if all(name in row.estimates for row in rows)]
    return replace(
        rows[0],
        estimates={name: _pooled([row[name] for row in rows]) for name in shared},
        seconds=sum(row.seconds for row in rows),
        seeds=seeds,
        teacher=rows[0].teacher if all(row.teacher == rows[0].teacher for row in rows) else "",
        images=None,
    )


def _pooled(estimates: Sequence[Estimate]) -> Estimate:
    values = np.array([one.value for one in estimates])
    parts = [one.parts for one in estimates if one.parts is not None]
    each = [one.each for one in estimates if one.each is not None]
    return Estimate(
        float(values.mean()),
        standard_error(values),
        np.concatenate(parts) if len(parts) == len(estimates) else None,
        np.concatenate(each) if len(each) == len(estimates) else None,
    )
