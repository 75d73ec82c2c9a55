"""The fit: one λ per network evaluation, by least squares in closed form, evaluation after evaluation.

y_{k+1} is affine in λ_k with slope v = use[k, k]·(D_k − D_{k−1}), so with r = target − y

    λ_k = ⟨r, v⟩ / (⟨v, v⟩ + ρ·⟨u, u⟩),   u = use[k, k]·D_k.

ρ = 0 is the paper.  The student goes on from its own corrected state, so later λ see its own error.  With several
directions at an evaluation the same least squares are solved by QR.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dode.distillation.formulations import Directions, one
from dode.distillation.least_squares import Solution, solve, solve_all, triangle
from dode.distillation.storage import Memory, Shelf
from dode.errors import DodeError
from dode.plan import Array, Plan
from dode.process_group import ALONE, Team
from dode.progress import Tick
from dode.sampling import Denoise, State, begin, combine, evaluate, move, observe, run
from dode.schedule import Node

LARGE = 5.0  # a |λ| above this is warned of, and explained


class Taught(Protocol):
    """Some of the samples: where they start, and the teacher's state for each evaluation."""

    @property
    def x_T(self) -> Tensor: ...  # asked for once

    @property
    def targets(self) -> Sequence[Tensor]: ...


class Learning(Taught, Protocol):
    """The same with their network."""

    @property
    def denoise(self) -> Denoise: ...


class Known(NamedTuple):
    """Samples that somebody else has the network for."""

    x_T: Tensor
    targets: Sequence[Tensor]


@dataclass(frozen=True)
class Batch:
    """Samples that are at hand."""

    x_T: Tensor
    denoise: Denoise
    targets: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Fit:
    """A distilled plan, and what is known of each evaluation's λ."""

    plan: Plan
    solutions: tuple[Solution, ...]  # one an evaluation

    @property
    def lambdas(self) -> Array:
        """(N,): the first λ of each evaluation, 0 where there is none."""
        return np.array([s.weights[0] if len(s.weights) else 0.0 for s in self.solutions])

    @property
    def errors(self) -> Array:
        """(N,): their standard errors."""
        return np.array([s.errors[0] if len(s.errors) else 0.0 for s in self.solutions])


@torch.no_grad()
def fit(
    plan: Plan,
    batches: Sequence[Learning],
    rho: float,
    tick: Tick = lambda calls: None,
    directions: Directions = one,
    forced: bool = False,
    shelf: Shelf | None = None,
    team: Team = ALONE,
) -> Fit:
    """Fit every λ of a plan; batches advance in lockstep, so their number does not change the result.

    forced: every evaluation is made on the teacher's state instead of the student's own (section 5's exposure bias).
    shelf: where the states of resting batches wait; team: other processes that have batches.
    Sums are per sample, in float64 on the CPU, and added in the order of the samples.
    """
    steps = fitting(plan, batches, rho, directions, forced, shelf, team)
    try:
        i, state = next(steps)
        while True:
            d = evaluate(plan, state, batches[i].denoise)
            tick(1)
            i, state = steps.send(d)
    except StopIteration as done:
        found: Fit = done.value
        return found


Fitting = Generator[tuple[int, State], Tensor, Fit]


def fitting(
    plan: Plan,
    batches: Sequence[Taught],
    rho: float,
    directions: Directions = one,
    forced: bool = False,
    shelf: Shelf | None = None,
    team: Team = ALONE,
) -> Fitting:
    """The fit as a dialogue, for whoever has the network: it names a batch and its state, and is sent the output there.

    After the last output it returns the Fit.  Other arguments as for `fit`.
    """
    resting = Resting(Memory() if shelf is None else shelf)
    solutions = []
    for k in range(plan.nfe):
        rows = directions(plan, k)
        read = _read(plan, k, rows)
        systems = []
        for i, batch in enumerate(batches):
            state = move(plan, resting.woken(i, k - 1, read)) if k else begin(plan, batch.x_T)
            if forced and k:
                state = state._replace(y=batch.targets[k - 1])
            d = yield i, state
            state = observe(plan, state, d)
            systems.append(_system(plan, state, rows, batch.targets[k]))
            resting.put(i, state)
        found = _solved(team.gather(systems), rho)
        _check(found, k, plan.nfe)
        plan = plan.mixed(k, found.weights @ rows)
        solutions.append(found)
    resting.clear()
    return Fit(plan, tuple(solutions))


def _check(found: Solution, k: int, nfe: int) -> None:
    """ValueError for λ that are no numbers."""
    if not np.isfinite(found.weights).all():
        raise DodeError(
            f"evaluation {k + 1} of {nfe}: states or targets have NaN or infinity, beyond the range of their "
            "dtype; try another dtype, and check what the network returns"
        )


