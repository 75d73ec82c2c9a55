"""End-point refinement: weights and times moved together until samples end where the teacher's do.

Levenberg–Marquardt on |y_N − target|², by forward differences: no gradient of the network is taken.  A number that
first acts on the move after evaluation k is differentiated by running the evaluations after k again, so that a Jacobian
costs about half of a student's run for each number.

The few samples near a watershed between modes would rule a mean of squares s, so that what is made small is the mean
of c·log(1 + s/c), c being TOLERANCE times the median of s (Cauchy's loss), by weights that every round renews.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError, NonFinite
from dode.plan import Array, Plan
from dode.sampling import Denoise, State, Watch, begin, evaluate, move, observe
from dode.search.parametrization import Family

Tick = Callable[[int], None]  # told how many evaluations, of one sample each, were just made
STEP, HALF_STEP = 3e-3, 3e-2  # of the forward differences; the second for states in half precision
RIDGE = 1e-4  # pulls every number to zero, relative to the squared distance
DAMPINGS = (1.0, 10.0, 100.0, 1e3, 1e4)  # tried in turn, times the present damping, until the next is no better
MEMORY = 0.5  # what the Jacobian of another part of the samples counts, for each round since
TOLERANCE = 10.0  # medians of the squared distances beyond which a sample has little say


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
    states, watch = list(seen[: after + 1]), Watch(plan)
    for _ in range(after + 1, plan.nfe):
        tick(len(pupil.x_T))
        state = observe(plan, state, evaluate(plan, state, pupil.denoise, watch))
        states.append(state)
        state = move(plan, state)
    watch.look()
    return states, state.y


def _wide(states: Tensor) -> Tensor:
    """Each sample's numbers in float64, on the CPU: some devices have none: (B, D)."""
    return states.cpu().double().flatten(1)


def _squares(end: Tensor, target: Tensor) -> Array:
    squares: Array = (_wide(end) - _wide(target)).square().mean(1).numpy()
    return squares


@torch.no_grad()
def squares(plan: Plan, pupils: Sequence[Pupil], tick: Tick) -> Array:
    """Squared distance of every sample's end to its target, a mean over its numbers: (n,)."""
    return np.concatenate([_squares(_ran(plan, pupil, tick)[1], pupil.end) for pupil in pupils])


def tried(plan: Plan, pupils: Sequence[Pupil], tick: Tick) -> Array:
    """`squares`, infinite where the network or an end is not finite: the plan is no good."""
    try:
        found = squares(plan, pupils, tick)
    except NonFinite:
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
        here = _wide(end)
        columns = [(_wide(other) - here) / step for other, step in zip(moved, steps, strict=True)]
        wide = torch.stack([*columns, _wide(pupil.end) - here], dim=2)
        grams.append((torch.einsum("bdi,bdj->bij", wide, wide) / wide.shape[1]).numpy())
    return np.concatenate(grams)


def _stepped(family: Family, plan: Plan, numbers: Array, p: int, size: float) -> tuple[float, Plan]:
    """A small step in one number and its plan; back where a step forward is held at an end of the schedule."""
    for step in (size, -size):
        moved = numbers.copy()
        moved[p] += step
        other = _candidate(family, moved)
        if other.nodes != plan.nodes or np.any(other.table != plan.table):
            break
    return step, other


def _candidate(family: Family, numbers: Array) -> Plan:
    """The plan of these numbers; NonFinite where they leave the schedule, or what a plan can hold."""
    try:
        return family.plan(numbers)
    except DodeError as error:  # no network is called here
        raise NonFinite(f"a refinement has gone too far: {error}") from error


