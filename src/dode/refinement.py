"""End-point refinement: weights and times moved together until samples end where the teacher's do.

Levenberg–Marquardt on |y_N − target|², by forward differences: no gradient of the network is taken.  A number that
first acts on the move after evaluation k is differentiated by running the evaluations after k again, so that a Jacobian
costs about half of a student's run for each number.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.distillation import sandwich
from dode.formulations import Directions
from dode.plan import Array, Plan
from dode.sampling import Denoise, State, begin, evaluate, move, observe
from dode.schedule import DiscreteVP, Node, Schedule
from dode.solvers.ddim import DDIM
from dode.tracing import trace

Tick = Callable[[int], None]  # told how many evaluations, of one sample each, were just made
STEP, HALF_STEP = 3e-3, 3e-2  # of the forward differences; the second for states in half precision
RIDGE = 1e-4  # pulls every number to zero, relative to the squared distance
DAMPINGS = (1.0, 10.0, 100.0)  # tried in turn, times the present damping
INSIDE = 0.01  # where α = 0 log-SNR is taken this share of the schedule inside


@dataclass(frozen=True, eq=False)
class Family:
    """The plans that a refinement moves in: DDIM's steps with weights on outputs so far, traced wherever nodes go.

    The numbers, all 0 for `base`: weights of `directions` at every evaluation; logs of the changes of the gaps in
    log-SNR between inner nodes, if `times`; shifts in log-SNR of what the network is told, if `told`.
    """

    base: Plan
    schedule: Schedule
    directions: Directions
    told: bool = False
    times: bool = True

    def __post_init__(self) -> None:
        plain = trace(DDIM, self.base.nodes, self.schedule, self.base.kind)
        if not all(np.allclose(getattr(plain, name), getattr(self.base, name)) for name in ("start", "use", "blend")):
            raise ValueError("a refinement begins with weights on DDIM's own steps: give `weighted` of ipndm, deis-3 …")

    @property
    def rows(self) -> list[Array]:
        """For each evaluation the directions of its weights: (m_k, 1 + N)."""
        return [self.directions(self.base, k) for k in range(self.base.nfe)]

    def acts(self) -> list[int]:
        """For each number the evaluation after which it first acts; −1: before the first."""
        n = self.base.nfe
        weights = [k for k, rows in enumerate(self.rows) for _ in rows]
        return [*weights, *(range(n - 1) if self.times else ()), *(range(-1, n - 1) if self.told else ())]

    def split(self, numbers: Array) -> tuple[list[Array], Array, Array]:
        """Weights of each evaluation, changes of the gaps, shifts of what is told."""
        *weights, rest = np.split(numbers, np.cumsum([len(some) for some in self.rows]))
        gaps, shifts = np.split(rest, [self.base.nfe - 1 if self.times else 0])
        return weights, gaps, shifts

    def plan(self, numbers: Array) -> Plan:
        """The plan of these numbers: (P,)."""
        mix = self.base.mix.copy()
        weights, gaps, shifts = self.split(numbers)
        for k, (some, row) in enumerate(zip(weights, self.rows, strict=True)):
            mix[k] += some @ row
        nodes = self._nodes(gaps)
        traced = trace(DDIM, nodes, self.schedule, self.base.kind)
        if not self.told:
            return replace(traced, mix=mix, free=True)
        shifts = np.array([self._held(node, shift) for node, shift in zip(nodes[:-1], shifts, strict=True)])
        told = [self._told(node, shift) for node, shift in zip(nodes[:-1], shifts, strict=True)]
        return replace(traced, nodes=(*told, nodes[-1]), mix=mix, free=True, told=shifts if np.any(shifts) else None)

    def _nodes(self, changes: Array) -> tuple[Node, ...]:
        """The base's nodes with every gap exp(change) times as wide; ends stay, and none is cleaner than t_min."""
        first, *inner, last = self.base.nodes
        if not np.any(changes):
            return self.base.nodes
        gaps = np.diff([self._level(node) for node in (first, *inner)]) * np.exp(changes)
        levels = np.minimum(self._level(first) + np.cumsum(gaps), self.schedule.node(self.schedule.t_min).logsnr)
        return (first, *(self.schedule.at(float(level)) for level in levels), last)

    def _told(self, node: Node, shift: float) -> Node:
        """The node with the time of another log-SNR."""
        return node._replace(t=self.schedule.at(self._level(node) + shift).t) if shift else node

    def _held(self, node: Node, shift: float) -> float:
        """The shift as far as the schedule goes."""
        level, most = self._level(node), self.schedule.node(self.schedule.t_min).logsnr
        least = self._level(self.schedule.node(self.schedule.t_max))
        return min(max(float(shift), least - level), most - level) if shift else 0.0

    def _level(self, node: Node) -> float:
        if node.alpha > 0:
            return node.logsnr
        inside = self.schedule.t_max + INSIDE * (self.schedule.t_min - self.schedule.t_max)
        if isinstance(self.schedule, DiscreteVP):  # between its last two times there is none
            inside = min(inside, self.schedule.t_max - 1)
        return self.schedule.node(inside).logsnr


