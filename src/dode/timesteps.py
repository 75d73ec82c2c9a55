"""Timestep grids: where to evaluate, in which coordinate a grid is even, and its refinement for a teacher."""

import math
from bisect import bisect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from dode.errors import DodeError
from dode.messages import unknown
from dode.schedule import Node, Schedule

MOST = 4000  # steps; the plan of so many takes half a gigabyte
INSIDE = 1e-3  # where log-SNR is infinite, its value at this share of the schedule from there is used


@dataclass(frozen=True)
class Grid:
    """Steps + 1 nodes from noise to data, and the coordinate in which they are evenly spaced."""

    nodes: tuple[Node, ...]
    coordinate: str  # "t" | "logsnr" | "karras"
    name: str
    rho: float = 7.0
    shift: float = 1.0  # of a flow schedule, for the coordinate t

    def value(self, node: Node) -> float:
        """The coordinate of a node."""
        if self.coordinate == "t":
            return node.t / (self.shift - (self.shift - 1) * node.t)
        if self.coordinate == "logsnr":
            return node.logsnr
        return math.inf if node.alpha == 0 else (node.sigma / node.alpha) ** (1 / self.rho)

    def node(self, value: float, schedule: Schedule) -> Node:
        """The node at a value of the coordinate."""
        if self.coordinate == "t":
            return schedule.node(shifted(value, self.shift))
        return schedule.at(value if self.coordinate == "logsnr" else -self.rho * math.log(value))


def whole(node: Node, schedule: Schedule) -> Node:
    """The node at the nearest whole time, if the network takes no others."""
    return schedule.node(float(round(node.t))) if schedule.integer and node.t > 0 else node


def shifted(u: float, shift: float) -> float:
    """The time of a flow schedule for u in [0, 1]: Esser et al. 2024, (23); with shift = 1 it is u."""
    return shift * u / (1 + (shift - 1) * u)


def _times(schedule: Schedule, times: Sequence[float]) -> list[Node]:
    return [schedule.node(float(round(t)) if schedule.integer else shifted(t, schedule.shift)) for t in times]


def _even(first: float, last: float, count: int) -> list[float]:
    """`count` values from first to last; the first alone if count is 1."""
    return [first + (last - first) * i / (count - 1) for i in range(count)] if count > 1 else [first]


def _count(schedule: Schedule, steps: int, end: float) -> int:
    """How many nodes a grid from t_max to t_min has: one more if it ends there than if a step to the data follows."""
    return steps + 1 if end == schedule.t_min else steps


