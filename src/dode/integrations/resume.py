"""Starting in the middle of a plan: image to image, inpainting, a denoising strength below 1.

The base solver is traced again on the nodes that are left, since a multistep method has no earlier outputs there. What
distillation changed is kept wherever all of its outputs exist: the first evaluation has no previous one and is plain.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from dode.errors import DodeError
from dode.method import Method
from dode.plan import Array, Plan
from dode.schedule import Node, Schedule
from dode.solvers import METHODS
from dode.timesteps import same
from dode.tracing import trace


def tail(plan: Plan, k: int, method: Method, schedule: Schedule, cut: Sequence[Node] = ()) -> Plan:
    """The plan from evaluation k on: N − k evaluations at plan.nodes[k:].

    method: the one that made the plan, with its options; schedule: the one it was made on.  If evaluation k stands
    inside a step, the rest of that step becomes steps of order 1 from node to node: the plan's inner nodes, or as many
    others, `cut`.  A row of mix is kept if it reads only outputs from k on that stand where the plan's do, else it is
    the base's.  Raises ValueError for a method that cannot start in the middle, and if it would ask at other nodes than
    the plan has.
    """
    if not 0 <= k < plan.nfe:
        raise DodeError(f"a plan of {plan.nfe} evaluations starts at 0 … {plan.nfe - 1}; got {k}")
    if k == 0:
        return plan
    if method.warmup:
        raise DodeError(f"{method.name} cannot start in the middle of a run, since its first steps differ; use ipndm")
    if method.chosen.get("churn"):
        raise DodeError(
            f"{method.label} cannot start in the middle of a run, since churn moves its nodes; leave it out"
        )
    inner = cut_at(plan, k)
    if cut and len(cut) != len(inner):
        raise DodeError(f"{len(inner)} evaluations are left of the step that is cut; got {len(cut)} nodes for them")
    nodes = (*(cut or [plan.nodes[j] for j in inner]), *plan.nodes[inner.stop :])
    methods, starts = _remaining(plan, k, method)
    base = trace(methods, [*nodes[: len(inner)], *starts[len(inner) :]], schedule, plan.kind)
    if not _stand(base, nodes):
        ours, theirs = (", ".join(f"{node.t:g}" for node in some) for some in (base.nodes, nodes))
        raise DodeError(
            f"{method.label} would stand at t = {ours}, the plan at {theirs}; "
            "give the method, options and schedule that made the plan"
        )
    told = None if plan.conditioning_shifts is None else plan.conditioning_shifts[k:]
    return replace(
        base,
        mix=_kept(plan, base, k, len(cut)),
        carry=plan.carry,
        unnormalized=plan.unnormalized,
        conditioning_shifts=told,
    )


def _stand(base: Plan, nodes: Sequence[Node]) -> bool:
    """Are these the plan's nodes?"""
    return len(base.nodes) == len(nodes) and all(map(same, base.nodes, nodes))


def cut_at(plan: Plan, k: int) -> range:
    """The evaluations from k on of a step that starts before k; empty if a step starts at k."""
    return range(k, next((j for j in range(k, plan.nfe) if plan.step_starts[j]), plan.nfe))


def _remaining(plan: Plan, k: int, method: Method) -> tuple[list[Method], list[Node]]:
    """One method for each step that is left, and where these steps start, with the end."""
    ladder = _ladder(method)
    opens = [j for j, fresh in enumerate(plan.step_starts) if fresh and j >= k] + [plan.nfe]
    cut = cut_at(plan, k)
    sizes = [b - a for a, b in pairwise(opens)]
    missing = sorted(set(sizes) - set(ladder))
    if missing:
        raise DodeError(
            f"the plan has a step of {missing[0]} evaluations; {method.label} has steps of "
            f"{', '.join(map(str, sorted(ladder)))}: give the method that made the plan"
        )
    methods = [METHODS["ddim"]] * len(cut) + [ladder[size] for size in sizes]
    return methods, [plan.nodes[j] for j in (*cut, *opens)]


def _ladder(method: Method) -> dict[int, Method]:
    """The method and its lower orders, by evaluations a step."""
    rungs: dict[int, Method] = {}
    rung: Method | None = method
    while rung is not None:
        rungs[rung.stages] = rung
        rung = rung.lower
    return rungs


def _kept(plan: Plan, base: Plan, k: int, moved: int) -> Array:
    """Rows of the plan's mix that read nothing before evaluation k, in the base's columns; else the base's rows.

    moved: evaluations from k on that stand elsewhere than in the plan, and whose outputs are others.
    """
    mix = base.mix.copy()
    for row, known in zip(mix, plan.mix[k:], strict=True):
        if not np.any(known[: k + moved + 1]):  # x_T/σ_T, the outputs before k, and those that moved
            row[1:] = known[k + 1 :]
    return mix


def made_by(plan: Plan, method: Method, schedule: Schedule) -> bool:
    """Is this the base of the plan: would the method on this schedule stand at its nodes with its coefficients?"""
    base = trace(*_remaining(plan, 0, method), schedule, plan.kind)
    return _stand(base, plan.nodes) and all(
        np.allclose(getattr(base, name), getattr(plan, name), rtol=1e-9, atol=1e-12)
        for name in ("start", "use", "blend")
    )
