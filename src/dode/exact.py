"""The exact solution of a model's ODE, by DPM-Solver++ 3S with more and more steps.

It has order 3 and no history to build up: on the bundled networks it is as exact as Heun's method with 500 steps after
a third to two thirds of the evaluations.  A first few samples decide how many steps are enough; the rest is run once.
Networks with whole times have at most T/3 such steps, so that the nodes inside a step are apart (on short schedules
T/2, where steps are of order 2), and the step to the clean end is DDIM's, as in every sampler.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from dode.conditioning import rows
from dode.errors import DodeError
from dode.parameterization import Kind
from dode.plan import Plan
from dode.process_group import ALONE, ProcessGroup
from dode.sampling import Denoise, run, trajectory
from dode.schedule import Node, Schedule
from dode.solvers.dpm_solver import DPM_SOLVER_PP_3S as FINE
from dode.solvers.heun import EDM
from dode.timesteps import grid, unbounded
from dode.tracing import trace

FIRST, MOST, PILOT = 20, 640, 8  # steps to begin with, steps to give up at, samples that decide
SHORT = 60  # whole times below which order 3 is not worth its evaluations


class Ode(Protocol):
    """What is needed of a model to follow its ODE."""

    @property
    def name(self) -> str: ...

    @property
    def schedule(self) -> Schedule: ...

    @property
    def prediction(self) -> Kind: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def bound(self, kind: Kind, cond: Any) -> Denoise:
        """(x, node) → output of this kind under this condition."""


def plan(model: Ode, steps: int) -> Plan:
    """DPM-Solver++ 3S with this many steps."""
    return trace(FINE, _nodes(model.schedule, steps), model.schedule, FINE.kind(model.prediction, model.schedule))


def _nodes(schedule: Schedule, steps: int) -> tuple[Node, ...]:
    """Whole times evenly from T − 1 to 0, so that only σ_0 is left to DDIM; else karras, or log-SNR from α = 0."""
    if schedule.integer:
        return grid(schedule, steps, "linspace").nodes
    if schedule.node(schedule.t_max).alpha == 0:
        return unbounded(schedule, steps).nodes
    return grid(schedule, steps, "karras").nodes


@torch.no_grad()
def steps(model: Ode, x_T: Tensor, cond: Any, rtol: float) -> int:
    """The steps at which halving them moves the pilot samples by at most rtol; DodeError where no number does."""
    index = slice(0, min(PILOT, len(x_T)))
    denoise, x_T = _wide(model, rows(cond, index)), x_T.to(_dtype(model))
    whole = int(model.schedule.t_max - model.schedule.t_end)
    limit = (whole // 3 if whole > SHORT else whole // 2) if model.schedule.integer else MOST
    counts = [max(1, limit)]
    while counts[0] // 2 >= min(FIRST, max(1, limit // 4)):
        counts.insert(0, counts[0] // 2)
    before, change = run(plan(model, counts[0]), denoise, x_T[index]), float("inf")
    for count in counts[1:]:
        after = run(plan(model, count), denoise, x_T[index])
        moved, size = _rms(after - before), _rms(after)
        change = moved / size if moved else 0.0  # both are 0 where all data is the one point 0
        if change <= rtol:
            return count
        before = after
    raise DodeError(
        f"{model.name}: halving {limit} steps, the most there are, still moves the solution by {change:.2g}, "
        f"more than rtol = {rtol:g}; give a larger rtol, or measure without the exact solution "
        "(dode distill and auto: --paired 0; dode compare: --metrics fd --fd 1000)"
    )


def _rms(states: Tensor) -> float:
    return float(states.cpu().double().square().mean().sqrt())


def tolerance(model: Ode, rtol: float) -> float:
    """The rtol to ask for: as exact as half precision allows."""
    return max(rtol, 8 * torch.finfo(model.dtype).eps)


@torch.no_grad()
def solve(
    model: Ode,
    x_T: Tensor,
    cond: Any,
    rtol: float,
    batch: int,
    progress: Callable[[int, int], None] | None = None,
    group: ProcessGroup = ALONE,
) -> Tensor:
    """The solution for every sample: (n, *shape) like x_T; other arguments as for `along`."""
    return along(model, x_T, cond, rtol, batch, (), progress, group)[-1]


@torch.no_grad()
def along(
    model: Ode,
    x_T: Tensor,
    cond: Any,
    rtol: float,
    batch: int,
    nodes: Sequence[Node],
    progress: Callable[[int, int], None] | None = None,
    group: ProcessGroup = ALONE,
) -> list[Tensor]:
    """The exact states at these nodes, and last the solution; each (n, *shape); DodeError for nodes before the first.

    Between two nodes of the fine solver the path is a cubic, from its states and outputs at both.  progress(network
    calls done, in all), after the pilot.  group: processes that take batches in turn; each gets all states.
    """
    fine = plan(model, steps(model, x_T[:batch], cond, rtol))
    if early := [node for node in nodes if node.logsnr < fine.nodes[0].logsnr]:
        raise DodeError(f"the exact path begins at t = {fine.nodes[0].t:g}; it has no state at t = {early[0].t:g}")
    parts = group.share([slice(i, i + batch) for i in range(0, len(x_T), batch)])
    found = []
    for i, part in enumerate(parts):
        told = None if progress is None else partial(_further, progress, i * fine.nfe, len(parts) * fine.nfe)
        denoise = _wide(model, rows(cond, part))
        found.append(_states(fine, denoise, x_T[part].to(_dtype(model)), nodes, told))
    if group.size > 1:
        found = [
            [state.to(x_T.device) for state in one] for one in group.gather([[s.cpu() for s in one] for one in found])
        ]
    return [torch.cat(one) for one in zip(*found, strict=True)]


def _further(progress: Callable[[int, int], None], before: int, total: int, calls: int) -> None:
    progress(before + calls, total)


def _states(
    fine: Plan, denoise: Denoise, x_T: Tensor, nodes: Sequence[Node], progress: Callable[[int], None] | None
) -> list[Tensor]:
    """The states of one batch at these nodes, and its end."""
    found: list[Tensor | None] = [None] * len(nodes)
    points: list[Point] = []
    for k, point in _points(fine, denoise, x_T):
        if progress is not None:
            progress(k)
        points = [*points[-1:], point]
        for j, node in enumerate(nodes):
            if found[j] is None and len(points) == 2 and node.logsnr <= point[0].logsnr:
                found[j] = _between(points[0], points[1], node)
    return [state for state in (*found, point[1]) if state is not None]


Point = tuple[Node, Tensor, Tensor | None]  # of the path: where, the state, the output (none at the end)


def _points(fine: Plan, denoise: Denoise, x_T: Tensor) -> Iterator[tuple[int, Point]]:
    """The starts of the fine solver's steps, and its end, each with the number of calls made."""
    seen: list[Tensor] = []

    def watched(x: Tensor, node: Node) -> Tensor:
        seen[:] = [denoise(x, node)]
        return seen[0]

    before: tuple[Node, Tensor] | None = None
    for state in trajectory(fine, watched, x_T):
        if before is not None:
            yield state.k, (*before, seen[0])
        before = (fine.nodes[state.k], state.y) if state.k < fine.nfe and fine.step_starts[state.k] else None
    yield fine.nfe, (fine.nodes[-1], state.y, None)


