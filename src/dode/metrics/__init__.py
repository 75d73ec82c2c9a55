"""How good samples are: paired distance to the exact solution, and Fréchet distance of features."""

from dode.metrics.distance import Distance, distance
from dode.metrics.frechet import Features, Moments, frechet, moments, paired_error, splits, to_uint8

__all__ = ["Distance", "Features", "Moments", "distance", "frechet", "moments", "paired_error", "splits", "to_uint8"]
