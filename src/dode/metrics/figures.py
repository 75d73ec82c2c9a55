"""Figures of features of many samples: Fréchet distance, KID, precision and recall, class agreement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError
from dode.metrics.agreement import agreed, labels_of
from dode.metrics.features import Features, Moments, extracted, to_uint8
from dode.metrics.gaussians import Running
from dode.metrics.kernel import kid, kid_splits
from dode.metrics.manifold import coverage
from dode.metrics.parts import SPLITS, means
from dode.model import Model

OF_FEATURES = ("fd", "kid", "pr", "agreement")  # pr gives two figures, precision and recall


@dataclass(frozen=True)
class Judge:
    """A feature extractor and what to compare with."""

    features: Features
    statistics: Moments
    sample: np.ndarray | None = None  # (M, D), features of data: for KID, precision and recall
    classify: Features | None = None  # uint8 images → logits: for class agreement
    mark: str = ""  # a hash of what is compared with

    def check(self, wanted: Sequence[str]) -> None:
        """ValueError if a figure is asked for that this judge cannot give."""
        if self.sample is None and ("kid" in wanted or "pr" in wanted):
            raise DodeError(
                "KID, precision and recall need features of data, and the statistics have mean and covariance alone; "
                "add them (feats), or images (arr_0), to the file"
            )
        if self.classify is None and "agreement" in wanted:
            raise DodeError("class agreement needs a classifier: (uint8 images) -> logits")


def probe(judge: Judge, wanted: Sequence[str], model: Model) -> None:
    """ValueError if the judge cannot give these figures of the model's samples; asked before long work, not after."""
    Figures(judge, wanted, 2 * SPLITS, model).seen(torch.zeros(2, *model.shape).to(model.device, model.dtype), range(2))


class Figure(NamedTuple):
    """A number with the same number of each of ten disjoint splits, from which its standard error comes."""

    name: str
    value: float
    parts: np.ndarray  # (10,)


class Seen(NamedTuple):
    """Of a batch of samples."""

    features: np.ndarray | None  # (B, D)
    agreed: np.ndarray | None  # (B,)


class Figures:
    """Gathered batch by batch; features themselves are kept only where KID, precision or recall needs them."""

    def __init__(self, judge: Judge, wanted: Sequence[str], count: int, model: Model) -> None:
        judge.check(wanted)
        self.judge, self.wanted, self.model = judge, wanted, model
        self.running = Running(count, judge.statistics) if "fd" in wanted else None
        self.kept: list[np.ndarray] = []
        self.agreed: list[np.ndarray] = []

    def seen(self, samples: Tensor, indices: range) -> "Seen":
        """What the extractor and the classifier see in samples, the first of these numbers."""
        images = to_uint8(samples if self.model.decode is None else self.model.decode(samples))
        found = extracted(self.judge.features, images) if {"fd", "kid", "pr"} & set(self.wanted) else None
        if found is not None and found.shape[1] != len(self.judge.statistics.mean):
            raise DodeError(
                f"the extractor gives {found.shape[1]} features an image, the statistics are of "
                f"{len(self.judge.statistics.mean)}; both must be of one extractor"
            )
        if "agreement" not in self.wanted or self.judge.classify is None:
            return Seen(found, None)
        labels = labels_of(self.model.conditions(indices[: len(images)]), self.model.name)
        return Seen(found, agreed(self.judge.classify(images), labels))

    def add(self, seen: "Seen") -> None:
        """Take in what was seen in the next samples."""
        if seen.features is not None and self.running is not None:
            self.running.add(seen.features)
        if seen.features is not None and {"kid", "pr"} & set(self.wanted):
            self.kept.append(seen.features)
        if seen.agreed is not None:
            self.agreed.append(seen.agreed)

    def found(self) -> Iterator[Figure]:
        """The figures of all samples, once all have come."""
        if self.running is not None:
            yield Figure("fd", self.running.distance(), np.array(self.running.parts))
        if self.kept and self.judge.sample is not None:
            yield from self._of_features(np.concatenate(self.kept), self.judge.sample)
        if self.agreed:
            each = np.concatenate(self.agreed)
            yield Figure("agreement", float(each.mean()), means(each))

    def _of_features(self, features: np.ndarray, sample: np.ndarray) -> Iterator[Figure]:
        if "kid" in self.wanted:
            yield Figure("kid", kid(features, sample).mean, kid_splits(features, sample))
        if "pr" in self.wanted:
            count = min(len(features), len(sample))  # the figures depend on both numbers, so they are the same
            among = coverage(features[:count], sample[:count])
            yield Figure("precision", float(among.precise.mean()), means(among.precise))
            yield Figure("recall", float(among.recalled.mean()), means(among.recalled))
