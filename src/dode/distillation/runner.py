"""All students of one course, taught and fitted batch by batch: resting batches wait on a shelf."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dode.conditioning import prepared, rows
from dode.distillation.config import Course, Student
from dode.distillation.fit import Fit, Learning, fit, search
from dode.distillation.least_squares import Solution
from dode.distillation.storage import Memory, Shelf
from dode.distillation.teacher import Lesson, lessons, teach
from dode.model import Model
from dode.parameterization import Kind
from dode.process_group import ALONE, Team
from dode.progress import Progress, Tick, counting
from dode.sampling import Denoise
from dode.solvers.spec import read

Taught = list[tuple[Lesson, list[int]]]


def lessons_of(model: Model, asked: Sequence[Student]) -> Taught:
    """Teachers' runs with the numbers of the students that each serves."""
    by_teacher: dict[str, list[int]] = {}
    for i, one in enumerate(asked):
        by_teacher.setdefault(one.teacher, []).append(i)
    found = []
    for name, members in by_teacher.items():
        method, course = read(name).method, asked[members[0]].course
        kind = method.kind(model.prediction, model.schedule)
        pairs = [(asked[i].plan, asked[i].grid) for i in members]
        for lesson, part in lessons(pairs, course.scale, model.schedule, method, kind, course.align):
            found.append((lesson, [members[i] for i in part]))
    return found


def in_order(asked: Sequence[Student], taught: Taught) -> list[tuple[Student, Lesson]]:
    home = {i: lesson for lesson, members in taught for i in members}
    return [(one, home[i]) for i, one in enumerate(asked)]


def calls(asked: Sequence[Student], taught: Taught) -> int:
    """Network calls of a batch: the teachers' and the students', searches with every value tried."""
    tried = (len(one.course.constants()) if one.course.form.constant else 1 for one in asked)
    return sum(lesson.plan.nfe for lesson, _ in taught) + sum(
        one.nfe * trials for one, trials in zip(asked, tried, strict=True) if one.course.form.directions or trials > 1
    )


@dataclass(frozen=True, eq=False)
class Place:
    """Where a distillation is run: what is told of its progress, where resting states wait, who else takes part."""

    progress: Progress | None = None
    shelf: Shelf = field(default_factory=Memory)
    team: Team = ALONE
    host: str | None = None  # the device on which conditions wait; None: the model's
    finished: Callable[[Lesson, Student], None] = lambda lesson, student: None  # told of every teacher's run


@dataclass(frozen=True)
class Shelved(Sequence[Tensor]):
    """Tensors that are on a shelf."""

    shelf: Shelf
    names: Sequence[Hashable]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, k: Any) -> Any:
        return self.shelf.get(self.names[k])


@dataclass(frozen=True, eq=False)
class Part:
    """A batch of a distillation as it rests: its noise is drawn again, its targets are on the shelf."""

    model: Model
    course: Course
    indices: range
    cond: Any  # of these samples
    kind: Kind
    targets: Sequence[Tensor] = ()

    @property
    def x_T(self) -> Tensor:
        """Where its samples start."""
        if self.course.noise is None:
            return self.model.start(self.indices, self.course.seed, "fit")
        return self.model.placed(self.course.noise[self.indices.start : self.indices.stop])

    @property
    def denoise(self) -> Denoise:
        """Their network."""
        cond = self.cond if self.cond is None else prepared(self.cond, len(self.indices), self.model.device)
        return self.model.bound(self.kind, cond)

    def towards(self, numbers: Sequence[int], kind: Kind, shelf: Shelf) -> "Part":
        """The batch for a student of this kind, whose targets are those states of the teacher."""
        return replace(self, kind=kind, targets=Shelved(shelf, [(self.indices, number) for number in numbers]))


@torch.no_grad()
def fit_all(model: Model, asked: Sequence[Student], taught: Taught, course: Course, place: Place) -> list[Fit]:
    """Teach every batch, then fit every student on all batches in lockstep: one batch at a time is on the device."""
    mine = _parts(model, course, place)
    tick = counting(place.progress, len(mine) * calls(asked, taught))
    fits = {}
    for lesson, members in taught:
        for part in mine:
            taking = replace(part, kind=lesson.plan.kind)
            for number, state in teach(lesson, taking.denoise, taking.x_T, tick):
                place.shelf.put((part.indices, number), state)
        place.team.gather([None])  # all have taught
        if place.team.first:
            place.finished(lesson, asked[members[0]])
        for i, targets in zip(members, lesson.targets, strict=True):
            batches = [part.towards(targets, asked[i].plan.kind, place.shelf) for part in mine]
            fits[i] = fitted(asked[i], batches, tick, place)
        for number in {number for targets in lesson.targets for number in targets}:
            for part in mine:
                place.shelf.drop((part.indices, number))
    return [fits[i] for i in range(len(asked))]


def _parts(model: Model, course: Course, place: Place) -> list[Part]:
    """The batches of this process."""
    cuts = [range(i, min(i + course.batch, course.samples)) for i in range(0, course.samples, course.batch)]
    cond = model.conditions(range(course.samples), course.cond)
    cond = cond if place.host is None else prepared(cond, course.samples, place.host)
    mine = place.team.mine(cuts)
    return [Part(model, course, cut, rows(cond, slice(cut.start, cut.stop)), model.prediction) for cut in mine]


def fitted(student: Student, batches: Sequence[Learning], tick: Tick, place: Place | None = None) -> Fit:
    """The student's λ: fitted, given, or searched by the distance of its end to the teacher's on the fit samples."""
    course, form, place = student.course, student.course.form, place or Place()
    if form.directions is not None:
        forced = course.states == "teacher"
        return fit(student.plan, batches, course.rho, tick, form.directions, forced, place.shelf, place.team)
    assert form.constant is not None, "a formulation has directions or a constant"
    plans = [form.constant(student.plan, value) for value in course.constants()]
    best = search(plans, batches, tick, place.team)[0] if len(plans) > 1 else 0
    value = np.array([course.constants()[best]])
    return Fit(plans[best], (Solution(value, np.zeros(1), 0.0, 1.0),) * student.nfe)
