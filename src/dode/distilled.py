"""`dode.distill`: one teacher run, then a fit for each solver and number of evaluations asked for."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Unpack, overload

import numpy as np
import torch

from dode.auto import tuned
from dode.conditions import rows
from dode.course import RHO, Course, SolverOptions, Student, students
from dode.distillation import Batch, Fit, Solution, fit, search
from dode.grid import Grid
from dode.model import Model
from dode.samplers import Provenance, Sampler, dtype_name, where_made
from dode.solvers.names import read
from dode.spending import QUICK, Budget
from dode.teacher import Lesson, lessons, teach

SAMPLES = 100  # the paper's |B|
Progress = Callable[[int, int], None]  # (network calls done, network calls in all), a call being one batch


class Options(SolverOptions, total=False):
    """The options of `distill`, for type checkers."""

    teacher: str | None
    scale: int
    samples: int | None
    seed: int
    cond: Any
    noise: Any
    rho: float
    align: str
    formulation: str
    lam: float | str | None
    carry: bool
    states: str
    grid: str | Sequence[float] | Grid | None
    end: str
    batch: int
    quick: bool
    told: bool
    whole: bool
    progress: Progress | None


@overload
def distill(model: Model, method: str, *, nfe: int, **options: Unpack[Options]) -> Sampler: ...
@overload
def distill(model: Model, method: str, *, nfe: Sequence[int], **options: Unpack[Options]) -> dict[int, Sampler]: ...
@overload
def distill(
    model: Model, method: list[str] | tuple[str, ...], *, nfe: int | Sequence[int], **options: Unpack[Options]
) -> dict[str, dict[int, Sampler]]: ...
def distill(
    model: Model,
    method: str | list[str] | tuple[str, ...],
    *,
    nfe: int | Sequence[int],
    teacher: str | None = None,
    scale: int = 10,
    samples: int | None = None,
    seed: int = 0,
    cond: Any = None,
    noise: Any = None,
    rho: float = RHO,
    align: str = "time",
    formulation: str = "d",
    lam: float | str | None = None,
    carry: bool = True,
    states: str = "student",
    grid: str | Sequence[float] | Grid | None = None,
    end: str = "data",
    batch: int = 50,
    quick: bool = False,
    told: bool = True,
    whole: bool = False,
    progress: Progress | None = None,
    **options: Unpack[SolverOptions],
) -> Sampler | dict[int, Sampler] | dict[str, dict[int, Sampler]]:
    """Distil a solver: run the teacher once, fit one λ per network evaluation.

    model: what to sample from, guided or not; method: a name in `dode.METHODS`, with options like
    "dpm-solver-2:inner=time" if you like, or several; nfe: network evaluations, or several numbers of them.
    teacher: a solver's name; None is the paper's (ddim; ipndm and deis teach themselves).  All students of one teacher
    share its run.  scale, samples: the paper's C and |B|; rho: ridge, 0 is the paper; align: "time", or "count" for the
    published pairing and its grids; formulation: d, 2, sep, all, verbatim, fixed or la; lam: the constant of the
    last two, or "search"; carry: do later stages of a step see mixed outputs; states: whose states the fit evaluates.
    cond: one row for each of the `samples` (the model's own by default); noise: x_T (samples, *shape) to fit on instead
    of what the seed gives, as many samples as it has rows.  batch: network batch; the fit is the same for
    every batch size but for rounding.  docs/solvers.md has a table of all options.
    method "auto" searches and refines (`dode.auto`), with 64 samples by default.  quick: with a fifth of the
    evaluations; told: may the network be told other times than those of its states? whole: only whole times.

    seed: of the noise to fit on, drawn sample by sample in a stream of its own; grid and end: as for `dode.sampler`;
    progress(network calls done, in all), a call being one batch; options: the solver's, as keywords.

    Returns a Sampler; {nfe: Sampler} for several nfe; {method: {nfe: Sampler}} for several methods.
    Raises ValueError for a name, option or budget that does not exist, for a stochastic solver, which has no one
    solution, and where the network gives NaN or infinity, naming the evaluation.
    Kim, Tang & Yu, CVPR 2024.
    """
    wanted = SAMPLES if samples is None else samples
    wanted = wanted if noise is None else len(noise)
    course = Course(
        teacher, scale, wanted, int(seed), rho, align, batch, cond, end, formulation, lam, carry, states, noise
    )
    counts = sorted(set(nfe)) if isinstance(nfe, Iterable) else [nfe]
    names = [method] if isinstance(method, str) else list(dict.fromkeys(method))
    if not counts or not names:
        raise ValueError("give a method and a number of network evaluations, or several; got none")
    made: dict[str, dict[int, Sampler]] = {name: {} for name in names}
    if "auto" in names:
        _check_auto(course, grid, options)
        budget = replace(QUICK if quick else Budget(), batch=batch, told=told, whole=whole)
        budget = budget if samples is None else replace(budget, samples=samples)
        tell = None if progress is None else lambda what, share: progress(round(1000 * share), 1000)
        found = tuned(model, counts, budget, course.seed, cond, tell)
        made["auto"] = {count: one for count, (one, _) in found.items()}
    asked = students(model, [name for name in names if name != "auto"], counts, grid, course, options)
    taught = lessons_of(model, asked)
    for (one, lesson), result in zip(
        _in_order(asked, taught), _fit_all(model, asked, taught, course, progress), strict=True
    ):
        made[one.text][one.nfe] = sampler_of(model, one, lesson, result)
    if not isinstance(method, str):
        return made
    return made[method] if isinstance(nfe, Iterable) else made[method][counts[0]]


def _check_auto(course: Course, grid: Any, options: SolverOptions) -> None:
    """ValueError for options that auto decides itself."""
    usual = Course(samples=course.samples, seed=course.seed, batch=course.batch, cond=course.cond)
    if grid is not None or options or course != usual:
        raise ValueError(
            "auto finds solver, grid, weights and times itself; it takes samples, seed, cond, batch, quick, told, whole"
        )


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


def _in_order(asked: Sequence[Student], taught: Taught) -> list[tuple[Student, Lesson]]:
    home = {i: lesson for lesson, members in taught for i in members}
    return [(one, home[i]) for i, one in enumerate(asked)]


def calls(asked: Sequence[Student], taught: Taught) -> int:
    """Network calls of a batch: the teachers' and the students', searches with every value tried."""
    tried = (len(one.course.constants()) if one.course.form.constant else 1 for one in asked)
    return sum(lesson.plan.nfe for lesson, _ in taught) + sum(
        one.nfe * trials for one, trials in zip(asked, tried, strict=True) if one.course.form.directions or trials > 1
    )


@torch.no_grad()
def _fit_all(
    model: Model, asked: Sequence[Student], taught: Taught, course: Course, progress: Progress | None
) -> list[Fit]:
    """Teach every batch, then fit every student on all batches in lockstep."""
    drawn = course.noise is None
    x_T = model.start(range(course.samples), course.seed, "fit") if drawn else model.placed(course.noise)
    cond = model.conditions(range(course.samples), course.cond)
    parts = [slice(i, i + course.batch) for i in range(0, course.samples, course.batch)]
    total = len(parts) * calls(asked, taught)
    done = 0

    def tick(calls: int) -> None:
        nonlocal done
        done += calls
        if progress is not None:
            progress(done, total)

    fits = {}
    for lesson, members in taught:
        states = [teach(lesson, model.denoiser(lesson.plan.kind, rows(cond, p)), x_T[p], tick) for p in parts]
        for i, targets in zip(members, lesson.targets, strict=True):
            batches = [
                Batch(x_T[p], model.denoiser(asked[i].plan.kind, rows(cond, p)), [known[k] for k in targets])
                for p, known in zip(parts, states, strict=True)
            ]
            fits[i] = fitted(asked[i], batches, tick)
    return [fits[i] for i in range(len(asked))]


def fitted(student: Student, batches: Sequence[Batch], tick: Callable[[int], None]) -> Fit:
    """The student's λ: fitted, given, or searched by the distance of its end to the teacher's on the fit samples."""
    course, form = student.course, student.course.form
    if form.directions is not None:
        return fit(student.plan, batches, course.rho, tick, form.directions, course.states == "teacher")
    assert form.constant is not None, "a formulation has directions or a constant"
    plans = [form.constant(student.plan, value) for value in course.constants()]
    best = search(plans, batches, tick)[0] if len(plans) > 1 else 0
    value = np.array([course.constants()[best]])
    return Fit(plans[best], (Solution(value, np.zeros(1), 0.0, 1.0),) * student.nfe)


def sampler_of(model: Model, student: Student, lesson: Lesson, result: Fit) -> Sampler:
    course = student.course
    errors = tuple(tuple(s.errors.tolist()) if len(s.errors) > 1 else float(sum(s.errors)) for s in result.solutions)
    provenance = Provenance(
        student.method.name,
        True,
        where_made(student.grid),
        course.end,
        options=dict(student.method.chosen),
        formulation=course.formulation,
        lam=float(result.lambdas[0]) if course.form.constant else None,
        states=course.states,
        carry=bool(course.carry),
        teacher=student.teacher,
        teacher_nfe=lesson.plan.nfe,
        align=course.align,
        scale=course.scale,
        rho=course.rho,
        samples=course.samples,
        batch=course.batch,
        seed=course.seed if course.noise is None else None,
        dtype=dtype_name(model),
        errors=errors,
        ratios=tuple(s.ratio for s in result.solutions),
        conditions=tuple(s.condition for s in result.solutions),
    )
    return Sampler(model, result.plan, provenance)
