"""A grid for the model at hand: its steps err least in what counts, the samples' ends.

One run in many steps gives states and outputs of a few samples.  From them follows, without another evaluation, how far
any step from one of its nodes to another would land beside the state there.  An error in the middle of a run grows or
shrinks on the way: how much of it is left at the end is measured, by runs that go on beside the path.  The grid is the
shortest path whose steps cost the square of what their errors leave, as errors of different steps are nearly
independent: dynamic programming as in Watson et al. 2021, whose cost is the error itself where it is made.  That alone
puts too many nodes where an error costs nothing in the sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError
from dode.parameterization import Kind
from dode.plan import Array, Plan
from dode.sampling import Denoise, State, advance, begin, evaluate
from dode.schedule import Schedule
from dode.search.initial_candidates import Task
from dode.search.levenberg_marquardt import Pupil, Tick
from dode.solvers import METHODS
from dode.solvers.ddim import DDIM
from dode.solvers.step_allocation import build
from dode.timesteps import Grid, unbounded
from dode.tracing import trace

FINE = "unipc-2"  # the solver of the fine run
LEAST, TIMES = 24, 3  # the fine run has that many evaluations, or that many times the student's if that is more
MOST = 48  # and no more: the table of costs is its cube
SAMPLES = 4
ERROR = 0.1  # the size of an error whose share is measured, in noise levels
EVERY = 4  # what is left of an error is measured at every fourth node, and even in between
TINY = 1e-12  # of the sum of squares: a direction below it is none

Path = tuple[list[State], list[Tensor]]  # all states of a run, all outputs


@dataclass(frozen=True, eq=False)
class Costs:
    """What steps between nodes of a fine run cost, in the mean square of the samples' ends."""

    plan: Plan  # of the fine run, M evaluations
    first: Array  # of the first step, from node 0 to each: (M + 1,)
    later: Array  # of a step h → i → j, from i to j after an evaluation at h: (M, M, M + 1); inf where there is none

    def grid(self, nfe: int) -> Grid:
        """The cheapest grid of so many steps; ValueError if the fine run has not as many."""
        if not 1 <= nfe <= self.plan.nfe:
            raise DodeError(f"a run of {self.plan.nfe} evaluations has no grid of {nfe} steps")
        value, back = np.full((self.plan.nfe, self.plan.nfe + 1), np.inf), []  # of paths that end with a step h → i
        value[0] = self.first
        for _ in range(nfe - 1):
            every = value[:, :-1, None] + self.later
            back.append(every.argmin(0))
            value = every.min(0)
        last = self.plan.nfe
        path = [last, int(value[:, last].argmin())]
        for choice in reversed(back):
            path.append(int(choice[path[-1], path[-2]]))
        return Grid(tuple(self.plan.nodes[i] for i in reversed(path)), "logsnr", "weighed")


def weighed(some: Task, nfe: int, plan: Plan, schedule: Schedule, batch: int, tick: Tick) -> Grid:
    """The grid of so many steps for a task's model, by a fine run of this plan; ValueError as of `Costs.grid`."""
    return costs(some.pupils(plan.kind, 0, SAMPLES, batch), plan, schedule, tick).grid(nfe)


def evaluations(nfe: int) -> int:
    """Of the fine run, for a student of so many."""
    return min(MOST, max(LEAST, TIMES * nfe))


def fine_plan(count: int, schedule: Schedule, kind: Kind) -> Plan:
    """Of a fine run with so many evaluations; ValueError if the schedule has not enough times."""
    where: str | Grid = "uniform" if schedule.integer else "logsnr-trailing"  # whole times near the data are few
    if schedule.node(schedule.t_max).alpha == 0:
        where = "uniform" if schedule.knots else unbounded(schedule, count)
    return build(METHODS[FINE], count, schedule, kind, where, kind=kind)[0]


@torch.no_grad()
def costs(pupils: Sequence[Pupil], plan: Plan, schedule: Schedule, tick: Tick, weigh: bool = True) -> Costs:
    """Costs from a fine run of these samples.

    weigh: by what is left of an error at the end; if not, errors count where they are made.
    """
    paths = [_path(plan, begin(plan, one.x_T), one.denoise, tick) for one in pupils]
    parts = [len(one.x_T) / sum(len(each.x_T) for each in pupils) for one in pupils]
    each = [_products([state.y for state in states], outputs) for states, outputs in paths]
    products = np.tensordot(parts, each, axes=1)
    left = _left(plan, paths, [one.denoise for one in pupils], tick) if weigh else np.ones(plan.nfe + 1)
    return _costs(plan, products, left, schedule)


