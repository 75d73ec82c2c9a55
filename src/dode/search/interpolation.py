"""Plans of `auto` between those that were found: at another number of evaluations, or under another guidance scale.

Times and weights are interpolated along the run, from the neighbours on both sides.  Nothing is fitted, so nothing
promises that it holds: the plan is judged on validation noise, and refused if it is not nearer than every plain solver.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from dode.errors import DodeError
from dode.messages import distance
from dode.model import Model
from dode.plan import Array, Plan
from dode.samplers import Provenance, Sampler, dtype_name
from dode.schedule import Node, Schedule
from dode.search.budget import QUICK, Budget, Meter
from dode.search.initial_candidates import nearest, starts, task
from dode.search.parametrization import composed, level, one_a_step
from dode.search.validation import convened


@torch.no_grad()
def interpolate(
    found: Sequence[Sampler] | Mapping[int, Sampler], model: Model, nfe: int, seed: int = 0, batch: int = 64
) -> Sampler:
    """The sampler of `model` with nfe evaluations, between two of `found`.

    found: what `dode.auto(model, [4, 6])` gave, or `samplers.load_all(file, model)`: under the model's guidance
    with fewer and with more evaluations, or with this many under a smaller and a larger guidance scale. seed: of the
    noise that it is judged on, 32 samples of which are solved; batch: samples a network call. Raises ValueError without
    neighbours on both sides, and where it is not nearer than plain solvers.
    """
    several = list(found.values()) if isinstance(found, Mapping) else found
    if isinstance(several, Sampler):
        raise DodeError("give several samplers, with fewer and with more evaluations, as dode.auto gives them")
    low, high, share = _neighbours(several, model, nfe)
    plans, budget = _plans(low, high, share, model, nfe), Budget(batch=batch)
    meter = Meter(math.inf, lambda what, done: None)
    whole = model.schedule.integer and all(map(_whole, plans.values()))
    fine = max(budget.teacher, 3 * nfe)
    select = task(model, "validation", budget.select, fine, seed, meter.tick, None, batch, whole)
    every = starts(model, nfe, QUICK.tried, whole_times=whole)
    looked = nearest(every, select, budget.select, batch, meter.tick, lambda: True)
    jury, (plain,) = convened(looked[:1], select, batch, meter)
    label, rival = plain.name, plain.select
    errors = {name: jury.error(plan, meter) for name, plan in plans.items()}
    best = min(errors, key=lambda name: errors[name])
    if not errors[best] < rival:
        raise DodeError(
            f"between {_said(low)} and {_said(high)} nothing is nearer than {label}: {distance(errors[best])} against "
            f"{distance(rival)} on validation noise; search for it: dode auto --nfe {nfe}"
        )
    report = {"between": [_said(low), _said(high)], "robust select rms": errors[best], f"tried {label}": rival}
    report |= {"evaluations a sample": meter.spent / budget.select}
    made = Provenance(
        "ddim", True, "interpolated", formulation="auto", seed=seed, dtype=dtype_name(model), report=report
    )
    return Sampler(model, plans[best], made)


def _plans(low: Sampler, high: Sampler, share: float, model: Model, nfe: int) -> dict[str, Plan]:
    """Either neighbour's with this many evaluations, and their mean; in whole times where both have such."""
    for one in (low, high):
        if not _weights(one.plan):
            raise DodeError(
                f"for {_said(one)} there is {one.name}, and only plans of auto, weights on DDIM's steps, can be "
                "interpolated; where nothing is nearer auto gives a plain solver back, and that has any number of "
                "evaluations by itself"
            )
    schedule = model.schedule.continuous()
    plans = {f"that of {_said(one)}": resampled(one.plan, nfe, schedule) for one in (low, high)}
    if low.plan.kind == high.plan.kind:
        first, second = plans.values()
        plans["the mean"] = between(first, second, share, schedule)
    if model.schedule.integer and all(_whole(one.plan) for one in (low, high)):
        plans = {name: _rounded(plan, model.schedule) for name, plan in plans.items()}
    return plans


def _said(one: Sampler) -> str:
    scale = "unknown" if one.model.guidance is None else f"{one.model.guidance:g}"
    return f"NFE {one.nfe} under guidance {scale}"


def _weights(plan: Plan) -> bool:
    """Is it of weights on DDIM's steps, one evaluation each?"""
    return one_a_step(plan) and not np.any(plan.blend != np.eye(plan.nfe))


def _whole(plan: Plan) -> bool:
    """Are all its times whole, as a search with whole=True gives them?"""
    return all(node.t == round(node.t) for node in plan.nodes)


