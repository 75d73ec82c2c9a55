"""Measuring samplers on test noise: what is measured, the features it needs, and `dode.evaluate`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode import exact as exact_solution
from dode import noise
from dode import samplers as plain
from dode.bundled_models import classifier as bundled_classifier
from dode.errors import DodeError
from dode.metrics.estimates import METRICS, SPLITS, Row, metric_names, pooled
from dode.metrics.feature_extractors import as_extractor, open_extractor
from dode.metrics.features import Features, extracted, to_uint8
from dode.metrics.reference_stats import Statistics, bundled, read
from dode.model import Model
from dode.process_group import ALONE, ProcessGroup, current
from dode.progress import Progress, Tick, counting
from dode.samplers import Sampler
from dode.sampling import State


@dataclass(frozen=True)
class Settings:
    """What is measured, and on how many samples.

    Raises:
        DodeError: Too few samples, an unknown metric, or nothing to measure.
    """

    paired: int = 64  # samples for distances; 0 for none
    fd: int = 0  # samples for metrics of features; 0 for none
    seed: int = 0
    batch: int = 100  # samples a network call
    rtol: float = 4e-4  # of the exact solution
    stream: str = "test"  # of noise; "validation" for choices
    metrics: tuple[str, ...] = ("rms", "fd")  # names of METRICS and GROUPS; those that have no samples are left out
    group: ProcessGroup = ALONE  # processes that share the batches

    def __post_init__(self) -> None:
        if self.paired < 0 or self.paired == 1 or self.batch < 1:
            raise DodeError(
                f"at least 2 paired samples (or 0) and a batch of 1 are needed; got {self.paired}, {self.batch}"
            )
        if not self.rtol > 0:
            raise DodeError(f"rtol, the accuracy of the exact solution, must be positive; got {self.rtol}")
        if 0 < self.fd < 2 * SPLITS or self.fd < 0:
            raise DodeError(f"standard errors need at least {2 * SPLITS} samples; got {self.fd}")
        if not self.fd and not self.paired:
            raise DodeError("nothing to measure: there are neither paired samples nor samples for features")
        metric_names(self.metrics)

    @property
    def count(self) -> int:
        """Samples that are drawn."""
        return max(self.paired, self.fd)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The metrics that were asked for and have samples, by their names in METRICS."""
        samples = {True: self.paired, False: self.fd}
        return tuple(name for name in metric_names(self.metrics) if samples[METRICS[name].needs == "exact"])


def settings_of(metrics: Sequence[str], paired: int, samples: int, seed: int, batch: int, rtol: float) -> Settings:
    """Settings that draw no samples for metrics that nobody asked for.

    Raises:
        DodeError: A metric is unknown, or has no samples.
    """
    on_pairs = [METRICS[name].needs == "exact" for name in metric_names(metrics)]
    if (any(on_pairs) and not paired) or (not all(on_pairs) and not samples):
        raise DodeError(f"{', '.join(metrics)} need samples; got {paired} paired and {samples} for features")
    paired, samples = paired if any(on_pairs) else 0, 0 if all(on_pairs) else samples
    return Settings(paired, samples, seed, batch, rtol, metrics=tuple(metrics), group=current())


