"""From a number of network evaluations to a plan."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np

from dode import sigma_tables
from dode.errors import DodeError
from dode.method import Method
from dode.parameterization import Kind
from dode.plan import Plan
from dode.schedule import Node, Schedule
from dode.timesteps import Grid, grid
from dode.tracing import trace

START = 0.6  # the least share of x_T's noise level at which a grid may start


def steps(method: Method, nfe: int, first: Node, last: Node) -> list[Method]:
    """One method for each step between two nodes, ``nfe`` evaluations in all.

    Full steps first, then the rest: Lu et al. 2022a, appendix: [2, …, 2] or [2, …, 2, 1]; [3, …, 3, 2, 1],
    [3, …, 3, 1] or [3, …, 3, 2].  A step from α = 0 or to σ = 0 is of order 1 and costs one evaluation, so that EDM
    with 9 is four Heun steps and an Euler step, and with 10 it is four and two.
    """
    if not isinstance(nfe, int | np.integer) or nfe < 1:
        raise DodeError(f"nfe must be a whole number and at least 1; got {nfe!r}")
    if method.warmup:
        if nfe <= sum(method.warmup):
            least = sum(method.warmup) + 1
            raise DodeError(f"{method.name} needs at least {least} evaluations; got {nfe}; ipndm needs no warm-up")
        return [method] * (len(method.warmup) + nfe - sum(method.warmup))
    if method.stages == 1:
        return [method] * nfe
    opening = [1] if first.alpha == 0 and nfe > 1 else []
    sizes = _sizes(method.stages, nfe - len(opening))
    if last.sigma == 0 and sizes[-1] > 1:
        sizes[-1:] = [1] * sizes[-1]
    ladder = {method.stages: method}
    while method.lower:
        method = method.lower
        ladder[method.stages] = method
    return [ladder[size] for size in opening + sizes]


def _sizes(stages: int, nfe: int) -> list[int]:
    """Evaluations of each step."""
    whole, rest = divmod(nfe, stages)
    if stages == 3 and rest == 0:
        return [3] * (whole - 1) + [2, 1]
    return [stages] * whole + ([rest] if rest else [])


def build(
    method: Method,
    nfe: int,
    schedule: Schedule,
    prediction: Kind,
    where: str | Sequence[float] | Grid | None = None,
    end: str = "data",
    rho: float = 7.0,
    kind: Kind | None = None,
) -> tuple[Plan, Grid]:
    """The plain plan of a method and its grid.

    Steps start at nodes of the grid of ``nfe`` steps, so that an evaluation covers the same stretch whatever the order
    of its step (as in Lu et al. 2022a's code); times given by hand and methods that need steps of one length have one
    node a step.

    Args:
        method: the solver.
        nfe: number of evaluations.
        schedule: of the network.
        prediction: of the network.
        where: name of a grid or of a list of noise levels, times, or a Grid of nfe + 1 nodes.
        end: "data" or "t_min".
        rho: exponent of the karras grid.
        kind: outputs to write the plan in; the method's choice if left out.

    Raises:
        DodeError: for a number of evaluations that the method does not have, and if the grid starts far from t_max.
    """
    if isinstance(where, str) and sigma_tables.published(where):
        where = sigma_tables.placed(where, schedule, nfe, end)
    if isinstance(where, Grid):
        if len(where.nodes) != nfe + 1 or method.warmup:
            raise DodeError(f"a Grid for {nfe} evaluations of {method.name} needs {nfe + 1} nodes and no warm-up")
        base, methods = where, steps(method, nfe, where.nodes[0], where.nodes[-1])
    else:
        by_hand = where is not None and not isinstance(where, str)
        first, last = _ends(where, schedule, end)
        methods = steps(method, nfe, schedule.node(first), schedule.node(last))
        base = grid(schedule, len(methods) if method.even or by_hand else nfe, where, end=end, rho=rho)
    if len(base.nodes) != len(methods) + 1:
        opens = accumulate((step.stages for step in methods), initial=0)
        base = replace(base, nodes=tuple(base.nodes[k] for k in opens))
    _check_start(base.nodes[0], schedule.node(schedule.t_max))
    plan = trace(methods, base.nodes, schedule, kind or method.kind(prediction, schedule))
    if plan.nfe != nfe:
        if schedule.integer:
            raise DodeError(f"{nfe} evaluations of {method.name} leave no whole time inside a step; ask for fewer")
        raise DodeError(
            f"method {method.name!r} made {plan.nfe} evaluations for nfe={nfe}; its step function disagrees with "
            f"stages={method.stages}"
        )
    return plan, base


def _ends(where: str | Sequence[float] | None, schedule: Schedule, end: str) -> tuple[float, float]:
    """The times of the start and the end: those given by hand, or the schedule's."""
    if where is not None and not isinstance(where, str) and len(where) > 1:
        return float(where[0]), float(where[-1])
    return schedule.t_max, schedule.t_end if end == "data" else schedule.t_min


def _check_start(first: Node, x_T: Node) -> None:
    """DodeError for a grid that starts far from x_T's node."""
    if first.sigma < START * x_T.sigma:
        raise DodeError(
            f"the grid starts at t = {first.t:g}, sigma = {first.sigma:g}, but x_T has sigma = {x_T.sigma:g}; "
            f"start it nearer to t = {x_T.t:g}"
        )


def bias(plan: Plan, schedule: Schedule) -> str | None:
    """How a grid that starts below t_max misreads x_T, in words; None if it starts there."""
    first, x_T = plan.nodes[0], schedule.node(schedule.t_max)
    if first.logsnr == x_T.logsnr or plan.noise_scales[0]:
        return None
    return (
        f"the grid starts at t = {first.t:g} with the noise of t = {x_T.t:g}: sigma is {x_T.sigma / first.sigma:.3f} "
        f"times what the network expects, and a signal of alpha = {first.alpha:.3f} is missing"
    )
