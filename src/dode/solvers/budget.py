"""From a number of network evaluations to a plan."""

from collections.abc import Sequence

from dode.grid import Grid, grid
from dode.plan import Plan
from dode.prediction import Kind
from dode.schedule import Schedule
from dode.solvers.ddim import DDIM
from dode.tracing import Method, trace


def steps(method: Method, nfe: int, schedule: Schedule, end: str = "data") -> list[Method]:
    """One method a step, `nfe` evaluations in all.

    A step from α = 0 or to σ = 0 is of order 1 and costs one evaluation, and so does what is left over:
    EDM with 9 is four Heun steps and an Euler step, with 10 it is four and two.
    """
    if nfe < 1:
        raise ValueError(f"nfe must be at least 1; got {nfe}")
    if method.stages == 1:
        return [method] * nfe
    last = schedule.node(schedule.t_end if end == "data" else schedule.t_min)
    opening = [DDIM] if schedule.node(schedule.t_max).alpha == 0 else []
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
    """The plain plan of a method with `nfe` evaluations, and the grid it stands on."""
    methods = steps(method, nfe, schedule, end)
    made = grid(schedule, len(methods), where, end=end, rho=rho)
    return trace(methods, made.nodes, schedule, method.kind(prediction)), made
