"""The exact solution of a model's ODE, by DPM-Solver++ 3S with more and more steps.

It has order 3 and no history to build up: on the bundled networks it is as exact as Heun's method with 500 steps after
a third to two thirds of the evaluations.  A first few samples decide how many steps are enough; the rest is run once.
Networks with whole times have at most T/3 such steps, so that the nodes inside a step are apart (on short schedules
T/2, where steps are of order 2), and the step to the clean end is DDIM's, as in every sampler.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dode.conditions import rows
from dode.grid import grid
from dode.plan import Plan
from dode.sampling import Denoise, State, run, trajectory
from dode.schedule import Node, Schedule
from dode.solvers.dpm_solver import DPM_SOLVER_PP_3S as FINE
from dode.solvers.edm import EDM
from dode.tracing import trace

if TYPE_CHECKING:
    from dode.model import Model

FIRST, MOST, PILOT = 20, 640, 8  # steps to begin with, steps to give up at, samples that decide
SHORT = 60  # whole times below which order 3 is not worth its evaluations


def plan(model: "Model", steps: int) -> Plan:
    """DPM-Solver++ 3S with this many steps."""
    return trace(FINE, _nodes(model.schedule, steps), model.schedule, FINE.kind(model.prediction, model.schedule))


def _nodes(schedule: Schedule, steps: int) -> tuple[Node, ...]:
    """Whole times evenly from T − 1 to 0, so that only σ_0 is left to DDIM; else karras, or even times from α = 0."""
    if schedule.integer:
        return grid(schedule, steps, "linspace").nodes
    return grid(schedule, steps, "karras" if schedule.node(schedule.t_max).alpha > 0 else "uniform").nodes


@torch.no_grad()
def steps(model: "Model", x_T: Tensor, cond: Any, rtol: float) -> int:
    """The steps at which halving them moves the pilot samples by at most rtol of their RMS."""
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
        change = float((after - before).double().square().mean().sqrt() / after.double().square().mean().sqrt())
        if change <= rtol:
            return count
        before = after
    raise ValueError(
        f"{model.name}: halving {limit} steps, the most there are, still moves the solution by {change:.2g}, "
        f"more than rtol = {rtol:g}"
    )


@torch.no_grad()
def solve(
    model: "Model", x_T: Tensor, cond: Any, rtol: float, batch: int, progress: Callable[[int, int], None] | None = None
) -> Tensor:
    """The solution for every sample: (n, *shape) like x_T.  progress(network calls done, in all), after the pilot."""
    fine = plan(model, steps(model, x_T, cond, rtol))
    parts = [slice(i, i + batch) for i in range(0, len(x_T), batch)]
    solved = []
    for i, part in enumerate(parts):
        for state in states(model, fine, x_T[part], rows(cond, part)):
            if progress is not None:
                progress(i * fine.nfe + state.k, len(parts) * fine.nfe)
        solved.append(state.y)
    return torch.cat(solved)


def states(model: "Model", fine: Plan, x_T: Tensor, cond: Any) -> Iterator[State]:
    """The run of a plan of this module, state by state, the first before any evaluation."""
    yield from trajectory(fine, _wide(model, cond), x_T.to(_dtype(model)))


def _dtype(model: "Model") -> torch.dtype:
    """States in at least float32: a half-precision network is asked in its own precision, its states add up in more."""
    return torch.promote_types(model.dtype, torch.float32)


def _wide(model: "Model", cond: Any) -> Denoise:
    denoise = model.denoiser(FINE.kind(model.prediction, model.schedule), cond)
    return lambda x, node: denoise(x.to(model.dtype), node).to(x.dtype)


def backward(model: "Model", steps: int, end: Node) -> tuple[Plan, Node]:
    """Heun's method from the cleanest node with σ > 0 up to `end`, and that first node."""
    nodes = [node for node in _nodes(model.schedule, steps) if node.sigma > 0]
    clean = model.schedule.node(model.schedule.t_min)
    nodes = [end, *(node for node in nodes if end.logsnr < node.logsnr)]
    if clean.sigma > 0 and nodes[-1].logsnr < clean.logsnr:
        nodes.append(clean)
    upward = tuple(reversed(nodes))
    return trace(EDM, upward, model.schedule, EDM.kind(model.prediction, model.schedule)), upward[0]
