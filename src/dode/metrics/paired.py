"""The paired distance: samples against the exact solution from the same noise, at the end and along the way."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from dode.errors import DodeError
from dode.metrics.parts import error
from dode.schedule import Node


class Distance(NamedTuple):
    """Of n samples; in the units of the data."""

    rms: float  # root of the mean square over samples and pixels
    median: float  # over samples, of each sample's own RMS
    each: np.ndarray  # (n,), each sample's own RMS

    @property
    def error(self) -> float:
        """The standard error of rms: that of the mean square, over twice the root; NaN of one sample."""
        return error(self.each**2) / (2 * self.rms) if self.rms else 0.0


def distance(samples: Tensor, reference: Tensor) -> Distance:
    """RMS and median of samples (n, …) to the reference (n, …) from the same noise.

    Raises ValueError if their shapes differ.
    """
    if samples.shape != reference.shape:
        raise DodeError(f"samples {tuple(samples.shape)} and reference {tuple(reference.shape)} differ in shape")
    each = (samples.cpu().double() - reference.cpu().double()).flatten(1).square().mean(1).sqrt().numpy()
    return Distance(float(np.sqrt(np.mean(each**2))), float(np.median(each)), each)


class Stop(NamedTuple):
    """The distance to the exact path at one state of a run."""

    t: float
    rms: float
    median: float


class Way:
    """The distance at every state of a run, gathered batch by batch."""

    def __init__(self, nodes: Sequence[Node], path: Mapping[Node, Tensor]) -> None:
        """Nodes of the states; path: the exact states (n, *shape) at each of them."""
        self.nodes, self.path = nodes, path
        self.each: list[list[np.ndarray]] = [[] for _ in nodes]

    def distances(self, states: Sequence[Tensor], indices: range) -> list[np.ndarray]:
        """Of every state of some samples, those of these numbers first."""
        exact = [self.path[node][indices.start : indices.stop] for node in self.nodes]
        return [distance(state[: len(indices)], known).each for state, known in zip(states, exact, strict=True)]

    def add(self, distances: Sequence[np.ndarray]) -> None:
        """Take in the distances of the next samples; none if they are not paired."""
        for found, each in zip(self.each, distances, strict=False):
            found.append(each)

    def stops(self, times: Sequence[float]) -> tuple[Stop, ...]:
        """Of all samples; times: of the states."""
        whole = [np.concatenate(one) for one in self.each]
        return tuple(
            Stop(t, float(np.sqrt(np.mean(one**2))), float(np.median(one))) for t, one in zip(times, whole, strict=True)
        )
