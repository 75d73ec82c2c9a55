"""How good samples are: distance to the exact solution, and metrics of features; `dode.evaluate` measures them."""

from dode.metrics.estimates import METRICS, Distance, Estimate, Metric, Row, change, distance, not_worse, ratio
from dode.metrics.features import Features, Moments, extracted, frechet, kid, mmd, moments, precision, recall, to_uint8

__all__ = [
    "METRICS", "Distance", "Estimate", "Features", "Metric", "Moments", "Row", "change", "distance", "extracted",
    "frechet", "kid", "mmd", "moments", "not_worse", "precision", "ratio", "recall", "to_uint8",
]  # fmt: skip
