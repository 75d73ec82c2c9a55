"""The fit: one λ per network evaluation, by least squares in closed form, evaluation after evaluation.

y_{k+1} is affine in λ_k with slope v = use[k, k]·(D_k − D_{k−1}), so with r = target − y

    λ_k = ⟨r, v⟩ / (⟨v, v⟩ + ρ·⟨u, u⟩),   u = use[k, k]·D_k.

ρ = 0 is the paper.  The student goes on from its own corrected state, so later λ see its own error.  With several
directions at an evaluation the same least squares are solved by QR.
"""

import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.formulations import Directions, one
from dode.plan import Array, Plan
from dode.sampling import Denoise, State, begin, combine, evaluate, move, observe

LARGE = 5.0  # a |λ| above this is warned of
SINGULAR = 1 / float(np.finfo(np.float64).eps)  # condition numbers beyond this are not told apart
Tick = Callable[[int], None]  # told how many network calls were just made


@dataclass(frozen=True)
class Batch:
    """Some of the samples: where they start, their network, and the teacher's state for each evaluation."""

    x_T: Tensor
    denoise: Denoise
    targets: Sequence[Tensor]


class Solution(NamedTuple):
    """Of the least squares at one evaluation, with m directions."""

    weights: Array  # (m,): λ
    errors: Array  # (m,): their standard errors over the samples
    ratio: float  # ‖v‖/‖u‖; where it is small, λ is ill-determined
    condition: float  # of the matrix of slopes


@dataclass(frozen=True, eq=False)
class Fit:
    """A distilled plan, and what is known of each evaluation's λ."""

    plan: Plan
    solutions: tuple[Solution, ...]  # one an evaluation
    ends: tuple[Tensor, ...] = ()  # where the distilled plan takes the batches that it was fitted on

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
    batches: Sequence[Batch],
    rho: float,
    tick: Tick = lambda calls: None,
    directions: Directions = one,
    forced: bool = False,
) -> Fit:
    """Fit every λ of a plan; batches advance in lockstep, so their number does not change the result.

    forced: every evaluation is made on the teacher's state instead of the student's own (section 5's exposure bias).
    Sums are per sample, in float64 on the CPU, and added in the order of the samples.
    """
    steps = fitting(plan, [(batch.x_T, batch.targets) for batch in batches], rho, directions, forced)
    i, state = next(steps)
    try:
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
    taught: Sequence[tuple[Tensor, Sequence[Tensor]]],
    rho: float,
    directions: Directions = one,
    forced: bool = False,
) -> Fitting:
    """The fit as a dialogue, for whoever has the network: it names a batch and its state, and is sent the output there.

    taught: x_T and the targets of every batch.  After the last output it returns the Fit, with the batches' ends.
    """
    states = [begin(plan, x_T) for x_T, _ in taught]
    solutions = []
    for k in range(plan.nfe):
        rows = directions(plan, k)
        systems = []
        for i, (_, targets) in enumerate(taught):
            d = yield i, states[i]
            states[i] = observe(plan, states[i], d)
            systems.append(_system(plan, states[i], rows, targets[k]))
        found = _solved(systems, rho)
        if not np.isfinite(found.weights).all():
            raise ValueError(
                f"evaluation {k + 1} of {plan.nfe}: states or targets have NaN or infinity, beyond the range of their "
                "dtype; try another dtype, and check what the network returns"
            )
        largest = max(found.weights.tolist(), key=abs, default=0.0)
        if abs(largest) > LARGE:
            hint = "a larger rho tames it" if found.ratio < 1 else "this step hardly uses its output"
            said = f"lambda = {largest:.3g} is large (‖v‖/‖u‖ = {found.ratio:.1g}); {hint}"
            warnings.warn(f"evaluation {k + 1} of {plan.nfe}: {said}", stacklevel=3)
        plan = plan.mixed(k, found.weights @ rows)
        solutions.append(found)
        states = [move(plan, state) for state in states]
        if forced:
            states = [state._replace(y=targets[k]) for state, (_, targets) in zip(states, taught, strict=True)]
    return Fit(plan, tuple(solutions), tuple(state.y for state in states))


