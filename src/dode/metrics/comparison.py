"""Solvers beside each other: equal noise, equal network evaluations, one run."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError
from dode.metrics.figures import OF_FEATURES, Figures, Judge
from dode.metrics.paired import Stop, Way, distance
from dode.metrics.parts import error, paired_error, parted, root_ratio
from dode.process_group import ALONE, ProcessGroup
from dode.progress import Tick
from dode.samplers import Sampler
from dode.sampling import State
from dode.schedule import Node
from dode.trajectories import times

METRICS = ("rms", "path", *OF_FEATURES)
FIGURES = {"fd": 1, "kid": 1, "precision": -1, "recall": -1, "agreement": -1}  # of a row: 1 where less is better
HEADS = {name: name for name in FIGURES} | {"fd": "FD", "kid": "KID"}  # of columns


@dataclass(frozen=True)
class Settings:
    """What is measured: distances on `paired` samples (0: none), figures of features on `fd` samples (0: none)."""

    paired: int = 64
    fd: int = 0
    seed: int = 0
    batch: int = 100
    rtol: float = 4e-4  # of the reference
    stream: str = "test"  # or "validation", for choices
    metrics: tuple[str, ...] = ("rms", "fd")  # of METRICS; those that have no samples are left out
    group: ProcessGroup = ALONE  # processes that share the batches

    def __post_init__(self) -> None:
        if self.paired < 0 or self.paired == 1 or self.batch < 1:
            raise DodeError(
                f"at least 2 paired samples (or 0) and a batch of 1 are needed; got {self.paired}, {self.batch}"
            )
        if not self.rtol > 0:
            raise DodeError(f"rtol, the accuracy of the exact solution, must be positive; got {self.rtol}")
        if self.fd:
            parted(self.fd)
        elif not self.paired:
            raise DodeError("nothing to measure: there are neither paired samples nor samples for features")
        if unknown := [name for name in self.metrics if name not in METRICS]:
            raise DodeError(f"metrics are {', '.join(METRICS)}; got {', '.join(unknown)}")

    @property
    def count(self) -> int:
        """Samples that are made."""
        return max(self.paired, self.fd)

    @property
    def of_features(self) -> tuple[str, ...]:
        """The figures of features that are asked for."""
        return tuple(name for name in OF_FEATURES if self.wants(name))

    def wants(self, metric: str) -> bool:
        """Is this figure asked for, and are there samples for it?"""
        return metric in self.metrics and bool(self.fd if metric in OF_FEATURES else self.paired)


STOCHASTIC = "Stochastic solvers leave the exact solution on purpose: judge them by another figure than distance."


@dataclass
class Row:
    """One solver at one number of evaluations; ± are standard errors, NaN and None are not measured."""

    solver: str
    nfe: int
    rms: float = math.nan
    rms_error: float = math.nan
    median: float = math.nan
    seconds: float = 0.0
    fd: float | None = None
    fd_error: float | None = None
    images: Tensor | None = field(default=None, repr=False)  # of the paired noise
    each: np.ndarray | None = field(default=None, repr=False)  # (paired,), every sample's own RMS
    parts: dict[str, np.ndarray] = field(default_factory=dict, repr=False)  # ten splits (10,) of each figure
    kid: float | None = None
    kid_error: float | None = None
    precision: float | None = None
    precision_error: float | None = None
    recall: float | None = None
    recall_error: float | None = None
    agreement: float | None = None
    agreement_error: float | None = None
    nodes: tuple[Stop, ...] = ()  # the distance along the way; none for stochastic samplers
    guidance: float | None = 1.0
    seeds: tuple[int, ...] = (0,)
    samples: int = 0  # that the figures of features are of
    reference: str = ""  # a hash of the statistics that they compare with
    stochastic: bool = False  # does the solver add noise?
    taught: str = ""  # by whom, if it was fitted: "ddim with 100 evaluations"

    @property
    def seed(self) -> int | None:
        """The seed; None if the figures are means over several."""
        return self.seeds[0] if len(self.seeds) == 1 else None


@torch.no_grad()
def measure(
    sampler: Sampler,
    exact: Tensor | None,
    settings: Settings,
    judge: Judge | None,
    tick: Tick = lambda n: None,
    path: Mapping[Node, Tensor] | None = None,
) -> Row:
    """Sample the test noise and compare, batch by batch.

    exact: the end of the exact solution (paired, *shape), None without paired samples; judge: for figures of features;
    path: the exact solution at the plan's nodes, if the distance is wanted there too.  Processes take batches in turn,
    and each gets every number, in the order of the samples.
    """
    if settings.paired and exact is None:
        raise DodeError("paired samples need the exact solution to compare with")
    row = Row(sampler.name, sampler.nfe, guidance=sampler.model.guidance, seeds=(settings.seed,))
    row.stochastic, how = sampler.stochastic, sampler.provenance
    if how.distilled and how.teacher is not None:
        row.taught = f"{how.teacher} with {how.teacher_nfe} evaluations"
    wanted = settings.of_features
    figures = Figures(judge, wanted, settings.fd, sampler.model) if judge is not None and wanted else None
    way = Way(sampler.plan.nodes, path) if path is not None and not row.stochastic else None
    kept = _run(row, sampler, settings, tick, way, figures)
    if exact is not None and settings.paired:
        _paired(row, kept, exact)
    row.nodes = () if way is None else way.stops(times(sampler.plan, sampler.model.schedule))
    if figures is not None and judge is not None:
        row.samples, row.reference = settings.fd, judge.mark
        for name, value, parts in figures.found():
            row.parts[name] = parts
            setattr(row, name, value)
            setattr(row, f"{name}_error", error(parts))
    return row


def _run(
    row: Row, sampler: Sampler, settings: Settings, tick: Tick, way: Way | None, figures: Figures | None
) -> Tensor:
    """The paired samples; what way and figures want of every batch goes to them, and the seconds to the row."""
    kept = []
    cuts = [range(i, min(i + settings.batch, settings.count)) for i in range(0, settings.count, settings.batch)]
    for together in (cuts[i : i + settings.group.size] for i in range(0, len(cuts), settings.group.size)):
        mine = []
        for indices in settings.group.share(together):
            paired = range(indices.start, max(indices.start, min(indices.stop, settings.paired)))
            began = time.perf_counter()
            states = _sampled(sampler, indices, settings, tick, way is not None and len(paired) > 0)
            row.seconds += time.perf_counter() - began
            stops = way.distances(states, paired) if way is not None and paired else []
            end = states[-1][: max(0, settings.fd - indices.start)]
            seen = figures.seen(end, indices) if figures is not None and len(end) else None
            mine.append((states[-1][: len(paired)].cpu(), stops, seen))
        for end, stops, seen in settings.group.gather(mine):
            kept.append(end)
            if way is not None:
                way.add(stops)
            if figures is not None and seen is not None:
                figures.add(seen)
    return torch.cat(kept)


def _sampled(sampler: Sampler, indices: range, settings: Settings, tick: Tick, every: bool) -> list[Tensor]:
    """Samples of these numbers as the last of their states: all of them, or the last alone."""
    x_T = sampler.model.start(indices, settings.seed, settings.stream)
    states = [x_T] if every else []

    def told(state: State) -> None:
        tick(1)
        if every:
            states.append(state.y)

    found = sampler.sample(noise=x_T, seed=settings.seed, batch=settings.batch, callback=told, first=indices[0])
    return states if every else [found]


def _paired(row: Row, images: Tensor, exact: Tensor) -> None:
    gap = distance(images, exact)
    row.images, row.rms, row.median, row.each = images, gap.rms, gap.median, gap.each
    row.rms_error = gap.error


def calls(samplers: Sequence[Sampler], settings: Settings) -> int:
    """Network calls of this process that measuring these samplers takes: for a progress bar."""
    cuts = range(0, settings.count, settings.batch)
    return len(settings.group.share(cuts)) * sum(sampler.nfe for sampler in samplers)


def change(row: Row, base: Row, figure: str) -> tuple[float, float] | None:
    """(row's figure less the base's, the standard error of that); None where one of them has it not.

    figure: fd, kid, precision, recall or agreement.
    """
    if figure not in FIGURES:
        raise DodeError(f"figures are {', '.join(FIGURES)}; got {figure!r}")
    mine, other = getattr(row, figure), getattr(base, figure)
    if mine is None or other is None or figure not in row.parts or figure not in base.parts:
        return None
    return mine - other, paired_error(row.parts[figure], base.parts[figure])


def fd_change(row: Row, base: Row) -> tuple[float, float] | None:
    """(difference of Fréchet distances, its standard error); not worse means at most two of them above zero."""
    return change(row, base, "fd")


def ratio(row: Row, base: Row) -> tuple[float, float]:
    """(RMS ratio, its standard error over samples, paired): row's distance over the base's."""
    if row.each is None or base.each is None:
        raise DodeError("both rows need their samples' distances")
    a, b = row.each**2, base.each**2
    if not b.any():  # the base is exact
        return (math.inf if a.any() else 1.0), 0.0
    return root_ratio(a, b)


def not_worse(row: Row, base: Row, figure: str = "fd") -> bool:
    """Is the row's figure worse than the base's by at most two standard errors of the paired difference?"""
    if figure == "rms":
        found, spread = ratio(row, base)
        return found - 1 <= 2 * spread
    changed = change(row, base, figure)
    if changed is None:
        raise DodeError(f"both rows need {figure}, measured on the same noise")
    return bool(FIGURES[figure] * changed[0] <= 2 * changed[1])