@dataclass(frozen=True, eq=False)
class Round:
    """A refinement after some rounds."""

    numbers: Array
    squares: Array  # of the samples that it is fitted on
    grams: tuple[Array, ...] = ()  # of the parts of the samples, newest first, as they would be at the numbers
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

    Jacobians are of the parts in turn, which may be all samples or fewer; those of the parts before count on, with less
    weight, their residuals moved along their own slopes.  A step counts for all samples.  A round that finds no step
    gives the one before again.
    """
    now, failed, turn = start, 0, 0
    while failed < len(parts):
        fresh = system(family, now.numbers, parts[turn % len(parts)], tick)
        turn += 1
        now = replace(now, grams=(fresh, *now.grams[: len(parts) - 1]))
        after = _stepped_on(family, now, pupils, tick)
        failed = 0 if after is not None else failed + 1
        now = after or now
        yield now


def _stepped_on(family: Family, now: Round, pupils: Sequence[Pupil], tick: Tick) -> Round | None:
    """The best of the steps, each with more damping, if it makes the samples end nearer.

    A step costs far less than a Jacobian, so that one more is tried after the first that is nearer, and so on until one
    is not nearer than the step before it.
    """
    middle, gram = float(np.median(now.squares)), _gram(now)
    value = loss(now.squares, middle)
    ridge, best = RIDGE * value, None
    value += ridge * float(now.numbers @ now.numbers)
    for damping in (now.damping * factor for factor in DAMPINGS):
        step = _step(gram, now.numbers, damping, ridge)
        numbers = now.numbers + step
        after = tried(_candidate(family, numbers), pupils, tick)
        here = loss(after, middle) + ridge * float(numbers @ numbers)
        if here < value:
            value = here
            best = Round(numbers, after, tuple(_moved(old, step) for old in now.grams), max(damping / 3, 1e-6))
        elif best is not None:
            break
    return best


def loss(squares: Array, middle: float, tolerance: float | None = None) -> float:
    """The mean of c·log(1 + s/c), c = tolerance·middle; infinite if a square is not finite."""
    if not np.isfinite(squares).all():
        return math.inf
    most = (tolerance or TOLERANCE) / TOLERANCE * _most(middle)
    return float((most * np.log1p(squares / most)).mean())


def trust(squares: Array, middle: float) -> Array:
    """The slope of the loss at each sample: near 1, a half at TOLERANCE times the middle, near 0 far away."""
    weights: Array = _most(middle) / (_most(middle) + squares)
    return weights


def _most(middle: float) -> float:
    """c, above 0 even where most samples end exactly where they should."""
    return TOLERANCE * max(middle, float(np.finfo(float).tiny))


def _trusted(now: Round) -> list[Array]:
    """The Grams of every sample with its weight."""
    middle = float(np.median(now.squares))
    return [trust(gram[:, -1, -1], middle)[:, None, None] * gram for gram in now.grams]


def _gram(now: Round) -> Array:
    """The mean of all parts, older ones with less weight."""
    ages = [MEMORY**age for age in range(len(now.grams))]
    sums = sum(age * gram.sum(0) for age, gram in zip(ages, _trusted(now), strict=True))
    mean: Array = sums / sum(age * len(gram) for age, gram in zip(ages, now.grams, strict=True))
    return mean


def _moved(gram: Array, step: Array) -> Array:
    """Products of Jacobian and residual after a step: the residual is r − J·step."""
    change = np.eye(len(step) + 1)
    change[:-1, -1] = -step
    moved: Array = change.T @ gram @ change
    return moved


def begun(family: Family, pupils: Sequence[Pupil], tick: Tick) -> Round:
    """The base, before any round."""
    numbers = np.zeros(len(family.acts()))
    return Round(numbers, tried(family.plan(numbers), pupils, tick))


def _step(gram: Array, numbers: Array, damping: float, ridge: float) -> Array:
    """(JᵀJ + damping·diag + ridge)⁻¹·(Jᵀr − ridge·numbers)."""
    products, residual = gram[:-1, :-1], gram[:-1, -1]
    size = np.diag(products) + 1e-12 * np.trace(products)
    left = products + np.diag(damping * size + ridge)
    step: Array = np.linalg.lstsq(left, residual - ridge * numbers, rcond=None)[0]
    return step


def errors(now: Round, draws: int = 200) -> Array:
    """Standard errors of the numbers (P,), by a bootstrap over the samples of all parts; nan before the first round.

    Each draw is one step of least squares from where the numbers are, on samples drawn with replacement.
    """
    if not now.grams:
        return np.full(len(now.numbers), np.nan)
    grams, random = np.concatenate(_trusted(now)), np.random.default_rng(0)
    ridge = RIDGE * loss(now.squares, float(np.median(now.squares)))
    n = len(grams)
    counts = random.multinomial(n, np.full(n, 1 / n), size=draws)
    steps = [_step(np.tensordot(count, grams, 1) / n, now.numbers, 0.0, ridge) for count in counts]
    spread: Array = np.std(steps, axis=0, ddof=1)
    return spread
