"""Many short runs of a solver at once: sample i of a batch takes the steps of plan which[i].

A training batch mixes noise levels, while a plan stands at one node a time.  The coefficients still come from tracing
a method of the catalogue, so that no solver is written a second time here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dode.denoisers import Network
from dode.errors import DodeError
from dode.method import Method
from dode.parameterization import Kind
from dode.schedule import Node, Schedule
from dode.tracing import trace


@dataclass(frozen=True, eq=False)
class Pieces:
    """K plans of n evaluations each, of one method: float32 coefficients, one row a plan."""

    times: Tensor  # (K, n + 1): where evaluation k happens; the last is where the piece ends
    alphas: Tensor  # (K, n + 1)
    sigmas: Tensor  # (K, n + 1)
    start: Tensor  # (K, n): of the state where the step began
    table: Tensor  # (K, n, n): of the outputs
    step_starts: tuple[bool, ...]  # (n,): whether evaluation k is the first of a step

    @property
    def count(self) -> int:
        """How many plans."""
        return len(self.times)


def pieces(method: Method, runs: Sequence[Sequence[Node]], schedule: Schedule, kind: Kind) -> Pieces:
    """Trace the method on every run of nodes; ValueError unless all take the same evaluations."""
    plans = [trace(method, nodes, schedule, kind) for nodes in runs]
    if not plans or any(plan.step_starts != plans[0].step_starts for plan in plans):
        raise DodeError(f"pieces of {method.name} must be at least one and take the same evaluations")

    def rows(values: list[list[float]]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32)

    return Pieces(
        rows([[node.t for node in plan.nodes] for plan in plans]),
        rows([[node.alpha for node in plan.nodes] for plan in plans]),
        rows([[node.sigma for node in plan.nodes] for plan in plans]),
        rows([plan.start.tolist() for plan in plans]),
        torch.stack([torch.from_numpy(plan.table[:, 1:]).float() for plan in plans]),
        plans[0].step_starts,
    )


def wide(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ...), to multiply states with."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def run(made: Pieces, call: Network, x: Tensor, which: Tensor, cond: Any) -> Tensor:
    """The states at the ends of the pieces: x (B, ...), which (B,) plans, cond a row each -> (B, ...)."""
    begun = y = x
    seen: list[Tensor] = []
    for k, opens in enumerate(made.step_starts):
        begun = y if opens else begun
        seen.append(call(y, made.times[which, k], cond))
        y = wide(made.start[which, k], x) * begun
        for j, output in enumerate(seen):
            y = y + wide(made.table[which, k, j], x) * output
    return y