def history(plan: Plan, k: int) -> Array:
    """Directions of an evaluation: its difference to the two outputs before it, and its own scale."""
    columns = [j for j in (k, k - 1) if j > 0 or (j == 0 and plan.kind == "noise")]
    rows = np.zeros((len(columns) + 1, 1 + plan.nfe))
    rows[:, 1 + k] = 1
    for row, j in zip(rows, columns, strict=False):
        row[j] = -1
    return rows


def weighted(plan: Plan) -> Plan:
    """A plan of one evaluation a step with its blends written as weights on DDIM's steps; ValueError for others."""
    n = plan.nfe
    if not all(plan.fresh) or np.any(plan.use != np.diag(np.diag(plan.use))):
        raise ValueError("only solvers that blend outputs in DDIM's step can be refined, such as ipndm or deis-3")
    return replace(plan, mix=np.concatenate([plan.mix[:, :1], plan.mix[:, 1:] @ plan.blend], axis=1), blend=np.eye(n))


class Pupil(NamedTuple):
    """Some samples: where they start, where they should end, and their network."""

    x_T: Tensor
    end: Tensor
    denoise: Denoise


def _ran(
    plan: Plan, pupil: Pupil, tick: Tick, seen: Sequence[State] = (), after: int = -1
) -> tuple[list[State], Tensor]:
    """The states just after each evaluation, and the end; a run may go on from an evaluation of another run."""
    state = move(plan, seen[after]) if after >= 0 else begin(plan, pupil.x_T)
    states = list(seen[: after + 1])
    for _ in range(after + 1, plan.nfe):
        tick(len(pupil.x_T))
        state = observe(plan, state, evaluate(plan, state, pupil.denoise))
        states.append(state)
        state = move(plan, state)
    return states, state.y


def _squares(end: Tensor, target: Tensor) -> Array:
    squares: Array = (end.double() - target.double()).flatten(1).square().mean(1).cpu().numpy()
    return squares


@torch.no_grad()
def squares(plan: Plan, pupils: Sequence[Pupil], tick: Tick) -> Array:
    """Squared distance of every sample's end to its target, a mean over its numbers: (n,)."""
    return np.concatenate([_squares(_ran(plan, pupil, tick)[1], pupil.end) for pupil in pupils])


def tried(plan: Plan, pupils: Sequence[Pupil], tick: Tick) -> Array:
    """`squares`, infinite where the network fails on the way or an end is not finite: the plan is no good."""
    try:
        found = squares(plan, pupils, tick)
    except ValueError:
        return np.full(sum(len(pupil.x_T) for pupil in pupils), np.inf)
    return np.where(np.isfinite(found), found, np.inf)


