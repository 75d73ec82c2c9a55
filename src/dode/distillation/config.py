"""What a distillation is asked for: the course it follows, and the students it has."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import numpy as np

from dode.distillation.formulations import Formulation, formulation
from dode.distillation.teacher import ALIGNMENTS
from dode.errors import DodeError
from dode.method import Method
from dode.model import Model
from dode.parameterization import Kind
from dode.plan import Plan
from dode.solvers.spec import read
from dode.solvers.step_allocation import build
from dode.timesteps import Grid

RHO = 1e-4  # chosen on validation noise: docs/results/rho-*.md, made by benchmarks/rho.py
STATES = ("student", "teacher")


@dataclass(frozen=True)
class Course:
    """Everything that decides a distillation but the model, the solver and its evaluations."""

    teacher: str | None = None
    scale: int = 10
    samples: int = 100
    seed: int = 0
    rho: float = RHO
    align: str = "time"
    batch: int = 50
    cond: Any = field(default=None, compare=False)  # tensors have no one answer to ==
    end: str = "data"
    formulation: str = "d"
    lam: float | str | None = None
    carry: bool | str = True
    states: str = "student"
    noise: Any = field(default=None, compare=False)  # x_T to fit on, (samples, *shape); None: drawn from the seed

    def __post_init__(self) -> None:
        if self.align not in ALIGNMENTS:
            raise DodeError(f"align must be one of {', '.join(ALIGNMENTS)}; got {self.align!r}")
        if self.states not in STATES:
            raise DodeError(f"states must be one of {', '.join(STATES)}; got {self.states!r}")
        for name, value in (("samples", self.samples), ("batch", self.batch), ("scale", self.scale)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise DodeError(f"{name} must be a whole number, at least 1; got {value!r}")
            object.__setattr__(self, name, int(value))  # numpy's are no JSON
        if not 0 <= self.rho < math.inf:
            raise DodeError(f"rho must be a number, at least 0; got {self.rho!r}")
        if str(self.carry).lower() not in ("true", "false"):
            raise DodeError(f"carry must be true or false; got {self.carry!r}")
        object.__setattr__(self, "carry", str(self.carry).lower() == "true")
        if self.lam is not None and self.form.constant is None:
            raise DodeError(f"lam is for the formulations fixed and la; {self.formulation} fits its own")
        if self.lam not in (None, "search"):
            object.__setattr__(self, "lam", _number(self.lam))
        if self.states != "student" and self.form.constant is not None:
            raise DodeError(f"states is for formulations that are fitted; {self.formulation} has one constant")
        if self.teacher is not None and self.teacher.startswith("d-"):
            raise DodeError(f"a teacher is a plain solver, like {self.teacher[2:].split(':')[0]}; got {self.teacher!r}")

    @property
    def form(self) -> Formulation:
        """The formulation, by its name."""
        return formulation(self.formulation)

    def constants(self) -> tuple[float, ...]:
        """For a formulation with one λ: the one to use, or those to try."""
        given = self.form.default if self.lam is None else self.lam
        return self.form.trials if given is None or given == "search" else (float(given),)


def _number(lam: Any) -> float:
    try:
        value = float(lam)
    except (TypeError, ValueError) as error:
        raise DodeError(f"lam must be a number or 'search'; got {lam!r}") from error
    if not math.isfinite(value):
        raise DodeError(f"lam must be finite; got {lam!r}")
    return value


@dataclass(frozen=True, eq=False)
class Student:
    """A solver at a number of evaluations, before it is distilled."""

    text: str  # how it was asked for
    method: Method
    nfe: int
    plan: Plan
    grid: Grid
    course: Course

    @property
    def teacher(self) -> str:
        """The teacher's name: the course's, or the paper's for this solver."""
        name = self.course.teacher or self.method.teacher
        return self.method.label if name == "self" else name


def _lookahead(method: Method) -> Kind:
    """Lookahead moves x̂₀: for solvers that are the same, or written, in data outputs."""
    if method.kinds and method.kinds[0] != "data":
        raise DodeError(
            f"formulation la is for solvers in data outputs, such as ddim or dpm-solver++2m; {method.name} is written "
            f"in {method.kinds[0]} outputs"
        )
    return "data"


class SolverOptions(TypedDict, total=False):
    """Options of solvers, for type checkers; docs/solvers.md says whose they are."""

    inner: str
    variable: str
    gamma: float
    eta: float
    churn: float
    churn_min: float
    churn_max: float


def students(
    model: Model,
    names: Sequence[str],
    counts: Sequence[int],
    where: str | Sequence[float] | Grid | None,
    course: Course,
    options: SolverOptions,
) -> list[Student]:
    """The plain plans of every solver asked for, at every number of evaluations."""
    if course.align == "count":
        if where is not None:
            raise DodeError("align='count' brings the published grids; leave grid out")
        where = "published"
    found = []
    for text in names:
        name = read(text if text.startswith("d-") else f"d-{text}", **options)
        mine = replace(course, **name.fitted)
        kind = _lookahead(name.method) if mine.formulation == "la" else None
        if mine.align == "count" and name.method.warmup:
            raise DodeError(f"{name.method.name} has no published pairing; use align='time'")
        for nfe in counts:
            plan, made = build(name.method, nfe, model.schedule, model.prediction, where, mine.end, kind=kind)
            if any(plan.noise_scales):
                raise DodeError(
                    f"{name.method.label} is stochastic: it has no one solution to be distilled towards; "
                    "sample with it as it is, or distil it without eta, fresh or churn"
                )
            plan = replace(plan, carry=bool(mine.carry), unnormalized=mine.form.free)
            found.append(Student(text, name.method, nfe, plan, made, mine))
    return found