def _path(plan: Plan, state: State, denoise: Denoise, tick: Tick) -> Path:
    """All states of a run from this one on, and all outputs."""
    states, outputs = [state], []
    for _ in range(state.k, plan.nfe):
        outputs.append(evaluate(plan, state, denoise))
        tick(len(state.y))
        state = advance(plan, state, outputs[-1])
        states.append(state)
    return states, outputs


def _left(plan: Plan, paths: Sequence[Path], denoises: Sequence[Denoise], tick: Tick) -> Array:
    """The share of an error at each node that is left at the end: (M + 1,).

    The error is along what DDIM's step misses first, the change of the output, and the share a median over samples: one
    that goes to another mode shall not rule it.
    """
    known: dict[int, float] = {}
    for i in range(1, plan.nfe, EVERY):
        shares = [_kept(plan, path, i, denoise, tick) for path, denoise in zip(paths, denoises, strict=True)]
        known[i] = float(torch.cat(shares).nan_to_num(1, 1, 1).median())  # no change: as if it were kept
    known[plan.nfe] = 1.0
    return np.interp(np.arange(plan.nfe + 1), list(known), list(known.values()))


def _kept(plan: Plan, path: Path, i: int, denoise: Denoise, tick: Tick) -> Tensor:
    """The share of an error at node i that is left at the end, of each sample: (B,)."""
    states, outputs = path
    change = outputs[i] - outputs[i - 1]
    size = ERROR * (plan.nodes[i].sigma + plan.nodes[i].alpha / 10)
    error = change * (size / _sizes(change)).to(change).view(-1, *[1] * (change.ndim - 1))
    beside = states[i].y + error.nan_to_num(0, 0, 0)
    end = _path(plan, states[i]._replace(y=beside), denoise, tick)[0][-1].y
    return _sizes(end - states[-1].y) / _sizes(beside - states[i].y)


def _sizes(some: Tensor) -> Tensor:
    """Root of the mean square of each sample: (B,)."""
    found: Tensor = some.cpu().double().flatten(1).square().mean(1).sqrt()
    return found


def _products(states: Sequence[Tensor], outputs: Sequence[Tensor]) -> Array:
    """Mean products of any two, states first: (2M + 1, 2M + 1); a sample at a time, for the sake of memory."""
    found = torch.zeros(len(states) + len(outputs), 1, dtype=torch.float64)
    for i in range(len(states[0])):
        wide = torch.stack([one[i].cpu().double().flatten() for one in (*states, *outputs)])
        found = found + wide @ wide.T / (wide.shape[1] * len(states[0]))
    return found.numpy()


def _costs(plan: Plan, products: Array, left: Array, schedule: Schedule) -> Costs:
    """Mean squares of what each step misses, after the best weight on its difference to the output before."""
    n, size = plan.nfe, len(products)
    missed = np.zeros((n, n + 1, size))  # in terms of states and outputs
    for i in range(n):
        for j in range(i + 1, n + 1):
            step = trace(DDIM, (plan.nodes[i], plan.nodes[j]), schedule, plan.kind)
            missed[i, j, j], missed[i, j, i], missed[i, j, n + 1 + i] = 1, -step.start[0], -step.table[0, 1]
    squares = np.sum(missed @ products * missed, axis=2)
    onto = missed @ products[:, n + 1 :]  # what is missed on D_h: (i, j, h)
    along = np.einsum("iji->ij", onto)[None] - onto.transpose(2, 0, 1)  # on D_i − D_h: (h, i, j)
    own, both = np.diag(products)[n + 1 :], products[n + 1 :, n + 1 :]
    lengths = own[None] + own[:, None] - 2 * both
    gain = along**2 / (np.maximum(lengths, 0) + TINY * np.trace(products))[:, :, None]
    later = np.maximum(squares - gain, 0) * left**2
    before, here, there = np.ogrid[:n, :n, : n + 1]
    later = np.where((before < here) & (here < there), later, np.inf)
    first = np.where(np.arange(n + 1) > 0, squares[0] * left**2, np.inf)
    return Costs(plan, first, later)
