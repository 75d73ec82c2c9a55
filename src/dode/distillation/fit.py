"""The fit of the paper: one λ per network evaluation, in closed form, evaluation after evaluation.

The next state y_{k+1} is affine in λ_k with slope v = use[k, k]·(D_k − D_{k−1}).  With r = target − y_{k+1} at λ_k = 0,
least squares over all samples give

    λ_k = ⟨r, v⟩ / (⟨v, v⟩ + ρ·⟨u, u⟩),   u = use[k, k]·D_k.

ρ = 0 is the paper (Kim, Tang & Yu, CVPR 2024).  The student goes on from its own corrected state, so later λ see its
own error.  All products are sums over the samples.  `quotient` computes λ; with several directions at an evaluation
`least_squares` solves the same by QR.  The constant of a formulation that has one is chosen in `runner.fit_target`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.distillation.formulations import Directions, one
from dode.errors import NonFinite
from dode.plan import Array, Plan
from dode.process_group import ALONE, ProcessGroup
from dode.progress import Tick
from dode.sampling import Denoise, State, begin, combine, evaluate, move, observe
from dode.tensor_store import RestingStates, TensorStore

LARGE = 5.0  # a |λ| above this is warned of, and explained
SINGULAR = 1 / float(np.finfo(np.float64).eps)  # larger condition numbers are not told apart


class Batch(NamedTuple):
    """Samples of a fit: x_T, asked for once, their network, and the teacher's state that evaluation k aims at."""

    start: Callable[[], Tensor]
    denoise: Denoise
    target: Callable[[int], Tensor]


class Solution(NamedTuple):
    """The least squares at one evaluation, with m directions."""

    weights: Array  # (m,): λ
    errors: Array  # (m,): their standard errors over the samples
    ratio: float  # ‖v‖/‖u‖; where it is small, λ is ill-determined
    condition: float  # of the matrix of slopes


class Fit(NamedTuple):
    """A distilled plan, with the least squares of each evaluation."""

    plan: Plan
    solutions: tuple[Solution, ...]


@torch.no_grad()
def fit(
    plan: Plan,
    batches: Sequence[Batch],
    rho: float,
    tick: Tick = lambda calls: None,
    directions: Directions = one,
    forced: bool = False,
    store: TensorStore | None = None,
    group: ProcessGroup = ALONE,
) -> Fit:
    """Fit every λ of a plan by the batches' own networks; raises NonFinite.

    All batches make evaluation k before any makes k + 1, so their number does not change λ.  tick(1) after every
    network call; forced: evaluations are on the teacher's states, not the student's (section 5's exposure bias);
    store: where the states of batches wait.
    """
    resting, solutions = RestingStates(store or TensorStore()), []
    for k in range(plan.nfe):
        rows = directions(plan, k)
        columns = _columns_read(plan, k, rows)
        products = []
        for i, batch in enumerate(batches):
            state = move(plan, resting.get(i, k - 1, columns)) if k else begin(plan, batch.start())
            if forced and k:
                state = state._replace(y=batch.target(k - 1))
            state = observe(plan, state, evaluate(plan, state, batch.denoise))
            tick(1)
            products.append(_products(plan, state, rows, batch.target(k)))
            resting.put(i, state)
        factor, gram, outputs = (np.concatenate(part) for part in zip(*group.gather(products), strict=True))
        if not np.isfinite(gram).all():
            raise NonFinite(
                f"evaluation {k + 1} of {plan.nfe}: states or targets have NaN or infinity, beyond the range of their "
                "dtype; try another dtype, and check what the network returns"
            )
        if len(rows) == 1:
            solution = quotient(gram[:, 0, 1], gram[:, 0, 0], outputs, rho)
        else:
            solution = least_squares(factor, gram, outputs, rho)
        plan = plan.mixed(k, solution.weights @ rows)
        solutions.append(solution)
    resting.clear()
    return Fit(plan, tuple(solutions))


