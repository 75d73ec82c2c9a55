"""`dode.distill(model, "auto", nfe=…)`: the best sampler that forward passes alone can find.

One accurate run gives the ends of some samples.  Learning-free solvers on plain grids are tried on a few of them; the
best few are refined there (`dode.refinement`), the best of these on all samples, until the error on other samples, that
nothing is fitted on, stops falling.  Nothing that was judged there is nearer there than what is given back.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from dode.conditions import rows
from dode.model import Model
from dode.plan import Plan
from dode.refinement import DAMPINGS, Family, Round, begun, cost, history, rounds, squares, tried, weighted
from dode.samplers import Provenance, Sampler, dtype_name
from dode.solvers.ddim import DDIM
from dode.spending import Budget, Meter
from dode.starts import TEACHER, Task, loose, nearest, starts, task
from dode.tracing import trace

Progress = Callable[[str, float], None]  # what is being tried, share of the evaluations that may be spent
FEW, LEAST, LOOK = 16, 8, 0.2  # samples that a first look takes, at least, and its share of what may be spent
MAIN = 0.8  # share of the budget before times are rounded
STALLS = 3  # rounds without a smaller error on other samples, after which a refinement ends


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan with how it was made, and how far it is from the ends that nothing is fitted on."""

    name: str
    plan: Plan
    select: float
    method: str = "ddim"
    errors: tuple[tuple[float, ...], ...] = ()  # standard errors: of each evaluation's weights
    places: dict[str, list[float]] = field(default_factory=dict)  # of the log gaps, and of what the network is told


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome for one number of evaluations: the best candidate, all that were judged, and what it cost."""

    best: Candidate
    tried: tuple[Candidate, ...]
    calls: float  # evaluations for each sample, everything counted
    rounds: tuple[tuple[str, float, float], ...] = field(default=())  # what was refined: RMS on fit, on select


def search(fit: Task, select: Task, nfe: int, budget: Budget, meter: Meter) -> Found:
    """The best plan of this many evaluations."""
    every = starts(fit.model, nfe, budget.tried, budget.grids, budget.whole)
    meter.doing = f"NFE {nfe}: {len(every)} solvers"
    few = min(FEW, len(select.x_T), max(LEAST, int(LOOK * meter.allowed / (nfe * max(1, len(every))))))
    each = nfe * (few + 2 * len(select.x_T))
    looked = nearest(every, select, few, budget.batch, meter.tick, lambda: meter.has(each))
    candidates = [
        Candidate(label, plan, _select(plan, select, budget, meter), name) for label, name, plan in looked[:2]
    ]
    path: list[tuple[str, float, float]] = []
    begin = _different([(label, plan) for label, _, plan in looked])[: budget.begin]
    refined = _trials(fit, begin, budget, meter, path)
    rounding = budget.whole and fit.model.schedule.integer
    allowed, meter.allowed = meter.allowed, meter.allowed * (MAIN if rounding else 1)
    refined = refined if meter.has(nfe * (len(fit.x_T) + len(select.x_T))) else []
    with suppress(ValueError):  # the network fails on samples that the part had not
        for label, family, round_ in refined[:1]:
            found = _finished(fit, select, label, family, round_, budget, meter, path)
            meter.allowed = allowed
            candidates.append(_rounded(fit, select, found, budget, meter, path) if rounding else found)
    best = min(candidates, key=lambda one: one.select)
    return Found(best, tuple(candidates), meter.spent / len(fit.x_T), tuple(path))


def _different(begin: list[tuple[str, Plan]]) -> list[tuple[str, Plan]]:
    """One start for each kind of outputs and grid, the best."""
    found: dict[Any, tuple[str, Plan]] = {}
    for label, plan in begin:
        found.setdefault((plan.kind, plan.nodes), (label, plan))
    return list(found.values())


Refined = tuple[str, Family, Round]


def _trials(
    fit: Task, begin: Sequence[tuple[str, Plan]], budget: Budget, meter: Meter, path: list[tuple[str, float, float]]
) -> list[Refined]:
    """Each start refined on a part of the samples, within a half of what may be spent; the nearest first."""
    part = min(len(fit.x_T), budget.part)
    share = (meter.allowed - meter.spent) / 2 / max(1, len(begin))
    found = []
    for label, plan in begin:
        if not meter.has(plan.nfe * part):
            break
        meter.doing = f"refining {label}"
        family = Family(weighted(plan), loose(fit.model.schedule), history, budget.told and not budget.whole)
        pupils = fit.pupils(plan.kind, 0, part, budget.batch)
        last = meter.spent + share
        now = begun(family, pupils, meter.tick)
        if not np.isfinite(now.rms):
            continue
        steps = rounds(family, now, pupils, [pupils], meter.tick)
        while meter.has(0) and meter.spent + (cost(family) + len(DAMPINGS) * family.base.nfe) * part <= last:
            after = _next(steps)
            if after is None:
                break
            now = after
        path.append((f"{label}, {part} samples", now.rms, math.nan))
        found.append((label, family, now))
    return sorted(found, key=lambda one: one[2].rms)


def _finished(
    fit: Task,
    select: Task,
    label: str,
    family: Family,
    start: Round,
    budget: Budget,
    meter: Meter,
    path: list[tuple[str, float, float]],
) -> Candidate:
    """Refined on all samples until the select error stalls; the plan with the smallest."""
    meter.doing = f"refining {label} on all samples"
    pupils = fit.pupils(family.base.kind, batch=budget.batch)
    plan = family.plan(start.numbers)
    now = replace(start, squares=squares(plan, pupils, meter.tick))
    best = _judged(f"refined {label}", family, start, _select(plan, select, budget, meter))
    path.append((label, now.rms, best.select))
    size = min(budget.part, len(fit.x_T))
    parts = [
        fit.pupils(family.base.kind, first, min(size, len(fit.x_T) - first), budget.batch)
        for first in range(0, len(fit.x_T) - size // 2, size)
    ]
    stalled, steps = 0, rounds(family, now, pupils, parts, meter.tick)
    each = cost(family) * size + family.base.nfe * (len(select.x_T) + len(DAMPINGS) * len(fit.x_T))
    while stalled < STALLS and meter.has(each):
        after = _next(steps)
        if after is None:
            break
        plan = family.plan(after.numbers)
        value = _select(plan, select, budget, meter)
        path.append((label, after.rms, value))
        stalled = 0 if value < best.select else stalled + 1
        if value < best.select:
            best = _judged(best.name, family, after, value)
    return best


def _judged(name: str, family: Family, now: Round, value: float) -> Candidate:
    """A round as a candidate, with the errors of its numbers if there was a Jacobian."""
    if np.isnan(now.errors).any():
        return Candidate(name, family.plan(now.numbers), value)
    weights, gaps, told = family.split(now.errors)
    places = {"errors of log gaps": gaps.tolist(), "errors of told": told.tolist()}
    errors = tuple(tuple(some.tolist()) for some in weights)
    return Candidate(name, family.plan(now.numbers), value, errors=errors, places=places)


def _rounded(
    fit: Task, select: Task, found: Candidate, budget: Budget, meter: Meter, path: list[tuple[str, float, float]]
) -> Candidate:
    """The plan on the nearest whole times, told as they are, its weights refined again."""
    schedule, old = fit.model.schedule, found.plan
    _, *inner, last = old.nodes
    nodes = [schedule.node(float(round(schedule.at(node.logsnr).t))) for node in inner]
    moved = trace(DDIM, (schedule.node(schedule.t_max), *nodes, last), loose(schedule), old.kind)
    family = Family(replace(moved, mix=old.mix, free=True), loose(schedule), history, times=False)
    pupils = fit.pupils(old.kind, batch=budget.batch)
    start = begun(family, pupils, meter.tick)
    again = _finished(fit, select, found.name.removeprefix("refined "), family, start, budget, meter, path)
    return replace(again, name=found.name)


def _select(plan: Plan, select: Task, budget: Budget, meter: Meter) -> float:
    return math.sqrt(tried(plan, select.pupils(plan.kind, batch=budget.batch), meter.tick).mean())


def _next(steps: Iterator[Round]) -> Round | None:
    """The next round; None after the last, and where the network fails beside where the numbers are."""
    with suppress(ValueError):
        return next(steps, None)
    return None


def tuned(
    model: Model,
    counts: Sequence[int],
    budget: Budget | None = None,
    seed: int = 0,
    cond: Any = None,
    progress: Progress | None = None,
) -> dict[int, tuple[Sampler, Found]]:
    """The best sampler for each number of evaluations, with how it was found; the teacher's run serves all."""
    return {found.nfe: (found, how) for found, how in searched(model, counts, budget or Budget(), seed, cond, progress)}