def _rounded(plan: Plan, schedule: Schedule) -> Plan:
    """The plan on the nearest whole times, told as they are."""
    nodes = [schedule.node(float(round(node.t))) for node in plan.nodes[:-1]]
    return composed((*nodes, plan.nodes[-1]), schedule.continuous(), plan.kind, plan.mix, None)


def _neighbours(found: Sequence[Sampler], model: Model, nfe: int) -> tuple[Sampler, Sampler, float]:
    """The nearest on both sides, and the share of the second; in evaluations first, then in guidance."""
    known = [one for one in found if one.model.guidance is not None and one.nfe > 1]
    counted = [one for one in known if one.model.guidance == model.guidance]
    scaled = [one for one in known if one.nfe == nfe]
    if model.guidance is None:
        raise DodeError("the model's guidance scale is not known, so nothing can be said to be between")
    for some, value, want in ((counted, _evaluations, float(nfe)), (scaled, _guidance, model.guidance)):
        below = [one for one in some if value(one) < want]
        above = [one for one in some if value(one) > want]
        if below and above:
            low, high = max(below, key=value), min(above, key=value)
            return low, high, (want - value(low)) / (value(high) - value(low))
    there = ", ".join(_said(one) for one in found) or "none"
    raise DodeError(
        f"NFE {nfe} under guidance {model.guidance:g} is not between two of those found: {there}; "
        f"search for it: dode auto --nfe {nfe}"
    )


def _evaluations(one: Sampler) -> float:
    return float(one.nfe)


def _guidance(one: Sampler) -> float:
    return float(one.model.guidance or 0)


def resampled(plan: Plan, nfe: int, schedule: Schedule) -> Plan:
    """The plan with another number of evaluations: times, weights and shifts as functions of the share of the run."""
    n = plan.nfe
    if not _weights(plan):
        raise DodeError("only plans of auto, weights on DDIM's steps, can be interpolated")
    if nfe == n:
        return plan
    then, now = np.linspace(0, 1, n), np.linspace(0, 1, nfe)
    shifts = None if plan.conditioning_shifts is None else np.interp(now, then, plan.conditioning_shifts)
    nodes = _nodes(np.interp(now, then, _levels(plan, schedule)), plan, schedule)
    return composed(nodes, schedule, plan.kind, _mix(plan, nfe), shifts)


def _levels(plan: Plan, schedule: Schedule) -> Array:
    """Log-SNR of every evaluation."""
    return np.array([level(node, schedule) for node in plan.nodes[:-1]])


def _nodes(levels: Array, plan: Plan, schedule: Schedule) -> tuple[Node, ...]:
    """From t_max through these levels to the plan's end."""
    return (schedule.node(schedule.t_max), *(schedule.at(float(value)) for value in levels[1:]), plan.nodes[-1])


def _mix(plan: Plan, nfe: int) -> Array:
    """Weights of the newest output, the one before it and so on, each a function of the share of the run.

    The first evaluations have fewer outputs before them; theirs are those of the plan's own first ones.
    """
    n, mix = plan.nfe, np.zeros((nfe, 1 + nfe))
    column = [[1 + k - back for k in range(n)] for back in range(n + 1)]  # 0 is x_T
    used = [back for back in range(n + 1) for k in range(n) if column[back][k] >= 0 and plan.mix[k, column[back][k]]]
    first = min(max(used), n - 1)  # the first evaluation that has all outputs before it
    for k in range(nfe):
        for back in range(min(max(used), k + 1) + 1):
            rows = [k] if k < first else range(max(first, back - 1), n)
            values = [plan.mix[row, column[back][row]] for row in rows]
            mix[k, 1 + k - back] = np.interp(k / max(1, nfe - 1), [row / (n - 1) for row in rows], values)
    return mix


def between(a: Plan, b: Plan, share: float, schedule: Schedule) -> Plan:
    """(1 − share)·a + share·b in log-SNR, weights and shifts, for plans of equally many evaluations."""

    def mean(x: Array, y: Array) -> Array:
        return (1 - share) * x + share * y

    nodes = _nodes(mean(_levels(a, schedule), _levels(b, schedule)), a, schedule)
    shifts = [np.zeros(a.nfe) if plan.conditioning_shifts is None else plan.conditioning_shifts for plan in (a, b)]
    told = mean(shifts[0], shifts[1]) if np.any(shifts) else None
    return composed(nodes, schedule, a.kind, mean(a.mix, b.mix), told)
