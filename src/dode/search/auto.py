"""The search of `dode.auto`: the best sampler that forward passes alone can find.

One accurate run gives the ends of some samples.  Learning-free solvers on plain grids are tried on a few of them; the
best few are refined there (`levenberg_marquardt`), the best of these on all samples, until the error on other
samples, that nothing is fitted on, stops falling.  Nothing that was judged there is nearer there than what is given
back.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dode.conditioning import rows
from dode.errors import DodeError, NonFinite
from dode.model import Model
from dode.plan import Plan
from dode.samplers import Provenance, Sampler, dtype_name
from dode.schedule import Schedule
from dode.search.budget import Budget, Meter, able
from dode.search.initial_candidates import TEACHER, Start, Task, kinds, nearest, starts, task
from dode.search.levenberg_marquardt import DAMPINGS, Pupil, Round, begun, cost, errors, rounds, squares
from dode.search.optimal_grid import evaluations, fine_plan, weighed
from dode.search.parametrization import Family, history, weighted
from dode.search.validation import Candidate, Jury, convened
from dode.solvers.ddim import DDIM
from dode.timesteps import Grid, grid
from dode.tracing import trace

Telling = Callable[[str, float], None]  # what is being tried, share of the evaluations that may be spent
FEW, LEAST, LOOK = 16, 8, 0.2  # samples that a first look takes, at least, and its share of what may be spent
MAIN = 0.8  # share of the budget before times are rounded
ENOUGH = 1.25  # of what a round costs at most: about two rounds, less than which a start is not worth refining for
STALLS = 3  # rounds without a smaller error on other samples, after which a refinement ends


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome for one number of evaluations: the best candidate, all that were judged, and what it cost."""

    best: Candidate
    tried: tuple[Candidate, ...]
    calls: float  # evaluations for each sample, everything counted
    rounds: tuple[tuple[str, float, float], ...] = ()  # what was refined: RMS on fit, on select


def search(fit: Task, select: Task, nfe: int, budget: Budget, meter: Meter) -> Found:
    """The best plan of this many evaluations."""
    meter.doing = "a grid"
    every = starts(fit.model, nfe, budget.tried, (*_grids(fit, nfe, budget, meter), *budget.grids), budget.whole)
    meter.doing = f"{len(every)} solvers"
    few = min(FEW, len(select.x_T), max(LEAST, int(LOOK * meter.allowed / (nfe * max(1, len(every))))))
    each = nfe * (few + (budget.begin + 1) * len(select.x_T))
    most = meter.spent + 2 * LOOK * (meter.allowed - meter.spent)
    looked = nearest(every, select, few, budget.batch, meter.tick, lambda: meter.has(each) and meter.spent < most)
    looked = _different(looked)
    jury, candidates = convened(looked[: budget.begin + 1], select, budget.batch, meter)
    path: list[tuple[str, float, float]] = []
    refined = _trials(fit, looked[: budget.begin], budget, meter, path)
    rounding = budget.whole and budget.between and fit.model.schedule.integer
    allowed, meter.allowed = meter.allowed, meter.allowed * (MAIN if rounding else 1)
    refined = refined if meter.has(nfe * (len(fit.x_T) + len(select.x_T))) else []
    with suppress(NonFinite):  # on samples that the part had not
        for start, family, round_ in refined[:1]:
            found = _finished(fit, jury, start, family, round_, budget, meter, path)
            meter.allowed = allowed
            candidates.append(_rounded(fit, jury, start, found, budget, meter, path) if rounding else found)
    best = min(candidates, key=lambda one: one.select)
    return Found(best, tuple(candidates), meter.spent / len(fit.x_T), tuple(path))


def _grids(fit: Task, nfe: int, budget: Budget, meter: Meter) -> list[Grid]:
    """The grid that is made for the model, if its schedule has times enough; and even times under a flow's shift."""
    schedule = fit.model.schedule if budget.whole else fit.model.schedule.continuous()
    found: list[Grid] = []
    with suppress(NonFinite):  # where only this run asks the network
        if (fine := _fine(fit, nfe, schedule)) is not None:
            found.append(weighed(fit, nfe, fine, schedule, budget.batch, meter.tick))
    if schedule.shift != 1:
        times = [schedule.t_max + (schedule.t_end - schedule.t_max) * i / nfe for i in range(nfe + 1)]
        found.append(replace(grid(schedule, nfe, times), name="unshifted"))
    return found


