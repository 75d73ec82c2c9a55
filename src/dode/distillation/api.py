"""`dode.distill`: one teacher run, then a fit for each solver and number of evaluations asked for."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, overload

from dode.distillation.config import RHO, Course, SolverOptions, Student, students
from dode.distillation.fit import LARGE, Fit
from dode.distillation.runner import Place, fit_all, in_order, lessons_of
from dode.distillation.storage import shelf
from dode.distillation.teacher import Lesson
from dode.errors import DodeError
from dode.model import Model, checked
from dode.noise import whole as whole_seed
from dode.process_group import here
from dode.progress import Progress
from dode.samplers import Provenance, Sampler, dtype_name, where_made
from dode.search.auto import tuned
from dode.search.budget import QUICK, Budget
from dode.timesteps import Grid

SAMPLES = 100  # the paper's |B|


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
    cache: str | Path | None
    cache_dtype: str | None
    offload: str | None
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
    cache: str | Path | None = None,
    cache_dtype: str | None = None,
    offload: str | None = None,
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
    every batch size but for rounding.  cache: a folder for the network's outputs, from which a run that was
    killed goes on, and other students take what they have in common; it may give a finer teacher than asked for.
    cache_dtype: float32 or float16, to keep fewer digits.  offload: where resting states wait, "cpu" or "disk"; None is
    the device, and with a cache the disk (docs/scale.md).  docs/solvers.md has a table of all options.
    method "auto" searches and refines (`dode.search.auto`), with 64 samples by default.  quick: with a fifth of the
    evaluations; told: may the network be told other times than those of its states? whole: only whole times.

    seed: of the noise to fit on, drawn sample by sample in a stream of its own; grid and end: as for `dode.sampler`;
    progress(network calls done, in all), a call being one batch; options: the solver's, as keywords.

    Returns a Sampler; {nfe: Sampler} for several nfe; {method: {nfe: Sampler}} for several methods.
    Raises ValueError for a name, option or budget that does not exist, for a stochastic solver, which has no one
    solution, and where the network gives NaN or infinity, naming the evaluation.
    Kim, Tang & Yu, CVPR 2024.
    """
    of = _samples(samples, noise)
    course = Course(
        teacher, scale, of, whole_seed(seed), rho, align, batch, cond, end, formulation, lam, carry, states, noise
    )
    model = checked(model, ode=True)
    working = _remembering(model, cache, cache_dtype)
    counts = sorted(set(nfe)) if isinstance(nfe, Iterable) else [nfe]
    names = [method] if isinstance(method, str) else list(dict.fromkeys(method))
    if not counts or not names:
        raise DodeError("give a method and a number of network evaluations, or several; got none")
    made: dict[str, dict[int, Sampler]] = {name: {} for name in names}
    asked = students(model, [name for name in names if name != "auto"], counts, grid, course, options)
    shelf(offload)  # ValueError for a place that does not exist, before anything long
    if "auto" in names:
        _check_auto(course, grid, options)
        budget = replace(QUICK if quick else Budget(), batch=batch, told=told, whole=whole)
        budget = budget if samples is None else replace(budget, samples=samples)
        made["auto"] = _searched(model, working, counts, budget, course, progress)
    elif quick or whole or not told:
        raise DodeError("quick, told and whole are options of method 'auto'")
    for one, lesson, result in _fits(working, asked, course, offload, progress):
        made[one.text][one.nfe] = sampler_of(model, one, lesson, result)
    warn_of_little(one for found in made.values() for one in found.values())
    if not isinstance(method, str):
        return made
    return made[method] if isinstance(nfe, Iterable) else made[method][counts[0]]


def _samples(samples: int | None, noise: Any) -> int:
    """How many to fit on; given noise has as many as it has rows."""
    if noise is None:
        return SAMPLES if samples is None else samples
    if samples not in (None, len(noise)):
        raise DodeError(f"noise has {len(noise)} samples; got samples={samples}: leave it out")
    return len(noise)


def _remembering(model: Model, folder: str | Path | None, dtype: str | None) -> Model:
    """The model with a cache of its outputs, if a folder is given."""
    return model.cached(folder, dtype)


def _searched(
    model: Model, working: Model, counts: Sequence[int], budget: Budget, course: Course, progress: Progress | None
) -> dict[int, Sampler]:
    """What "auto" finds, with samplers of the model as it was given, without its cache."""
    tell = None if progress is None else lambda what, share: progress(round(1000 * share), 1000)
    found = tuned(working, counts, budget, course.seed, course.cond, tell)
    return {count: replace(one, model=model) for count, (one, _) in found.items()}


def _fits(
    working: Model, asked: Sequence[Student], course: Course, offload: str | None, progress: Progress | None
) -> list[tuple[Student, Lesson, Fit]]:
    """Every student that is asked for, its teacher's run and its fit; resting states of a cache wait on its disk."""
    folder = None if working.cache is None else working.cache.folder
    offload = "disk" if offload is None and folder is not None else offload
    team, host = here(), None if offload is None else "cpu"
    taught = lessons_of(working, asked)
    place = Place(progress, shelf(offload, folder), team, host)
    results = fit_all(working, asked, taught, course, place)
    return [(*pair, result) for pair, result in zip(in_order(asked, taught), results, strict=True)]


def _check_auto(course: Course, grid: Any, options: SolverOptions) -> None:
    """ValueError for options that auto decides itself."""
    usual = Course(samples=course.samples, seed=course.seed, batch=course.batch)
    if grid is not None or options or course != usual or course.noise is not None:
        raise DodeError(
            "auto finds solver, grid, weights and times itself; it takes samples, seed, cond, batch, quick, told, whole"
        )


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
    made = Sampler(model, result.plan, provenance)
    _warn_of_large(made.name, result)
    return made


def _warn_of_large(name: str, result: Fit) -> None:
    """Of every evaluation whose λ is far from what a difference should be weighed with."""
    for k, found in enumerate(result.solutions):
        largest = max(found.weights.tolist(), key=abs, default=0.0)
        if abs(largest) > LARGE:
            hint = "a larger rho tames it" if found.ratio < 1 else "this step hardly uses its output"
            said = f"lambda = {largest:.3g} is large (‖v‖/‖u‖ = {found.ratio:.1g}); {hint}"
            warnings.warn(f"{name}, evaluation {k + 1} of {result.plan.nfe}: {said}", stacklevel=4)


def warn_of_little(made: Iterable[Sampler]) -> None:
    """Once, of fits that can hardly be of use: to one sample, or to a teacher with the student's own steps."""
    fits = [one.provenance for one in made if one.provenance.scale is not None and one.provenance.lam is None]
    if any(fit.samples == 1 for fit in fits):
        warnings.warn("the fit has one sample, and may suit no other: give it 50 or more", stacklevel=3)
    if any(fit.scale == 1 for fit in fits):
        warnings.warn(
            "with scale 1 the teacher's steps are the student's own, and it has little to teach", stacklevel=3
        )