class Seen(NamedTuple):
    """A batch of B samples through the extractor, (B, D), and the classifier, (B,) bool."""

    features: np.ndarray | None = None
    correct: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Evaluator:
    """A feature extractor with the statistics of data to compare with, and a classifier for class agreement."""

    features: Features
    statistics: Statistics
    classifier: Features | None = None  # uint8 images → logits (N, classes)

    def probe(self, metrics: Sequence[str], model: Model) -> None:
        """Try everything that these metrics need on two samples of the model, before long work.

        Raises:
            DodeError: Something cannot be had: features of data, a classifier, labels, features of the same size.
        """
        needs = _needs(metrics)
        if "features" in needs and self.statistics.features is None:
            raise DodeError(
                "KID, precision and recall need features of data, and the statistics have mean and covariance alone; "
                "add them (feats), or images (arr_0), to the file"
            )
        if "classes" in needs and self.classifier is None:
            raise DodeError("class agreement needs a classifier: (uint8 images) -> logits")
        self.see(torch.zeros(2, *model.shape).to(model.device, model.dtype), range(2), metrics, model)

    def see(self, samples: Tensor, indices: range, metrics: Sequence[str], model: Model) -> Seen:
        """What these metrics need of samples (B, *shape) with these numbers."""
        needs = _needs(metrics)
        images = to_uint8(samples if model.decode is None else model.decode(samples))
        features = extracted(self.features, images) if needs & {"moments", "features"} else None
        size = len(self.statistics.moments.mean)
        if features is not None and features.shape[1] != size:
            raise DodeError(
                f"the extractor gives {features.shape[1]} features an image, the statistics are of {size}; "
                "both must be of one extractor"
            )
        if "classes" not in needs or self.classifier is None:
            return Seen(features)
        return Seen(features, correct(self.classifier(images), model.conditions(indices[: len(images)])))


def _needs(metrics: Sequence[str]) -> set[str]:
    return {METRICS[name].needs for name in metrics}


def correct(logits: Tensor, labels: Any) -> np.ndarray:
    """Whether the largest of each sample's logits (N, classes) is at its label (N,): (N,) bool.

    Raises:
        DodeError: The labels are not a class number a sample, or the logits have another shape.
    """
    if not isinstance(labels, Tensor) or labels.ndim != 1 or torch.is_floating_point(labels):
        raise DodeError("class agreement needs a model whose condition is a class number a sample; this has another")
    if logits.ndim != 2 or len(logits) != len(labels):
        raise DodeError(f"a classifier must return logits ({len(labels)}, classes); got {tuple(logits.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise DodeError(
            f"labels must be classes 0 … {logits.shape[1] - 1} of the classifier; "
            f"got {int(labels.min())} … {int(labels.max())}"
        )
    same: np.ndarray = (logits.argmax(1).cpu() == labels.cpu()).numpy()
    return same


def open_evaluator(
    extractor: str | Features,
    statistics: str | Path | Statistics | None,
    classifier: Features | None,
    device: str,
) -> Evaluator:
    """An extractor by name or itself with what it is compared with; what the bundled one lacks is the bundled one's.

    Raises:
        DodeError: An extractor of one's own comes without statistics.
    """
    features = open_extractor(extractor, device) if isinstance(extractor, str) else as_extractor(extractor, device)
    own = extractor != "bundled"
    if statistics is None and own:
        raise DodeError("an extractor of your own needs statistics, an .npz file of the same extractor on your data")
    if statistics is None:
        statistics = bundled()
    elif not isinstance(statistics, Statistics):
        statistics = read(statistics, features)
    if classifier is None and not own:
        classifier = bundled_classifier()
    return Evaluator(features, statistics, None if classifier is None else as_extractor(classifier, device))


def bundled_evaluator() -> Evaluator:
    """The bundled classifier, against the training images."""
    return open_evaluator("bundled", None, None, "cpu")