def _fine(fit: Task, nfe: int, schedule: Schedule) -> Plan | None:
    """The plan of the fine run; None where the schedule has too few times for it, or it fewer steps than are asked."""
    count = evaluations(nfe)
    with suppress(DodeError):  # no network is called here
        return fine_plan(count, schedule, kinds(fit.model)[0]) if nfe <= count else None
    return None


def _different(looked: Sequence[Start]) -> list[Start]:
    """One start for each kind of outputs and grid, the best."""
    found: dict[Any, Start] = {}
    for start in looked:
        found.setdefault((start.plan.kind, start.plan.nodes), start)
    return list(found.values())


Refined = tuple[Start, Family, Round]


def _trials(
    fit: Task, begin: Sequence[Start], budget: Budget, meter: Meter, path: list[tuple[str, float, float]]
) -> list[Refined]:
    """Each start refined on a part of the samples; the nearest first.

    Several share a half of what may be spent, as many as have ENOUGH each; a search of one start takes all but what a
    look at all samples needs.
    """
    part = min(len(fit.x_T), budget.part)
    left = meter.allowed - meter.spent
    families = [_family(one.plan, fit.model.schedule, budget) for one in begin]
    each = max((cost(family) + len(DAMPINGS) * family.base.nfe) * part for family in families)  # of a round, at most
    count = min(len(begin), max(1, int(left / 2 / (ENOUGH * each))))
    last_look = begin[0].plan.nfe * (budget.samples + budget.select)
    share = left - last_look if budget.begin == 1 else left / 2 / count
    found = []
    for one, family in list(zip(begin, families, strict=True))[:count]:
        if not meter.has(one.plan.nfe * part):
            break
        meter.doing = f"refining {one.label}"
        now = _trial(family, fit.pupils(one.plan.kind, 0, part, budget.batch), meter, each, meter.spent + share)
        if np.isfinite(now.rms):
            path.append((f"{one.label}, {part} samples", now.rms, math.nan))
            found.append((one, family, now))
    return sorted(found, key=lambda each: each[2].rms)


def _family(plan: Plan, schedule: Schedule, budget: Budget) -> Family:
    """What is refined of a start: all, or the weights alone where the network can be asked at whole times only."""
    if not budget.between:
        return Family(weighted(plan), schedule, history, times=False)
    return Family(weighted(plan), schedule.continuous(), history, budget.told and not budget.whole)


def _trial(family: Family, pupils: Sequence[Pupil], meter: Meter, each: int, last: float) -> Round:
    """Rounds of a start, which cost up to `each`, until so many evaluations are spent; the last of them."""
    now = begun(family, pupils, meter.tick)
    steps = rounds(family, now, pupils, [pupils], meter.tick)
    while np.isfinite(now.rms) and meter.has(0) and meter.spent + each <= last:
        after = _next(steps)
        if after is None:
            break
        now = after
    return now


