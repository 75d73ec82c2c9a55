"""The fit: one λ per network evaluation, by least squares in closed form, evaluation after evaluation.

y_{k+1} is affine in λ_k with slope v = use[k, k]·(D_k − D_{k−1}), so with r = target − y

    λ_k = ⟨r, v⟩ / (⟨v, v⟩ + ρ·⟨u, u⟩),   u = use[k, k]·D_k.

ρ = 0 is the paper.  The student goes on from its own corrected state, so later λ see its own error.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dode.plan import Array, Plan
from dode.sampling import Denoise, State, begin, combine, evaluate, move, observe

LARGE = 5.0  # a |λ| above this is warned of
Tick = Callable[[int], None]  # told how many network calls were just made


@dataclass(frozen=True)
class Batch:
    """Some of the samples: where they start, their network, and the teacher's state for each evaluation."""

    x_T: Tensor
    denoise: Denoise
    targets: Sequence[Tensor]


@dataclass(frozen=True, eq=False)
class Fit:
    """A distilled plan, and what is known of each λ."""

    plan: Plan
    errors: Array  # (N,): standard error of λ over the samples
    ratios: Array  # (N,): ‖v‖/‖u‖; where it is small, λ is ill-determined


def slope(plan: Plan, state: State) -> Tensor:
    """V = ∂y/∂λ of the evaluation just observed, for the paper's direction."""
    row = plan.extrapolate(state.k, 1.0).table[state.k] - plan.table[state.k]
    return combine(0.0, state.x, row[: state.k + 2], state.seen)


def output(plan: Plan, state: State) -> Tensor:
    """U = use[k, k]·D_k: what the size of v is compared with."""
    row = np.concatenate([[0.0], plan.use[state.k, state.k] * plan.blend[state.k]])
    return combine(0.0, state.x, row[: state.k + 2], state.seen)


@torch.no_grad()
def fit(plan: Plan, batches: Sequence[Batch], rho: float, tick: Tick = lambda calls: None) -> Fit:
    """Fit every λ of a plan; batches advance in lockstep, so their number does not change the result.

    Sums are per sample, in float64 on the CPU, and added in the order of the samples.
    """
    states = [begin(plan, batch.x_T) for batch in batches]
    errors, ratios = np.zeros(plan.nfe), np.zeros(plan.nfe)
    for k in range(plan.nfe):
        sums = []
        for i, batch in enumerate(batches):
            states[i] = observe(plan, states[i], evaluate(plan, states[i], batch.denoise))
            sums.append(_sums(plan, states[i], batch.targets[k]))
            tick(1)
        lam, errors[k], ratios[k] = solve(np.concatenate(sums), rho)
        if abs(lam) > LARGE:
            warnings.warn(
                f"evaluation {k + 1}: lambda = {lam:.3g} is large (‖v‖/‖u‖ = {ratios[k]:.1g}); a larger rho tames it",
                stacklevel=2,
            )
        plan = plan.extrapolate(k, lam)
        states = [move(plan, state) for state in states]
    return Fit(plan, errors, ratios)


def _sums(plan: Plan, state: State, target: Tensor) -> Array:
    """(B, 3): ⟨r, v⟩, ⟨v, v⟩, ⟨u, u⟩ of every sample."""
    v, u = slope(plan, state), output(plan, state)
    r = target - move(plan, state).y
    pairs = ((r, v), (v, v), (u, u))
    wide = [(a.cpu().double().flatten(1), b.cpu().double().flatten(1)) for a, b in pairs]
    return torch.stack([(a * b).sum(1) for a, b in wide], dim=1).numpy()


def solve(sums: Array, rho: float) -> tuple[float, float, float]:
    """(λ, its standard error, ‖v‖/‖u‖) from ⟨r, v⟩, ⟨v, v⟩, ⟨u, u⟩ of every sample; 0/0 is 0.

    The error is that of a ratio of means, linearised (Cochran 1977, section 6.4).
    """
    rv, vv, uu = sums.T
    weight = vv + rho * uu
    total, n = float(weight.sum()), len(rv)
    if total == 0:
        return 0.0, 0.0, 0.0
    lam = float(rv.sum()) / total
    error = float(np.sqrt(np.sum((rv - lam * weight) ** 2) * n / max(1, n - 1))) / total
    ratio = float(np.sqrt(vv.sum() / uu.sum())) if uu.sum() > 0 else 0.0
    return lam, error, ratio
