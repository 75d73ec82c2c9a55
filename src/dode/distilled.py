"""`dode.distill`: one teacher run, then a fit for each number of evaluations asked for."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import torch

from dode.conditions import rows
from dode.distillation import Batch, Fit, fit
from dode.grid import Grid
from dode.model import Model
from dode.plan import Plan
from dode.samplers import Provenance, Sampler, dtype_name
from dode.schedule import Node
from dode.solvers import method as named
from dode.solvers.budget import build
from dode.teacher import ALIGNMENTS, Lesson, by_count, by_time, teach

RHO = 1e-4  # chosen on select noise: docs/results/rho-*.md, made by benchmarks/rho.py
Progress = Callable[[int, int], None]  # (network calls done, network calls in all), a call being one batch


@dataclass(frozen=True)
class Course:
    """Everything that decides a distillation but the model and the students."""

    teacher: str = "ddim"
    scale: int = 10
    samples: int = 100
    seed: int = 0
    rho: float = RHO
    align: str = "time"
    batch: int = 50
    cond: Any = None
    end: str = "data"

    def __post_init__(self) -> None:
        if self.align not in ALIGNMENTS:
            raise ValueError(f"align must be one of {', '.join(ALIGNMENTS)}; got {self.align!r}")
        if min(self.samples, self.batch, self.scale) < 1 or not 0 <= self.rho < math.inf:
            got = f"{self.samples}, {self.batch}, {self.scale}, {self.rho}"
            raise ValueError(f"samples, batch and scale must be at least 1 and rho at least 0; got {got}")


class Options(TypedDict, total=False):
    """The options of `distill`, for type checkers."""

    teacher: str
    scale: int
    samples: int
    seed: int
    cond: Any
    rho: float
    align: str
    grid: str | Sequence[float] | None
    end: str
    batch: int
    progress: Progress | None


@overload
def distill(model: Model, method: str, *, nfe: int, **options: Unpack[Options]) -> Sampler: ...
@overload
def distill(model: Model, method: str, *, nfe: Sequence[int], **options: Unpack[Options]) -> dict[int, Sampler]: ...
def distill(
    model: Model,
    method: str,
    *,
    nfe: int | Sequence[int],
    teacher: str = "ddim",
    scale: int = 10,
    samples: int = 100,
    seed: int = 0,
    cond: Any = None,
    rho: float = RHO,
    align: str = "time",
    grid: str | Sequence[float] | None = None,
    end: str = "data",
    batch: int = 50,
    progress: Progress | None = None,
) -> Sampler | dict[int, Sampler]:
    """Distil a solver: run the teacher once, fit one λ per network evaluation.

    model: what to sample from, guided or not; method: a name in `dode.METHODS`; nfe: network evaluations, or several
    numbers of them, which share one teacher.  teacher, scale, samples: the paper's solver, C and |B|; rho: ridge, 0 is
    the paper; align: "time", or "count" for the published pairing and its grids.  cond: one row for each of the
    `samples` (the model's own by default).  batch: network batch; the fit is the same for every batch size but for
    rounding.  Returns a Sampler, or {nfe: Sampler} for several.  Kim, Tang & Yu, CVPR 2024.
    """
    course = Course(teacher, scale, samples, int(seed), rho, align, batch, cond, end)
    single = isinstance(nfe, int | np.integer)
    counts = [int(nfe)] if isinstance(nfe, int | np.integer) else sorted({int(count) for count in nfe})
    if not counts:
        raise ValueError("nfe must be a number of network evaluations, or several; got none")
    if align == "count" and grid is not None:
        raise ValueError("align='count' brings the published grids; leave grid out")
    base = named(method.removeprefix("d-"))
    where = "published" if align == "count" else grid
    students = [build(base, count, model.schedule, model.prediction, where, end) for count in counts]
    lessons = _lessons(model, students, course)
    fits = _fit_all(model, [plan for plan, _ in students], lessons, course, progress)
    made = {}
    for i, (count, (_, on)) in enumerate(zip(counts, students, strict=True)):
        lesson = next(lesson for lesson, members in lessons if i in members)
        made[count] = _sampler(model, base.name, on, lesson, fits[i], course)
    return made[counts[0]] if single else made


def _lessons(model: Model, students: Sequence[tuple[Plan, Grid]], course: Course) -> list[tuple[Lesson, list[int]]]:
    """Teachers with the numbers of their students: one for all that start at the same node; one each by count."""
    method = named(course.teacher)
    kind = method.kind(model.prediction)
    if course.align == "count":
        plans = [plan for plan, _ in students]
        return [(by_count(plan, course.scale, model.schedule, method, kind), [i]) for i, plan in enumerate(plans)]
    groups: dict[Node, list[int]] = {}
    for i, (plan, _) in enumerate(students):
        groups.setdefault(plan.nodes[0], []).append(i)
    return [
        (by_time([students[i] for i in members], course.scale, model.schedule, method, kind), members)
        for members in groups.values()
    ]


@torch.no_grad()
def _fit_all(
    model: Model,
    plans: Sequence[Plan],
    lessons: Sequence[tuple[Lesson, list[int]]],
    course: Course,
    progress: Progress | None,
) -> list[Fit]:
    """Teach every batch, then fit every student on all batches in lockstep."""
    x_T = model.start(range(course.samples), course.seed, "fit")
    cond = model.conditions(range(course.samples), course.cond)
    parts = [slice(i, i + course.batch) for i in range(0, course.samples, course.batch)]
    total = len(parts) * (sum(lesson.plan.nfe for lesson, _ in lessons) + sum(plan.nfe for plan in plans))
    done = 0

    def tick(calls: int) -> None:
        nonlocal done
        done += calls
        if progress is not None:
            progress(done, total)

    fits = {}
    for lesson, members in lessons:
        taught = [teach(lesson, model.denoiser(lesson.plan.kind, rows(cond, p)), x_T[p], tick) for p in parts]
        for i, targets in zip(members, lesson.targets, strict=True):
            batches = [
                Batch(x_T[p], model.denoiser(plans[i].kind, rows(cond, p)), [states[k] for k in targets])
                for p, states in zip(parts, taught, strict=True)
            ]
            fits[i] = fit(plans[i], batches, course.rho, tick)
    return [fits[i] for i in range(len(plans))]


def _sampler(model: Model, name: str, on: Grid, lesson: Lesson, result: Fit, course: Course) -> Sampler:
    where = on.name if on.name != "times" else tuple(node.t for node in on.nodes)
    provenance = Provenance(
        name,
        True,
        where,
        course.end,
        teacher=course.teacher,
        teacher_nfe=lesson.plan.nfe,
        align=course.align,
        scale=course.scale,
        rho=course.rho,
        samples=course.samples,
        batch=course.batch,
        seed=course.seed,
        dtype=dtype_name(model),
        errors=tuple(result.errors.tolist()),
        ratios=tuple(result.ratios.tolist()),
    )
    return Sampler(model, result.plan, provenance)