@torch.no_grad()
def searched(
    model: Model,
    counts: Sequence[int],
    budget: Budget,
    seed: int = 0,
    cond: Any = None,
    progress: Progress | None = None,
) -> Iterator[tuple[Sampler, Found]]:
    """`tuned`, each number of evaluations as soon as it is found, from the least."""
    if model.trained is not None:
        model.trained.refuse(model.name)
    if not counts or any(not isinstance(nfe, int | np.integer) or nfe < 1 for nfe in counts):
        raise ValueError(f"nfe must be a whole number and at least 1; got {', '.join(map(str, counts))}")
    told = progress or (lambda what, share: None)
    paid = Meter(1.0, lambda what, share: told("teacher", 0.0))
    teacher = max(budget.teacher, 3 * max(counts))
    fit = task(model, "fit", budget.samples, teacher, seed, paid.tick, cond, budget.batch)
    given = None if cond is None else rows(model.conditions(range(budget.samples), cond), _in_turn(budget))
    select = task(model, "select", budget.select, teacher, seed, paid.tick, given, budget.batch)
    wanted, began = sorted(set(counts)), time.monotonic()
    for i, nfe in enumerate(wanted):
        left = budget.seconds - (time.monotonic() - began)
        until = time.monotonic() + left / (len(wanted) - i)
        meter = Meter(budget.most * 10 * nfe * budget.samples, told, paid.spent, until=until)
        found = search(fit, select, nfe, budget, meter)
        yield Sampler(model, found.best.plan, _provenance(model, found, budget, seed, fit.count)), found


def _in_turn(budget: Budget) -> list[int]:
    return [i % budget.samples for i in range(budget.select)]


def _provenance(model: Model, found: Found, budget: Budget, seed: int, teacher: int) -> Provenance:
    best = found.best
    refined = best.name.startswith("refined")
    report = {"start": best.name, "select rms": best.select, "evaluations a sample": found.calls}
    report |= {name: values for name, values in best.places.items() if values}
    report |= {f"tried {one.name}": one.select for one in found.tried}
    where, dtype = best.name.rpartition(", ")[2], dtype_name(model)
    if not refined:
        return Provenance(best.method, False, where, samples=budget.samples, seed=seed, dtype=dtype, report=report)
    return Provenance(
        best.method,
        True,
        where,
        formulation="auto",
        teacher=TEACHER,
        teacher_nfe=teacher,
        samples=budget.samples,
        seed=seed,
        dtype=dtype,
        errors=best.errors,
        report=report,
    )
