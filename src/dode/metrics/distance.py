"""The paired distance: samples against the exact solution from the same noise."""

from typing import NamedTuple

import numpy as np
from torch import Tensor


class Distance(NamedTuple):
    """Of n samples; in the units of the data."""

    rms: float  # root of the mean square over samples and pixels
    median: float  # over samples, of each sample's own RMS
    each: np.ndarray  # (n,), each sample's own RMS


def distance(samples: Tensor, reference: Tensor) -> Distance:
    """RMS and median of samples (n, …) to the reference (n, …) from the same noise."""
    if samples.shape != reference.shape:
        raise ValueError(f"samples {tuple(samples.shape)} and reference {tuple(reference.shape)} differ in shape")
    each = (samples.double() - reference.double()).flatten(1).square().mean(1).sqrt().cpu().numpy()
    return Distance(float(np.sqrt(np.mean(each**2))), float(np.median(each)), each)