def _products(plan: Plan, state: State, rows: Array, target: Tensor) -> tuple[Array, Array, Array]:
    """The R of [v_1 … v_m, r], their inner products (B, m + 1, m + 1) and ⟨u, u⟩ (B,), in float64 on the CPU."""
    k, x = state.k, state.x.to(torch.promote_types(state.x.dtype, torch.float32))
    *slopes, output = (
        combine(0.0, x, plan.use[k, k] * plan.lifted(row)[: k + 2], state.seen)  # ∂y_{k+1} along this row of mix
        for row in (*rows, np.eye(1 + plan.nfe)[1 + k])
    )
    columns = [*slopes, target - move(plan, state).y]
    wide = torch.stack([column.cpu().double().flatten(1) for column in columns], dim=2)  # (B, D, m + 1)
    gram = torch.einsum("bdi,bdj->bij", wide, wide).numpy()
    outputs = output.cpu().double().flatten(1).square().sum(1).numpy()
    # one direction is a quotient of sums; with several a QR factor keeps the digits that products would square away
    factor = torch.linalg.qr(wide.flatten(0, 1), mode="r").R if len(rows) > 1 else torch.zeros(0, wide.shape[2])
    return factor.numpy(), gram, outputs


def quotient(rv: Array, vv: Array, uu: Array, rho: float) -> Solution:
    """λ from ⟨r, v⟩, ⟨v, v⟩ and ⟨u, u⟩ of every sample, each (n,); 0/0 is 0.

    Its standard error is that of a ratio of means, linearised (Cochran 1977, section 6.4).
    """
    weight = vv + rho * uu
    total, n = float(weight.sum()), len(rv)
    if total == 0:
        return Solution(np.zeros(1), np.zeros(1), 0.0, 1.0)
    lam = float(rv.sum()) / total
    error = float(np.sqrt(np.sum((rv - lam * weight) ** 2) * n / max(1, n - 1))) / total
    ratio = float(np.sqrt(vv.sum() / uu.sum())) if uu.sum() > 0 else 0.0
    return Solution(np.array([lam]), np.array([error]), ratio, 1.0)


def least_squares(factor: Array, gram: Array, outputs: Array, rho: float) -> Solution:
    """m coefficients from the batches' QR factors (…, m + 1), one above the other; ρ·Σ⟨u, u⟩ on each square.

    Their standard errors (White 1980) come from gram (n, m + 1, m + 1) and outputs (n,).
    """
    n, m = len(gram), gram.shape[1] - 1
    if m == 0:
        return Solution(np.zeros(0), np.zeros(0), 0.0, 1.0)
    slopes, residual = np.split(np.linalg.qr(factor, mode="r"), [m], axis=1)
    padded = np.concatenate([slopes, np.sqrt(rho * outputs.sum()) * np.eye(m)])
    weights = np.linalg.lstsq(padded, np.concatenate([residual[:, 0], np.zeros(m)]), rcond=None)[0]
    scores = gram[:, :m, m] - gram[:, :m, :m] @ weights - rho * outputs[:, None] * weights
    inverse = np.linalg.pinv(padded) @ np.linalg.pinv(padded).T  # (XᵀX)⁻¹ = X⁺X⁺ᵀ
    spread = inverse @ (scores.T @ scores) @ inverse * n / max(1, n - 1)
    errors: Array = np.sqrt(np.maximum(np.diag(spread), 0))
    ratio = float(np.sqrt(np.trace(gram[:, :m, :m].sum(0)) / outputs.sum())) if outputs.sum() > 0 else 0.0
    return Solution(weights, errors, ratio, min(float(np.linalg.cond(slopes)), SINGULAR))


def _columns_read(plan: Plan, k: int, rows: Array) -> list[int]:
    """The columns before evaluation k that the step to it, its least squares or its own step reads."""
    own = np.eye(1 + plan.nfe)[1 + k]
    coefficients = [plan.row(max(0, k - 1)), plan.row(k), *(plan.lifted(row) for row in (own, *rows))]
    columns = np.flatnonzero(np.any(np.array(coefficients) != 0, axis=0)).tolist()
    return [j for j in columns if j or plan.kind == "noise"]  # only noise outputs have x_T/σ_T before them
