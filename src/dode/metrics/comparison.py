"""Solvers beside each other: equal noise, equal network evaluations, one run."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from dode.metrics.distance import distance
from dode.metrics.frechet import Features, Moments, frechet, moments, paired_error, splits, to_uint8
from dode.samplers import Sampler

Tick = Callable[[int], None]  # told how many network calls were just made


@dataclass(frozen=True)
class Settings:
    """What is measured: distances on `paired` samples, Fréchet distance on `fd` samples (0: not at all)."""

    paired: int = 64
    fd: int = 0
    seed: int = 0
    batch: int = 100
    rtol: float = 4e-4  # of the reference
    stream: str = "report"  # or "select", for choices

    def __post_init__(self) -> None:
        if self.paired < 2 or self.batch < 1:
            raise ValueError(f"at least 2 paired samples and a batch of 1 are needed; got {self.paired}, {self.batch}")
        if self.fd and self.fd < 20:
            raise ValueError(f"a Fréchet distance needs at least 20 samples; got {self.fd}")


@dataclass
class Row:
    """One solver at one number of evaluations; ± are standard errors."""

    solver: str
    nfe: int
    rms: float
    rms_error: float
    median: float
    seconds: float
    fd: float | None = None
    fd_error: float | None = None
    images: Tensor | None = field(default=None, repr=False)
    each: np.ndarray | None = field(default=None, repr=False)
    parts: np.ndarray | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Judge:
    """A feature extractor and the statistics to compare with."""

    features: Features
    statistics: Moments


@torch.no_grad()
def measure(
    sampler: Sampler, exact: Tensor, settings: Settings, judge: Judge | None, tick: Tick = lambda n: None
) -> Row:
    """Sample the report noise and compare: rms and median to `exact`, features to the judge's statistics."""
    n = max(settings.paired, settings.fd)
    model = sampler.model
    x_T, cond = model.start(range(n), settings.seed, settings.stream), model.conditions(range(n))
    began = time.perf_counter()
    images = sampler.sample(noise=x_T, cond=cond, seed=settings.seed, batch=settings.batch, callback=lambda _: tick(1))
    seconds = time.perf_counter() - began
    gap = distance(images[: settings.paired], exact)
    error = float(np.std(gap.each**2, ddof=1) / np.sqrt(len(gap.each)) / (2 * gap.rms)) if gap.rms else 0.0
    row = Row(sampler.name, sampler.nfe, gap.rms, error, gap.median, seconds, images=images, each=gap.each)
    if judge is not None and settings.fd:
        features = extracted(judge.features, images[: settings.fd])
        row.fd = frechet(moments(features), judge.statistics)
        row.parts = splits(features, judge.statistics)
        row.fd_error = float(np.std(row.parts, ddof=1) / np.sqrt(len(row.parts)))
    return row


def extracted(features: Features, images: Tensor, batch: int = 500) -> np.ndarray:
    """The features of images in [−1, 1]: (N, D)."""
    return np.concatenate([features(to_uint8(part)).cpu().numpy() for part in images.split(batch)])


def calls(samplers: Sequence[Sampler], settings: Settings) -> int:
    """Network calls that measuring these samplers takes: for a progress bar."""
    batches = -(-max(settings.paired, settings.fd) // settings.batch)
    return batches * sum(sampler.nfe for sampler in samplers)


def fd_change(row: Row, base: Row) -> tuple[float, float] | None:
    """(difference of Fréchet distances, its standard error); not worse means at most two of them above zero."""
    if row.fd is None or base.fd is None or row.parts is None or base.parts is None:
        return None
    return row.fd - base.fd, paired_error(row.parts, base.parts)


def ratio(row: Row, base: Row) -> tuple[float, float]:
    """(RMS ratio, its standard error over samples, paired): row's distance over the base's."""
    if row.each is None or base.each is None:
        raise ValueError("both rows need their samples' distances")
    a, b = row.each**2, base.each**2
    square = a.mean() / b.mean()
    error = np.std(a - square * b, ddof=1) / np.sqrt(len(a)) / b.mean()
    return float(np.sqrt(square)), float(error / (2 * np.sqrt(square)))