def _between(a: Point, b: Point, node: Node) -> Tensor:
    """The state at a node between two points.  In data outputs, x/σ over α/σ has the slope x̂₀.

    To the end, where there is no slope and σ may be 0, it is DDIM's straight line.
    """
    (s, x, d), (t, y, e) = a, b
    if d is None:
        raise DodeError("the path ends here")
    step = node.alpha - s.alpha * node.sigma / s.sigma  # σ·(α/σ − α_s/σ_s)
    if e is None:
        return y if node == t else x * (node.sigma / s.sigma) + step * d
    width = t.alpha / t.sigma - s.alpha / s.sigma
    w = step / node.sigma / width
    cubic = (1 + 2 * w) * (1 - w) ** 2 * x / s.sigma + w**2 * (3 - 2 * w) * y / t.sigma
    slopes = w * (1 - w) ** 2 * width * d - w**2 * (1 - w) * width * e
    return node.sigma * (cubic + slopes)


def _dtype(model: Ode) -> torch.dtype:
    """States in at least float32: a half-precision network is asked in its own precision, its states add up in more."""
    return torch.promote_types(model.dtype, torch.float32)


def _wide(model: Ode, cond: Any) -> Denoise:
    denoise = model.bound(FINE.kind(model.prediction, model.schedule), cond)
    return lambda x, node: denoise(x.to(model.dtype), node).to(x.dtype)


def backward(model: Ode, steps: int, end: Node) -> tuple[Plan, Node]:
    """Heun's method from the cleanest node with σ > 0 up to `end`, and that first node."""
    nodes = [node for node in _nodes(model.schedule, steps) if node.sigma > 0]
    clean = model.schedule.node(model.schedule.t_min)
    nodes = [end, *(node for node in nodes if end.logsnr < node.logsnr)]
    if clean.sigma > 0 and nodes[-1].logsnr < clean.logsnr:
        nodes.append(clean)
    upward = tuple(reversed(nodes))
    return trace(EDM, upward, model.schedule, EDM.kind(model.prediction, model.schedule)), upward[0]
