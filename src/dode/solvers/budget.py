"""From a number of network evaluations to a plan."""

from collections.abc import Sequence

from dode.grid import Grid, grid
from dode.plan import Plan
from dode.prediction import Kind
from dode.schedule import Node, Schedule
from dode.solvers.ddim import DDIM
from dode.tracing import Method, trace

START = 0.6  # a grid whose first noise level is below this share of x_T's has no use for x_T


def steps(method: Method, nfe: int, first: Node, last: Node) -> list[Method]:
    """One method a step between two nodes, `nfe` evaluations in all.

    A step from α = 0 or to σ = 0 is of order 1 and costs one evaluation, and so does what is left over:
    EDM with 9 is four Heun steps and an Euler step, with 10 it is four and two.
    """
    if nfe < 1:
        raise ValueError(f"nfe must be at least 1; got {nfe}")
    if method.stages == 1:
        return [method] * nfe
    opening = [DDIM] if first.alpha == 0 else []
    closing = [DDIM] if last.sigma == 0 else []
    pairs, rest = divmod(max(0, nfe - len(opening) - len(closing)), method.stages)
    return [*opening, *[method] * pairs, *[DDIM] * rest, *closing][-nfe:]


def build(
    method: Method,
    nfe: int,
    schedule: Schedule,
    prediction: Kind,
    where: str | Sequence[float] | None = None,
    end: str = "data",
    rho: float = 7.0,
) -> tuple[Plan, Grid]:
    """The plain plan of a method with `nfe` evaluations, and the grid it stands on.

    Raises ValueError if the grid starts far from where x_T stands, t_max.
    """
    ends = (schedule.t_max, schedule.t_end if end == "data" else schedule.t_min)
    if where is not None and not isinstance(where, str) and len(where) > 1:
        ends = (float(where[0]), float(where[-1]))
    methods = steps(method, nfe, schedule.node(ends[0]), schedule.node(ends[1]))
    made = grid(schedule, len(methods), where, end=end, rho=rho)
    first, x_T = made.nodes[0], schedule.node(schedule.t_max)
    if first.sigma < START * x_T.sigma:
        raise ValueError(
            f"the grid starts at t = {first.t:g}, sigma = {first.sigma:g}, but x_T has sigma = {x_T.sigma:g}; "
            f"start it nearer to t = {x_T.t:g}"
        )
    return trace(methods, made.nodes, schedule, method.kind(prediction)), made


def bias(plan: Plan, schedule: Schedule) -> str | None:
    """In words, how a grid that starts below t_max misreads x_T; None if it starts there."""
    first, x_T = plan.nodes[0], schedule.node(schedule.t_max)
    if first.t == x_T.t:
        return None
    return (
        f"the grid starts at t = {first.t:g} with the noise of t = {x_T.t:g}: sigma is {x_T.sigma / first.sigma:.3f} "
        f"times what the network expects, and a signal of alpha = {first.alpha:.3f} is missing"
    )