class Resting:
    """The states of batches after an observation, on a shelf: where the step started, and what was seen."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._seen: dict[int, int] = {}  # batch → how many of what it has seen are on the shelf

    def put(self, i: int, state: State) -> None:
        """Keep what is new in the state of batch i."""
        self.shelf.put(("state", i), state.x)
        for j in range(self._seen.get(i, 0), len(state.seen)):
            seen = state.seen[j]
            if seen is not None:
                self.shelf.put(("seen", i, j), seen)
        self._seen[i] = len(state.seen)

    def woken(self, i: int, k: int, read: Sequence[int]) -> State:
        """The state of batch i after observation k, with those of what it has seen that will be read."""
        x = self.shelf.get(("state", i))
        seen = [self.shelf.get(("seen", i, j)) if j in read else None for j in range(self._seen[i])]
        return State(k, x, x, tuple(seen))

    def clear(self) -> None:
        """Drop everything."""
        for i, count in self._seen.items():
            self.shelf.drop(("state", i))
            for j in range(count):
                self.shelf.drop(("seen", i, j))


def _read(plan: Plan, k: int, rows: Array) -> list[int]:
    """What has been seen before evaluation k that the step to it, its least squares or its own step reads."""
    own = np.eye(1 + plan.nfe)[1 + k]
    coefficients = [plan.row(max(0, k - 1)), plan.row(k), *(plan.lifted(row) for row in (own, *rows))]
    found = np.flatnonzero(np.any(np.array(coefficients) != 0, axis=0)).tolist()
    return [j for j in found if j or plan.kind == "noise"]  # only noise outputs have x_T/σ_T before them


@torch.no_grad()
def search(
    plans: Sequence[Plan], batches: Sequence[Learning], tick: Tick = lambda calls: None, team: Team = ALONE
) -> tuple[int, tuple[float, ...]]:
    """The number of the plan whose end lies nearest to the targets' last state, and the RMS distance of every plan."""
    gaps = []  # of every batch: its numbers in all, and the squared distance of every plan
    for batch in batches:
        x_T, target = batch.x_T, batch.targets[-1].cpu().double()
        squares = []
        for plan in plans:
            end = run(plan, told(batch.denoise, tick), x_T)
            squares.append(float((end.cpu().double() - target).square().sum()))
        gaps.append(np.array([x_T.numel(), *squares]))
    count, *totals = np.sum(team.gather(gaps), axis=0).tolist()
    return int(np.argmin(totals)), tuple(np.sqrt(np.array(totals) / count).tolist())


def told(denoise: Denoise, tick: Tick) -> Denoise:
    """The network, with tick(1) after every call."""

    def telling(x: Tensor, node: Node) -> Tensor:
        d = denoise(x, node)
        tick(1)
        return d

    return telling


class System(NamedTuple):
    """A batch's least squares: the R of its slopes and residual, and the sums of every sample."""

    factor: Array  # (≤ m + 1, m + 1): R of [v_1 … v_m, r]
    gram: Array  # (B, m + 1, m + 1): their products, sample by sample
    outputs: Array  # (B,): ⟨u, u⟩


def _system(plan: Plan, state: State, rows: Array, target: Tensor) -> System:
    k, wide_x = state.k, state.x.to(torch.promote_types(state.x.dtype, torch.float32))
    slopes = [combine(0.0, wide_x, _reach(plan, k, row), state.seen) for row in rows]
    output = combine(0.0, wide_x, _reach(plan, k, np.eye(1 + plan.nfe)[1 + k]), state.seen)
    columns = [*slopes, target - move(plan, state).y]
    wide = torch.stack([column.cpu().double().flatten(1) for column in columns], dim=2)  # (B, D, m + 1)
    gram = torch.einsum("bdi,bdj->bij", wide, wide).numpy()
    outputs = output.cpu().double().flatten(1).square().sum(1).numpy()
    # one direction is a quotient of sums; with several a QR factor keeps the digits that products would square away
    factor = triangle(wide.flatten(0, 1).numpy()) if len(rows) > 1 else np.zeros((0, 1 + len(rows)))
    return System(factor, gram, outputs)


def _reach(plan: Plan, k: int, row: Array) -> Array:
    """∂y_{k+1} of a change of row k of mix, over what has been seen: (k + 2,)."""
    reach: Array = plan.use[k, k] * plan.lifted(row)[: k + 2]
    return reach


def _solved(systems: Sequence[System], rho: float) -> Solution:
    gram = np.concatenate([system.gram for system in systems])
    outputs = np.concatenate([system.outputs for system in systems])
    count = gram.shape[1] - 1
    if count == 0:
        return Solution(np.zeros(0), np.zeros(0), 0.0, 1.0)
    if count == 1:
        return solve(np.stack([gram[:, 0, 1], gram[:, 0, 0], outputs], axis=1), rho)
    return solve_all(np.concatenate([system.factor for system in systems]), gram, outputs, rho)