@torch.no_grad()
def search(
    plans: Sequence[Plan], batches: Sequence[Batch], tick: Tick = lambda calls: None
) -> tuple[int, tuple[float, ...]]:
    """The number of the plan whose end lies nearest to the targets' last state, and the RMS distance of every plan."""
    squares = np.zeros(len(plans))
    for i, plan in enumerate(plans):
        for batch in batches:
            state = begin(plan, batch.x_T)
            for _ in range(plan.nfe):
                state = move(plan, observe(plan, state, evaluate(plan, state, batch.denoise)))
                tick(1)
            squares[i] += float((state.y.cpu().double() - batch.targets[-1].cpu().double()).square().sum())
    count = sum(batch.x_T.numel() for batch in batches)
    return int(np.argmin(squares)), tuple(np.sqrt(squares / count).tolist())


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
    factor = _triangle(wide.flatten(0, 1).numpy()) if len(rows) > 1 else np.zeros((0, 1 + len(rows)))
    return System(factor, gram, outputs)


def _triangle(matrix: Array) -> Array:
    """R of the QR factorisation."""
    factor: Array = torch.linalg.qr(torch.from_numpy(matrix), mode="r").R.numpy()
    return factor


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


def solve(sums: Array, rho: float) -> Solution:
    """λ from (n, 3): ⟨r, v⟩, ⟨v, v⟩, ⟨u, u⟩ of every sample; 0/0 is 0.

    The error is that of a ratio of means, linearised (Cochran 1977, section 6.4).
    """
    rv, vv, uu = sums.T
    weight = vv + rho * uu
    total, n = float(weight.sum()), len(rv)
    if total == 0:
        return Solution(np.zeros(1), np.zeros(1), 0.0, 1.0)
    lam = float(rv.sum()) / total
    error = float(np.sqrt(np.sum((rv - lam * weight) ** 2) * n / max(1, n - 1))) / total
    ratio = float(np.sqrt(vv.sum() / uu.sum())) if uu.sum() > 0 else 0.0
    return Solution(np.array([lam]), np.array([error]), ratio, 1.0)


def solve_all(factor: Array, gram: Array, outputs: Array, rho: float) -> Solution:
    """M coefficients from the batches' QR factors (…, m + 1), one above the other; ρ·Σ⟨u, u⟩ on each square.

    Their errors come from gram (n, m + 1, m + 1), outputs (n,).
    """
    m = gram.shape[1] - 1
    whole = _triangle(factor)
    slopes, residual = whole[:, :m], whole[:, m]
    ridge = rho * outputs.sum()
    padded = np.concatenate([slopes, np.sqrt(ridge) * np.eye(m)])
    weights = np.linalg.lstsq(padded, np.concatenate([residual, np.zeros(m)]), rcond=None)[0]
    scores = gram[:, :m, m] - gram[:, :m, :m] @ weights - rho * outputs[:, None] * weights
    inverse = np.linalg.pinv(padded)  # (XᵀX)⁻¹ = X⁺X⁺ᵀ
    ratio = float(np.sqrt(np.trace(gram[:, :m, :m].sum(0)) / outputs.sum())) if outputs.sum() > 0 else 0.0
    return Solution(weights, sandwich(inverse @ inverse.T, scores), ratio, min(float(np.linalg.cond(slopes)), SINGULAR))


def sandwich(inverse: Array, scores: Array) -> Array:
    """Standard errors (m,) of a least-squares fit over its samples: White 1980.

    inverse: (XᵀX)⁻¹ with its ridge (m, m); scores: of every sample (n, m).
    """
    n = len(scores)
    spread = inverse @ (scores.T @ scores) @ inverse * n / max(1, n - 1)
    errors: Array = np.sqrt(np.maximum(np.diag(spread), 0))
    return errors
