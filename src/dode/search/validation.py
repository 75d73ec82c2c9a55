"""Who decides in a search: samples that nothing is fitted on, and the plans that come before them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dode.errors import NonFinite
from dode.plan import Plan
from dode.search.budget import Meter
from dode.search.initial_candidates import Start, Task
from dode.search.levenberg_marquardt import loss, tried

PATIENCE = 100.0  # medians of squared distances up to which a judgement is by their mean


@dataclass(frozen=True, eq=False)
class Candidate:
    """A plan with how it was made, and its error on samples that nothing is fitted on."""

    name: str
    plan: Plan
    select: float
    method: str
    grid: str
    refined: bool = False
    errors: tuple[tuple[float, ...], ...] = ()  # standard errors: of each evaluation's weights
    places: dict[str, list[float]] = field(default_factory=dict)  # of the log gaps, and of what the network is told


@dataclass(frozen=True, eq=False)
class Jury:
    """Samples that nothing is fitted on, and the median of their squared distances with the nearest plain solver."""

    select: Task
    middle: float
    batch: int

    def error(self, plan: Plan, meter: Meter) -> float:
        """The root of the refinement's loss, so that a sample that goes to another mode does not choose."""
        return math.sqrt(
            loss(tried(plan, self.select.pupils(plan.kind, batch=self.batch), meter.tick), self.middle, PATIENCE)
        )


def convened(looked: Sequence[Start], select: Task, batch: int, meter: Meter) -> tuple[Jury, list[Candidate]]:
    """The plain solvers, the nearest first, as candidates, and the jury that judges them and all others."""
    found = [tried(one.plan, select.pupils(one.plan.kind, batch=batch), meter.tick) for one in looked]
    middles = [float(np.median(squares)) for squares in found if np.isfinite(squares).all()]
    if not middles:
        raise NonFinite(f"{select.model.name}: no solver that was tried stays finite on samples to judge on")
    jury = Jury(select, middles[0], batch)
    return jury, [
        Candidate(one.label, one.plan, math.sqrt(loss(squares, jury.middle, PATIENCE)), one.method, one.grid)
        for one, squares in zip(looked, found, strict=True)
    ]
