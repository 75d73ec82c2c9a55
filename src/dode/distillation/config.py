"""What a distillation is asked for: its configuration, and the plain plan of every solver that is fitted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from dode.distillation.formulations import Formulation, formulation
from dode.distillation.teacher import ALIGNMENTS
from dode.errors import DodeError, Unsupported
from dode.method import Method
from dode.model import Model
from dode.parameterization import Kind
from dode.plan import Plan
from dode.solvers.spec import read
from dode.solvers.step_allocation import build
from dode.timesteps import Grid

RHO = 1e-4  # chosen on validation noise: docs/results/rho-*.md, made by paper/benchmarks/rho.py


@dataclass(frozen=True, eq=False)
class DistillConfig:
    """Everything that decides a distillation but the model, the solver and its evaluations: see `dode.distill`."""

    teacher: str | Method | None = None
    scale: int = 10
    samples: int = 100
    seed: int = 0
    rho: float = RHO
    align: str = "time"
    batch: int = 50
    cond: Any = None
    noise: Any = None
    end: str = "data"
    formulation: str = "d"
    lam: float | str | None = None  # of the formulations fixed and la; "search" tries several
    carry: bool | str = True  # whether later stages of a step see mixed outputs
    states: str = "student"  # whose states the fit evaluates

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("samples", "batch", "scale")}
        for name, valid, what in (
            ("align", self.align in ALIGNMENTS, f"one of {', '.join(ALIGNMENTS)}"),
            ("states", self.states in ("student", "teacher"), "one of student, teacher"),
            ("carry", str(self.carry).lower() in ("true", "false"), "true or false"),
            ("lam", _finite(self.lam), "a finite number or 'search'"),
            ("rho", 0 <= self.rho < math.inf, "a number, at least 0"),
            *((n, isinstance(c, int | np.integer) and c >= 1, "a whole number, at least 1") for n, c in counts.items()),
        ):
            if not valid:
                raise DodeError(f"{name} must be {what}; got {getattr(self, name)!r}")
        if self.lam is not None and self.form.constant is None:
            raise DodeError(f"lam is for the formulations fixed and la; {self.formulation} fits its own")
        if self.states != "student" and self.form.constant is not None:
            raise DodeError(f"states is for formulations that are fitted; {self.formulation} has one constant")
        if isinstance(self.teacher, str) and self.teacher.startswith("d-"):
            raise DodeError(f"a teacher is a plain solver, like {self.teacher[2:].split(':')[0]}; got {self.teacher!r}")
        for name, count in counts.items():
            object.__setattr__(self, name, int(count))  # numpy's are no JSON
        object.__setattr__(self, "carry", str(self.carry).lower() == "true")

    @property
    def form(self) -> Formulation:
        """The formulation, by its name."""
        return formulation(self.formulation)

    def constants(self) -> tuple[float, ...]:
        """For a formulation with one λ: the one to use, or those to try; none for the others."""
        lam = self.form.default if self.lam is None else self.lam
        return self.form.trials if lam is None or lam == "search" else (float(lam),)


def _finite(lam: Any) -> bool:
    try:
        return lam in (None, "search") or math.isfinite(float(lam))
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True, eq=False)
class FitTarget:
    """A solver at a number of evaluations, before it is fitted; text: how it was asked for."""

    text: str
    method: Method
    nfe: int
    plan: Plan
    grid: Grid
    config: DistillConfig

    @property
    def teacher(self) -> Method:
        """The solver that teaches: the one of the config, or the paper's for this solver."""
        teacher = self.config.teacher or self.method.teacher
        return self.method if teacher == "self" else read(teacher).method

    @property
    def runs(self) -> int:
        """The student's runs on every batch: one of a fit, or one for each constant that is tried, if several are."""
        trials = len(self.config.constants())
        return 1 if self.config.form.directions else trials if trials > 1 else 0


def fit_targets(
    model: Model,
    solvers: Sequence[str | Method],
    counts: Sequence[int],
    grid: str | Sequence[float] | Grid | None,
    config: DistillConfig,
) -> list[FitTarget]:
    """The plain plan of every solver at every number of evaluations; options in a solver's name precede config's."""
    if config.align == "count" and grid is not None:
        raise DodeError("align='count' brings the published grids; leave grid out")
    targets = []
    for spec in {spec.text: spec for spec in (read(solver, distilled=True) for solver in solvers)}.values():
        method, own = spec.method, replace(config, **cast(Any, spec.fit_options))
        kind: Kind | None = "data" if own.formulation == "la" else None  # lookahead moves x̂₀
        if kind and method.kinds and method.kinds[0] != kind:
            raise Unsupported(f"formulation la is for data outputs; {method.name} has {method.kinds[0]} outputs")
        if own.align == "count" and method.warmup:
            raise Unsupported(f"{method.name} has no published pairing; use align='time'")
        where = "published" if own.align == "count" else grid
        for nfe in counts:
            plan, made = build(method, nfe, model.schedule, model.prediction, where, own.end, kind=kind)
            if any(plan.noise_scales):
                raise Unsupported(f"{method.label} is stochastic and cannot be distilled; drop its eta, fresh or churn")
            plan = replace(plan, carry=bool(own.carry), unnormalized=own.form.free)
            targets.append(FitTarget(spec.text, method, nfe, plan, made, own))
    return targets
