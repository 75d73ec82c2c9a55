"""Noise, one stream a sample: the same on every device and for every batch size.

Three disjoint ranges of starting noise: "fit" to fit solvers on, "validation" to choose on, "test" for the figures that
are shown.  A fourth, "added", is for samplers that add noise on their way.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError
from dode.schedule import Schedule

STREAMS = {"fit": 1, "validation": 2, "test": 3, "added": 4}


def noise(indices: Sequence[int], shape: Sequence[int], seed: int, stream: str = "test", state: int = 0) -> Tensor:
    """Standard normal (len(indices), *shape) in float64: sample i depends on (seed, stream, state, i) alone.

    Args:
        indices: numbers of the samples.
        shape: of one sample.
        seed: a whole number from 0 to 2^64 − 1.
        stream: "fit", "validation", "test" or "added".
        state: number of the state that the noise is added to; 0 for starting noise.

    Raises:
        DodeError: for another seed.
    """
    seed = whole(seed)
    drawn = np.empty((len(indices), *shape))
    for row, i in zip(drawn, indices, strict=True):
        key = np.array([seed, (STREAMS[stream] << 48) + (state << 36) + i], dtype=np.uint64)
        row[...] = np.random.Generator(np.random.Philox(key=key)).standard_normal(tuple(shape))
    return torch.from_numpy(drawn)


def whole(seed: Any) -> int:
    """The seed; DodeError for anything else."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise DodeError(f"seed must be a whole number from 0 to 2^64 − 1; got {seed!r}")
    return int(seed)


def start(indices: Sequence[int], shape: Sequence[int], schedule: Schedule, seed: int, stream: str = "test") -> Tensor:
    """x_T = σ_T·noise: where a run of these samples starts, float64."""
    return schedule.node(schedule.t_max).sigma * noise(indices, shape, seed, stream)
