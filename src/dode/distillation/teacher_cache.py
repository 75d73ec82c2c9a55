"""A teacher's run that is in the cache in place of the one asked for, if it teaches these students as finely.

A file for each finished run says its nodes; its outputs are the cache's.  It serves students that it starts and ends
with, if it has in each of their intervals at least the steps asked for, none longer than the longest of these, and
stands at their nodes.  DDIM's runs serve students at other nodes too: the state there is on DDIM's way from the node
before, with the output that was there.  Methods for even steps are served by runs that have all nodes asked for.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from dode import json_schema
from dode.calibration import checksum
from dode.distillation.config import Student
from dode.distillation.runner import Taught
from dode.distillation.teacher import Lesson, standing
from dode.method import Method
from dode.model import Model
from dode.output_cache import Cache, digest
from dode.parameterization import Kind
from dode.plan import Plan
from dode.process_group import Team
from dode.schedule import Node, Schedule
from dode.solvers.ddim import DDIM
from dode.solvers.spec import read
from dode.timesteps import distinct, refine, same
from dode.tracing import trace

WHAT = "dode teacher run"
Nodes = tuple[Node, ...]


def recalled(model: Model, asked: Sequence[Student], taught: Taught, team: Team) -> Taught:
    """The lessons, those that finished runs of the model's cache can give in their place; every process the same."""
    if model.cache is None:
        return taught
    return [(_nearest(model, lesson, [asked[i] for i in members], team), members) for lesson, members in taught]


def record(model: Model, lesson: Lesson, student: Student) -> None:
    """Say in the model's cache that this run, with a student of it, is finished."""
    if model.cache is None or student.course.align == "count":
        return
    nodes = [list(node) for node in distinct(_steps(lesson))]
    content = {"what": WHAT, "nodes": nodes}
    content["checksum"] = checksum(content)
    path = model.cache.folder / "teachers" / _kind_of_run(model, student) / f"{digest(nodes)}.json"
    model.cache.write(path, json.dumps(content).encode())  # over one that a crash may have damaged


def _steps(lesson: Lesson) -> Nodes:
    """Where the teacher's steps start, and the end."""
    fresh = (*lesson.plan.fresh, True)
    return tuple(node for node, opens in zip(lesson.plan.nodes, fresh, strict=True) if opens)


def _kind_of_run(model: Model, student: Student) -> str:
    """A hash of all that runs must have in common but their nodes."""
    assert model.cache is not None
    course = student.course
    noise = course.seed if course.noise is None else digest(model.placed(course.noise))
    cond = digest(model.conditions(range(course.samples), course.cond))
    said = [model.cache.mark(model), student.teacher, noise, cond, course.samples, course.batch]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _falls(nodes: Nodes, schedule: Schedule) -> bool:
    """Are these nodes of the schedule, from noise to data?"""
    there = all(np.allclose(schedule.node(n.t)[1:], n[1:], rtol=1e-9, atol=1e-12) for n in nodes)
    return len(nodes) > 1 and there and all(s.logsnr < t.logsnr for s, t in pairwise(nodes))


def _finished(cache: Cache, kind: str, schedule: Schedule) -> list[Nodes]:
    """The nodes of the finished runs of a kind; files that are damaged, or of something else, are left out."""
    found = []
    for path in sorted((cache.folder / "teachers" / kind).glob("*.json")):
        try:
            content = json_schema.read(path)
            json_schema.check(content, {"what": WHAT, "nodes": [[float]], "checksum": str}, path.name)
            if content["checksum"] == checksum(content):
                nodes = tuple(Node(*node) for node in content["nodes"])
                found += [nodes] if _falls(nodes, schedule) else []
        except (OSError, ValueError, LookupError, TypeError, ArithmeticError):
            continue
    return found


def _nearest(model: Model, lesson: Lesson, students: Sequence[Student], team: Team) -> Lesson:
    """The lesson if it is finished or nothing else serves; else a run that stands at all nodes, and the shortest."""
    course = students[0].course
    assert model.cache is not None
    if course.align == "count":
        return lesson
    mine, method = _steps(lesson), read(students[0].teacher).method
    known = team.agreed(_finished(model.cache, _kind_of_run(model, students[0]), model.schedule))
    if any(_alike(nodes, mine) for nodes in known):
        return lesson
    plain = [_needs(one, course.scale, model.schedule) for one in students]
    fit = [nodes for nodes in known if all(_serves(nodes, needs, method) for needs in plain)]
    lessons = [_lesson(nodes, students, method, lesson.plan.kind, model.schedule) for nodes in fit]
    return min([*lessons], key=lambda one: (len(one.between), one.plan.nfe), default=lesson)


def _alike(some: Nodes, others: Nodes) -> bool:
    return len(some) == len(others) and all(map(same, some, others))


Needs = list[Nodes]  # the teacher's nodes in each interval of a student, with both ends


def _needs(student: Student, scale: int, schedule: Schedule) -> Needs:
    """The student's intervals as its own refined grid divides them."""
    nodes = distinct(student.plan.nodes)
    fine = refine(replace(student.grid, nodes=nodes), scale, schedule).nodes
    return [_within(fine, s, t) for s, t in pairwise(nodes)]


def _within(nodes: Nodes, s: Node, t: Node) -> Nodes:
    """The nodes inside an interval, between its ends."""
    inner = (n for n in nodes if s.logsnr < n.logsnr < t.logsnr and not same(n, s) and not same(n, t))
    return (s, *inner, t)


def _serves(nodes: Nodes, needs: Needs, method: Method) -> bool:
    ends = same(nodes[0], needs[0][0]) and same(nodes[-1], needs[-1][-1])
    wanted = [n for part in needs for n in (part if method.even else part[-1:])]
    stands = method.name == DDIM.name or all(any(same(n, t) for n in nodes) for t in wanted)
    return ends and stands and all(_as_fine(_within(nodes, part[0], part[-1]), part) for part in needs)


def _as_fine(some: Nodes, others: Nodes) -> bool:
    """Has the first as many steps in an interval, none longer in time or log-SNR than the longest of the second?"""
    return len(some) >= len(others) and all(
        mine <= most * (1 + 1e-6) for mine, most in zip(_longest(some), _longest(others), strict=True)
    )


def _longest(nodes: Nodes) -> tuple[float, float]:
    """The longest step in time, and in log-SNR; infinite where one goes to σ = 0 or from α = 0."""
    steps = list(pairwise(nodes))
    return max(abs(s.t - t.t) for s, t in steps), max(t.logsnr - s.logsnr for s, t in steps)


def _lesson(nodes: Nodes, students: Sequence[Student], method: Method, kind: Kind, schedule: Schedule) -> Lesson:
    """The run at these nodes, with what it teaches each student."""
    plan = trace(method, nodes, schedule, kind)
    numbers: dict[Node, int] = {}
    between: list[tuple[int, Plan]] = []
    for node in distinct([node for student in students for node in student.plan.nodes[1:]]):
        number = standing(plan, node)
        if number is None:
            before = max(k for k, n in enumerate(plan.nodes) if n.logsnr < node.logsnr)
            number = len(plan.nodes) + len(between)
            between.append((before, trace(method, (plan.nodes[before], node), schedule, kind)))
        numbers[node] = number
    targets = tuple(tuple(numbers[node] for node in student.plan.nodes[1:]) for student in students)
    return Lesson(plan, targets, tuple(between))
