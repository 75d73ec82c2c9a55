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
    state = x.to(wide) * start  # a new tensor, so the rest is added in place: one pass a term
    for coefficient, tensor in terms:
        state.add_(tensor.to(wide), alpha=coefficient)
    return state.to(x.dtype)


def _wide(x: Tensor) -> torch.dtype:
    return x.dtype if x.dtype in (torch.float32, torch.float64) else torch.promote_types(x.dtype, torch.float32)


def begin(plan: Plan, x_T: Tensor, draw: Draw | None = None) -> State:
    """The state before the first evaluation, at plan.nodes[0]; DodeError for a stochastic plan without ``draw``."""
    if any(plan.noise_scales) and draw is None:
        raise DodeError("a stochastic plan needs noise for its states: give draw")
    x_T = _noised(plan, 0, x_T, draw)
    return State(0, x_T, x_T, (x_T / plan.nodes[0].sigma if plan.kind == "noise" else None,), draw)


def _noised(plan: Plan, k: int, y: Tensor, draw: Draw | None) -> Tensor:
    """State number k with its noise, if the plan adds any."""
    if not plan.noise_scales[k] or draw is None:
        return y
    return combine(1.0, y, (plan.noise_scales[k],), (draw(k).to(y.dtype).to(y.device),))  # some devices have no float64


def observe(plan: Plan, state: State, d: Tensor) -> State:
    """The state with d, the output of evaluation state.k on state.y."""
    return state._replace(x=state.y if plan.step_starts[state.k] else state.x, seen=(*state.seen, d))


def move(plan: Plan, state: State) -> State:
    """The next state, with every output so far."""
    k = state.k
    start, row = plan.terms(k)
    y = total(start, state.x, [(c, tensor) for j, c in row if (tensor := state.seen[j]) is not None])
    return state._replace(k=k + 1, y=_noised(plan, k + 1, y, state.draw))


def advance(plan: Plan, state: State, d: Tensor) -> State:
    """The state after an evaluation with output d: observe, move, and free what no later evaluation reads."""
    return needed(plan, move(plan, observe(plan, state, d)))


def needed(plan: Plan, state: State) -> State:
    """The state without the tensors that no later evaluation reads."""
    k, x, y, seen, draw = state
    if plan.releases[k]:
        kept: list[Tensor | None] = list(seen)
        for j in plan.releases[k]:
            kept[j] = None
        seen = tuple(kept)
    return State(k, y if k == plan.nfe or plan.step_starts[k] else x, y, seen, draw)


class Watch:
    """Checks that outputs and samples are finite; NonFinite names the first evaluation whose output is not.

    On the CPU each is checked as it comes.  Elsewhere that would make the program wait for the device, so the sums stay
    there until `look`.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.evaluations: list[int] = []
        self.sums: list[Tensor] = []  # of their outputs: NaN and infinity stay what they are

    def see(self, k: int, d: Tensor) -> None:
        """Record the output of evaluation k, or with k = nfe the samples."""
        on_cpu = d.device.type == "cpu"
        sum_ = d.sum(dtype=_wide(d))  # one pass, a tenth of the cost of isfinite
        if on_cpu and not isfinite(sum_) and torch.isfinite(d).all():
            return  # its sum alone is too large
        self.evaluations.append(k)
        self.sums.append(sum_)
        if on_cpu:
            self.look()

    def look(self) -> None:
        """Raises NonFinite if a recorded output was not finite, or the samples were not where every output was."""
        if not self.evaluations:
            return
        sums = self.sums if self.sums[0].device.type == "cpu" else torch.stack(self.sums).cpu()
        bad = [k for k, value in zip(self.evaluations, sums, strict=True) if not isfinite(value)]
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
        self.evaluations, self.sums = [], []


def _where(plan: Plan, k: int) -> str:
    return f"evaluation {k + 1} of {plan.nfe}, t = {plan.nodes[k].t:g}"


def evaluate(plan: Plan, state: State, denoise: Denoise, watch: Watch | None = None) -> Tensor:
    """The network's output at a state.

    Args:
        plan: the solver.
        state: where the run is.
        denoise: the network, made to return plan.kind.
        watch: checks the output, for runs that must not wait for the device; without one it is checked now.

    Raises:
        NonFinite: for NaN or infinity, with evaluation and time; so are those named in errors of the network.
    """
    try:
        d = denoise(state.y, plan.nodes[state.k])
    except DodeError as error:
        raise type(error)(f"{_where(plan, state.k)}: {error}") from error
    except Exception as error:
        error.add_note(_where(plan, state.k))
        raise
    now = Watch(plan) if watch is None else watch
    now.see(state.k, d)
    if watch is None:
        now.look()
    return d


def trajectory(plan: Plan, denoise: Denoise, x_T: Tensor, draw: Draw | None = None) -> Iterator[State]:
    """Every state of a run, the first before any evaluation; logs, plots and stops belong to the caller.

    Args:
        plan: the solver.
        denoise: (x (B, …), node) → the network's output as plan.kind.
        x_T: (B, …), noise at plan.nodes[0].
        draw: standard normal noise for state number k, for stochastic plans.

    Yields:
        nfe + 1 states.

    Raises:
        NonFinite: where an output or the samples are not finite; on a device at the end, before the last state.
    """
    state, watch = needed(plan, begin(plan, x_T, draw)), Watch(plan)
    for _ in range(plan.nfe):
        yield state
        state = advance(plan, state, evaluate(plan, state, denoise, watch))
    watch.see(plan.nfe, state.y)
    watch.look()
    yield state


def run(plan: Plan, denoise: Denoise, x_T: Tensor, draw: Draw | None = None) -> Tensor:
    """The sample, (B, …): the last state of the `trajectory`."""
    (last,) = deque(trajectory(plan, denoise, x_T, draw), maxlen=1)
    return last.y
