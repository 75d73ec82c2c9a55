"""Fréchet distance of features: |μ₁ − μ₂|² + tr(C₁ + C₂ − 2·(C₁C₂)^½).  Heusel et al. 2017.

A perfect sampler does not score zero on few samples; compare equal n, and judge differences by `paired_error`.
"""

from dataclasses import dataclass, field

import numpy as np

from dode.errors import DodeError
from dode.metrics.features import Moments, Tally, finished, merged, moments, tally
from dode.metrics.parts import parted


def frechet(a: Moments, b: Moments) -> float:
    """The distance of two sets of moments; tr((C₁C₂)^½) by the eigenvalues of C₁^½·C₂·C₁^½.

    Raises ValueError if they are of features of different size.
    """
    if a.mean.shape != b.mean.shape:
        raise DodeError(f"features of {len(a.mean)} numbers cannot be compared with statistics of {len(b.mean)}")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ b.covariance @ root).clip(min=0)).sum()
    gap = np.sum((a.mean - b.mean) ** 2)
    return float(gap + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


def splits(features: np.ndarray, reference: Moments) -> np.ndarray:
    """The distance of each of ten disjoint parts of the samples: (10,)."""
    return np.array([frechet(moments(features[part]), reference) for part in parted(len(features))])


@dataclass
class Running:
    """The distance of samples that come batch by batch, in their order: two tallies are kept, no features."""

    count: int  # samples that will come
    reference: Moments
    parts: list[float] = field(default_factory=list)  # of the splits that are whole
    _whole: Tally | None = None
    _open: Tally | None = None

    def __post_init__(self) -> None:
        self._sizes = [part.stop - part.start for part in parted(self.count)]

    def add(self, features: np.ndarray) -> None:
        """Take in the next features (N, D); ValueError for more than were announced."""
        while len(features):
            if len(self.parts) == len(self._sizes):
                raise DodeError(f"more features came than the {self.count} that were announced")
            room = self._sizes[len(self.parts)] - (self._open.count if self._open else 0)
            now, features = tally(features[:room]), features[room:]
            self._open = merged(self._open, now) if self._open else now
            if now.count == room:
                self.parts.append(frechet(finished(self._open), self.reference))
                self._whole = merged(self._whole, self._open) if self._whole else self._open
                self._open = None

    def distance(self) -> float:
        """Of all samples, once all have come; ValueError before."""
        if self._whole is None or len(self.parts) < len(self._sizes):
            raise DodeError(f"not all of the {self.count} samples have come")
        return frechet(finished(self._whole), self.reference)
