"""`dode.distill`: one teacher run, then a fit for each number of evaluations asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack, overload

import torch

from dode.denoiser import rows
from dode.distillation import Batch, Fit, fit
from dode.grid import Grid
from dode.model import Model
from dode.plan import Plan
from dode.samplers import Provenance, Sampler, dtype_name
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

    def __post_init__(self) -> None:
        if self.align not in ALIGNMENTS:
            raise ValueError(f"align must be one of {', '.join(ALIGNMENTS)}; got {self.align!r}")
        if min(self.samples, self.batch, self.scale) < 1 or self.rho < 0:
            raise ValueError("samples, batch and scale must be at least 1 and rho at least 0")


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
    course = Course(teacher, scale, samples, seed, rho, align, batch, cond)
    counts = [nfe] if isinstance(nfe, int) else sorted(set(nfe))
    base = named(method.removeprefix("d-"))
    where = "published" if align == "count" else grid
    students = [build(base, count, model.schedule, model.prediction, where, end) for count in counts]
    plain = [plan for plan, _ in students]
    lessons = _lessons(model, students, course)
    fits = _fit_all(model, plain, lessons, course, progress)
    made = {}
    for count, (_, on), lesson, result in zip(counts, students, _spread(lessons, len(counts)), fits, strict=True):
        made[count] = _sampler(model, base.name, on, lesson, result, course)
    return made[counts[0]] if isinstance(nfe, int) else made


def _lessons(model: Model, students: Sequence[tuple[Plan, Grid]], course: Course) -> list[Lesson]:
    """One shared teacher, or with align="count" one for each student."""
    method = named(course.teacher)
    kind = method.kind(model.prediction)
    if course.align == "time":
        return [by_time(students, course.scale, model.schedule, method, kind)]
    return [by_count(plan, course.scale, model.schedule, method, kind) for plan, _ in students]


def _spread(lessons: Sequence[Lesson], count: int) -> list[Lesson]:
    return list(lessons) * count if len(lessons) == 1 else list(lessons)


@torch.no_grad()
def _fit_all(
    model: Model, plans: Sequence[Plan], lessons: Sequence[Lesson], course: Course, progress: Progress | None
) -> list[Fit]:
    """Teach every batch, then fit every student on all batches in lockstep."""
    x_T = model.start(range(course.samples), course.seed, "fit")
    cond = model.conditions(range(course.samples), course.cond)
    parts = [slice(i, i + course.batch) for i in range(0, course.samples, course.batch)]
    total = len(parts) * (sum(lesson.plan.nfe for lesson in lessons) + sum(plan.nfe for plan in plans))
    done = 0

    def tick(calls: int) -> None:
        nonlocal done
        done += calls
        if progress is not None:
            progress(done, total)

    taught = []
    for lesson in lessons:
        states = []
        for part in parts:
            denoise = model.denoiser(lesson.plan.kind, rows(cond, part))
            states.append(teach(lesson, denoise, x_T[part], tick))
        taught += [[[by[k] for k in targets] for by in states] for targets in lesson.targets]
    fits = []
    for plan, batches in zip(plans, taught, strict=True):
        given = [
            Batch(x_T[part], model.denoiser(plan.kind, rows(cond, part)), targets)
            for part, targets in zip(parts, batches, strict=True)
        ]
        fits.append(fit(plan, given, course.rho, tick))
    return fits


def _sampler(model: Model, name: str, on: Grid, lesson: Lesson, result: Fit, course: Course) -> Sampler:
    where = on.name if on.name != "times" else tuple(node.t for node in on.nodes)
    provenance = Provenance(
        name,
        True,
        where,
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
