"""The teacher: one run with many steps, whose states are the students' targets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from dode.errors import DodeError, Unsupported
from dode.method import Method
from dode.parameterization import Kind
from dode.plan import Plan
from dode.progress import Tick
from dode.sampling import Denoise, advance, begin, evaluate
from dode.schedule import Node, Schedule
from dode.timesteps import Grid, distinct, grid, merged, nested, same
from dode.tracing import trace

ALIGNMENTS = ("time", "count")
Student = tuple[Plan, Grid]  # a plain plan and the grid that it stands on


@dataclass(frozen=True)
class TeacherRun:
    """A teacher's plan, and for each student the number of the teacher's state that each evaluation aims at."""

    plan: Plan
    targets: tuple[tuple[int, ...], ...]  # students × evaluations

    @property
    def wanted(self) -> set[int]:
        """The numbers of all states that are a target."""
        return {number for targets in self.targets for number in targets}


def teacher_runs(
    students: Sequence[Student], scale: int, schedule: Schedule, method: Method, kind: Kind, align: str
) -> list[tuple[TeacherRun, list[int]]]:
    """Runs with the positions of their students: by time one run for all that start at one node, by count one each.

    A teacher whose weights suppose even steps serves only students whose nodes its refined grid has anyway.
    """
    if align == "count":
        return [(by_count(plan, scale, schedule, method, kind), [i]) for i, (plan, _) in enumerate(students)]
    students = [(plan, replace(where, nodes=distinct(plan.nodes))) for plan, where in students]
    by_start: dict[Node, list[int]] = {}
    for i, (_, where) in enumerate(students):
        by_start.setdefault(where.nodes[0], []).append(i)
    runs = []
    for members in by_start.values():
        parts = nested([students[i][1] for i in members], scale, schedule) if method.even else [range(len(members))]
        for part in ([members[i] for i in part] for part in parts):
            runs.append((by_time([students[i] for i in part], scale, schedule, method, kind), part))
    return runs


def by_time(students: Sequence[Student], scale: int, schedule: Schedule, method: Method, kind: Kind) -> TeacherRun:
    """One teacher on a refinement of the students' grids: a target stands at its student's node."""
    plan = _traced(merged([where for _, where in students], scale, schedule), schedule, method, kind)
    targets = tuple(tuple(_state_at(plan, node) for node in student.nodes[1:]) for student, _ in students)
    return TeacherRun(plan, targets)


def by_count(student: Plan, scale: int, schedule: Schedule, method: Method, kind: Kind) -> TeacherRun:
    """The published pairing: a teacher of scale·NFE steps on the published grid; target k is its state (k + 1)·scale.

    On such grids a target is noisier than the student's node; design decision 2 and docs/method.md say how much.
    """
    most = int(schedule.t_max - schedule.t_end) if schedule.integer else scale * student.nfe
    count = min(most, scale * student.nfe)
    plan = _traced(grid(schedule, count, "published"), schedule, method, kind)
    steps = [k for k, start in enumerate((*plan.step_starts, True)) if start]  # states at nodes of the teacher's grid
    return TeacherRun(plan, (tuple(steps[(k + 1) * count // student.nfe] for k in range(student.nfe)),))


def _traced(where: Grid, schedule: Schedule, method: Method, kind: Kind) -> Plan:
    plan = trace(method, where.nodes, schedule, kind)
    if any(plan.noise_scales):
        raise Unsupported(f"{method.label} is stochastic and cannot teach; give a deterministic teacher, such as ddim")
    return plan


def _state_at(plan: Plan, node: Node) -> int:
    """The number of the state that stands at a node: where a step starts, or the end."""
    for k, (start, fresh) in enumerate(zip(plan.nodes, (*plan.step_starts, True), strict=True)):
        if fresh and same(start, node):
            return k
    raise DodeError(f"the teacher's grid has no node at t = {node.t:g}")


def teach(run: TeacherRun, denoise: Denoise, x_T: Tensor, tick: Tick) -> Iterator[tuple[int, Tensor]]:
    """The teacher's states that are a target, with their numbers; tick(1) after every network call."""
    wanted, state = run.wanted, begin(run.plan, x_T)
    for k in range(run.plan.nfe):
        state = advance(run.plan, state, evaluate(run.plan, state, denoise))
        tick(1)
        if k + 1 in wanted:
            yield k + 1, state.y
