"""What a search may spend and ask, and what it has spent."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dode.conditioning import rows
from dode.errors import DodeError
from dode.json_schema import line
from dode.model import Model
from dode.search.initial_candidates import GRIDS, TRIED


@dataclass(frozen=True)
class Budget:
    """What a search may spend, for each of the samples: evaluations in units of 10·NFE, a teacher's with C = 10."""

    samples: int = 64
    select: int = 32
    most: float = 10.0
    teacher: int = 60  # most evaluations of the teacher, unless the student needs more: `taught`
    begin: int = 3  # starts that are refined
    part: int = 12  # samples that a Jacobian takes
    tried: tuple[str, ...] = TRIED
    grids: tuple[str, ...] = GRIDS
    batch: int = 64
    told: bool = True  # may the network be told other times than its nodes'? Other tools' wrappers cannot follow that
    whole: bool = False  # round the found times to whole ones and find the weights again, for tools with no others
    between: bool = True  # can the network be asked between whole times? One that looks them up in a table cannot
    seconds: float = math.inf  # for all numbers of evaluations together, the teacher's run not counted

    def __post_init__(self) -> None:
        for what, given, enough in (
            ("at least 4 samples", self.samples, self.samples >= 4),
            ("at least 4 samples to select on", self.select, self.select >= 4),
            ("a batch of at least 1", self.batch, self.batch >= 1),
            ("something to spend, in teachers", f"{self.most:g}", self.most > 0),
            ("something to spend, in seconds", f"{self.seconds:g}", self.seconds > 0),
        ):
            if not enough:
                raise DodeError(f"auto needs {what}; got {given}")

    def allowed(self, nfe: int) -> float:
        """Evaluations, of one sample each, for one number of evaluations with its teacher."""
        return self.most * 10 * nfe * self.samples

    def taught(self, nfe: int) -> int:
        """Evaluations of this student's teacher: at most half of what is allowed, at least three times its own."""
        half = self.allowed(nfe) / 2 / (self.samples + self.select)
        return max(3 * nfe, min(self.teacher, int(half)))


QUICK = Budget(
    32,
    8,
    2.0,
    teacher=24,
    begin=1,
    part=6,
    tried=("ipndm-2", "gradient-estimation", "ipndm-3", "unipc-2"),
    grids=("logsnr-trailing", "trailing", "karras"),
)


@dataclass
class Meter:
    """Evaluations, of one sample each, spent for one number of evaluations."""

    allowed: float
    tell: Callable[[str, float], None]
    spent: float = 0.0
    doing: str = ""
    until: float = math.inf  # of time.monotonic()

    def tick(self, count: int) -> None:
        """Some were made."""
        self.spent += count
        self.tell(self.doing, min(1.0, self.spent / self.allowed))

    def has(self, more: float) -> bool:
        """May so many more be made?"""
        return self.spent + more <= self.allowed and time.monotonic() < self.until


def able(model: Model, budget: Budget, cond: Any) -> Budget:
    """The budget, with what the network can be asked; DodeError if that is less than the search needs."""
    schedule = model.schedule
    if not schedule.integer:
        return budget
    first, middle = model.start(range(1), 0, "fit"), int(schedule.t_max / 2)
    given = rows(model.conditions(range(budget.samples), cond), [0])
    denoise = model.bound(model.prediction, given)
    try:
        denoise(first, schedule.continuous().node(middle + 0.5))
    except (RuntimeError, TypeError, ValueError, LookupError, AssertionError) as error:  # of whatever looks times up
        denoise(first, schedule.node(middle))  # a network that fails here too says so itself
        if not budget.whole:
            raise DodeError(
                f"the network cannot be asked between whole times ({line(error, 100)}): search among them alone, with "
                "whole_times=True, --whole-times"
            ) from error
        return replace(budget, between=False)
    return budget
