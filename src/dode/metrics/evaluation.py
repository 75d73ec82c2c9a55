"""`dode.evaluate`: every figure of one sampler."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dode import noise
from dode.bundled_models import classifier
from dode.errors import DodeError
from dode.metrics.comparison import METRICS, Row, Settings
from dode.metrics.extractors import named, wrapped
from dode.metrics.features import Features
from dode.metrics.figures import OF_FEATURES, Judge, probe
from dode.metrics.reporting import judge, measured, solutions
from dode.metrics.seeds import pooled
from dode.metrics.statistics import Statistics, bundled, read
from dode.process_group import current
from dode.progress import Progress
from dode.samplers import Sampler


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
    """How good a sampler is, on test noise: figures with their standard errors.

    Distances are in the units of the states, Fréchet and kernel distances in those of the features.
    sampler: plain or distilled; batch: samples a network call.
    metrics: "rms", the distance to the exact solution from the same noise, with the median (of `paired` samples);
    "path", the same at every node of the plan; "fd", "kid", "pr" (precision and recall) and "agreement" (of classes),
    on `samples` samples.  seed: several give means, and ± over the seeds.  extractor: any callable or module (uint8
    (N, C, H, W)) → (N, D), or a name (`dode.metrics.extractors.named`); statistics: of the same extractor, an .npz file
    or a Statistics, those that ship with the bundled one if left out; classify: (uint8 images) → logits (N, classes),
    the bundled classifier with the bundled extractor.  rtol: of the exact solution.  cache: a folder for the
    network's outputs, from which a run that was killed goes on.  progress(network calls done, in all), for the exact
    solution and again for the samples.
    Raises ValueError for a figure that cannot be had, before anything long.  docs/evaluation.md says what each means.
    """
    if not isinstance(sampler, Sampler):
        raise DodeError(f"a sampler is needed, as dode.sampler or dode.distill makes it; got {type(sampler).__name__}")
    metrics = (metrics,) if isinstance(metrics, str) else metrics
    seeds = [noise.whole(one) for one in np.atleast_1d(np.asarray(seed))]
    if len(set(seeds)) != len(seeds):
        raise DodeError(f"seeds must differ; got {', '.join(map(str, seeds))}")
    settings = [settings_of(metrics, paired, samples, one, batch, rtol) for one in seeds]
    if not settings:
        raise DodeError("give at least one seed")
    tell = (lambda done, total: None) if progress is None else progress
    chosen = None
    if settings[0].fd:
        chosen = judge_of(extractor, statistics, classify, sampler.model.device)
        probe(chosen, settings[0].of_features, sampler.model)
    sampler = replace(sampler, model=sampler.model.cached(cache))
    return pooled([_once(sampler, one, chosen, tell) for one in settings])


def settings_of(metrics: Sequence[str], paired: int, samples: int, seed: int, batch: int, rtol: float) -> Settings:
    """Settings that make no samples for figures that nobody asked for."""
    if not metrics or not set(metrics) <= set(METRICS):
        raise DodeError(f"metrics are {', '.join(METRICS)}; got {', '.join(metrics) or 'none'}")
    of_features = bool(set(metrics) & set(OF_FEATURES))
    of_pairs = bool({"rms", "path"} & set(metrics))
    if (of_features and not samples) or (of_pairs and not paired):
        raise DodeError(f"{', '.join(metrics)} need samples; got {paired} paired and {samples} for features")
    paired, samples = paired if of_pairs else 0, samples if of_features else 0
    return Settings(paired, samples, seed, batch, rtol, metrics=tuple(metrics), group=current())


def judge_of(
    extractor: str | Features,
    statistics: str | Path | Statistics | None,
    classify: Features | None,
    device: str,
) -> Judge:
    """An extractor with what to compare with; ValueError if its statistics are missing."""
    features = named(extractor, device) if isinstance(extractor, str) else wrapped(extractor, device)
    own = extractor != "bundled"
    if statistics is None and own:
        raise DodeError("an extractor of your own needs statistics, an .npz file of the same extractor on your data")
    if statistics is None:
        statistics = bundled()
    elif not isinstance(statistics, Statistics):
        statistics = read(statistics, features)
    if classify is None and not own:
        classify = classifier()
    return judge(features, statistics, None if classify is None else wrapped(classify, device))


def _once(sampler: Sampler, settings: Settings, judge: Judge | None, progress: Progress) -> Row:
    end, path = solutions([sampler], settings, progress)
    return measured([sampler], end, settings, progress, judge, path)[0]