@torch.no_grad()
def measure(
    sampler: Sampler,
    exact: Tensor | None,
    settings: Settings,
    evaluator: Evaluator | None,
    tick: Tick = lambda n: None,
) -> Row:
    """Sample the test noise batch by batch and estimate every metric that is wanted.

    Args:
        sampler: What is measured.
        exact: The exact solution from the same noise, (paired, *shape); None without paired samples.
        settings: How; its processes take batches in turn, and each gets every number.
        evaluator: For metrics of features, which are left out without one.
        tick: Called after each network call.
    """
    if settings.paired and exact is None:
        raise DodeError("paired samples need the exact solution to compare with")
    how = sampler.provenance
    row = Row(sampler.name, sampler.nfe, guidance=sampler.model.guidance, seeds=(settings.seed,))
    row.stochastic = sampler.stochastic
    if how.distilled and how.teacher is not None:
        row.teacher = f"{how.teacher} with {how.teacher_nfe} evaluations"
    of_features = [] if evaluator is None else [one for one in settings.wanted if METRICS[one].needs != "exact"]
    images, features, right = _observe(row, sampler, settings, evaluator if of_features else None, tick)
    inputs: dict[str, tuple[Any, ...]] = {}
    if settings.paired:
        row.images, inputs["exact"] = images, (images, exact)
    if evaluator is not None and of_features:
        row.samples, row.reference = settings.fd, evaluator.statistics.mark
        data = evaluator.statistics
        inputs |= {"moments": (features, data.moments), "features": (features, data.features), "classes": (right,)}
    row.estimates = {
        name: METRICS[name].estimate(*inputs[METRICS[name].needs])
        for name in settings.wanted
        if METRICS[name].needs in inputs
    }
    return row


def _observe(
    row: Row, sampler: Sampler, settings: Settings, evaluator: Evaluator | None, tick: Tick
) -> tuple[Tensor, np.ndarray | None, np.ndarray | None]:
    """The paired samples, and what is seen of those for features; the seconds go to the row."""
    images, seen = [], []
    cuts = [range(i, min(i + settings.batch, settings.count)) for i in range(0, settings.count, settings.batch)]
    for together in (cuts[i : i + settings.group.size] for i in range(0, len(cuts), settings.group.size)):
        share = []
        for indices in settings.group.share(together):
            began = time.perf_counter()
            samples = _sample(sampler, indices, settings, tick)
            row.seconds += time.perf_counter() - began
            judged, parts = samples[: max(0, settings.fd - indices.start)], Seen()
            if evaluator is not None and len(judged):
                parts = evaluator.see(judged, indices, settings.wanted, sampler.model)
            share.append((samples[: max(0, settings.paired - indices.start)].cpu(), parts))
        for batch, parts in settings.group.gather(share):
            images.append(batch)
            seen.append(parts)
    features = [one.features for one in seen if one.features is not None]
    right = [one.correct for one in seen if one.correct is not None]
    return (
        torch.cat(images),
        np.concatenate(features) if features else None,
        np.concatenate(right) if right else None,
    )


def _sample(sampler: Sampler, indices: range, settings: Settings, tick: Tick) -> Tensor:
    x_T = sampler.model.start(indices, settings.seed, settings.stream)

    def advance(state: State) -> None:
        tick(1)

    return sampler.sample(noise=x_T, seed=settings.seed, batch=settings.batch, callback=advance, first=indices[0])


@torch.no_grad()
def exact_ends(model: Model, settings: Settings, progress: Progress) -> Tensor:
    """The exact solution of the test noise, (paired, *shape), as exact as half precision allows."""
    x_T = model.start(range(settings.paired), settings.seed, settings.stream)
    rtol = exact_solution.tolerance(model, settings.rtol)
    return model.exact(x_T, rtol, batch=settings.batch, progress=progress, group=settings.group)


def measured(
    samplers: Sequence[Sampler],
    exact: Tensor | None,
    settings: Settings,
    progress: Progress,
    evaluator: Evaluator | None = None,
) -> list[Row]:
    """A row for each sampler, all on the same test noise; features are the bundled ones without an evaluator."""
    if evaluator is None and settings.fd:
        evaluator = bundled_evaluator()
    batches = settings.group.share(range(0, settings.count, settings.batch))
    tick = counting(progress, len(batches) * sum(sampler.nfe for sampler in samplers))
    return [measure(sampler, exact, settings, evaluator, tick) for sampler in samplers]


