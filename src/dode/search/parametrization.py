"""Plans that differ in numbers: weights on outputs so far, a scale, times, and what the network is told of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dode.distillation.formulations import Directions, two
from dode.errors import DodeError
from dode.parameterization import Kind
from dode.plan import Array, Plan
from dode.schedule import Node, Schedule
from dode.solvers.ddim import DDIM
from dode.tracing import trace

NARROW = 0.5  # least gap to the first node at α = 0, in log-SNR
INSIDE = 0.01  # where α = 0 log-SNR is taken this share of the schedule inside; the network may be told a tenth of it


@dataclass(frozen=True, eq=False)
class Family:
    """The plans that a refinement moves in: DDIM's steps with weights on outputs so far, traced wherever nodes go.

    The numbers, all 0 for `base`: weights of `directions` at every evaluation; logs of the changes of the gaps in
    log-SNR between inner nodes, if `times`; shifts in log-SNR of what the network is told, if `told`.
    """

    base: Plan
    schedule: Schedule
    directions: Directions
    told: bool = False
    times: bool = True

    def __post_init__(self) -> None:
        plain = trace(DDIM, self.base.nodes, self.schedule, self.base.kind)
        if not all(np.allclose(getattr(plain, name), getattr(self.base, name)) for name in ("start", "use", "blend")):
            raise DodeError("a refinement begins with weights on DDIM's own steps: give `weighted` of ipndm, deis-3 …")

    @property
    def rows(self) -> list[Array]:
        """For each evaluation the directions of its weights: (m_k, 1 + N)."""
        return [self.directions(self.base, k) for k in range(self.base.nfe)]

    def acts(self) -> list[int]:
        """For each number the evaluation after which it first acts; −1: before the first."""
        n = self.base.nfe
        weights = [k for k, rows in enumerate(self.rows) for _ in rows]
        return [*weights, *(range(n - 1) if self.times else ()), *(range(-1, n - 1) if self.told else ())]

    def split(self, numbers: Array) -> tuple[list[Array], Array, Array]:
        """Weights of each evaluation, changes of the gaps, shifts of what is told."""
        *weights, rest = np.split(numbers, np.cumsum([len(some) for some in self.rows]))
        gaps, shifts = np.split(rest, [self.base.nfe - 1 if self.times else 0])
        return weights, gaps, shifts

    def plan(self, numbers: Array) -> Plan:
        """The plan of these numbers: (P,)."""
        mix = self.base.mix.copy()
        weights, gaps, shifts = self.split(numbers)
        for k, (some, row) in enumerate(zip(weights, self.rows, strict=True)):
            mix[k] += some @ row
        return composed(self._nodes(gaps), self.schedule, self.base.kind, mix, shifts if self.told else None)

    def _nodes(self, changes: Array) -> tuple[Node, ...]:
        """The base's nodes with every gap exp(change) times as wide; ends stay, and none is cleaner than t_min."""
        first, *inner, last = self.base.nodes
        if not np.any(changes):
            return self.base.nodes
        known = [level(node, self.schedule) for node in (first, *inner)]
        if first.alpha == 0 and not self.schedule.knots:  # nodes may stand before its level
            known[0] = min(known[0], known[1] - NARROW)
        gaps = np.diff(known) * np.exp(changes)
        levels = np.minimum(known[0] + np.cumsum(gaps), self.schedule.node(self.schedule.t_min).logsnr)
        return (first, *(self.schedule.at(float(level)) for level in levels), last)


def composed(nodes: Sequence[Node], schedule: Schedule, kind: Kind, mix: Array, shifts: Array | None) -> Plan:
    """DDIM's steps along these nodes with weights; shifts: of what the network is told (N,), in log-SNR."""
    traced = trace(DDIM, nodes, schedule, kind)
    if shifts is None:
        return replace(traced, mix=mix, unnormalized=True)
    shifts = np.array([_held(node, shift, schedule) for node, shift in zip(nodes[:-1], shifts, strict=True)])
    told = [
        node._replace(t=schedule.at(level(node, schedule) + shift).t) if shift else node
        for node, shift in zip(nodes[:-1], shifts, strict=True)
    ]
    return replace(
        traced,
        nodes=(*told, nodes[-1]),
        mix=mix,
        unnormalized=True,
        conditioning_shifts=shifts if np.any(shifts) else None,
    )


def _held(node: Node, shift: float, schedule: Schedule) -> float:
    """The shift as far as the schedule goes; at α = 0 `level` is inside, and nodes may stand before it."""
    here, most = level(node, schedule), schedule.node(schedule.t_min).logsnr
    least = min(here, level(schedule.node(schedule.t_max), schedule, INSIDE / 10))
    return min(max(float(shift), least - here), most - here) if shift else 0.0


def level(node: Node, schedule: Schedule, share: float = INSIDE) -> float:
    """The node's log-SNR; at α = 0 that of this share of the schedule inside."""
    if node.alpha > 0:
        return node.logsnr
    inside = schedule.t_max + share * (schedule.t_min - schedule.t_max)
    if schedule.knots:  # between its last two times there is none
        inside = min(inside, schedule.knots[-2])
    return schedule.node(inside).logsnr


def history(plan: Plan, k: int) -> Array:
    """Directions of an evaluation: its difference to the two outputs before it, and its own scale."""
    return np.vstack([two(plan, k), np.eye(1 + plan.nfe)[1 + k]])


def one_a_step(plan: Plan) -> bool:
    """Is every evaluation a step of its own, that moves along its newest output alone?"""
    return all(plan.step_starts) and not np.any(plan.use != np.diag(np.diag(plan.use)))


def weighted(plan: Plan) -> Plan:
    """A plan of one evaluation a step with its blends written as weights on DDIM's steps; ValueError for others."""
    n = plan.nfe
    if not one_a_step(plan):
        raise DodeError("only solvers that blend outputs in DDIM's step can be refined, such as ipndm or deis-3")
    return replace(plan, mix=np.concatenate([plan.mix[:, :1], plan.mix[:, 1:] @ plan.blend], axis=1), blend=np.eye(n))
