"""Where to evaluate: grids of a schedule, their coordinate, and their refinement for a teacher."""

import math
from bisect import bisect
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from dode.errors import DodeError
from dode.messages import unknown
from dode.schedule import Node, Schedule

MOST = 4000  # steps; a plan of so many holds half a gigabyte
INSIDE = 1e-3  # where log-SNR is infinite it is taken this share of the schedule inside


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
    """The node at the nearest whole time, if the schedule's network takes whole times only."""
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
        return _karras(schedule, steps, rho, end)
    return [schedule.node(rows[int(len(rows) * i / steps)]) for i in reversed(range(steps))]


def _spaced(schedule: Schedule, steps: int, end: float, grid: Grid) -> list[Node]:
    """Even in the grid's coordinate; the ends as they are, not through the coordinate and back."""
    first, last = schedule.node(schedule.t_max), schedule.node(schedule.t_min)
    if math.inf in (abs(grid.value(first)), abs(grid.value(last))):
        raise DodeError(f"the {grid.name} grid needs a finite log-SNR at both ends; use uniform here")
    values = _even(grid.value(first), grid.value(last), _count(schedule, steps, end))
    inner = [grid.node(v, schedule) for v in values[1:-1]]
    return [whole(node, schedule) for node in [first, *inner, last][:steps]]


def _karras(schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    """(σ/α)^{1/ρ} evenly from the largest to the smallest level: Karras et al. 2022, (5)."""
    return _spaced(schedule, steps, end, Grid((), "karras", "karras", rho))


def _logsnr(schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    return _spaced(schedule, steps, end, Grid((), "logsnr", "logsnr", rho))


def _trailing_logsnr(schedule: Schedule, steps: int, rho: float, end: float) -> list[Node]:
    """Even in log-SNR with the data in the place of t_min: the last step starts one gap before it."""
    return _logsnr(schedule, steps if end == schedule.t_min else steps + 1, rho, end)[:steps]


GRIDS: dict[str, tuple[Callable[[Schedule, int, float, float], list[Node]], str]] = {
    "uniform": (_trailing, "t"),
    "trailing": (_trailing, "t"),
    "leading": (_leading, "t"),
    "linspace": (_linspace, "t"),
    "logsnr": (_logsnr, "logsnr"),
    "logsnr-trailing": (_trailing_logsnr, "logsnr"),
    "karras": (_karras, "karras"),
    "published": (_published, "t"),
}


def unbounded(schedule: Schedule, steps: int) -> Grid:
    """For many steps where log-SNR is infinite at the start: t_max, then even in log-SNR, the end.

    Even times leave a coarse step before the data, the more so with a flow schedule's shift, which they follow.
    """
    first, low, end = (schedule.node(t) for t in (schedule.t_max, schedule.t_min, schedule.t_end))
    span = schedule.t_max - schedule.t_min
    top = schedule.node(schedule.t_max - INSIDE * span)
    if low.sigma == 0:
        low = schedule.node(schedule.t_min + INSIDE**2 * span)
    count = steps if low == end else steps - 1  # the last of them may be the end itself
    inner = [schedule.at(value) for value in _even(top.logsnr, low.logsnr, count)][: steps - 1]
    return _checked(Grid((first, *inner, end), "t", "unbounded", shift=schedule.shift))


def grid(
    schedule: Schedule, steps: int, name: str | Sequence[float] | None = None, *, end: str = "data", rho: float = 7.0
) -> Grid:
    """A grid of `steps` solver steps.

    name: one of `GRIDS`, or the times themselves, steps + 1 of them; end: "data" (t_end) or "t_min".
    Raises ValueError if the schedule has not so many nodes.
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
        return _checked(Grid(tuple(schedule.node(float(t)) for t in name), "t", "times", rho))
    if name not in GRIDS:
        raise unknown("grid", name, GRIDS)
    make, coordinate = GRIDS[name]
    if name == "published" and not schedule.knots:
        coordinate = "karras"
    last = schedule.t_min if end == "t_min" else schedule.t_end
    nodes = (*make(schedule, steps, rho, last), schedule.node(last))
    return _checked(Grid(nodes, coordinate, name, rho, schedule.shift))


def _checked(made: Grid) -> Grid:
    for s, t in pairwise(made.nodes):
        if not s.logsnr < t.logsnr:
            raise DodeError(
                f"the {made.name} grid of {len(made.nodes) - 1} steps does not move on at t = {s.t:g} → {t.t:g}; "
                "ask for fewer steps or another grid"
            )
    return made


def refine(made: Grid, parts: int, schedule: Schedule) -> Grid:
    """`parts` equal pieces of every interval, in the grid's own coordinate; every node of `made` is kept.

    An interval to σ = 0 stays whole on karras grids; where the coordinate is infinite it is divided in t. Networks with
    whole times: rounded, without duplicates.
    Raises ValueError for less than one part, and for more steps than anybody wants.
    """
    if parts < 1:
        raise DodeError(f"the teacher's scale must be at least 1; got {parts}")
    if schedule.integer and parts > schedule.t_max - schedule.t_end:
        times = f"{schedule.t_max - schedule.t_end:.0f}"
        raise DodeError(f"a teacher's scale of {parts} on a schedule of {times} times; ask for a smaller scale")
    if not schedule.integer and parts * (len(made.nodes) - 1) > MOST:
        raise DodeError(
            f"a teacher of {parts} × {len(made.nodes) - 1} steps is more than {MOST}; ask for a smaller scale"
        )
    nodes = [made.nodes[0]]
    for s, t in pairwise(made.nodes):
        if not (made.coordinate == "karras" and t.sigma == 0):
            nodes += _divide(made, s, t, parts, schedule)
        nodes.append(t)
    distinct = [node for node, after in pairwise(nodes) if node.logsnr < after.logsnr]
    return replace(made, nodes=(*distinct, nodes[-1]))


def _divide(made: Grid, s: Node, t: Node, parts: int, schedule: Schedule) -> list[Node]:
    """The parts − 1 inner nodes of one interval that the network can be asked at."""
    a, b = made.value(s), made.value(t)
    if math.inf in (abs(a), abs(b)):
        made = replace(made, coordinate="t")
        a, b = made.value(s), made.value(t)
    values = [a + (b - a) * i / parts for i in range(1, parts)]
    if made.coordinate == "t":
        values = [float(round(v)) if schedule.integer else v for v in values]
        values = [v for v in values if v >= schedule.t_min]  # below it there is only the end
    return [whole(made.node(v, schedule), schedule) for v in values]


def merged(grids: Sequence[Grid], parts: int, schedule: Schedule) -> Grid:
    """One teacher for several students: the longest refined, and the nodes of the others inserted.

    Of several equally long grids the one that needs the fewest insertions.
    """
    most = max(len(made.nodes) for made in grids)
    longest = {made.nodes: made for made in grids if len(made.nodes) == most}
    wanted = {node for made in grids for node in made.nodes}
    choices = [_inserted(refine(made, parts, schedule), wanted) for made in longest.values()]
    return min(choices, key=lambda made: len(made.nodes))


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
    """Numbers of grids in groups whose longest, refined, has the nodes of all: for teachers that need even steps."""
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
    """Each node once, in order: where stages of two steps meet there are two."""
    return tuple(dict.fromkeys(nodes))


def same(a: Node, b: Node) -> bool:
    """Is it the same node, but for rounding?"""
    return math.isclose(a.t, b.t, rel_tol=1e-9, abs_tol=1e-12)
