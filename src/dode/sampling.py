"""The only executor: begin, then advance once per network evaluation."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.plan import Plan
from dode.schedule import Node

Denoise = Callable[[Tensor, Node], Tensor]  # a network made to return plan.kind
Draw = Callable[[int], Tensor]  # number of a state → fresh standard normal noise of the state's shape


class State(NamedTuple):
    """Where a run stands."""

    k: int  # evaluations done
    x: Tensor  # the state that the current step started from
    y: Tensor  # the state now: where evaluation k happens
    seen: tuple[Tensor | None, ...]  # x_T/σ_T, d_0, …; None once no later evaluation reads it
    draw: Draw | None = None  # for stochastic plans


def combine(start: float, x: Tensor, row: Sequence[float] | np.ndarray, seen: Sequence[Tensor | None]) -> Tensor:
    """start·x + Σ_j row[j]·seen[j], in at least float32, returned in x's dtype."""
    wide = torch.promote_types(x.dtype, torch.float32)
    total = x.to(wide) * float(start)
    for coefficient, tensor in zip_longest(row, seen):
        if coefficient and tensor is not None:
            total = total.add(tensor.to(wide), alpha=float(coefficient))
    return total.to(x.dtype)


def begin(plan: Plan, x_T: Tensor, draw: Draw | None = None) -> State:
    """The state before the first evaluation, at plan.nodes[0]; a stochastic plan needs `draw`.

    Raises ValueError for a stochastic plan without it.
    """
    if any(plan.added) and draw is None:
        raise ValueError("a stochastic plan needs noise for its states: give draw")
    x_T = _stirred(plan, 0, x_T, draw)
    return State(0, x_T, x_T, (x_T / plan.nodes[0].sigma if plan.kind == "noise" else None,), draw)


def _stirred(plan: Plan, k: int, y: Tensor, draw: Draw | None) -> Tensor:
    """State number k with its fresh noise, if the plan adds any."""
    if not plan.added[k] or draw is None:
        return y
    return combine(1.0, y, (plan.added[k],), (draw(k).to(y),))


def observe(plan: Plan, state: State, d: Tensor) -> State:
    """Take in d, the output of evaluation state.k on state.y: the step's start and what has been seen, with d."""
    return state._replace(x=state.y if plan.fresh[state.k] else state.x, seen=(*state.seen, d))


def move(plan: Plan, state: State) -> State:
    """Go on to the next state, from what has been observed; nothing is dropped."""
    k = state.k
    y = combine(plan.start[k], state.x, plan.table[k, : k + 2], state.seen)
    return state._replace(k=k + 1, y=_stirred(plan, k + 1, y, state.draw))


def advance(plan: Plan, state: State, d: Tensor) -> State:
    """One evaluation: observe, move, and drop what no later evaluation reads."""
    moved = move(plan, observe(plan, state, d))
    return moved._replace(
        seen=tuple(s if last > state.k else None for s, last in zip(moved.seen, plan.last, strict=False))
    )


def evaluate(plan: Plan, state: State, denoise: Denoise) -> Tensor:
    """The network's output where the state is; an error says which evaluation and which node."""
    node = plan.nodes[state.k]
    where = f"evaluation {state.k + 1} of {plan.nfe}, t = {node.t:g}"
    try:
        d = denoise(state.y, node)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if not torch.isfinite(d).all():
        raise ValueError(f"{where}: the network returned NaN or infinity; try another dtype, and check its input range")
    return d


def trajectory(plan: Plan, denoise: Denoise, x_T: Tensor, draw: Draw | None = None) -> Iterator[State]:
    """Every state of a run, the first before any evaluation; logs, plots and stops belong to the caller."""
    state = begin(plan, x_T, draw)
    yield state
    for _ in range(plan.nfe):
        state = advance(plan, state, evaluate(plan, state, denoise))
        yield state


def run(plan: Plan, denoise: Denoise, x_T: Tensor, draw: Draw | None = None) -> Tensor:
    """The sample: the last state of the trajectory."""
    (last,) = deque(trajectory(plan, denoise, x_T, draw), maxlen=1)
    return last.y
