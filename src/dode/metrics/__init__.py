"""How good samples are: distance to the exact solution, and figures of features; `dode.evaluate` measures them."""

from dode.metrics.features import Features, Moments, extracted, moments, to_uint8
from dode.metrics.gaussians import Running, frechet, splits
from dode.metrics.kernel import kid, mmd
from dode.metrics.manifold import coverage
from dode.metrics.paired import Distance, distance
from dode.metrics.parts import paired_error

__all__ = [
    "Distance",
    "Features",
    "Moments",
    "Running",
    "coverage",
    "distance",
    "extracted",
    "frechet",
    "kid",
    "mmd",
    "moments",
    "paired_error",
    "splits",
    "to_uint8",
]