def _trailing(schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    return _times(schedule, _even(schedule.t_max, end, steps + 1)[:-1])


def _leading(schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    stride = (schedule.t_max - end) / steps
    if schedule.integer:
        stride = math.floor(stride)
    first = 1 if end == schedule.t_min else 0  # t_min is a node itself, or else the end
    return _times(schedule, [schedule.t_min + stride * (i + first) for i in reversed(range(steps))])


def _linspace(schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    return _times(schedule, _even(schedule.t_max, schedule.t_min, _count(schedule, steps, end))[:steps])


def _published(schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    """The D-ODE code's grids: int(linspace(0, T, N + 1)[:N]) reversed; ρ-spaced where time has no table."""
    if schedule.node(schedule.t_max).alpha == 0 or end != schedule.t_end:
        raise DodeError(
            "published grids exist for schedules with alpha > 0 and end at the data; use another grid, or align='time'"
        )
    rows = schedule.knots
    if not rows:
        return _spaced("karras", schedule, steps, rho, end)
    return [schedule.node(rows[int(len(rows) * i / steps)]) for i in reversed(range(steps))]


def _spaced(coordinate: str, schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    """Even in log-SNR, or in (σ/α)^{1/ρ}: Karras et al. 2022, (5)."""
    grid = Grid((), coordinate, coordinate, rho)
    first, last = schedule.node(schedule.t_max), schedule.node(schedule.t_min)
    if math.inf in (abs(grid.value(first)), abs(grid.value(last))):
        raise DodeError(f"the {grid.name} grid needs a finite log-SNR at both ends; use uniform here")
    values = _even(grid.value(first), grid.value(last), _count(schedule, steps, end))
    inner = [grid.node(v, schedule) for v in values[1:-1]]
    return [whole(node, schedule) for node in [first, *inner, last][:steps]]


def _trailing_logsnr(schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    """Even in log-SNR with the data in the place of t_min: the last step starts one gap before it."""
    return _spaced("logsnr", schedule, steps if end == schedule.t_min else steps + 1, rho, end)[:steps]


GRIDS: dict[str, tuple[Callable[[Schedule, int, float, float], list[Node]], str]] = {
    "uniform": (_trailing, "t"),
    "trailing": (_trailing, "t"),
    "leading": (_leading, "t"),
    "linspace": (_linspace, "t"),
    "logsnr": (partial(_spaced, "logsnr"), "logsnr"),
    "logsnr-trailing": (_trailing_logsnr, "logsnr"),
    "karras": (partial(_spaced, "karras"), "karras"),
    "published": (_published, "t"),
}


def unbounded(schedule: Schedule, steps: int) -> Grid:
    """A grid of many steps for a schedule that starts at α = 0: even in log-SNR after the first step.

    Even times would leave a coarse step before the data, the coarser the larger the schedule's shift.
    """
    first, low, end = (schedule.node(t) for t in (schedule.t_max, schedule.t_min, schedule.t_end))
    span = schedule.t_max - schedule.t_min
    top = schedule.node(schedule.t_max - INSIDE * span)
    if low.sigma == 0:
        low = schedule.node(schedule.t_min + INSIDE**2 * span)
    count = steps if low == end else steps - 1  # the last of them may be the end itself
    inner = [schedule.at(value) for value in _even(top.logsnr, low.logsnr, count)][: steps - 1]
    return checked(Grid((first, *inner, end), "t", "unbounded", shift=schedule.shift))


def grid(
    schedule: Schedule, steps: int, name: str | Sequence[float] | None = None, *, end: str = "data", rho: float = 7.0
) -> Grid:
    """A grid of solver steps.

    Args:
        schedule: of the network.
        steps: number of steps.
        name: one of `GRIDS`, or the times themselves, steps + 1 of them; the schedule's default grid if left out.
        end: "data" (t_end) or "t_min".
        rho: exponent of the karras grid.

    Raises:
        DodeError: for another name or end, and if the schedule does not have so many nodes.
    """
    if steps < 1:
        raise DodeError(f"at least one step is needed; got {steps}")
    if steps > MOST:
        raise DodeError(f"{steps} steps are more than {MOST}, which a plan's dense matrices allow; ask for fewer")
    if schedule.integer and steps > schedule.t_max - schedule.t_end:
        raise DodeError(f"{steps} steps on a schedule of {schedule.t_max - schedule.t_end:.0f}; ask for fewer")
    if end not in ("data", "t_min"):
        raise DodeError(f"end must be 'data' or 't_min'; got {end!r}")
    name = schedule.default_times(steps) if name is None else name
    if not isinstance(name, str):
        if len(name) != steps + 1:
            raise DodeError(f"{steps} steps need {steps + 1} times; got {len(name)}")
        if schedule.integer and any(float(t) != int(t) for t in name):
            raise DodeError(f"this network takes whole times; got {', '.join(f'{t:g}' for t in name)}")
        return checked(Grid(tuple(schedule.node(float(t)) for t in name), "t", "times", rho))
    if name not in GRIDS:
        raise unknown("grid", name, GRIDS)
    make, coordinate = GRIDS[name]
    if name == "published" and not schedule.knots:
        coordinate = "karras"
    last = schedule.t_min if end == "t_min" else schedule.t_end
    nodes = (*make(schedule, steps, rho, last), schedule.node(last))
    return checked(Grid(nodes, coordinate, name, rho, schedule.shift))


def checked(new: Grid) -> Grid:
    """The grid; DodeError unless log-SNR rises from node to node."""
    for s, t in pairwise(new.nodes):
        if not s.logsnr < t.logsnr:
            raise DodeError(
                f"the {new.name} grid of {len(new.nodes) - 1} steps does not move on at t = {s.t:g} → {t.t:g}; "
                "ask for fewer steps or another grid"
            )
    return new


def refine(coarse: Grid, parts: int, schedule: Schedule) -> Grid:
    """A finer grid with the nodes of a coarse one.

    Every interval is divided evenly in the coordinate of the grid, or in t where that is infinite; one to σ = 0 stays
    whole on karras grids.  For networks with whole times nodes are rounded, without duplicates.

    Args:
        coarse: the grid to refine.
        parts: pieces of each interval.
        schedule: of both grids.

    Raises:
        DodeError: for less than one part, and for more than `MOST` steps.
    """
    if parts < 1:
        raise DodeError(f"the teacher's scale must be at least 1; got {parts}")
    if schedule.integer and parts > schedule.t_max - schedule.t_end:
        times = f"{schedule.t_max - schedule.t_end:.0f}"
        raise DodeError(f"a teacher's scale of {parts} on a schedule of {times} times; ask for a smaller scale")
    if not schedule.integer and parts * (len(coarse.nodes) - 1) > MOST:
        raise DodeError(
            f"a teacher of {parts} × {len(coarse.nodes) - 1} steps is more than {MOST}; ask for a smaller scale"
        )
    nodes = [coarse.nodes[0]]
    for s, t in pairwise(coarse.nodes):
        if not (coarse.coordinate == "karras" and t.sigma == 0):
            nodes += _divide(coarse, s, t, parts, schedule)
        nodes.append(t)
    distinct = [node for node, after in pairwise(nodes) if node.logsnr < after.logsnr]
    return replace(coarse, nodes=(*distinct, nodes[-1]))


def _divide(coarse: Grid, s: Node, t: Node, parts: int, schedule: Schedule) -> list[Node]:
    """The parts − 1 inner nodes of one interval that the network can be asked at."""
    a, b = coarse.value(s), coarse.value(t)
    if math.inf in (abs(a), abs(b)):
        coarse = replace(coarse, coordinate="t")
        a, b = coarse.value(s), coarse.value(t)
    values = [a + (b - a) * i / parts for i in range(1, parts)]
    if coarse.coordinate == "t":
        values = [float(round(v)) if schedule.integer else v for v in values]
        values = [v for v in values if v >= schedule.t_min]  # below it there is only the end
    return [whole(coarse.node(v, schedule), schedule) for v in values]


def merged(grids: Sequence[Grid], parts: int, schedule: Schedule) -> Grid:
    """One teacher grid for several students: the longest refined, with the nodes of the others inserted.

    Of several equally long grids it refines the one that needs the fewest insertions.
    """
    length = max(len(student.nodes) for student in grids)
    longest = {student.nodes: student for student in grids if len(student.nodes) == length}
    wanted = {node for student in grids for node in student.nodes}
    choices = [_inserted(refine(student, parts, schedule), wanted) for student in longest.values()]
    return min(choices, key=lambda choice: len(choice.nodes))


def _inserted(fine: Grid, wanted: Collection[Node]) -> Grid:
    """The grid with these nodes too."""
    times = sorted(node.t for node in fine.nodes)
    nodes = [*fine.nodes]
    for node in wanted:
        k = bisect(times, node.t)
        if not any(math.isclose(node.t, t, rel_tol=1e-9, abs_tol=1e-12) for t in times[max(0, k - 1) : k + 1]):
            nodes.append(node)
            times.insert(k, node.t)
    nodes.sort(key=lambda node: node.logsnr)
    return replace(fine, nodes=tuple(nodes))


def nested(grids: Sequence[Grid], parts: int, schedule: Schedule) -> list[list[int]]:
    """Indices of grids in groups whose longest, refined, has all nodes of the group: for teachers with even steps."""
    groups: list[tuple[Grid, list[int]]] = []
    for i in sorted(range(len(grids)), key=lambda i: -len(grids[i].nodes)):
        for fine, members in groups:
            if len(_inserted(fine, grids[i].nodes).nodes) == len(fine.nodes):
                members.append(i)
                break
        else:
            groups.append((refine(grids[i], parts, schedule), [i]))
    return [members for _, members in groups]


def distinct(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Each node once, in order: a plan has a node twice where the stages of two steps meet."""
    return tuple(dict.fromkeys(nodes))


def same(a: Node, b: Node) -> bool:
    """Whether two nodes are the same but for rounding."""
    return math.isclose(a.t, b.t, rel_tol=1e-9, abs_tol=1e-12)
