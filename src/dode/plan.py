"""A solver as numbers: three matrices, checked where they are made.

Evaluation k is made at ``nodes[k]`` on the state y_k; with d_j the network's outputs,

    D_k     = Σ_j blend[k, j]·d_j              the solver's denoising output            (6), (19)
    O_k     = Σ_j mix[k, 1+j]·D_j              what distillation changes                (4), (11), (32)
    y_{k+1} = start[k]·x + Σ_j use[k, j]·O_j   the solver's update                      (5), (17), (34)–(37)

where x is the state that the current step started from, and column 0 of ``mix`` is x_T/σ_T, the first evaluation's
"previous output".  Stochastic samplers add noise[k]·z_k to y_k, z_k standard normal.  The numbers (6) … are the
paper's; docs/method.md maps them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from dode.errors import DodeError
from dode.parameterization import KINDS, Kind, parts
from dode.schedule import MOST, Node

Array = np.ndarray
Terms = tuple[float, tuple[tuple[int, float], ...]]
TOLERANCE = 1e-10  # of the invariants, relative to the sum of the terms' sizes


@dataclass(frozen=True, eq=False)
class Plan:
    """N network evaluations, N + 1 states.

    Raises:
        DodeError: for arrays of wrong shapes, an output read before it exists, and coefficients that are no consistent
            solver: a straight path (constant x₀ and ε) must be followed exactly.
    """

    kind: Kind  # what d_k is
    nodes: tuple[Node, ...]  # N + 1: evaluation k at nodes[k]; sampling ends at nodes[N]
    step_starts: tuple[bool, ...]  # (N,): whether evaluation k is the first of a step
    start: Array  # (N,): coefficient of the step's start state
    use: Array  # (N, N), lower triangular
    mix: Array  # (N, 1 + N), column 0 is x_T/σ_T
    blend: Array  # (N, N), lower triangular, rows sum to 1
    noise: Array | None = None  # (N + 1,): standard deviation of noise added to each state, entry 0 to x_T; or zeros
    carry: bool = True  # whether later stages of a step use O_j (the paper), or D_j (the published DPM-Solver-3)
    unnormalized: bool = False  # whether rows of mix may have another sum than 1
    conditioning_shifts: Array | None = None  # (N,): log-SNR at nodes[k].t, the network's time, less the node's

    def __post_init__(self) -> None:
        n = len(self.nodes) - 1
        if self.kind not in KINDS:
            raise DodeError(f"a plan's outputs are {', '.join(KINDS)}; got {self.kind!r}")
        if not all(abs(value) <= MOST for node in self.nodes for value in node):
            raise DodeError(f"t, alpha and sigma of a plan's nodes must be numbers up to {MOST:g}")
        if self.noise is None:
            object.__setattr__(self, "noise", np.zeros(n + 1))
        shapes = {"start": (n,), "use": (n, n), "mix": (n, 1 + n), "blend": (n, n), "noise": (n + 1,)}
        if self.conditioning_shifts is not None:
            shapes["conditioning_shifts"] = (n,)
        for name, shape in shapes.items():
            array = _read_only(getattr(self, name))
            if array.shape != shape or not np.all(np.isfinite(array)):
                raise DodeError(f"plan.{name} must be finite with shape {shape}; got shape {array.shape}")
            object.__setattr__(self, name, array)
        if n < 1 or len(self.step_starts) != n or not self.step_starts[0]:
            raise DodeError(
                f"a plan needs evaluations and the first starts a step; got {n}, step_starts={self.step_starts}"
            )
        self._check_triangles()
        self._check_sums()
        self._check_order()

    @property
    def nfe(self) -> int:
        """Network evaluations."""
        return len(self.nodes) - 1

    @cached_property
    def noise_scales(self) -> tuple[float, ...]:
        """(N + 1,): ``noise`` as plain numbers; all 0 in a deterministic plan."""
        return tuple(np.asarray(self.noise).tolist())

    @cached_property
    def table(self) -> Array:
        """(N, 1 + N): y_{k+1} over [x_T/σ_T, d_0, …], beside start[k]·x."""
        return np.array([self.row(k) for k in range(self.nfe)])

    def terms(self, k: int) -> Terms:
        """start[k], and row k of the table as (column, coefficient) where it is not zero, in plain numbers."""
        # each row on its own and once: the fit changes the plan after every evaluation, and reads one row of each
        if k not in self._terms:
            row = self.row(k)
            self._terms[k] = float(self.start[k]), tuple((int(j), float(row[j])) for j in row.nonzero()[0])
        return self._terms[k]

    @cached_property
    def _terms(self) -> dict[int, Terms]:
        return {}

    def row(self, k: int) -> Array:
        """Row k of the table, from the few entries of use and mix that are not zero: (1 + N,)."""
        total: Array = np.zeros(1 + self.nfe)
        for j in self.use[k].nonzero()[0]:
            if self.carry or j == k:
                total += self.use[k, j] * self.lifted(self.mix[j])
            else:
                total[1:] += self.use[k, j] * self.blend[j]
        return total

    def lifted(self, row: Array) -> Array:
        """Coefficients over [x_T/σ_T, D_0, …] as coefficients over [x_T/σ_T, d_0, …]: (1 + N,)."""
        lifted: Array = np.zeros(1 + self.nfe)
        lifted[0] = row[0]
        for j in row[1:].nonzero()[0]:
            lifted[1:] += row[1 + j] * self.blend[j]
        return lifted

    @cached_property
    def last_reads(self) -> tuple[int, ...]:
        """For x_T and each output the last evaluation that reads it; −1 for none."""
        reads = [-1] * (1 + self.nfe)
        for k in range(self.nfe):
            for j, _ in self.terms(k)[1]:
                reads[j] = k
        return tuple(reads)

    @cached_property
    def releases(self) -> tuple[tuple[int, ...], ...]:
        """(N + 1,): columns of [x_T/σ_T, d_0, …] last read by evaluation k − 1, to be freed before evaluation k."""
        columns: list[tuple[int, ...]] = [() for _ in range(self.nfe + 1)]
        for j, last in enumerate(self.last_reads):
            columns[max(last + 1, j)] += (j,)
        columns[1] += columns[0]  # x_T, in runs that free nothing before their first evaluation
        return tuple(columns)

    @property
    def lambdas(self) -> Array:
        """(N,): λ_k of O_k = D_k + λ_k·(D_k − D_{k−1}), read off the diagonal of mix."""
        values: Array = np.diag(self.mix, 1) - 1
        return values

    def mixed(self, k: int, change: Array) -> "Plan":
        """The plan with ``change`` (1 + N,) added to row k of mix."""
        mix = self.mix.copy()
        mix[k] += change
        return replace(self, mix=mix)

    def extrapolate(self, k: int, lam: float) -> "Plan":
        """O_k = D_k + λ·(D_k − D_{k−1}) added to row k: equations (4), (11), (15)–(16), (21), (25), (32)–(33)."""
        return self.mixed(k, lam * previous(self, k))

    def origins(self) -> Iterator[Node]:
        """For each evaluation the node at which its step started."""
        origin = self.nodes[0]
        for node, starts in zip(self.nodes, self.step_starts, strict=False):
            origin = node if starts else origin
            yield origin

    def _check_triangles(self) -> None:
        for name, array, offset in (("use", self.use, 0), ("blend", self.blend, 0), ("mix", self.mix, 1)):
            rows, columns = array.nonzero()
            if np.any(columns > rows + offset):
                raise DodeError(f"plan.{name} reads an output before it exists")

    def _check_sums(self) -> None:
        """Outputs of a straight path lead to its next state; where noise is added, variances add up to σ²."""
        ones = np.ones(self.nfe)
        _agree("blend", self.blend.sum(1), np.abs(self.blend).sum(1), ones)
        if not self.unnormalized:
            _agree("mix", self.mix.sum(1), np.abs(self.mix).sum(1), ones)
        outputs = np.array([parts(self.kind, node) for node in self.nodes[:-1]])
        moved = self.start[:, None] * np.array(list(self.origins()))[:, 1:]
        totals = moved + self.use @ (self.blend @ outputs)
        sizes = np.abs(moved) + np.abs(self.use) @ (np.abs(self.blend) @ np.abs(outputs))
        wanted, noise = np.array(self.nodes[1:])[:, 1:], np.array(self.noise_scales[1:])
        wanted[:, 1] = np.where(noise > 0, np.sqrt(np.maximum(wanted[:, 1] ** 2 - noise**2, 0)), wanted[:, 1])
        for i, name in enumerate(("alpha", "sigma")):
            _agree(f"use (the {name} of the next node)", totals[:, i], sizes[:, i], wanted[:, i])

    def _check_order(self) -> None:
        levels = [node.logsnr for node in self.nodes]
        if any(self.noise_scales):  # churn goes back up on purpose
            return
        if not (all(a <= b for a, b in pairwise(levels)) or all(a >= b for a, b in pairwise(levels))):
            raise DodeError(f"log-SNR must not fall along a plan (nor rise, in an inversion); got {levels}")

    def __str__(self) -> str:
        head = f"{self.nfe} evaluations, {self.kind} outputs" + ("" if self.carry else ", carry=False")
        head += ", stochastic" if any(self.noise_scales) else ""
        lines = [head, f"{'k':>3} {'t':>9} {'alpha':>9} {'sigma':>9} {'start':>11} {'lambda':>9}  use·mix·blend"]
        for k, node in enumerate(self.nodes[:-1]):
            row = [f"x_T/σ_T: {self.table[k, 0]:.6g}"] if self.table[k, 0] else []
            row += [f"d{j}: {c:.6g}" for j, c in enumerate(self.table[k, 1:]) if c]
            mark = ">" if self.step_starts[k] else " "
            numbers = (
                f"{node.t:9.6g} {_level(node.alpha)} {_level(node.sigma)} {self.start[k]:11.6g} {self.lambdas[k]:9.5f}"
            )
            row += [f"noise: {self.noise_scales[k + 1]:.6g}"] if self.noise_scales[k + 1] else []
            lines.append(f"{mark}{k:>2} {numbers}  " + "  ".join(row))
        end = self.nodes[-1]
        return "\n".join([*lines, f"end {end.t:9.6g} {_level(end.alpha)} {_level(end.sigma)}"])


def _level(value: float) -> str:
    """α or σ in a table: six decimals, or six digits where those would not do."""
    return f"{value:9.6f}" if value == 0 or 1e-3 <= abs(value) < 100 else f"{value:9.4g}"


def _read_only(values: Any) -> Array:
    """As float64: a copy, unless it is another plan's array, which nobody can write to."""
    array = np.asarray(values, dtype=np.float64)
    if array.base is not None or array.flags.writeable:
        array = array.copy()
        array.setflags(write=False)
    return array