def with_distances(fitted: dict[int, Sampler], settings: Settings, progress: Progress) -> dict[int, Sampler]:
    """Samplers by NFE with their distances in their provenance, beside those of the plain solver that was distilled."""
    model = next(iter(fitted.values())).model
    bases = {
        nfe: plain.sampler(model, how.solver, nfe=nfe, grid=how.grid, end=how.end)
        for nfe, how in ((nfe, sampler.provenance) for nfe, sampler in fitted.items())
        if how.distilled and how.formulation != "auto"
    }
    rows = measured([*fitted.values(), *bases.values()], exact_ends(model, settings, progress), settings, progress)
    beside = dict(zip(bases, rows[len(fitted) :], strict=True))
    pairs = zip(fitted.items(), rows[: len(fitted)], strict=True)
    return {nfe: with_distance(one, settings, row, beside.get(nfe)) for (nfe, one), row in pairs}


def with_distance(sampler: Sampler, settings: Settings, row: Row, base: Row | None) -> Sampler:
    """The sampler with a row's distances in its provenance, and those of the plain solver that it is compared with."""
    report: dict[str, object] = {"n": settings.paired, "seed": settings.seed}
    report |= {"rms": row.rms, "rms error": row.rms_error, "median": row.median}
    if base is not None:
        report |= {"plain": base.solver, "plain rms": base.rms, "plain median": base.median}
    return replace(sampler, provenance=replace(sampler.provenance, report=sampler.provenance.report | report))


@torch.no_grad()
def evaluate(
    sampler: Sampler,
    metrics: str | Sequence[str] = ("rms",),
    *,
    paired: int = 64,
    samples: int = 5000,
    seed: int | Sequence[int] = 0,
    extractor: str | Features = "bundled",
    statistics: str | Path | Statistics | None = None,
    classify: Features | None = None,
    batch: int = 100,
    rtol: float = 4e-4,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Row:
    """Measure a sampler on test noise; docs/evaluation.md says what each metric means.

    Args:
        sampler: Plain or distilled.
        metrics: One or several of "rms", the distance to the exact solution from the same noise in the units of the
            states (with the median); "fd", "kid", "precision", "recall", "pr" for the last two, and "agreement" (of
            classes), all of features.
        paired: Samples for the distance.
        samples: Samples for metrics of features.
        seed: Of the noise; several give means, with standard errors over the seeds.
        extractor: Any callable or module (uint8 (N, C, H, W)) → (N, D), or the name of one
            (`dode.metrics.feature_extractors.open_extractor`).
        statistics: Of data, by the same extractor: a Statistics or an .npz file; the bundled extractor has its own.
        classify: (uint8 images) → logits (N, classes); the bundled extractor has its own.
        batch: Samples a network call.
        rtol: Accuracy of the exact solution.
        cache: A folder for the network's outputs, from which a run that was killed goes on.
        progress: Called with (network calls done, in all), for the exact solution and again for the samples.

    Returns:
        A row of estimates with standard errors, `row["fd"].value`; the distance is also `row.rms` and `row.median`.

    Raises:
        DodeError: A metric cannot be had; before anything long.
    """
    if not isinstance(sampler, Sampler):
        raise DodeError(f"a sampler is needed, as dode.sampler or dode.distill makes it; got {type(sampler).__name__}")
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    seeds = [noise.whole(number) for number in np.atleast_1d(np.asarray(seed))]
    if len(set(seeds)) != len(seeds) or not seeds:
        raise DodeError(f"give at least one seed, and seeds that differ; got {', '.join(map(str, seeds)) or 'none'}")
    settings = settings_of(metrics, paired, samples, seeds[0], batch, rtol)
    tell = (lambda done, total: None) if progress is None else progress
    evaluator = None
    if settings.fd:
        evaluator = open_evaluator(extractor, statistics, classify, sampler.model.device)
        evaluator.probe(settings.wanted, sampler.model)
    sampler = replace(sampler, model=sampler.model.cached(cache))
    rows = []
    for number in seeds:
        settings = replace(settings, seed=number)
        exact = exact_ends(sampler.model, settings, tell) if settings.paired else None
        rows += measured([sampler], exact, settings, tell, evaluator)
    return pooled(rows)
