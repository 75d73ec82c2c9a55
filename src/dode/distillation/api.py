"""`dode.distill`: one teacher run, then a fit for each solver and number of evaluations."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

from dode.distillation.config import RHO, DistillConfig, FitTarget, fit_targets
from dode.distillation.fit import LARGE, Fit
from dode.distillation.runner import fit_all
from dode.distillation.teacher import TeacherRun
from dode.errors import DodeError
from dode.method import Method
from dode.model import Model, checked
from dode.noise import whole as whole_seed
from dode.process_group import current
from dode.progress import Progress
from dode.samplers import Provenance, Sampler, dtype_name, where_made
from dode.tensor_store import tensor_store
from dode.timesteps import Grid

Solver = str | Method
FIELDS = ("formulation", "states", "carry", "align", "scale", "rho", "samples", "batch")  # of config, in the provenance


@overload
def distill(model: Model, solver: Solver, nfe: int, **options: Any) -> Sampler: ...
@overload
def distill(model: Model, solver: Solver, nfe: Sequence[int], **options: Any) -> dict[int, Sampler]: ...
@overload
def distill(
    model: Model, solver: Sequence[Solver], nfe: int | Sequence[int], **options: Any
) -> dict[str, dict[int, Sampler]]: ...
def distill(  # type: ignore[misc]  # its options are listed once
    model: Model,
    solver: Solver | Sequence[Solver],
    nfe: int | Sequence[int],
    *,
    teacher: Solver | None = None,
    scale: int = 10,
    samples: int | None = None,
    seed: int = 0,
    cond: Any = None,
    noise: Any = None,
    rho: float = RHO,
    align: str = "time",
    formulation: str = "d",
    grid: str | Sequence[float] | Grid | None = None,
    end: str = "data",
    batch: int = 50,
    cache: str | Path | None = None,
    cache_dtype: str | None = None,
    offload: str | None = None,
    progress: Progress | None = None,
) -> Sampler | dict[int, Sampler] | dict[str, dict[int, Sampler]]:
    """Distil a solver: run the teacher once, fit one λ per network evaluation.

    Args:
        model: What to sample from, guided or not.
        solver: A name in `dode.METHODS` with options, "dpm-solver-2:inner=time"; of the fit, too, as docs/solvers.md
            lists them, "ddim:formulation=fixed:lam=0.3"; or a `Method`; or several of them, which share a teacher.
        nfe: Network evaluations, or several numbers of them.
        teacher: A plain solver; None is the paper's: ddim, or for ipndm and deis the solver itself.
        scale: Teacher steps per student step, the paper's C.
        samples: How many to fit on, the paper's |B|; None is 100, or the rows of noise.
        seed: Of the noise to fit on, drawn sample by sample in a stream of its own.
        cond: One row for each of the samples; the model's own by default.
        noise: x_T to fit on (samples, *shape), instead of noise from the seed.
        rho: The ridge; 0 is the paper.
        align: "time", or "count" for the published pairing and its grids.
        formulation: d, 2, sep, all, verbatim, fixed or la: section 4.4 of the paper.
        grid: As for `dode.sampler`.
        end: As for `dode.sampler`.
        batch: Samples a network call; the fit is the same for every size but for rounding.
        cache: A folder for the network's outputs, from which a run that was killed goes on.
        cache_dtype: float32 or float16, to keep fewer digits.
        offload: Where resting batches wait: "cpu" or "disk"; None is the device, and with a cache the disk.
        progress: Called with (network calls done, in all).

    Returns:
        A Sampler; {nfe: Sampler} for several numbers of evaluations; {solver: {nfe: Sampler}} for several solvers.

    Raises:
        NonFinite: where the network reaches NaN or infinity, naming the evaluation.
        DodeError: for a name, option or number of evaluations that does not exist, and for a stochastic solver.

    Reference:
        Kim, Tang & Yu, Distilling ODE Solvers of Diffusion Models into Smaller Steps, CVPR 2024.
    """
    count = len(noise) if noise is not None else 100 if samples is None else samples
    if samples not in (None, count):
        raise DodeError(f"noise has {count} samples; got samples={samples}: leave it out")
    config = DistillConfig(teacher, scale, count, whole_seed(seed), rho, align, batch, cond, noise, end, formulation)
    model, several = checked(model, ode=True), isinstance(nfe, Iterable)
    counts = sorted(set(nfe)) if isinstance(nfe, Iterable) else [nfe]
    solvers = [solver] if isinstance(solver, Solver) else list(solver)
    if not counts or not solvers:
        raise DodeError("give a solver and a number of network evaluations, or several; got none")
    targets = fit_targets(model, solvers, counts, grid, config)
    working = model.cached(cache, cache_dtype)
    folder = None if working.cache is None else working.cache.folder
    offload = "disk" if offload is None and folder is not None else offload
    store, host = tensor_store(offload, folder), None if offload is None else "cpu"
    found = fit_all(working, targets, config, store, host, current(), progress)
    fits: dict[str, dict[int, Sampler]] = {}
    for target, (run, fit) in zip(targets, found, strict=True):
        fits.setdefault(target.text, {})[target.nfe] = sampler_of(model, target, run, fit)
    warn_of_little(sampler for by_nfe in fits.values() for sampler in by_nfe.values())
    if not isinstance(solver, Solver):
        return fits
    (by_nfe,) = fits.values()
    return by_nfe if several else by_nfe[counts[0]]


def sampler_of(model: Model, target: FitTarget, run: TeacherRun, fit: Fit) -> Sampler:
    """The distilled sampler of a fit; warns of every evaluation whose λ is far from a sensible weight."""
    config, solutions = target.config, fit.solutions
    provenance = Provenance(
        target.method.name,
        True,
        where_made(target.grid),
        config.end,
        dict(target.method.chosen),
        lam=float(solutions[0].weights[0]) if config.form.constant else None,
        teacher=target.teacher.label,
        teacher_nfe=run.plan.nfe,
        seed=config.seed if config.noise is None else None,
        dtype=dtype_name(model),
        errors=tuple(tuple(s.errors.tolist()) if len(s.errors) > 1 else float(sum(s.errors)) for s in solutions),
        ratios=tuple(s.ratio for s in solutions),
        conditions=tuple(s.condition for s in solutions),
        **{name: getattr(config, name) for name in FIELDS},
    )
    sampler = Sampler(model, fit.plan, provenance)
    for k, solution in enumerate(solutions):
        largest = max(solution.weights.tolist(), key=abs, default=0.0)
        if abs(largest) > LARGE:
            hint = "a larger rho tames it" if solution.ratio < 1 else "this step hardly uses its output"
            text = f"lambda = {largest:.3g} is large (‖v‖/‖u‖ = {solution.ratio:.1g}); {hint}"
            warnings.warn(f"{sampler.name}, evaluation {k + 1} of {target.nfe}: {text}", stacklevel=3)
    return sampler


def warn_of_little(samplers: Iterable[Sampler]) -> None:
    """Warn once of fits that can hardly be of use: to one sample, or to a teacher with the student's own steps."""
    fits = [sampler.provenance for sampler in samplers if sampler.provenance.lam is None]
    if any(fit.samples == 1 for fit in fits):
        warnings.warn("samples=1 will overfit; use at least 50", stacklevel=3)
    if any(fit.scale == 1 for fit in fits):
        warnings.warn("with scale=1 the teacher takes the student's own steps; use about 10", stacklevel=3)