def _finished(
    fit: Task,
    jury: Jury,
    start: Start,
    family: Family,
    first: Round,
    budget: Budget,
    meter: Meter,
    path: list[tuple[str, float, float]],
) -> Candidate:
    """Refined on all samples until the select error stalls; the plan with the smallest."""
    meter.doing = f"refining {start.label} on all samples"
    pupils = fit.pupils(family.base.kind, batch=budget.batch)
    plan = family.plan(first.numbers)
    now = replace(first, squares=squares(plan, pupils, meter.tick))
    if not np.isfinite(now.squares).all():
        raise NonFinite("the plan that was refined on a part of the samples is not finite on all of them")
    best = _judged(start, family, first, jury.error(plan, meter))
    path.append((start.label, now.rms, best.select))
    size = min(budget.part, len(fit.x_T))
    parts = [
        fit.pupils(family.base.kind, begin, min(size, len(fit.x_T) - begin), budget.batch)
        for begin in [*range(size, len(fit.x_T) - size // 2, size), 0]  # the first was the start's
    ]
    stalled, steps = 0, rounds(family, now, pupils, parts, meter.tick)
    each = cost(family) * size + family.base.nfe * (len(jury.select.x_T) + len(DAMPINGS) * len(fit.x_T))
    while stalled < STALLS and meter.has(each):
        after = _next(steps)
        if after is None:
            break
        plan = family.plan(after.numbers)
        value = jury.error(plan, meter)
        path.append((start.label, after.rms, value))
        stalled = 0 if value < best.select else stalled + 1
        if value < best.select:
            best = _judged(start, family, after, value)
    return best


def _judged(start: Start, family: Family, now: Round, value: float) -> Candidate:
    """A round as a candidate, with the errors of its numbers if there was a Jacobian."""
    plan, found = family.plan(now.numbers), errors(now)
    made = Candidate(f"refined {start.label}", plan, value, "ddim", start.grid, refined=True)  # its steps are DDIM's
    if np.isnan(found).any():
        return made
    weights, gaps, told = family.split(found)
    places = {"errors of log gaps": gaps.tolist(), "errors of told": told.tolist()}
    each = tuple(tuple(some.tolist()) for some in weights)
    return replace(made, errors=each, places=places)


def _rounded(
    fit: Task,
    jury: Jury,
    start: Start,
    found: Candidate,
    budget: Budget,
    meter: Meter,
    path: list[tuple[str, float, float]],
) -> Candidate:
    """The plan on the nearest whole times, told as they are, its weights refined again."""
    schedule, old = fit.model.schedule, found.plan
    _, *inner, last = old.nodes
    nodes = [schedule.node(float(round(schedule.at(node.logsnr).t))) for node in inner]
    moved = trace(DDIM, (schedule.node(schedule.t_max), *nodes, last), schedule.continuous(), old.kind)
    family = Family(replace(moved, mix=old.mix, unnormalized=True), schedule.continuous(), history, times=False)
    pupils = fit.pupils(old.kind, batch=budget.batch)
    return _finished(fit, jury, start, family, begun(family, pupils, meter.tick), budget, meter, path)


def _next(steps: Iterator[Round]) -> Round | None:
    """The next round; None after the last, and where the network is not finite beside where the numbers are."""
    with suppress(NonFinite):
        return next(steps, None)
    return None


def tuned(
    model: Model,
    counts: Sequence[int],
    budget: Budget | None = None,
    seed: int = 0,
    cond: Any = None,
    progress: Telling | None = None,
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
    progress: Telling | None = None,
) -> Iterator[tuple[Sampler, Found]]:
    """`tuned`, each number of evaluations as soon as it is found, from the least.

    Each is charged with the teacher that it would have had alone, so that a large one among them takes nothing from it.
    """
    if not counts or any(not isinstance(nfe, int | np.integer) or nfe < 1 for nfe in counts):
        raise DodeError(f"nfe must be a whole number and at least 1; got {', '.join(map(str, counts))}")
    budget = able(model, budget, cond)
    told = progress or (lambda what, share: None)
    paid = Meter(1.0, lambda what, share: told("teacher", 0.0))
    teacher = max(map(budget.taught, counts))
    fit = task(model, "fit", budget.samples, teacher, seed, paid.tick, cond, budget.batch, budget.whole)
    given = None if cond is None else rows(model.conditions(range(budget.samples), cond), _in_turn(budget))
    select = task(model, "validation", budget.select, teacher, seed, paid.tick, given, budget.batch, budget.whole)
    wanted, began = sorted(set(counts)), time.monotonic()
    for i, nfe in enumerate(wanted):
        left = budget.seconds - (time.monotonic() - began)
        until = time.monotonic() + left / (len(wanted) - i)
        alone = min(paid.spent, budget.taught(nfe) * (budget.samples + budget.select))
        tell = _within(told, nfe, i, len(wanted))
        found = search(fit, select, nfe, budget, Meter(budget.allowed(nfe), tell, alone, until=until))
        tell("found", 1.0)
        yield Sampler(model, found.best.plan, _provenance(model, found, budget, seed, fit.count)), found


def _within(told: Telling, nfe: int, place: int, count: int) -> Telling:
    """Tells of one number of evaluations among several, as a share of all."""
    return lambda what, share: told(f"NFE {nfe}: {what}", (place + share) / count)


def _in_turn(budget: Budget) -> list[int]:
    return [i % budget.samples for i in range(budget.select)]


def _provenance(model: Model, found: Found, budget: Budget, seed: int, teacher: int) -> Provenance:
    best, dtype = found.best, dtype_name(model)
    report = {
        "start": best.name,
        "robust select rms": best.select,
        "evaluations a sample": found.calls,
        "budget": budget.most,
    }
    report |= {name: values for name, values in best.places.items() if values}
    report |= {f"tried {one.name}": one.select for one in found.tried}
    if not best.refined:
        return Provenance(best.method, False, best.grid, samples=budget.samples, seed=seed, dtype=dtype, report=report)
    return Provenance(
        best.method,
        True,
        best.grid,
        formulation="auto",
        teacher=TEACHER,
        teacher_nfe=teacher,
        samples=budget.samples,
        seed=seed,
        dtype=dtype,
        errors=best.errors,
        report=report,
    )