def previous(plan: Plan, k: int) -> Array:
    """The paper's direction D_k − D_{k−1} over [x_T/σ_T, D_0, …]: (1 + N,); zeros if there is no previous output.

    At k = 0 the previous output is x_T/σ_T, which is a noise output.
    """
    row = np.zeros(1 + plan.nfe)
    if k or plan.kind == "noise":
        row[1 + k], row[k] = 1, -1
    return row


def state_lambdas(plan: Plan) -> Array:
    """λ of the published code's convention, which adds λ·(D_k − D_{k−1}) to the state: (N,)."""
    values: Array = plan.lambdas * np.diag(plan.use)
    return values


def from_state_lambdas(plan: Plan, values: Array) -> Plan:
    """The plan with λ given in the published code's convention; the inverse of `state_lambdas`."""
    for k, value in enumerate(values):
        plan = plan.extrapolate(k, float(value) / float(plan.use[k, k]) - float(plan.lambdas[k]))
    return plan


def _agree(name: str, total: Array, size: Array, wanted: Array) -> None:
    """Row sums as wanted, relative to the sum of the terms' sizes."""
    excess = np.abs(total - wanted) - TOLERANCE * (size + np.abs(wanted))
    worst = int(np.argmax(excess))
    if not excess[worst] <= 0:
        raise DodeError(
            f"plan.{name}: row {worst} sums to {total[worst]:.12g}, expected {wanted[worst]:.12g}; "
            "not a consistent solver"
        )
