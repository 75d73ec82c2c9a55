"""The teacher: one run with many steps, whose states are the students' targets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from dode.errors import DodeError
from dode.method import Method
from dode.parameterization import Kind
from dode.plan import Plan
from dode.progress import Tick
from dode.sampling import Denoise, advance, begin, evaluate
from dode.schedule import Node, Schedule
from dode.timesteps import Grid, distinct, grid, merged, nested, same
from dode.tracing import trace

ALIGNMENTS = ("time", "count")


@dataclass(frozen=True)
class Lesson:
    """A teacher's plan, and for each student the teacher's state number that is the target of each evaluation."""

    plan: Plan
    targets: tuple[tuple[int, ...], ...]  # students × evaluations
    between: tuple[tuple[int, Plan], ...] = ()  # further states, numbered after the end: one step on from a state


def lessons(
    students: Sequence[tuple[Plan, Grid]], scale: int, schedule: Schedule, method: Method, kind: Kind, align: str
) -> list[tuple[Lesson, list[int]]]:
    """Teachers with the numbers of their students: one for all that start at the same node; one each by count.

    A teacher whose weights suppose even steps serves those only whose nodes its refined grid has anyway.
    """
    if align == "count":
        return [(by_count(plan, scale, schedule, method, kind), [i]) for i, (plan, _) in enumerate(students)]
    grids = [replace(made, nodes=distinct(plan.nodes)) for plan, made in students]
    groups: dict[Node, list[int]] = {}
    for i, made in enumerate(grids):
        groups.setdefault(made.nodes[0], []).append(i)
    parted = list(groups.values())
    if method.even:
        parted = [
            [members[i] for i in part]
            for members in groups.values()
            for part in nested([grids[i] for i in members], scale, schedule)
        ]
    return [
        (by_time([(students[i][0], grids[i]) for i in members], scale, schedule, method, kind), members)
        for members in parted
    ]


def by_time(
    students: Sequence[tuple[Plan, Grid]], scale: int, schedule: Schedule, method: Method, kind: Kind
) -> Lesson:
    """One teacher for all, on a refinement of the students' grids: a target stands at its student's node."""
    nodes = merged([made for _, made in students], scale, schedule).nodes
    plan = _steady(trace(method, nodes, schedule, kind), method)
    return Lesson(plan, tuple(tuple(_state_at(plan, node) for node in student.nodes[1:]) for student, _ in students))


def by_count(student: Plan, scale: int, schedule: Schedule, method: Method, kind: Kind) -> Lesson:
    """The published pairing: a teacher of scale·NFE steps on the published grid; target k is its state (k + 1)·scale.

    On such grids a target is noisier than the student's node; design decision 2 and docs/method.md say how much.
    """
    most = int(schedule.t_max - schedule.t_end) if schedule.integer else scale * student.nfe
    count = min(most, scale * student.nfe)
    plan = _steady(trace(method, grid(schedule, count, "published").nodes, schedule, kind), method)
    steps = [
        k for k, fresh in enumerate((*plan.step_starts, True)) if fresh
    ]  # states at the teacher's nodes, not between
    return Lesson(plan, (tuple(steps[(k + 1) * count // student.nfe] for k in range(student.nfe)),))


def _steady(plan: Plan, method: Method) -> Plan:
    if any(plan.noise_scales):
        raise DodeError(f"{method.label} is stochastic and cannot teach; give a deterministic teacher, such as ddim")
    return plan


def _state_at(plan: Plan, node: Node) -> int:
    """The number of the state that stands at a node."""
    number = standing(plan, node)
    if number is None:
        raise DodeError(f"the teacher's grid has no node at t = {node.t:g}")
    return number


def standing(plan: Plan, node: Node) -> int | None:
    """The number of the state that stands at a node: where a step starts, or the end; None if there is none."""
    opens = zip(plan.nodes, (*plan.step_starts, True), strict=True)
    return next((k for k, (known, fresh) in enumerate(opens) if fresh and same(known, node)), None)


def teach(lesson: Lesson, denoise: Denoise, x_T: Tensor, tick: Tick) -> Iterator[tuple[int, Tensor]]:
    """The teacher's states that are someone's target, with their numbers; tick(1) after every network call."""
    wanted = {number for targets in lesson.targets for number in targets}
    state = begin(lesson.plan, x_T)
    for k in range(lesson.plan.nfe):
        d = evaluate(lesson.plan, state, denoise)
        tick(1)
        for number, (before, step) in enumerate(lesson.between, lesson.plan.nfe + 1):
            if before == k:
                yield number, advance(step, begin(step, state.y), d).y
        state = advance(lesson.plan, state, d)
        if state.k in wanted:
            yield state.k, state.y