@torch.no_grad()
def system(family: Family, numbers: Array, pupils: Sequence[Pupil], tick: Tick) -> Array:
    """Products of every sample's Jacobian and residual: (n, P + 1, P + 1)."""
    plan, acts, grams = family.plan(numbers), family.acts(), []
    size = HALF_STEP if pupils[0].x_T.dtype in (torch.float16, torch.bfloat16) else STEP
    steps, stepped = zip(*(_stepped(family, plan, numbers, p, size) for p in range(len(numbers))), strict=True)
    for pupil in pupils:
        seen, end = _ran(plan, pupil, tick)
        moved = [_ran(other, pupil, tick, seen, after)[1] for other, after in zip(stepped, acts, strict=True)]
        columns = [(other.double() - end.double()) / step for other, step in zip(moved, steps, strict=True)]
        wide = torch.stack([c.flatten(1).cpu() for c in [*columns, pupil.end.double() - end.double()]], dim=2)
        grams.append((torch.einsum("bdi,bdj->bij", wide, wide) / wide.shape[1]).numpy())
    return np.concatenate(grams)


def _stepped(family: Family, plan: Plan, numbers: Array, p: int, size: float) -> tuple[float, Plan]:
    """A small step in one number and its plan; back where a step forward is held at an end of the schedule."""
    for step in (size, -size):
        moved = numbers.copy()
        moved[p] += step
        other = family.plan(moved)
        if other.nodes != plan.nodes or np.any(other.table != plan.table):
            break
    return step, other


@dataclass(frozen=True, eq=False)
class Round:
    """A refinement after some rounds."""

    numbers: Array
    squares: Array  # of the samples that it is fitted on
    errors: Array  # standard errors of the numbers, from the Jacobian of the round before; nan at first
    damping: float = 1e-2

    @property
    def rms(self) -> float:
        """Root of the mean squared distance."""
        return math.sqrt(self.squares.mean())


def cost(family: Family) -> int:
    """Evaluations that a Jacobian takes for each sample."""
    n = family.base.nfe
    return n + sum(n - 1 - after for after in family.acts())


def rounds(
    family: Family, start: Round, pupils: Sequence[Pupil], parts: Sequence[Sequence[Pupil]], tick: Tick
) -> Iterator[Round]:
    """Levenberg–Marquardt from a start, round after round, until no step makes the samples end nearer.

    Jacobians are of the parts in turn, which may be all samples or fewer; a step counts for all samples.  A round that
    finds no step gives the one before again.
    """
    now, failed, turn = start, 0, 0
    while failed < len(parts):
        gram = system(family, now.numbers, parts[turn % len(parts)], tick)
        turn += 1
        ridge = RIDGE * float(now.squares.mean())
        errors = _errors(gram, now.numbers, ridge)
        value = float(now.squares.mean()) + ridge * float(now.numbers @ now.numbers)
        for factor in DAMPINGS:
            numbers = now.numbers + _step(gram.mean(0), now.numbers, now.damping * factor, ridge)
            after = tried(family.plan(numbers), pupils, tick)
            if float(after.mean()) + ridge * float(numbers @ numbers) < value:
                failed = 0
                now = Round(numbers, after, errors, max(now.damping * factor / 3, 1e-6))
                break
        else:
            failed += 1
        yield now


def begun(family: Family, pupils: Sequence[Pupil], tick: Tick) -> Round:
    """The base, before any round."""
    numbers = np.zeros(len(family.acts()))
    return Round(numbers, tried(family.plan(numbers), pupils, tick), np.full(len(numbers), np.nan))


def _step(gram: Array, numbers: Array, damping: float, ridge: float) -> Array:
    """(JᵀJ + damping·diag + ridge)⁻¹·(Jᵀr − ridge·numbers)."""
    products, residual = gram[:-1, :-1], gram[:-1, -1]
    size = np.diag(products) + 1e-12 * np.trace(products)
    left = products + np.diag(damping * size + ridge)
    step: Array = np.linalg.lstsq(left, residual - ridge * numbers, rcond=None)[0]
    return step


def _errors(gram: Array, numbers: Array, ridge: float) -> Array:
    """Standard errors of the numbers over the samples."""
    inverse = np.linalg.pinv(gram[:, :-1, :-1].sum(0) + len(gram) * ridge * np.eye(len(numbers)))
    scores = gram[:, :-1, -1] - ridge * numbers
    return sandwich(inverse, scores - scores.mean(0))
