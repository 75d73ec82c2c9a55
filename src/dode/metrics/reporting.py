"""From samplers to measured rows; what `dode.evaluate`, the commands and the benchmarks share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from dode import exact
from dode import samplers as plain
from dode.bundled_models import classifier
from dode.metrics.comparison import Row, Settings, calls, measure
from dode.metrics.extractors import named, wrapped
from dode.metrics.features import Features
from dode.metrics.figures import Judge
from dode.metrics.statistics import Statistics, bundled
from dode.model import Model
from dode.progress import Progress, counting
from dode.samplers import Sampler
from dode.schedule import Node


def bundled_judge() -> Judge:
    """The bundled classifier, against the training images."""
    return judge(named("bundled"), bundled(), wrapped(classifier()))


def judge(features: Features, statistics: Statistics, classify: Features | None = None) -> Judge:
    """An extractor with the statistics to compare with, and a classifier for class agreement."""
    return Judge(features, statistics.moments, statistics.features, classify, statistics.mark)


@torch.no_grad()
def exact_ends(model: Model, settings: Settings, progress: Progress) -> Tensor:
    """The exact solutions of the test noise (settings.paired, *shape), as exact as half precision allows."""
    x_T = model.start(range(settings.paired), settings.seed, settings.stream)
    rtol = exact.tolerance(model, settings.rtol)
    return model.exact(x_T, rtol, batch=settings.batch, progress=progress, group=settings.group)


@torch.no_grad()
def exact_path(
    model: Model, samplers: Sequence[Sampler], settings: Settings, progress: Progress
) -> tuple[Tensor, dict[Node, Tensor]]:
    """The same, and the exact states at the nodes of every deterministic sampler: each (settings.paired, *shape)."""
    nodes = list(dict.fromkeys(node for one in samplers if not one.stochastic for node in one.plan.nodes))
    x_T = model.start(range(settings.paired), settings.seed, settings.stream)
    cond = model.conditions(range(settings.paired))
    *states, end = exact.along(
        model, x_T, cond, exact.tolerance(model, settings.rtol), settings.batch, nodes, progress, settings.group
    )
    return end if model.solution is None else model.solution(model, x_T, cond), dict(zip(nodes, states, strict=True))


def solutions(
    samplers: Sequence[Sampler], settings: Settings, progress: Progress
) -> tuple[Tensor | None, dict[Node, Tensor] | None]:
    """The exact end, and the exact states at the samplers' nodes where they are asked for; None where they are not."""
    if not settings.paired:
        return None, None
    if settings.wants("path"):
        return exact_path(samplers[0].model, samplers, settings, progress)
    return exact_ends(samplers[0].model, settings, progress), None


def measured(
    chosen: Sequence[Sampler],
    end: Tensor | None,
    settings: Settings,
    progress: Progress,
    judge: Judge | None = None,
    path: Mapping[Node, Tensor] | None = None,
) -> list[Row]:
    """A row for each sampler, all on the same test noise."""
    if judge is None and settings.fd:
        judge = bundled_judge()
    tick = counting(progress, calls(chosen, settings))
    return [measure(one, end, settings, judge, tick, path) for one in chosen]


def with_figures(made: dict[int, Sampler], settings: Settings, progress: Progress) -> dict[int, Sampler]:
    """The samplers with their distances on test noise in their provenance, and the plain solver's, where one is."""
    model = next(iter(made.values())).model
    fits = {count: one for count, one in made.items() if one.provenance.distilled}
    bases = {count: _base(model, one) for count, one in fits.items() if one.provenance.formulation != "auto"}
    chosen = [*made.values(), *bases.values()]
    rows = measured(chosen, exact_ends(model, settings, progress), settings, progress)
    plainly = dict(zip(bases, rows[len(made) :], strict=True))
    return {
        count: noted(one, settings, mine, plainly.get(count))
        for (count, one), mine in zip(made.items(), rows[: len(made)], strict=True)
    }


def noted(one: Sampler, settings: Settings, mine: Row, base: Row | None) -> Sampler:
    """The sampler with a row's distances in its provenance, and with those of the plain solver that it is beside."""
    said: dict[str, object] = {"n": settings.paired, "seed": settings.seed}
    said |= {"rms": mine.rms, "rms error": mine.rms_error, "median": mine.median}
    if base is not None:
        said |= {"plain": base.solver, "plain rms": base.rms, "plain median": base.median}
    return replace(one, provenance=replace(one.provenance, report=one.provenance.report | said))


def _base(model: Model, one: Sampler) -> Sampler:
    """The plain solver that a distilled one was made from."""
    made = one.provenance
    return plain.sampler(model, made.solver, nfe=one.nfe, grid=made.grid, end=made.end)
