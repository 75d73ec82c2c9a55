"""Plans that differ in numbers: weights on outputs so far, a scale, times, and what the network is told of them."""

from dataclasses import dataclass, replace

import numpy as np

from dode.formulations import Directions
from dode.plan import Array, Plan
from dode.schedule import DiscreteVP, Node, Schedule
from dode.solvers.ddim import DDIM
from dode.tracing import trace

INSIDE = 0.01  # where α = 0 log-SNR is taken this share of the schedule inside


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
            raise ValueError("a refinement begins with weights on DDIM's own steps: give `weighted` of ipndm, deis-3 …")

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
        nodes = self._nodes(gaps)
        traced = trace(DDIM, nodes, self.schedule, self.base.kind)
        if not self.told:
            return replace(traced, mix=mix, free=True)
        shifts = np.array([self._held(node, shift) for node, shift in zip(nodes[:-1], shifts, strict=True)])
        told = [self._told(node, shift) for node, shift in zip(nodes[:-1], shifts, strict=True)]
        return replace(traced, nodes=(*told, nodes[-1]), mix=mix, free=True, told=shifts if np.any(shifts) else None)

    def _nodes(self, changes: Array) -> tuple[Node, ...]:
        """The base's nodes with every gap exp(change) times as wide; ends stay, and none is cleaner than t_min."""
        first, *inner, last = self.base.nodes
        if not np.any(changes):
            return self.base.nodes
        gaps = np.diff([self._level(node) for node in (first, *inner)]) * np.exp(changes)
        levels = np.minimum(self._level(first) + np.cumsum(gaps), self.schedule.node(self.schedule.t_min).logsnr)
        return (first, *(self.schedule.at(float(level)) for level in levels), last)

    def _told(self, node: Node, shift: float) -> Node:
        """The node with the time of another log-SNR."""
        return node._replace(t=self.schedule.at(self._level(node) + shift).t) if shift else node

    def _held(self, node: Node, shift: float) -> float:
        """The shift as far as the schedule goes."""
        level, most = self._level(node), self.schedule.node(self.schedule.t_min).logsnr
        least = self._level(self.schedule.node(self.schedule.t_max))
        return min(max(float(shift), least - level), most - level) if shift else 0.0

    def _level(self, node: Node) -> float:
        if node.alpha > 0:
            return node.logsnr
        inside = self.schedule.t_max + INSIDE * (self.schedule.t_min - self.schedule.t_max)
        if isinstance(self.schedule, DiscreteVP):  # between its last two times there is none
            inside = min(inside, self.schedule.t_max - 1)
        return self.schedule.node(inside).logsnr


def history(plan: Plan, k: int) -> Array:
    """Directions of an evaluation: its difference to the two outputs before it, and its own scale."""
    columns = [j for j in (k, k - 1) if j > 0 or (j == 0 and plan.kind == "noise")]
    rows = np.zeros((len(columns) + 1, 1 + plan.nfe))
    rows[:, 1 + k] = 1
    for row, j in zip(rows, columns, strict=False):
        row[j] = -1
    return rows


def weighted(plan: Plan) -> Plan:
    """A plan of one evaluation a step with its blends written as weights on DDIM's steps; ValueError for others."""
    n = plan.nfe
    if not all(plan.fresh) or np.any(plan.use != np.diag(np.diag(plan.use))):
        raise ValueError("only solvers that blend outputs in DDIM's step can be refined, such as ipndm or deis-3")
    return replace(plan, mix=np.concatenate([plan.mix[:, :1], plan.mix[:, 1:] @ plan.blend], axis=1), blend=np.eye(n))
