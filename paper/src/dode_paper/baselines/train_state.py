"""What is trained, how long, and where a training stands."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from dode.denoisers import Network
from dode.errors import DodeError


@dataclass(frozen=True, eq=False)
class Trio:
    """The networks of a step."""

    student: Network
    slow: Network  # a slow average of the student, the target of consistency losses
    teacher: Network


@dataclass(frozen=True, eq=False)
class Stage:
    """One student: how it begins, what it learns, its part of the budget."""

    name: str
    share: float  # of the budget
    begin: Callable[[nn.Module], nn.Module]  # the student at first, from the stage's teacher
    loss: Callable[[Trio, np.random.Generator, float], Tensor]  # the float is the part of the stage that is done
    calls: int  # of networks, forward, for one sample each, in a step
    rate: float = 5e-4
    slow: float = 0.95  # decay of Trio.slow


@dataclass(frozen=True)
class Budget:
    """Minutes of training, or an exact number of steps."""

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise DodeError("give a budget in minutes or in steps, one of the two")
        if (self.minutes is not None and not self.minutes > 0) or (self.steps is not None and self.steps < 1):
            raise DodeError(f"a budget must be above 0; got minutes={self.minutes}, steps={self.steps}")


@dataclass(eq=False)
class Run:
    """Everything that changes while a network is trained."""

    teacher: nn.Module
    student: nn.Module
    slow: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    stage: int = 0
    step: int = 0  # in this stage
    steps: int = 0  # in all
    calls: int = 0  # of networks, in all
    seconds: float = 0.0  # of training, without what a kill lost
    processor: float = 0.0  # seconds of it that a processor worked
    curve: list[list[float]] = field(default_factory=list)  # [step in all, smoothed loss]
    smooth: float | None = None


def begin(stages: list[Stage], number: int, teacher: nn.Module) -> Run:
    """The state before the first step of a stage."""
    stage = stages[number]
    teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
    student = stage.begin(copy.deepcopy(teacher)).train().requires_grad_(True)
    slow, average = (copy.deepcopy(student).eval().requires_grad_(False) for _ in range(2))
    optimiser = torch.optim.AdamW(student.parameters(), lr=stage.rate, betas=(0.9, 0.99), weight_decay=0.0)
    return Run(teacher, student, slow, average, optimiser, number)


def following(stages: list[Stage], run: Run) -> Run:
    """The first state of the next stage, whose teacher is this one's average; the counts go on."""
    made = begin(stages, run.stage + 1, run.average)
    for name in ("steps", "calls", "seconds", "processor", "curve"):
        setattr(made, name, getattr(run, name))
    return made


def part(stages: list[Stage], run: Run, budget: Budget) -> float:
    """How much of the run's stage is done, from 0 to 1."""
    before = sum(stage.share for stage in stages[: run.stage])
    share, total = stages[run.stage].share, sum(stage.share for stage in stages)
    if budget.steps is not None:
        return run.step / max(1, round(budget.steps * share / total))
    done = run.seconds / (60 * (budget.minutes or 0))
    return min(1.0, max(0.0, (done - before / total) / (share / total)))
