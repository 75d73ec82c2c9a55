"""The formulations of the paper's section 4.4, and constant λ: what distillation changes at an evaluation.

A fitted formulation maps a plan and an evaluation k to directions: rows over [x_T/σ_T, D_0, …], each with a coefficient
to fit, which are added to row k of `mix`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dode.errors import DodeError, Unsupported
from dode.plan import Array, Plan, previous

Directions = Callable[[Plan, int], Array]  # → (m, 1 + N)


@dataclass(frozen=True)
class Formulation:
    """One way to write O_t: directions that are fitted evaluation after evaluation, or one constant for the plan."""

    name: str
    about: str
    directions: Directions | None = None
    constant: Callable[[Plan, float], Plan] | None = None
    free: bool = False  # whether rows of mix may have another sum than one
    trials: tuple[float, ...] = ()  # constants that a search tries
    default: float | None = None  # the constant if none is given; None: search


def one(plan: Plan, k: int) -> Array:
    """D-X, (42): d_t + λ·(d_t − d_{t+1})."""
    row = previous(plan, k)
    return row[None] if row.any() else np.zeros((0, 1 + plan.nfe))


def two(plan: Plan, k: int) -> Array:
    """D-X-2, (43): d_t + λ₁·(d_t − d_{t+1}) + λ₂·(d_t − d_{t+2}); x_T/σ_T stands before d_T, for noise outputs."""
    columns = [j for j in (k, k - 1) if j > 0 or (j == 0 and plan.kind == "noise")]
    rows = np.zeros((len(columns), 1 + plan.nfe))
    for row, j in zip(rows, columns, strict=True):
        row[1 + k], row[j] = 1, -1
    return rows


def separate(plan: Plan, k: int) -> Array:
    """D-X-Sep, (40): λ₁·d_t + λ₂·d_{t+1}, as changes to d_t."""
    columns = [j for j in (1 + k, k) if j > 0 or plan.kind == "noise"]
    return np.eye(1 + plan.nfe)[columns]


def every(plan: Plan, k: int) -> Array:
    """D-X-All, (41): all outputs so far, each with its own λ; without x_T, as in the main paper's Eq. 8."""
    return np.eye(1 + plan.nfe)[1 : k + 2]


def unnormalised(plan: Plan, k: int) -> Array:
    """D-DEIS as (21) prints it: P_r(t) + λ·(P_r(t) − P_r(t+1)) with P_r = use[k, k]·D_k."""
    weights = _diagonal(plan, "verbatim")
    rows = np.zeros((min(k, 1), 1 + plan.nfe))
    if k:
        rows[0, 1 + k], rows[0, k] = 1, -weights[k - 1] / weights[k]
    return rows


def fixed(plan: Plan, lam: float) -> Plan:
    """Fixed-D-X: one λ at every evaluation from the second on, where there is a previous output."""
    for k in range(1, plan.nfe):
        plan = plan.extrapolate(k, lam)
    return plan


def lookahead(plan: Plan, lam: float) -> Plan:
    """LA-X (Zhang, Niwa & Kleijn 2023): x̂₀ + λ·(x̂₀ − x̂₀ before) where x̂₀ enters the step, while ε̂ stays as it is.

    In data outputs that is λ_k = λ·α_{k+1}/use[k, k].
    """
    weights = _diagonal(plan, "la")
    for k in range(1, plan.nfe):
        plan = plan.extrapolate(k, lam * plan.nodes[k + 1].alpha / weights[k])
    return plan


def _diagonal(plan: Plan, name: str) -> Array:
    """The diagonal of use, for formulations that are written for one output a step."""
    if not all(plan.step_starts):
        raise Unsupported(f"formulation {name} is for solvers with one evaluation a step, such as ddim or deis-3")
    return np.diag(plan.use)


FIXED, AHEAD = tuple(k / 10 for k in range(-2, 11)), tuple(k / 20 for k in range(11))  # λ that a search tries
LOOKAHEAD = "lookahead in x̂₀ with one λ, 0.1 if not given (Zhang, Niwa & Kleijn 2023)"
FORMULATIONS = {
    row.name: row
    for row in (
        Formulation("d", "the paper's: one λ for the difference to the previous output, (42)", one),
        Formulation("2", "two differences, (43)", two),
        Formulation("sep", "the last two outputs, a coefficient each, (40)", separate, free=True),
        Formulation("all", "all outputs, a coefficient each, (41)", every, free=True),
        Formulation("verbatim", "differences as (21) prints them, unnormalised, for deis", unnormalised, free=True),
        Formulation("fixed", "one λ for all evaluations, searched if not given", constant=fixed, trials=FIXED),
        Formulation("la", LOOKAHEAD, constant=lookahead, trials=AHEAD, default=0.1),
    )
}


def formulation(name: str) -> Formulation:
    """The formulation of this name; DodeError with all names for another."""
    if name not in FORMULATIONS:
        raise DodeError(f"formulation must be one of {', '.join(FORMULATIONS)}; got {name!r}")
    return FORMULATIONS[name]
