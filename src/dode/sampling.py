"""The only executor: begin, then advance once per network evaluation."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from math import isfinite
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dode.errors import DodeError, NonFinite
from dode.plan import Plan
from dode.schedule import Node

Denoise = Callable[[Tensor, Node], Tensor]  # a network made to return plan.kind
Draw = Callable[[int], Tensor]  # number of a state → fresh standard normal noise of the state's shape


class State(NamedTuple):
    """Where a run stands."""

    k: int  # evaluations done
    x: Tensor  # the state that the current step started from; y where a step is due
    y: Tensor  # the state now: where evaluation k happens
    seen: tuple[Tensor | None, ...]  # x_T/σ_T, d_0, …; None once no later evaluation reads it
    draw: Draw | None = None  # for stochastic plans


def combine(start: float, x: Tensor, row: Sequence[float] | np.ndarray, seen: Sequence[Tensor | None]) -> Tensor:
    """start·x + Σ_j row[j]·seen[j], in at least float32, returned in x's dtype."""
    return total(float(start), x, [(float(c), s) for c, s in zip_longest(row, seen) if c and s is not None])


def total(start: float, x: Tensor, terms: Iterable[tuple[float, Tensor]]) -> Tensor:
    """start·x + Σ coefficient·tensor, in at least float32, returned in x's dtype."""
    wide = _wide(x)
    found = x.to(wide) * start  # a tensor of our own, so the rest is added in place: one pass a term
    for coefficient, tensor in terms:
        found.add_(tensor.to(wide), alpha=coefficient)
    return found.to(x.dtype)


def _wide(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype in (torch.float32, torch.float64) else torch.promote_types(x.dtype, torch.float32)


def begin(plan: Plan, x_T: Tensor, draw: Draw | None = None) -> State:
    """The state before the first evaluation, at plan.nodes[0]; a stochastic plan needs `draw`.

    Raises ValueError for a stochastic plan without it.
    """
    if any(plan.added) and draw is None:
        raise DodeError("a stochastic plan needs noise for its states: give draw")
    x_T = _stirred(plan, 0, x_T, draw)
    return State(0, x_T, x_T, (x_T / plan.nodes[0].sigma if plan.kind == "noise" else None,), draw)


def _stirred(plan: Plan, k: int, y: Tensor, draw: Draw | None) -> Tensor:
    """State number k with its fresh noise, if the plan adds any."""
    if not plan.added[k] or draw is None:
        return y
    return combine(1.0, y, (plan.added[k],), (draw(k).to(y.dtype).to(y.device),))  # some devices have no float64


def observe(plan: Plan, state: State, d: Tensor) -> State:
    """Take in d, the output of evaluation state.k on state.y: the step's start and what has been seen, with d."""
    return state._replace(x=state.y if plan.fresh[state.k] else state.x, seen=(*state.seen, d))


def move(plan: Plan, state: State) -> State:
    """Go on to the next state, from what has been observed; nothing is dropped."""
    k = state.k
    start, row = plan.terms(k)
    y = total(start, state.x, [(c, tensor) for j, c in row if (tensor := state.seen[j]) is not None])
    return state._replace(k=k + 1, y=_stirred(plan, k + 1, y, state.draw))


def advance(plan: Plan, state: State, d: Tensor) -> State:
    """One evaluation: observe, move, and drop what no later evaluation reads."""
    return needed(plan, move(plan, observe(plan, state, d)))


def needed(plan: Plan, state: State) -> State:
    """The state without the tensors that no later evaluation reads."""
    k, x, y, seen, draw = state
    if plan.idle[k]:
        kept: list[Tensor | None] = list(seen)
        for j in plan.idle[k]:
            kept[j] = None
        seen = tuple(kept)
    return State(k, y if k == plan.nfe or plan.fresh[k] else x, y, seen, draw)


class Watch:
    """Were outputs and samples finite, and their sums?  The first that was not is an error that says where it was.

    On the CPU each is looked at as it comes.  Elsewhere a look would make the program wait for the device, so that the
    answers stay there until `look`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.asked: list[int] = []
        self.sums: list[Tensor] = []  # of each output asked about: NaN and infinity stay what they are

    def see(self, k: int, d: Tensor) -> None:
        """Take note of the output of evaluation k, or after the last of the samples."""
        here = d.device.type == "cpu"
        one = d.sum(dtype=_wide(d))  # one pass, a tenth of the cost of isfinite
        if here and not isfinite(one) and torch.isfinite(d).all():
            return  # too large to be added up, no more
        self.asked.append(k)
        self.sums.append(one)
        if here:
            self.look()

    def look(self) -> None:
        """NonFinite if something was not finite; states may leave the range of their numbers where no output does."""
        if not self.asked:
            return
        sums = self.sums if self.sums[0].device.type == "cpu" else torch.stack(self.sums).cpu()
        bad = [k for k, one in zip(self.asked, sums, strict=True) if not isfinite(one)]
        if bad[:1] == [self.plan.nfe]:
            raise NonFinite(
                "the samples have NaN or infinity: states are beyond the range of their dtype; try another, and check "
                "what the network returns"
            )
        if bad:
            raise NonFinite(
                f"{_where(self.plan, bad[0])}: the network returned NaN or infinity; try another dtype, and check its "
                "input range"
            )
        self.asked, self.sums = [], []


def _where(plan: Plan, k: int) -> str:
    return f"evaluation {k + 1} of {plan.nfe}, t = {plan.nodes[k].t:g}"


def evaluate(plan: Plan, state: State, denoise: Denoise, watch: Watch | None = None) -> Tensor:
    """The network's output where the state is; an error says which evaluation and which node.

    watch: who looks whether it is finite, for runs that must not wait for the device; without one it is looked at now.
    """
    try:
        d = denoise(state.y, plan.nodes[state.k])
    except DodeError as error:
        raise type(error)(f"{_where(plan, state.k)}: {error}") from error
    except Exception as error:  # the network's own: it stays what it is
        error.add_note(f"dode: {_where(plan, state.k)}")
        raise
    now = Watch(plan) if watch is None else watch
    now.see(state.k, d)
    if watch is None:
        now.look()
    return d


def trajectory(plan: Plan, denoise: Denoise, x_T: Tensor, draw: Draw | None = None) -> Iterator[State]:
    """Every state of a run, the first before any evaluation; logs, plots and stops belong to the caller.

    Raises NonFinite for what is not finite, on a device at the end, before the last state is given.
    """
    state, watch = needed(plan, begin(plan, x_T, draw)), Watch(plan)
    for _ in range(plan.nfe):
        yield state
        state = advance(plan, state, evaluate(plan, state, denoise, watch))
    watch.see(plan.nfe, state.y)
    watch.look()
    yield state


def run(plan: Plan, denoise: Denoise, x_T: Tensor, draw: Draw | None = None) -> Tensor:
    """The sample: the last state of the trajectory."""
    (last,) = deque(trajectory(plan, denoise, x_T, draw), maxlen=1)
    return last.y
